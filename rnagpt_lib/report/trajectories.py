"""Quality against time of the ways to train stage 2: read, said in sentences, drawn.

``python -m benchmarks trajectories`` measures them, notebook 05 shows them; no model is loaded.
"""

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnagpt_lib.core import paths
from rnagpt_lib.core.files import read_json
from rnagpt_lib.report.figure_style import STYLE

AGAINST = "batch 1"  # the paper's recipe, which the others are held against
LOOKS = {
    "packed": {"color": "#0072B2", "marker": "o"},
    "packed longer": {"color": "#56B4E9", "marker": "^"},
    "accumulation": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    AGAINST: {"color": "#009E73", "marker": "D"},
}
CLOCKS = {"seconds": "wall time", "cpu_seconds": "processor time"}
PANELS = {clock: f"{name} of training (s)" for clock, name in CLOCKS.items()}
PANELS |= {"pairs": "pairs seen"}


@dataclass(frozen=True)
class Measured:
    """The points of all trainings: mode, learning_rate, chosen, step, pairs, seconds,
    cpu_seconds, val_loss and, where chosen, fact_all with low and high; and where and when."""

    points: pd.DataFrame
    where: str

    def curve(self, mode: str) -> pd.DataFrame:
        """The points of the mode's chosen training, in their order."""
        points = self.points[(self.points["mode"] == mode) & self.points["chosen"]]
        return points.sort_values("pairs", ignore_index=True)


def results() -> Path:
    """The committed figures of the measurement."""
    return paths.root() / "benchmarks" / "results" / "trajectories.json"


def load(path: Path | None = None) -> Measured | None:
    """What was measured; None where it was not: ``python -m benchmarks trajectories`` does it."""
    found = read_json(path or results())
    if not found:
        return None
    return Measured(pd.DataFrame(found["points"]), f"{found['machine']}, {found['date']}")


def findings(measured: Measured) -> list[str]:
    """What the points show, whatever that is: rates, then each mode against batch 1.

    Within its bounds is at or above the lower 95 % bound of batch 1's best ``fact.all``.
    """
    said = [_rates(measured), _target(measured)]
    for mode in (name for name in LOOKS if name != AGAINST):
        said += [_reached(measured, mode), _at_the_end(measured, mode)]
    return [*said, _same_course(measured)]


def figure(measured: Measured) -> Figure:
    """``fact.all`` with its bounds against wall and processor time, and against pairs seen."""
    with plt.rc_context(STYLE):
        drawn, axes = plt.subplots(1, len(PANELS), figsize=(11, 3.8), sharey=True)
        for axis, (column, label) in zip(axes, PANELS.items(), strict=True):
            _panel(axis, measured, column)
            axis.set(xlabel=label, xlim=(0, None))
        axes[0].set_ylabel("fact.all, test questions")
        drawn.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=5)
        drawn.suptitle(f"miniature world; {measured.where}", fontsize=8)
        drawn.tight_layout(rect=(0, 0.07, 1, 1))
        plt.close(drawn)
        return drawn


def bounded(point: pd.Series) -> str:
    """``0.52 [0.45, 0.59]``: a point's ``fact.all`` with its bounds."""
    return f"{point['fact_all']:.2f} [{point['low']:.2f}, {point['high']:.2f}]"


def _panel(axis: Axes, measured: Measured, column: str) -> None:
    for mode, look in LOOKS.items():
        curve = measured.curve(mode)
        axis.plot(curve[column], curve["fact_all"], markersize=4, label=mode, **look)
        axis.fill_between(
            curve[column], curve["low"], curve["high"], color=look["color"], alpha=0.12, lw=0
        )
    low = _best(measured.curve(AGAINST))["low"]
    axis.axhline(low, color="#999999", linestyle=":", label=f"lower bound of {AGAINST}'s best")


def _best(curve: pd.DataFrame) -> pd.Series:
    return curve.loc[curve["fact_all"].idxmax()]


def _within(measured: Measured, mode: str) -> pd.Series | None:
    """The mode's first point within the bounds of batch 1's best, below which it does not fall
    again on the way to its own best (one point may lie high by chance); None where none is."""
    curve, low = measured.curve(mode), _best(measured.curve(AGAINST))["low"]
    way = curve.loc[: _best(curve).name]
    held = way[way["fact_all"][::-1].cummin()[::-1] >= low]
    return None if held.empty else held.iloc[0]


def _rates(measured: Measured) -> str:
    points = measured.points
    tried = ", ".join(f"{rate:g}" for rate in sorted(points["learning_rate"].unique()))
    chosen = points[points["chosen"]].groupby("mode")["learning_rate"].first()
    own = ", ".join(f"{mode} {chosen[mode]:g}" for mode in (AGAINST, "packed"))
    return f"Learning rates with the lowest validation loss, of {tried}: {own}."


def _target(measured: Measured) -> str:
    best, first = _best(measured.curve(AGAINST)), _within(measured, AGAINST)
    return (
        f"{AGAINST} is best after {_taken(best)}: fact.all {bounded(best)}; it was within these "
        f"bounds from {_taken(first)} on."
    )


def _reached(measured: Measured, mode: str) -> str:
    best, own = _best(measured.curve(AGAINST)), _within(measured, AGAINST)
    first = _within(measured, mode)
    if first is None:
        top = _best(measured.curve(mode))
        return (
            f"{mode} is never within the bounds of {AGAINST}'s best; its own best, after "
            f"{_taken(top)}, is {bounded(top)}."
        )
    shares = {clock: [first[clock] / point[clock] for point in (best, own)] for clock in CLOCKS}
    listed = " and ".join(
        f"{of_best:.0%} of {AGAINST}'s {CLOCKS[clock]} to its best point ({of_own:.0%} of that to "
        "its first point within them)"
        for clock, (of_best, of_own) in shares.items()
    )
    half = max(map(max, shares.values())) <= 0.5
    return (
        f"{mode} is within these bounds from {_taken(first)} on, at {bounded(first)}: {listed}; "
        f"{'all' if half else 'not all'} of these are at most half."
    )


def _at_the_end(measured: Measured, mode: str) -> str:
    last, other = measured.curve(mode).iloc[-1], measured.curve(AGAINST).iloc[-1]
    times = " and ".join(f"{last[c] / other[c]:.0%} of the {name}" for c, name in CLOCKS.items())
    seen = f"the same {last['pairs']:,.0f} pairs"
    if last["pairs"] != other["pairs"]:
        seen = f"{last['pairs']:,.0f} pairs against {other['pairs']:,.0f}"
    return (
        f"For {seen} {mode} took {times} of {AGAINST}, and ended at {bounded(last)} against "
        f"{bounded(other)}."
    )


def _same_course(measured: Measured) -> str:
    both = measured.curve("packed").merge(measured.curve("accumulation"), on="step")
    apart = (both["val_loss_x"] - both["val_loss_y"]).abs().max()
    return f"Validation losses of packed and accumulation differ by {apart:.1g} at most."


def _taken(point: pd.Series) -> str:
    return f"{point['seconds']:,.0f} s and {point['pairs']:,.0f} pairs"
