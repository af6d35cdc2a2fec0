"""The figure of IT beside its variants: every training a dot, their mean with 95 % bounds."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnagpt_lib.evaluate.results import Results
from rnagpt_lib.report import variant_report
from rnagpt_lib.report.figure_style import COLOURS, FACTS, STYLE, closed

BESIDE = ("floor.nearest", "floor.most_common")
OFF = 0.22  # how far below its mean a training's dot lies


def variants(results: Results) -> Figure:
    """Share of right facts of IT, of each variant and of two floors, a panel for each kind."""
    models = ["IT", *variant_report.there(results), *BESIDE]
    with plt.rc_context(STYLE):
        size = (11, 1.5 + 0.36 * len(models))
        figure, axes = plt.subplots(1, len(FACTS), figsize=size, sharey=True, sharex=True)
        for axis, metric in zip(axes, FACTS, strict=True):
            _panel(axis, results, models, metric)
        axes[0].set_yticks(range(len(models)), models)
        axes[0].invert_yaxis()
        figure.legend(handles=_legend(), loc="lower center", ncols=3)
        figure.tight_layout(rect=(0, 0.3 / figure.get_figheight(), 1, 1))
        return closed(figure)


def _legend() -> list[Line2D]:
    hollow = {"markersize": 3, "markerfacecolor": "white"}
    kinds = {
        "trained: mean, 95 % bounds": {"marker": "o", "markersize": 5},
        "one training": {"marker": "o", **hollow},
        "floor": {"marker": "s", "markersize": 5},
    }
    grey = {"color": "#555555", "linestyle": ""}
    return [Line2D([], [], label=label, **grey, **kind) for label, kind in kinds.items()]


def _panel(axis: Axes, results: Results, models: list[str], metric: str) -> None:
    for y, model in enumerate(models):
        value, low, high = (
            results.value(model, metric, column=column) for column in ("value", "low", "high")
        )
        if pd.isna(value):
            continue
        style = {"fmt": "s" if model in BESIDE else "o", "color": COLOURS[model], "capsize": 2}
        axis.errorbar(value, y, xerr=[[value - low], [high - value]], markersize=5, **style)
        single = _trainings(results, model, metric)
        if len(single) > 1:
            axis.plot(single, [y + OFF] * len(single), "o", markersize=3, color=COLOURS[model],
                      markerfacecolor="white")  # fmt: skip
    axis.set(title=metric, xlim=(-0.03, 1.03), xlabel="share right")
    axis.grid(axis="x", alpha=0.3)


def _trainings(results: Results, model: str, metric: str) -> list[float]:
    found = results.trainings
    if found is None:
        return []
    return found[(found.model == model) & (found.metric == metric)].value.tolist()
