"""Figures of an audit, as SVG: the same bytes for the same numbers, texts of our own alone."""

import io

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from rnagpt_lib.evaluate.audit import SIDES, STRATA
from rnagpt_lib.evaluate.audit_baselines import NAMES
from rnagpt_lib.evaluate.audit_findings import of, strata
from rnagpt_lib.report.figure_style import COLOURS, STYLE

LOOKS = {  # stratum: colour and marker, told apart without colour, too
    "all": (COLOURS["IT"], "o"),
    "new": (COLOURS["floor.most_common"], "s"),
    "unrelated": (COLOURS["floor.nearest"], "D"),
}


def scores(found: dict) -> bytes:
    """Share of right answers of each baseline, by stratum."""
    shown = strata(found, "exact")
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(8.5, 3.8))
        for number, stratum in enumerate(shown):
            colour, marker = LOOKS[stratum]
            shift = 0.22 * (number - (len(shown) - 1) / 2)
            rows = [of(found, name, stratum) for name in NAMES]
            value, low, high = ([row[key] for row in rows] for key in ("value", "low", "high"))
            errors = [[v - b for v, b in zip(value, low, strict=True)],
                      [b - v for v, b in zip(value, high, strict=True)]]  # fmt: skip
            axis.errorbar(value, [y + shift for y in range(len(rows))], xerr=errors, fmt=marker,
                          color=colour, markersize=5, capsize=2, label=STRATA[stratum])  # fmt: skip
        axis.set_yticks(range(len(NAMES)), NAMES.values())
        axis.set_ylim(len(NAMES) - 0.5, -0.5)
        axis.set(xlim=(-0.02, 1.02), xlabel="share of answers that are right word for word")
        axis.grid(axis="x", alpha=0.3)
        axis.legend(loc="upper center", bbox_to_anchor=(0.2, -0.14), ncols=3)
        figure.tight_layout()
        return _svg(figure)


def lengths(found: dict) -> bytes:
    """Which share of a side's RNAs is at most so long."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.5, 2.8))
        for side, colour, line in zip(
            SIDES, (COLOURS["IT"], COLOURS["floor.most_common"]), ("-", "--"), strict=True
        ):
            axis.plot(
                found["lengths"][side],
                [i / 100 for i in range(101)],
                line,
                color=colour,
                label=side,
                drawstyle="steps-post",
            )
        axis.set(xlabel="nucleotides", ylabel="share of RNAs up to this length", xscale="log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}")
        axis.legend()
        figure.tight_layout()
        return _svg(figure)


def _svg(figure: Figure) -> bytes:
    held = io.BytesIO()
    figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return held.getvalue()
