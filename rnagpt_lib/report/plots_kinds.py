"""Figures that take the answers apart: by kind of question, by length, by RNA type."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnagpt_lib.core.bootstrap import ALL
from rnagpt_lib.evaluate.results import FACTS, MODELS, Results
from rnagpt_lib.report import answer_breakdowns
from rnagpt_lib.report.figure_style import COLOURS, MARKS, STYLE, closed

KINDS = ("rna_type", "family", "local", "literature", "species")  # in this order, others after
LONGEST = 30  # characters of a type's name
WIDTH = 0.7  # of the slot that the models of one kind share


def kinds(results: Results) -> Figure:
    """Facts and ROUGE-L by kind of question, for models and floors, with 95 % bounds."""
    there = set(results.scores.model)
    models = [model for model in MARKS if model in there]
    facts = [f for f in FACTS if f != "all" and f"fact.{f}" in set(results.scores.metric)]
    found = set(results.scores.kind) - {ALL}
    asked = [*(k for k in KINDS if k in found), *sorted(found.difference(KINDS))]
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(11, 4.2), sharey=True, width_ratios=(len(facts), len(asked))
        )
        for i, model in enumerate(models):
            shift = WIDTH * (i / max(1, len(models) - 1) - 0.5)
            _dots(left, results, model, [(f"fact.{fact}", ALL) for fact in facts], shift)
            _dots(right, results, model, [("rougeL", kind) for kind in asked], shift)
        _slots(left, facts, "share of right facts")
        _slots(right, asked, "ROUGE-L")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(models))
        figure.tight_layout(rect=(0, 0.07, 1, 1))
        return closed(figure)


def lengths(results: Results) -> Figure:
    """ROUGE-L by the words of the answer, for each model, with 95 % bounds; and how many answers
    of one training are so long."""
    table = answer_breakdowns.lengths(results)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            2, len(MODELS), figsize=(10, 4.5), sharex=True, sharey="row", height_ratios=(3, 1),
            squeeze=False,
        )  # fmt: skip
        for column, model in zip(axes.T, MODELS, strict=True):
            _length(column, table[table.model == model], model)
        axes[0, 0].set(ylabel="ROUGE-L", ylim=(-0.02, 1.02))
        axes[1, 0].set(ylabel="answers", xlim=(0, None))
        figure.align_ylabels()
        figure.tight_layout()
        return closed(figure)


def confusion(results: Results) -> Figure:
    """Which RNA type IT names (columns) of RNAs of each type (rows, as shares of the row)."""
    counts = answer_breakdowns.confusion(results)
    shares = counts.div(counts.sum(axis=1), axis=0)
    height, width = shares.shape
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(2.6 + 0.5 * width, 1.9 + 0.34 * height))
        image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (y, x), share in np.ndenumerate(shares.to_numpy()):
            if share:
                axis.text(x, y, f"{share:.2f}", ha="center", va="center", fontsize=8,
                          color="white" if share > 0.6 else "black")  # fmt: skip
        names = [_cut(name) for name in shares]
        axis.set_xticks(range(width), names, rotation=45, ha="right",
                        rotation_mode="anchor")  # fmt: skip
        rows = [f"{_cut(name)} ({n})" for name, n in counts.sum(axis=1).items()]
        axis.set_yticks(range(height), rows)
        axis.set_xticks(np.arange(width + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(height + 1) - 0.5, minor=True)
        axis.grid(which="minor", color="#e5e5e5", linewidth=0.6)
        axis.tick_params(which="minor", length=0)
        axis.spines[:].set_visible(False)
        axis.axvline(height - 0.5, color="black", linewidth=0.8)
        axis.set(xlabel="type that IT names", ylabel="type of the RNA (answers)")
        figure.colorbar(image, label="share of the row")
        figure.tight_layout()
        return closed(figure)


# --- parts


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _dots(
    axis: Axes, results: Results, model: str, shown: Sequence[tuple[str, str]], shift: float
) -> None:
    """One model's (metric, kind) side by side, with their bounds."""
    value, low, high = (
        np.array([results.value(model, m, kind=kind, column=c) for m, kind in shown])
        for c in ("value", "low", "high")
    )
    axis.errorbar(np.arange(len(shown)) + shift, value, yerr=[value - low, high - value],
                  fmt=MARKS[model], color=COLOURS[model], markersize=5, capsize=2, elinewidth=1,
                  markerfacecolor="white" if model.startswith("floor") else COLOURS[model],
                  label=model)  # fmt: skip


def _slots(axis: Axes, names: Sequence[str], title: str) -> None:
    axis.set_xticks(range(len(names)), names)
    axis.set(title=title, xlim=(-0.5, len(names) - 0.5), ylim=(-0.02, 1.02))
    for border in range(1, len(names)):
        axis.axvline(border - 0.5, color="#dddddd", linewidth=0.8)
    axis.grid(axis="y", alpha=0.3)


def _length(axes: Sequence[Axes], answers: pd.DataFrame, model: str) -> None:
    score, count = axes
    bins = answer_breakdowns.by_length(answers)
    score.errorbar(bins.words, bins.value, yerr=[bins.value - bins.low, bins.high - bins.value],
                   fmt=f"{MARKS[model]}-", color=COLOURS[model], markersize=4, capsize=2,
                   linewidth=1)  # fmt: skip
    whole, within = answer_breakdowns.rank_correlation(answers)
    said = f"rank correlation {whole:+.2f}, within a kind {within:+.2f}".replace(
        "-", "\N{MINUS SIGN}"
    )
    score.set_title(f"{model}\n{said}", fontsize=9)
    sizes = answers.words.value_counts().sort_index() / answers.seed.nunique()
    count.bar(sizes.index, sizes, width=0.9, color=COLOURS[model])
    count.set(xlabel="words of the answer")
    count.xaxis.set_major_locator(MaxNLocator(integer=True))
