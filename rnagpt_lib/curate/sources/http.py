"""Polite HTTP with one host: paced, repeated while a fault may pass, bounded in time and size.

Every answer is checked for its shape (a pydantic model) before it counts as one: a web page
with status 200, half a body or JSON of another kind is asked for again. The texts in it may hold
HTML, as titles and abstracts of Europe PMC and LitScan do: `plain` makes text of them.
"""

import html
import re
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError

import rnagpt_lib
from rnagpt_lib.core.errors import InputError, NotThere, Refused
from rnagpt_lib.core.files import replacing, writing
from rnagpt_lib.llm_api import retries
from rnagpt_lib.llm_api.retries import Again, Pace, persistently, retry_after

USER_AGENT = f"rnagpt-lib/{rnagpt_lib.__version__} (RNA-GPT, the open implementation)"
CONNECT = 30.0  # seconds until a host takes the connection
LARGEST = 200_000_000  # bytes of an answer, decompressed
DOWNLOAD = 12 * 3600.0, 100_000_000_000  # seconds and bytes of a file
PASSING = {408, 429, 500, 502, 503, 504}
clock = time.monotonic  # tests put one of their own here

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


class Reply(BaseModel):
    """A shape in which numbers may stand where texts are expected."""

    model_config = ConfigDict(coerce_numbers_to_str=True)


class Site:
    """One base URL; sites of one host share its ``pace``. ``key``: sent as a bearer token.

    >>> Site("ftp.ebi.ac.uk", Pace(5))
    Traceback (most recent call last):
    rnagpt_lib.core.errors.InputError: 'ftp.ebi.ac.uk' is no http(s) address; write https://host/path
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
        headers = {"user-agent": USER_AGENT, "accept-encoding": "gzip"}
        headers |= {"authorization": f"Bearer {key}"} if key else {}
        options = {"headers": headers, "max_redirects": 4, "event_hooks": {"request": [self._stay]}}
        timeout = httpx2.Timeout(patience.silence, connect=min(CONNECT, patience.silence))
        try:
            self._client = httpx2.Client(verify=_certificates(), timeout=timeout, **options)
        except (ImportError, ValueError, OSError) as error:  # a proxy or roots of the environment
            raise InputError(f"{self.host} cannot be asked from here: {error}") from None

    def _stay(self, request: httpx2.Request) -> None:
        """Redirects are followed within the host alone."""
        if (request.url.scheme, request.url.netloc) != (self._url.scheme, self._url.netloc):
            raise InputError(
                f"{self.host} sends us on to {request.url.netloc.decode()}; if that is its new "
                "address, give it as the base URL"
            )

    def get(self, path: str, shape: type[_Shape], **params: object) -> _Shape:
        """The JSON at ``path``, in its shape. Raises NotThere for 404, InputError otherwise."""
        return self._ask(partial(self._json, shape=shape), "GET", path, params=params or None)

    def post(
        self, path: str, shape: type[_Shape], *, form: dict | None = None, json: object = None
    ) -> _Shape:
        """The JSON that a form, or JSON, posted to ``path`` brings."""
        return self._ask(partial(self._json, shape=shape), "POST", path, data=form, json=json)

    def download(self, path: str, to: Path) -> str:
        """Write a file whole or not at all, undecoded; returns its content type."""

        def write(response: httpx2.Response) -> str:
            kind = response.headers.get("content-type", "")
            if kind.startswith("text/html"):
                raise Again("a web page instead of a file")
            with writing(to, "make room"), replacing(to) as draft, draft.open("wb") as file:
                file.writelines(_pieces(response, *DOWNLOAD))
            return kind

        return self._ask(write, "GET", path, headers={"accept-encoding": "identity"})

    def _ask(
        self, read: Callable[[httpx2.Response], _T], method: str, path: str, **request: object
    ) -> _T:
        """Send until ``read`` accepts the answer; what it is given is closed afterwards."""
        patience = self._patience

        def call() -> _T:
            self._pace.take()
            request["follow_redirects"] = method == "GET"
            try:
                with self._client.stream(method, f"{self.base}{path}", **request) as response:
                    self._check(response)
                    return read(response)
            except httpx2.ConnectTimeout:
                raise Again("nobody takes the connection") from None
            except httpx2.TimeoutException:
                raise Again(f"no answer for {patience.silence:.0f} s") from None
            except (httpx2.HTTPError, zlib.error) as fault:
                raise Again(f"the connection broke ({type(fault).__name__})") from None

        options = {"longest": patience.longest, "remedy": patience.remedy}
        return persistently(call, self.host, patience.attempts, **options)

    def _check(self, response: httpx2.Response) -> None:
        """Again, NotThere or Refused for every status but 200 to 299."""
        code, where = response.status_code, response.url.path
        if code in PASSING:
            after = retry_after(response.headers)
            self._pace.rest(min(after or 0, self._patience.longest))
            raise Again(f"status {code}", after)
        if code == 404:
            raise NotThere(f"{self.host} has no {where}; check the base URL and the id")
        if not response.is_success:
            said = self._body(response).decode("utf-8", "replace")[:200]
            said = " ".join("".join(c if c.isprintable() else " " for c in said).split())
            raise Refused(
                f"{self.host} refuses {where} with status {code} ({said}); check the base "
                "URL and the query"
            )

    def _json(self, response: httpx2.Response, shape: type[_Shape]) -> _Shape:
        try:
            return shape.model_validate_json(self._body(response))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise Again(f"an answer in no known form ({where} {first['msg']})") from None

    def _body(self, response: httpx2.Response) -> bytes:
        return b"".join(_pieces(response, self._patience.deadline, LARGEST))


def _pieces(response: httpx2.Response, seconds: float, largest: int) -> Iterator[bytes]:
    """The body as it arrives; Again past the deadline, InputError past the largest size.

    Unzipped where the host says so, and never more of it at once than may come in all.
    """
    zipped = response.headers.get("content-encoding") == "gzip"
    unzip = zlib.decompressobj(31) if zipped else None
    until, size = clock() + seconds, 0
    for piece in response.iter_raw():
        piece = unzip.decompress(piece, largest + 1) if unzip else piece
        size += len(piece)
        if size > largest:
            host = response.url.netloc.decode()
            raise InputError(f"{host} sends more than {largest:,} bytes; check the base URL")
        if clock() > until:
            raise Again(f"the answer was not complete after {seconds:.0f} s")
        yield piece


@lru_cache
def _certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context()  # reads all roots, so once is enough


# Text out of HTML.

_END = (
    r"""(?:\s+[\w:-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'>]+))*\s*/?>"""  # attributes, all with values
)
_HEADING = re.compile(rf"(?i)<(/?)h[1-6]{_END}")
_BLOCK = re.compile(rf"(?i)</?(?:p|div|br|li|ul|ol|sec|title|list|list-item){_END}")
_INLINE = re.compile(
    rf"(?is)</?(?:i|b|u|em|strong|sub|sup|sc|span|a|italic|bold|small){_END}|"
    r"<!--.*?-->|<[!?][a-z\[][^>]*>"
)
_LEFT = re.compile(r"</?[a-z][a-z0-9:-]*/?>|&#?\w{2,8};", re.IGNORECASE)


def plain(text: str) -> str:
    """``text`` without tags and entities, on one line.

    A tag that is none of HTML's, as in ``p <a and b>``, is text. Regular expressions rather than
    a parser, as those differ in what they do with a ``<`` that nothing closes.

    >>> plain("<h4>Aim</h4>H<sub>2</sub>S &amp; p < .05, n <5.&lt;br/&gt;Done")
    'Aim: H2S & p < .05, n <5. Done'
    """
    for _ in range(2):  # some texts were escaped once too often
        if "<" in text:
            text = _HEADING.sub(lambda tag: ": " if tag[1] else " ", text)
            text = _INLINE.sub("", _BLOCK.sub(" ", text))
        text = html.unescape(text)
    return re.sub(r"([.:?!]): ", r"\1 ", " ".join(text.split()))


def is_plain(text: str) -> bool:
    """Whether nothing that looks like markup is left."""
    return not _LEFT.search(text)
