"""The one retry layer, of data sources and language models alike, and how fast a host is asked."""

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from rnagpt_lib.core.errors import InputError

ATTEMPTS = 6
LONGEST_WAIT = 600.0  # seconds; a server that asks for more is one to come back to
LATER = "run it again later, it goes on here"

_T = TypeVar("_T")
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
    with suppress(ValueError):
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
