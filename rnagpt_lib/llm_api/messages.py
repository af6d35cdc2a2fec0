"""One question to a language model, and what the raw body of its answer says."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from rnagpt_lib.core.files import digest
from rnagpt_lib.core.params import Calls

State = Literal["ok", "refusal", "length", "filter", "context", "malformed"]
# How a server is told the form of an answer: by response_format, in words as well, in words alone
Form = Literal["schema", "both", "words"]
REPEATED, FAULTS = 20_000, 5  # characters of a malformed answer, and faults, that a re-ask shows
LONGEST, OBJECTS = 2**20, 100  # characters and places in which an answer is looked for
WORDS = "Answer with one JSON object that fits this JSON schema, and nothing else: {schema}"
AGAIN = "That answer does not fit the schema: {fault}\nAnswer the first message again. "

# A model that thinks aloud: what its thoughts end with, and begin with
_THOUGHT = re.compile(r"(?i)</(?:think(?:ing)?|thought|reasoning)>|\[/think\]|final<\|message\|>")
_THINKS = re.compile(r"(?i)<(?:think(?:ing)?|thought|reasoning)>|\[think\]")
NO_FORM = re.compile(
    r"(?i)response_?format|json_?schema|guided.(?:json|decoding)|structured.output|grammar"
)
_PAGE = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<[^<>]{0,1000}>")
MOST_TOKENS = 2**31  # of one call; a server that counts more does not count
FILTERED = ("content_filter", "content_policy_violation")  # error codes about one request's text
_CONTEXT = re.compile(  # OpenAI's and vLLM's words, llama.cpp's, Ollama's, SGLang's, LM Studio's
    r"context_length_exceeded|maximum (?:context|model) length|exceed_context_size|"
    r"available context size|exceeds the context|(?:model's|with) context length|prompt is too long",
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
    """How a request ended; ``value``: the validated answer when it is ok. Tokens and micro-dollars
    are those of all its attempts; ``cached``: the journal answered."""

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
        counts = {"calls": 1, "tokens_in": self.tokens_in, "tokens_out": self.tokens_out}
        return counts | {"microdollars": self.microdollars}


@dataclass(frozen=True)
class Request:
    """One question with an answer of the form ``answer``; ``version``: of the prompt; ``about``:
    what it is for, as in "URS0000000001_9606 dnc topic 2", which is no part of the key."""

    messages: tuple[dict[str, str], ...]
    answer: type[BaseModel]
    version: str
    max_tokens: int
    about: str

    def key(self, settings: Calls) -> str:
        """SHA-256 of all that can change the answer."""
        parameters = {"max_tokens": self.max_tokens, "temperature": settings.temperature}
        key = {"model": settings.model, "messages": self.messages, "version": self.version}
        return digest(key | {"schema": schema(self.answer), "parameters": parameters})

    def body(self, settings: Calls, rejected: Read | None = None, told: Form = "schema") -> dict:
        """What is sent; an answer that was ``rejected`` is shown with its fault."""
        first, *more = self.messages
        words = WORDS.format(schema=json.dumps(schema(self.answer)))
        first = first | ({} if told == "schema" else {"content": f"{first['content']}\n{words}"})
        messages = [first, *more]
        if rejected:
            messages.append({"role": "assistant", "content": rejected.text[:REPEATED]})
            fault = AGAIN.format(fault=rejected.fault)
            messages.append({"role": "user", "content": fault + words})
        form = {"name": self.answer.__name__, "strict": True, "schema": schema(self.answer)}
        # OpenAI's newer models refuse the older name; other servers may not know the newer one
        limit = "max_completion_tokens" if settings.base_url is None else "max_tokens"
        form = {"response_format": {"type": "json_schema", "json_schema": form}}
        form = {} if told == "words" else form
        body = {"model": settings.model, "messages": messages, **form, limit: self.max_tokens}
        chosen = settings.temperature is not None
        return body | ({"temperature": settings.temperature} if chosen else {})


class _Strict(GenerateJsonSchema):
    """Objects are closed, every property is required, and nothing has a default."""

    def model_schema(self, schema: Any) -> dict:
        made = super().model_schema(schema)
        return made | {"additionalProperties": False, "required": list(made.get("properties", {}))}

    def default_schema(self, schema: Any) -> dict:
        return self.generate_inner(schema["schema"])


@lru_cache(maxsize=64)
def schema(answer: type[BaseModel]) -> dict:
    """The JSON schema of a model in the API's strict form."""
    return answer.model_json_schema(schema_generator=_Strict)


def read(body: str, answer: type[BaseModel]) -> Read:
    """How a chat completion ended, its text validated by ``answer``."""
    found = parse(body)
    if error := _error_of(found):
        return Read(about_one(error))
    try:
        choice = found["choices"][0]
        reason, message = choice.get("finish_reason"), choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        if isinstance(text, list):  # of parts; what a model thinks is of another type
            text = "".join(part.get("text") or "" for part in text)
        text = text or message.get("reasoning_content") or message.get("reasoning") or ""
        text = str.encode(text, "utf-8", "replace").decode()  # half a surrogate pair is no text
    except (KeyError, IndexError, TypeError, AttributeError):
        return Read(None)
    if refusal:
        return Read("refusal", str(refusal))
    if reason in ("length", "content_filter"):
        return Read("length" if reason == "length" else "filter", text)
    value, fault = _find(text, answer)
    return Read("ok", text, value) if value else Read("malformed", text, fault=fault)


def _find(text: str, answer: type[BaseModel]) -> tuple[BaseModel | None, str]:
    """The answer in a text, or what is wrong: all of the text, else the one object in it that
    fits, in prose, behind thoughts, inside another object, or with keys too many. One that says
    nothing may be an example, and counts only where nothing is around it."""
    spoken = text[max([0, *(match.end() for match in _THOUGHT.finditer(text))]) :]
    spoken = _THINKS.split(spoken, 1)[0].strip()
    for whole in (text, re.sub(r"^```(?:json)?|```$", "", spoken)):
        try:
            return answer.model_validate_json(whole, extra="ignore"), ""
        except ValidationError as error:
            fault = error
    found: list[BaseModel] = []
    for fit in chain.from_iterable(_fits(value, answer) for value in _values(spoken[:LONGEST])):
        found += [fit] if any(vars(fit).values()) and fit not in found else []
    if found:
        several = f"it holds {len(found)} different answers; only one is wanted"
        return (found[0], "") if len(found) == 1 else (None, several)
    faults = fault.errors(include_url=False, include_input=False, include_context=False)
    named = (f"{'.'.join(map(str, f['loc'])) or 'the whole'}: {f['msg']}" for f in faults)
    return None, "; ".join([*named][:FAULTS])


def _values(text: str) -> Iterator[object]:
    """The JSON objects and arrays of a text, from left to right."""
    decoder, at = json.JSONDecoder(), 0
    for _ in range(OBJECTS):
        if (start := re.compile(r"[{\[]").search(text, at)) is None:
            return
        try:
            value, at = decoder.raw_decode(text, start.start())
            yield value
        except (ValueError, RecursionError):
            at = start.end()


def _fits(value: object, answer: type[BaseModel], depth: int = 3) -> Iterator[BaseModel]:
    """A value as an ``answer``; or those that it wraps, or the list that should be its field."""
    [*fields], objects = answer.model_fields, isinstance(value, list) and {*map(type, value)}
    inside = {fields[0]: value} if objects == {dict} and len(fields) == 1 else value
    try:
        yield answer.model_validate(inside, extra="ignore")
    except ValidationError:
        parts = value.values() if isinstance(value, dict) else value if objects == {dict} else ()
        for part in islice(parts, OBJECTS if depth else 0):
            yield from _fits(part, answer, depth - 1)


def _error_of(found: object) -> object:
    """The error that a body is, in the shape of whichever server; None where it is an answer."""
    is_one = isinstance(found, dict) and (found.get("error") or "choices" not in found)
    return (found.get("error") or found) if is_one else None


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


def words_of(error: object, depth: int = 4) -> str:
    """A server's own words in the body of an error, in one line: those of the API, of FastAPI
    (``detail``), of a web page; "" where there are none.

    >>> words_of({"detail": [{"loc": ["body", "model"], "msg": "Field required"}]})
    'body.model: Field required'
    """
    if isinstance(error, dict) and depth:
        names = ("message", "detail", "error", "msg")
        said = next((s for name in names if (s := words_of(error.get(name), depth - 1))), "")
        where = error.get("loc") if said else None
        return f"{'.'.join(map(str, where))}: {said}" if isinstance(where, list) else said
    if isinstance(error, list) and depth:
        return "; ".join(filter(None, (words_of(one, depth - 1) for one in error[:FAULTS])))
    return " ".join(_PAGE.sub(" ", error[:5_000]).split()) if isinstance(error, str) else ""


def usage(body: str) -> tuple[int, int] | None:
    """(input, output) tokens that the server counted, none of them for an error; None when it does
    not say."""
    found = parse(body)
    if about_one(_error_of(found)):
        return 0, 0
    try:
        used = found["usage"]
        counts = used["prompt_tokens"], used.get("completion_tokens", 0)
    except (KeyError, TypeError, AttributeError):
        return None
    known = all(type(count) is int and 0 <= count < MOST_TOKENS for count in counts)
    return counts if known else None


def vectors(body: str) -> np.ndarray | None:
    """The embeddings in the order of their texts, (n, D) finite numbers; None when it is no such
    answer."""
    try:
        rows = sorted(parse(body)["data"], key=lambda row: row["index"])
        found = np.array([row["embedding"] for row in rows], np.float32)
        in_order = [row["index"] for row in rows] == list(range(len(rows)))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return found if in_order and found.ndim == 2 and np.isfinite(found).all() else None


def parse(body: str | bytes) -> object:
    """What a body of JSON holds; None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
