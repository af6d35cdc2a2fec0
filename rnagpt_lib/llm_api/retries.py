"""What data sources and language models share: the one retry layer, how fast a host is asked, and
how a connection is made."""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, TypeVar
from urllib.request import getproxies

import httpx2

from rnagpt_lib.core.errors import InputError

ATTEMPTS = 6
LONGEST_WAIT = 600.0  # seconds; a server that asks for more is one to come back to
LATER = "run it again later, it goes on here"

_T = TypeVar("_T")
_roots = lru_cache(httpx2.create_ssl_context)  # reads all of them, so once is enough
pause = time.sleep  # tests put a recorder here
clock = time.monotonic  # and a clock of their own here


class Again(Exception):
    """A fault that may pass: its reason in a few words, and the seconds the server asks for."""

    def __init__(self, reason: str, after: float | None = None):
        super().__init__(reason)
        self.after = after


def persistently(
    call: Callable[[], _T],
    what: str,
    attempts: int = ATTEMPTS,
    *,
    longest: float = LONGEST_WAIT,
    remedy: str = LATER,
) -> _T:
    """The result of ``call``, tried up to ``attempts`` times while it raises `Again`, with the wait
    that the server asks for, or an exponential one with jitter. Raises InputError, from ``what`` to
    ``remedy``, when the last attempt failed too, or the server asks for more than ``longest``
    seconds.
    """
    for number in range(attempts):
        try:
            return call()
        except Again as fault:
            wait = random.uniform(0.5, min(2**number, 60)) if fault.after is None else fault.after
            if number + 1 == attempts or wait > longest:
                late = f"; it asks to come back in {fault.after:.0f} s" if fault.after else ""
                raise InputError(f"{what}: {fault}{late}; {remedy}") from None
        pause(wait)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header ``retry-after`` (a number or a date, RFC 9110) asks for.

    >>> retry_after({"retry-after": "7"}), retry_after({"retry-after": "soon"})
    (7.0, None)
    """
    text = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(text))
    with suppress(ValueError, OverflowError):
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    return None


class Pace:
    """Lets at most ``per_second`` units through in a second, evenly, whichever thread sends; None
    lets all through."""

    def __init__(self, per_second: float | None):
        self._gap = 1 / per_second if per_second else 0.0
        self._next, self._lock = 0.0, threading.Lock()

    def take(self, units: int = 1) -> None:
        """Wait for the turn of ``units``."""
        with self._lock:
            now = clock()
            turn = max(now, self._next)
            self._next = turn + units * self._gap
        if turn > now:
            pause(turn - now)

    def rest(self, seconds: float) -> None:
        """Nobody's turn comes for ``seconds``: the host has asked for that."""
        with self._lock:
            self._next = max(self._next, clock() + seconds)


def proxy_fault(who: str, said: str) -> Exception:
    """What to raise for what a proxy ``said`` when it was asked to connect: nothing was sent."""
    fault = f"{who}: the proxy of the environment says {said}; check HTTPS_PROXY"
    return InputError(fault) if said.startswith("4") else Again(fault)


class _Left:
    """The seconds that are left, which a socket asks for, as an index, at each read and write: so
    neither headers byte by byte nor endless status 103 outlast the deadline."""

    def __init__(self, silence: float, deadline: float):
        self._silence, self._until = silence, clock() + deadline

    def __index__(self) -> int:
        left = self._until - clock()
        if left <= 0:
            raise TimeoutError
        return math.ceil(min(left, self._silence))


def open_http(who: str, deadline: float | None = None, **options: Any) -> httpx2.Client:
    """A client of httpx's ``options`` with the environment's proxies and roots. A whole answer has
    to come in ``deadline`` seconds, by default as many as one read may take. Raises InputError,
    beginning with ``who``, where a proxy or the roots are none."""

    def hurry(request: httpx2.Request) -> None:
        times = request.extensions["timeout"]
        if not isinstance(silence := times["read"], _Left):  # it holds for redirects, too
            times["read"] = times["write"] = _Left(silence, deadline or silence)

    for name in ("openai", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)  # below, they log headers
    try:
        client = httpx2.Client(verify=_roots(), **options)
    except OSError as error:
        fault = (
            f"{error.strerror}; let SSL_CERT_FILE and SSL_CERT_DIR name certificates, or nothing"
        )
    except (ImportError, ValueError, httpx2.InvalidURL):  # which may hold a password
        names = " or ".join(f"{name}_PROXY".upper() for name in getproxies())
        fault = f"{names} is no proxy that serves; use http://HOST:PORT, or socks5 and socksio"
    else:
        client.event_hooks["request"].append(hurry)
        return client
    raise InputError(f"{who} cannot be asked from here: {fault}")
