"""Units: groups of RNAs that are never parted by a split, and the three splits over them.

A unit is a set of RNAs linked by sequence (80 % identity over 80 % of the shorter one) or by
literature (half of their articles). A row-wise split leaks through both.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.splits.relatives import IDENTITY as IDENTITY  # notebooks compare with it
from rnagpt_lib.curate.splits.relatives import clusters, identity_of
from rnagpt_lib.runs.resume_store import Store

JACCARD = 0.5
SIDES = ("test", "val", "train")
ITEMS = 20_000_000  # items of the sets that are compared at a time


def units(rnas: pd.DataFrame, links: pd.DataFrame, store: Store | None = None) -> pd.Series:
    """Unit of every RNA ("U00001", …), indexed like ``rnas``.

    Clusters of `relatives` join when two of their RNAs, or the clusters as wholes, have article sets
    with a Jaccard index of `JACCARD`; joining is transitive. ``store``: as of `clusters`.
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

    ``sets`` and ``items``, both (n,) whole numbers from 0: item items[i] is in set sets[i]. Equal
    sets are paired with the first of them alone, which joins what all close pairs would join.

    >>> one, other = close_sets(np.array([0, 0, 1, 2, 2]), np.array([5, 6, 6, 7, 8]), 0.5)
    >>> one.tolist(), other.tolist()
    ([0], [1])
    """
    if not len(sets):
        return np.empty(0, dtype=int), np.empty(0, dtype=int)
    bags = sparse.csr_array((np.ones(len(sets), dtype=np.int32), (sets, items)))
    bags.data[:] = 1  # without repeats
    bags = bags[:, np.argsort(bags.sum(axis=0), kind="stable")]  # the rarest items first
    bags.sort_indices()
    rows = np.split(bags.indices, bags.indptr[1:-1])
    kind = pd.factorize(pd.Series([row.tobytes() for row in rows], dtype=object))[0]
    first = np.unique(kind, return_index=True)[1]
    twins = np.flatnonzero((first[kind] != np.arange(len(kind))) & (np.diff(bags.indptr) > 0))
    bags, pairs = bags[first], [np.stack([first[kind[twins]], twins])]
    sizes = np.diff(bags.indptr)
    for one, other in _candidates(bags, jaccard):
        common = bags[one].multiply(bags[other]).sum(axis=1)
        close = common >= jaccard * (sizes[one] + sizes[other] - common) - 1e-9
        pairs.append(first[np.stack([one[close], other[close]])])
    return tuple(np.concatenate(pairs, axis=1))


def _candidates(bags: sparse.csr_array, jaccard: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows that may be close, and of each pair the larger first; the rarest items come first.

    Prefix filtering (Bayardo et al., WWW 2007; Xiao et al., WWW 2008) is exact: of two close sets
    the larger has one of the smaller's rarest items among its own. So an article of 50,000 RNAs
    makes no 50,000² pairs.
    """
    sizes = np.diff(bags.indptr)
    place = np.arange(bags.nnz) - np.repeat(bags.indptr[:-1], sizes)

    def rarest(share: float) -> sparse.csr_array:
        """Of each row those items of which one is shared with a row that shares ``share``."""
        made = bags.copy()
        made.data *= place <= np.repeat(sizes - np.ceil(share * sizes - 1e-9), sizes)
        made.eliminate_zeros()
        return made

    larger, smaller = rarest(jaccard), rarest(2 * jaccard / (1 + jaccard))
    work = sizes * (larger @ smaller.sum(axis=0, dtype=np.int64))
    cuts = np.flatnonzero(np.diff(work.cumsum() // ITEMS)) + 1
    smaller = smaller.T.tocsr()
    for rows in np.split(np.arange(len(sizes)), cuts):
        one, other = (larger[rows] @ smaller).nonzero()
        one = rows[one]
        fit = (one != other) & (sizes[other] <= sizes[one])
        fit &= sizes[other] >= jaccard * sizes[one] - 1e-9
        yield one[fit], other[fit]


def split(
    rnas: pd.DataFrame,
    how: str = "cluster",
    *,
    seed: int = 0,
    val_share: float = 0.1,
    test_share: float = 0.2,
) -> pd.Series:
    """Side (train, val, test) of every RNA, indexed like ``rnas`` (with its ``unit`` column).

    ``how``: "random" by row (it leaks), "cluster" by unit, "family" by whole families and units. A
    preset side (``rnas.split``) holds for its whole group; test goes before val before train. Sides
    are drawn within each RNA type, which keeps a group in train and, if it has two, one in test.
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
    best = np.zeros(len(queries))
    for place, query in enumerate(queries):
        for target in targets:
            best[place] = max(best[place], identity_of(query, target, best[place]))
    return best
