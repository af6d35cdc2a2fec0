"""Units by sequence and literature, and splits that never part them."""

import random

import numpy as np
import pandas as pd
import pytest

from rnagpt_lib import units, world
from rnagpt_lib.errors import InputError


def letters(rng, n):
    return "".join(rng.choices("ACGU", k=n))


def edited(sequence, edits, rng, indels=0.3):
    """``edits`` positions changed: substitutions, and ``indels`` of them gaps on either side."""
    out = list(sequence)
    for position in sorted(rng.sample(range(len(out)), edits), reverse=True):
        kind = rng.random()
        if kind < indels / 2:
            del out[position]
        elif kind < indels:
            out.insert(position, rng.choice("ACGU"))
        else:
            out[position] = rng.choice([c for c in "ACGU" if c != out[position]])
    return "".join(out)


def border_pair(rng, n):
    """Two RNAs that share just 80 % of the shorter one at just 80 % identity."""
    span = -(-n * 8 // 10)
    core = letters(rng, span)
    left = (n - span) // 2
    short = letters(rng, left) + core + letters(rng, n - span - left)
    return short, letters(rng, n // 3) + edited(core, span // 5, rng) + letters(rng, n // 3)


def families(seed, n_families=12, members=4, rate=0.08):
    """Families of close sequences of many lengths: (sequences, family numbers)."""
    rng = random.Random(seed)
    sequences, numbers = [], []
    for number in range(n_families):
        founder = letters(rng, rng.randint(40, 220))
        for _ in range(members):
            sequences.append(edited(founder, int(rate * len(founder)), rng))
            numbers.append(number)
    return sequences, numbers


def table(sequences, **columns):
    n = len(sequences)
    base = {"rna_id": [f"R{i:03d}" for i in range(n)], "sequence": sequences, "split": [""] * n}
    base |= {"rna_type": ["tRNA"] * n, "family": [""] * n}
    return pd.DataFrame(base | columns)


def no_links():
    return pd.DataFrame({"rna_id": [], "article_id": []}, dtype=str)


def partition(labels, names):
    groups = {}
    for label, name in zip(labels, names, strict=True):
        groups.setdefault(label, set()).add(name)
    return sorted(map(sorted, groups.values()))


def test_similar_takes_four_fifths_of_four_fifths():
    rng = random.Random(1)
    sequence = letters(rng, 100)
    assert units.similar(sequence, sequence)
    assert units.similar(sequence, edited(sequence, 19, rng, indels=0))
    assert not units.similar(sequence, edited(sequence, 35, rng, indels=0))
    assert units.similar(sequence[:80] + letters(rng, 20), letters(rng, 60) + sequence[:80])
    assert not units.similar(sequence[:55] + letters(rng, 45), letters(rng, 60) + sequence[:55])
    assert units.similar(sequence, sequence[10:60])


def test_similar_is_symmetric():
    rng = random.Random(2)
    for n in (30, 60, 120):
        one, other = border_pair(rng, n)
        assert units.similar(one, other) == units.similar(other, one)


def test_short_rnas_are_no_relatives_by_chance():
    rng = random.Random(3)
    long = [letters(rng, 1000) for _ in range(20)]
    short = [letters(rng, 20) for _ in range(20)]
    assert not any(units.similar(one, other) for one in short for other in long)
    assert units.similar(long[0][300:320], long[0])


@pytest.mark.parametrize("n", [60, 100, 160, 400])
def test_prefilter_loses_next_to_nothing_at_the_threshold(n):
    rng = random.Random(n)
    found = 0
    for _ in range(150):
        ordered = sorted(border_pair(rng, n), key=len)
        found += any(1 in later for row, later in units._candidates(ordered) if row == 0)
    assert found >= 148


@pytest.mark.parametrize("seed", range(3))
def test_clusters_equal_all_pairs_by_alignment(seed):
    sequences, numbers = families(seed)
    labels = units.clusters(sequences)
    linked = np.array([[units.similar(a, b) for b in sequences] for a in sequences])
    reach = np.linalg.matrix_power(linked.astype(int), 8) > 0
    assert (reach == (labels[:, None] == labels[None, :])).all()
    assert partition(labels, sequences) == partition(numbers, sequences)


def test_clusters_chain_and_do_not_depend_on_order():
    sequences, _ = families(5)
    shuffled = sequences[:]
    random.Random(0).shuffle(shuffled)
    one = partition(units.clusters(sequences), sequences)
    assert one == partition(units.clusters(shuffled), shuffled)
    assert len(units.clusters([])) == 0


def test_clusters_survive_ambiguous_letters_and_tiny_sequences():
    labels = units.clusters(["ACGUNNRYACGU", "ACGUNNRYACGU", "ACG", "N" * 60])
    assert labels[0] == labels[1] and len(set(labels)) == 3


def test_identical_sequences_are_one_unit():
    rng = random.Random(4)
    sequence = letters(rng, 70)
    unit = units.units(table([sequence, letters(rng, 70), sequence]), no_links())
    assert unit[0] == unit[2] != unit[1]


def test_units_join_by_half_of_their_articles():
    rng = random.Random(6)
    rnas = table([letters(rng, 90) for _ in range(5)])
    of = {"R000": "ab", "R001": "abc", "R002": "cde", "R003": "x", "R004": ""}
    links = pd.DataFrame(
        [(r, a) for r, ids in of.items() for a in ids], columns=["rna_id", "article_id"]
    )
    unit = units.units(rnas, links)
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
    assert units.units(rnas, links).nunique() == 2  # no pair reaches half, nor do 2 of 6
    more = pd.concat([links, pd.DataFrame({"rna_id": ["R002"] * 2, "article_id": ["b", "d"]})])
    assert units.units(rnas, more).nunique() == 1  # 4 of 6


@pytest.fixture(scope="module")
def made():
    data = world.make(160, seed=3)
    rnas = data.rnas.assign(split="")
    return rnas.assign(unit=units.units(rnas, data.links))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", ["cluster", "family"])
def test_no_unit_on_two_sides(made, how, seed):
    rnas = made.assign(split=units.split(made, how, seed=seed))
    assert units.straddling(rnas) == []
    assert set(rnas["split"]) == {"train", "val", "test"}
    if how == "family":
        known = rnas[rnas["family"] != ""]
        assert (known.groupby("family")["split"].nunique() == 1).all()
    assert 0.1 < (rnas["split"] == "test").mean() < 0.35


def test_random_split_parts_units(made):
    assert units.straddling(made.assign(split=units.split(made, "random")))


def test_split_depends_on_the_seed_alone(made):
    one, again, other = (units.split(made, seed=seed) for seed in (0, 0, 1))
    assert one.equals(again) and not one.equals(other)


def test_every_type_with_two_units_is_tested_and_trained(made):
    side = units.split(made)
    for _, members in made.groupby("rna_type"):
        sides = set(side[members.index])
        assert "train" in sides
        assert ("test" in sides) == (members["unit"].nunique() > 1)


def test_shares_can_be_zero(made):
    assert set(units.split(made, test_share=0, val_share=0)) == {"train"}


def test_presets_hold_for_their_whole_unit(made):
    preset = made["split"].copy()
    first = made.groupby("unit").size().idxmax()
    members = made.index[made["unit"] == first]
    preset[members[0]] = "test"
    rnas = made.assign(split=preset)
    assert (units.split(rnas)[members] == "test").all()
    assert set(units.swallowed(rnas).index) == set(members[1:])
    preset[members[1]] = "train"
    assert (units.split(made.assign(split=preset))[members] == "test").all()


def test_unknown_split_is_refused(made):
    with pytest.raises(InputError, match="random, cluster, family"):
        units.split(made, "rows")


def test_nearest_identity():
    found = units.nearest_identity(["AAAACCCC", "GGGG"], ["AAAACCCU", "UUGGGGUU", "AAAA"])
    assert found.tolist() == [1.0, 1.0]  # AAAA lies in the first, GGGG in the second target
    assert units.nearest_identity(["AAAACCCC"], ["AAAACCCU"])[0] == 1 - 1 / 8
    assert units.nearest_identity(["ACGU"], [])[0] == 0
