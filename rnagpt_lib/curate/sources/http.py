"""Polite HTTP with one host: paced, repeated while a fault may pass, bounded in time and size.

Every answer is checked for its shape (a pydantic model) before it counts as one: a web page
with status 200, half a body or JSON of another kind is asked for again.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from pydantic import BaseModel, ValidationError
from requests.packages import urllib3  # what requests itself reads bodies with

import rnagpt_lib
from rnagpt_lib.core.errors import InputError, NotThere, Refused
from rnagpt_lib.core.files import replacing
from rnagpt_lib.llm_api import retries
from rnagpt_lib.llm_api.retries import Again, Pace, persistently, retry_after

USER_AGENT = f"rnagpt-lib/{rnagpt_lib.__version__} (RNA-GPT, the open implementation)"
CONNECT = 30.0  # seconds until a host takes the connection
DOWNLOAD_DEADLINE = 12 * 3600.0
LARGEST = 200_000_000  # bytes of an answer, decompressed
LARGEST_DOWNLOAD = 100_000_000_000
PASSING = {408, 429, 500, 502, 503, 504}
clock = time.monotonic  # tests put one of their own here

_FAULTS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_Shape = TypeVar("_Shape", bound=BaseModel)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Patience:
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


class Site:
    """One base URL; sites of one host share its ``pace``. ``key``: sent as a bearer token.

    >>> Site("ftp.ebi.ac.uk", Pace(5))
    Traceback (most recent call last):
    rnagpt_lib.core.errors.InputError: 'ftp.ebi.ac.uk' is no http(s) address; write https://host/path
    """

    def __init__(
        self,
        base_url: str,
        pace: Pace,
        patience: Patience = PATIENT,
        key: str | None = None,
    ):
        self.base, self.host = base_url.rstrip("/"), urlsplit(base_url).netloc
        if urlsplit(base_url).scheme not in ("http", "https") or not self.host:
            raise InputError(f"{base_url!r} is no http(s) address; write https://host/path")
        self._pace, self._patience = pace, patience
        self._session = requests.Session()
        self._session.headers["User-Agent"] = USER_AGENT
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def get(self, path: str, shape: type[_Shape], **params: object) -> _Shape:
        """The JSON at ``path``, in its shape. Raises NotThere for 404, InputError otherwise."""
        return self._ask(self._json(shape), "GET", path, params=params)

    def post(
        self, path: str, shape: type[_Shape], *, form: dict | None = None, json: object = None
    ) -> _Shape:
        """The JSON that a form, or JSON, posted to ``path`` brings."""
        return self._ask(self._json(shape), "POST", path, data=form, json=json)

    def download(self, path: str, to: Path) -> str:
        """Write a file whole or not at all, undecoded; returns its content type."""

        def write(response: requests.Response) -> str:
            kind = response.headers.get("content-type", "")
            if kind.startswith("text/html"):
                raise Again("a web page instead of a file")
            with replacing(to) as temporary, temporary.open("wb") as file:
                limits = (DOWNLOAD_DEADLINE, LARGEST_DOWNLOAD)
                file.writelines(_pieces(response, *limits, decode=False))
            return kind

        return self._ask(write, "GET", path, headers={"Accept-Encoding": "identity"})

    def _ask(
        self, read: Callable[[requests.Response], _T], method: str, path: str, **request: object
    ) -> _T:
        """Send until ``read`` accepts the answer."""
        patience = self._patience

        def call() -> _T:
            self._pace.take()
            try:
                with self._send(method, f"{self.base}{path}", **request) as response:
                    self._check(response)
                    return read(response)
            except _FAULTS as fault:
                raise Again(self._in_words(fault)) from None

        options = {"longest": patience.longest, "remedy": patience.remedy}
        return persistently(call, self.host, patience.attempts, **options)

    def _send(self, method: str, url: str, **request: object) -> requests.Response:
        """One request, with redirects followed within the host alone."""
        silence = self._patience.silence
        timeout = (min(CONNECT, silence), silence)
        fixed = {"stream": True, "allow_redirects": False, "timeout": timeout}
        for _ in range(4):
            response = self._session.request(method, url, **request, **fixed)
            if not response.is_redirect:
                return response
            url = urljoin(url, response.headers["location"])
            response.close()
            if urlsplit(url)[:2] != urlsplit(self.base)[:2] or method != "GET":
                raise InputError(
                    f"{self.host} sends us on to {urlsplit(url).netloc}; if that is its new "
                    "address, give it as the base URL"
                )
            request.pop("params", None)
        raise Again("it sends us round in a circle")

    def _check(self, response: requests.Response) -> None:
        """Again, NotThere or Refused for every status but 200 to 299."""
        code = response.status_code
        if 200 <= code < 300:
            return
        if code in PASSING:
            after = retry_after(response.headers)
            self._pace.rest(min(after or 0, self._patience.longest))
            raise Again(f"status {code}", after)
        where = urlsplit(response.url).path
        if code == 404:
            raise NotThere(f"{self.host} has no {where}; check the base URL and the id")
        said = self._body(response).decode("utf-8", "replace")
        said = "".join(c if c.isprintable() else " " for c in said[:200])
        raise Refused(
            f"{self.host} refuses {where} with status {code} ({' '.join(said.split())}); check "
            "the base URL and the query"
        )

    def _json(self, shape: type[_Shape]) -> Callable[[requests.Response], _Shape]:
        def read(response: requests.Response) -> _Shape:
            try:
                return shape.model_validate_json(self._body(response))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise Again(f"an answer in no known form ({where} {first['msg']})") from None

        return read

    def _body(self, response: requests.Response) -> bytes:
        return b"".join(_pieces(response, self._patience.deadline, LARGEST))

    def _in_words(self, fault: Exception) -> str:
        if isinstance(fault, requests.ConnectTimeout):
            return "nobody takes the connection"
        if isinstance(fault, requests.Timeout | urllib3.exceptions.TimeoutError):
            return f"no answer for {self._patience.silence:.0f} s"
        return f"the connection broke ({type(fault).__name__})"


def _pieces(
    response: requests.Response, seconds: float, largest: int, decode: bool = True
) -> Iterator[bytes]:
    """The body as it arrives; Again past the deadline, InputError past the largest size."""
    until, size = clock() + seconds, 0
    while piece := response.raw.read1(1 << 16, decode_content=decode):
        size += len(piece)
        if size > largest:
            raise InputError(
                f"{urlsplit(response.url).netloc} sends more than {largest:,} bytes where less "
                "was asked for; check the base URL"
            )
        if clock() > until:
            raise Again(f"the answer was not complete after {seconds:.0f} s")
        yield piece
