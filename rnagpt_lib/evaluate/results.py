"""A finished ablation, read back from its files, and its tables: in the paper's layout with
the paper's values beside, facts, strata, differences. Loads no model.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from rnagpt_lib.core import paper, paths, tables
from rnagpt_lib.core.bootstrap import ALL
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json
from rnagpt_lib.evaluate import evidence
from rnagpt_lib.runs.stages import (
    ABLATIONS,
    METRICS,
    MODELS,
    PARAMS,
    QA,
    check_run,
    command,
    is_fresh,
    stage_folder,
)
from rnagpt_lib.train.ablation_trainings import ABLATED as VARIANTS

TRAININGS = "trainings.parquet"
ANNOTATIONS = {"answers": "annotations_written.parquet", "scores": "annotations_scored.parquet"}
SCORES = "scores.parquet"
FLOORS = ("floor.most_common", "floor.random", "floor.nearest", "floor.length")
CONTROLS = ("control.shuffled", "control.swapped", "control.none")
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
PLACE = "*place*: where a score stands between the random answer's (0) and a perfect one (1)"
PAPER_SOURCE = {"dnc": "D&C", "single_pass": "D&C", "given": "AIS"}


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
        self,
        model: str,
        metric: str,
        *,
        kind: str = ALL,
        form: str = ALL,
        stratum: str = ALL,
        column: str = "value",
    ) -> float:
        """One number of ``scores``; NaN where it does not exist."""
        row = self._rows.get((model, metric, kind, form, stratum))
        return float("nan") if row is None else float(getattr(row, column))

    @property
    def seed(self) -> int:
        """Of the run's own training: MA has no other."""
        return int(self.answers.loc[self.answers["model"] == "MA", "seed"].min())

    def of_own(self, models: Sequence[str], metric: str) -> list[float]:
        """The same over all questions, of the run's own training, which alone the controls ask."""
        if self.trainings is None:
            return [self.value(model, metric) for model in models]
        table = self.trainings[
            (self.trainings[["metric", "seed"]] == [metric, self.seed]).all(axis=1)
        ]
        values = table.set_index("model")["value"]
        return [float(values.get(model, float("nan"))) for model in models]

    @cached_property
    def _rows(self) -> dict:
        rows = self.scores.itertuples()
        return {(r.model, r.metric, r.kind, r.form, r.stratum): r for r in rows}


def load(run: str) -> Results:
    """The files of ``runs/<run>/06_ablations``. Raises InputError when it is not finished."""
    folder = stage_folder(run, ABLATIONS)
    check_run(run)
    if not (folder / SCORES).is_file():
        todo = f"{is_fresh(run, ABLATIONS)}; run: {command(run, ABLATIONS)}"
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


def figure_folder(run: str) -> Path:
    """Where a run's figures are: ``figures/`` for the reference run, else its own folder."""
    return paths.figures() if is_reference(run) else stage_folder(run, ABLATIONS) / "figures"


def is_reference(run: str) -> bool:
    """Whether it is the project's own reference run, which figures and README are of; one of that
    name in another folder of runs (``RNAGPT_RUNS``) is a run like any other."""
    own = paths.runs() == paths.root() / "runs" or "RNAGPT_FIGURES" in os.environ
    return run == "reference" and own


# --- tables: a row for each model, cells are texts

Cell = Callable[[str], str]  # model → text


def rouge_table(results: Results) -> pd.DataFrame:
    """Layout of the paper's Tables 2 and 4: ROUGE F1 of vanilla, MA, IT, the paper's beside; where
    ROUGE-L stands between the random answer's (0) and 1, and the words of an answer on average."""
    columns = {title(m): _values(results, m) for m in (*paper.ROUGE, "rougeLsum")}
    columns |= {f"{title('rougeL')} place": _place(results, "rougeL"), "words": _words(results)}
    columns |= {f"{title(m)} (paper)": _published(results, m) for m in paper.ROUGE}
    return _table(MODELS, columns)


def semantic_table(results: Results) -> pd.DataFrame:
    """Layout of the paper's Tables 1 and 3: precision / recall / F1 of each semantic score, and
    cosines of whole texts; then where the headlines stand between the random answer's (0) and 1.

    The columns have their real names: S_MiniLM stands for none of the paper's three.
    """
    parts = {s: [f"{s}.{p}" for p in paper.PARTS] for s in (*results.semantic, *paper.SEMANTIC)}
    columns = {s: _values(results, *parts[s]) for s in results.semantic}
    columns |= {title(m): _values(results, m) for m in results.cosines}
    columns |= {f"{title(m)} place": _place(results, m) for m in results.headlines}
    columns |= {f"{s} (paper)": _published(results, *parts[s]) for s in paper.SEMANTIC}
    return _table(MODELS, columns)


def facts_table(results: Results, stratum: str = ALL) -> pd.DataFrame:
    """Share of right facts for models, floors and controls; the last columns for comparison."""
    metrics = {f: f"fact.{f}" for f in FACTS} | {"ROUGE-L": "rougeL"}
    metrics |= {title(m): m for m in results.headlines}
    columns = {name: _values(results, m, digits=2, stratum=stratum) for name, m in metrics.items()}
    return _table(_models(results), columns | {"words": _words(results)})


def strata_table(results: Results, metric: str = "fact.all") -> pd.DataFrame:
    """A metric by stratum, with its bounds and the number of answers."""
    there = set(results.scores.stratum)
    strata = [ALL, *(stratum for stratum in ("seen", "held_out", "decoy") if stratum in there)]
    return _table(_models(results), {s: _bounded(results, metric, s) for s in strata})


def evidence_table(results: Results, stratum: str = ALL) -> pd.DataFrame:
    """Entities that answers name against the evidence, with bounds; ``n`` of the precision is
    the number of answers that name any, that of the recall those whose reference does."""
    columns = {m.removeprefix("evidence."): _bounded(results, m, stratum) for m in evidence.METRICS}
    return _table(_models(results), columns)


def annotations_table(results: Results) -> pd.DataFrame:
    """The annotations of MA and of the floors by every headline metric, with bounds over units."""
    own = load_annotations(results)
    metrics = ("rouge1", "rouge2", "rougeL", *own.headlines, *evidence.METRICS)
    columns = {title(m): _bounded(own, m) for m in metrics}
    return _table(_models(own), columns | {"words": _words(own)})


def place_table(results: Results) -> pd.DataFrame:
    """Where a score lies between the random answer's (0) and a perfect one (1); – where the
    random answer is perfect."""
    metrics = ["rouge1", "rouge2", "rougeL", *results.headlines, "fact.all"]
    return _table(_models(results), {title(m): _place(results, m) for m in metrics})


def differences_table(results: Results, primary: Sequence[tuple] = ()) -> pd.DataFrame:
    """Paired differences with their bounds; with ``primary`` these alone, in that order."""
    table = results.differences.set_index(["model_a", "model_b", "metric"])
    table = table.loc[[key for key in primary if key in table.index]] if primary else table
    bounds = [f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]" for row in table.itertuples()]
    clear = ["yes" if row.low > 0 or row.high < 0 else "no" for row in table.itertuples()]
    return table.assign(difference=bounds, clear=clear)[["difference", "clear"]].reset_index()


def headline(results: Results) -> dict[str, dict[str, float]]:
    """Model → metric → value over all questions, for ``metrics.json``."""
    overall = results.scores[(results.scores[["kind", "form", "stratum"]] == ALL).all(axis=1)]
    found: dict[str, dict[str, float]] = {}
    for row in overall.itertuples():
        found.setdefault(row.model, {})[row.metric] = row.value
    return found


def _table(models: Sequence[str], columns: Mapping[str, Cell]) -> pd.DataFrame:
    rows = {model: {head: cell(model) for head, cell in columns.items()} for model in models}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _models(results: Results) -> list[str]:
    there = set(results.scores.model)
    return [model for model in (*MODELS, *VARIANTS, *FLOORS, *CONTROLS) if model in there]


def _values(results: Results, *metrics: str, digits: int = 4, stratum: str = ALL) -> Cell:
    return lambda model: " / ".join(
        number(results.value(model, m, stratum=stratum), digits) for m in metrics
    )


def _published(results: Results, *metrics: str) -> Cell:
    scores = paper.scores()
    scores = scores[scores.source == PAPER_SOURCE.get(results.source, "D&C")]
    values = scores.set_index(["model", "metric"]).value.to_dict()
    return lambda model: " / ".join(number(values[model, m]) for m in metrics)


def _place(results: Results, metric: str) -> Cell:
    floor = results.value("floor.random", metric)
    lead = 1 - floor if floor < 1 else float("nan")
    return lambda model: number((results.value(model, metric) - floor) / lead, 2)


def _words(results: Results) -> Cell:
    """Mean number of words of an answer."""
    lengths = results.answers.prediction.str.split().str.len()
    mean = lengths.groupby(results.answers.model).mean()
    return lambda model: f"{mean[model]:.0f}"


def _bounded(results: Results, metric: str, stratum: str = ALL) -> Cell:
    return lambda model: bounded(results, model, metric, stratum)


def title(metric: str) -> str:
    """A metric as readers know it: ``rouge1`` → ``ROUGE-1``."""
    return metric.replace("rouge", "ROUGE-").replace(".f1", " F1").replace(".cos", " cosine")


def number(value: float, digits: int = 4) -> str:
    """A value as text; – where there is none."""
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def bounded(results: Results, model: str, metric: str, stratum: str = ALL) -> str:
    """A score with its bounds and the number of answers; – where there is none."""
    value, low, high, n = (
        results.value(model, metric, stratum=stratum, column=c)
        for c in ("value", "low", "high", "n")
    )
    return "–" if pd.isna(value) else f"{interval(value, low, high)} n={n:.0f}"


def interval(value: float, low: float, high: float) -> str:
    """A value with its bounds as text."""
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def split_of(run: str) -> str:
    """The ``SPLIT`` that a run's notebook 03 was given. Raises InputError without its params."""
    path = stage_folder(run, QA) / PARAMS
    params = read_json(path).get("params", {})
    if "split" not in params:
        raise InputError(f"{paths.shown(path)} says no split; run 03 of {run}, or leave it out")
    return params["split"]
