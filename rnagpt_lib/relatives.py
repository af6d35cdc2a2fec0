"""Relatives by sequence: when two RNAs are similar, and single-linkage clusters of many.

All pairs of 400,000 RNAs are too many to align. Two relatives share words: letters at the places
of a spaced seed. So an inverted index of words tells which pairs are worth an alignment, block by
block, and a pair that is in one cluster already is not aligned again.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import edlib
import numpy as np
import pandas as pd
from scipy import sparse

IDENTITY = 0.8
COVERAGE = 0.8
CHANCE = 1e-3  # alignments as good as this that two random RNAs may have
CHANCE_PER_RNA = 0.5  # the same for one RNA with all the others of a data set
CHUNK = 4_000_000  # letters of the index that are in memory at a time
BLOCK = 512  # RNAs that are looked up at a time
_CODES = bytes.maketrans(b"ACGU", b"\0\1\2\3")


class Scheme(NamedTuple):
    """How RNAs of a class of lengths are looked up among longer ones.

    ``seeds``: spaced words, 1 for a letter that counts. ``least``: shared words that make a pair
    worth aligning, by length: as many as 97 in 100 random pairs share that lie exactly at 80 %
    identity and 80 % coverage; from 28 to 37 letters it is about 94, since fewer words
    would tell nothing (tests/test_relatives.py measures it).
    ``window``: longer RNAs are cut into pieces of so many letters, half overlapping, since in
    a long one words meet by chance.
    """

    shortest: int
    seeds: tuple[str, ...]
    least: dict[int, int]
    window: int


SCHEMES = (
    Scheme(
        1,
        ("11-111111", "111111-1-1", "111--11111", "1-111111-1", "1111---11-11",
         "11--1--1111--1", "11111111", "1111-11-11"),
        {18: 4, 42: 4, 50: 6, 54: 9},
        128,
    ),
    Scheme(
        55,
        ("1-111-11111", "11-1111-111", "11111-1111", "1-11----111111", "111-111111",
         "1-111-1-1111", "111-11111-1", "111111111"),
        {55: 4, 60: 6, 65: 8, 70: 9, 80: 13, 90: 14, 100: 18, 110: 22},
        256,
    ),
    Scheme(
        110,
        ("11-1-1111-1111", "111111111-11", "11111--1-11-1-11", "111-111-11-111",
         "1111-1-1-11--111", "11111111111", "11-1--1-1111--111", "111111-111-11"),
        {110: 5, 120: 7, 140: 10, 160: 13, 200: 17, 300: 42, 500: 95, 1000: 260},
        0,
    ),
)  # fmt: skip
# The same by how many letters of the shorter one are not needed to pass for no chance relative:
# 22 letters of which 18 must match less errors can have two errors, and share 7 words.
SPARE = {1: 12, 2: 8, 4: 7, 6: 4, 8: 0}
ALL_PAIRS = 1_000_000  # so many pairs with an RNA under 55 letters are simply all aligned


def similar(a: str, b: str, chance: float = CHANCE) -> bool:
    """Whether an alignment spans `COVERAGE` of the shorter one at `IDENTITY`.

    Identity is matches over alignment columns, gaps included. The shorter sequence is fitted
    into the longer one by edit distance (edlib, "HW"); then the best stretch of that alignment
    is looked for. A stretch of this quality leaves at most `_bound` edits in the whole.
    Under about 35 letters such a stretch turns up by chance in a long sequence, and single
    linkage would chain a whole data set together: matches less errors must also reach what two
    random RNAs of these lengths reach ``chance`` times (`_chance_score`).

    >>> similar("ACGUACGGACUUGACAUGCAUG", "GGACGUACGACUUGACAUGCAUGUU")
    True
    """
    short, long = sorted((a, b), key=len)
    return bool(_similar(short, [long], chance)[0])


def _similar(short: str, longer: Sequence[str], chance: float) -> np.ndarray:
    """`similar` of one RNA and each of several that are no shorter, shape (n,)."""
    found = np.zeros(len(longer), dtype=bool)
    paths = {}
    for number, long in enumerate(longer):
        enough = _chance_score(len(short), len(long), chance)
        if enough > len(short):
            continue
        distance = edlib.align(short, long, mode="HW", k=_bound(short))["editDistance"]
        if 0 <= distance <= (1 - IDENTITY) * len(short) and len(short) - 2 * distance >= enough:
            found[number] = True
        elif distance >= 0:
            path = edlib.align(short, long, mode="HW", task="path", k=distance)["cigar"]
            paths[number] = (path, enough)
    if paths:
        found[list(paths)] = _have_stretch(len(short), *zip(*paths.values(), strict=True))
    return found


def _bound(short: str) -> int:
    return int(len(short) * (1 - COVERAGE + COVERAGE * (1 / IDENTITY - 1)))


def _chance_score(short: int | np.ndarray, long: int | np.ndarray, chance: float):
    """Matches less errors that two random RNAs of these lengths reach ``chance`` times.

    Karlin and Altschul's E = m·n·exp(-λS); λ = ln 3 for +1/-1 and four equal letters.
    """
    return np.log(short * long / chance) / math.log(3)


def _have_stretch(length: int, cigars: Sequence[str], enough: Sequence[float]) -> np.ndarray:
    """Does each alignment have a run of columns over `COVERAGE` of the shorter RNA's ``length``
    letters with `IDENTITY` matches, and matches less errors of ``enough``? Shape (n,).
    """
    columns = _columns(cigars)  # (n, width)
    spans = _before(columns != ord("D"), int)  # letters of the shorter RNA so far
    surplus = _before((columns == ord("=")) - IDENTITY, float)
    n, width = surplus.shape
    place = np.arange(width)
    lowest = np.minimum.accumulate(surplus, axis=1)
    lowest_at = np.maximum.accumulate(np.where(surplus == lowest, place, 0), axis=1)
    apart = (np.arange(n) * (2 * length + 1))[:, None]  # so that one sorted array holds all rows
    wanted = (spans + apart - COVERAGE * length + 1e-9).ravel()
    last = np.searchsorted((spans + apart).ravel(), wanted, "right").reshape(n, width) - 1
    last -= (np.arange(n) * width)[:, None]
    start = np.take_along_axis(lowest_at, np.maximum(last, 0), axis=1)
    gain = surplus - np.take_along_axis(surplus, start, axis=1)
    score = 2 * gain + (2 * IDENTITY - 1) * (place - start)  # matches less errors
    good = (last >= 0) & (gain >= -1e-9) & (score >= np.array(enough)[:, None])
    return good.any(axis=1)


def _before(values: np.ndarray, kind: type) -> np.ndarray:
    """Sums of the columns before each place, the one behind the last column included."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1), dtype=kind)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _columns(cigars: Sequence[str]) -> np.ndarray:
    """The operation of every column, a row for each: ``3=1X`` is ``===X``, filled up with D."""
    text = np.frombuffer("".join(cigars).encode(), dtype=np.uint8)
    marks = np.flatnonzero(text > ord("9"))
    before = np.concatenate([[-1], marks[:-1]])
    digits, counts = text.astype(int) - ord("0"), np.zeros(len(marks), dtype=int)
    for power in range(4):  # no RNA has 10,000 letters
        place = marks - 1 - power
        counts += np.where(place > before, digits[place] * 10**power, 0)
    row = np.searchsorted(np.cumsum([len(cigar) for cigar in cigars]), marks, "right")
    widths = np.bincount(row, counts).astype(int)
    columns = np.full((len(cigars), widths.max()), ord("D"), dtype=np.uint8)
    columns[np.arange(widths.max()) < widths[:, None]] = np.repeat(text[marks], counts)
    return columns


def clusters(sequences: Sequence[str]) -> np.ndarray:
    """Single-linkage cluster number of every sequence (0, 1, … by first appearance).

    Two sequences are linked when `similar`. In a large data set chance has many tries: one RNA
    may have `CHANCE_PER_RNA` chance relatives among all the others, so links get stricter with
    their number (this tells on RNAs under about 45 letters alone).
    """
    distinct = sorted(set(sequences), key=lambda sequence: (len(sequence), sequence))
    chance = min(CHANCE, CHANCE_PER_RNA / max(1, len(distinct)))
    label = np.arange(len(distinct))
    members = {i: [i] for i in range(len(distinct))}
    for row, others in candidates(distinct, chance):
        width = 1
        while len(others := others[label[others] != label[row]]):
            batch, others = others[:width], others[width:]
            linked = _similar(distinct[row], [distinct[other] for other in batch], chance)
            for other in batch[linked]:
                _unite(label, members, int(label[row]), int(label[other]))
            width = min(16 * width, 256)
    of = dict(zip(distinct, label.tolist(), strict=True))
    return pd.factorize(np.array([of[sequence] for sequence in sequences], dtype=int))[0]


def _unite(label: np.ndarray, members: dict[int, list[int]], one: int, other: int) -> None:
    """Give the smaller cluster's members the larger one's label."""
    small, large = sorted((one, other), key=lambda number: len(members[number]))
    if small != large:
        moved = members.pop(small)
        label[moved] = large
        members[large] += moved


def candidates(ordered: list[str], chance: float = CHANCE) -> Iterator[tuple[int, np.ndarray]]:
    """(row, later rows worth aligning, most promising first); ``ordered``: distinct, by length.

    A row can come several times, each time with other candidates.
    """
    lengths = np.array([len(sequence) for sequence in ordered], dtype=int)
    starts = np.searchsorted(lengths, [scheme.shortest for scheme in SCHEMES] + [math.inf])
    for scheme, first, end in zip(SCHEMES, starts, starts[1:], strict=False):
        n = end - first
        if scheme is SCHEMES[0] and n * len(ordered) - n * (n + 1) // 2 <= ALL_PAIRS:
            yield from ((row, np.arange(row + 1, len(ordered))) for row in range(first, end))
        else:
            yield from _by_words(ordered, lengths, scheme, range(first, end), chance)


def _by_words(
    ordered: list[str], lengths: np.ndarray, scheme: Scheme, queries: range, chance: float
) -> Iterator[tuple[int, np.ndarray]]:
    """The candidates of the rows ``queries``, which have the lengths of ``scheme``."""
    for chunk in _chunks(lengths, queries.start):
        pieces, owner = _pieces(ordered, chunk, scheme.window)
        buckets = max(2**18, 16 * int(lengths[chunk.start : chunk.stop].sum()))
        index = _presence(pieces, scheme.seeds, buckets).T.tocsr()
        for start in range(queries.start, min(queries.stop, chunk.stop), BLOCK):
            rows = np.arange(start, min(start + BLOCK, queries.stop, chunk.stop))
            words = _presence([ordered[row] for row in rows], scheme.seeds, buckets)
            shared = (words @ index).tocoo()
            enough = shared.data >= _least(scheme, lengths[rows], words)[shared.row]
            row, other, n = rows[shared.row[enough]], owner[shared.col[enough]], shared.data[enough]
            spare = lengths[row] - _chance_score(lengths[row], lengths[other], chance)
            near = (other > row) & (n >= np.interp(spare, list(SPARE), list(SPARE.values())))
            yield from _by_row(row[near], other[near], n[near])


def _chunks(lengths: np.ndarray, first: int) -> Iterator[range]:
    """Ranges of rows from ``first`` on, each with about `CHUNK` letters."""
    number = lengths[first:].cumsum() // CHUNK
    edges = first + np.searchsorted(number, np.arange(number.max(initial=-1) + 2))
    return (range(a, b) for a, b in zip(edges, edges[1:], strict=False) if a < b)


def _pieces(ordered: list[str], chunk: range, window: int) -> tuple[list[str], np.ndarray]:
    """The sequences of a chunk, long ones in half overlapping windows, and each piece's row."""
    pieces, owner = [], []
    for row in chunk:
        sequence = ordered[row]
        last = max(1, len(sequence) - window // 2) if window else 1
        cut = [sequence[i : i + window] for i in range(0, last, window // 2)] if window else []
        pieces += cut or [sequence]
        owner += [row] * max(1, len(cut))
    return pieces, np.array(owner)


def _least(scheme: Scheme, lengths: np.ndarray, words: sparse.csr_array) -> np.ndarray:
    """Shared words asked of each row; fewer of a repetitive one, which has few words."""
    least = np.interp(lengths, list(scheme.least), list(scheme.least.values()))
    most = sum(np.maximum(1, lengths - len(seed) + 1) for seed in scheme.seeds)
    return np.maximum(1, np.floor(least * words.sum(axis=1) / most))


def _by_row(
    row: np.ndarray, other: np.ndarray, shared: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Pairs (row, other) grouped by row, most shared words first, none twice."""
    order = np.lexsort((other, -shared.astype(int), row))
    row, other = row[order], other[order]
    edges = np.flatnonzero(np.diff(row, prepend=-1, append=-1))
    for start, end in zip(edges, edges[1:], strict=False):
        found = other[start:end]
        _, once = np.unique(found, return_index=True)
        yield int(row[start]), found[np.sort(once)]


def _presence(sequences: list[str], seeds: Sequence[str], buckets: int) -> sparse.csr_array:
    """(n, words) matrix of 0 and 1: which words of plain letters a sequence holds.

    For each seed 4**letters words, or ``buckets`` that several words share, if these are fewer
    (a small set needs no table of millions; too few would make every pair look related).
    """
    n_words = min(4 ** seeds[0].count("1"), buckets)
    codes = np.frombuffer("".join(sequences).encode().translate(_CODES), dtype=np.uint8)
    owner = np.repeat(np.arange(len(sequences)), [len(sequence) for sequence in sequences])
    odd = np.concatenate([[0], (codes > 3).cumsum()])
    keys = []
    for number, seed in enumerate(seeds):
        n = max(0, len(codes) - len(seed) + 1)
        word = np.zeros(n, dtype=np.int64)
        for place in (i for i, mark in enumerate(seed) if mark == "1"):
            word = 4 * word + codes[place : place + n]
        whole = owner[:n] == owner[len(codes) - n :]
        whole &= odd[len(seed) : len(seed) + n] == odd[:n]
        keys.append((owner[:n][whole] * len(seeds) + number) * n_words + word[whole] % n_words)
    keys = np.sort(np.concatenate(keys))
    keys = keys[np.diff(keys, prepend=-1) > 0]
    row, column = np.divmod(keys, len(seeds) * n_words)
    ends = np.searchsorted(row, np.arange(len(sequences) + 1))
    shape = (len(sequences), len(seeds) * n_words)
    ones = np.ones(len(keys), dtype=np.int16)
    return sparse.csr_array((ones, column.astype(np.int32), ends.astype(np.int32)), shape=shape)
