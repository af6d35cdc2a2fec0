"""Relatives by sequence: when two RNAs are similar, and single-linkage clusters of many.

All pairs of 400,000 RNAs are too many to align: `seeds` tells which are worth it, block by block,
and a pair that is in one cluster already is not aligned again.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import edlib
import numpy as np
import pandas as pd

from rnagpt_lib.core import progress
from rnagpt_lib.core.files import replacing
from rnagpt_lib.curate.splits import spaced_seed_index
from rnagpt_lib.curate.splits.spaced_seed_index import CHANCE, Near, chance_score

IDENTITY = 0.8
COVERAGE = 0.8
CHANCE_PER_RNA = 0.5  # the same for one RNA with all the others of a data set
KEEP = 20  # blocks after which the links so far are kept


def similar(a: str, b: str, chance: float = CHANCE) -> bool:
    """Whether an alignment spans `COVERAGE` of the shorter one at `IDENTITY`.

    Identity is matches over alignment columns, gaps included. The shorter sequence is fitted
    into the longer one by edit distance (edlib, "HW"); then the best stretch of that alignment
    is looked for. A stretch of this quality leaves at most `_bound` edits in the whole.
    Under about 35 letters such a stretch turns up by chance in a long sequence, and single
    linkage would chain a whole data set together: matches less errors must also reach what two
    random RNAs of these lengths reach ``chance`` times (`chance_score`).

    >>> similar("ACGUACGGACUUGACAUGCAUG", "GGACGUACGACUUGACAUGCAUGUU")
    True
    """
    short, long = sorted((a, b), key=len)
    enough = chance_score(len(short), np.array([len(long)]), chance)
    return bool(_similar(short, [long], enough)[0])


def _similar(short: str, longer: Sequence[str], enough: np.ndarray) -> np.ndarray:
    """`similar` of an RNA and each of several places, by the ``enough`` of each; shape (n,)."""
    found, paths = np.zeros(len(longer), dtype=bool), {}
    certain = np.minimum((1 - IDENTITY) * len(short), (len(short) - enough) / 2)
    for number, (long, most) in enumerate(zip(longer, _bound(len(short), enough), strict=True)):
        distance = edlib.align(short, long, mode="HW", k=most)["editDistance"] if most >= 0 else -1
        if 0 <= distance <= certain[number]:
            found[number] = True
        elif distance >= 0:
            paths[number] = edlib.align(short, long, mode="HW", task="path", k=distance)["cigar"]
    if paths:
        found[list(paths)] = _have_stretch(len(short), [*paths.values()], enough[list(paths)])
    return found


def _bound(length: int, enough: np.ndarray) -> list[int]:
    """The most edits that an alignment with such a stretch can have.

    Its letters outside of the stretch may all be edits, and so may a fifth of its columns; or
    as many letters as are not needed to reach ``enough``.
    """
    most = int(length * (1 - COVERAGE + COVERAGE * (1 / IDENTITY - 1)) + 1e-9)
    return np.minimum(most, np.floor(length - enough)).astype(int).tolist()


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


def clusters(sequences: Sequence[str], kept: Path | None = None) -> np.ndarray:
    """Single-linkage cluster number of every sequence (0, 1, … by first appearance).

    Two sequences are linked when `similar`. In a large data set chance has many tries: one RNA
    may have `CHANCE_PER_RNA` chance relatives among all the others, so links get stricter with
    their number (this tells on RNAs under about 45 letters alone).
    ``kept``: a file in which the links so far are kept, since hundreds of thousands of RNAs take
    an hour; a call that was killed goes on from there.
    """
    links = _Links(sorted(set(sequences), key=lambda sequence: (len(sequence), sequence)))
    _search(links, kept)
    of = dict(zip(links.distinct, links.label.tolist(), strict=True))
    return pd.factorize(np.array([of[sequence] for sequence in sequences], dtype=int))[0]


class Kin(NamedTuple):
    """``cluster``: as of `clusters`, (n,). ``partner``: for every side the place of a relative
    that stands on it, or -1, (n, sides)."""

    cluster: np.ndarray
    partner: np.ndarray


def kin(distinct: Sequence[str], on: np.ndarray) -> Kin:
    """Clusters of distinct sequences, and a relative of each on every side, in one pass.

    ``on``, (n, sides), flags the sides on which each stands. Members of a cluster may be related
    through others alone; a partner is `similar` itself, by the chance that `clusters` leaves.

    >>> one, other = "ACGUACGGACUUGACAUGCAUG", "GGACGUACGACUUGACAUGCAUGUU"
    >>> kin([one, other, "G" * 30], np.array([[1, 0], [0, 1], [0, 1]], bool)).partner.tolist()
    [[-1, 1], [0, -1], [-1, -1]]
    """
    order = sorted(range(len(distinct)), key=lambda i: (len(distinct[i]), distinct[i]))
    links = _Links([distinct[i] for i in order], on[order])
    _search(links)
    place = np.array([*order, -1])  # -1 stays -1
    cluster, partner = np.empty_like(links.label), np.empty_like(links.partner)
    cluster[order], partner[order] = links.label, place[links.partner]
    return Kin(pd.factorize(cluster)[0], partner)


def _search(links: "_Links", kept: Path | None = None) -> None:
    """Look all candidates through."""
    todo = spaced_seed_index.blocks(links.lengths)
    done = links.resumed(kept) if kept else 0
    with progress.bar(total=len(todo), initial=done, desc="relatives", unit="block") as bar:
        found = spaced_seed_index.candidates(links.distinct, todo[done:], links.chance)
        for number, block in enumerate(found, done + 1):
            for near in block:
                links.add(near)
            if kept and (number % KEEP == 0 or number == len(todo)):
                links.keep(kept, number)
            bar.update()


class _Links:
    """Clusters so far of distinct sequences: the number of each one's cluster in ``label``.

    With ``on``, (n, sides), the sides on which each stands, ``partner`` is a relative of each on
    every side so far, or -1.
    """

    def __init__(self, distinct: list[str], on: np.ndarray | None = None):
        self.distinct = distinct
        self.chance = min(CHANCE, CHANCE_PER_RNA / max(1, len(distinct)))
        self.on = np.zeros((len(distinct), 0), dtype=bool) if on is None else on
        self.partner = np.full(self.on.shape, -1)
        self.lengths = np.array([len(sequence) for sequence in distinct], dtype=int)
        self.label = np.arange(len(distinct))
        self.members = {i: [i] for i in range(len(distinct))}

    def add(self, near: Near) -> None:
        """Link a row with those of its candidates that are its relatives."""
        row, width = self.distinct[near.row], 1
        enough = chance_score(len(row), self.lengths[near.others], self.chance)
        left = np.arange(len(near.others))
        while len(left := left[self._tells(near.row, near.others[left])]):
            batch, left = left[:width], left[width:]
            places = zip(near.others[batch].tolist(), near.starts[batch].tolist(), strict=True)
            longer = [self.distinct[other][start : start + near.width] for other, start in places]
            for other in near.others[batch[_similar(row, longer, enough[batch])]]:
                self._unite(int(self.label[near.row]), int(self.label[other]))
                for one, two in ((near.row, other), (other, near.row)):
                    self.partner[one, self.on[two] & (self.partner[one] < 0)] = two
            width = min(16 * width, 256)

    def _tells(self, row: int, others: np.ndarray) -> np.ndarray:
        """Which of the others would bring something new, were they relatives; shape (n,)."""
        new = self.label[others] != self.label[row]
        if self.on.shape[1]:
            new |= (self.on[others] & (self.partner[row] < 0)).any(axis=1)
            new |= (self.on[row] & (self.partner[others] < 0)).any(axis=1)
        return new

    def _unite(self, one: int, other: int) -> None:
        """Give the smaller cluster's members the larger one's label."""
        small, large = sorted((one, other), key=lambda number: len(self.members[number]))
        if small != large:
            moved = self.members.pop(small)
            self.label[moved] = large
            self.members[large] += moved

    def keep(self, path: Path, done: int) -> None:
        """Write the clusters after so many blocks."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, of=self._of, label=self.label, done=done)

    def resumed(self, path: Path) -> int:
        """Take over what is kept of the same sequences; how many blocks are done."""
        try:
            with np.load(path) as file:
                of, label, done = file["of"], file["label"], int(file["done"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return 0
        if not np.array_equal(of, self._of):
            return 0
        self.label = label
        self.members = {}
        for row, number in enumerate(label.tolist()):
            self.members.setdefault(number, []).append(row)
        return done

    @cached_property
    def _of(self) -> np.ndarray:
        """A hash of what the clusters depend on."""
        text = "\n".join(
            [
                repr(
                    (
                        self.chance,
                        spaced_seed_index.SCHEMES,
                        spaced_seed_index.SPARE,
                        spaced_seed_index.BLOCK,
                    )
                ),
                *self.distinct,
            ]
        )
        return np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
