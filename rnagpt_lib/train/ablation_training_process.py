"""The training of one variant of IT (``variants``), in this process:

    python -m rnagpt_lib.train.ablation_training_process RUN NAME SEED

A training that was stopped goes on from its newest checkpoint; one of other data or settings is
moved aside.
"""

import os
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from rnagpt_lib.chat.generate import Chat, chat_of
from rnagpt_lib.core import paths, tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.core.params import Reads, Stage1, Stage2
from rnagpt_lib.core.weights import CONFIG, encoder_folder
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.encoder import MANIFEST as SAVED
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.model.vector_cache import encode_all
from rnagpt_lib.runs import locks
from rnagpt_lib.runs.run import PREVIOUS, new_folder
from rnagpt_lib.runs.stages import MANIFEST, stage_folder
from rnagpt_lib.train.ablation_trainings import DATA, FIRST, TEXTS, Training, params_of
from rnagpt_lib.train.loop import train as loop
from rnagpt_lib.train.training_examples import stage1_sides, stage2_sides, trained_on

VECTORS = ".embeddings"


def train(training: Training) -> pd.DataFrame:
    """Train a variant, or go on with it; the log of its stage 2.

    Raises InputError where another process is at it, and as ``train.train`` does.
    """
    lock = training.folder.parents[1] / ".locks" / training.folder.name
    locks.acquire(lock, f"{training.name} of run {training.run}, seed {training.seed}")
    try:
        manifest = _opened(training)
        log = _Work(training).train()
        shutil.rmtree(training.folder / VECTORS, ignore_errors=True)
        facts = {"status": "finished", "finished": _now(), "steps": len(log)}
        write_json(training.folder / MANIFEST, manifest | facts | {"seconds": log.seconds.sum()})
    finally:
        locks.release(lock)
    return log


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _opened(training: Training) -> dict:
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


def load(training: Training, max_new_tokens: int = 256) -> Chat:
    """A finished training's model, ready to be asked."""
    encoder = training.folder / "encoder"  # where it is now, if the run's folder was moved
    where = {"encoder": str(encoder)} if training.variant.random_encoder else {}
    return chat_of(training.name, checkpoint.find(training.folder), max_new_tokens, **where)


class _Work:
    """Tables, settings and encoder of one training."""

    def __init__(self, training: Training) -> None:
        self.training, self.folder = training, training.folder
        read = {"rnas": DATA, "pairs": DATA, "annotations": TEXTS}
        self.rnas, self.pairs, self.annotations = (
            tables.read(stage_folder(training.run, stage) / f"{table}.parquet", table)
            for table, stage in read.items()
        )
        stage1, stage2 = params_of(training.run)
        encoder = self._random_encoder() if training.variant.random_encoder else stage2.encoder
        self.stage1 = stage1.model_copy(update={"encoder": encoder})
        self.stage2 = stage2.model_copy(update={"encoder": encoder})

    def train(self) -> pd.DataFrame:
        """Stage 1, where the variant has one of its own, then stage 2, whose log it gives."""
        variant, second = self.training.variant, self.stage2
        start = self._stage1() if variant.aligned else None
        model = self._model(second, variant.reads)
        vectors = self._vectors(model, second) if variant.reads == "vectors" else {}
        if start:
            checkpoint.load_projection(model, start)
        elif vectors:
            self._whiten(model, vectors)
        sides = stage2_sides(model, self.rnas, self.pairs, vectors)
        return self._loop(model, sides, second, self.folder)

    def _stage1(self) -> Path:
        """The folder of the stage 1 that the training starts from, trained first if need be."""
        if self.training.takes_the_runs_stage1:
            return stage_folder(self.training.run, FIRST)
        folder, model = self.folder / "stage1", self._model(self.stage1)
        folder.mkdir(exist_ok=True)
        vectors = self._vectors(model, self.stage1)
        self._whiten(model, vectors)
        sides = stage1_sides(model, self.rnas, self.pairs, self.annotations, vectors)
        self._loop(model, sides, self.stage1, folder)
        return folder

    def _loop(self, model: RnaGpt, sides: dict, params: Stage1 | Stage2, folder: Path):
        seed = self.training.seed
        return loop(model, sides["train"], sides["val"], params, folder, seed=seed)

    def _model(self, params: Stage1 | Stage2, reads: Reads = "vectors") -> RnaGpt:
        config = replace(Config.of(params, Encoder.load(params.encoder)), reads=reads)
        return RnaGpt.build(config, seed=self.training.seed, attention=params.attention)

    def _vectors(self, model: RnaGpt, params: Stage1 | Stage2):
        used = self.rnas.loc[self.rnas["split"] != "test", "sequence"].tolist()
        known = stage_folder(self.training.run, FIRST) / VECTORS
        encoder = checkpoint.load_encoder(model)
        return encode_all(encoder, used, self.folder / VECTORS, params.cache, known=known)

    def _whiten(self, model: RnaGpt, vectors) -> None:
        """As 04 does before its first step: statistics of the input, and no training."""
        if self.stage1.whiten:
            model.projection.whiten(vectors[s] for s in trained_on(self.rnas))

    def _random_encoder(self) -> str:
        """The folder of an encoder of the run's shape with weights drawn by the seed."""
        folder, own = self.folder / "encoder", params_of(self.training.run)[1].encoder
        if not (folder / SAVED).is_file():
            fresh = Encoder.fresh(read_json(encoder_folder(own) / CONFIG), self.training.seed)
            fresh.save(folder, {"about": f"the shape of {own}, weights drawn by the seed"})
        return paths.shown(folder)


def main(run: str, name: str, seed: str) -> None:
    """One training, as a process; what goes wrong is the last line that it says."""
    try:
        train(Training(run, name, int(seed)))
    except InputError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
