"""Alphabet, windows, k-mers and the dinucleotide shuffle."""

import random
from collections import Counter

import numpy as np
import pytest

from rnagpt_lib.core import sequences
from rnagpt_lib.core.errors import InputError


def test_normalise_is_upper_case_rna_without_gaps():
    assert sequences.normalise(" acg\ttN-r.\n") == "ACGUNR"
    assert sequences.normalise(sequences.normalise("gattaca")) == "GAUUACA"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ACXG", ["'X'", "position 3", "IUPAC"]),
        ("MKLEF", ["'L'", "protein"]),
        ("AC5", ["'5'", "position 3"]),
        ("  -.", ["empty"]),
    ],
)
def test_normalise_names_the_letter_and_the_position(text, words):
    with pytest.raises(InputError) as error:
        sequences.normalise(text)
    assert all(word in str(error.value) for word in words)


def test_letters_that_only_look_like_nucleotides_are_named():
    for letter, name in {
        "А": "CYRILLIC",
        "ſ": "LONG S",
        "ß": "SHARP S",
        "\u200b": "ZERO WIDTH",
    }.items():
        with pytest.raises(InputError, match=f"position 3: .*{name}"):
            sequences.normalise(f"AC{letter}GU")


def test_windows_cover_everything_and_overlap():
    for length in [1, 1022, 1023, 1024, 1500, 1789, 2044, 3000, 10_000]:
        found = sequences.windows(length)
        assert found[0][0] == 0 and found[-1][1] == length
        assert all(end - start == min(length, 1022) for start, end in found)
        assert all(b[0] < a[1] and a[0] < b[0] for a, b in zip(found, found[1:], strict=False))
        overlaps = [a[1] - b[0] for a, b in zip(found, found[1:], strict=False)]
        assert all(overlap >= 1022 // 4 - 1 for overlap in overlaps)


def test_reverse_complement_twice_is_the_same():
    assert sequences.reverse_complement("GGACN") == "NGUCC"
    letters = sequences.LETTERS + sequences.AMBIGUOUS
    assert sequences.reverse_complement(sequences.reverse_complement(letters)) == letters


def test_profile_equals_counted_kmers():
    texts = ["ACGUACGUNACG", "GG", "AAAAAA"]
    profile = sequences.kmer_profile(texts, 3)
    words = [a + b + c for a in "ACGU" for b in "ACGU" for c in "ACGU"]
    counts = Counter(sequences.kmers(texts[0], 3))
    expected = np.array([counts[word] for word in words], float)
    np.testing.assert_allclose(profile[0], expected / np.linalg.norm(expected), rtol=1e-6)
    assert profile[1].sum() == 0 and profile[2][0] == 1


def test_nearest_finds_itself_and_the_relative():
    rng = random.Random(3)
    targets = ["".join(rng.choices("ACGU", k=80)) for _ in range(50)]
    mutated = [t[:40] + "A" + t[41:] for t in targets]
    assert sequences.nearest(mutated, targets).tolist() == list(range(50))
    with pytest.raises(InputError, match="no target"):
        sequences.nearest(["ACGU"], [])


def test_the_shuffle_keeps_dinucleotides_and_shuffles():
    rng = random.Random(5)
    for length in (1, 2, 3, 20, 150):
        text = "".join(rng.choices("ACGU", k=length))
        mixed = sequences.dinucleotide_shuffle(text, rng)
        assert Counter(sequences.kmers(mixed, 2)) == Counter(sequences.kmers(text, 2))
        assert (mixed[0], mixed[-1]) == (text[0], text[-1])
    draws = {sequences.dinucleotide_shuffle(text, rng) for _ in range(20)}
    assert len(draws) == 20 and text not in draws


def test_the_shuffle_reaches_every_arrangement_about_equally():
    rng = random.Random(0)
    draws = Counter(sequences.dinucleotide_shuffle("ACAGAUA", rng) for _ in range(3000))
    assert len(draws) == 6  # the orders of AC.. AG.. AU..
    assert min(draws.values()) > 400
