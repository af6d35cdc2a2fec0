"""What a training writes down at every step, and where people look at it."""

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator
from tqdm import tqdm

from rnagpt_lib.core.files import is_watched, writing
from rnagpt_lib.core.params import Train
from rnagpt_lib.model.checkpoint import REMEDY

LOG = "steps.jsonl"


def read_log(folder: Path) -> pd.DataFrame:
    """``steps.jsonl`` of a stage's folder: step, epoch, lr, loss, grad_norm, tokens, pairs,
    seconds, tokens_per_second, memory_gb and, at checkpoints, val_loss."""
    lines = (folder / LOG).read_text("utf-8").splitlines()
    return pd.DataFrame([json.loads(line) for line in lines])


def cut(folder: Path, done: int, writes: bool = True) -> list[float]:
    """The validation losses in the first ``done`` lines of a log; what a killed process wrote
    beyond them goes, where this one ``writes``."""
    log, losses, size = folder / LOG, [], 0
    with log.open("rb") if log.exists() else nullcontext(()) as lines:
        for line in islice(lines, done):  # one by one: a log may have millions
            size += len(line)
            found = json.loads(line).get("val_loss") if b'"val_loss": ' in line else None
            losses += [] if found is None else [found]
    if writes:
        with writing(log, REMEDY):
            log.touch()
            os.truncate(log, size)
    return losses


class StepLog:
    """``steps.jsonl``, the progress bar and the tracker of a training; the main process writes.
    ``done`` of ``total`` steps stand there already."""

    def __init__(self, machine: Accelerator, folder: Path, params: Train, total: int, done: int):
        self.machine, self.path, self.writes = machine, folder / LOG, machine.is_main_process
        self.losses = cut(folder, done, self.writes)
        machine.init_trackers("rnagpt", {k: str(v) for k, v in params.model_dump().items()})
        self.bar = _bar(total, done, self.writes)

    def __enter__(self) -> "StepLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        for tracker in self.machine.trackers:
            tracker.finish()

    def add(self, row: dict) -> None:
        """Write the row of one step down, wherever it is to go."""
        if row.get("val_loss") is not None:
            self.losses.append(row["val_loss"])
        _show(self.bar, row, self.losses)
        self.machine.log({k: v for k, v in row.items() if v is not None}, step=row["step"])
        if self.writes:
            with writing(self.path, REMEDY), self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")

    def is_over(self, patience: int) -> bool:
        """Whether the last ``patience`` validations have brought no new best loss."""
        best = min(self.losses, default=None)
        return bool(patience and best is not None and best not in self.losses[-patience:])


@contextmanager
def progress_of(folder: Path, total: int, done: int) -> Iterator[Callable[[], None]]:
    """The bar of a training that other processes make, by what they write in ``folder``; what comes
    back brings it up to date."""
    losses, bar = cut(folder, done), _bar(total, done)
    with bar, (folder / LOG).open("rb") as lines:
        lines.seek(0, os.SEEK_END)

        def look() -> None:
            while (line := lines.readline()).endswith(b"\n"):
                row = json.loads(line)
                losses.extend([row["val_loss"]] if row.get("val_loss") is not None else [])
                _show(bar, row, losses)
            lines.seek(-len(line), os.SEEK_CUR)  # of a line that is being written

        yield look


def _bar(total: int, done: int, writes: bool = True) -> tqdm:
    # plain text, which stays: an executed notebook shows how long it took
    options = {"disable": not (writes and is_watched()), "mininterval": 5, "unit": "step"}
    return tqdm(total=total, initial=done, desc="training", **options)


def _show(bar: tqdm, row: dict, losses: list[float]) -> None:
    bar.set_postfix(loss=f"{row['loss']:.3f}", validation=losses[-1:], refresh=False)
    bar.update()


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has held: of the GPU, or of the computer's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
