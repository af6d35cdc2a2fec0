"""``rnagpt ask`` under SIGKILL: a file that was written in pieces against one that was not.

A call about RNAs of the reference run is killed again and again, each time some moments after one
more part of its answers was kept, and given again until it ends by itself.
"""

import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.reliability import _rows as _reliability_chat
from rnagpt_lib.core import paths, tables

CALLS, RECORDS = 5, 150
QUESTIONS = ("What type of RNA is the RNA?", "Which family does the RNA belong to?")


def main() -> None:
    """Run the campaign and keep its row."""
    killed = lost = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(CALLS):
            kills, same = one_call(Path(folder) / str(number), number)
            killed += kills
            lost += 0 if same else kills
            print(f"call {number}: {kills} kills, {'the same file' if same else 'ANOTHER FILE'}")
    row = {"name": "ask, killed and given again", "tried": killed, "survived": killed - lost}
    note = f"{CALLS} calls of {RECORDS} records and {len(QUESTIONS)} questions, greedy and drawn"
    _reliability_chat.keep(
        [row | {"lost": lost, "note": f"{note}; a file that differs in a byte is lost"}]
    )


def one_call(folder: Path, number: int) -> tuple[int, bool]:
    """How often a call was killed, and whether it wrote what an undisturbed one writes."""
    folder.mkdir()
    fasta, whole, pieces = (folder / name for name in ("in.fa", "whole.jsonl", "pieces.jsonl"))
    rnas = tables.read(paths.root() / "runs/reference/03_decompose_qa/rnas.parquet", "rnas")
    drawn = rnas.sample(RECORDS, random_state=number)
    fasta.write_text("".join(f">{r.rna_id}\n{r.sequence}\n" for r in drawn.itertuples()))
    options = ["--temperature", "0.8", "--seed", str(number)] if number % 2 else []
    command = [sys.executable, "-m", "rnagpt_lib", "ask", "--fasta", fasta, "--retrieval", "off"]
    command += [part for question in QUESTIONS for part in ("--question", question)] + options
    subprocess.run([*command, "--out", whole], cwd=paths.root(), check=True, capture_output=True)
    rng, kills = random.Random(number), 0
    while not pieces.is_file():
        kills += _killed([*command, "--out", pieces], pieces.with_name("pieces.jsonl.partial"), rng)
    return kills, pieces.read_bytes() == whole.read_bytes()


def _killed(command: list, partial: Path, rng: random.Random) -> bool:
    """Start a call and kill it after one more chunk in ``partial``; False where it ended before."""
    before, after = _chunks(partial), rng.random()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen(command, cwd=paths.root(), **quiet)
    while child.poll() is None and _chunks(partial) <= before:
        time.sleep(0.02)
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    return child.wait() == -signal.SIGKILL


def _chunks(partial: Path) -> int:
    """How many chunks of answers are kept; read beside the process that writes them."""
    try:
        with closing(sqlite3.connect(f"file:{partial}?mode=ro", uri=True)) as store:
            return store.execute("select count(*) from pages where number >= 0").fetchone()[0]
    except sqlite3.OperationalError:  # not made yet, or being made
        return 0


if __name__ == "__main__":
    main()
