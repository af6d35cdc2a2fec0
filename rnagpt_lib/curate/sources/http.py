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
from functools import lru_cache
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
DOWNLOAD_DEADLINE = 12 * 3600.0
LARGEST = 200_000_000  # bytes of an answer, decompressed
LARGEST_DOWNLOAD = 100_000_000_000
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
        try:
            self._url = httpx2.URL(base_url)
        except httpx2.InvalidURL:
            self._url = httpx2.URL()
        self.base, self.host = base_url.rstrip("/"), self._url.netloc.decode()
        if self._url.scheme not in ("http", "https") or not self.host:
            raise InputError(f"{base_url!r} is no http(s) address; write https://host/path")
        self._pace, self._patience = pace, patience
        headers = {"user-agent": USER_AGENT, "accept-encoding": "gzip"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        silence = patience.silence
        timeout = httpx2.Timeout(silence, connect=min(CONNECT, silence))
        try:
            self._client = httpx2.Client(verify=_certificates(), headers=headers, timeout=timeout)
        except (ImportError, ValueError, OSError) as error:  # a proxy or roots of the environment
            raise InputError(f"{self.host} cannot be asked from here: {error}") from None

    def get(self, path: str, shape: type[_Shape], **params: object) -> _Shape:
        """The JSON at ``path``, in its shape. Raises NotThere for 404, InputError otherwise."""
        return self._ask(self._json(shape), "GET", path, params=params or None)

    def post(
        self, path: str, shape: type[_Shape], *, form: dict | None = None, json: object = None
    ) -> _Shape:
        """The JSON that a form, or JSON, posted to ``path`` brings."""
        return self._ask(self._json(shape), "POST", path, data=form, json=json)

    def download(self, path: str, to: Path) -> str:
        """Write a file whole or not at all, undecoded; returns its content type."""

        def write(response: httpx2.Response) -> str:
            kind = response.headers.get("content-type", "")
            if kind.startswith("text/html"):
                raise Again("a web page instead of a file")
            with writing(to, "make room"), replacing(to) as draft, draft.open("wb") as file:
                file.writelines(_pieces(response, DOWNLOAD_DEADLINE, LARGEST_DOWNLOAD))
            return kind

        return self._ask(write, "GET", path, headers={"accept-encoding": "identity"})

    def _ask(
        self, read: Callable[[httpx2.Response], _T], method: str, path: str, **request: object
    ) -> _T:
        """Send until ``read`` accepts the answer; what it is given is closed afterwards."""
        patience = self._patience

        def call() -> _T:
            self._pace.take()
            try:
                response = self._send(method, f"{self.base}{path}", **request)
                try:
                    self._check(response)
                    return read(response)
                finally:
                    response.close()
            except httpx2.ConnectTimeout:
                raise Again("nobody takes the connection") from None
            except httpx2.TimeoutException:
                raise Again(f"no answer for {patience.silence:.0f} s") from None
            except (httpx2.HTTPError, httpx2.InvalidURL, zlib.error) as fault:
                raise Again(f"the connection broke ({type(fault).__name__})") from None

        options = {"longest": patience.longest, "remedy": patience.remedy}
        return persistently(call, self.host, patience.attempts, **options)

    def _send(self, method: str, url: str | httpx2.URL, **request: object) -> httpx2.Response:
        """One request, with redirects followed within the host alone."""
        for _ in range(4):
            response = self._client.send(
                self._client.build_request(method, url, **request), stream=True
            )
            if not response.has_redirect_location:
                return response
            response.close()
            url = response.url.join(response.headers["location"])
            here = (url.scheme, url.netloc) == (self._url.scheme, self._url.netloc)
            if not here or method != "GET":
                raise InputError(
                    f"{self.host} sends us on to {url.netloc.decode()}; if that is its new "
                    "address, give it as the base URL"
                )
            request.pop("params", None)
        raise Again("it sends us round in a circle")

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
                f"{self.host} refuses {where} with status {code} ({said}); check the base URL "
                "and the query"
            )

    def _json(self, shape: type[_Shape]) -> Callable[[httpx2.Response], _Shape]:
        def read(response: httpx2.Response) -> _Shape:
            try:
                return shape.model_validate_json(self._body(response))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise Again(f"an answer in no known form ({where} {first['msg']})") from None

        return read

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
            raise InputError(
                f"{response.url.netloc.decode()} sends more than {largest:,} bytes where less "
                "was asked for; check the base URL"
            )
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
