"""The client with 16 calls at a time against the same calls one after another.

A local server, in a process of its own, answers after a fixed time, as a model would. Both sides
journal every call; each repeat begins with an empty journal.
"""

import multiprocessing
import time
from multiprocessing.connection import Connection

from benchmarks._runs import own_runs
from benchmarks.speed import _peers
from tests.standin import server
from tests.standin.openai_api import OpenAI
from tests.support import paid_loop

WIDTH, CALLS, LATENCY, REPEATS = 16, 32, 1.0, 5  # LATENCY in seconds, that of a short answer
TARGET = 0.8 * WIDTH


def main() -> None:
    """Measure, interleaved, and write the row."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    url = ours.recv()
    try:
        assert _timed(url, WIDTH)[0] == _timed(url, 1)[0], "the two ways brought other answers"
        ratios = [_ratio(url) for _ in range(REPEATS)]
    finally:
        process.kill()
        process.join()
    _peers.keep(
        "curation_client",
        ratios,
        ours=f"llm.Client, width {WIDTH}",
        peer="the same client, one call after another",
        workload=f"{CALLS} chat completions, local server, {LATENCY} s each",
        target=f"≥ {TARGET:g} (0.8 × width)",
        limit=f"{WIDTH}; the account's rate limits",
    )


def _serve(ready: Connection) -> None:
    running = server(OpenAI(wait=LATENCY))
    ready.send(f"http://127.0.0.1:{running.port}")
    running.serve_forever()


def _ratio(url: str) -> float:
    """Seconds one after another over seconds at `WIDTH`."""
    return _timed(url, 1)[1] / _timed(url, WIDTH)[1]


def _timed(url: str, width: int) -> tuple[list, float]:
    """The answers and the seconds that they took, from opening the client to closing it."""
    texts = [f"abstract {number}" for number in range(CALLS)]
    with own_runs():
        start = time.perf_counter()
        replies = paid_loop.ask(texts, url, width=width)
        return [(r.state, r.value, r.microdollars) for r in replies], time.perf_counter() - start
