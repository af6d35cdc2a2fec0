"""The page of ``nrc_asking``: scores beside the baselines', the bar, and the curves over training."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from benchmarks.science import nrc
from rnagpt_lib.core.bootstrap import OUTER, Bootstrap
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.report import readme

TITLES = nrc.SPLITS | {nrc.GIVEN: nrc.HALVES}
MINUTES, CORES = 60, 2  # that a training may take
ABOVE, WITHIN = (
    0.03,
    0.02,
)  # the bar: over the best baseline, of the linear head on the same encoder
OWN = {"asking": "by asking", "asking.linear": "linear head on that encoder"}
METHODS = OWN | nrc.METHODS
BASELINES = [name for name in nrc.METHODS if name != "encoder.linear"]


Kept = dict[str, dict[str, dict]]  # split → seed → what was measured


def beside(kept: Kept, baselines: dict[str, list[dict]]) -> Kept:
    """What was measured by asking, with what ``nrc`` measured without a model on the same RNAs."""
    joined: Kept = {}
    for how, by_seed in kept.items():
        for seed, run in by_seed.items():
            same = next(iter(baselines.get(how, [])[int(seed) : int(seed) + 1]), None)
            if same is None or same["test"] != run["test"]:
                raise InputError(
                    f"{how}, seed {seed}: measure it by `python -m benchmarks nrc` first"
                )
            right = {
                family: row | same["by_family"][family] for family, row in run["by_family"].items()
            }
            scores = run["scores"] | same["scores"]
            joined.setdefault(how, {})[seed] = run | {"scores": scores, "by_family": right}
    return joined


def render(kept: Kept, baselines: dict[str, list[dict]], said: Mapping[str, str]) -> str:
    """The block of the page: ``said`` is what the answers call a class."""
    if not kept:
        return "Not measured yet."
    kept = beside(kept, baselines)
    parts = [
        "The answers call the classes " + ", ".join(f"*{n}* ({c})" for c, n in said.items()) + "."
    ]
    for how, title in TITLES.items():
        if how in kept:
            parts += _split(title, kept[how], nrc.SEEDS if how in nrc.SPLITS else [0])
        elif how in nrc.SPLITS:
            parts.append(f"**Split: {title}.** Not measured yet.")
    return "\n\n".join(parts)


def summary(kept: Kept, baselines: dict[str, list[dict]]) -> str:
    """The block that opens the page: each split's scores, over all test RNAs; the best of a column
    is bold. What was not asked yet has its baselines alone."""
    asked = beside(kept, baselines)
    splits = {
        how: list(asked[how].values()) if how in asked else baselines[how]
        for how in TITLES
        if how in asked or how in baselines
    }
    if not splits:
        return "Not measured yet."
    rows: dict[str, dict[str, str]] = {told: {} for told in METHODS.values()}
    for how, runs in splits.items():
        for key, metric in nrc.METRICS.items():
            there = [m for m in METHODS if all(m in run["scores"] for run in runs)]
            means = {m: np.mean([r["scores"][m]["all"][key] for r in runs]) for m in there}
            for method, told in METHODS.items():
                cell = nrc.over(runs, method, "all", key) if method in means else "–"
                best = method in means and means[method] == max(means.values())
                rows[told][f"{TITLES[how]}: {metric}"] = f"**{cell}**" if best else cell
    return readme.markdown(pd.DataFrame.from_dict(rows, orient="index").rename_axis("method"))


def _split(title: str, by_seed: dict[str, dict], seeds: Sequence[int]) -> list[str]:
    runs = [by_seed[seed] for seed in sorted(by_seed, key=int)]
    common = sorted(set.intersection(*(set(run["classes"]) for run in runs)))
    rows = nrc.score_table(runs, METHODS, common)
    return [
        f"**Split: {title}.** {_measured(by_seed, seeds)}",
        "\n".join(_taken(by_seed)),
        readme.markdown(rows),
        "\n".join(f"- {sentence}" for sentence in _bar(by_seed, seeds)),
        readme.markdown(nrc.f1_table(runs, METHODS)),
        "Along the trainings of the first of these seeds, on its validation RNAs:",
        readme.markdown(_curve(runs[0])),
    ]


def _measured(by_seed: dict[str, dict], seeds: Sequence[int]) -> str:
    missing = [str(seed) for seed in seeds if str(seed) not in by_seed]
    told = f"Measured: seed{'s' * (len(by_seed) > 1)} {', '.join(sorted(by_seed, key=int))}"
    return f"{told}; missing: {', '.join(missing)}." if missing else f"{told}."


def _taken(by_seed: dict[str, dict]) -> list[str]:
    """A line for each seed: how many RNAs there were, what the trainings took, what came of it."""
    return [
        f"- Seed {seed}: {run['fitted']:,} RNAs trained, {run['validated']:,} gave the curves, "
        f"{run['test']['all']:,} were asked about ({run['test']['all'] - run['test']['new']:,} of "
        f"them copies of train RNAs). By asking {_accuracy(run, 'asking')}, linear head "
        f"{_accuracy(run, 'asking.linear')} right; "
        f"{run['unclear']:.1%} of the answers name no class or several. "
        f"{_all(run, 'minutes'):,.1f} minutes of training, the encoder's "
        f"{run['encoder_points'][-1]['minutes']:,.1f} included ({_all(run, 'cpu_minutes'):,.1f} of "
        f"a processor), on {run['where']}."
        for seed, run in sorted(by_seed.items(), key=lambda item: int(item[0]))
    ]


def _accuracy(run: dict, method: str) -> str:
    return f"{run['scores'][method]['all']['accuracy']:.3f}"


def _all(run: dict, clock: str) -> float:
    """Minutes of both trainings."""
    return run["encoder_points"][-1][clock] + run[clock]


def _bar(by_seed: dict[str, dict], seeds: Sequence[int]) -> list[str]:
    """What was to be reached, and whether it was; and the same of the seeds but the first."""
    runs = list(by_seed.values())
    asking, head = (_mean(runs, method) for method in OWN)
    best = max(BASELINES, key=lambda method: _mean(runs, method))  # on the test RNAs, to its favour
    most = max(_all(run, "cpu_minutes") for run in runs)
    said = [
        _held(
            asking >= _mean(runs, best) + ABOVE and _bounds(runs, best)[0] > 0,
            f"at least {ABOVE} above the best baseline ({METHODS[best]}), and bounds above 0",
            f"{asking:.3f} against {_mean(runs, best):.3f}, {_lead(runs, best)}",
        ),
        _held(
            asking >= head - WITHIN,
            f"at most {WITHIN} below the linear head on the same encoder",
            f"{asking:.3f} against {head:.3f}, {_lead(runs, 'asking.linear')}",
        ),
        _held(
            most <= MINUTES * CORES,
            f"at most {MINUTES} minutes of training on {CORES} cores",
            f"{most:,.1f} of {MINUTES * CORES} minutes of a processor",
        ),
        _held(len(runs) == len(seeds), f"{len(seeds)} seeds", f"{len(runs)}"),
    ]
    others = [run for seed, run in by_seed.items() if seed != str(seeds[0])]
    if others and len(others) < len(runs):
        said.append(
            f"Without seed {seeds[0]}: {_mean(others, 'asking'):.3f}, "
            f"{_lead(others, best)} over that baseline, "
            f"{_lead(others, 'asking.linear')} over the linear head."
        )
    return said


def _mean(runs: Sequence[dict], method: str) -> float:
    return float(np.mean([run["scores"][method]["all"]["accuracy"] for run in runs]))


def _lead(runs: Sequence[dict], method: str) -> str:
    """Accuracy by asking less that of ``method``, the mean over the seeds, with its bounds."""
    low, high = _bounds(runs, method)
    return f"{_mean(runs, 'asking') - _mean(runs, method):+.3f} [{low:+.3f}, {high:+.3f}]"


def _bounds(runs: Sequence[dict], method: str) -> np.ndarray:
    """95 % bootstrap bounds of the lead over the families, which are drawn for all seeds at once."""
    tables = [pd.DataFrame.from_dict(run["by_family"], orient="index") for run in runs]
    draws = Bootstrap([family for table in tables for family in table.index])
    leads = [
        draws.counts[:, draws.units.get_indexer(table.index)]
        @ np.stack([table["asking"] - table[method], table["RNAs"]], axis=1)
        for table in tables
    ]
    return np.percentile(np.mean([lead[:, 0] / lead[:, 1] for lead in leads], 0), OUTER)


def _held(reached: bool, wanted: str, found: str) -> str:
    return f"{'Reached' if reached else '**Not reached**'}: {wanted} ({found})."


def _curve(run: dict) -> pd.DataFrame:
    before = run["encoder_points"][-1]
    stages = [
        (
            "encoder, by its linear head",
            run["encoder_points"],
            {"minutes": 0.0, "cpu_minutes": 0.0},
        ),
        ("by asking", run["points"], before),
    ]
    return pd.DataFrame([
        {
            "minutes": f"{point['minutes'] + start['minutes']:,.1f}",
            "of a processor": f"{point['cpu_minutes'] + start['cpu_minutes']:,.1f}",
            "trained and scored": stage,
            "RNAs seen": f"{point['pairs']:,}",
            "validation loss": f"{point['val_loss']:.3f}" if "val_loss" in point else "–",
            "accuracy": f"{point['val_accuracy']:.2f}",
        }
        for stage, points, start in stages
        for point in points
    ]).set_index("minutes")  # fmt: skip
