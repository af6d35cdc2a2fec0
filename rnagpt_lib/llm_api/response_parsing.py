"""What the raw body of a model's answer says: usage, how it ended, the validated value."""

import json
import re
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from typing import Literal

from pydantic import BaseModel, ValidationError

State = Literal["ok", "refusal", "length", "filter", "context", "malformed"]
FAULTS = 5  # that a re-ask names

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


def read(body: str, answer: type[BaseModel]) -> Read:
    """How a chat completion ended, its text validated by ``answer``. Raises nothing."""
    found = _parsed(body)
    if isinstance(found, dict) and (found.get("error") or found.get("object") == "error"):
        return Read(about_one(found.get("error") or found))
    try:
        choice = found["choices"][0]
        reason, message = choice.get("finish_reason"), choice["message"]
        text, refusal = message.get("content") or "", message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        return Read(None)
    if not isinstance(text, str):
        return Read(None)
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    if refusal:
        return Read("refusal", str(refusal))
    if reason in ("length", "content_filter"):
        return Read("length" if reason == "length" else "filter", text)
    try:
        return Read("ok", text, answer.model_validate_json(_unfenced(text)))
    except ValidationError as error:
        return Read("malformed", text, fault=_fault(error))


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
    told = " ".join(str(error.get(name)) for name in ("code", "type", "message"))
    return "context" if _CONTEXT.search(told) else None


def usage(body: str) -> tuple[int, int] | None:
    """(input, output) tokens that the server counted; None when it does not say."""
    try:
        said = _parsed(body)["usage"]
        counts = said["prompt_tokens"], said.get("completion_tokens", 0)
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


def _unfenced(text: str) -> str:
    """Without the Markdown fence that servers without structured output put around JSON."""
    return re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())


def _fault(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"
        for fault in faults[:FAULTS]
    )
