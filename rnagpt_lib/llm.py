"""One synchronous chat call to any OpenAI-compatible server (OpenAI, vLLM, Ollama, llama.cpp)."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from rnagpt_lib.errors import InputError

KEY = "OPENAI_API_KEY"


@dataclass(frozen=True)
class Chat:
    """A model behind a base URL; the key comes from the environment alone.

    ``log``: a JSONL file that keeps the body of every reply before anything reads it.
    """

    model: str
    base_url: str | None = None
    log: Path | None = None
    timeout: float = 120.0  # seconds

    def complete(self, messages: list[dict[str, str]]) -> str:
        """The text of the model's answer at temperature 0. No retries.

        Raises InputError for a missing key, a refused key, a used-up quota, no connection, and an
        answer that is cut, withheld or malformed.
        """
        body = self._body(messages)
        if self.log:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"model": self.model, "body": body}) + "\n")
        return self._text(body)

    @property
    def _where(self) -> str:
        return f"model {self.model!r} at {self.base_url or 'the OpenAI API'}"

    def _body(self, messages: list[dict[str, str]]) -> str:
        """The raw body of the reply."""
        try:
            import openai
        except ImportError:
            raise InputError('the provider openai needs: pip install -e ".[openai]"') from None
        key = os.environ.get(KEY)
        if not key:
            raise InputError(f"{KEY} is not set; a server that needs no key takes any text")
        client = openai.OpenAI(
            api_key=key, base_url=self.base_url, max_retries=0, timeout=self.timeout
        )
        try:
            with client:
                call = client.chat.completions.with_raw_response
                return call.create(model=self.model, messages=messages, temperature=0).text
        except openai.APITimeoutError:
            raise InputError(f"{self._where} gave no answer in {self.timeout:g} s") from None
        except openai.APIConnectionError:
            raise InputError(f"{self._where} cannot be reached; check BASE_URL") from None
        except openai.APIStatusError as error:
            raise InputError(self._refusal(error.status_code, str(error.code))) from None

    def _refusal(self, status: int, code: str) -> str:
        if status in (401, 403):
            return f"{self._where} refused the key in {KEY} (status {status})"
        if code == "insufficient_quota":
            return f"{self._where}: the account's quota is used up"
        if status == 429:
            return f"{self._where} asks to slow down (status 429); run the notebook again later"
        return f"{self._where} answered with status {status} (code {code})"

    def _text(self, body: str) -> str:
        try:
            choice = json.loads(body)["choices"][0]
            reason, text = choice.get("finish_reason"), choice["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise InputError(f"{self._where} sent no chat completion: {body[:80]!r}") from None
        if reason == "length":
            raise InputError(f"{self._where}: the answer is cut at the model's length limit")
        if reason == "content_filter" or choice["message"].get("refusal"):
            raise InputError(f"{self._where}: the answer is withheld by the content filter")
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{self._where} sent an empty answer")
        return text
