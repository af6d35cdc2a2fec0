"""Scores by identity to the nearest training RNA."""

import random

import numpy as np
import pandas as pd
import pytest

from rnagpt_lib.core import bootstrap
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.splits import split
from rnagpt_lib.evaluate import identity, results
from rnagpt_lib.report import figures


def letters(rng: random.Random, n: int) -> str:
    return "".join(rng.choices("ACGU", k=n))


@pytest.fixture
def rnas() -> pd.DataFrame:
    """Training RNAs; a copy of one, one with a letter of ten changed, a piece, and a stranger."""
    rng = random.Random(0)
    train = [letters(rng, 60) for _ in range(5)]
    spoilt = "".join("A" if i % 10 == 0 else c for i, c in enumerate(train[1].replace("A", "C")))
    test = [train[0], spoilt, train[2][10:40], letters(rng, 60)]
    rows = [(s, "train") for s in train] + [(s, "test") for s in test] + [(test[3], "val")]
    table = pd.DataFrame(rows, columns=["sequence", "split"])
    return table.assign(rna_id=[f"R{i}" for i in range(len(table))])


def test_it_is_the_units_identity_to_training_alone(rnas):
    asked = pd.concat([rnas[rnas.split == "test"]] * 2)  # two questions each
    found = identity.to_training(asked, rnas)
    test, train = (rnas[rnas.split == side].sequence.tolist() for side in ("test", "train"))
    assert found.to_list() == split.nearest_identity(test, train).tolist()
    assert list(found.index) == ["R5", "R6", "R7", "R8"]
    assert found["R5"] == found["R7"] == 1 and found["R8"] < 0.8  # the copy of R8 is in val


def test_shuffled_letters_are_near_by_chance_alone(rnas):
    asked = rnas[rnas.split == "test"].iloc[:1]
    assert identity.to_training(asked, rnas)["R5"] == 1 > identity.by_chance(asked, rnas)["R5"]
    assert identity.by_chance(asked, rnas).equals(identity.by_chance(asked, rnas))


def test_bins_part_at_the_edges_where_each_holds_an_rna():
    found = identity.binned(pd.Series([0.8, 0.1, 0.4, 0.59, 0.6, 1.0], list("abcdef")))
    assert found.bin.to_dict() == {"a": 3, "b": 0, "c": 1, "d": 1, "e": 2, "f": 3}
    assert found.label.to_list() == [
        "≥ 80 %", "< 40 %", "40–60 %", "40–60 %", "60–80 %", "≥ 80 %"
    ]  # fmt: skip


def test_else_at_the_quartiles():
    values = pd.Series(np.random.default_rng(0).uniform(0.5, 0.7, 40))
    found = identity.binned(values)
    assert found.bin.value_counts().to_list() == [10] * 4
    assert (values.groupby(found.bin).max()[:-1] < values.groupby(found.bin).min()[1:].values).all()
    assert found.label[values.idxmin()].startswith(f"{100 * values.min():.1f}–")


@pytest.mark.parametrize("values", [[0.7], [0.7] * 9, [0.5, 0.7], [1.0] * 8 + [0.5]])
def test_few_or_equal_values_leave_no_bin_empty(values):
    found = identity.binned(pd.Series(values))
    assert set(found.bin) == set(range(found.bin.max() + 1))
    assert found.groupby("bin").label.nunique().eq(1).all()
    assert found.label.nunique() == len(set(values))


@pytest.fixture
def scored() -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Four RNAs of a unit each, two facts each: the floor knows near ones, IT all, MA none."""
    asked = pd.DataFrame(
        {"pair_id": f"P{i}{kind}", "rna_id": f"R{i}", "unit": f"U{i}", "stratum": "seen",
         "reference": "x", "kind": kind, "form": "open"}
        for i in range(4) for kind in ("local", "rna_type")
    )  # fmt: skip
    near = pd.Series([0.3, 0.5, 0.7, 0.9], [f"R{i}" for i in range(4)])
    knows = {"IT": lambda i: 1, "MA": lambda i: 0, "floor.nearest": lambda i: i // 2, "x": int}
    samples = pd.DataFrame(
        {"run": "r", "source": "dnc", "model": model, "seed": 0, "pair_id": row.pair_id, "unit": row.unit,
         "kind": row.kind, "form": "open", "metric": metric,
         "value": float(right(int(row.rna_id[1])))}
        for model, right in knows.items() for row in asked.itertuples()
        for metric in (f"fact.{row.kind}", "rougeL")
    )  # fmt: skip
    return samples, asked, near


def test_facts_are_counted_by_bin(scored):
    table = identity.score_table(*scored, n=50, seed=0)
    value = table.set_index(["model", "metric", "bin"]).value.sort_index()
    assert set(table.model) == set(identity.MODELS) and "rougeL" not in set(table.metric)
    assert value["floor.nearest", "fact.all"].to_dict() == {-1: 0.5, 0: 0, 1: 0, 2: 1, 3: 1}
    assert value["IT", "fact.local"].eq(1).all() and value["MA", "fact.rna_type"].eq(0).all()
    assert table[table.bin >= 0].rnas.eq(1).all() and table[table.bin < 0].rnas.eq(4).all()
    assert table[(table.metric == "fact.all") & (table.bin >= 0)].n.eq(2).all()


def test_all_bins_together_are_the_score(scored):
    samples, asked, near = scored
    ids = dict.fromkeys(("fact.local", "fact.rna_type", "rougeL", "fact.all"), "x")
    plain = bootstrap.score_table(samples, asked, ids, 50, 0).set_index(
        ["model", "metric", "kind", "form", "stratum"]
    )
    for row in identity.score_table(samples, asked, near, 50, 0).query("bin < 0").itertuples():
        same = plain.loc[(row.model, row.metric, "all", "all", "all")]
        assert (row.value, row.low, row.high) == (same.value, same.low, same.high)


def test_a_table_of_the_run_has_bounds_and_numbers(scored, tmp_path):
    identity.score_table(*scored, n=50, seed=0).to_parquet(tmp_path / results.IDENTITY)
    found = results.Results("r", tmp_path, *[pd.DataFrame()] * 3, {})
    table = results.identity_table(found)
    assert list(table.columns) == [
        "all (4 RNAs)", "< 40 % (1 RNAs)", "40–60 % (1 RNAs)", "60–80 % (1 RNAs)", "≥ 80 % (1 RNAs)"
    ]  # fmt: skip
    assert table.loc["floor.nearest"].iloc[-1] == "1.00 [1.00, 1.00] n=2"
    (tmp_path / results.IDENTITY).unlink()
    with pytest.raises(InputError, match="identity.parquet is not there; run notebooks/06"):
        results.identity_table(found)


def test_the_figure_shows_the_values_by_bin(scored, tmp_path):
    table = identity.score_table(*scored, n=50, seed=0)
    table.to_parquet(tmp_path / results.IDENTITY)
    found = results.Results("r", tmp_path, *[pd.DataFrame()] * 3, {})
    figure = figures.identity(found)
    floor = table.query("model == 'floor.nearest' and metric == 'fact.all' and bin >= 0")
    shown = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert floor.sort_values("bin").value.to_list() in shown
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert ticks[0] == "< 40 %\n1 RNAs" and len(ticks) == 4
