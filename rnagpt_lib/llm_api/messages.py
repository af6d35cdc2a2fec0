"""One question to a language model, and what the raw body of its answer says.

A `Request` has a key in the journal and a body to send; `read` and `usage` take a raw body apart
and raise nothing; a `Reply` is how the call ended.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import isfinite
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from rnagpt_lib.core.files import digest
from rnagpt_lib.core.params import Calls

State = Literal["ok", "refusal", "length", "filter", "context", "malformed"]
REPEATED = 20_000  # characters of a malformed answer that the re-ask repeats
FAULTS = 5  # that a re-ask names
AGAIN = """\
That answer does not fit the schema: {fault}
Answer the first message again, with JSON that fits the schema and nothing else."""

FILTERED = ("content_filter", "content_policy_violation")  # error codes about one request's text
_CONTEXT = re.compile(  # OpenAI's and vLLM's words, llama.cpp's, Ollama's
    r"context_length_exceeded|maximum context length|exceed_context_size|available context size|"
    r"exceeds the context",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Read:
    """One raw body. ``state``: None when it is no answer of the API; ``fault``: of the text."""

    state: State | None
    text: str = ""
    value: BaseModel | None = None
    fault: str = ""


@dataclass(frozen=True)
class Reply:
    """How a request ended; ``value``: the validated answer when it is ok.

    Tokens and micro-dollars are those of all its attempts; ``cached``: the journal answered.
    """

    state: State
    value: BaseModel | None
    text: str
    tokens_in: int
    tokens_out: int
    microdollars: int
    cached: bool

    @property
    def usage(self) -> dict[str, int]:
        """What it took, now or when it was first asked for."""
        counts = ("tokens_in", "tokens_out", "microdollars")
        return {"calls": 1} | {name: getattr(self, name) for name in counts}


@dataclass(frozen=True)
class Request:
    """One question with a structured answer.

    ``answer``: its JSON schema goes to the server, and the answer is validated by it;
    ``version``: of the prompt; ``max_tokens``: of the answer; ``about``: what it is for, as in
    "URS0000000001_9606 dnc topic 2", which is no part of the key.
    """

    messages: tuple[dict[str, str], ...]
    answer: type[BaseModel]
    version: str
    max_tokens: int
    about: str

    def key(self, settings: Calls) -> str:
        """SHA-256 of all that can change the answer."""
        parameters = {"max_tokens": self.max_tokens, "temperature": settings.temperature}
        return digest(
            {
                "model": settings.model,
                "messages": self.messages,
                "schema": schema(self.answer),
                "parameters": parameters,
                "version": self.version,
            }
        )

    def body(self, settings: Calls, rejected: Read | None = None) -> dict:
        """What is sent; an answer that was ``rejected`` is shown with its fault."""
        messages = list(self.messages)
        if rejected:
            messages.append({"role": "assistant", "content": rejected.text[:REPEATED]})
            messages.append({"role": "user", "content": AGAIN.format(fault=rejected.fault)})
        form = {"name": self.answer.__name__, "strict": True, "schema": schema(self.answer)}
        # OpenAI's newer models refuse the older name; other servers may not know the newer one
        limit = "max_completion_tokens" if settings.base_url is None else "max_tokens"
        body = {
            "model": settings.model,
            "messages": messages,
            "response_format": {"type": "json_schema", "json_schema": form},
            limit: self.max_tokens,
        }
        chosen = settings.temperature is not None
        return body | ({"temperature": settings.temperature} if chosen else {})


@lru_cache(maxsize=64)
def schema(answer: type[BaseModel]) -> dict:
    """The strict JSON schema of a model: closed objects, every property required."""
    return _strict(answer.model_json_schema())


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    strict = {name: _strict(item) for name, item in node.items() if name != "default"}
    for name in {"properties", "$defs"} & set(node):  # their keys are names
        strict[name] = {key: _strict(item) for key, item in node[name].items()}
    if strict.get("type") == "object":
        strict |= {"additionalProperties": False, "required": list(strict.get("properties", {}))}
    return strict


def read(body: str, answer: type[BaseModel]) -> Read:
    """How a chat completion ended, its text validated by ``answer``."""
    found = _parsed(body)
    if isinstance(found, dict) and (found.get("error") or found.get("object") == "error"):
        return Read(about_one(found.get("error") or found))
    try:
        choice = found["choices"][0]
        reason, message = choice.get("finish_reason"), choice["message"]
        text, refusal = message.get("content") or "", message.get("refusal")
        text = str.encode(text, "utf-8", "replace").decode()  # half a surrogate pair is no text
    except (KeyError, IndexError, TypeError, AttributeError):
        return Read(None)
    if refusal:
        return Read("refusal", str(refusal))
    if reason in ("length", "content_filter"):
        return Read("length" if reason == "length" else "filter", text)
    # servers without structured output put a Markdown fence around JSON
    bare = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())
    try:
        return Read("ok", text, answer.model_validate_json(bare))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        named = (f"{'.'.join(map(str, f['loc'])) or 'the whole'}: {f['msg']}" for f in faults)
        return Read("malformed", text, fault="; ".join([*named][:FAULTS]))


def about_one(error: object) -> State | None:
    """How a call ended that an error object is about, where it is of this request's text alone:
    ``filter`` or ``context`` (longer than the model reads); None for any other error.

    >>> about_one({"message": "This model's maximum context length is 8192 tokens."})
    'context'
    """
    if not isinstance(error, dict):
        return None
    if error.get("code") in FILTERED:
        return "filter"
    words = " ".join(str(error.get(name)) for name in ("code", "type", "message"))
    return "context" if _CONTEXT.search(words) else None


def usage(body: str) -> tuple[int, int] | None:
    """(input, output) tokens that the server counted; None when it does not say."""
    try:
        used = _parsed(body)["usage"]
        counts = used["prompt_tokens"], used.get("completion_tokens", 0)
    except (KeyError, TypeError, AttributeError):
        return None
    return counts if all(type(count) is int and count >= 0 for count in counts) else None


def vectors(body: str) -> list[list[float]] | None:
    """The embeddings in the order of their texts, finite numbers and equally many in each; None
    when it is no such answer."""
    try:
        rows = sorted(_parsed(body)["data"], key=lambda row: row["index"])
        found = [[float(x) for x in row["embedding"]] for row in rows]
    except (KeyError, TypeError, ValueError):
        return None
    in_order = [row["index"] for row in rows] == list(range(len(rows)))
    alike = len({len(row) for row in found}) == 1 and all(found)
    return found if in_order and alike and all(map(isfinite, chain(*found))) else None


def _parsed(body: str) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
