"""Row 15: filter and join of 407,616 RNAs with 1,044,729 articles, in batches against pandas.

The tables are synthetic (`benchmarks._synthetic`). Each side runs in a process of its own, which
tells its seconds and its peak memory (VmHWM); the outputs must be equal.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from benchmarks import _synthetic as synthetic
from benchmarks.speed import _peers
from rnagpt_lib.curate.filter import apply_rules

TABLES = ("rnas", "links", "articles")
MIN_LENGTH, MAX_LENGTH = 10, 1024
REPEATS = 3


def main() -> None:
    """Make the tables, time both sides in turn, assert equal outputs, write the row."""
    n_rnas = int(os.getenv("RNAGPT_BENCH_RNAS", synthetic.RNAS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_articles = synthetic.write_all(folder, n_rnas)
        runs = [{side: _run(side, folder) for side in ("ours", "peer")} for _ in range(REPEATS)]
        equal = all(_same(folder / "ours", folder / "peer", table) for table in TABLES)
    assert equal, "the two sides wrote different tables"
    memory = {side: max(run[side]["peak_mb"] for run in runs) for side in ("ours", "peer")}
    _peers.keep(
        "filter_join",
        [run["peer"]["seconds"] / run["ours"]["seconds"] for run in runs],
        ours="parquet batches through pyarrow, written as they come",
        peer="pandas: read, isin, write",
        workload=f"{n_rnas:,} RNAs, {n_articles:,} articles, synthetic; parquet in and out",
        peak_mb=memory,
        memory_share=round(memory["ours"] / memory["peer"], 3),
        target="≥ 1, a quarter of the memory",
        limit="decompression",
    )


def _run(side: str, folder: Path) -> dict:
    """Run one side in a fresh process: {"seconds", "peak_mb"}."""
    (folder / side).mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.speed.filter_join", side, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _child(side: str, folder: Path) -> None:
    start = time.perf_counter()
    if side == "ours":
        apply_rules(folder, folder / side, MIN_LENGTH, MAX_LENGTH)
    else:
        by_pandas(folder, folder / side)
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text("utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "peak_mb": int(peak.split()[1]) // 1024}))


def by_pandas(source: Path, target: Path) -> None:
    """The same filter as a few lines of pandas."""
    rnas, links, articles = (pd.read_parquet(source / f"{name}.parquet") for name in TABLES)
    rnas = rnas[rnas["length"].between(MIN_LENGTH, MAX_LENGTH)]
    links = links[links["rna_id"].isin(rnas["rna_id"])]
    articles = articles[articles["article_id"].isin(links["article_id"])]
    for name, data in zip(TABLES, (rnas, links, articles), strict=True):
        data.to_parquet(target / f"{name}.parquet", index=False)


def _same(one: Path, other: Path, table: str) -> bool:
    """Equal tables, compared column by column."""
    paths = [folder / f"{table}.parquet" for folder in (one, other)]
    return all(
        pq.read_table(paths[0], columns=[name])[name].cast("string").equals(
            pq.read_table(paths[1], columns=[name])[name].cast("string")
        )
        for name in pq.read_schema(paths[0]).names
    )  # fmt: skip


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]))
