"""Units: groups of RNAs that are never parted by a split, and the three splits over them.

A unit is a set of RNAs linked by sequence (80 % identity over 80 % of the shorter one) or by
literature (half of their articles). A row-wise split leaks through both (`split`, "random").
"""

from collections.abc import Sequence
from pathlib import Path

import edlib
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.splits.relatives import IDENTITY as IDENTITY  # notebooks compare with it
from rnagpt_lib.curate.splits.relatives import clusters
from rnagpt_lib.curate.splits.similar_sets import close_sets

JACCARD = 0.5
SIDES = ("test", "val", "train")


def units(rnas: pd.DataFrame, links: pd.DataFrame, kept: Path | None = None) -> pd.Series:
    """Unit of every RNA ("U00001", …), indexed like ``rnas``.

    Clusters are the RNAs' `relatives` by sequence. They join when two of their RNAs, or the
    clusters as wholes, have article sets with a Jaccard index of at least 0.5; joining is
    transitive. ``kept``: a file from which a call that was killed goes on.
    """
    labels = clusters(rnas["sequence"].tolist(), kept)
    joined = _join_by_articles(labels, rnas["rna_id"], links)
    numbers = pd.factorize(joined[labels])[0]
    return pd.Series([f"U{number + 1:05d}" for number in numbers], rnas.index, name="unit")


def _join_by_articles(labels: np.ndarray, ids: pd.Series, links: pd.DataFrame) -> np.ndarray:
    """Component number of every cluster, after joining by literature."""
    n_rnas, n_clusters = len(labels), int(labels.max(initial=-1)) + 1
    position = pd.Series(np.arange(n_rnas), ids.to_numpy())
    known = links[links["rna_id"].isin(position.index)]
    rna = position.loc[known["rna_id"]].to_numpy()
    article = pd.factorize(known["article_id"])[0]
    # one bag of articles for every RNA, and behind them one for every cluster
    bag = np.concatenate([rna, n_rnas + labels[rna]])
    one, other = close_sets(bag, np.concatenate([article, article]), JACCARD)
    owner = np.concatenate([labels, np.arange(n_clusters)])
    edges = (owner[one], owner[other])
    graph = sparse.coo_array((np.ones(len(one)), edges), shape=(n_clusters, n_clusters))
    return connected_components(graph, directed=False)[1]


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
    unit, _ = pd.factorize(rnas["unit"])
    family, _ = pd.factorize(rnas["family"].where(rnas["family"] != "", "unit " + rnas["unit"]))
    n_units, n = unit.max() + 1, unit.max() + family.max() + 2
    graph = sparse.coo_array((np.ones(len(rnas)), (unit, n_units + family)), shape=(n, n))
    component = connected_components(graph, directed=False)[1]
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
