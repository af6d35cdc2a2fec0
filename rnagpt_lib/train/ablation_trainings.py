"""IT trained otherwise: the same pairs, steps and settings, with a part of the model taken away.

``rnagpt train-variants`` trains each of `VARIANTS` with each seed in
``runs/RUN/variants/NAME-seedS/``; notebook 06 asks those that it finds finished, and keeps their
answers there.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import STDOUT, Popen

import pandas as pd

from rnagpt_lib.core import paths, tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import progress, read_json
from rnagpt_lib.core.params import Reads, Stage1, Stage2
from rnagpt_lib.runs import stages
from rnagpt_lib.runs.stages import MANIFEST, QA, STAGE1, STAGE2, SUMMARIES, stage_folder

LOG = "train.log"


@dataclass(frozen=True)
class Variant:
    """``reads``: what stands where the RNA is (``rna_gpt.Config``); ``aligned``: whether stage 1
    comes first; ``random_encoder``: RNA-FM's shape with weights that nobody trained."""

    reads: Reads = "vectors"
    aligned: bool = True
    random_encoder: bool = False


VARIANTS = {
    "IT": Variant(),
    "it.no_ma": Variant(aligned=False),
    "it.random_encoder": Variant(random_encoder=True),
    "it.text": Variant("letters", aligned=False),
    "it.blind": Variant("nothing", aligned=False),
}
ABLATED = tuple(name for name in VARIANTS if name != "IT")  # those with something taken away
NO_MA = "it.no_ma"
# no soft tokens, nothing for stage 1 to align: beside IT these lack two things, beside NO_MA one
SOFTLESS = tuple(name for name, variant in VARIANTS.items() if variant.reads != "vectors")


@dataclass(frozen=True)
class Training:
    """One variant, by name, of the run ``id`` with one seed; `prepare` reads it as a ``Run``."""

    id: str
    name: str
    seed: int

    @property
    def folder(self) -> Path:
        stage_folder(self.id, STAGE2)  # refuses a bad run id
        return paths.runs() / self.id / "variants" / f"{self.name}-seed{self.seed}"

    @property
    def variant(self) -> Variant:
        return VARIANTS[self.name]

    @property
    def has_the_runs_seed(self) -> bool:
        return self.seed == self._params(STAGE2).get("seed", 0)

    @property
    def takes_the_runs_stage1(self) -> bool:
        """Whether it starts from the projection that notebook 04 has trained."""
        own = self.has_the_runs_seed and not self.variant.random_encoder
        return self.variant.aligned and own

    @property
    def stage1(self) -> Stage1:
        """The settings that the run's 04 was trained with; a variant has one process."""
        return Stage1.model_validate(self._params(STAGE1)["params"] | {"parallel": "ddp"})

    @property
    def stage2(self) -> Stage2:
        """Those of the run's 05."""
        return Stage2.model_validate(self._params(STAGE2)["params"] | {"parallel": "ddp"})

    def _params(self, stage: str) -> dict:
        return stages.asked_of(stage_folder(self.id, stage))

    @property
    def encoder(self) -> str | None:
        """The folder of its own encoder, for a random one; None where it is the run's."""
        return str(self.folder / "encoder") if self.variant.random_encoder else None

    def parent(self, stage: str) -> Path:
        """The folder of a stage before it; of stage 1, its own where it has one."""
        own = stage == STAGE1 and not self.takes_the_runs_stage1
        return self.folder / "stage1" if own else stage_folder(self.id, stage)

    def read(self, stage: str, table: str) -> pd.DataFrame:
        """A table of the run."""
        return tables.read(stage_folder(self.id, stage) / f"{table}.parquet", table)

    def key(self) -> dict:
        """All that decides what comes out; the settings are those of the run's 04 and 05."""
        before = (SUMMARIES, QA, STAGE1) if self.takes_the_runs_stage1 else (SUMMARIES, QA)
        parents = {stage: stages.stage_hash(self.id, stage) for stage in before}
        key = {"seed": self.seed, "variant": asdict(self.variant), "parents": parents}
        return key | {"stage1": self.stage1.key(), "stage2": self.stage2.key()}

    def is_finished(self) -> bool:
        """Whether it is trained, on what the run holds now."""
        manifest = read_json(self.folder / MANIFEST)
        return manifest.get("status") == "finished" and manifest.get("key") == self.key()

    def has_weights(self) -> bool:
        """Whether its checkpoints are here: of a published run the manifests and answers are."""
        return (self.folder / "checkpoints").is_dir()


def list_finished(run: str) -> list[Training]:
    """The finished trainings of a run, variant by variant, without its own IT."""
    folders = (paths.runs() / run / "variants").glob("*-seed*")
    parts = (path.name.rpartition("-seed") for path in folders)
    there = [Training(run, n, int(s)) for n, _, s in parts if n in VARIANTS and s.isdecimal()]
    there.sort(key=lambda training: (list(VARIANTS).index(training.name), training.seed))
    return [training for training in there if training.is_finished()]


def train_all(run: str, names: Sequence[str], seeds: Sequence[int], workers: int) -> list[Training]:
    """Train what of ``names`` with ``seeds`` is not finished, or not here, ``workers`` at a time,
    each in a process of its own on one thread, from its newest checkpoint on; all that were asked
    for. Raises InputError for an unknown name, an unfinished 04 or 05, and, at the end, a training
    that failed."""
    for stage in (STAGE1, STAGE2):
        if reason := stages.is_fresh(run, stage):
            raise InputError(f"run {run} has no {stage} to train variants beside: {reason}")
    if unknown := sorted(set(names) - VARIANTS.keys()):
        raise InputError(f"variant {unknown[0]!r} is unknown; variants are {', '.join(VARIANTS)}")
    asked = [Training(run, name, seed) for seed in seeds for name in names]
    asked = [t for t in asked if not (t.name == "IT" and t.has_the_runs_seed)]  # 05 has trained it
    todo = [t for t in asked if not (t.is_finished() and t.has_weights())]
    print(f"{len(asked) - len(todo)} of {len(asked)} trainings stand already", flush=True)
    if failed := _train_in_processes(todo, workers):
        raise InputError(f"{len(failed)} of {len(todo)} trainings failed; {failed[0]}")
    return asked


def _train_in_processes(todo: Sequence[Training], workers: int) -> list[str]:
    """What failed and why. No child is left when this ends, however it does."""
    waiting, children, failed = list(todo), {}, []
    try:
        with progress(total=len(todo), unit="training") as bar:
            while waiting or children:
                while waiting and len(children) < workers:
                    training = waiting.pop(0)
                    children[training] = _start(training)
                ended = [t for t, child in children.items() if child.poll() is not None]
                for training in ended:
                    code, log = children.pop(training).returncode, training.folder / LOG
                    said = log.read_text("utf-8", "replace") if code else "trained"
                    last = said.strip().rpartition("\n")[2] or f"exit code {code}"
                    told = f"{training.name}, seed {training.seed}: {last}"
                    print(f"{told} ({paths.shown(training.folder)})", flush=True)
                    failed += [told] if code else []
                    bar.update()
                if not ended:
                    time.sleep(0.2)
    finally:
        for child in children.values():
            child.terminate()
            child.wait()
    return failed


def _start(training: Training) -> Popen:
    given = (training.id, training.name, str(training.seed))
    command = [sys.executable, "-m", "rnagpt_lib.train.headless", *given]
    training.folder.mkdir(parents=True, exist_ok=True)
    with (training.folder / LOG).open("a", encoding="utf-8") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return Popen(command, env=environment, stdout=log, stderr=STDOUT)
