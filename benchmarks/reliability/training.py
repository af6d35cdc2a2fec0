"""Trainings under SIGKILL and damage: resumed, each ends as the one that nothing interrupted.

Real processes that train a tiny real model, real SIGKILLs. Rows: ``{name, tried, survived, lost,
note}``; ``lost`` counts tries that fail, or whose end differs from the uninterrupted run's: in a
parameter, a value of the optimiser, a line of ``steps.jsonl`` (but for its times), ``best.json``
or ``last.json``.
"""

import json
import multiprocessing
import os
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file

from benchmarks._page import page_of, publish, results_of
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.core.params import Stage1, Stage2, Train
from rnagpt_lib.model.checkpoint import MANIFEST, STATE
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.report import readme
from rnagpt_lib.train.loop import Trainer, train
from rnagpt_lib.train.step_log import LOG
from rnagpt_lib.train.training_examples import Examples, stage1_examples, stage2_examples
from tests.support.tiny_model import config_of, random_embeddings, rna_tables, write_llm

RESULTS = results_of("reliability_training")
PAGE = page_of("reliability")
RNAS, TRAINED, STEPS = 24, 20, 100  # of which 4 validate; 10 epochs of 10 steps
COURSE = {
    "epochs": 10, "rnas_per_step": 2, "row_tokens": 128, "validate_every": 7,
    "learning_rate": 3e-2, "final_rate": 1.5e-2, "warmup_steps": 15,
}  # fmt: skip
STAGES = ("stage 1", "stage 2")
SAVE = 0.03  # seconds that a save takes, about
TIMES = {"seconds", "tokens_per_second", "memory_gb"}

_context = multiprocessing.get_context("forkserver")


def main() -> None:
    """Run all campaigns and write their rows."""
    with tempfile.TemporaryDirectory() as name:
        world = World.made(Path(name))
        rows = [
            killed(world, "SIGKILL at random moments", 20, at_random),
            killed(world, "SIGKILL during a save", 20, in_a_save),
            killed(world, "SIGKILL, newest checkpoint truncated", 20, at_random, truncated),
            killed(world, "SIGKILL during a save, a bit flipped", 20, in_a_save, flipped),
            *(every_tenth(world, stage) for stage in STAGES),
        ]
    write_json(RESULTS, rows)
    publish(PAGE, "reliability_training", render())


def render() -> str:
    """The block of the page, from the kept results alone."""
    rows = pd.DataFrame(json.loads(RESULTS.read_text("utf-8")))
    return readme.markdown(rows.astype(str).set_index("name"))


def prepared(stage: str, llm: Path) -> tuple[RnaGpt, Examples, Train]:
    """A new model, the trees of all RNAs, and the course of its training."""
    rnas, pairs = rna_tables([12 + 7 * number % 31 for number in range(RNAS)])
    embeddings = random_embeddings(rnas)
    if stage == "stage 1":
        model = RnaGpt.build(config_of(llm))
        model.projection.whiten(embeddings.values())
        texts = pairs.groupby("rna_id")["answer"].agg(" ".join).to_dict()
        return model, stage1_examples(model, rnas, texts, embeddings), Stage1(**COURSE)
    model = RnaGpt.build(config_of(llm, "lora"))
    trees = stage2_examples(model, rnas, pairs, embeddings)
    return model, trees, Stage2(**COURSE, pairs_per_visit=2)


@dataclass(frozen=True)
class World:
    """A folder for all trainings, and the ends of those that nothing interrupted."""

    folder: Path
    ends: dict[str, dict]

    @classmethod
    def made(cls, folder: Path) -> "World":
        _context.set_forkserver_preload([__name__])  # children start in milliseconds
        write_llm(folder / "llm")
        world = cls(folder, {})
        for stage in STAGES:
            (folder / stage).mkdir()
            world.start(stage, folder / stage).join()
            world.ends[stage] = end(folder / stage)
        return world

    def start(self, stage: str, folder: Path, dies_after: int = 0) -> BaseProcess:
        """A process that trains in ``folder``, from the start or from what is there."""
        arguments = (stage, self.folder / "llm", folder, dies_after)
        process = _context.Process(target=_run, args=arguments, daemon=True)
        process.start()
        return process

    def struck(self, stage: str, strike: Callable[[BaseProcess, Path], bool]) -> Path:
        """The folder of a training that was killed at the moment which ``strike`` looks for."""
        while True:
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            process = self.start(stage, folder)
            if strike(process, folder) and process.exitcode == -signal.SIGKILL:
                return folder

    def survives(self, stage: str, folder: Path) -> bool:
        """Whether the training in ``folder`` goes on, and ends like the uninterrupted one."""
        process = self.start(stage, folder)
        process.join()
        return process.exitcode == 0 and same(end(folder), self.ends[stage])


def killed(
    world: World, name: str, tried: int, strike: Callable, harm: Callable | None = None
) -> dict:
    """Trainings of both stages in turn, killed, harmed, resumed."""
    draw, survived, steps, found = random.Random(name), 0, [], Counter()
    for number in range(tried):
        stage = STAGES[number % 2]
        folder = world.struck(stage, partial(strike, draw=draw, saved=bool(harm)))
        steps.append(len(_lines(folder)))
        found[_within_a_save(folder)] += 1
        if harm:
            found[harm(folder, draw)] += 1
        survived += world.survives(stage, folder)
    seen = [f"{times} × {what}" for what, times in sorted(found.items()) if what]
    note = "; ".join([f"after {min(steps)} to {max(steps)} of {STEPS} steps", *seen])
    return _row(name, tried, survived, note)


def every_tenth(world: World, stage: str) -> dict:
    """A training for every tenth step, which is killed right after it."""
    tries = range(10, STEPS + 1, 10)
    survived = 0
    for step in tries:
        folder = Path(tempfile.mkdtemp(dir=world.folder))
        process = world.start(stage, folder, dies_after=step)
        process.join()
        survived += process.exitcode == -signal.SIGKILL and world.survives(stage, folder)
    note = (
        f"parameters, optimiser and log equal; a checkpoint every {COURSE['validate_every']} steps"
    )
    return _row(f"{stage}, SIGKILL after every tenth step", len(tries), survived, note)


# Moments. A strike kills the process and says whether it met the moment.


def at_random(process: BaseProcess, folder: Path, draw: random.Random, saved: bool) -> bool:
    """Any moment from the process's start on; ``saved``: when a checkpoint is there."""
    lines = draw.randrange(STEPS)
    _kill(process, lambda: len(_lines(folder)) >= lines, draw)
    return bool(_saved(folder)) or not saved


def in_a_save(process: BaseProcess, folder: Path, draw: random.Random, saved: bool) -> bool:
    """While a checkpoint is written, or before ``last.json`` names it."""
    every = COURSE["validate_every"]
    step = draw.randrange(2 * every if saved else every, STEPS, every)
    draft = folder / "checkpoints" / f".step-{step:08d}"
    _kill(process, draft.is_dir, draw)
    return bool(_within_a_save(folder))


def _kill(process: BaseProcess, moment: Callable[[], bool], draw: random.Random) -> None:
    while process.is_alive() and not moment():
        process.join(0.001)
    process.join(draw.random() * SAVE)
    process.kill()
    process.join()


def _within_a_save(folder: Path) -> str:
    """Where in a save a training was killed; nothing when it was killed elsewhere."""
    if list(folder.glob("checkpoints/.step-*")):
        return "a save half written"
    saved, named = _saved(folder), read_json(folder / "checkpoints" / "last.json")
    return "a save not yet named" if saved and named.get("folder") != saved[-1].name else ""


# Harm to the newest checkpoint; the kind of file that was harmed.


def truncated(folder: Path, draw: random.Random) -> str:
    """Cut a file somewhere."""
    path = _any_file(folder, draw)
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])
    return f"{path.name} cut"


def flipped(folder: Path, draw: random.Random) -> str:
    """Flip one bit of a file."""
    path = _any_file(folder, draw)
    raw = bytearray(path.read_bytes())
    raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    path.write_bytes(raw)
    return f"a bit of {path.name}"


def _any_file(folder: Path, draw: random.Random) -> Path:
    newest = _saved(folder)[-1]
    weights = sorted(newest.rglob("*.safetensors"))
    return draw.choice([*weights, newest / STATE, newest / MANIFEST])


# Ends.


def end(folder: Path) -> dict:
    """All that a training leaves: weights, optimiser, log without its times, best and last."""
    last = _saved(folder)[-1]
    rows = [json.loads(line) for line in _lines(folder)]
    return {
        "weights": {path.name: load_file(path) for path in last.rglob("*.safetensors")},
        "state": torch.load(last / STATE, weights_only=True),
        "log": [{name: row[name] for name in row.keys() - TIMES} for row in rows],
        "named": [read_json(folder / "checkpoints" / f"{name}.json") for name in ("best", "last")],
    }


def same(one: object, other: object) -> bool:
    """Whether two ends are equal in every value."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def _saved(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoints/step-*"))


def _lines(folder: Path) -> list[str]:
    path = folder / LOG
    return path.read_text("utf-8").splitlines() if path.is_file() else []


def _row(name: str, tried: int, survived: int, note: str) -> dict:
    lost = tried - survived
    return {"name": name, "tried": tried, "survived": survived, "lost": lost, "note": note}


def _run(stage: str, llm: Path, folder: Path, dies_after: int) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    update, made = Trainer.update, []

    def deadly(*arguments: object) -> dict:
        row = update(*arguments)
        made.append(row)
        if len(made) == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return row

    Trainer.update = deadly
    model, trees, params = prepared(stage, llm)
    train(model, trees[:TRAINED], trees[TRAINED:], params, folder)


if __name__ == "__main__":
    main()
