"""The curation's steps on synthetic data of RNAcentral's size: seconds, rows a second, peak memory.

Each step is a process of its own. ``RNAGPT_BENCH_RNAS`` sets the number of RNAs (407,616).
LDA is not fitted: its tasks are made one by one, as the pool draws them.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import pandas as pd

from benchmarks import _synthetic as synthetic
from rnagpt_lib import prompts, topics, units
from rnagpt_lib.files import write_json
from rnagpt_lib.profiles import Topics
from rnagpt_lib.sieve import sieve

RESULTS = Path(__file__).parent / "results" / "scale.json"


def main() -> None:
    """Make the tables, run the steps in turn, write a row for each."""
    n_rnas = int(os.getenv("RNAGPT_BENCH_RNAS", synthetic.RNAS))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kept").mkdir()
        n_articles = synthetic.write_all(folder, n_rnas)
        for step in STEPS:
            command = [sys.executable, "-m", "benchmarks.scale", step, str(folder)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append({
                "name": step,
                "workload": f"{n_rnas:,} RNAs, {n_articles:,} articles, synthetic",
                **json.loads(done.stdout),
                "machine": f"{platform.machine()}, {os.cpu_count()} threads, {platform.system()}",
                "date": date.today().isoformat(),
            })  # fmt: skip
            print(rows[-1], flush=True)
            write_json(RESULTS, rows)


def filter_and_join(folder: Path) -> int:
    """Rows that were written."""
    return sum(sieve(folder, folder / "kept", 10, 1024).values())


def unit_split(folder: Path) -> int:
    """RNAs that have a unit and a side."""
    rnas = pd.read_parquet(folder / "kept" / "rnas.parquet")
    rnas["unit"] = units.units(rnas, pd.read_parquet(folder / "kept" / "links.parquet"))
    return len(units.split(rnas))


def lda_input(folder: Path) -> int:
    """Tasks that the pool would get."""
    return sum(1 for _ in _tasks(folder))


def requests(folder: Path) -> int:
    """Requests whose messages were built and hashed, one for each task's abstracts."""
    keys = set()
    for task in _tasks(folder):
        messages = prompts.summary(task.names, zip(range(len(task.texts)), task.texts), 120)  # noqa: B905
        keys.add(hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).digest())
    return len(keys)


def _tasks(folder: Path):
    tables = (
        pd.read_parquet(folder / "kept" / f"{n}.parquet") for n in ("rnas", "articles", "links")
    )
    rnas, articles, links = tables
    sets = links.groupby("rna_id").article_id.agg(lambda ids: tuple(sorted(ids)))
    names = topics._names_by_set(rnas, sets, 4)
    return topics.tasks_of(list(names), names, articles, Topics(), 0)


STEPS = {step.__name__: step for step in (filter_and_join, unit_split, lda_input, requests)}


def _child(step: str, folder: Path) -> None:
    start = time.perf_counter()
    rows = STEPS[step](folder)
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text("utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    found = {"rows": rows, "seconds": round(seconds, 1), "rows_per_second": round(rows / seconds)}
    print(json.dumps(found | {"peak_mb": int(peak.split()[1]) // 1024}))


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]))
