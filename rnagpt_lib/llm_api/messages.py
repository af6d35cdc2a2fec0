"""One question to a language model: its schema, its key in the journal, what is sent."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from rnagpt_lib.core.files import digest
from rnagpt_lib.core.params import Calls
from rnagpt_lib.llm_api.response_parsing import Read

SHOWN = 20_000  # characters of a malformed answer that the re-ask repeats
AGAIN = """\
That answer does not fit the schema: {fault}
Answer the first message again, with JSON that fits the schema and nothing else."""


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
            messages.append({"role": "assistant", "content": rejected.text[:SHOWN]})
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
    made = {name: _strict(item) for name, item in node.items() if name != "default"}
    for name in {"properties", "$defs"} & set(node):  # their keys are names
        made[name] = {key: _strict(item) for key, item in node[name].items()}
    if made.get("type") == "object":
        made |= {"additionalProperties": False, "required": list(made.get("properties", {}))}
    return made
