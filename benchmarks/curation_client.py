"""The client with 16 calls at a time against the same calls one after another.

A local server, in a process of its own, answers after a fixed time, as a model would. Both sides
journal every call; each repeat begins with an empty journal.
"""

import json
import multiprocessing
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from rnagpt_lib import report, wire
from rnagpt_lib.files import write_json
from tests import paid_loop
from tests.standin import server
from tests.standin.openai_api import OpenAI

RESULTS = Path(__file__).parent / "results" / "curation_client.json"
README = Path(__file__).parent / "README.md"
WIDTH, CALLS, LATENCY, REPEATS = 16, 32, 1.0, 5  # LATENCY in seconds, that of a short answer
TARGET = 0.8 * WIDTH


def main() -> None:
    """Measure, interleaved, and write the row."""
    os.environ[wire.KEY] = "sk-benchmark"
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    url = ours.recv()
    try:
        equal = _timed(url, WIDTH)[0] == _timed(url, 1)[0]
        if not equal:
            raise AssertionError("the two ways brought different answers")
        ratios = sorted(_ratio(url) for _ in range(REPEATS))
    finally:
        process.kill()
        process.join()
    row = {
        "name": "concurrent curation client",
        "ours": f"llm.Client, width {WIDTH}",
        "peer": "the same client, one call after another",
        "workload": f"{CALLS} chat completions, local server, {LATENCY} s each",
        "ratio_median": round(median(ratios), 2),
        "ratio_low": round(ratios[0], 2),
        "ratio_high": round(ratios[-1], 2),
        "repeats": REPEATS,
        "equal": equal,
        "target": f"≥ {TARGET:g} (0.8 × width)",
        "limit": f"{WIDTH}; the account's rate limits",
        "machine": f"{platform.machine()}, {os.cpu_count()} threads, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    write_json(RESULTS, [row])
    print(report.write_block(README, "curation_client", render()))


def render() -> str:
    """The block of ``benchmarks/README.md``, from the kept result alone."""
    (row,) = json.loads(RESULTS.read_text("utf-8"))
    return (
        f"{row['ours']} against {row['peer']} ({row['workload']}): **{row['ratio_median']} times as "
        f"fast** [{row['ratio_low']}, {row['ratio_high']}], {row['repeats']} interleaved repeats, "
        f"equal answers; target {row['target']}, limit {row['limit']}. {row['machine']}, "
        f"{row['date']}."
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
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RNAGPT_RUNS"] = folder
        try:
            start = time.perf_counter()
            replies = paid_loop.ask(texts, url, width=width)
            return [
                (r.state, r.value, r.microdollars) for r in replies
            ], time.perf_counter() - start
        finally:
            del os.environ["RNAGPT_RUNS"]
