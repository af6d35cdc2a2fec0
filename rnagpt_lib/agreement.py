"""What two raters' ratings say: whether they agree, which models they prefer, which metrics do.

Bounds are 95 % bootstrap over units, as everywhere: items about similar RNAs are drawn together.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from rnagpt_lib import paths, ratings, tables
from rnagpt_lib.bounds import OUTER, OVERALL, Bootstrap

LEAST = 10  # items with a value of a metric, to correlate it


def judged(
    folder: str | Path, files: Sequence[str | Path], n: int = 1000, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """All tables of ``rated`` items: agreement, models, metrics.

    ``folder``: the ``ratings`` of a run's 06; ``files``: the two filled sheets. Raises InputError
    as ``ratings.read`` and ``ratings.load`` do.
    """
    folder = paths.from_root(folder)
    items, key = ratings.load(folder)
    found = ratings.read([paths.from_root(file) for file in files], items)
    rated = key.merge(found, left_on="item", right_index=True, validate="one_to_one")
    rated = rated.reset_index(drop=True)
    samples = tables.read(folder.parent / "samples.parquet", "samples")
    draws = Bootstrap(rated.unit, n, seed)
    return {
        "agreement": agreement(rated, draws),
        "models": by_model(rated, draws),
        "metrics": by_metric(rated, samples, draws),
    }


def kappa(table: np.ndarray) -> np.ndarray:
    """Cohen's kappa of tables (…, k, k) of how often one rater said i and the other j; NaN where
    both always said the same one thing, which tells nothing.

    >>> kappa(np.array([[20, 5], [10, 15]])).round(2).item()
    0.4
    """
    total = table.sum(axis=(-2, -1))
    said = np.trace(table, axis1=-2, axis2=-1) / total
    chance = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / total**2
    with np.errstate(invalid="ignore"):
        return np.where(chance < 1, (said - chance) / (1 - chance), np.nan)


def agreement(rated: pd.DataFrame, draws: Bootstrap) -> pd.DataFrame:
    """Rows kappa and share (of items rated alike), with value, low, high and n."""
    size = len(ratings.SCALE)
    of_unit = np.zeros((len(draws.units), size, size))
    np.add.at(of_unit, (draws.units.get_indexer(rated.unit), rated.one, rated.other), 1)
    drawn = kappa(np.tensordot(draws.counts, of_unit, axes=1))
    alike = draws.bounds(rated.one == rated.other, rated.unit)
    rows = {"kappa": (float(kappa(of_unit.sum(axis=0))), *_outer(drawn)), "share": alike}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
    return table.assign(n=len(rated))


def by_model(rated: pd.DataFrame, draws: Bootstrap) -> pd.DataFrame:
    """Mean rating of both raters by model, best first: value, low, high, n."""
    mean = (rated.one + rated.other) / 2
    rows = {
        model: (*draws.bounds(mean[own.index], own.unit), len(own))
        for model, own in rated.groupby("model")
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high", "n"])
    return table.sort_values("value", ascending=False).rename_axis("model")


def by_metric(rated: pd.DataFrame, samples: pd.DataFrame, draws: Bootstrap) -> pd.DataFrame:
    """Spearman's correlation of each metric with the mean rating, best first: value, low, high, n.

    Facts of all open kinds are one metric, ``fact.all``. Metrics with under `LEAST` items, or with
    one value for all of them, are left out.
    """
    facts = samples.metric.isin([f"fact.{kind}" for kind in OVERALL])
    samples = samples[facts | ~samples.metric.str.startswith("fact.")]
    samples = samples.assign(metric=samples.metric.mask(facts, "fact.all"))
    samples = samples.drop_duplicates(["model", "pair_id", "metric"])  # of the rated training
    mean = rated.assign(rating=(rated.one + rated.other) / 2)
    both = mean.merge(samples[["model", "pair_id", "metric", "value"]], on=["model", "pair_id"])
    rows = {}
    for metric, own in both.groupby("metric"):
        if len(own) >= LEAST and min(own.value.nunique(), own.rating.nunique()) > 1:
            rows[metric] = (*_spearman(own, draws), len(own))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high", "n"])
    return table.sort_values("value", ascending=False).rename_axis("metric")


def _spearman(own: pd.DataFrame, draws: Bootstrap) -> tuple[float, float, float]:
    """With bounds; each draw is ranked anew."""
    pair = own[["value", "rating"]].to_numpy(float)
    times = draws.counts[:, draws.units.get_indexer(own.unit)].astype(int)
    drawn = np.array([_correlation(np.repeat(pair, number, axis=0)) for number in times])
    return _correlation(pair), *_outer(drawn)


def _correlation(pair: np.ndarray) -> float:
    """Of the ranks of two columns; NaN where one of them has one value alone."""
    ranks = rankdata(pair, axis=0)
    ranks -= ranks.mean(axis=0)
    norms = np.sqrt((ranks**2).sum(axis=0)).prod()
    return float(ranks.prod(axis=1).sum() / norms) if norms else float("nan")


def _outer(drawn: np.ndarray) -> tuple[float, float]:
    """Both bounds, over the draws that have a value."""
    kept = drawn[~np.isnan(drawn)]
    low, high = np.percentile(kept, OUTER) if len(kept) else (np.nan, np.nan)
    return float(low), float(high)
