"""Units: groups of RNAs that are never parted by a split, and the three splits over them.

A unit is a set of RNAs linked by sequence (80 % identity over 80 % of the shorter one) or by
literature (half of their articles). A row-wise split leaks through both (`split`, "random").
"""

import math
from collections.abc import Sequence

import edlib
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from rnagpt_lib.errors import InputError

IDENTITY = 0.8
COVERAGE = 0.8
JACCARD = 0.5
SIDES = ("test", "val", "train")
_LETTERS = {letter: code for code, letter in enumerate("ACGU")}


def similar(a: str, b: str, identity: float = IDENTITY, coverage: float = COVERAGE) -> bool:
    """Whether an alignment spans ``coverage`` of the shorter one at ``identity``.

    Identity is matches over alignment columns, gaps included. The shorter sequence is fitted
    into the longer one by edit distance (edlib, "HW"); then the best stretch of that alignment
    is looked for. A stretch of this quality leaves at most ``bound`` edits in the whole.
    Under about 35 letters such a stretch turns up by chance in a long sequence, and single
    linkage would chain a whole data set together: matches less errors must also reach
    `_chance_score`.

    >>> similar("ACGUACGGACUUGACAUGCAUG", "GGACGUACGACUUGACAUGCAUGUU")
    True
    """
    short, long = sorted((a, b), key=len)
    bound = int(len(short) * (1 - coverage + coverage * (1 / identity - 1)))
    distance = edlib.align(short, long, mode="HW", k=bound)["editDistance"]
    if distance < 0:
        return False
    enough = _chance_score(len(short), len(long))
    if distance <= (1 - identity) * len(short) and len(short) - 2 * distance >= enough:
        return True
    return _has_stretch(short, long, bound, enough, identity, coverage)


def _chance_score(short: int, long: int, expected: float = 1e-3) -> float:
    """Matches less errors that two random RNAs of these lengths reach ``expected`` times.

    Karlin and Altschul's E = m·n·exp(-λS); λ = ln 3 for +1/-1 and four equal letters.
    """
    return math.log(short * long / expected) / math.log(3)


def _has_stretch(
    short: str, long: str, bound: int, enough: float, identity: float, coverage: float
) -> bool:
    """Is there a run of columns over ``coverage`` of ``short`` with ``identity`` matches?"""
    path = edlib.align(short, long, mode="HW", task="path", k=bound)
    columns = edlib.getNiceAlignment(path, short, long)
    query, marks = columns["query_aligned"], columns["matched_aligned"]
    spans = np.cumsum([0] + [letter != "-" for letter in query])  # letters of `short` so far
    surplus = np.cumsum([0.0] + [(mark == "|") - identity for mark in marks])
    columns_so_far = np.arange(len(surplus))
    lowest = np.minimum.accumulate(surplus)
    lowest_at = np.maximum.accumulate(np.where(surplus == lowest, columns_so_far, 0))
    last_start = np.searchsorted(spans, spans - coverage * len(short) + 1e-9, "right") - 1
    end = np.flatnonzero(last_start >= 0)
    start = lowest_at[last_start[end]]
    gain, width = surplus[end] - surplus[start], columns_so_far[end] - columns_so_far[start]
    matches = gain + identity * width
    return bool(((gain >= -1e-9) & (2 * matches - width >= enough)).any())


def clusters(sequences: Sequence[str]) -> np.ndarray:
    """Single-linkage cluster number of every sequence (0, 1, … by first appearance).

    Two sequences are linked when `similar`. Pairs whose shorter one has 50 or more letters are
    aligned only when they share enough distinct k-mers (`_shared_enough`).
    """
    distinct = sorted(set(sequences), key=lambda sequence: (len(sequence), sequence))
    parent = np.arange(len(distinct))
    for row, candidates in _candidates(distinct):
        for other in candidates:
            one, two = _root(parent, row), _root(parent, other)
            if one != two and similar(distinct[row], distinct[other]):
                parent[two] = one
    root_of = {sequence: _root(parent, i) for i, sequence in enumerate(distinct)}
    return pd.factorize(np.array([root_of[sequence] for sequence in sequences], dtype=int))[0]


def _root(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return int(i)


def _candidates(ordered: list[str], block: int = 256):
    """For every sequence, the longer ones (later in ``ordered``) that are worth aligning.

    Distinct shared k-mers: from 50 letters 6-mers, 5 % of the length; from 150 letters 7-mers,
    8 %. Pairs exactly at the thresholds (80 % identity, 80 % coverage, random edits) lie at
    least that high in more than 99 % of simulated cases (tests/test_units.py measures it);
    below 50 letters k-mers cannot tell, so all pairs are aligned.
    """
    lengths = np.array([len(sequence) for sequence in ordered])
    presence = {k: _presence(ordered, k) for k in (6, 7)}
    for start in range(0, len(ordered), block):
        rows = np.arange(start, min(start + block, len(ordered)))
        shared = {k: (m[rows] @ m.T).toarray() for k, m in presence.items()}
        for row in rows:
            later = np.arange(row + 1, len(ordered))
            if lengths[row] >= 50:
                k, share = (6, 0.05) if lengths[row] < 150 else (7, 0.08)
                later = later[shared[k][row - start, later] >= share * lengths[row]]
            yield int(row), later.tolist()


def _presence(sequences: list[str], k: int) -> sparse.csr_array:
    """(n, 4**k) matrix of 0 and 1: which k-mers of plain letters a sequence holds."""
    columns = []
    for sequence in sequences:
        codes = np.array([_LETTERS.get(letter, -1) for letter in sequence])
        if len(codes) < k:
            columns.append(np.empty(0, dtype=int))
            continue
        words = np.lib.stride_tricks.sliding_window_view(codes, k)
        words = words[(words >= 0).all(axis=1)]
        columns.append(np.unique(words @ 4 ** np.arange(k)))
    ends = np.cumsum([0] + [len(found) for found in columns])
    flat = np.concatenate(columns) if columns else np.empty(0, dtype=int)
    ones = np.ones(len(flat), dtype=np.int32)
    return sparse.csr_array((ones, flat, ends), shape=(len(sequences), 4**k))


def units(rnas: pd.DataFrame, links: pd.DataFrame) -> pd.Series:
    """Unit of every RNA ("U00001", …), indexed like ``rnas``.

    Clusters join when two of their RNAs, or the clusters as wholes, have article sets with a
    Jaccard index of at least 0.5; joining is transitive.
    """
    labels = clusters(rnas["sequence"].tolist())
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
    article = np.concatenate([article, article])
    width = int(article.max(initial=0)) + 1
    ones = np.ones(len(bag), dtype=np.int32)
    bags = sparse.coo_array((ones, (bag, article)), shape=(n_rnas + n_clusters, width)).tocsr()
    bags.data[:] = 1
    common = (bags @ bags.T).tocoo()
    sizes = np.asarray(bags.sum(axis=1)).ravel()
    union = sizes[common.row] + sizes[common.col] - common.data
    close = common.data >= JACCARD * union
    owner = np.concatenate([labels, np.arange(n_clusters)])
    edges = (owner[common.row[close]], owner[common.col[close]])
    graph = sparse.coo_array((np.ones(close.sum()), edges), shape=(n_clusters, n_clusters))
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
