"""Bootstrap bounds over units, the score table, paired differences."""

import numpy as np
import pandas as pd
import pytest

from rnagpt_lib.core import bootstrap
from rnagpt_lib.core.bootstrap import Bootstrap


def test_bounds_of_a_mean_are_the_closed_form():
    """One value per unit: the bootstrap's spread is s / sqrt(n)."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    units = [f"u{i:03d}" for i in range(400)]
    mean, low, high = Bootstrap(units, 4000, seed=1).bounds(values, units)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(mean - half, abs=0.08 * half)
    assert high == pytest.approx(mean + half, abs=0.08 * half)


def test_copies_within_a_unit_do_not_narrow_the_bounds():
    rng = np.random.default_rng(1)
    values, units = rng.normal(size=50), [f"u{i}" for i in range(50)]
    once = Bootstrap(units, 500).bounds(values, units)
    tenfold = Bootstrap(units, 500).bounds(np.repeat(values, 10), np.repeat(units, 10))
    np.testing.assert_allclose(once, tenfold)


def test_balanced_accuracy_is_the_mean_of_the_classes():
    values, classes = [1, 1, 1, 0], ["yes", "yes", "yes", "no"]
    units = ["a", "b", "c", "d"]
    assert Bootstrap(units).bounds(values, units, classes)[0] == 0.5
    assert Bootstrap(units).bounds(values, units)[0] == 0.75


def test_a_subset_may_miss_units():
    draws = Bootstrap(["a", "b", "c"], 200)
    assert draws.bounds([1.0], ["b"]) == (1.0, 1.0, 1.0)


def test_draws_depend_on_the_seed_alone():
    units = list("abcdefgh")
    values = np.arange(8.0)
    assert Bootstrap(units, seed=2).bounds(values, units) == Bootstrap(
        reversed(units), seed=2
    ).bounds(values, units)
    assert Bootstrap(units, seed=2).bounds(values, units) != Bootstrap(units, seed=3).bounds(
        values, units
    )


@pytest.fixture
def tables():
    """Six RNAs, an open and a closed question each; IT knows the seen ones, vanilla nothing."""
    asked, samples = [], []
    for i in range(6):
        stratum = "seen" if i < 4 else "held_out"
        yes = "Yes." if i % 3 == 0 else "No."
        for kind, form, reference in (("local", "open", "x"), ("literature", "closed", yes)):
            pair = f"P{i}{form}"
            asked.append({"pair_id": pair, "unit": f"U{i}", "stratum": stratum,
                          "reference": reference})  # fmt: skip
            for model in ("IT", "vanilla"):
                metric = "fact.local" if form == "open" else "fact.closed"
                right = float(model == "IT" and stratum == "seen")
                says_no = float(reference == "No.")
                value = right if form == "open" or model == "IT" else says_no
                for name, number in ((metric, value), ("rouge1", value / 2)):
                    samples.append({"run": "r", "source": "dnc", "model": model, "seed": 0,
                                    "pair_id": pair, "rna_id": f"R{i}", "unit": f"U{i}",
                                    "kind": kind, "form": form, "metric": name,
                                    "value": number})  # fmt: skip
    return pd.DataFrame(samples), pd.DataFrame(asked)


IDS = {"fact.local": "fact-1", "fact.closed": "fact-1", "fact.all": "fact-1", "rouge1": "r"}


def score(table, model, metric, kind="all", form="all", stratum="all"):
    chosen = table[
        (table.model == model) & (table.metric == metric) & (table.kind == kind)
        & (table.form == form) & (table.stratum == stratum)
    ]  # fmt: skip
    return chosen.iloc[0]


def test_score_table_slices_and_balances(tables):
    table = bootstrap.score_table(*tables, IDS, n=200, seed=0)
    assert not table.duplicated(["model", "metric", "kind", "form", "stratum"]).any()
    assert score(table, "IT", "fact.all").value == pytest.approx(4 / 6)
    assert score(table, "IT", "fact.local", kind="local", stratum="seen").value == 1
    assert score(table, "IT", "fact.local", stratum="held_out").value == 0
    assert score(table, "IT", "rouge1").n == 12
    assert score(table, "IT", "rouge1", form="open").n == 6
    always_no = score(table, "vanilla", "fact.closed")
    assert always_no.value == 0.5  # four of six answers are right, and yet it knows nothing
    assert (table.low <= table.value + 1e-12).all() and (table.value <= table.high + 1e-12).all()
    assert set(table.definition) == {"fact-1", "r"}


def test_differences_are_paired(tables):
    samples, asked = tables
    samples = samples[~((samples.model == "vanilla") & (samples.pair_id == "P0open"))]
    triples = [("IT", "vanilla", "fact.local"), ("IT", "MA", "fact.local")]
    table = bootstrap.differences(samples, asked, triples, n=500, seed=0)
    assert len(table) == 1
    assert table.value[0] == pytest.approx(3 / 5)
    assert 0 <= table.low[0] < table.value[0] < table.high[0] <= 1


def test_the_same_model_twice_differs_by_nothing(tables):
    table = bootstrap.differences(*tables, [("IT", "IT", "rouge1")], n=100, seed=0)
    assert table[["value", "low", "high"]].to_numpy().tolist() == [[0, 0, 0]]


def test_several_trainings_are_drawn_with_the_units():
    """Against the loop over draws: weighted means over units and trainings."""
    rng = np.random.default_rng(4)
    units, trainings = rng.choice(list("abcde"), 60), rng.integers(0, 3, 60)
    values, draws = rng.random(60), Bootstrap(list("abcde"), 50, seed=1)
    value, low, high = draws.bounds(values, units, None, trainings)
    times = np.random.default_rng(3).multinomial(3, [1 / 3] * 3, 50)
    means = []
    for of_units, of_trainings in zip(draws.counts, times, strict=True):
        weights = [of_units["abcde".index(u)] * of_trainings[t]
                   for u, t in zip(units, trainings, strict=True)]  # fmt: skip
        means.append(np.average(values, weights=weights))
    assert value == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))


def test_trainings_that_agree_change_nothing_and_those_that_do_not_widen_the_bounds():
    units = [f"U{i}" for i in range(30)]
    values, draws = np.arange(30) % 2, Bootstrap(units, 500)
    once = draws.bounds(values, units)
    seeds = np.repeat([0, 1, 2], 30)
    assert draws.bounds(np.tile(values, 3), units * 3, None, seeds) == pytest.approx(once)
    apart = np.concatenate([values * 0, values, values * 0 + 1])
    value, low, high = draws.bounds(apart, units * 3, None, seeds)
    assert value == once[0] and low < once[1] and high > once[2]


def test_a_score_of_several_trainings_counts_each_question_once(tables):
    samples, asked = tables
    again = samples[samples.model == "IT"].assign(seed=1)
    both = bootstrap.score_table(pd.concat([samples, again]), asked, IDS, 50, 0)
    one = bootstrap.score_table(samples, asked, IDS, 50, 0)
    for column in ("value", "n"):
        assert both[column].tolist() == one[column].tolist()


@pytest.mark.parametrize("seeds, expected", [((0, 1), 0.5), ((0,), 0.75)])
def test_differences_pair_trainings_of_one_seed(tables, seeds, expected):
    """IT is right in its first training and wrong in its second; the other one never."""
    samples, asked = tables
    rows = samples[samples.metric == "fact.local"]
    it = rows[rows.model == "IT"]
    made = [it.assign(value=1.0), it.assign(value=0.5, seed=1)]
    made += [it.assign(model="it.text", value=0.5 * s, seed=s) for s in seeds]
    table = bootstrap.differences(
        pd.concat(made), asked, [("IT", "it.text", "fact.local")], n=50, seed=0
    )
    assert table.value.item() == pytest.approx(expected)
    assert (table.low.item() < table.high.item()) and table.high.item() == pytest.approx(1.0)


@pytest.mark.parametrize("ours, theirs", [((0, 1, 2), (0, 1)), ((0, 1), (5, 6)), ((3,), (0, 1))])
def test_differences_over_other_seeds_are_those_of_the_scores(tables, ours, theirs):
    """Nobody's trainings are left out: neither the third of the one nor those of other seeds."""
    samples, asked = tables
    rows = samples[(samples.metric == "fact.local") & (samples.model == "IT")]
    rng = np.random.default_rng(0)
    made = pd.concat(
        rows.assign(model=model, seed=seed, value=rng.random(len(rows)))
        for model, seeds in (("IT", ours), ("it.text", theirs))
        for seed in seeds
    )
    table = bootstrap.differences(made, asked, [("IT", "it.text", "fact.local")], n=400, seed=0)
    means = made.groupby("model").value.mean()
    assert table.value.item() == pytest.approx(means["IT"] - means["it.text"])
    assert table.low.item() < table.value.item() < table.high.item()


def test_a_control_stands_beside_the_training_that_was_asked_so(tables):
    """Not beside IT's other trainings, which answer otherwise."""
    samples, asked = tables
    it = samples[(samples.metric == "fact.local") & (samples.model == "IT")]
    made = [it.assign(value=value, seed=seed) for seed, value in enumerate((1.0, 0.5, 0.2))]
    made += [it.assign(model="control.swapped", value=0.25)]
    pair = [("IT", "control.swapped", "fact.local")]
    assert bootstrap.differences(pd.concat(made), asked, pair, 50, 0).value.item() == 0.75


def test_two_models_trainings_are_drawn_apart():
    """Against the loop over draws: each side's trainings have numbers of their own."""
    rng = np.random.default_rng(5)
    units, ours, theirs = (
        rng.choice(list("abc"), 80),
        rng.integers(0, 3, 80),
        rng.integers(0, 3, 80),
    )
    values, draws = rng.random(80), Bootstrap(list("abc"), 50, seed=1)
    _, low, high = draws.bounds(values, units, None, ours, theirs)
    drawn = [np.random.default_rng([3, n]).multinomial(3, [1 / 3] * 3, 50) for n in (0, 1)]
    assert not np.array_equal(*drawn)
    means = []
    for of_units, of_ours, of_theirs in zip(draws.counts, *drawn, strict=True):
        weights = of_units[draws.units.get_indexer(units)] * of_ours[ours] * of_theirs[theirs]
        means.append(np.average(values, weights=weights))
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))


def test_single_trainings_stand_beside_each_other(tables):
    samples, asked = tables
    again = samples[samples.model == "IT"].assign(seed=1, value=0.0)
    each = bootstrap.by_training(pd.concat([samples, again]), asked)
    both = each[(each.model == "IT") & (each.metric == "fact.closed")]
    assert both.seed.tolist() == [0, 1]
    assert both.value.tolist() == [0.75, 0.0]  # both Yes right, two of four No
    one = bootstrap.score_table(samples, asked, IDS, 50, 0)
    for row in each[each.model == "vanilla"].itertuples():
        assert row.value == pytest.approx(score(one, "vanilla", row.metric).value)
