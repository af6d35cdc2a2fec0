"""Figures out of a run's files, the same bytes for the same files; loads no model. ``rouge`` and
``semantic`` follow the paper's Figures 4 and 5. Colours are told apart by colour-blind readers, and
models by their marks, too."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from rnagpt_lib.core import paths
from rnagpt_lib.core.bootstrap import ALL
from rnagpt_lib.core.files import read_json, sha256, write_json
from rnagpt_lib.evaluate import leakage, results
from rnagpt_lib.evaluate.results import Results
from rnagpt_lib.report import tables
from rnagpt_lib.runs.stages import ABLATIONS, CASES, MODELS, STAGES, stage_folder

ANSWERING = (*MODELS, *results.FLOORS)
PALETTE = seaborn.color_palette("colorblind")  # of all figures; a heat map has its own
COLOURS = dict(zip(ANSWERING, PALETTE, strict=False))
MARKS = ["o", "s", "D", "^", "v", "X", "P"]
STYLE = seaborn.axes_style("ticks") | seaborn.plotting_context("paper")
STYLE |= {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
          "grid.alpha": 0.4, "lines.linewidth": 1, "lines.markersize": 4, "legend.frameon": False,
          "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
          "savefig.dpi": 150, "savefig.bbox": "tight",
          "text.parse_math": False}  # a name from outside may hold a dollar sign  # fmt: skip
FACTS = ("fact.rna_type", "fact.family", "fact.literature", "fact.local")  # a panel for each
FAMILIES = {
    "seen": "families of the training set",
    "held_out": "held-out families",
    "decoy": "none",
}
TRAINED = {STAGES[4]: "stage 1 (MA)", STAGES[5]: "stage 2 (IT)"}
PARTED = {"random": "by row", "cluster": "by unit", "family": "by family"}
HELD_OUT = f"{CASES}/held_out.parquet"
SCORED = [f"{ABLATIONS}/{results.SCORES}"]
TRAJECTORIES = paths.root() / "benchmarks" / "results" / "trajectories.json"
VERDICTS = {1.0: ("✓ ", "#A6CEE9"), 0.0: ("✗ ", "#F6C9A0"), None: ("", "#EEEEEE")}
MOST_CASES = 24  # questions that the figure of cases shows


def rouge(found: Results) -> Figure:
    """ROUGE-1, 2, L of vanilla, MA, IT with 95 % bounds; floors as dashes (paper, Figure 4)."""
    return _bars(found, ["rouge1", "rouge2", "rougeL"])


def semantic(found: Results) -> Figure:
    """Semantic precision, recall and F1 of vanilla, MA, IT (paper, Figure 5), and cosines."""
    parts = [f"{s}.{part}" for s in found.semantic for part in ("precision", "recall", "f1")]
    return _bars(found, [*parts, *found.cosines])


def facts(found: Results) -> Figure:
    """Share of right facts by stratum, for models, floors and controls, with 95 % bounds."""
    models = [*ANSWERING, *results.CONTROLS]
    table = _scores(found, models, FACTS, stratum=list(FAMILIES))
    table = table.assign(families=table.stratum.map(FAMILIES))
    return _panels(table, FACTS, (11, 4), x="value", y="model", order=models, hue="families",
                   hue_order=list(FAMILIES.values()), markers=["o", "D", "s"], dodge=0.4,
                   linestyle="none")  # fmt: skip


def kinds(found: Results) -> Figure:
    """Facts and ROUGE-L by kind of question, for models and floors, with 95 % bounds."""
    names = [fact for fact in results.FACTS if fact != "all"]
    right = _scores(found, ANSWERING, [f"fact.{name}" for name in names])
    right = right.assign(kind=right.metric.str.removeprefix("fact."), metric="right facts")
    table = pd.concat([right, _scores(found, ANSWERING, ["rougeL"], kind=names)])
    return _panels(table, ("right facts", "rougeL"), (11, 5), x="value", y="kind", order=names,
                   hue="model", hue_order=ANSWERING, palette=COLOURS, markers=MARKS, dodge=0.7,
                   linestyle="none")  # fmt: skip


def variants(found: Results) -> Figure:
    """Share of right facts of IT, its variants and two floors; small dots are single trainings."""
    models = [*tables.trainings(found), "floor.nearest", "floor.most_common"]
    table = _scores(found, models, FACTS)
    table = table.assign(what=np.where(table.model.str.startswith("floor"), "floor", "trained"))
    figure = _panels(table, FACTS, (11, 3), x="value", y="model", order=models, hue="what",
                     hue_order=["trained", "floor"], linestyle="none")  # fmt: skip
    each = found.trainings[found.trainings.duplicated(["model", "metric"], keep=False)]
    for axis, metric in zip(figure.axes, FACTS, strict=True):
        seaborn.stripplot(each[each.metric == metric], x="value", y="model", order=models, size=2,
                          color="black", jitter=False, legend=False, ax=axis)  # fmt: skip
    return figure


def leakage_tax(found: Results) -> Figure:
    """Finished runs, the floor with all RNAs split anew, and the benchmark's miniature runs under
    each split, 95 % bounds: what falls from left to right was owed to relatives in training."""
    table = pd.read_parquet(found.folder / leakage.FILE)
    table = table.assign(split=table["what"].map(PARTED), of=table["model"] + ", " + table["of"])
    return _panels(table.dropna(subset="split"), leakage.METRICS, (11, 3.2), x="split", y="value",
                   order=list(PARTED.values()), hue="of", hue_order=list(dict.fromkeys(table.of)),
                   dodge=0.2)  # fmt: skip


def lengths(found: Results) -> Figure:
    """Mean ROUGE-L of a model's answers by their words, for each kind of question; no bounds."""
    key = ["model", "seed", "pair_id"]
    table = pd.read_parquet(found.folder / tables.SAMPLES, filters=[("metric", "==", "rougeL")])
    words = found.answers.assign(words=found.answers.prediction.str.split().str.len())
    table = table.merge(words[[*key, "words"]], on=key).assign(metric=table.model)
    return _panels(table, MODELS, (11, 3.6), x="words", y="value", hue="kind",
                   kind=seaborn.lineplot, marker="o", errorbar=None,
                   hue_order=sorted(set(table.kind)))  # fmt: skip


@matplotlib.rc_context(STYLE)
def confusion(found: Results) -> Figure:
    """Which RNA type IT names (columns) of RNAs of each type (rows, as shares of the row)."""
    counts = tables.confusion(found).rename(columns=_cut)
    rows = [f"{_cut(name)} ({n})" for name, n in counts.sum(axis=1).items()]
    shares = counts.div(counts.sum(axis=1), axis=0).set_axis(pd.Index(rows, name="type of the RNA"))
    figure, [[axis]] = _axes(1, 1, (3 + 0.5 * counts.shape[1], 2 + 0.3 * len(rows)))
    seaborn.heatmap(shares.rename_axis(columns="type that IT names"), vmin=0, vmax=1, cmap="Blues",
                    annot=True, fmt=".2f", linewidths=0.5, annot_kws={"size": 7},
                    cbar_kws={"label": "share of the row"}, ax=axis)  # fmt: skip
    return figure


@matplotlib.rc_context(STYLE)
def learning(found: Results) -> Figure:
    """Loss of training and validation, and the learning rate, over both stages' steps."""
    figure, axes = _axes(2, len(TRAINED), (9, 4.5), sharex="col", height_ratios=(3, 1))
    for (loss, rate), (stage, name) in zip(axes.T, TRAINED.items(), strict=True):
        steps = pd.read_json(stage_folder(found.run, stage) / "steps.jsonl", lines=True)
        steps["mean"] = steps.loss.rolling(max(1, len(steps) // 40), min_periods=1).mean()
        seaborn.lineplot(steps, x="step", y="loss", ax=loss, linewidth=0.4, alpha=0.5)
        seaborn.lineplot(steps, x="step", y="mean", ax=loss, label="training (running mean)")
        if "val_loss" in steps:
            seaborn.lineplot(steps.dropna(subset="val_loss"), x="step", y="val_loss", ax=loss,
                             marker="o", linestyle="--", label="validation")  # fmt: skip
        loss.set(title=name, ylabel="loss (log scale)", yscale="log")
        loss.yaxis.set_major_formatter("{x:g}")
        loss.yaxis.set_minor_formatter(LogFormatter())
        seaborn.lineplot(steps, x="step", y="lr", ax=rate)
        rate.set(ylabel="learning rate", ylim=(0, None))
    return figure


@matplotlib.rc_context(STYLE)
def cases(held_out: pd.DataFrame) -> Figure:
    """A line for each question of notebook 07, a cell for each model: its answer, and whether it is
    right (blue, ✓), wrong (orange, ✗), or cannot be told from the sequence (grey)."""
    rows = held_out.head(MOST_CASES).replace(np.nan, None).to_dict("records")
    figure, [[axis]] = _axes(1, 1, (13.5, 0.6 + 0.28 * len(rows)))
    axis.set_axis_off()
    texts, fills = [], []
    for row in rows:
        told = [VERDICTS[row.get(f"{model}_right")] for model in MODELS]
        said = [mark + _cut(row[model]) for model, (mark, _) in zip(MODELS, told, strict=True)]
        texts.append([_cut(row["reference"]), *said])
        fills.append(["white", *(fill for _, fill in told)])
    asked = [f"{row['rna_id']}, {row['stratum']}: {_cut(row['question'])}" for row in rows]
    grid = axis.table(texts, fills, rowLabels=asked, colLabels=["what is true", *MODELS],
                      cellLoc="left", bbox=(0, 0, 1, 1))  # fmt: skip
    grid.auto_set_font_size(False)
    grid.set_fontsize(7)
    return figure


def trajectories(path: Path = TRAJECTORIES) -> Figure:
    """Quality of the ways to train stage 2 against time and pairs, as ``python -m benchmarks
    trajectories`` measured it once; not of any run."""
    measured = read_json(path)
    points = pd.DataFrame(measured["points"]).query("chosen").rename(columns={"fact_all": "value"})
    clocks = ["seconds", "cpu_seconds", "pairs"]
    table = points.melt(["mode", "value", "low", "high"], clocks, "metric", "spent")
    figure = _panels(table, clocks, (11, 3.6), x="spent", y="value", hue="mode", sharex=False,
                     hue_order=list(dict.fromkeys(points["mode"])), kind=seaborn.lineplot,
                     err_style="bars", marker="o")  # fmt: skip
    figure.suptitle(f"fact.all in the miniature world; {measured['machine']}, {measured['date']}")
    return figure


# --- all of them

FIGURES = {  # how each is drawn, and of which files in the run's folder
    "rouge": (rouge, SCORED),
    "semantic": (semantic, SCORED),
    "facts": (facts, SCORED),
    "kinds": (kinds, SCORED),
    "lengths": (lengths, [f"{ABLATIONS}/answers.parquet", f"{ABLATIONS}/{tables.SAMPLES}"]),
    "confusion": (confusion, [f"{ABLATIONS}/answers.parquet", tables.PAIRS]),
    "variants": (variants, [*SCORED, f"{ABLATIONS}/{results.TRAININGS}"]),
    "learning": (learning, [f"{stage}/steps.jsonl" for stage in TRAINED]),
    "leakage": (leakage_tax, [f"{ABLATIONS}/{leakage.FILE}"]),
    "cases": (lambda found: cases(pd.read_parquet(found.folder.parent / HELD_OUT)), [HELD_OUT]),
}


def drawable(found: Results) -> list[str]:
    """The names of ``FIGURES`` that the run has values for."""
    lacks = {
        "semantic": not found.semantic,
        "variants": len(tables.trainings(found)) < 2,
        "confusion": tables.confusion(found).empty,
    }
    there = {name: all(file.is_file() for file in _inputs(found, name)) for name in FIGURES}
    return [name for name in FIGURES if there[name] and not lacks.get(name)]


def draw(run: str) -> list[Path]:
    """Draw every figure of a run out of its files, and save it; returns the pictures."""
    found = results.load(run)
    return [save(FIGURES[name][0](found), name, found) for name in drawable(found)]


def save(figure: Figure, name: str, found: Results) -> Path:
    """Write ``<name>.png``, ``.pdf`` and ``.json`` (run, inputs with hashes, notebook).

    The reference run's figures go to ``figures/``, those of any other into its own folder.
    """
    path = results.figure_folder(found.run) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(figure))
    with matplotlib.rc_context(STYLE):
        figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    inputs = {p.relative_to(paths.runs()).as_posix(): sha256(p) for p in _inputs(found, name)}
    about = {"run": found.run, "notebook": CASES if name == "cases" else ABLATIONS}
    write_json(path.with_suffix(".json"), about | {"inputs": inputs})
    return path


def png(figure: Figure) -> bytes:
    """The figure as a picture."""
    held = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(held, format="png", metadata={"Software": None})
    return held.getvalue()


# --- parts


def _inputs(found: Results, name: str) -> list[Path]:
    return [found.folder.parent / file for file in FIGURES[name][1]]


def _scores(found: Results, models: Sequence, metrics: Sequence, **at: list) -> pd.DataFrame:
    """Rows of ``scores`` over all questions, or of the kinds or strata in ``at``."""
    wanted = {"kind": [ALL], "form": [ALL], "stratum": [ALL], "model": models, "metric": metrics}
    return found.scores[found.scores[list(wanted)].isin(wanted | at).all(axis=1)]


def _axes(rows: int, columns: int, size: tuple, **shared: object) -> tuple[Figure, np.ndarray]:
    """A figure that pyplot does not know, so that a notebook shows it once; its axes as a grid."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def _draw(kind: Callable, table: pd.DataFrame, axis: Axes, **how: object) -> None:
    """By seaborn; ``value`` between its bounds, if there are any, as a middle and its ends."""
    if "low" in table:
        table = pd.concat([table.assign(value=table[end]) for end in ("value", "low", "high")])
        how |= {"estimator": "median", "err_kws": {"linewidth": 1}}
        how["errorbar"] = lambda ends: (ends.min(), ends.max())
    kind(table, ax=axis, **how)


@matplotlib.rc_context(STYLE)
def _panels(
    table: pd.DataFrame,
    metrics: Sequence,
    size: tuple,
    *,
    kind: Callable = seaborn.pointplot,
    sharex: bool = True,
    **how: object,
) -> Figure:
    """A panel for each metric; the legend stands beside the last."""
    figure, axes = _axes(1, len(metrics), size, sharex=sharex, sharey=True)
    for axis, metric in zip(axes[0], metrics, strict=True):
        last = axis is axes[0, -1]
        _draw(kind, table[table.metric == metric], axis, legend=last and "auto", **how)
        axis.set(title=metric)
    axis.set(**{"xlim" if how["x"] == "value" else "ylim": (-0.03, 1.03)})
    seaborn.move_legend(axis, "upper left", bbox_to_anchor=(1.01, 1), title=None)
    return figure


@matplotlib.rc_context(STYLE)
def _bars(found: Results, metrics: list[str]) -> Figure:
    figure, [[axis]] = _axes(1, 1, (max(6.5, 2 + 0.75 * len(metrics)), 3.6))
    how = {"x": "metric", "y": "value", "hue": "model", "palette": COLOURS, "order": metrics}
    _draw(seaborn.barplot, _scores(found, MODELS, metrics), axis, hue_order=MODELS, **how)
    floors = _scores(found, results.FLOORS[:3], metrics)
    seaborn.pointplot(floors, ax=axis, errorbar=None, linestyle="none", marker="_", markersize=25,
                      markeredgewidth=1.5, **how)  # fmt: skip
    axis.set_xticks(range(len(metrics)), [m.replace("S_", "").replace(".", "\n") for m in metrics])
    axis.set(xlabel=None, ylim=(0, 1.02))
    seaborn.move_legend(axis, "upper left", bbox_to_anchor=(1.01, 1), title=None)
    return figure


def _cut(text: str, most: int = 34) -> str:
    """Shortened in the middle, since what an answer claims is mostly its end."""
    return text if len(text) <= most else f"{text[: most // 3]} … {text[-(2 * most // 3 - 3) :]}"
