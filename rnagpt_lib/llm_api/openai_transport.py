"""One request to an OpenAI-compatible server: its raw answer in time, or the reason why not.

The SDK sends it, once. A fault that may pass is `retries.Again`, one that may have been billed is
`MaybeBilled`, all others stop with InputError. No redirect is followed: the key goes to one host.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import httpx2
import openai
from pydantic import BaseModel, ValidationError

from rnagpt_lib.core.errors import InputError, NotThere
from rnagpt_lib.core.params import DEADLINE, KEY, WIDTH, Calls, read_key
from rnagpt_lib.core.text import one_line, redact
from rnagpt_lib.llm_api.messages import NO_FORM, about_one, words_of
from rnagpt_lib.llm_api.retries import Again, open_http, proxy_fault, retry_after

OPENAI = "https://api.openai.com/v1"
LARGEST, LARGEST_FILE = 2**26, 2**30  # bytes of an answer, and of a batch's results
PASSING = (408, 409, 425, 429)  # status codes that may pass, as those from 500

_Kind = TypeVar("_Kind", bound=BaseModel)


class MaybeBilled(Again):
    """The server may have done the work, but its answer did not arrive."""


class Late(MaybeBilled):
    """No answer came in time."""


class NoForm(InputError):
    """The server does not know how the form of an answer is asked for."""


class Transport:
    """The connection to a server. Raises InputError without a key."""

    def __init__(self, settings: Calls):
        self._key = read_key()
        self._where = f"model {settings.model!r} at {settings.base_url or 'the OpenAI API'}"
        most = (settings.width or WIDTH) + 1
        http = open_http(
            self._where,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most),
            headers={"accept-encoding": "identity"},
            event_hooks={"response": [_bound]},
        )
        with self._faults():
            self._sdk = openai.OpenAI(
                api_key=self._key.get_secret_value(),
                base_url=settings.base_url or OPENAI,
                max_retries=0,
                timeout=settings.deadline or DEADLINE,  # until the last byte of an answer
                http_client=http,
            )
        self.close = self._sdk.close

    def what(self, about: str) -> str:
        """How messages begin."""
        return f"{self._where}, {about}" if about else self._where

    def text(self, content: bytes) -> str:
        """What a server sent, without our key."""
        return redact(content.decode("utf-8", "replace"), self._key.get_secret_value())

    def post(self, path: str, body: dict, seconds: float) -> str:
        """The answer to ``body`` as it came, within so many seconds. Raises Again, MaybeBilled or
        InputError."""
        with self._faults():
            try:
                options = {"timeout": seconds}
                found = self._sdk.post(path, body=body, cast_to=httpx2.Response, options=options)
            except openai.BadRequestError as error:
                if not about_one(error.body):
                    raise
                found = error.response  # it is about this request alone
            return self.text(found.content)

    def get(self, path: str, **options: Any) -> bytes:
        """The bytes at ``path``; ``options`` as `call` has them."""
        with self._faults():
            return self._sdk.get(path, cast_to=httpx2.Response, options=options).content

    def call(self, kind: type[_Kind], path: str, sent: dict | None = None, **options: Any) -> _Kind:
        """The answer of another endpoint as a ``kind``: to a POST of what is ``sent`` (the SDK's
        ``body``, ``files``), else to a GET; ``options`` are the SDK's (``timeout`` in seconds,
        ``params``). Raises as `post`, and where it is nothing of the kind."""
        with self._faults():
            verb = self._sdk.post if sent else self._sdk.get
            found = verb(path, cast_to=httpx2.Response, options=options, **(sent or {}))
        try:
            return kind.model_validate_json(self.text(found.content))
        except ValidationError:
            raise MaybeBilled(f"it sent something else than a {kind.__name__.lower()}") from None

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """What goes wrong with the SDK inside the block, in our terms."""
        try:
            yield
        except openai.APITimeoutError as error:
            never = isinstance(error.__cause__, httpx2.ConnectTimeout | httpx2.PoolTimeout)
            raise (Again if never else Late)("no answer in time") from None
        except openai.APIConnectionError as error:
            match fault := error.__cause__:
                case httpx2.ConnectError() | httpx2.UnsupportedProtocol():
                    raise Again("it cannot be reached; is BASE_URL right?") from None
                case httpx2.ProxyError():
                    raise proxy_fault(self._where, self._shown(fault)) from None
                case httpx2.LocalProtocolError():
                    raise self._unsent() from None
            raise MaybeBilled("the connection broke") from None
        except (UnicodeError, httpx2.InvalidURL):
            raise self._unsent() from None
        except openai.APIStatusError as error:
            raise self._reason(error) from None
        except httpx2.HTTPError:
            raise MaybeBilled("the connection broke") from None

    def _unsent(self) -> InputError:
        fault = "was sent nothing: its address or a header holds what none may"
        return InputError(f"{self._where} {fault}; check BASE_URL, and OPENAI_ORG_ID")

    def _shown(self, said: object, most: int = 300) -> str:
        """What the server says, as a message repeats it."""
        return redact(one_line(str(said)), self._key.get_secret_value())[:most]

    def _reason(self, error: openai.APIStatusError) -> Exception:
        status, code = error.status_code, str(error.code)
        if status in (401, 403):
            return InputError(f"{self._where} refused the key in {KEY} (status {status})")
        if "insufficient_quota" in (code, error.type):
            return InputError(f"{self._where}: the account's quota is used up")
        if 300 <= status < 400:
            host = ""
            with suppress(httpx2.InvalidURL):
                host = httpx2.URL(error.response.headers.get("location", "")).host
            place = f"{self._where} redirects to {self._shown(host)!r}"
            return InputError(f"{place}, where the key must not go; set BASE_URL")
        code, words = self._shown(code, 80), self._shown(words_of(error.body))
        if (status in PASSING or status >= 500) and not NO_FORM.search(words):
            # an error object of the API is no answer, and costs nothing; who knows of others
            kind = Again if status == 429 or isinstance(error.body, dict) else MaybeBilled
            said = f"status {status}" + (f" ({words})" if words else "")
            return kind(said, retry_after(error.response.headers))
        words = words or "it gave no reason"
        kind = NotThere if status == 404 else NoForm if NO_FORM.search(words) else InputError
        remedy = "; check BASE_URL, which often ends in /v1, and MODEL" if status == 404 else ""
        return kind(f"{self._where} refused (status {status}, {code}): {words}{remedy}")


class _Bounded(httpx2.SyncByteStream):
    """An answer's bytes, and not more of them than ``most``."""

    def __init__(self, stream: httpx2.SyncByteStream, most: int):
        self._stream, self._left = stream, most

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise httpx2.RemoteProtocolError("the answer is too large")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _bound(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx2.RemoteProtocolError("the answer is compressed, though nobody asked for it")
    most = LARGEST_FILE if response.request.url.path.endswith("/content") else LARGEST
    response.stream, response.encoding = _Bounded(response.stream, most), "utf-8"  # none of its own
