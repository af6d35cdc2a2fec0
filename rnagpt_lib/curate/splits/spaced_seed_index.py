"""Which of many RNAs share words enough to be worth an alignment.

A word is the letters at the places of a spaced seed. Two relatives share words; an inverted index
of the words of some rows tells which others share how many, block by block.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from scipy import sparse

CHANCE = 1e-3  # alignments as good as this that two random RNAs may have
CHUNK = 4_000_000  # letters of the index that are in memory at a time
BLOCK = 512  # RNAs that are looked up at a time
TABLE = 2**18  # words of a seed that an index tells apart at least
WHOLE = 2**31  # more letters than any RNA has
_CODES = bytes.maketrans(b"ACGU", b"\0\1\2\3")


class Scheme(NamedTuple):
    """How RNAs of a class of lengths are looked up among longer ones.

    ``seeds``: spaced words, 1 for a letter that counts. ``least``: shared words that make a pair
    worth aligning, by length: as many as 96 in 100 random pairs share that lie exactly at 80 %
    identity and 80 % coverage, and about 90 of 28 to 32 letters, since fewer words would tell
    nothing (tests/test_relatives.py measures it).
    ``window``: longer RNAs are cut into pieces of so many letters, half overlapping, since in
    a long one words meet by chance; 0 leaves them whole.
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
        {18: 4, 30: 4, 34: 5, 42: 7, 50: 8, 54: 13},
        128,
    ),
    Scheme(
        55,
        ("11-1-1111-111", "1111-11--1111", "111-1--1111-11", "1-1111-11-111", "11111-11111",
         "111--11-1-1111", "1111111111", "11-111-1--1111"),
        {55: 2, 60: 3, 66: 5, 76: 6, 90: 10, 106: 13},
        192,
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
# 22 letters of which 18 must match less errors can have two errors, and share 9 words.
SPARE = {1: 40, 2: 20, 3: 12, 4: 9, 6: 7, 8.5: 5, 11: 4, 12: 0}
ALL_PAIRS = 1_000_000  # so many pairs with an RNA under 55 letters are simply all aligned


def chance_score(short: int | np.ndarray, long: int | np.ndarray, chance: float):
    """Matches less errors that two random RNAs of these lengths reach ``chance`` times.

    Karlin and Altschul's E = m·n·exp(-λS); λ = ln 3 for +1/-1 and four equal letters.
    """
    return np.log(short * long / chance) / math.log(3)


class Near(NamedTuple):
    """A row, and places in later rows that are worth an alignment, most promising first.

    Place i is in row others[i], ``width`` letters from starts[i] on.
    """

    row: int
    others: np.ndarray
    starts: np.ndarray
    width: int


class Block(NamedTuple):
    """Rows that are looked up at a time, and the rows among which; by words, or all with all."""

    scheme: Scheme | None
    rows: range
    among: range


def blocks(lengths: np.ndarray) -> list[Block]:
    """All blocks for distinct sequences of these sorted lengths, in their order.

    Blocks that look among the same rows stand together, since those make one index.
    """
    made = []
    starts = np.searchsorted(lengths, [scheme.shortest for scheme in SCHEMES] + [math.inf])
    for scheme, first, end in zip(SCHEMES, starts.tolist(), starts[1:].tolist(), strict=False):
        n = end - first
        few = scheme is SCHEMES[0] and n * len(lengths) - n * (n + 1) // 2 <= ALL_PAIRS
        all_later = [range(first, len(lengths))] if n else []
        for among in all_later if few else _chunks(lengths, first):
            stop = min(end, among.stop)
            made += [
                Block(None if few else scheme, range(start, min(start + BLOCK, stop)), among)
                for start in range(first, stop, BLOCK)
            ]
    return made


def candidates(
    ordered: list[str], todo: Sequence[Block], chance: float = CHANCE
) -> Iterator[Iterator[Near]]:
    """For each block its rows' candidates; ``ordered``: distinct sequences by length.

    A row can come in several blocks, each time with other candidates.
    """
    for (scheme, among), part in groupby(todo, key=lambda block: (block.scheme, block.among)):
        if scheme is None:
            for block in part:
                yield (_all_later(row, len(ordered)) for row in block.rows)
        else:
            index = _Index(ordered, scheme, among)
            yield from (index.near(block.rows, chance) for block in part)


def _all_later(row: int, n: int) -> Near:
    others = np.arange(row + 1, n)
    return Near(row, others, np.zeros_like(others), WHOLE)


class _Index:
    """The words of a range of rows, to look up which of them share enough with others."""

    def __init__(self, ordered: list[str], scheme: Scheme, among: range):
        self.ordered, self.scheme = ordered, scheme
        self.lengths = np.array([len(sequence) for sequence in ordered], dtype=int)
        pieces, self.owner, self.start = _pieces(ordered, among, scheme.window)
        # a small set needs no table of millions; too few words make every pair look related
        wanted = max(TABLE, 16 * int(self.lengths[among.start : among.stop].sum()))
        self.n_words = min(4 ** scheme.seeds[0].count("1"), wanted)
        self.index = _inverted(pieces, scheme.seeds, self.n_words)

    def near(self, rows: range, chance: float) -> Iterator[Near]:
        """The candidates of some rows, those without any left out."""
        scheme, lengths, rows = self.scheme, self.lengths, np.array(rows)
        words = _presence([self.ordered[row] for row in rows], scheme.seeds, self.n_words)
        shared = words @ self.index
        least = _least(scheme, lengths[rows], words)
        enough = np.flatnonzero(shared.data >= least.min())
        at = np.searchsorted(shared.indptr, enough, "right") - 1
        at, enough = at[passed := shared.data[enough] >= least[at]], enough[passed]
        row, piece, n = rows[at], shared.indices[enough], shared.data[enough]
        other = self.owner[piece]
        spare = lengths[row] - chance_score(lengths[row], lengths[other], chance)
        near = (other > row) & (n >= np.interp(spare, list(SPARE), list(SPARE.values())))
        yield from self._by_row(row[near], piece[near], n[near])

    def _by_row(self, row: np.ndarray, piece: np.ndarray, shared: np.ndarray) -> Iterator[Near]:
        window = self.scheme.window
        margin = window // 8  # a stretch of an alignment can be longer than half a window
        width = window + 2 * margin if window else WHOLE
        order = np.lexsort((piece, -shared.astype(int), row))
        row, piece = row[order], piece[order]
        edges = np.flatnonzero(np.diff(row, prepend=-1, append=-1))
        for first, end in zip(edges, edges[1:], strict=False):
            found = piece[first:end]
            start = np.maximum(self.start[found] - margin, 0)
            yield Near(int(row[first]), self.owner[found], start, width)


def _chunks(lengths: np.ndarray, first: int) -> Iterator[range]:
    """Ranges of rows from ``first`` on, each with about `CHUNK` letters."""
    number = lengths[first:].cumsum() // CHUNK
    edges = first + np.searchsorted(number, np.arange(number.max(initial=-1) + 2))
    return (range(a, b) for a, b in zip(edges, edges[1:], strict=False) if a < b)


def _pieces(
    ordered: list[str], among: range, window: int
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The sequences of some rows, long ones cut into windows; each piece's row and place."""
    step = window // 2 or WHOLE
    places = [
        (row, start)
        for row in among
        for start in range(0, max(1, len(ordered[row]) - window // 2), step)
    ]
    owner, start = np.array(places).T
    return [ordered[row][i : i + (window or WHOLE)] for row, i in places], owner, start


def _least(scheme: Scheme, lengths: np.ndarray, words: sparse.csr_array) -> np.ndarray:
    """Shared words asked of each row; fewer of a repetitive one, which has few words."""
    least = np.interp(lengths, list(scheme.least), list(scheme.least.values()))
    most = sum(np.maximum(1, lengths - len(seed) + 1) for seed in scheme.seeds)
    return np.maximum(1, np.floor(least * words.sum(axis=1) / most))


def _presence(sequences: list[str], seeds: Sequence[str], n_words: int) -> sparse.csr_array:
    """(n, words) matrix of 0 and 1: which words of plain letters a sequence holds."""
    shape = (len(sequences), len(seeds) * n_words)
    found = enumerate(_words(sequences, seeds, n_words))
    keys = [owner * shape[1] + number * n_words + word for number, (owner, word) in found]
    row, column = np.divmod(_distinct(np.concatenate(keys)), shape[1])
    return _ones(column, np.bincount(row, minlength=shape[0]), shape)


def _inverted(sequences: list[str], seeds: Sequence[str], n_words: int) -> sparse.csr_array:
    """The transpose of `_presence`, (words, n), made one seed after the other."""
    n, columns, counts = len(sequences), [], []
    for owner, word in _words(sequences, seeds, n_words):
        row, column = np.divmod(_distinct(word * n + owner), n)
        columns.append(column.astype(np.int32))
        counts.append(np.bincount(row, minlength=n_words).astype(np.int32))
    return _ones(np.concatenate(columns), np.concatenate(counts), (len(seeds) * n_words, n))


def _words(
    sequences: list[str], seeds: Sequence[str], n_words: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each seed the numbers of the words of plain letters, and whose they are.

    Where ``n_words`` are fewer than there can be, several words share a number.
    """
    codes = np.frombuffer("".join(sequences).encode().translate(_CODES), dtype=np.uint8)
    owner = np.repeat(np.arange(len(sequences)), [len(sequence) for sequence in sequences])
    odd = np.concatenate([[0], (codes > 3).cumsum()])
    for seed in seeds:
        n = max(0, len(codes) - len(seed) + 1)
        word = np.zeros(n, dtype=np.int64)
        for place in (i for i, mark in enumerate(seed) if mark == "1"):
            word = 4 * word + codes[place : place + n]
        whole = owner[:n] == owner[len(codes) - n :]
        whole &= odd[len(seed) : len(seed) + n] == odd[:n]
        yield owner[:n][whole], word[whole] % n_words


def _distinct(keys: np.ndarray) -> np.ndarray:
    keys.sort()
    return keys[np.diff(keys, prepend=-1) > 0]


def _ones(columns: np.ndarray, counts: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    ends = np.concatenate([[0], counts.cumsum()]).astype(np.int32)
    data = np.ones(len(columns), dtype=np.int16)
    return sparse.csr_array((data, columns.astype(np.int32, copy=False), ends), shape=shape)
