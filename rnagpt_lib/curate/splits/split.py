"""Units: groups of RNAs that are never parted by a split, and the three splits over them.

A unit is a set of RNAs linked by sequence (80 % identity over 80 % of the shorter one) or by
literature (half of their articles). A row-wise split leaks through both (`split`, "random").
"""

from collections.abc import Iterator, Sequence

import edlib
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.splits.relatives import IDENTITY as IDENTITY  # notebooks compare with it
from rnagpt_lib.curate.splits.relatives import clusters
from rnagpt_lib.runs.resume_store import Store

JACCARD = 0.5
SIDES = ("test", "val", "train")
PAIRS = 2_000_000  # candidate pairs of sets in memory at a time
ITEMS = 20_000_000  # items of the sets that are compared at a time


def units(rnas: pd.DataFrame, links: pd.DataFrame, store: Store | None = None) -> pd.Series:
    """Unit of every RNA ("U00001", …), indexed like ``rnas``.

    Clusters are the RNAs' `relatives` by sequence. They join when two of their RNAs, or the
    clusters as wholes, have article sets with a Jaccard index of at least 0.5; joining is
    transitive. A call with a ``store`` that was killed goes on where it was.
    """
    labels = clusters(rnas["sequence"].tolist(), store)
    n_rnas, n_clusters = len(rnas), int(labels.max(initial=-1)) + 1
    position = pd.Index(rnas["rna_id"]).get_indexer(links["rna_id"])
    rna, article = position[position >= 0], pd.factorize(links["article_id"][position >= 0])[0]
    # one set of articles for every RNA, and behind them one for every cluster
    sets = np.concatenate([rna, n_rnas + labels[rna]])
    one, other = close_sets(sets, np.concatenate([article, article]), JACCARD)
    owner = np.concatenate([labels, np.arange(n_clusters)])
    joined = _components(owner[one], owner[other], n_clusters)
    numbers = pd.factorize(joined[labels])[0]
    return pd.Series([f"U{number + 1:05d}" for number in numbers], rnas.index, name="unit")


def _components(one: np.ndarray, other: np.ndarray, n: int) -> np.ndarray:
    """Component number of each of n nodes, by the edges from ``one`` to ``other``."""
    graph = sparse.coo_array((np.ones(len(one)), (one, other)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def close_sets(
    sets: np.ndarray, items: np.ndarray, jaccard: float
) -> tuple[np.ndarray, np.ndarray]:
    """(one, other): set numbers of pairs whose Jaccard index is ``jaccard`` or more.

    ``sets`` and ``items``, both (n,) whole numbers from 0: item items[i] is in set sets[i].
    Of equal sets only neighbours are named, so the pairs join what all close pairs would join.
    Prefix filtering (Chaudhuri et al., ICDE 2006; Xiao et al., WWW 2008) is exact: with the items
    of every set in one order, the rarest first, two sets of a Jaccard index of J or more share an
    item among the first ``size - ceil(J · size) + 1`` of each, and that item's places in the two
    say how much they can have in common. So an article of 50,000 RNAs makes no 50,000² pairs.

    >>> one, other = close_sets(np.array([0, 0, 1, 2, 2]), np.array([5, 6, 6, 7, 8]), 0.5)
    >>> one.tolist(), other.tolist()
    ([0], [1])
    """
    if not len(sets):
        return np.empty(0, dtype=int), np.empty(0, dtype=int)
    # without repeats, and items numbered by how many sets hold them, the rarest first
    width = int(items.max()) + 1
    sets, items = np.divmod(np.unique(sets.astype(np.int64) * width + items), width)
    counts = np.bincount(items)
    rank = np.empty(width, dtype=np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(width)
    order = np.lexsort((rank[items], sets))
    sets, items = sets[order], rank[items][order]
    # equal sets, by two sums of 64 random bits for each item; one of each kind is compared further
    bits = np.random.default_rng(0).integers(2**63, size=(2, width))
    numbers, starts = np.unique(sets, return_index=True)
    sums = np.add.reduceat(bits[:, items], starts, axis=1)
    order = np.lexsort(sums)
    same = (np.diff(sums[:, order], axis=1) == 0).all(axis=0)
    alike = np.stack([numbers[order[:-1][same]], numbers[order[1:][same]]])
    kept = ~np.isin(sets, alike[1])
    return tuple(np.concatenate([alike, *_close(sets[kept], items[kept], jaccard)], axis=1))


def _close(sets: np.ndarray, items: np.ndarray, jaccard: float) -> Iterator[np.ndarray]:
    """Pairs of close sets (2, n), some of them several times."""
    n = int(sets.max()) + 1
    sizes = np.bincount(sets, minlength=n)
    first = np.cumsum(sizes) - sizes
    place, size = np.arange(len(sets)) - first[sets], sizes[sets]
    prefix = place <= size - np.ceil(jaccard * size - 1e-9)
    ones = np.ones(len(sets), dtype=np.int32)
    bags = sparse.csr_array((ones, items, np.append(first, len(sets))))
    keys = (items[prefix], size[prefix], place[prefix])
    for one, other in _meeting(sets[prefix], *keys, jaccard):
        one, other = np.divmod(np.unique(np.minimum(one, other) * n + np.maximum(one, other)), n)
        total = sizes[one] + sizes[other]
        for part in np.split(
            np.arange(len(one)), np.flatnonzero(np.diff(total.cumsum() // ITEMS)) + 1
        ):
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
    keys = np.stack([items, size, place])
    start = np.flatnonzero((np.diff(keys, prepend=-1) != 0).any(axis=0))  # of each class
    count = np.diff(start, append=len(sets))
    of, size, place = keys[:, start]
    # all pairs (a, b) of classes of one item, a <= b
    later = np.searchsorted(of, of, "right") - np.arange(len(of))
    a = np.repeat(np.arange(len(of)), later)
    b = a + np.arange(len(a)) - np.repeat(np.cumsum(later) - later, later)
    most = np.minimum((size - place)[a], (size - place)[b])
    needed = np.ceil(jaccard / (1 + jaccard) * (size[a] + size[b]) - 1e-9)
    fitting = (most >= needed) & ((a != b) | (count[a] > 1))
    a, b = a[fitting], b[fitting]
    ends = np.cumsum(count[a] * count[b])
    for low in range(0, int(ends[-1]) if len(ends) else 0, PAIRS):
        number = np.arange(low, min(low + PAIRS, int(ends[-1])))
        pair = np.searchsorted(ends, number, "right")
        left, right = np.divmod(number - (ends - count[a] * count[b])[pair], count[b][pair])
        one, other = sets[start[a][pair] + left], sets[start[b][pair] + right]
        yield one[one != other], other[one != other]


def split(
    rnas: pd.DataFrame,
    how: str = "cluster",
    *,
    seed: int = 0,
    val_share: float = 0.1,
    test_share: float = 0.2,
) -> pd.Series:
    """Side (train, val, test) of every RNA, indexed like ``rnas`` (with its ``unit`` column).

    ``how``: "random" by row (shows the leakage), "cluster" by unit, "family" by whole families,
    whose units stay whole too. A preset side (``rnas.split``) holds for its whole group; test
    goes before val before train. Sides are drawn within each RNA type, and every type keeps a
    group in train and, from two groups on, has one in test (from three, in val).
    """
    groups = _groups(rnas, how)
    side = rnas["split"].where(rnas["split"].isin(SIDES))
    for preset in reversed(SIDES):  # later ones win: test last
        side[groups.isin(groups[rnas["split"] == preset])] = preset
    rng = np.random.default_rng(seed)
    home = rnas.groupby(groups)["rna_type"].agg(lambda types: types.mode().iloc[0])
    free = side.isna()
    for _, members in groups[free].groupby(groups[free].map(home)):
        sizes = members.value_counts().sort_index()
        chosen = _draw(sizes, {"test": test_share, "val": val_share}, rng)
        side[members.index] = members.map(chosen)
    return side.astype("object").rename("split")


def _groups(rnas: pd.DataFrame, how: str) -> pd.Series:
    """What must stay together, as one label for every RNA."""
    if how == "random":
        return pd.Series(rnas["rna_id"].to_numpy(), rnas.index)
    if how == "cluster":
        return rnas["unit"].copy()
    if how != "family":
        raise InputError(f"split {how!r} is unknown; splits are random, cluster, family")
    unit = pd.factorize(rnas["unit"])[0]
    family = pd.factorize(rnas["family"].where(rnas["family"] != "", "unit " + rnas["unit"]))[0]
    n_units, n_families = unit.max() + 1, family.max() + 1
    component = _components(unit, n_units + family, n_units + n_families)
    return pd.Series(component[unit], rnas.index).map("G{:05d}".format)


def _draw(sizes: pd.Series, shares: dict[str, float], rng: np.random.Generator) -> dict:
    """Side of every group (``sizes``: RNAs in it), near the shares; train always keeps one."""
    order = [sizes.index[i] for i in rng.permutation(len(sizes))]
    chosen = dict.fromkeys(order, "train")
    left = len(order)
    for side, share in shares.items():
        target, count = max(1, round(share * sizes.sum())) if share else 0, 0
        free = [group for group in order if chosen[group] == "train"]
        fitting = [g for g in free if sizes[g] <= target] or sorted(free, key=sizes.get)[:1]
        for group in fitting:
            if left > 1 and (not count or count + sizes[group] <= target) and target:
                chosen[group] = side
                count, left = count + sizes[group], left - 1
    return chosen


def swallowed(rnas: pd.DataFrame) -> pd.DataFrame:
    """Ordinary RNAs (no preset side) whose unit holds a preset one, and so follow its side.

    ``rnas`` as 00 left them (``split`` "" or preset) with their ``unit``.
    """
    preset = rnas["split"] != ""
    return rnas[~preset & rnas["unit"].isin(rnas.loc[preset, "unit"])]


def straddling(rnas: pd.DataFrame) -> list[str]:
    """Units that stand on more than one side of ``rnas.split``; empty for a clean split."""
    sides = rnas.groupby("unit")["split"].nunique()
    return sides.index[sides > 1].tolist()


def nearest_identity(queries: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Highest identity of each query to any target: 1 - edits / letters of the shorter one.

    The shorter sequence is fitted into the longer one. Shape (len(queries),), values 0 to 1.
    """
    best = []
    for query in queries:
        highest = 0.0
        for target in targets:
            short, long = sorted((query, target), key=len)
            bound = int((1 - highest) * len(short))
            edits = edlib.align(short, long, mode="HW", k=bound)["editDistance"]
            if edits >= 0:
                highest = max(highest, 1 - edits / len(short))
        best.append(highest)
    return np.array(best)
