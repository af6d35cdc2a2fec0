"""Units by sequence and literature, and splits that never part them."""

import random
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.splits import split
from rnagpt_lib.miniature import world


def letters(rng, n):
    return "".join(rng.choices("ACGU", k=n))


def table(sequences, **columns):
    n = len(sequences)
    base = {"rna_id": [f"R{i:03d}" for i in range(n)], "sequence": sequences, "split": [""] * n}
    base |= {"rna_type": ["tRNA"] * n, "family": [""] * n}
    return pd.DataFrame(base | columns)


def no_links():
    return pd.DataFrame({"rna_id": [], "article_id": []}, dtype=str)


def test_identical_sequences_are_one_unit():
    rng = random.Random(4)
    sequence = letters(rng, 70)
    unit = split.units(table([sequence, letters(rng, 70), sequence]), no_links())
    assert unit[0] == unit[2] != unit[1]


def test_units_join_by_half_of_their_articles():
    rng = random.Random(6)
    rnas = table([letters(rng, 90) for _ in range(5)])
    of = {"R000": "ab", "R001": "abc", "R002": "cde", "R003": "x", "R004": ""}
    links = pd.DataFrame(
        [(r, a) for r, ids in of.items() for a in ids], columns=["rna_id", "article_id"]
    )
    unit = split.units(rnas, links)
    assert unit[0] == unit[1]  # 2 of 3
    assert unit.nunique() == 4  # c alone is 1 of 5


def test_clusters_join_as_wholes_too():
    rng = random.Random(7)
    one, other = letters(rng, 90), letters(rng, 90)
    rnas = table([one, one, other])
    links = pd.DataFrame(
        [("R000", "a"), ("R000", "b"), ("R001", "c"), ("R001", "d")]
        + [("R002", article) for article in "acef"],
        columns=["rna_id", "article_id"],
    )
    assert split.units(rnas, links).nunique() == 2  # no pair reaches half, nor do 2 of 6
    more = pd.concat([links, pd.DataFrame({"rna_id": ["R002"] * 2, "article_id": ["b", "d"]})])
    assert split.units(rnas, more).nunique() == 1  # 4 of 6


@pytest.fixture(scope="module")
def made():
    data = world.make(160, seed=3)
    rnas = data.rnas.assign(split="")
    return rnas.assign(unit=split.units(rnas, data.links))


def test_no_unit_on_two_sides_but_by_rows_and_the_seed_alone_decides(made):
    for how, seed in product(("cluster", "family"), range(2)):
        side = split.split(made, how, seed=seed)
        rnas = made.assign(split=side)
        assert split.straddling(rnas) == []
        assert set(side) == {"train", "val", "test"} and 0.1 < (side == "test").mean() < 0.35
        if how == "family":
            known = rnas[rnas["family"] != ""]
            assert (known.groupby("family")["split"].nunique() == 1).all()
    assert split.straddling(made.assign(split=split.split(made, "random")))
    one, again, other = (split.split(made, seed=seed) for seed in (0, 0, 1))
    assert one.equals(again) and not one.equals(other)
    assert set(split.split(made, test_share=0, val_share=0)) == {"train"}
    with pytest.raises(InputError, match="random, cluster, family"):
        split.split(made, "rows")


def test_every_type_with_two_units_is_tested_and_trained(made):
    side = split.split(made)
    for _, members in made.groupby("rna_type"):
        sides = set(side[members.index])
        assert "train" in sides
        assert ("test" in sides) == (members["unit"].nunique() > 1)


def test_presets_hold_for_their_whole_unit(made):
    preset = made["split"].copy()
    first = made.groupby("unit").size().idxmax()
    members = made.index[made["unit"] == first]
    preset[members[0]] = "test"
    rnas = made.assign(split=preset)
    assert (split.split(rnas)[members] == "test").all()
    assert set(split.swallowed(rnas).index) == set(members[1:])
    preset[members[1]] = "train"
    assert (split.split(made.assign(split=preset))[members] == "test").all()


def test_nearest_identity():
    found = split.nearest_identity(["AAAACCCC", "GGGG"], ["AAAACCCU", "UUGGGGUU", "AAAA"])
    assert found.tolist() == [1.0, 1.0]  # AAAA lies in the first, GGGG in the second target
    assert split.nearest_identity(["AAAACCCC"], ["AAAACCCU"])[0] == 1 - 1 / 8
    assert split.nearest_identity(["ACGU"], [])[0] == 0


# Close sets: exactly what comparing all sets gives, and no more pairs


def parts(n, pairs):
    one, other = np.array(sorted(pairs), dtype=int).reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(len(one)), (one, other)), shape=(n, n))
    return connected_components(graph, directed=False)[1].tolist()


def test_close_sets_are_those_of_all_pairs(monkeypatch):
    monkeypatch.setattr(split, "ITEMS", 50)
    for seed, jaccard in product(range(20), (0.3, 0.5, 0.8)):
        rng = np.random.default_rng(seed)
        n, size = int(rng.integers(1, 30)), int(rng.integers(1, 200))
        sets, items = rng.integers(0, n, size), np.minimum(rng.zipf(1.5, size), 25)
        held = [set(items[sets == number].tolist()) for number in range(n)]
        true = {
            (a, b)
            for b in range(n)
            for a in range(b)
            if held[a] and held[b] and len(held[a] & held[b]) >= jaccard * len(held[a] | held[b])
        }
        found = {
            tuple(sorted(pair))
            for pair in zip(*split.close_sets(sets, items, jaccard), strict=True)
        }
        assert found <= true
        assert parts(n, found) == parts(n, true)


def test_an_item_in_all_sets_makes_few_pairs(monkeypatch):
    """20,000 sets {0, own}: only the set {0} is close to each; no two of them are compared."""
    n, compared = 20_000, []
    real = split._candidates
    monkeypatch.setattr(
        split, "_candidates", lambda *given: [(compared.append(len(a)), (a, b))[1] for a, b in real(*given)]
    )  # fmt: skip
    sets = np.concatenate([np.arange(n), np.arange(n), [n]])
    items = np.concatenate([np.zeros(n, int), np.arange(1, n + 1), [0]])
    one, other = split.close_sets(sets, items, 0.5)
    assert len(one) == n and set(np.concatenate([one, other])) == set(range(n + 1))
    assert sum(compared) == n
    assert [len(side) for side in split.close_sets(sets[:0], items[:0], 0.5)] == [0, 0]
