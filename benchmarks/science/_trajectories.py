"""Quality against time of the ways to train stage 2: what was measured, said in sentences.

``python -m benchmarks trajectories`` measures them; `figures.trajectories` draws them.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rnagpt_lib.core.files import read_json
from rnagpt_lib.report import figures

AGAINST = "batch 1"  # the paper's recipe, which the others are held against
CLOCKS = {"seconds": "wall time", "cpu_seconds": "processor time"}


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


def load(path: Path | None = None) -> Measured | None:
    """What was measured; None where it was not: ``python -m benchmarks trajectories`` does it."""
    found = read_json(path or figures.TRAJECTORIES)
    if not found:
        return None
    return Measured(pd.DataFrame(found["points"]), f"{found['machine']}, {found['date']}")


def findings(measured: Measured) -> list[str]:
    """What the points show, whatever that is: rates, then each mode against batch 1.

    Within its bounds is at or above the lower 95 % bound of batch 1's best ``fact.all``.
    """
    said = [_rates(measured), _target(measured)]
    for mode in ("packed", "packed longer", "accumulation"):
        said += [_reached(measured, mode), _at_the_end(measured, mode)]
    return [*said, _same_course(measured)]


def bounded(point: pd.Series) -> str:
    """``0.52 [0.45, 0.59]``: a point's ``fact.all`` with its bounds."""
    return f"{point['fact_all']:.2f} [{point['low']:.2f}, {point['high']:.2f}]"


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
