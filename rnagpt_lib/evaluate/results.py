"""A finished ablation, read back from its files; loads no model."""

import os
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from rnagpt_lib.core import paths, tables
from rnagpt_lib.core.bootstrap import ALL
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json
from rnagpt_lib.runs import stages
from rnagpt_lib.runs.stages import ABLATIONS, METRICS, stage_folder
from rnagpt_lib.train.ablation_trainings import ABLATED as VARIANTS

TRAININGS = "trainings.parquet"
ANNOTATIONS = {"answers": "annotations_written.parquet", "scores": "annotations_scored.parquet"}
SCORES = "scores.parquet"
FLOORS = ("floor.most_common", "floor.random", "floor.nearest", "floor.length")
CONTROLS = ("control.shuffled", "control.swapped", "control.none")
CHAT = "vanilla.chat"  # the LLM in its own chat template, where it has one
FACTS = ("rna_type", "family", "local", "literature", "all", "closed", "species", "abstention")
# What this project claims, fixed before any score is read: (model_a, model_b, metric).
PRIMARY = (
    ("IT", "vanilla", "rougeL"),
    ("IT", "MA", "rougeL"),
    ("IT", "vanilla", "fact.all"),
    ("IT", "floor.most_common", "fact.all"),
    ("IT", "floor.random", "fact.all"),
    ("IT", "control.swapped", "fact.all"),
    ("IT", "floor.nearest", "fact.local"),
    *(("IT", name, "fact.local") for name in VARIANTS),
)


@dataclass(frozen=True)
class Results:
    """What notebook 06 left in a run's folder; the tables are house contracts."""

    run: str
    folder: Path
    answers: pd.DataFrame
    scores: pd.DataFrame
    differences: pd.DataFrame
    metrics: dict
    trainings: pd.DataFrame | None = None  # runs of earlier versions have none

    @property
    def source(self) -> str:
        return self.scores.source.iloc[0]

    @property
    def seed(self) -> int:
        """Of the run's own training: MA has no other."""
        return int(self.answers.loc[self.answers.model == "MA", "seed"].min())

    @property
    def semantic(self) -> list[str]:
        """What has precision, recall and F1 in this run, such as ``S_BERT``, ``S_GPT.words``."""
        found = {m.removesuffix(".f1") for m in self.scores.metric if m.endswith(".f1")}
        return sorted(name for name in found if name.startswith("S_"))

    @property
    def cosines(self) -> list[str]:
        """The metrics that compare whole texts, such as ``S_GPT.cos``."""
        return sorted({m for m in self.scores.metric if re.fullmatch(r"S_.*\.cos", m)})

    @property
    def headlines(self) -> list[str]:
        """One metric of each semantic scorer: F1, and the cosine where there is one."""
        return [f"{s}.f1" for s in self.semantic if not s.endswith(".words")] + self.cosines

    def value(
        self, model: str, metric: str, *, kind: str = ALL, stratum: str = ALL, column: str = "value"
    ) -> float:
        """One number of ``scores``, over open and closed questions; NaN where it does not exist."""
        row = self._rows.get((model, metric, kind, ALL, stratum))
        return float("nan") if row is None else float(getattr(row, column))

    def difference(self, a: str, b: str, metric: str) -> tuple[float, float, float] | None:
        """a − b and its bounds; None where they were not compared."""
        table = self.differences.set_index(["model_a", "model_b", "metric"])
        key = (a, b, metric)
        return tuple(table.loc[key, ["value", "low", "high"]]) if key in table.index else None

    @cached_property
    def _rows(self) -> dict:
        rows = self.scores.itertuples()
        return {(r.model, r.metric, r.kind, r.form, r.stratum): r for r in rows}


def load(run: str) -> Results:
    """The files of ``runs/<run>/06_ablations``. Raises InputError when it is not finished."""
    folder = stage_folder(run, ABLATIONS)
    stages.check_run(run)
    if not (folder / SCORES).is_file():
        todo = f"{stages.is_fresh(run, ABLATIONS)}; run: {stages.command(run, ABLATIONS)}"
        raise InputError(f"{paths.shown(folder)} has no scores: {todo}")
    names = ("answers", "scores", "differences")
    names += ("trainings",) if (folder / TRAININGS).is_file() else ()
    read = {name: tables.read(folder / f"{name}.parquet", name) for name in names}
    return Results(run, folder, metrics=read_json(folder / METRICS), **read)


def load_annotations(results: Results) -> Results:
    """The same of the annotations that MA wrote (notebook 06, ``annotations_*.parquet``): its
    models are MA and the floors, its questions RNAs. Raises InputError where there are none."""
    read = {name: tables.read(results.folder / file, name) for name, file in ANNOTATIONS.items()}
    return replace(results, **read, differences=results.differences[:0])


def headline(results: Results) -> dict[str, dict[str, float]]:
    """Model → metric → value over all questions, for ``metrics.json``."""
    overall = results.scores[(results.scores[["kind", "form", "stratum"]] == ALL).all(axis=1)]
    groups = overall.groupby("model", sort=False)
    return {model: dict(zip(own.metric, own.value, strict=True)) for model, own in groups}


def figure_folder(run: str) -> Path:
    """Where a run's figures are: ``figures/`` for the reference run, else its own folder."""
    return paths.figures() if is_reference(run) else stage_folder(run, ABLATIONS) / "figures"


def is_reference(run: str) -> bool:
    """Whether it is the project's own reference run, which figures and README are of; one of that
    name in another folder of runs (``RNAGPT_RUNS``) is a run like any other."""
    own = paths.runs() == paths.root() / "runs" or "RNAGPT_FIGURES" in os.environ
    return run == "reference" and own
