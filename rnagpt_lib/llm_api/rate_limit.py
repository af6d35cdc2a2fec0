"""How fast a host may be asked: evenly, whichever thread sends."""

import threading
import time

from rnagpt_lib.llm_api import retries

clock = time.monotonic  # tests put one of their own here


class Pace:
    """Lets at most ``per_second`` units through in a second; None lets all through."""

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
            retries.pause(turn - now)

    def rest(self, seconds: float) -> None:
        """Nobody's turn comes for ``seconds``: the host has asked for that."""
        with self._lock:
            self._next = max(self._next, clock() + seconds)
