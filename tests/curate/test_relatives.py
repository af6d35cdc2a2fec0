"""Relatives by sequence: the definition, what the search for candidates loses, clusters."""

import random
from itertools import chain

import numpy as np
import pytest

from rnagpt_lib.curate.splits import relatives
from rnagpt_lib.runs.resume_store import Store


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


def partition(labels, names):
    groups = {}
    for label, name in zip(labels, names, strict=True):
        groups.setdefault(label, set()).add(name)
    return sorted(map(sorted, groups.values()))


def test_similar_takes_four_fifths_of_four_fifths():
    rng = random.Random(1)
    sequence = letters(rng, 100)
    assert relatives.similar(sequence, sequence)
    assert relatives.similar(sequence, edited(sequence, 19, rng, indels=0))
    assert not relatives.similar(sequence, edited(sequence, 35, rng, indels=0))
    assert relatives.similar(sequence[:80] + letters(rng, 20), letters(rng, 60) + sequence[:80])
    assert not relatives.similar(sequence[:55] + letters(rng, 45), letters(rng, 60) + sequence[:55])
    assert relatives.similar(sequence, sequence[10:60])
    for n in (30, 60, 120):
        one, other = border_pair(rng, n)
        assert relatives.similar(one, other) == relatives.similar(other, one)


def test_short_rnas_are_no_relatives_by_chance():
    rng = random.Random(3)
    long = [letters(rng, 1000) for _ in range(20)]
    short = [letters(rng, 20) for _ in range(20)]
    assert not any(relatives.similar(one, other) for one in short for other in long)
    assert relatives.similar(long[0][300:320], long[0])


def candidates_among(pairs, monkeypatch):
    """How many pairs are candidates of each other, all looked up in one set by their words."""
    monkeypatch.setattr(relatives, "ALL_PAIRS", 0)
    monkeypatch.setattr(relatives, "TABLE", 2**24)  # as in a large set: no two words share a place
    ordered = sorted({sequence for pair in pairs for sequence in pair}, key=len)
    place = {sequence: number for number, sequence in enumerate(ordered)}
    todo = relatives.blocks(np.array([len(sequence) for sequence in ordered]))
    found = {
        (near.row, other)
        for near in chain.from_iterable(relatives.candidates(ordered, todo, 5e-6))
        for other in near.others.tolist()
    }
    return sum(tuple(sorted(place[one] for one in pair)) in found for pair in pairs)


def test_search_loses_next_to_nothing_at_the_threshold(monkeypatch):
    for n in (55, 90, 120, 400):
        rng = random.Random(n)
        pairs = [border_pair(rng, n) for _ in range(150)]
        assert candidates_among(pairs, monkeypatch) >= 141, n


def test_search_spares_most_unrelated_pairs(monkeypatch):
    for n in (24, 60, 400):
        rng = random.Random(n)
        pairs = [(letters(rng, n), letters(rng, n + 20)) for _ in range(150)]
        assert candidates_among(pairs, monkeypatch) <= 3, n


def test_search_loses_little_among_short_rnas(monkeypatch):
    for n in (20, 28, 36, 45):
        rng, pairs = random.Random(n), []
        while len(pairs) < 100:
            one, other, edits = letters(rng, n), letters(rng, n), n // 5 + 1
            while not relatives.similar(one, other, 5e-6):  # as among 100,000 RNAs
                other = letters(rng, 9) + edited(one, edits, rng) + letters(rng, 9)
                edits -= 1
            pairs.append((one, other))
        assert candidates_among(pairs, monkeypatch) >= 88, n


def test_short_rnas_are_searched_as_all_pairs_would(monkeypatch):
    rng = random.Random(8)
    founders = [letters(rng, rng.randint(21, 26)) for _ in range(40)]
    sequences = [edited(founder, e, rng) for founder in founders for e in (0, 1, 1)]
    sequences += [letters(rng, 40) + founder + letters(rng, 700) for founder in founders[::4]]
    one = partition(relatives.clusters(sequences), sequences)
    monkeypatch.setattr(relatives, "ALL_PAIRS", 0)
    assert one == partition(relatives.clusters(sequences), sequences)


def test_windows_and_chunks_lose_no_place(monkeypatch):
    rng = random.Random(9)
    monkeypatch.setattr(relatives, "ALL_PAIRS", 0)
    monkeypatch.setattr(relatives, "CHUNK", 3000)
    monkeypatch.setattr(relatives, "BLOCK", 7)
    for n in (24, 54, 90):
        short = letters(rng, n)
        places = range(0, 1000 - n, 97)
        hosts = [letters(rng, i) + short + letters(rng, 1000 - n - i) for i in places]
        assert len(set(relatives.clusters([short, *hosts]))) == 1


def test_chance_relatives_get_rarer_as_rnas_get_more():
    """24 letters with three changes are relatives among few RNAs, not among 400,000."""
    rng = random.Random(10)
    one = letters(rng, 24)
    other = edited(one, 4, rng, indels=0)
    assert relatives.similar(one, other)
    assert not relatives.similar(one, other, relatives.CHANCE_PER_RNA / 400_000)
    assert relatives.similar(one, one[1:], relatives.CHANCE_PER_RNA / 400_000)


def test_many_random_short_rnas_do_not_chain():
    rng = random.Random(11)
    sequences = [letters(rng, rng.randint(20, 30)) for _ in range(1500)]
    sequences += [letters(rng, 300) for _ in range(60)]
    sizes = np.bincount(relatives.clusters(sequences))
    assert sizes.max() <= 5 and (sizes > 1).sum() < 80


def test_a_repetitive_rna_is_found_too():
    rng = random.Random(12)
    unit = "GGAC" * 25
    assert len(set(relatives.clusters([unit, edited(unit, 12, rng), letters(rng, 110)]))) == 2


def test_clusters_and_kin_equal_all_pairs_by_alignment():
    sequences, numbers = families(0)
    labels = relatives.clusters(sequences)
    linked = np.array([[relatives.similar(a, b) for b in sequences] for a in sequences])
    reach = np.linalg.matrix_power(linked.astype(int), 8) > 0
    assert (reach == (labels[:, None] == labels[None, :])).all()
    assert partition(labels, sequences) == partition(numbers, sequences)
    on = np.random.default_rng(0).random((len(sequences), 2)) < 0.4
    found = relatives.kin(sequences, on)
    assert (found.cluster == labels).all()
    np.fill_diagonal(linked, False)
    for side in range(2):
        expected = (linked & on[:, side]).any(axis=1)
        assert 0 < expected.sum() < len(sequences)
        partner = found.partner[:, side]
        assert ((partner >= 0) == expected).all()
        assert linked[expected, partner[expected]].all() and on[partner[expected], side].all()


def test_kin_through_others_alone_are_no_partners():
    """a ~ b ~ c, but not a ~ c: one cluster, and b is the only partner of both."""
    rng = random.Random(14)
    a = letters(rng, 100)
    b = edited(a[:50], 15, rng, indels=0) + a[50:]
    c = b[:50] + edited(b[50:], 15, rng, indels=0)
    assert [relatives.similar(*pair) for pair in ((a, b), (b, c), (a, c))] == [True, True, False]
    found = relatives.kin([a, b, c], np.array([[1, 0], [1, 0], [0, 1]], bool))
    assert found.cluster.tolist() == [0, 0, 0]
    assert found.partner.tolist() == [[1, -1], [0, 2], [1, -1]]


def test_clusters_chain_and_do_not_depend_on_order():
    sequences, _ = families(5)
    shuffled = sequences[:]
    random.Random(0).shuffle(shuffled)
    one = partition(relatives.clusters(sequences), sequences)
    assert one == partition(relatives.clusters(shuffled), shuffled)
    assert len(relatives.clusters([])) == 0
    labels = relatives.clusters(["ACGUNNRYACGU", "ACGUNNRYACGU", "ACG", "N" * 60])
    assert labels[0] == labels[1] and len(set(labels)) == 3


def search(sequences, store, monkeypatch, kill_at=-1):
    """Clusters by a search that stops before block ``kill_at``, and how many blocks it read."""
    read, whole = [], relatives.candidates

    def stopping(*args):
        for found in whole(*args):
            if len(read) == kill_at:
                raise KeyboardInterrupt
            read.append(1)
            yield found

    with monkeypatch.context() as patched:
        patched.setattr(relatives, "candidates", stopping)
        return relatives.clusters(sequences, store).tolist(), len(read)


def test_a_killed_search_goes_on_where_it_was(tmp_path, monkeypatch):
    for name, value in (("ALL_PAIRS", 0), ("CHUNK", 3000), ("BLOCK", 5), ("KEEP", 2)):
        monkeypatch.setattr(relatives, name, value)
    sequences, _ = families(3)
    whole, todo = search(sequences, None, monkeypatch)
    for kill_at in (0, 5, 17):
        with Store(tmp_path / f"{kill_at}.sqlite") as store:
            with pytest.raises(KeyboardInterrupt):
                search(sequences, store, monkeypatch, kill_at)
            left = todo - kill_at // 2 * 2
            assert search(sequences, store, monkeypatch) == (whole, left)
            assert search(sequences, store, monkeypatch) == (whole, 0)
            others = relatives.clusters(sequences[:20], store)  # what was kept is of other RNAs
            assert others.tolist() == relatives.clusters(sequences[:20]).tolist()
