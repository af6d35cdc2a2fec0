"""Row 8: a pool of per-RNA LDAs that computes equal article sets once, against a gensim loop.

The same function of the same abstracts: the peer loops over the RNAs in one process, without
reuse. The world's RNAs with abstracts enough; each RNA has a twin with the same articles, as
RNAcentral's entries of several species do.
"""

import os
import time

import pandas as pd

from benchmarks.speed import _peers
from rnagpt_lib.core.params import Topics
from rnagpt_lib.curate.text.names import names_of
from rnagpt_lib.curate.topics import topics
from rnagpt_lib.miniature import world

WORLD_SIZE, TWINS, REPEATS = 240, 2, 5


def main() -> None:
    """Time both sides in turn, assert the same topics, write the row."""
    rnas, articles, links = _data()
    params, seconds = Topics(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        ours = topics.find(rnas, articles, links, params, 0)
        middle = time.perf_counter()
        peer = loop(rnas, articles, links, params, 0)
        seconds.append((middle - start, time.perf_counter() - middle))
        pd.testing.assert_frame_equal(ours, peer)
    cores = os.cpu_count()
    _peers.keep(
        "lda_pool",
        [peer / ours for ours, peer in seconds],
        ours=f"pool of {cores} processes, equal article sets once",
        peer="gensim in a loop over the RNAs",
        workload=f"{len(rnas)} RNAs of the world, {TWINS} with each article set, "
        f"{len(links):,} links",
        target=f"≥ {1.5 * cores:g} (1.5 × cores)",
        limit=f"{cores * TWINS} (cores × RNAs with a set)",
    )


def _data() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The world's tables; every RNA has a twin with its names and its articles."""
    made = world.make(WORLD_SIZE, 0)
    twins = [made.rnas.assign(rna_id=made.rnas["rna_id"] + f"-{i}") for i in range(TWINS)]
    links = [made.links.assign(rna_id=made.links["rna_id"] + f"-{i}") for i in range(TWINS)]
    return pd.concat(twins), made.articles, pd.concat(links)


def loop(
    rnas: pd.DataFrame, articles: pd.DataFrame, links: pd.DataFrame, params: Topics, seed: int
) -> pd.DataFrame:
    """What `topics.find` gives, RNA by RNA."""
    texts = dict(zip(articles.article_id, articles.title + "\n" + articles.abstract, strict=True))
    called = {row["rna_id"]: names_of(row) for row in rnas.to_dict("records")}
    settings = (params.max_topics, params.passes, params.stability_seeds, params.stable, seed)
    rows = []
    for rna_id, ids in links.groupby("rna_id").article_id.agg(sorted).items():
        groups = [(0, 1.0)] * len(ids)
        if len(ids) >= params.min_articles:
            names = tuple(dict.fromkeys(called[rna_id]))
            groups = topics.group(topics.Task(tuple(texts[i] for i in ids), names, *settings))
        rows += [(rna_id, a, t, w) for a, (t, w) in zip(ids, groups, strict=True)]
    return pd.DataFrame(rows, columns=["rna_id", "article_id", "topic", "weight"])
