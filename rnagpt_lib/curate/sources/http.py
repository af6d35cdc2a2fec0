"""Polite HTTP with one host: paced, repeated while a fault may pass, bounded in time and size.

An answer counts once it has its shape, a pydantic model: a web page with status 200, half a body
or other JSON is asked for again.
"""

from typing import NamedTuple, TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError

import rnagpt_lib
from rnagpt_lib.core.errors import InputError, NotThere, Refused
from rnagpt_lib.core.text import one_line, redact
from rnagpt_lib.llm_api import retries
from rnagpt_lib.llm_api.retries import Again, Pace, persistently, retry_after

USER_AGENT = f"rnagpt-lib/{rnagpt_lib.__version__} (RNA-GPT, the open implementation)"
CONNECT = 30.0  # seconds until a host takes the connection
LARGEST = 200_000_000  # bytes of an answer, decompressed
PASSING = {408, 429, 500, 502, 503, 504}

_Shape = TypeVar("_Shape", bound=BaseModel)


class Patience(NamedTuple):
    """How long an answer is waited for, and what a user can do when none came.

    Seconds: ``silence`` without a byte, ``deadline`` for all of an answer however steadily it
    trickles, ``longest`` that the host may ask to wait before the next attempt.
    """

    attempts: int = retries.ATTEMPTS
    silence: float = 60.0
    deadline: float = 300.0
    longest: float = retries.LONGEST_WAIT
    remedy: str = retries.LATER


PATIENT = Patience()  # of a job that runs unattended


class Reply(BaseModel):
    """A shape in which numbers may stand where texts are expected."""

    model_config = ConfigDict(coerce_numbers_to_str=True)


class Site:
    """One base URL; sites of one host share its ``pace``. ``key``: sent as a bearer token.

    InputError for what is no http(s) address, and for a proxy of the environment that is none.
    """

    def __init__(
        self, base_url: str, pace: Pace, patience: Patience = PATIENT, key: str | None = None
    ):
        self.base, self._pace, self._patience = base_url.rstrip("/"), pace, patience
        try:
            self._url = httpx2.URL(base_url)
        except httpx2.InvalidURL:
            self._url = httpx2.URL()
        self.host = self._url.netloc.decode()
        if self._url.scheme not in ("http", "https") or not self.host:
            raise InputError(f"{base_url!r} is no http(s) address; write https://host/path")
        self._key = key or ""
        headers = {"user-agent": USER_AGENT, "accept-encoding": "gzip"}
        headers |= {"authorization": f"Bearer {key}"} if key else {}
        options = {"headers": headers, "max_redirects": 4, "event_hooks": {"request": [self._stay]}}
        timeout = httpx2.Timeout(patience.silence, connect=min(CONNECT, patience.silence))
        self._client = retries.open_http(self.host, patience.deadline, timeout=timeout, **options)

    def _stay(self, request: httpx2.Request) -> None:
        """Redirects are followed within the host alone."""
        if (request.url.scheme, request.url.netloc) != (self._url.scheme, self._url.netloc):
            other = self._shown(request.url.host)
            raise InputError(f"{self.host} sends us on to {other}; give its new address, if it is")

    def _shown(self, text: str) -> str:
        """What the host says, as a message repeats it."""
        return redact(one_line(text), self._key)[:200]

    def get(self, path: str, shape: type[_Shape], **params: object) -> _Shape:
        """The JSON at ``path``, in its shape. Raises NotThere for 404, InputError otherwise."""
        return self._ask("GET", path, shape, params=params or None)

    def post(
        self, path: str, shape: type[_Shape], *, form: dict | None = None, json: object = None
    ) -> _Shape:
        """The JSON that a form, or JSON, posted to ``path`` brings."""
        return self._ask("POST", path, shape, data=form, json=json)

    def _ask(self, method: str, path: str, shape: type[_Shape], **request: object) -> _Shape:
        request |= {"follow_redirects": method == "GET"}

        def call() -> _Shape:
            self._pace.take()
            try:
                with self._client.stream(method, f"{self.base}{path}", **request) as response:
                    self._check(response)
                    body = self._body(response)
                    body = redact(body.decode("utf-8", "replace"), self._key) if self._key else body
                    return shape.model_validate_json(body)
            except ValidationError as error:
                first = error.errors()[0]
                fault = self._shown(f"{'.'.join(map(str, first['loc']))} {first['msg']}")
                raise Again(f"an answer in no known form ({fault})") from None
            except httpx2.TimeoutException:
                silence, deadline = self._patience.silence, self._patience.deadline
                late = f"no answer for {silence:.0f} s, or not complete after {deadline:.0f} s"
                raise Again(late) from None
            except httpx2.ProxyError as fault:
                raise retries.proxy_fault(self.host, self._shown(str(fault))) from None
            except (httpx2.HTTPError, UnicodeError) as fault:  # or a host that is no name
                raise Again(f"the connection broke ({type(fault).__name__})") from None

        options = {"longest": self._patience.longest, "remedy": self._patience.remedy}
        return persistently(call, self.host, self._patience.attempts, **options)

    def _check(self, response: httpx2.Response) -> None:
        """Again, NotThere or Refused for every status but 200 to 299."""
        code, where = response.status_code, self._shown(response.url.path)
        if code in PASSING:
            after = retry_after(response.headers)
            self._pace.rest(min(after or 0, self._patience.longest))
            raise Again(f"status {code}", after)
        if code == 404:
            raise NotThere(f"{self.host} has no {where}; check the base URL and the id")
        if not response.is_success:
            said = self._shown(self._body(response).decode("utf-8", "replace")[:2000])
            fault = f"{self.host} refuses {where} with status {code} ({said})"
            raise Refused(f"{fault}; check the base URL and the query")

    def _body(self, response: httpx2.Response) -> bytes:
        """The body; InputError past the size (a piece has 64 KB, zipped)."""
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > LARGEST:
                said = f"{self.host} sends more than {LARGEST:,} bytes"
                raise InputError(f"{said}; check the base URL")
        return bytes(body)
