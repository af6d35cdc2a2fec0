"""Trainings without a notebook: 04 and 05 in as many processes as were started,

    accelerate launch --num_processes 8 -m rnagpt_lib train 05 --profile paper_5k

and one training beside a run (`ablation_trainings`) in this process:

    python -m rnagpt_lib.train.headless RUN NAME SEED

The steps are the notebook's own: opened afterwards with the same parameters, it finds the training
done, and reads it.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from rnagpt_lib.core import params as profiles
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.core.params import Train
from rnagpt_lib.core.weights import CONFIG, encoder_folder
from rnagpt_lib.core.weights import MANIFEST as ENCODER_MANIFEST
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.runs.folder import PREVIOUS, acquire_lock, new_folder, release_lock
from rnagpt_lib.runs.run import Run
from rnagpt_lib.runs.stages import MANIFEST, PARENTS, command, is_fresh
from rnagpt_lib.train import loop
from rnagpt_lib.train.ablation_trainings import STAGE1, STAGE2, Training
from rnagpt_lib.train.training_examples import PATIENCE, VECTORS, prepare


def train_stage(
    stage: str, *, run: str, profile: str, seed: int, overrides: Mapping[str, object]
) -> pd.DataFrame | None:
    """Train a stage of a run, or go on with it; its log, from the main process alone.

    ``overrides`` as in ``Run.open``, which the main process opens the stage with.
    Raises InputError for a stage that trains nothing, and where ``Run.open`` and ``train`` do.
    """
    if stage not in (STAGE1, STAGE2):
        raise InputError(f"{stage} trains nothing; {STAGE1} and {STAGE2} do")
    machine = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    opened = [None]
    if machine.is_main_process:
        profiles.load(profile)  # refuses one that there is not, for which no command would do
        for parent in PARENTS[stage]:  # which to open would run, in the processes launched for this
            if reason := is_fresh(run, parent):
                todo = command(run, parent, profile)
                raise InputError(f"{stage} of run {run} needs {parent}, but {reason}; first {todo}")
        opened = [Run.open(stage, run=run, profile=profile, seed=seed, **overrides)]
        opened[0].show()
        print(f"processes: {machine.num_processes}", flush=True)
    [opened] = broadcast_object_list(opened)
    log = _train(opened, opened.params, opened.folder)
    return log if machine.is_main_process else None


def train_variant(training: Training) -> pd.DataFrame:
    """Train a variant, or go on with it; the log of its stage 2.

    A training of other data or settings in its place is moved aside. Raises InputError where
    another process is at it, and as ``loop.train`` does.
    """
    folder, variant = training.folder, training.variant
    lock = folder.parents[1] / ".locks" / folder.name
    acquire_lock(lock, f"{training.name} of run {training.id}, seed {training.seed}")
    try:
        manifest = _open(training)
        encoder = {"encoder": _draw_encoder(training)} if variant.random_encoder else {}
        if variant.aligned and not training.takes_the_runs_stage1:
            training.parent(STAGE1).mkdir(exist_ok=True)
            params = training.stage1.model_copy(update=encoder)
            _train(training, params, training.parent(STAGE1))
        params = training.stage2.model_copy(update=encoder)
        log = _train(training, params, folder, reads=variant.reads, aligned=variant.aligned)
        shutil.rmtree(folder / VECTORS, ignore_errors=True)
        facts = {"status": "finished", "finished": _now(), "steps": len(log)}
        write_json(folder / MANIFEST, manifest | facts | {"seconds": log["seconds"].sum()})
    finally:
        release_lock(lock)
    return log


def _train(run: Run | Training, params: Train, folder: Path, **options: object) -> pd.DataFrame:
    model, examples = prepare(run, params, **options)
    return loop.train(model, examples["train"], examples["val"], params, folder, seed=run.seed)


def _open(training: Training) -> dict:
    """The manifest of a training begun; an earlier one with another key is moved aside."""
    folder, key = training.folder, training.key()
    earlier = read_json(folder / MANIFEST)
    if earlier and earlier["key"] != key:
        aside = new_folder(folder.parents[1] / PREVIOUS, folder.name)
        os.rename(folder, aside / folder.name)
        print(f"{folder.name}: earlier files moved to {paths.shown(aside)}")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"status": "running", "started": earlier.get("started", _now()), "key": key}
    write_json(folder / MANIFEST, manifest)
    return manifest


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _draw_encoder(training: Training) -> str:
    """The folder of an encoder of the run's shape with weights drawn by the seed."""
    folder, own = Path(training.encoder), training.stage2.encoder
    if not (folder / ENCODER_MANIFEST).is_file():
        fresh = Encoder.fresh(read_json(encoder_folder(own) / CONFIG), training.seed)
        fresh.save(folder, {"about": f"the shape of {own}, weights drawn by the seed"})
    return paths.shown(folder)


if __name__ == "__main__":
    try:
        train_variant(Training(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    except InputError as problem:
        sys.exit(f"Error: {problem}")
