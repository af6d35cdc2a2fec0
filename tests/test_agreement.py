"""Agreement of two raters, and of metrics with them, against scikit-learn and scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from rnagpt_lib import agreement, ratings, tables
from rnagpt_lib.bounds import Bootstrap


def rated(one, other, models=None, units=None) -> pd.DataFrame:
    n = len(one)
    return pd.DataFrame(
        {"item": range(1, n + 1), "pair_id": [f"P{i}" for i in range(n)], "one": one,
         "other": other, "unit": units or [f"U{i:03d}" for i in range(n)],
         "model": models or ["IT"] * n}
    )  # fmt: skip


def table_of(one, other) -> np.ndarray:
    table = np.zeros((3, 3))
    np.add.at(table, (one, other), 1)
    return table


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_sklearns(seed):
    rng = np.random.default_rng(seed)
    one = rng.integers(0, 3, 60)
    other = np.where(rng.random(60) < 0.6, one, rng.integers(0, 3, 60))
    assert agreement.kappa(table_of(one, other)) == pytest.approx(cohen_kappa_score(one, other))


@pytest.mark.parametrize(
    "one, other, expected",
    [([0, 1, 2], [0, 1, 2], 1), ([0, 1, 0, 1], [0, 1, 1, 0], 0), ([0, 1], [1, 0], -1)],
)
def test_kappa_of_plain_cases(one, other, expected):
    assert agreement.kappa(table_of(one, other)) == pytest.approx(expected)


def test_kappa_of_raters_who_always_say_the_same_tells_nothing():
    assert np.isnan(agreement.kappa(table_of([2, 2], [2, 2])))
    found = agreement.agreement(rated([2, 2], [2, 2]), Bootstrap(["U000", "U001"], 50))
    assert found.loc["share", "value"] == 1 and found.loc["kappa"].isna()[["value", "low"]].all()


def test_bounds_of_kappa_are_those_of_resampled_items():
    """The draws of units, one item each, are recounted one by one with scikit-learn."""
    rng = np.random.default_rng(3)
    one = rng.integers(0, 3, 40)
    table = rated(one, np.where(rng.random(40) < 0.7, one, rng.integers(0, 3, 40)))
    draws = Bootstrap(table.unit, 200, 0)
    naive = [
        cohen_kappa_score(*table[["one", "other"]].to_numpy().repeat(times.astype(int), axis=0).T)
        for times in draws.counts
    ]
    row = agreement.agreement(table, draws).loc["kappa"]
    assert (row.low, row.high) == pytest.approx(tuple(np.percentile(naive, (2.5, 97.5))))
    assert row.low < row.value < row.high and row.n == 40


def test_copies_within_a_unit_do_not_narrow_the_bounds():
    rng = np.random.default_rng(4)
    one, other = rng.integers(0, 3, (2, 30))
    units = [f"U{i}" for i in range(30)]
    table, tenfold = (rated(one.repeat(k), other.repeat(k), units=list(np.repeat(units, k)))
                      for k in (1, 10))  # fmt: skip
    first, second = (agreement.agreement(t, Bootstrap(t.unit, 200)) for t in (table, tenfold))
    np.testing.assert_allclose(first[["value", "low", "high"]], second[["value", "low", "high"]])


def test_models_are_ranked_by_both_raters():
    table = rated([2, 2, 0, 1], [2, 1, 0, 0], ["IT", "IT", "MA", "MA"])
    found = agreement.by_model(table, Bootstrap(table.unit, 100))
    assert found.value.to_dict() == {"IT": 1.75, "MA": 0.25} and found.n.to_list() == [2, 2]
    assert list(found.index) == ["IT", "MA"] and (found.low <= found.high).all()


def samples_of(table: pd.DataFrame, values: dict[str, np.ndarray]) -> pd.DataFrame:
    keys = {"run": "r", "source": "dnc", "seed": 0, "rna_id": "R", "kind": "local", "form": "open"}
    about = table[["model", "pair_id", "unit"]].assign(**keys)
    parts = [about.assign(metric=m, value=np.asarray(v, float)) for m, v in values.items()]
    return pd.concat(parts, ignore_index=True)[[*tables.COLUMNS["samples"]]]


@pytest.fixture
def judged_table() -> pd.DataFrame:
    one = np.random.default_rng(5).integers(0, 3, 40)
    return rated(one, np.roll(one, 1), ["IT", "MA"] * 20)


def test_correlations_are_spearmans_and_best_first(judged_table):
    mean = (judged_table.one + judged_table.other) / 2
    noise = np.random.default_rng(6).normal(size=40)
    samples = samples_of(
        judged_table,
        {"worst": -mean, "noise": noise, "best": mean**3, "constant": np.ones(40),
         "fact.closed": noise, "fact.species": noise},
    )  # fmt: skip
    found = agreement.by_metric(judged_table, samples, Bootstrap(judged_table.unit, 200))
    assert list(found.index) == ["best", "noise", "worst"]
    assert found.value["best"] == pytest.approx(1) and found.value["worst"] == pytest.approx(-1)
    assert found.value["noise"] == pytest.approx(spearmanr(noise, mean).statistic)
    assert found.low["noise"] < found.value["noise"] < found.high["noise"]


def test_facts_of_all_kinds_are_one_metric_and_few_values_none(judged_table):
    mean = (judged_table.one + judged_table.other) / 2
    right = samples_of(judged_table, {"fact.local": mean > 1})
    right.loc[:19, "metric"] = "fact.family"
    few = samples_of(judged_table[:9], {"few": mean[:9]})
    found = agreement.by_metric(
        judged_table, pd.concat([right, few]), Bootstrap(judged_table.unit, 50)
    )
    assert list(found.index) == ["fact.all"] and found.n["fact.all"] == 40


def test_filled_sheets_become_tables(judged_table, tmp_path):
    texts = {"question": "What?", "reference": "It.", "answer": "=It."}
    items = judged_table[["item"]].assign(**texts)
    ratings.write(tmp_path / "ratings", items, judged_table[["item", "model", "pair_id", "unit"]])
    files = []
    for name in ("one", "other"):
        sheet = pd.read_csv(tmp_path / "ratings" / "rater_1.csv")
        files.append(tmp_path / f"{name}.csv")
        sheet.assign(rating=judged_table[name]).to_csv(files[-1], index=False)
    samples = samples_of(judged_table, {"rougeL": judged_table.one})
    tables.write(tmp_path / "samples.parquet", "samples", samples)
    found = agreement.judged(tmp_path / "ratings", files, 100)
    expected = cohen_kappa_score(judged_table.one, judged_table.other)
    assert found["agreement"].loc["kappa", "value"] == pytest.approx(expected)
    assert set(found["models"].index) == {"IT", "MA"} and list(found["metrics"].index) == ["rougeL"]
