"""Topic groups of an earlier run, kept where the literature only grew.

Fitted again, LDA would deal the old abstracts anew, and every summary of the RNA would be paid
for once more. Here the old groups stand, a new abstract joins the one that it is most like, and
only that group's text, and what is made of it, changes.
"""

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from rnagpt_lib.core.params import Topics
from rnagpt_lib.core.tables import Texts
from rnagpt_lib.curate.text.names import names_of
from rnagpt_lib.curate.topics.topics import preprocess, rna_topics
from rnagpt_lib.runs.resume_store import Store

MOST_GROWTH = 0.25  # new abstracts to old ones; beyond it the groups are found anew


def topics(
    rnas: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    params: Topics,
    seed: int,
    earlier: pd.DataFrame | None = None,
    spool: Store | None = None,
) -> pd.DataFrame:
    """Table ``topics`` of all RNAs: ``earlier`` ones where they still stand, else by LDA.

    ``spool`` keeps what LDA found, as in `topics.rna_topics`.
    """
    if earlier is None:
        return rna_topics(rnas, articles, links, params, seed, spool)
    kept = carried(earlier, rnas, articles, links, params.min_articles)
    rest = links[~links.rna_id.isin(kept.rna_id)]
    stand, anew = kept.rna_id.nunique(), rest.rna_id.nunique()
    print(f"{stand:,} RNAs keep the groups of the earlier run, {anew:,} are grouped anew")
    found = rna_topics(rnas, articles, rest, params, seed, spool)
    return pd.concat([kept, found], ignore_index=True)


def carried(
    earlier: pd.DataFrame,
    rnas: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    min_articles: int,
) -> pd.DataFrame:
    """Rows of ``topics`` for the RNAs whose ``earlier`` topics (same columns) still stand.

    That is where at most `MOST_GROWTH` of abstracts came in, and where the RNA was not, or
    already was, large enough for LDA (``min_articles``). Abstracts that are linked no more are
    left out. A new one has the weight that its likeness (cosine of tf-idf) to the group has
    among all groups.
    """
    texts = Texts(articles)
    called = {row["rna_id"]: names_of(row) for row in rnas.to_dict("records")}
    old = {rna_id: rows for rna_id, rows in earlier.groupby("rna_id", sort=False)}
    kept = []
    for rna_id, ids in links.groupby("rna_id").article_id:
        before = old.get(rna_id)
        if before is None or not _stands(set(before.article_id), set(ids), min_articles):
            continue
        rows = before[before.article_id.isin(ids)]
        new = sorted(set(ids) - set(rows.article_id))
        kept.append(rows)
        if new:
            kept.append(_placed(rna_id, rows, new, texts, called.get(rna_id, [])))
    return pd.concat([earlier[:0], *kept], ignore_index=True)


def _stands(before: set[str], now: set[str], min_articles: int) -> bool:
    remain, new = len(before & now), len(now - before)
    same_side = (len(before) >= min_articles) == (len(now) >= min_articles)
    return same_side and remain > 0 and (new <= MOST_GROWTH * remain or len(now) < min_articles)


def _placed(
    rna_id: str, rows: pd.DataFrame, new: list[str], texts: Texts, names: list[str]
) -> pd.DataFrame:
    """Rows of the new abstracts, each in the group that it is most like."""
    order = sorted(set(rows.topic))
    shares = np.ones((len(new), 1))
    if len(order) > 1:
        words = preprocess(["\n".join(texts[i]) for i in [*rows.article_id, *new]], names)
        shares = _shares(words, [order.index(topic) for topic in rows.topic])
    best = shares.argmax(axis=1)
    return pd.DataFrame({
        "rna_id": rna_id,
        "article_id": new,
        "topic": [order[i] for i in best],
        "weight": shares[np.arange(len(new)), best],
    })  # fmt: skip


def _shares(words: list[list[str]], group: list[int]) -> np.ndarray:
    """Likeness of the last texts to each group of the first ones, (texts, groups); rows sum to 1."""
    vectors = TfidfVectorizer(analyzer=list, sublinear_tf=True).fit_transform(words).toarray()
    old, new = vectors[: len(group)], vectors[len(group) :]
    centres = np.stack([old[np.equal(group, g)].mean(axis=0) for g in range(max(group) + 1)])
    likeness = new @ normalize(centres).T + 1e-9  # a text with no known word is like none
    return likeness / likeness.sum(axis=1, keepdims=True)
