"""From samples to tables: means, 95 % bootstrap bounds over units, paired differences.

Units are resampled, not answers: the answers about one RNA, and about RNAs alike, stand or
fall together. The same draws serve every score of a call, so that differences are paired.
"""

from itertools import product

import numpy as np
import pandas as pd

ALL = "all"
OUTER = (2.5, 97.5)
BALANCED = "fact.closed"  # the mean over the references yes and no, not over answers
OVERALL = ("rna_type", "family", "local", "literature")  # kinds that make up fact.all


class Bootstrap:
    """``n`` draws of units, with replacement, as counts (n, units).

    >>> Bootstrap(["a", "a", "b"]).bounds([1.0, 1.0, 1.0], ["a", "a", "b"])
    (1.0, 1.0, 1.0)
    """

    def __init__(self, units, n: int = 1000, seed: int = 0):
        self.units = pd.Index(sorted(set(units)))
        size = len(self.units)
        rng = np.random.default_rng(seed)
        self.counts = rng.multinomial(size, np.full(size, 1 / size), n).astype(float)

    def bounds(self, values, units, classes=None) -> tuple[float, float, float]:
        """Mean of ``values`` with its lower and upper bound; with ``classes`` (one label each)
        the mean of the classes' means. A draw without any of a class leaves that class out."""
        values, where = np.asarray(values, float), self.units.get_indexer(units)
        one = np.zeros(len(values), int)
        labels = one if classes is None else np.unique(list(classes), return_inverse=True)[1]
        means, drawn = [], []
        for label in range(labels.max() + 1):
            chosen = labels == label
            sums = np.bincount(where[chosen], values[chosen], len(self.units))
            numbers = np.bincount(where[chosen], minlength=len(self.units))
            with np.errstate(invalid="ignore"):
                drawn.append((self.counts @ sums) / (self.counts @ numbers))
            means.append(sums.sum() / numbers.sum())
        kept = np.array(drawn)
        kept = kept[:, ~np.isnan(kept).all(axis=0)]
        low, high = np.nanpercentile(np.nanmean(kept, axis=0), OUTER)
        return float(np.mean(means)), float(low), float(high)


def score_table(
    samples: pd.DataFrame, asked: pd.DataFrame, definitions: dict[str, str], n: int, seed: int
) -> pd.DataFrame:
    """The contract's ``scores``: every metric of every model, for all questions and by kind,
    form and stratum. ``definitions`` maps metrics to the ids of their definitions."""
    table = _with_strata(samples, asked)
    draws = Bootstrap(asked.unit, n, seed)
    rows = []
    for keys, rows_of in table.groupby(["run", "source", "model", "metric"], sort=True):
        run, source, model, metric = keys
        for kind, form, stratum in _slices(rows_of):
            chosen = _slice(rows_of, kind, form, stratum)
            value, low, high = _bounds(draws, chosen, metric)
            where = (run, source, model, kind, form, stratum, metric, definitions[metric])
            rows.append((*where, value, low, high, len(chosen)))
    columns = ["run", "source", "model", "kind", "form", "stratum", "metric", "definition"]
    return pd.DataFrame(rows, columns=[*columns, "value", "low", "high", "n"])


def differences(
    samples: pd.DataFrame, asked: pd.DataFrame, pairs: list[tuple[str, str, str]], n: int, seed: int
) -> pd.DataFrame:
    """Paired differences ``model_a`` - ``model_b`` for each (model_a, model_b, metric), over
    the questions that both answered; triples without any are left out."""
    table = _with_strata(samples, asked)
    draws = Bootstrap(asked.unit, n, seed)
    rows = []
    for a, b, metric in pairs:
        of_metric = table[table.metric == metric]
        ours, theirs = of_metric[of_metric.model == a], of_metric[of_metric.model == b]
        both = ours.merge(theirs[["pair_id", "value"]], on="pair_id", suffixes=("", "_b"))
        if len(both):
            both["value"] = both["value"] - both["value_b"]
            rows.append((a, b, metric, *_bounds(draws, both, metric)))
    return pd.DataFrame(rows, columns=["model_a", "model_b", "metric", "value", "low", "high"])


def _with_strata(samples: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    known = asked[["pair_id", "stratum", "reference"]]
    table = samples.merge(known, on="pair_id", validate="many_to_one")
    overall = table[table.metric.isin([f"fact.{kind}" for kind in OVERALL])]
    return pd.concat([table, overall.assign(metric="fact.all")], ignore_index=True)


def _bounds(draws: Bootstrap, rows: pd.DataFrame, metric: str) -> tuple[float, float, float]:
    classes = rows.reference.str[:2].str.lower() if metric == BALANCED else None
    return draws.bounds(rows.value, rows.unit, classes)


def _slices(rows: pd.DataFrame) -> list[tuple[str, str, str]]:
    """All; by kind, stratum and both; by form."""
    kinds, strata = sorted(rows.kind.unique()), sorted(rows.stratum.unique())
    found = list(product([ALL, *kinds], [ALL], [ALL, *strata]))
    found += [(ALL, form, ALL) for form in sorted(rows.form.unique())]
    return [chosen for chosen in found if len(_slice(rows, *chosen))]


def _slice(rows: pd.DataFrame, kind: str, form: str, stratum: str) -> pd.DataFrame:
    chosen = np.ones(len(rows), bool)
    for column, wanted in (("kind", kind), ("form", form), ("stratum", stratum)):
        if wanted != ALL:
            chosen &= (rows[column] == wanted).to_numpy()
    return rows[chosen]
