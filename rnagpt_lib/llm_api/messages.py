"""One question to a language model, and what the raw body of its answer says."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from rnagpt_lib.core.files import digest
from rnagpt_lib.core.params import Calls

State = Literal["ok", "refusal", "length", "filter", "context", "malformed"]
REPEATED, FAULTS = 20_000, 5  # characters of a malformed answer, and faults, that a re-ask shows
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

    def body(self, settings: Calls, rejected: Read | None = None) -> dict:
        """What is sent; an answer that was ``rejected`` is shown with its fault."""
        messages = list(self.messages)
        if rejected:
            messages.append({"role": "assistant", "content": rejected.text[:REPEATED]})
            messages.append({"role": "user", "content": AGAIN.format(fault=rejected.fault)})
        form = {"name": self.answer.__name__, "strict": True, "schema": schema(self.answer)}
        # OpenAI's newer models refuse the older name; other servers may not know the newer one
        limit = "max_completion_tokens" if settings.base_url is None else "max_tokens"
        form = {"response_format": {"type": "json_schema", "json_schema": form}}
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
        used = parse(body)["usage"]
        counts = used["prompt_tokens"], used.get("completion_tokens", 0)
    except (KeyError, TypeError, AttributeError):
        return None
    return counts if all(type(count) is int and count >= 0 for count in counts) else None


def vectors(body: str) -> np.ndarray | None:
    """The embeddings in the order of their texts, (n, D) finite numbers; None when it is no such
    answer."""
    try:
        rows = sorted(parse(body)["data"], key=lambda row: row["index"])
        found = np.array([row["embedding"] for row in rows], np.float32)
        in_order = [row["index"] for row in rows] == list(range(len(rows)))
    except (KeyError, TypeError, ValueError):
        return None
    return found if in_order and found.ndim == 2 and np.isfinite(found).all() else None


def parse(body: str | bytes) -> object:
    """What a body of JSON holds; None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
