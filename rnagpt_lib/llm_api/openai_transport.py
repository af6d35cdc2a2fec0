"""One request to an OpenAI-compatible server: its raw answer in time, or the reason why not.

It is sent once. A fault that may pass is `retries.Again`, one that may have been billed is
`MaybeBilled`, all others stop with InputError. No redirect is followed: the key goes to one host.
"""

import json
import time
from functools import lru_cache
from typing import TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from rnagpt_lib.core.errors import InputError, NotThere
from rnagpt_lib.core.params import KEY, Calls, read_key
from rnagpt_lib.llm_api.messages import about_one, parse
from rnagpt_lib.llm_api.retries import Again, retry_after

OPENAI = "https://api.openai.com/v1"
LARGEST, LARGEST_FILE = 2**26, 2**30  # bytes of an answer, and of a batch's results
PASSING = (408, 409, 425, 429)  # status codes that may pass, as those from 500

_Kind = TypeVar("_Kind", bound=BaseModel)
_certificates = lru_cache(httpx2.create_ssl_context)  # reads all roots, so once is enough


class MaybeBilled(Again):
    """The server may have done the work, but its answer did not arrive."""


class Transport:
    """The connection to a server. Raises InputError without a key."""

    def __init__(self, settings: Calls):
        self._key, self._seconds = read_key().get_secret_value(), settings.deadline
        self._base = (settings.base_url or OPENAI).rstrip("/")
        self._where = f"model {settings.model!r} at {settings.base_url or 'the OpenAI API'}"
        headers = {"authorization": f"Bearer {self._key}", "accept-encoding": "identity"}
        limits = httpx2.Limits(max_connections=settings.width + 1)
        self._http = httpx2.Client(verify=_certificates(), limits=limits, headers=headers)
        self.close = self._http.close

    def what(self, about: str) -> str:
        """How messages begin."""
        return f"{self._where}, {about}" if about else self._where

    def post(self, path: str, body: dict) -> str:
        """The raw answer to ``body``, an error of this request alone among them."""
        return self.send("POST", path, json=body).decode("utf-8", "replace")

    def call(self, kind: type[_Kind], method: str, path: str, **request: object) -> _Kind:
        """The answer as a ``kind``. Raises as `send`, and where it is nothing of the kind."""
        try:
            return kind.model_validate_json(self.send(method, path, **request))
        except ValidationError:
            raise MaybeBilled(f"it sent something else than a {kind.__name__.lower()}") from None

    def send(
        self, method: str, path: str, json: dict | None = None, seconds: float = 0, **given: object
    ) -> bytes:
        """The answer to a request, ``seconds`` (or the deadline) until its last byte; ``given`` as
        httpx has it. Raises Again, MaybeBilled or InputError."""
        seconds = seconds or self._seconds
        given |= {"timeout": seconds} | (_as_json(json) if json else {})
        until, content = time.monotonic() + seconds, bytearray()
        most = LARGEST_FILE if path.endswith("/content") else LARGEST
        try:
            with self._http.stream(method, self._base + path, **given) as response:
                for chunk in response.iter_raw():
                    content += chunk
                    if len(content) > most:
                        raise MaybeBilled("the answer is too large")
                    if time.monotonic() > until:
                        raise MaybeBilled("no answer in time")
        except (httpx2.ConnectTimeout, httpx2.PoolTimeout):
            raise Again("no answer in time") from None
        except httpx2.TimeoutException:
            raise MaybeBilled("no answer in time") from None
        except (httpx2.ConnectError, httpx2.UnsupportedProtocol):
            raise Again("it cannot be reached; is BASE_URL right?") from None
        except httpx2.HTTPError:
            raise MaybeBilled("the connection broke") from None
        error = None if response.is_success else parse(content)
        error = error.get("error", error) if isinstance(error, dict) else None
        if response.is_success or (response.status_code == 400 and about_one(error)):
            return bytes(content)
        raise self._reason(response, error if isinstance(error, dict) else None)

    def _reason(self, response: httpx2.Response, error: dict | None) -> Exception:
        """What a status other than 2xx means, with the API's ``error`` object where it has one."""
        status, said = response.status_code, error or {}
        if status in (401, 403):
            return InputError(f"{self._where} refused the key in {KEY} (status {status})")
        if "insufficient_quota" in (said.get("code"), said.get("type")):
            return InputError(f"{self._where}: the account's quota is used up")
        if 300 <= status < 400:
            host = httpx2.URL(response.headers.get("location", "")).host
            where = f"{self._where} redirects to {host!r}"
            return InputError(f"{where}, where the key must not go; set BASE_URL")
        if status in PASSING or status >= 500:
            # an error object of the API is no answer, and costs nothing; who knows of others
            kind = MaybeBilled if error is None and status != 429 else Again
            return kind(f"status {status}", retry_after(response.headers))
        words = f"{said.get('code')}): {said.get('message') or 'it gave no reason'}"
        words = " ".join(words.split()).replace(self._key, "***")[:300]
        kind = NotThere if status == 404 else InputError
        remedy = "; check BASE_URL, which often ends in /v1, and MODEL" if status == 404 else ""
        return kind(f"{self._where} refused (status {status}, {words}{remedy}")


def _as_json(body: dict) -> dict:
    return {"content": json.dumps(body).encode(), "headers": {"content-type": "application/json"}}
