"""The figure of the leakage tax: facts by how test RNAs were parted from training."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnagpt_lib.evaluate import leakage
from rnagpt_lib.evaluate.results import Results
from rnagpt_lib.report.figure_style import COLOURS, STYLE, closed

PARTED = {"random": "by row\n(random)", "cluster": "by unit\n(cluster)", "family": "by family"}
APART = 0.1  # between the marks of one split
LINES = {leakage.OF_RUNS: "o-", leakage.ANEW: "s--", leakage.MINIATURES: "^:"}


def tax(results: Results) -> Figure:
    """IT and floor.nearest of finished runs, that floor with all RNAs split anew, and IT of the
    benchmark's miniature runs, under each split with 95 % bounds: what falls from left to right was
    owed to relatives in training."""
    table = pd.read_parquet(results.folder / leakage.FILE)
    table = table[table["what"].isin(leakage.SPLITS)]
    with plt.rc_context(STYLE):
        size = (2.75 * len(leakage.METRICS), 3.2)
        figure, axes = plt.subplots(1, len(leakage.METRICS), figsize=size, sharey=True, sharex=True)
        for axis, metric in zip(axes, leakage.METRICS, strict=True):
            _lines(axis, table[table["metric"] == metric])
            axis.set(title=metric, xlim=(-0.4, 2.4), ylim=(-0.03, 1.03))
        axes[0].set_xticks(range(len(PARTED)), list(PARTED.values()))
        axes[0].set_ylabel("share right, or ROUGE-L")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=2)
        figure.tight_layout(rect=(0, 0.14, 1, 1))
        return closed(figure)


def _lines(axis: Axes, of_metric: pd.DataFrame) -> None:
    for number, ((of, model), own) in enumerate(of_metric.groupby(["of", "model"], sort=False)):
        places = own["what"].map(leakage.SPLITS.index) + (number - 1) * APART
        errors = [own["value"] - own["low"], own["high"] - own["value"]]
        axis.errorbar(places, own["value"], yerr=errors, fmt=LINES[of], color=COLOURS[model],
                      markerfacecolor=None if of == leakage.OF_RUNS else "white",
                      markersize=4, capsize=2, label=f"{model}, {of}")  # fmt: skip
    axis.grid(axis="y", alpha=0.3)
