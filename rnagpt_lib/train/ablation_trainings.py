"""IT trained otherwise: the same pairs, steps and settings, with a part of the model taken away.

What stage 1, the encoder's knowledge, the soft tokens and the RNA itself are worth is told by
models that were trained without them. Each of ``VARIANTS`` is trained with each seed beside a
run's own IT (``rnagpt train-variants``), under ``runs/RUN/variants/NAME-seedS/``:

    manifest.json   steps.jsonl   checkpoints/   stage1/ (where it has one of its own)   train.log

Notebook 06 asks those that it finds finished, and keeps their answers beside the manifest.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from threading import Lock

from rnagpt_lib.core import paths, progress
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json
from rnagpt_lib.core.params import Reads, Stage1, Stage2
from rnagpt_lib.runs.stages import MANIFEST, PARAMS, is_fresh, stage_folder, stage_hash

FIRST, SECOND, DATA, TEXTS = (
    "04_train_stage1",
    "05_train_stage2",
    "03_decompose_qa",
    "02_summarize",
)


@dataclass(frozen=True)
class Variant:
    """``reads``: what stands where the RNA is (``model.Config``); ``aligned``: whether stage 1
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
TAKEN = tuple(name for name in VARIANTS if name != "IT")  # those with something taken away
NO_MA = "it.no_ma"
# no soft tokens, nothing for stage 1 to align: beside IT these lack two things, beside NO_MA one
SOFTLESS = tuple(name for name, variant in VARIANTS.items() if variant.reads != "vectors")


@dataclass(frozen=True)
class Training:
    """One variant of one run with one seed."""

    run: str
    name: str
    seed: int

    @property
    def folder(self) -> Path:
        stage_folder(self.run, SECOND)  # refuses a bad run id
        return paths.runs() / self.run / "variants" / f"{self.name}-seed{self.seed}"

    @property
    def variant(self) -> Variant:
        return VARIANTS[self.name]

    @property
    def is_the_runs_own(self) -> bool:
        """IT with the run's seed: notebook 05 has trained it."""
        return self.name == "IT" and self.seed == seed_of(self.run)

    @property
    def takes_the_runs_stage1(self) -> bool:
        """Whether it starts from the projection that notebook 04 has trained."""
        own = self.seed == seed_of(self.run) and not self.variant.random_encoder
        return self.variant.aligned and own

    def key(self) -> dict:
        """All that decides what comes out; the settings are those of the run's 04 and 05."""
        stage1, stage2 = params_of(self.run)
        parents = {stage: stage_hash(self.run, stage) for stage in (TEXTS, DATA)}
        if self.takes_the_runs_stage1:
            parents[FIRST] = stage_hash(self.run, FIRST)
        key = {"seed": self.seed, "variant": asdict(self.variant), "parents": parents}
        return key | {"stage1": stage1.key(), "stage2": stage2.key()}

    def is_finished(self) -> bool:
        """Whether it is trained, on what the run holds now."""
        manifest = read_json(self.folder / MANIFEST)
        return manifest.get("status") == "finished" and manifest["key"] == self.key()

    def has_weights(self) -> bool:
        """Whether its checkpoints are here: of a published run the manifests and answers are."""
        return (self.folder / "checkpoints").is_dir()


def seed_of(run: str) -> int:
    """The seed of a run's own stage 2."""
    return read_json(stage_folder(run, SECOND) / PARAMS).get("seed", 0)


def params_of(run: str) -> tuple[Stage1, Stage2]:
    """The settings that a run's 04 and 05 were trained with; a variant has one process."""
    read = [read_json(stage_folder(run, stage) / PARAMS)["params"] for stage in (FIRST, SECOND)]
    read = [params | {"parallel": "ddp"} for params in read]
    return Stage1.model_validate(read[0]), Stage2.model_validate(read[1])


def found(run: str) -> list[Training]:
    """The finished trainings of a run, variant by variant, without its own IT."""
    folder = paths.runs() / run / "variants"
    made = (path.name.rpartition("-seed") for path in folder.glob("*-seed*"))
    there = [
        Training(run, name, int(seed))
        for name, _, seed in made
        if name in VARIANTS and seed.isdecimal()
    ]
    order = list(VARIANTS)
    there.sort(key=lambda training: (order.index(training.name), training.seed))
    return [training for training in there if training.is_finished()]


def train_all(run: str, names: Sequence[str], seeds: Sequence[int], workers: int) -> list[Training]:
    """Train what of ``names`` with ``seeds`` is not finished yet, or not here, ``workers`` at a
    time, each in a process of its own on one thread; all that were asked for, in order.

    A training that was stopped goes on from its newest checkpoint; where this is interrupted, its
    trainings end, too. Raises InputError for an unknown name, for a run whose 04 or 05 is not
    finished, and, once the others have ended, where a training failed.
    """
    for stage in (FIRST, SECOND):
        if reason := is_fresh(run, stage):
            raise InputError(f"run {run} has no {stage} to train variants beside: {reason}")
    for name in names:
        if name not in VARIANTS:
            raise InputError(f"variant {name!r} is unknown; variants are {', '.join(VARIANTS)}")
    asked = [Training(run, name, seed) for seed in seeds for name in names]
    asked = [training for training in asked if not training.is_the_runs_own]
    todo = [t for t in asked if not (t.is_finished() and t.has_weights())]
    print(f"{len(asked) - len(todo)} of {len(asked)} trainings stand already", flush=True)
    failed = []
    with _Processes(workers) as processes, progress.bar(total=len(todo), unit="training") as bar:
        for training, problem in processes.train(todo):
            bar.update()
            told = f"{training.name}, seed {training.seed}: {problem or 'trained'}"
            print(f"{told} ({paths.shown(training.folder)})", flush=True)
            failed += [told] if problem else []
    if failed:
        raise InputError(f"{len(failed)} of {len(todo)} trainings failed; {failed[0]}")
    return asked


class _Processes:
    """Trainings in children, some at a time; none is left when the block ends."""

    def __init__(self, workers: int) -> None:
        self.pool, self.children = ThreadPoolExecutor(workers), set()
        self.starting, self.ended = Lock(), False

    def __enter__(self) -> "_Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        with self.starting:  # so that no child is missed, and none begins behind it
            self.ended = True
            for child in list(self.children):
                child.terminate()
        self.pool.shutdown()

    def train(self, todo: Sequence[Training]) -> Iterator[tuple[Training, str | None]]:
        """Each training as it ends; None, or the last thing that it said before it failed."""
        for done in as_completed([self.pool.submit(self._one, training) for training in todo]):
            yield done.result()

    def _one(self, training: Training) -> tuple[Training, str | None]:
        given = (training.run, training.name, str(training.seed))
        command = [sys.executable, "-m", "rnagpt_lib.train.ablation_training_process", *given]
        environment, last = os.environ | {"OMP_NUM_THREADS": "1"}, ""
        with self.starting:
            if self.ended:
                return training, "it was not begun"
            training.folder.mkdir(parents=True, exist_ok=True)
            child = Popen(command, env=environment, stdout=PIPE, stderr=STDOUT, text=True)
            self.children.add(child)
        with child, (training.folder / "train.log").open("a", encoding="utf-8") as log:
            for line in child.stdout:
                log.write(line)
                log.flush()
                last = line.strip() or last
        self.children.discard(child)
        return training, None if child.returncode == 0 else last or f"exit code {child.returncode}"
