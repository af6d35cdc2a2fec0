"""Trainings without a notebook: 04 and 05 in as many processes as ``accelerate launch … -m
rnagpt_lib train 05`` starts, whose notebook then reads them, and one training beside a run in this
process:

    python -m rnagpt_lib.train.headless RUN NAME SEED
"""

import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from accelerate.utils import broadcast_object_list

from rnagpt_lib.core import params as profiles
from rnagpt_lib.core import paths, weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.core.params import Train
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.runs import stages
from rnagpt_lib.runs.folder import acquire_lock, archive, lock_of, release_lock
from rnagpt_lib.runs.run import Run
from rnagpt_lib.runs.stages import MANIFEST, STAGE1
from rnagpt_lib.train import loop
from rnagpt_lib.train.ablation_trainings import Training
from rnagpt_lib.train.training_examples import VECTORS, join_processes, prepare


def train_stage(
    stage: str, *, run: str, profile: str, seed: int, overrides: Mapping[str, object]
) -> pd.DataFrame | None:
    """Train a stage of a run, or go on with it; its log, from the main process alone, which opens
    the stage (``overrides`` as in ``Run.open``). Raises InputError as that, as `loop.train`, and
    for a stage that trains nothing."""
    if stage not in stages.TRAININGS:
        raise InputError(f"{stage} trains nothing; {' and '.join(stages.TRAININGS)} do")
    machine, opened = join_processes(), [None]
    if machine.is_main_process:
        profiles.load(profile)  # refuses one that there is not, for which no command would do
        for parent in stages.PARENTS[stage]:  # which to open would run, in all these processes
            if reason := stages.is_fresh(run, parent):
                todo = stages.command(run, parent, profile)
                raise InputError(f"{stage} of run {run} needs {parent}, but {reason}; first {todo}")
        opened = [Run.open(stage, run=run, profile=profile, seed=seed, **overrides)]
        opened[0].show()
        print(f"processes: {machine.num_processes}", flush=True)
    [opened] = broadcast_object_list(opened)
    weights.llm_folder(opened.params.llm, download=True)  # another machine has a cache of its own
    log = _train(opened, opened.params, opened.folder)
    return log if machine.is_main_process else None


def train_variant(training: Training) -> pd.DataFrame:
    """Train a variant, or go on with it; the log of its stage 2. One of other data or settings in
    its place is moved aside. Raises InputError where another process is at it, and as `loop.train`.
    """
    folder, variant = training.folder, training.variant
    what = f"{training.name} of run {training.id}, seed {training.seed}"
    acquire_lock(lock_of(folder), what)
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
        release_lock(lock_of(folder))
    return log


def _train(run: Run | Training, params: Train, folder: Path, **options: object) -> pd.DataFrame:
    model, examples = prepare(run, params, **options)
    return loop.train(model, examples["train"], examples["val"], params, folder, seed=run.seed)


def _open(training: Training) -> dict:
    """The manifest of a training begun; an earlier one with another key is moved aside."""
    folder, key = training.folder, training.key()
    earlier = read_json(folder / MANIFEST)
    if earlier and earlier.get("key") != key:
        archive(folder)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"status": "running", "started": earlier.get("started", _now()), "key": key}
    write_json(folder / MANIFEST, manifest)
    return manifest


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _draw_encoder(training: Training) -> str:
    """The folder of an encoder of the run's shape with weights drawn by the seed."""
    folder, own = Path(training.encoder), training.stage2.encoder
    if not (folder / weights.MANIFEST).is_file():
        shape = weights.encoder_config(weights.encoder_folder(own))
        facts = {"about": f"the shape of {own}, weights drawn by the seed"}
        Encoder.fresh(shape, training.seed).save(folder, facts)
    return paths.shown(folder)


if __name__ == "__main__":
    try:
        train_variant(Training(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    except InputError as problem:
        sys.exit(f"Error: {problem}")
