"""A training of RNAcentral's size up to its batches: time to the first one, memory, a resume.

`train` itself runs, on synthetic RNAs and pairs and with vectors of zeros; in the place of its
step stands what goes before one: the sampler's visits, their texts as ids, rows, tensors. For
each recipe one process is killed (SIGKILL) 1,000 steps after a checkpoint in mid-epoch, and
another one goes on from there; both note these steps' tokens, which must be the same. Then the
second one goes through the epoch. ``RNAGPT_BENCH_RNAS`` sets the number of RNAs (407,616).
"""

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import date
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from benchmarks import _synthetic as synthetic
from benchmarks._page import page_of, publish, results_of
from rnagpt_lib.core import paths, tables, weights
from rnagpt_lib.core.files import write_json
from rnagpt_lib.core.params import Stage2
from rnagpt_lib.model import checkpoint, language_model
from rnagpt_lib.model.packing import collate, passes
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.report import readme
from rnagpt_lib.train.loop import Trainer, train
from rnagpt_lib.train.step_log import peak_memory
from rnagpt_lib.train.training_examples import Examples, stage2_examples
from rnagpt_lib.train.visit_order import Step, epoch_steps

RESULTS = results_of("scale_training")
PAGE = page_of("scale")
LLM, DIM = "models/mini-llm", 8
RECIPES = {
    "paper": {"recipe": "paper"},
    "packed": {},
    "packed, 8 pairs a visit": {"pairs_per_visit": 8, "always": ("local",)},
}
STOP, NEXT = 200_000, 1000  # steps until the checkpoint, and noted behind it
COLUMNS = ("rna_id", "kind", "question", "answer")  # of the pairs, for a training


def main() -> None:
    """Make the tables, take each recipe through them, write a row for each."""
    n_rnas = int(os.getenv("RNAGPT_BENCH_RNAS", synthetic.RNAS))
    n_pairs = synthetic.PAIRS * n_rnas // synthetic.RNAS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rnas = synthetic.rnas(n_rnas)
        rnas.to_parquet(folder / "rnas.parquet", index=False)
        synthetic.write_pairs(folder / "pairs.parquet", rnas["rna_id"], n_pairs, _words())
        workload = f"{n_rnas:,} RNAs, {n_pairs:,} pairs, synthetic"
        write_json(RESULTS, [_row(recipe, workload, folder) for recipe in RECIPES])
    publish(PAGE, "scale_training", render())


def render() -> str:
    """The block of the page, from the kept results alone."""
    if not RESULTS.is_file():
        return "Not measured yet."
    rows = pd.DataFrame(json.loads(RESULTS.read_text("utf-8"))).set_index("name")
    for name in ("first_batch", "resume", "next_1000"):
        rows[name] = [
            f"{wall:.1f} ({cpu:.1f})"
            for wall, cpu in zip(rows[f"{name}_seconds"], rows[f"{name}_cpu_seconds"], strict=True)
        ]
    shown = {
        "read_seconds": "tables read, s",
        "first_batch": "first batch, s (of CPU)",
        "resume": "resumed, first batch, s",
        "next_1000": "the next 1,000 steps there, s",
        "same": "the same tokens",
        "pairs_visited": "pairs visited",
        "steps_a_second": "sampler, steps a second",
        "tokens_a_second": "packer, tokens a second",
        "peak_mb": "peak, MB",
    }
    return readme.markdown(rows.rename(columns=shown)[["workload", *shown.values()]].astype(str))


def _words() -> list[str]:
    """Words that are one token of the LLM each, so that texts have as many tokens as real ones."""
    vocabulary = language_model.load_tokenizer(LLM).get_vocab()
    return sorted(word[1:] for word in vocabulary if word[0] == "Ġ" and word[1:].isalpha())


def _row(recipe: str, workload: str, folder: Path) -> dict:
    """One recipe: a process that is killed, and another that goes on."""
    killed, resumed = (_report(recipe, folder) for _ in range(2))
    row = {
        "name": recipe,
        "workload": workload,
        "read_seconds": killed["read_seconds"],
        **{f"first_batch_{unit}": killed[f"first_{unit}"] for unit in ("seconds", "cpu_seconds")},
        "resumed_after_steps": resumed["done"],
        **{f"resume_{unit}": resumed[f"first_{unit}"] for unit in ("seconds", "cpu_seconds")},
        **{f"next_1000_{unit}": resumed[f"next_{unit}"] for unit in ("seconds", "cpu_seconds")},
        "same": killed["tokens"] == resumed["tokens"],
        **{name: resumed[name] for name in ("steps_a_second", "tokens_a_second", "pairs_visited")},
        "peak_mb": max(killed["peak_mb"], resumed["peak_mb"]),
        "machine": f"{platform.machine()}, {os.cpu_count()} threads, {platform.system()}",
        "date": date.today().isoformat(),
    }
    print(row, flush=True)
    return row


def _report(recipe: str, folder: Path) -> dict:
    command = [sys.executable, "-m", "benchmarks.scale.scale_training", recipe, str(folder)]
    done = subprocess.run(command, cwd=paths.root(), stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"{recipe} ended with {done.returncode}")
    return json.loads(done.stdout)


class Zeros(Mapping):
    """Vectors of zeros for every sequence, made when they are asked for."""

    def __getitem__(self, sequence: str) -> Tensor:
        return torch.zeros(len(sequence), DIM)

    def __iter__(self):
        return iter(())

    def __len__(self) -> int:
        return 0


class Clock:
    """Seconds and seconds of CPU since its making."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def since(self, name: str) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {f"{name}_seconds": round(wall, 2), f"{name}_cpu_seconds": round(cpu, 2)}


class Enough(Exception):
    """All steps that were to be noted are."""


class Noted:
    """In the place of `Trainer.update`: prepares a step's batches and notes its tokens.

    ``until``: steps of this process that are let pass after the first, before the noted ones.
    """

    def __init__(self, until: int, clock: Clock) -> None:
        self.until, self.clock, self.made = until, clock, 0
        self.tokens, self.found = hashlib.sha256(), {}

    def __call__(self, trainer: Trainer, trees: Examples, step: Step, rate: float) -> dict:
        if not self.made:
            list(_batches(trees, step, trainer.params))
            self.found |= self.clock.since("first")
        if self.made >= self.until:
            own = [trees.tree(*visit) for visit in step.visits]
            said = [(t.rna_id, [(b.prompt, b.answer) for b in t.branches]) for t in own]
            self.tokens.update(json.dumps([said, step.before, rate]).encode())
        self.made += 1
        if self.made == self.until + NEXT:
            self.found |= self.clock.since("next") | {"tokens": self.tokens.hexdigest()}
            raise Enough
        pairs = sum(len(visit.pairs) for visit in step.visits)
        return {"loss": 0.0, "grad_norm": 0.0, "tokens": 0, "pairs": pairs}


def _batches(trees: Examples, step: Step, params: Stage2):
    own = [trees.tree(*visit) for visit in step.visits]
    return (collate(rows, 1) for rows in passes(own, params.row_tokens))


def _child(recipe: str, folder: Path) -> None:
    """One process's part, from reading the tables on; what it found goes to stdout as JSON."""
    clock = Clock()
    rnas, pairs = pd.read_parquet(folder / "rnas.parquet"), _pairs(folder / "pairs.parquet")
    found = {"read_seconds": clock.since("read")["read_seconds"]}
    stop = min(STOP, len(rnas) // 2)
    params = Stage2(**RECIPES[recipe], validate_every=stop, row_tokens=2048)
    encoder = ("none", "0" * 64, DIM)
    model = RnaGpt.build(Config(*encoder, LLM, weights.llm_hash(LLM), "projection"))
    out = folder / recipe
    out.mkdir(exist_ok=True)
    newest = checkpoint.newest(out)
    clock = Clock()
    trees = stage2_examples(model, rnas, pairs, Zeros())
    noted = Noted(0 if newest else stop, clock)
    Trainer.update = lambda *arguments: noted(*arguments)
    try:
        train(model, trees, trees[:0], params, out)
    except Enough:
        found |= noted.found | {"done": stop if newest else 0}
    if newest:
        found |= _rates(trees, params)
    peak = peak_memory(torch.device("cpu"))
    print(json.dumps(found | {"peak_mb": peak // 10**6}), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _pairs(path: Path) -> pd.DataFrame:
    """The columns that a training reads, one copy of them in memory."""
    columns = pa.schema([(name, pa.large_string()) for name in COLUMNS])
    batches = tables.in_batches(path).iter_batches(columns=list(COLUMNS))
    return pa.Table.from_batches([batch.cast(columns) for batch in batches]).to_pandas()


def _rates(trees: Examples, params: Stage2) -> dict:
    """The whole epoch through the sampler, and 1,000 steps of it through the packer."""
    clock, steps, pairs = Clock(), 0, 0
    for step in epoch_steps(trees, params, 0, 1):
        steps += 1
        pairs += sum(len(visit.pairs) for visit in step.visits)
    rate = steps / clock.since("all")["all_cpu_seconds"]
    clock, tokens = Clock(), 0
    for step in islice(epoch_steps(trees, params, 0, 1), NEXT):
        tokens += sum(np.prod(batch.ids.shape) for batch in _batches(trees, step, params))
    return {
        "pairs_visited": pairs,
        "steps_a_second": round(rate),
        "tokens_a_second": round(int(tokens) / clock.since("all")["all_cpu_seconds"]),
    }


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]))
