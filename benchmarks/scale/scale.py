"""The curation's steps on synthetic data of RNAcentral's size: rows a second, memory, resume.

Each step is a process of its own, killed by SIGKILL once about half of it is done (the filter as
it begins), and started again: after how long it is beyond that place is its time to resume.
``RNAGPT_BENCH_RNAS`` sets the number of RNAs (407,616). LDA is not fitted: its tasks are made one
by one, as the pool draws them, and one topic is kept for each set; the groups of an RNA are its
articles by tens. No model is asked: the journal takes every request through its four
transactions with a body of usual length.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import _synthetic as synthetic
from benchmarks._page import page_of, publish, results_of
from rnagpt_lib.core import tables
from rnagpt_lib.core.files import write_json
from rnagpt_lib.core.params import Summarize, Topics
from rnagpt_lib.curate.filter import apply_rules
from rnagpt_lib.curate.splits import relatives, split
from rnagpt_lib.curate.summaries import divide_and_conquer, summarize
from rnagpt_lib.curate.summaries.extract import Subject
from rnagpt_lib.curate.topics import topics
from rnagpt_lib.llm_api.cost import Replay
from rnagpt_lib.llm_api.journal import Asked, Journal, Reader
from rnagpt_lib.report import readme
from rnagpt_lib.runs.resume_store import Store

RESULTS = results_of("scale")
PAGE = page_of("scale")
PER_GROUP, MOST_GROUPS = 10, 6
BODY = json.dumps({"choices": [{"message": {"content": "word " * 200}}], "usage": {}})


def main() -> None:
    """Make the tables, run the steps in turn, write a row for each."""
    n_rnas = int(os.getenv("RNAGPT_BENCH_RNAS", synthetic.RNAS))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kept").mkdir()
        n_articles = synthetic.write_all(folder, n_rnas)
        for step in STEPS:
            rows.append({
                "name": step,
                "workload": f"{n_rnas:,} RNAs, {n_articles:,} articles, synthetic",
                **_killed_once(step, folder),
                "machine": f"{platform.machine()}, {os.cpu_count()} threads, {platform.system()}",
                "date": date.today().isoformat(),
            })  # fmt: skip
            print(rows[-1], flush=True)
            write_json(RESULTS, rows)
    publish(PAGE, "scale", render())


def render() -> str:
    """The block of the page, from the kept results alone."""
    rows = pd.DataFrame(json.loads(RESULTS.read_text("utf-8"))).set_index("name")
    shown = {"rows_per_second": "rows a second", "peak_mb": "peak, MB",
             "killed_after_seconds": "killed after, s", "back_there_after_seconds": "back after, s"}  # fmt: skip
    columns = ["workload", "rows", "seconds", *shown.values()]
    return readme.markdown(rows.rename(columns=shown)[columns])


def _killed_once(step: str, folder: Path) -> dict:
    """Run a step, kill it at half, run it again; what both together took."""
    first = _Child(step, folder)
    at_half = next(report for report in first.reports if report["done"] >= report["of"] / 2)
    peak = first.kill()
    *reports, end = _Child(step, folder).reports
    back = next((report for report in reports if report["done"] > at_half["done"]), end)
    seconds = at_half["seconds"] + end["seconds"]
    return {
        "rows": end["rows"],
        "seconds": round(seconds, 1),
        "rows_per_second": round(end["rows"] / seconds),
        "peak_mb": max(peak, end["peak_mb"]),
        "killed_after_seconds": round(at_half["seconds"], 1),
        "back_there_after_seconds": round(back["seconds"], 1),
    }


class _Child:
    """A step in a process of its own, which reports how far it is, a line each."""

    def __init__(self, step: str, folder: Path):
        command = [sys.executable, "-m", "benchmarks.scale.scale", step, str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    @property
    def reports(self) -> Iterator[dict]:
        for line in self.process.stdout:
            yield json.loads(line)
        if code := self.process.wait():
            raise SystemExit(f"a step ended with {code}")

    def kill(self) -> int:
        """SIGKILL; the peak memory until then, MB."""
        peak = _peak_mb(self.process.pid)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return peak


def _peak_mb(pid: int | str) -> int:
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return (
        int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        // 1024
    )


# A step tells how far it is, and returns how many rows it made in all.

Tell = Callable[[int, int], None]


def filter_and_join(folder: Path, tell: Tell) -> int:
    """Rows that were written; whole tables or none, so a killed filter begins anew."""
    tell(0, 2)
    tell(1, 2)  # killed here: nothing is kept of it, so a later moment would tell the same
    return sum(apply_rules(folder, folder / "kept", 10, 1024).values())


def unit_split(folder: Path, tell: Tell) -> int:
    """RNAs that have a unit and a side."""

    class Bar:
        """In the place of the search's progress bar."""

        def __init__(self, total: int, initial: int, **_: object):
            self.done, self.total = initial, total

        def __enter__(self) -> "Bar":
            tell(self.done, self.total)
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self) -> None:
            self.done += 1
            tell(self.done, self.total)

    rnas = pd.read_parquet(folder / "kept" / "rnas.parquet")
    links = pd.read_parquet(folder / "kept" / "links.parquet")
    relatives.progress = Bar
    with Store(folder / "relatives.sqlite") as store:
        rnas["unit"] = split.units(rnas, links, store)
    return len(split.split(rnas))


def lda_input(folder: Path, tell: Tell) -> int:
    """Links that have a topic, through all of 01 but LDA."""

    def unfitted(_: Callable, tasks: Iterable, *__: object) -> Iterator[list]:
        """In the place of the pool."""
        return ([(0, 1.0)] * len(task.texts) for task in tasks)

    topics.mapped = unfitted
    rnas, articles, links = _tables(folder)
    (folder / "01").mkdir(exist_ok=True)
    with _Told(folder / "01", tell) as spool:
        return len(topics.find(rnas, articles, links, Topics(), 0, spool))


def requests_and_journal(folder: Path, tell: Tell) -> int:
    """Requests built and ended in the journal one by one, in the waves and with the spool of 02."""
    rnas, articles, links = _tables(folder)
    number = links.groupby("rna_id").cumcount()
    grouped = links.assign(topic=np.minimum(number // PER_GROUP, MOST_GROUPS - 1), weight=1.0)
    everyone = summarize.Subjects(rnas, articles, links, grouped)
    waves = divide_and_conquer.waves(everyone.rna_ids, "sync")
    (folder / "02").mkdir(exist_ok=True)
    with Journal(folder / "journal.sqlite") as journal, _Told(folder / "02", tell) as spool:

        def made(missing: Iterable) -> Iterator[int]:
            return (_journalled(everyone.of(wave), journal) for wave in missing)

        return sum(spool.results(waves, made))


class _Told(Store):
    """A spool that tells a thousand times or less how far it is."""

    def __init__(self, folder: Path, tell: Tell):
        super().__init__(folder)
        self.tell = tell

    def results(self, tasks: Iterable, make: Callable[[Iterator], Iterable]) -> Iterator:
        """As a spool's."""
        wanted = list(tasks)
        step = max(1, len(wanted) // 1000)
        for number, result in enumerate(super().results(wanted, make), 1):
            if number % step == 0:
                self.tell(number, len(wanted))
            yield result


def _journalled(wave: Iterator[Subject], journal: Journal) -> int:
    """All calls of a wave; those that the journal has are not made again."""
    settings = Summarize(model="synthetic")
    plans = [
        plan for subject in wave for plan in divide_and_conquer.plan(subject, summarize.SOURCES, 0)
    ]
    with Reader() as empty:
        requests = [
            request
            for plan in plans
            for request in divide_and_conquer.foresee(plan, settings.words, Replay(settings, empty))
        ]
    keyed = {request.key(settings): request for request in requests}
    for key in keyed.keys() - journal.ended(list(keyed)).keys():
        asked = Asked(key, keyed[key].about, keyed[key].version, settings.model, 1000)
        attempts = journal.reserve([asked])
        journal.keep(attempts, BODY)
        journal.settle(attempts[0], 2000, 300, 500)
        journal.finish(attempts[0], "ok")
    return len(keyed)


def _tables(folder: Path) -> list[pd.DataFrame]:
    return [
        tables.read(folder / "kept" / f"{name}.parquet", name)
        for name in ("rnas", "articles", "links")
    ]


STEPS = {
    step.__name__: step for step in (filter_and_join, unit_split, lda_input, requests_and_journal)
}


def _child(step: str, folder: Path) -> None:
    """Run a step and report: how far, for how long, and at the end its rows and peak memory."""
    os.environ["RNAGPT_RUNS"] = str(folder / "runs")
    start = time.perf_counter()

    def tell(done: int, of: int, **more: int) -> None:
        seconds = time.perf_counter() - start
        print(json.dumps({"done": done, "of": of, "seconds": seconds} | more), flush=True)

    rows = STEPS[step](folder, tell)
    tell(1, 1, rows=rows, peak_mb=_peak_mb("self"))


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]))
