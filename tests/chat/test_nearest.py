"""The nearest RNAs: equal to a loop over all, and no nearer than chance where there is no kin."""

import random

import numpy as np
import pytest
from rnagpt_lib.vector_index import VectorIndex

from rnagpt_lib.chat import nearest
from rnagpt_lib.chat.nearest import Nearest, shuffles
from rnagpt_lib.core.sequences import kmer_profile
from rnagpt_lib.curate.splits import split
from rnagpt_lib.model.encoder import Encoder
from tests.support.tiny_model import TINY


def letters(rng: random.Random, n: int) -> str:
    return "".join(rng.choices("ACGU", k=n))


def changed(rng: random.Random, sequence: str, share: float) -> str:
    return "".join(rng.choice("ACGU") if rng.random() < share else c for c in sequence)


@pytest.fixture(scope="module")
def families() -> tuple[list[str], list[str]]:
    """Members of 20 families, and an RNA of each that is not among them."""
    rng = random.Random(0)
    parents = [letters(rng, rng.randint(60, 120)) for _ in range(20)]
    members = [changed(rng, parent, 0.2) for parent in parents for _ in range(6)]
    return list(dict.fromkeys(members)), [changed(rng, parent, 0.2) for parent in parents]


@pytest.fixture(scope="module")
def index(families, tmp_path_factory) -> Nearest:
    encoder = Encoder.fresh(TINY, seed=0)
    folder = tmp_path_factory.mktemp("index")
    return Nearest(families[0], VectorIndex.of(encoder, families[0], folder))


def naive(index: Nearest, sequence: str, k: int) -> list[tuple[int, float, float]]:
    cosines = index.vectors.cosines(sequence)
    every = []
    for row, (target, cosine) in enumerate(zip(index.sequences, cosines, strict=True)):
        identity = float(split.nearest_identity([sequence], [target])[0])
        every.append((-scored(sequence, target), row, identity, float(cosine)))
    return [(row, identity, cosine, -score) for score, row, identity, cosine in sorted(every)[:k]]


def scored(one: str, other: str) -> float:
    short, long = sorted((len(one), len(other)))
    identity = float(split.nearest_identity([one], [other])[0])
    return round(identity * (short / long) ** nearest.POWER, 6)


def test_it_is_what_a_loop_over_all_finds(index, families):
    for sequence in [*families[1], families[0][7], "GGCUAGCUCAAUCGG"]:
        found = index.find(sequence, 4)
        assert [tuple(hit) for hit in found.hits] == naive(index, sequence, 4)
        chance = max(scored(one, other) for one in shuffles(sequence) for other in index.sequences)
        assert found.chance == chance
        assert index.find(sequence, 4) == found


def test_kin_is_nearer_than_chance_and_strangers_are_not(index, families):
    rng = random.Random(1)
    strangers = [letters(rng, 90) for _ in range(40)]
    kin = [index.find(each, 1) for each in families[1]]
    none = [index.find(each, 1) for each in strangers]
    assert all(found.hits[0].score > found.chance for found in kin)
    assert sum(found.hits[0].score > found.chance for found in none) <= 6  # 2 are expected


def test_the_simplest_of_letters_are_near_to_nothing(index):
    found = index.find("A" * 40, 1)
    assert found.chance == found.hits[0].score


def test_of_many_those_with_common_words_are_aligned(index, families, monkeypatch):
    aligned = []
    real = nearest.identity_of

    def counting(one, other, *least):
        aligned.append(other)
        return real(one, other, *least)

    monkeypatch.setattr(nearest, "ALIGNED", 12)
    monkeypatch.setattr(nearest, "VECTORS", 3)
    monkeypatch.setattr(nearest, "identity_of", counting)
    for number, sequence in enumerate(families[1]):
        aligned.clear()
        assert index.find(sequence, 1).hits[0].row // 6 == number  # of its own family
        assert len(aligned) <= 15 + nearest.DRAWS * 12


@pytest.mark.parametrize("letters_of", ["ACGU", "ACGUN", "AN", "N"])
def test_words_are_counted_as_everywhere(letters_of):
    rng = random.Random(0)
    some = ["".join(rng.choices(letters_of, k=n)) for n in (40, 4, 5, 300, 1, 12)]
    expected = kmer_profile(some, nearest.K)
    np.testing.assert_allclose(nearest._profile(some).toarray(), expected, atol=1e-6)


def test_alignments_of_long_rnas_are_fewer(index, monkeypatch):
    monkeypatch.setattr(nearest, "CELLS", 90 * 90 * 20.0)
    shared = np.random.default_rng(0).random(len(index.sequences))
    few, many = (index._worth(length, shared) for length in (5000, 90))
    assert len(few) == nearest.LEAST < len(many) < len(index.sequences)
    assert list(few) == list(np.argsort(-shared)[: len(few)])


def test_the_first_of_equals_comes_first():
    values = np.array([0.2, 0.7, 0.7, 0.1, 0.7])
    assert nearest._top(values, 2).tolist() == [1, 2]
    assert nearest._top(values, 9).tolist() == [1, 2, 4, 0, 3]


def test_more_than_there_are_gives_all(index, families):
    assert len(index.find(families[1][0], 10_000).hits) == len(families[0])
