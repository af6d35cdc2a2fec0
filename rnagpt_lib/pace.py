"""Limits per minute, as the tiers of an API state them."""

import threading
import time

from rnagpt_lib import retries


class Pace:
    """Lets at most ``per_minute`` units through in a minute, evenly; None lets all through."""

    def __init__(self, per_minute: int | None):
        self._seconds = 60 / per_minute if per_minute else 0.0  # for one unit
        self._free, self._lock = 0.0, threading.Lock()

    def take(self, units: int) -> None:
        """Wait for the turn of ``units``."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._free)
            self._free = turn + units * self._seconds
        if turn > now:
            retries.pause(turn - now)
