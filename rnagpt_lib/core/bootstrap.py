"""From samples to tables: means, 95 % bootstrap bounds over units, paired differences.

Units are resampled, not answers: the answers about one RNA, and about RNAs alike, stand or
fall together. Where a model was trained with several seeds, its trainings are resampled, too.
The same draws serve every score of a call, so that differences are paired.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pandas as pd

ALL = "all"
OUTER = (2.5, 97.5)
CONTROL = "control."  # asks one training of IT
BALANCED = "fact.closed"  # the mean over the references yes and no, not over answers
OVERALL = ("rna_type", "family", "local", "literature")  # kinds that make up fact.all


class Bootstrap:
    """``n`` draws of units, with replacement, as counts (n, units).

    >>> Bootstrap(["a", "a", "b"]).bounds([1.0, 1.0, 1.0], ["a", "a", "b"])
    (1.0, 1.0, 1.0)
    """

    def __init__(self, units, n: int = 1000, seed: int | Sequence[int] = 0):
        self.units = pd.Index(sorted(set(units)))
        size = len(self.units)
        self.counts = _drawn(size, n, seed)

    def bounds(self, values, units, classes=None, *trainings) -> tuple[float, float, float]:
        """Mean of ``values`` with its lower and upper bound; with ``classes`` (one label each)
        the mean of the classes' means. A draw without any of a class leaves that class out.
        With ``trainings`` (one label each; twice where values compare two models) a draw takes
        as many of these, with replacement, of each model's apart."""
        mean, drawn = self.means(values, units, classes, *trainings)
        low, high = np.percentile(drawn.compressed(), OUTER)
        return mean, float(low), float(high)

    def means(self, values, units, classes=None, *trainings) -> tuple[float, np.ma.MaskedArray]:
        """The same mean, and that of every draw, (n,); masked where a draw has no value."""
        values, where = np.asarray(values, float), self.units.get_indexer(units)
        labels = _numbered(classes, len(values))
        seeds, weights = np.zeros(len(values), int), np.ones((len(self.counts), 1))
        for place, given in enumerate(trainings):
            own = _numbered(given, len(values))
            times = _drawn(own.max() + 1, len(weights), [own.max() + 1, place])
            seeds = seeds * times.shape[1] + own
            weights = (weights[:, :, None] * times[:, None, :]).reshape(len(weights), -1)
        cells, shape = where * weights.shape[1] + seeds, (len(self.units), weights.shape[1])
        means, drawn = [], []
        for label in range(labels.max() + 1):
            chosen = labels == label
            sums = np.bincount(cells[chosen], values[chosen], shape[0] * shape[1])
            numbers = np.bincount(cells[chosen], minlength=shape[0] * shape[1])
            total, count = (
                ((self.counts @ table.reshape(shape)) * weights).sum(1) for table in (sums, numbers)
            )
            with np.errstate(invalid="ignore"):
                drawn.append(total / count)
            means.append(sums.sum() / numbers.sum())
        return float(np.mean(means)), np.ma.masked_invalid(drawn).mean(axis=0)


def _drawn(size: int, n: int, seed: int | Sequence[int]) -> np.ndarray:
    """``n`` draws of ``size`` things out of as many, as counts (n, size)."""
    return np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), n).astype(float)


def _numbered(labels, size: int) -> np.ndarray:
    """The place of each label among all of them, sorted; without labels all are one."""
    return np.zeros(size, int) if labels is None else np.unique(labels, return_inverse=True)[1]


def score_table(
    samples: pd.DataFrame, asked: pd.DataFrame, definitions: dict[str, str], n: int, seed: int
) -> pd.DataFrame:
    """The contract's ``scores``: every metric of every model, over all of its trainings, for all
    questions and by kind, form and stratum. ``definitions`` maps metrics to the ids of their
    definitions."""
    draws = Bootstrap(range(asked.unit.nunique()), n, seed)
    rows = []
    table = _with_strata(samples, asked)
    for keys, of_metric in table.groupby(["run", "source", "model", "metric"], sort=True):
        metric = keys[-1]
        values, units = of_metric.value.to_numpy(), of_metric.unit.to_numpy()
        classes, seeds = _classes(of_metric, metric), of_metric.seed.to_numpy()
        questions = pd.factorize(of_metric.pair_id)[0]
        for where, chosen in _slices(of_metric):
            within = None if classes is None else classes[chosen]
            bounds = draws.bounds(values[chosen], units[chosen], within, seeds[chosen])
            number = len(np.unique(questions[chosen]))
            rows.append((*keys[:3], *where, metric, definitions[metric], *bounds, number))
    columns = ["run", "source", "model", "kind", "form", "stratum", "metric", "definition"]
    return pd.DataFrame(rows, columns=[*columns, "value", "low", "high", "n"])


def differences(
    samples: pd.DataFrame, asked: pd.DataFrame, pairs: list[tuple[str, str, str]], n: int, seed: int
) -> pd.DataFrame:
    """Paired differences ``model_a`` - ``model_b`` for each (model_a, model_b, metric), over
    the questions that both answered; triples without any are left out. Where both were trained
    with the same seeds, trainings with one seed are a pair; a control stands beside the training
    that was asked so; else all of the one stand against all of the other, as in the difference of
    their scores."""
    draws = Bootstrap(range(asked.unit.nunique()), n, seed)
    groups = dict(list(_with_strata(samples, asked).groupby(["model", "metric"])))
    rows = []
    for a, b, metric in pairs:
        if (a, metric) not in groups or (b, metric) not in groups:
            continue
        both = _side_by_side(groups[a, metric], groups[b, metric], b.startswith(CONTROL))
        if len(both):
            values = both["value"] - both["value_b"]
            seeds = [both[column] for column in ("seed", "seed_b") if column in both]
            bounds = draws.bounds(values, both.unit, _classes(both, metric), *seeds)
            rows.append((a, b, metric, *bounds))
    return pd.DataFrame(rows, columns=["model_a", "model_b", "metric", "value", "low", "high"])


def _side_by_side(ours: pd.DataFrame, theirs: pd.DataFrame, control: bool) -> pd.DataFrame:
    """The answers of two models to the same questions: of one ``seed`` where these are the same
    (and several) and beside a control, else of every ``seed`` beside every ``seed_b``."""
    seeds = set(ours.seed)
    paired = control or (len(seeds) > 1 and seeds == set(theirs.seed))
    return ours.merge(
        theirs[["pair_id", "seed", "value"]],
        on=["pair_id", "seed"] if paired else ["pair_id"],
        suffixes=("", "_b"),
    )


def by_training(samples: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """The contract's ``trainings``: every metric of every single training, over all questions."""
    rows = []
    names = ["run", "model", "seed", "metric"]
    for keys, of_metric in _with_strata(samples, asked).groupby(names, sort=True):
        classes = _classes(of_metric, keys[-1])
        labels = _numbered(classes, len(of_metric))
        rows.append((*keys, of_metric.value.groupby(labels).mean().mean()))
    return pd.DataFrame(rows, columns=[*names, "value"])


def _with_strata(samples: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    known = asked[["pair_id", "stratum", "reference"]]
    table = samples.merge(known, on="pair_id", validate="many_to_one")
    # units by number: as texts they would be looked up again for every slice
    table["unit"] = pd.Index(sorted(set(asked.unit))).get_indexer(table.unit)
    overall = table[table.metric.isin([f"fact.{kind}" for kind in OVERALL])]
    return pd.concat([table, overall.assign(metric="fact.all")], ignore_index=True)


def _classes(rows: pd.DataFrame, metric: str) -> np.ndarray | None:
    """Yes or no, the classes that a balanced metric averages over; None for other metrics."""
    return rows.reference.str[:1].str.lower().to_numpy() if metric == BALANCED else None


def _slices(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    """(kind, form, stratum) and which rows: all; by kind, stratum and both; by form."""
    columns = {name: rows[name].to_numpy() for name in ("kind", "form", "stratum")}
    kinds, forms, strata = (sorted(set(column)) for column in columns.values())
    names = list(product([ALL, *kinds], [ALL], [ALL, *strata]))
    for where in names + [(ALL, form, ALL) for form in forms]:
        chosen = np.ones(len(rows), bool)
        for column, wanted in zip(columns.values(), where, strict=True):
            chosen &= (column == wanted) | (wanted == ALL)
        if chosen.any():
            yield where, chosen
