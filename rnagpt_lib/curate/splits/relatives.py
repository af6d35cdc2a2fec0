"""Relatives by sequence: when two RNAs are similar, and single-linkage clusters of many.

Relatives share words, the letters at the places of a spaced seed: an inverted index tells, block by
block, which pairs share enough of them to be worth an alignment. Those of one cluster are not aligned.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import edlib
import numpy as np
import pandas as pd
import yaml
from scipy import sparse

from rnagpt_lib.core.files import progress
from rnagpt_lib.runs.resume_store import Store

IDENTITY = 0.8
COVERAGE = 0.8
CHANCE = 1e-3  # alignments as good as this that two random RNAs may have
CHANCE_PER_RNA = 0.5  # the same for one RNA with all the others of a data set
KEEP = 20  # blocks after which the clusters so far are kept
CHUNK = 4_000_000  # letters of the index that are in memory at a time
BLOCK = 512  # RNAs that are looked up at a time
TABLE = 2**18  # words of a seed that an index tells apart at least
WHOLE = 2**31  # more letters than any RNA has
ALL_PAIRS = 1_000_000  # so many pairs with an RNA under 55 letters are simply all aligned
_CODES = bytes.maketrans(b"ACGU", b"\0\1\2\3")
_DIGITS, _BLANK_MARKS = b"0123456789", str.maketrans("=XID", "    ")


# Two RNAs


def identity_of(one: str, other: str, least: float = 0.0) -> float:
    """The share of the shorter RNA's letters that an alignment within the longer one keeps; 0 where
    it is below ``least``.

    >>> identity_of("ACGUACGU", "GGACGUACCUGG")
    0.875
    """
    short, long = sorted((one, other), key=len)
    most = int((1 - least) * len(short))
    edits = edlib.align(short, long, mode="HW", k=most)["editDistance"]
    return 1 - edits / len(short) if edits >= 0 else 0.0


def similar(a: str, b: str, chance: float = CHANCE) -> bool:
    """Whether an alignment spans `COVERAGE` of the shorter one at `IDENTITY` (matches over columns).

    The shorter sequence is fitted into the longer one by edit distance (edlib, "HW"); then the best
    stretch of that alignment is looked for. Short ones turn up by chance in a long sequence, so
    matches less errors must reach what random RNAs of these lengths reach ``chance`` times.

    >>> similar("ACGUACGGACUUGACAUGCAUG", "GGACGUACGACUUGACAUGCAUGUU")
    True
    """
    short, long = sorted((a, b), key=len)
    return _fits(short, long, _chance_score(len(short), len(long), chance))


def _chance_score(short: int | np.ndarray, long: int | np.ndarray, chance: float):
    """Matches less errors that random RNAs of these lengths reach ``chance`` times.

    Karlin and Altschul's E = m·n·exp(-λS); λ = ln 3 for +1/-1 and four equal letters.
    """
    return np.log(short * long / chance) / math.log(3)


def _fits(short: str, long: str, enough: float) -> bool:
    """`similar`, by the matches less errors that are ``enough``."""
    # letters outside of the stretch may all be edits, and so may a fifth of its columns; or as many
    # letters as are not needed to reach ``enough``
    n = len(short)
    most = int(n * (1 - COVERAGE + COVERAGE * (1 / IDENTITY - 1)) + 1e-9)
    most = min(most, math.floor(n - enough))
    edits = edlib.align(short, long, mode="HW", k=most)["editDistance"] if most >= 0 else -1
    if edits < 0 or edits <= min((1 - IDENTITY) * n, (n - enough) / 2):
        return edits >= 0
    cigar = edlib.align(short, long, mode="HW", task="path", k=edits)["cigar"]
    return _has_stretch(n, cigar, enough)


def _has_stretch(length: int, cigar: str, enough: float) -> bool:
    """Has an alignment a run of columns over `COVERAGE` of the shorter RNA's ``length`` letters
    with `IDENTITY` matches, and matches less errors of ``enough``?"""
    counts = np.fromstring(cigar.translate(_BLANK_MARKS), dtype=int, sep=" ")
    columns = np.repeat(np.frombuffer(cigar.encode().translate(None, _DIGITS), np.uint8), counts)
    # before each place, the one behind the last column included: letters, matches above IDENTITY
    letters, surplus = np.zeros(len(columns) + 1, dtype=int), np.zeros(len(columns) + 1)
    np.cumsum(columns != ord("D"), out=letters[1:])
    np.cumsum((columns == ord("=")) - IDENTITY, out=surplus[1:])
    lowest = (surplus == np.minimum.accumulate(surplus)).nonzero()[0]
    over = letters - COVERAGE * length + 1e-9
    end = np.arange(over.searchsorted(0), len(over))
    last = letters.searchsorted(over[end], "right") - 1
    start = lowest[lowest.searchsorted(last, "right") - 1]
    gain = surplus[end] - surplus[start]
    score = 2 * gain + (2 * IDENTITY - 1) * (end - start)  # matches less errors
    return bool(((gain >= -1e-9) & (score >= enough)).any())


# Who is worth an alignment


class Scheme(NamedTuple):
    """How RNAs of ``shortest`` letters and more are looked up among longer ones: ``seeds.yaml``."""

    shortest: int
    seeds: list[str]
    least: dict[int, int]
    window: int


_FILE = Path(__file__).with_name("seeds.yaml").read_text("utf-8")
SCHEMES = [Scheme(**row) for row in yaml.safe_load(_FILE)]
# What a pair must share by how many letters of the shorter one are not needed to pass for no chance
# relative: 22 letters of which 18 must match less errors can have two errors, and share 9 words.
SPARE = {1: 40, 2: 20, 3: 12, 4: 9, 6: 7, 8.5: 5, 11: 4, 12: 0}


class Candidates(NamedTuple):
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
    made, n = [], len(lengths)
    starts = np.searchsorted(lengths, [scheme.shortest for scheme in SCHEMES] + [math.inf])
    for scheme, (first, end) in zip(SCHEMES, pairwise(starts.tolist()), strict=True):
        pairs = (end - first) * n - (end - first) * (end - first + 1) // 2
        few = scheme is SCHEMES[0] and pairs <= ALL_PAIRS
        chunk = lengths[first:].cumsum() // CHUNK * (not few)
        edges = first + np.searchsorted(chunk, np.arange(chunk.max(initial=-1) + 2))
        for among in (range(a, b) for a, b in pairwise(edges) if a < b):
            stop = min(end, among.stop)
            made += [
                Block(None if few else scheme, range(start, min(start + BLOCK, stop)), among)
                for start in range(first, stop, BLOCK)
            ]
    return made


def candidates(
    ordered: list[str], todo: Sequence[Block], chance: float = CHANCE
) -> Iterator[Iterable[Candidates]]:
    """For each block its rows' candidates; ``ordered``: distinct sequences by length.

    A row can come in several blocks, each time with other candidates.
    """
    for (scheme, among), part in groupby(todo, key=lambda block: (block.scheme, block.among)):
        if scheme:
            yield from _by_words(ordered, scheme, among, [block.rows for block in part], chance)
            continue
        later = np.arange(len(ordered))
        for block in part:
            yield (Candidates(i, later[i + 1 :], 0 * later[i + 1 :], WHOLE) for i in block.rows)


def _by_words(
    ordered: list[str], scheme: Scheme, among: range, blocks_rows: list[range], chance: float
) -> Iterator[list[Candidates]]:
    """For each block the rows of ``among`` that share enough words with its own."""
    lengths = np.array([len(sequence) for sequence in ordered], dtype=int)
    window, step = scheme.window, scheme.window // 2
    places = [
        (row, start)
        for row in among
        for start in range(0, max(1, len(ordered[row]) - step), step or WHOLE)
    ]
    pieces = [ordered[row][start : start + (window or WHOLE)] for row, start in places]
    owner, start = np.array(places).T
    margin = window // 8  # a stretch of an alignment can be longer than half a window
    start, width = np.maximum(start - margin, 0), window + 2 * margin or WHOLE
    # a small set needs no table of millions; too few words make every pair look related
    n_words = max(TABLE, 16 * int(lengths[among.start : among.stop].sum()))
    n_words = min(4 ** scheme.seeds[0].count("1"), n_words)
    of_seeds = [_presence(pieces, [seed], n_words).T.tocsr() for seed in scheme.seeds]
    index = sparse.vstack(of_seeds, format="csr")
    for rows in map(np.array, blocks_rows):
        words = _presence([ordered[row] for row in rows], scheme.seeds, n_words)
        shared = words @ index
        # fewer words are asked of a repetitive RNA, which has few
        most = sum(np.maximum(1, lengths[rows] - len(seed) + 1) for seed in scheme.seeds)
        least = np.interp(lengths[rows], list(scheme.least), list(scheme.least.values()))
        least = np.maximum(1, np.floor(least * words.sum(axis=1) / most))
        entry = np.flatnonzero(shared.data >= least.min())
        at = np.searchsorted(shared.indptr, entry, "right") - 1
        at, entry = at[enough := shared.data[entry] >= least[at]], entry[enough]
        row, piece, n = rows[at], shared.indices[entry], shared.data[entry].astype(int)
        spare = lengths[row] - _chance_score(lengths[row], lengths[owner[piece]], chance)
        worth = (owner[piece] > row) & (n >= np.interp(spare, list(SPARE), list(SPARE.values())))
        order = np.flatnonzero(worth)
        order = order[np.lexsort((piece[order], -n[order], row[order]))]
        row, piece = row[order], piece[order]
        edges = np.flatnonzero(np.diff(row, prepend=-1, append=-1))
        yield [
            Candidates(int(row[a]), owner[piece[a:b]], start[piece[a:b]], width)
            for a, b in pairwise(edges)
        ]


def _presence(sequences: list[str], seeds: Sequence[str], n_words: int) -> sparse.csr_array:
    """(n, seeds · words) matrix of 0 and 1: which words of plain letters a sequence holds.

    Where ``n_words`` are fewer than there can be, several words share a number.
    """
    shape = (len(sequences), len(seeds) * n_words)
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
        keys.append(owner[:n][whole] * shape[1] + number * n_words + word[whole] % n_words)
    keys = np.sort(np.concatenate(keys))
    row, column = np.divmod(keys[np.diff(keys, prepend=-1) > 0], shape[1])
    ends = np.append(0, np.bincount(row, minlength=shape[0]).cumsum()).astype(np.int32)
    ones = np.ones(len(column), dtype=np.int16)
    return sparse.csr_array((ones, column.astype(np.int32), ends), shape=shape)


# Clusters


def clusters(sequences: Sequence[str], store: Store | None = None) -> np.ndarray:
    """Single-linkage cluster number of every sequence (0, 1, … by first appearance).

    Two are linked when `similar`, by a ``chance`` that gets less with the number of RNAs: each may
    have `CHANCE_PER_RNA` chance relatives among all others (this tells on RNAs under 45 letters alone).
    ``store`` keeps the clusters so far: 400,000 RNAs take an hour, and a killed call goes on there.
    """
    number, distinct = pd.factorize(np.array(sequences, dtype=object))
    return kin(distinct.tolist(), np.zeros((len(distinct), 0), dtype=bool), store).cluster[number]


class Kin(NamedTuple):
    """``cluster``: as of `clusters`, (n,). ``partner``: for every side the place of a relative
    that stands on it, or -1, (n, sides)."""

    cluster: np.ndarray
    partner: np.ndarray


def kin(distinct: Sequence[str], on: np.ndarray, store: Store | None = None) -> Kin:
    """Clusters of distinct sequences, and a relative of each on every side, in one pass.

    ``on``, (n, sides), flags the sides on which each stands. A partner is `similar` itself, by the
    chance of `clusters`, and not through others alone. ``store`` keeps clusters, no partners.

    >>> one, other = "ACGUACGGACUUGACAUGCAUG", "GGACGUACGACUUGACAUGCAUGUU"
    >>> kin([one, other, "G" * 30], np.array([[1, 0], [0, 1], [0, 1]], bool)).partner.tolist()
    [[-1, 1], [0, -1], [-1, -1]]
    """
    order = sorted(range(len(distinct)), key=lambda i: (len(distinct[i]), distinct[i]))
    links = _Links([distinct[i] for i in order], on[order])
    todo, done = blocks(links.lengths), 0
    about = repr((links.chance, SCHEMES, SPARE, BLOCK, links.ordered))
    key = f"relatives {hashlib.sha256(about.encode()).hexdigest()}"
    if store and (kept := store.get(key)):
        done, *label = np.frombuffer(kept, dtype=int).tolist()
        links.label = np.array(label)
    found = candidates(links.ordered, todo[done:], links.chance)
    with progress(total=len(todo), initial=done, desc="relatives", unit="block") as bar:
        for number, block in enumerate(found, done + 1):
            for near in block:
                links.add(near)
            if store and (number % KEEP == 0 or number == len(todo)):
                store.put(key, np.append(number, links.label).tobytes())
            bar.update()
    cluster, partner = np.empty_like(links.label), np.empty_like(links.partner)
    cluster[order], partner[order] = links.label, np.array([*order, -1])[links.partner]
    return Kin(pd.factorize(cluster)[0], partner)


class _Links:
    """Clusters of distinct sequences so far (``label``), and a relative on every side or -1."""

    def __init__(self, ordered: list[str], on: np.ndarray):
        self.ordered, self.on = ordered, on
        self.chance = min(CHANCE, CHANCE_PER_RNA / max(1, len(ordered)))
        self.label, self.partner = np.arange(len(ordered)), np.full(on.shape, -1)
        self.lengths = np.array([len(sequence) for sequence in ordered], dtype=int)

    def add(self, found: Candidates) -> None:
        """Link a row with those of its candidates that are its relatives."""
        row, others = found.row, found.others
        enough = _chance_score(self.lengths[row], self.lengths[others], self.chance).tolist()
        left = np.flatnonzero(self._tells(row, others))
        while len(left):
            i, left = left[0], left[1:]
            place = slice(found.starts[i], found.starts[i] + found.width)
            if _fits(self.ordered[row], self.ordered[others[i]][place], enough[i]):
                for one, two in ((row, others[i]), (others[i], row)):
                    self.partner[one, self.on[two] & (self.partner[one] < 0)] = two
                self.label[self.label == self.label[row]] = self.label[others[i]]
                left = left[self._tells(row, others[left])]

    def _tells(self, row: int, others: np.ndarray) -> np.ndarray:
        """Which of the others would bring something new, were they relatives; shape (n,)."""
        new = self.label[others] != self.label[row]
        if self.on.shape[1]:
            new |= (self.on[others] & (self.partner[row] < 0)).any(axis=1)
            new |= (self.on[row] & (self.partner[others] < 0)).any(axis=1)
        return new
