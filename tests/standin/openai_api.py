"""The OpenAI API of the stand-in world: chat completions, embeddings, files and batches.

What a model would say comes from an `Answerer`; `by_schema` fills the schema with anything that
fits. A token is four bytes of text, charged at `PRICE`; so the server has a bill of its own
(`OpenAI.bill`) that the client's journal can be held against.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

Messages = list[dict[str, str]]
Answerer = Callable[[Messages, dict], str]  # the messages and the JSON schema → the answer's text
PRICE = {"input": 0.15, "output": 0.6}  # micro-dollars a token; batches cost half
DIMENSIONS = 32  # of an embedding


def by_schema(messages: Messages, schema: dict) -> str:
    """The smallest JSON that fits, its texts those of the last message."""
    said = messages[-1]["content"]

    def filled(node: dict) -> object:
        if "$ref" in node:
            return filled(schema["$defs"][node["$ref"].rsplit("/", 1)[1]])
        if "anyOf" in node:
            return filled(node["anyOf"][0])
        if "enum" in node:
            return node["enum"][0]
        match node.get("type"):
            case "object":
                return {name: filled(part) for name, part in node["properties"].items()}
            case "array":
                return [filled(node["items"])] * max(1, node.get("minItems", 1))
            case "integer" | "number":
                return node.get("minimum", 1)
            case "boolean":
                return True
            case "string":
                return said[:200]
        return None

    return json.dumps(filled(schema))


class Refused(Exception):
    """An answer that is an error object of the API."""

    def __init__(self, status: int, message: str, code: str | None, kind: str):
        super().__init__(message)
        error = {"message": message, "type": kind, "param": None, "code": code}
        self.status, self.body = status, {"error": error}


Line = dict  # one of a batch's results
Fate = Callable[[list[Line]], tuple[str, list[Line], list[Line]]]


def completed(lines: list[Line]) -> tuple[str, list[Line], list[Line]]:
    """A batch's usual fate: status, lines of the output file, lines of the error file."""
    good = [line for line in lines if line["response"]["status_code"] == 200]
    return "completed", good, [line for line in lines if line not in good]


@dataclass
class OpenAI:
    """The app.

    ``answer``: what the model says; ``end``: the finish reason, or "refusal", by the last
    message; ``key``: the only key it takes, None takes any; ``wait``: seconds that a completion
    takes; ``fates``: what becomes of the batches to come, one each, then `completed`.
    """

    answer: Answerer = by_schema
    end: Callable[[str], str] = lambda said: "stop"
    key: str | None = None
    wait: float = 0.0
    fates: list[Fate] = field(default_factory=list)
    prefix: str = "/v1"
    completions: int = 0  # made, those of batches too
    bill: float = 0.0  # micro-dollars
    files: dict[str, dict] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict] = field(default_factory=dict)
    _made: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __call__(self, environ, start_response):
        request = Request(environ)
        try:
            self._check(request)
            name, values = _ROUTES.bind_to_environ(environ).match()
            found = getattr(self, f"_{name}")(request, **values)
        except Refused as refusal:
            found = _json(refusal.body, refusal.status)
        except HTTPException as error:
            found = _json(Refused(error.code, error.description, None, _INVALID).body, error.code)
        return found(environ, start_response)

    def _check(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if not given.startswith("Bearer ") or (self.key and given != f"Bearer {self.key}"):
            said = f"Incorrect API key provided: {given[7:]}."
            raise Refused(401, said, "invalid_api_key", _INVALID)

    # Completions and embeddings.

    def _chat(self, request: Request) -> Response:
        time.sleep(self.wait)
        return _json(self._completion(request.get_json(), 1))

    def _completion(self, asked: dict, share: float) -> dict:
        """A chat completion, billed at ``share`` of the price."""
        schema = _strict_schema(asked)
        said = asked["messages"][-1]["content"]
        reason, text = self.end(said), self.answer(asked["messages"], schema)
        tokens, most = _tokens(text), asked.get("max_tokens") or asked["max_completion_tokens"]
        if tokens > most or reason == "length":
            text, tokens, reason = text[: most * 4 - 4], min(tokens, most), "length"
        refused = reason == "refusal"
        message = {"role": "assistant", "content": None if refused else text}
        message |= {"refusal": "I cannot help with that." if refused else None}
        message |= {"annotations": []}
        read = sum(_tokens(message["content"]) for message in asked["messages"])
        choice = {"index": 0, "message": message, "logprobs": None}
        choice["finish_reason"] = "stop" if refused else reason
        with self._lock:
            self.completions += 1
        return {
            "id": self._id("chatcmpl"), "object": "chat.completion", "created": int(time.time()),
            "model": asked["model"], "choices": [choice], "usage": self._charge(read, tokens, share),
            "service_tier": "default", "system_fingerprint": "fp_standin",
        }  # fmt: skip

    def _embeddings(self, request: Request) -> Response:
        asked = request.get_json()
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        rows = [
            {"object": "embedding", "index": number, "embedding": _direction(text)}
            for number, text in enumerate(texts)
        ]
        used = self._charge(sum(map(_tokens, texts)), 0, 1)
        used = {name: used[name] for name in ("prompt_tokens", "total_tokens")}
        return _json({"object": "list", "data": rows, "model": asked["model"], "usage": used})

    def _charge(self, read: int, written: int, share: float) -> dict:
        with self._lock:
            self.bill += share * (PRICE["input"] * read + PRICE["output"] * written)
        return {
            "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }  # fmt: skip

    # Files and batches.

    def _upload(self, request: Request) -> Response:
        sent = request.files["file"]
        return _json(self._store(sent.filename, request.form["purpose"], sent.read()))

    def _store(self, filename: str, purpose: str, content: bytes) -> dict:
        with self._lock:
            made = {
                "id": self._id("file"), "object": "file", "bytes": len(content),
                "created_at": int(time.time()), "filename": filename, "purpose": purpose,
                "status": "processed", "expires_at": None, "status_details": None,
            }  # fmt: skip
            self.files[made["id"]], self.contents[made["id"]] = made, content
            return made

    def _file_list(self, request: Request) -> Response:
        purpose = request.args.get("purpose")
        with self._lock:
            found = [file for file in self.files.values() if purpose in (None, file["purpose"])]
        return _page(found, request)

    def _content(self, request: Request, id: str) -> Response:
        if id not in self.contents:
            raise Refused(404, f"No such File object: {id}", None, _INVALID)
        return Response(self.contents[id], content_type="application/octet-stream")

    def _create(self, request: Request) -> Response:
        asked, now = request.get_json(), int(time.time())
        if asked["input_file_id"] not in self.contents:
            raise Refused(400, f"No such File object: {asked['input_file_id']}", None, _INVALID)
        with self._lock:
            made = {
                "id": self._id("batch"), "object": "batch", "endpoint": asked["endpoint"],
                "errors": None, "input_file_id": asked["input_file_id"],
                "completion_window": asked["completion_window"], "status": "validating",
                "output_file_id": None, "error_file_id": None, "created_at": now,
                "in_progress_at": None, "expires_at": now + 86400, "finalizing_at": None,
                "completed_at": None, "failed_at": None, "expired_at": None,
                "cancelling_at": None, "cancelled_at": None,
                "request_counts": {"total": 0, "completed": 0, "failed": 0},
                "metadata": asked.get("metadata"),
            }  # fmt: skip
            self.batches[made["id"]] = made
            return _json(made)

    def _batch_list(self, request: Request) -> Response:
        with self._lock:
            return _page(list(self.batches.values()), request)

    def _retrieve(self, request: Request, id: str) -> Response:
        """The batch, one step further than when it was last looked at."""
        if id not in self.batches:
            raise Refused(404, f"No batch found with id '{id}'.", None, _INVALID)
        with self._lock:
            batch = self.batches[id]
            if batch["status"] == "validating":
                self._validate(batch)
            elif batch["status"] == "in_progress":
                self._work(batch)
            return _json(batch)

    def _validate(self, batch: dict) -> None:
        lines = self.contents[batch["input_file_id"]].decode().splitlines()
        seen: set[str] = set()
        for number, text in enumerate(lines, 1):
            line = json.loads(text)
            wrong = line["custom_id"] in seen and "duplicate_custom_id"
            wrong = wrong or (line["url"] != batch["endpoint"] and "mismatched_endpoint")
            seen.add(line["custom_id"])
            if wrong or line["method"] != "POST":
                fault = {"code": wrong, "line": number, "message": f"{wrong}.", "param": None}
                batch["errors"] = {"object": "list", "data": [fault]}
                batch |= {"status": "failed", "failed_at": int(time.time())}
                return
        batch["request_counts"]["total"] = len(lines)
        batch |= {"status": "in_progress", "in_progress_at": int(time.time())}

    def _work(self, batch: dict) -> None:
        asked = map(json.loads, self.contents[batch["input_file_id"]].decode().splitlines())
        fate = self.fates.pop(0) if self.fates else completed
        lines = [self._line(line) for line in asked]
        status, good, bad = fate(lines)
        kept = {line["custom_id"] for line in good if line["response"]}
        used = [
            line["response"]["body"]["usage"]
            for line in {line["custom_id"]: line for line in lines}.values()
            if line["custom_id"] in kept and line["response"]["status_code"] == 200
        ]
        for counts in used:
            self._charge(counts["prompt_tokens"], counts["completion_tokens"], 0.5)
        batch["request_counts"] |= {"completed": len(kept), "failed": len(bad)}
        for name, part in (("output", good), ("error", bad)):
            text = "".join(json.dumps(line) + "\n" for line in part).encode()
            if part:
                stored = self._store(f"{batch['id']}_{name}.jsonl", "batch_output", text)
                batch[f"{name}_file_id"] = stored["id"]
        batch["status"] = status
        batch[f"{status}_at"] = int(time.time())

    def _line(self, line: dict) -> Line:
        try:
            body, status = self._completion(line["body"], 0), 200
        except Refused as refusal:
            body, status = refusal.body, refusal.status
        response = {"status_code": status, "request_id": self._id("req"), "body": body}
        id = self._id("batch_req")
        return {"id": id, "custom_id": line["custom_id"], "response": response, "error": None}

    def _id(self, kind: str) -> str:
        with self._lock:
            self._made += 1
            return f"{kind}_{self._made:08d}"


_INVALID = "invalid_request_error"
_ROUTES = Map(
    [
        Rule("/chat/completions", endpoint="chat", methods=["POST"]),
        Rule("/embeddings", endpoint="embeddings", methods=["POST"]),
        Rule("/files", endpoint="upload", methods=["POST"]),
        Rule("/files", endpoint="file_list", methods=["GET"]),
        Rule("/files/<id>/content", endpoint="content", methods=["GET"]),
        Rule("/batches", endpoint="create", methods=["POST"]),
        Rule("/batches", endpoint="batch_list", methods=["GET"]),
        Rule("/batches/<id>", endpoint="retrieve", methods=["GET"]),
    ]
)


def _json(body: dict, status: int = 200) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


def _page(found: list[dict], request: Request) -> Response:
    """The newest first, ``limit`` of them after the one with id ``after``."""
    newest = found[::-1]
    ids = [item["id"] for item in newest]
    start = ids.index(request.args["after"]) + 1 if "after" in request.args else 0
    limit = int(request.args.get("limit", 20))
    part = newest[start : start + limit]
    ends = {"first_id": part[0]["id"], "last_id": part[-1]["id"]} if part else {}
    more = len(newest) > start + limit
    return _json({"object": "list", "data": part, "has_more": more} | ends)


def _strict_schema(asked: dict) -> dict:
    """The request's JSON schema, which has to keep the rules of ``strict``; {} where it has none."""
    if "response_format" not in asked:
        return {}
    form = asked["response_format"]["json_schema"]

    def check(node: object, where: tuple) -> None:
        if isinstance(node, list):
            for part in node:
                check(part, where)
        if not isinstance(node, dict):
            return
        names = node.get("properties", {})
        if node.get("type") == "object":
            closed = node.get("additionalProperties") is False
            if not closed or set(node.get("required", ())) != set(names):
                said = f"Invalid schema for response_format '{form['name']}': In context={where}."
                raise Refused(400, said, None, _INVALID)
        for name, part in node.items():
            check(list(part.values()) if name in ("properties", "$defs") else part, (*where, name))

    if form.get("strict") is not True:
        raise Refused(400, "The stand-in takes strict schemas only.", None, _INVALID)
    check(form["schema"], ())
    return form["schema"]


def _tokens(text: str) -> int:
    return len(text.encode()) // 4 + 1


def _direction(text: str) -> list[float]:
    """A unit vector that depends on the text alone."""
    raw = hashlib.sha256(text.encode()).digest()[:DIMENSIONS]
    numbers = [byte - 127.5 for byte in raw]
    length = sum(x * x for x in numbers) ** 0.5
    return [x / length for x in numbers]
