"""Figures out of a run's files, the same bytes for the same files; loads no model.

The layouts of ``rouge`` and ``semantic`` follow the paper's Figures 4 and 5; ``plots_kinds`` has
the figures by kind, length and type.
"""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from rnagpt_lib.core import paths
from rnagpt_lib.core.files import sha256, write_json
from rnagpt_lib.evaluate import leakage
from rnagpt_lib.evaluate.results import (
    CONTROLS,
    FLOORS,
    IDENTITY,
    MODELS,
    SCORES,
    STAGE,
    TRAININGS,
    Results,
    figure_folder,
    is_reference,
    load,
)
from rnagpt_lib.report import (
    answer_breakdowns,
    findings,
    plots_cases,
    plots_identity,
    plots_kinds,
    plots_leakage,
    plots_variants,
    variant_report,
)
from rnagpt_lib.report.figure_style import COLOURS, FACTS, STYLE, closed
from rnagpt_lib.runs.stages import stage_folder

LINES = {"floor.most_common": "-", "floor.random": ":", "floor.nearest": "--"}
MARKERS = {"seen": "o", "held_out": "D", "decoy": "s"}
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # of a loss
FINE = (0.03, 0.07, 0.15, 0.3, 0.7, 1.5, 3, 7)  # between them, where the loss falls by little
STAGES = {"04_train_stage1": "stage 1 (MA)", "05_train_stage2": "stage 2 (IT)"}
LADDER = "ladder.parquet"
TRAJECTORIES = paths.root() / "benchmarks" / "results" / "trajectories.json"
CLOCKS = {"seconds": "wall time of training (s)", "cpu_seconds": "processor time of training (s)",
          "pairs": "pairs seen"}  # fmt: skip


def rouge(results: Results) -> Figure:
    """ROUGE-1, 2, L of vanilla, MA, IT with 95 % bounds; floors as lines (paper, Figure 4)."""
    return _bars(results, ("rouge1", "rouge2", "rougeL"), "ROUGE F1")


def semantic(results: Results) -> Figure:
    """Semantic precision, recall and F1 of vanilla, MA, IT (paper, Figure 5), and cosines."""
    metrics = [f"{s}.{part}" for s in results.semantic for part in ("precision", "recall", "f1")]
    metrics += results.cosines
    return _bars(results, metrics, "semantic score")


def facts(results: Results) -> Figure:
    """Share of right facts by stratum, for models, floors and controls, with 95 % bounds."""
    there = set(results.scores.model)
    models = [model for model in (*MODELS, *FLOORS, *CONTROLS) if model in there]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(FACTS), figsize=(11, 4), sharey=True, sharex=True)
        for axis, metric in zip(axes, FACTS, strict=True):
            _dots(axis, results, models, metric)
        axes[0].set_yticks(range(len(models)), models)
        axes[0].invert_yaxis()
        handles, labels = _legend_of(axes)
        title = "test RNAs of (nothing tells family and literature of held-out families)"
        figure.legend(handles, labels, loc="lower center", ncols=3, title=title)
        figure.tight_layout(rect=(0, 0.12, 1, 1))
        return closed(figure)


def learning(results: Results) -> Figure:
    """Loss of training and validation, and the learning rate, over both stages' steps."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            2, len(STAGES), figsize=(9, 4.5), sharex="col", height_ratios=(3, 1), squeeze=False
        )
        for column, (stage, name) in zip(axes.T, STAGES.items(), strict=True):
            _curves(column, read_steps(results.run, stage), name)
        figure.tight_layout()
        return closed(figure)


def ladder(results: Results) -> Figure:
    """Which metric notices what: AUROC of every rung of spoilt answers against the paraphrase."""
    table = pd.read_parquet(results.folder / LADDER)
    shown = table.pivot(index="metric", columns="rung", values="value")
    shown = shown.loc[table["metric"].unique(), table["rung"].unique()]
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7, 0.9 + 0.32 * len(shown)))
        image = axis.imshow(shown, cmap="PuOr", vmin=0, vmax=1, aspect="auto")
        for (y, x), value in np.ndenumerate(shown.to_numpy()):
            colour = "white" if abs(value - 0.5) > 0.35 else "black"
            axis.text(x, y, f"{value:.2f}", ha="center", va="center", color=colour)
        axis.set_xticks(range(shown.shape[1]), [rung.replace(" ", "\n") for rung in shown])
        axis.set_yticks(range(len(shown)), shown.index)
        axis.spines[:].set_visible(False)
        figure.colorbar(image, label="AUROC against the paraphrase")
        figure.tight_layout()
        return closed(figure)


def trajectories(path: Path = TRAJECTORIES) -> Figure:
    """Quality of the ways to train stage 2 against time and pairs, as ``python -m benchmarks
    trajectories`` measured it once; not of any run."""
    measured = json.loads(path.read_text("utf-8"))
    points = pd.DataFrame(measured["points"]).query("chosen")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(CLOCKS), figsize=(11, 3.8), sharey=True)
        for axis, (clock, label) in zip(axes, CLOCKS.items(), strict=True):
            for mode, own in points.groupby("mode", sort=False):
                axis.plot(own[clock], own["fact_all"], "o-", markersize=4, label=mode)
                axis.fill_between(own[clock], own["low"], own["high"], alpha=0.12, lw=0)
            axis.set(xlabel=label, xlim=(0, None))
        axes[0].set_ylabel("fact.all, test questions")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=5)
        figure.suptitle(f"miniature world; {measured['machine']}, {measured['date']}", fontsize=8)
        figure.tight_layout(rect=(0, 0.07, 1, 1))
        return closed(figure)


FIGURES: dict[str, Callable[[Results], Figure]] = {
    "rouge": rouge,
    "semantic": semantic,
    "facts": facts,
    "kinds": plots_kinds.kinds,
    "lengths": plots_kinds.lengths,
    "confusion": plots_kinds.confusion,
    "variants": plots_variants.variants,
    "learning": learning,
    "ladder": ladder,
    "identity": plots_identity.identity,
    "leakage": plots_leakage.tax,
}
CASES = "cases"  # of notebook 07, which comes after the report of 06
INPUTS = {  # files in the run's folder; of any other figure the scores
    "variants": (f"{STAGE}/{SCORES}", f"{STAGE}/{TRAININGS}"),
    "lengths": (f"{STAGE}/answers.parquet", f"{STAGE}/{answer_breakdowns.SAMPLES}"),
    "confusion": (f"{STAGE}/answers.parquet", answer_breakdowns.PAIRS),
    "learning": tuple(f"{stage}/steps.jsonl" for stage in STAGES),
    "ladder": (f"{STAGE}/{LADDER}",),
    "identity": (f"{STAGE}/{IDENTITY}",),
    "leakage": (f"{STAGE}/{leakage.FILE}",),
    CASES: (plots_cases.HELD_OUT,),
}


def drawable(results: Results) -> dict[str, Callable[[Results], Figure]]:
    """Those of ``FIGURES`` that the run has values for."""
    lacks = set() if results.semantic else {"semantic"}
    lacks |= set() if variant_report.there(results) else {"variants"}
    lacks |= set() if _rungs(results) else {"ladder"}
    lacks |= set() if len(answer_breakdowns.type_answers(results)) else {"confusion"}
    return {
        name: make
        for name, make in FIGURES.items()
        if name not in lacks and all(path.is_file() for path in _inputs(results, name))
    }


def _rungs(results: Results) -> int:
    path = results.folder / LADDER
    return len(pd.read_parquet(path)) if path.is_file() else 0


def draw(run: str = "reference") -> list[Path]:
    """Redraw every figure of a run; for the reference run the README's tables, too."""
    results = load(run)
    figures = drawable(results)
    if all(path.is_file() for path in _inputs(results, CASES)):
        figures[CASES] = plots_cases.cases
    drawn = [save(make(results), name, results) for name, make in figures.items()]
    for path in drawn:
        print(f"{paths.shown(path)} (.pdf, .json)")
    if is_reference(run):
        print(f"{paths.shown(findings.render_readme(run))}: tables rendered again")
    return drawn


def save(figure: Figure, name: str, results: Results) -> Path:
    """Write ``<name>.png``, ``.pdf`` and ``.json`` (run, inputs with hashes, notebook).

    The reference run's figures go to ``figures/``, those of any other into its own folder.
    """
    folder = figure_folder(results.run)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    path.write_bytes(png(figure))
    with plt.rc_context(STYLE):
        figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    root = paths.runs()
    inputs = {p.relative_to(root).as_posix(): sha256(p) for p in _inputs(results, name)}
    notebook = "07_case_studies" if name == CASES else STAGE
    about = {"run": results.run, "notebook": notebook, "inputs": inputs}
    write_json(path.with_suffix(".json"), about)
    return path


def png(figure: Figure) -> bytes:
    """The figure as a picture."""
    held = io.BytesIO()
    with plt.rc_context(STYLE):
        figure.savefig(held, format="png", metadata={"Software": None})
    return held.getvalue()


def read_steps(run: str, stage: str) -> pd.DataFrame:
    """``steps.jsonl`` of a training stage: step, epoch, loss, lr, … and sometimes val_loss."""
    lines = (stage_folder(run, stage) / "steps.jsonl").read_text("utf-8").splitlines()
    return pd.DataFrame([json.loads(line) for line in lines])


def _inputs(results: Results, name: str) -> list[Path]:
    return [results.folder.parent / file for file in INPUTS.get(name, (f"{STAGE}/{SCORES}",))]


def _bars(results: Results, metrics: Sequence[str], label: str) -> Figure:
    width = 0.8 / len(MODELS)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(max(6.5, 2 + 0.75 * len(metrics)), 3.6))
        for i, model in enumerate(MODELS):
            value, low, high = (
                [results.value(model, m, column=c) for m in metrics]
                for c in ("value", "low", "high")
            )
            errors = [[v - b for v, b in zip(value, low, strict=True)],
                      [b - v for v, b in zip(value, high, strict=True)]]  # fmt: skip
            places = [x + (i - 1) * width for x in range(len(metrics))]
            axis.bar(places, value, width, yerr=errors, capsize=2, color=COLOURS[model],
                     edgecolor="white", label=model)  # fmt: skip
        for floor, line in LINES.items():
            for x, metric in enumerate(metrics):
                height = results.value(floor, metric)
                axis.plot([x - 0.45, x + 0.45], [height] * 2, line, color=COLOURS[floor],
                          label=floor if x == 0 else None)  # fmt: skip
        names = [m.replace("rouge", "ROUGE-").replace("S_", "").replace(".", "\n") for m in metrics]
        axis.set_xticks(range(len(metrics)), names)
        axis.set(ylabel=label, ylim=(0, 1.02))
        axis.legend(bbox_to_anchor=(1.01, 1), loc="upper left")
        figure.tight_layout()
        return closed(figure)


def _dots(axis: Axes, results: Results, models: Sequence[str], metric: str) -> None:
    shift = {"seen": -0.2, "held_out": 0.2, "decoy": 0.0}
    for stratum, marker in MARKERS.items():
        for y, model in enumerate(models):
            value, low, high = (
                results.value(model, metric, stratum=stratum, column=c)
                for c in ("value", "low", "high")
            )
            if pd.isna(value):
                continue
            axis.errorbar(value, y + shift[stratum], xerr=[[value - low], [high - value]],
                          fmt=marker, color=COLOURS[model], markersize=5, capsize=2,
                          markerfacecolor=COLOURS[model] if stratum == "seen" else "white",
                          label=stratum)  # fmt: skip
    axis.set(title=metric, xlim=(-0.03, 1.03), xlabel="share right")
    axis.grid(axis="x", alpha=0.3)


def _legend_of(axes: Sequence[Axes]) -> tuple[list, list[str]]:
    found: dict[str, object] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    names = {"seen": "families of the training set", "held_out": "held-out families",
             "decoy": "no family (decoys)"}  # fmt: skip
    return list(found.values()), [names[label] for label in found]


def _curves(axes: Sequence[Axes], steps: pd.DataFrame, name: str) -> None:
    loss, rate = axes
    smooth = steps.loss.rolling(max(1, len(steps) // 50), min_periods=1).mean()
    loss.plot(steps.step, steps.loss, color=COLOURS["MA"], linewidth=0.6, alpha=0.6)
    loss.plot(steps.step, smooth, color=COLOURS["IT"], label="training (running mean)")
    if "val_loss" in steps:
        checked = steps.dropna(subset=["val_loss"])
        loss.plot(checked.step, checked.val_loss, "o--", markersize=3, label="validation",
                  color=COLOURS["floor.most_common"])  # fmt: skip
    loss.set(title=name, ylabel="loss (log scale)", yscale="log")
    loss.yaxis.set_major_formatter(ScalarFormatter())
    loss.yaxis.set_minor_formatter(NullFormatter())
    low, high = steps.loss.min() / 1.5, steps.loss.max() * 1.5
    ticks = TICKS if high > 15 * low else sorted((*TICKS, *FINE))
    loss.set_yticks([tick for tick in ticks if low < tick < high])
    loss.legend()
    rate.plot(steps.step, steps.lr, color=COLOURS["floor.nearest"])
    rate.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
