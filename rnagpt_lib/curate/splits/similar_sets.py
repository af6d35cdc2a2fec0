"""Which of many sets are close (Jaccard index), without comparing all of them.

Prefix filtering (Chaudhuri et al., ICDE 2006; Xiao et al., WWW 2008) is exact: with the items of
every set in one order, the rarest first, two sets of a Jaccard index of J or more share an item
among the first ``size - ceil(J · size) + 1`` of each, and that item's places in the two say how
much they can have in common. So an article of 50,000 RNAs does not make 50,000² pairs.
"""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

PAIRS = 2_000_000  # candidate pairs in memory at a time
ITEMS = 20_000_000  # items of the sets that are compared at a time


def close_sets(
    sets: np.ndarray, items: np.ndarray, jaccard: float
) -> tuple[np.ndarray, np.ndarray]:
    """(one, other): set numbers of pairs whose Jaccard index is ``jaccard`` or more.

    ``sets`` and ``items``, both (n,) whole numbers from 0: item items[i] is in set sets[i].
    Of equal sets only neighbours are named, so the pairs join what all close pairs would join.

    >>> one, other = close_sets(np.array([0, 0, 1, 2, 2]), np.array([5, 6, 6, 7, 8]), 0.5)
    >>> one.tolist(), other.tolist()
    ([0], [1])
    """
    if not len(sets):
        return np.empty(0, dtype=int), np.empty(0, dtype=int)
    sets, items = _rarest_first(*_once(sets, items))
    alike, keep = _equal(sets, items)
    sets, items = sets[keep], items[keep]
    pairs = [alike, *_close(sets, items, jaccard)]
    one, other = np.concatenate(pairs, axis=1)
    return one, other


def _once(sets: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The entries without repeats."""
    width = int(items.max()) + 1
    return np.divmod(np.unique(sets.astype(np.int64) * width + items), width)


def _rarest_first(sets: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same, items numbered by how many sets hold them, sorted by set and number."""
    counts = np.bincount(items)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    order = np.lexsort((rank[items], sets))
    return sets[order], rank[items][order]


def _equal(sets: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of equal sets (2, n), and a mask of the entries of one set of each kind.

    Sets are compared by two sums of 64 random bits for each item.
    """
    bits = np.random.default_rng(0).integers(2**63, size=(2, items.max() + 1))
    numbers, starts = np.unique(sets, return_index=True)
    sums = np.add.reduceat(bits[:, items], starts, axis=1)
    order = np.lexsort(sums)
    same = (np.diff(sums[:, order], axis=1) == 0).all(axis=0)
    later = numbers[order[1:][same]]
    return np.stack([numbers[order[:-1][same]], later]), ~np.isin(sets, later)


def _close(sets: np.ndarray, items: np.ndarray, jaccard: float) -> Iterator[np.ndarray]:
    """Pairs of close sets (2, n), some of them several times."""
    n = int(sets.max()) + 1
    sizes = np.bincount(sets, minlength=n)
    first = np.cumsum(sizes) - sizes
    place = np.arange(len(sets)) - first[sets]
    size = sizes[sets]
    prefix = place <= size - np.ceil(jaccard * size - 1e-9)
    ones = np.ones(len(sets), dtype=np.int32)
    bags = sparse.csr_array((ones, items, np.append(first, len(sets))))
    keys = (items[prefix], size[prefix], place[prefix])
    for one, other in _meeting(sets[prefix], *keys, jaccard):
        code = np.unique(np.minimum(one, other) * n + np.maximum(one, other))
        one, other = np.divmod(code, n)
        total = sizes[one] + sizes[other]
        ends = np.cumsum(total)
        cuts = np.searchsorted(ends, np.arange(ITEMS, ends[-1] if len(ends) else 0, ITEMS))
        for part in np.split(np.arange(len(one)), cuts):
            common = bags[one[part]].multiply(bags[other[part]]).sum(axis=1)
            close = part[common >= jaccard * (total[part] - common) - 1e-9]
            yield np.stack([one[close], other[close]])


def _meeting(
    sets: np.ndarray, items: np.ndarray, size: np.ndarray, place: np.ndarray, jaccard: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sets that meet in an item of their prefixes and can be close, by their sizes and places.

    Sets that hold the item at the same place and are of one size stand or fall together, so
    whole classes of them are compared first.
    """
    order = np.lexsort((place, size, items))
    sets, items, size, place = sets[order], items[order], size[order], place[order]
    new = np.ones(len(sets), dtype=bool)
    new[1:] = (np.diff(items) != 0) | (np.diff(size) != 0) | (np.diff(place) != 0)
    start = np.flatnonzero(new)
    count = np.diff(start, append=len(sets))
    a, b = _within(np.flatnonzero(np.diff(items[start], prepend=-1)), len(start))
    most = np.minimum((size - place)[start[a]], (size - place)[start[b]])
    needed = np.ceil(jaccard / (1 + jaccard) * (size[start[a]] + size[start[b]]) - 1e-9)
    fitting = (most >= needed) & ((a != b) | (count[a] > 1))
    a, b = a[fitting], b[fitting]
    ends = np.cumsum(count[a] * count[b])
    for low in range(0, int(ends[-1]) if len(ends) else 0, PAIRS):
        number = np.arange(low, min(low + PAIRS, int(ends[-1])))
        pair = np.searchsorted(ends, number, "right")
        left, right = np.divmod(number - (ends - count[a] * count[b])[pair], count[b][pair])
        one, other = sets[start[a][pair] + left], sets[start[b][pair] + right]
        yield one[one != other], other[one != other]


def _within(starts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (i, j) with i <= j of numbers up to n that stand in one of the groups."""
    ends = np.repeat(np.append(starts[1:], n), np.diff(np.append(starts, n)))
    left = np.arange(n)
    counts = ends - left
    i = np.repeat(left, counts)
    return i, i + np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
