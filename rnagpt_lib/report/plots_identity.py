"""The figure of scores by identity to the nearest training RNA."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnagpt_lib.evaluate.results import IDENTITY, Results
from rnagpt_lib.report.figure_style import COLOURS, STYLE, closed

FACTS = ("fact.all", "fact.rna_type", "fact.local")


def identity(results: Results) -> Figure:
    """Facts of MA, IT and floor.nearest by identity to the nearest training RNA, 95 % bounds."""
    table = pd.read_parquet(results.folder / IDENTITY)
    table = table[table["bin"] >= 0]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(FACTS), figsize=(11, 3.4), sharey=True, sharex=True)
        for axis, metric in zip(axes, FACTS, strict=True):
            _lines(axis, table[table["metric"] == metric])
            axis.set(title=metric, ylim=(-0.03, 1.03))
            axis.tick_params(axis="x", labelsize="x-small")
        names = table.drop_duplicates("bin").sort_values("bin")
        labels = [f"{row.label}\n{row.rnas} RNAs" for row in names.itertuples()]
        axes[0].set_xticks(names["bin"], labels)
        axes[0].set_ylabel("share right")
        figure.supxlabel("identity to the nearest training RNA", fontsize="medium")
        axes[-1].legend(bbox_to_anchor=(1.01, 1), loc="upper left")
        figure.tight_layout()
        return closed(figure)


def _lines(axis: Axes, of_metric: pd.DataFrame) -> None:
    for number, (model, own) in enumerate(of_metric.groupby("model")):
        own = own.sort_values("bin")
        errors = [own["value"] - own["low"], own["high"] - own["value"]]
        axis.errorbar(own["bin"] + (number - 1) * 0.06, own["value"], yerr=errors, fmt="o-",
                      color=COLOURS[model], markersize=4, capsize=2, label=model)  # fmt: skip
    axis.grid(axis="y", alpha=0.3)
