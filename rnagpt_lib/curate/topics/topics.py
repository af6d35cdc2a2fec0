"""Topics of the abstracts of each RNA (paper, section 3.2): by LDA, or kept from an earlier run.

LDA finds as many topics as it is asked for, real or not; so more than one is accepted only where
several seeds agree on who belongs with whom (``stable``: their mean adjusted Rand index).
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from gensim.corpora import Dictionary
from gensim.models import LdaModel
from gensim.models.coherencemodel import CoherenceModel
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize

from rnagpt_lib.core.params import Topics
from rnagpt_lib.core.tables import Texts
from rnagpt_lib.curate.text.names import FIELDS, mask_names, names_of
from rnagpt_lib.curate.text.sentences import STOP_WORDS
from rnagpt_lib.curate.workers import mapped
from rnagpt_lib.runs.resume_store import Store

# It warns of few passes at every fit; they are a parameter here.
logging.getLogger("gensim").setLevel(logging.ERROR)

MATTERS = {"max_topics", "passes", "stability_seeds", "stable"}  # for what an RNA's topics are
ABSTRACTS_PER_TOPIC = 1.5  # on average at least: limits the number of topics that is tried
MOST_GROWTH = 0.25  # new abstracts to old ones; beyond it the groups are found anew
_TOKEN = re.compile(r"[A-Za-z][\w-]*")


def preprocess(texts: Sequence[str], names: Sequence[str] = ()) -> list[list[str]]:
    """Texts as lists of lower-case content words; ``names`` (of the RNA) are left out.

    Words with a digit (numbers, gene variants, names of other RNAs) and words of fewer than
    three letters are left out too.

    >>> preprocess(["MiR-21 controls the growth of 12 gliomas."], ["mir-21"])
    [['controls', 'growth', 'gliomas']]
    """
    masked = (mask_names(text, names, by=" ") for text in texts)
    words = ((word.strip("-_").lower() for word in _TOKEN.findall(text)) for text in masked)
    return [
        [w for w in some if len(w) > 2 and w not in STOP_WORDS and not any(map(str.isdigit, w))]
        for some in words
    ]


class Task(NamedTuple):
    """The abstracts that one or several RNAs share; what a worker of the pool gets."""

    texts: tuple[str, ...]
    names: tuple[str, ...]
    max_topics: int
    passes: int
    stability_seeds: int
    stable: float
    seed: int


def find(
    rnas: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    params: Topics,
    seed: int,
    store: Store | None = None,
    earlier: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Topics table [rna_id, article_id, topic, weight]: one row per link, ``topic`` from 0 on.

    Topic 0 is the largest; ``weight`` (0 to 1) is the topic's share of the abstract. RNAs with
    under ``params.min_articles`` abstracts skip LDA. RNAs with equal sets of articles are
    computed once. The table does not depend on the number of workers. ``store`` keeps each set's
    topics as they come, so that a call that was killed goes on. Of ``earlier``, such a table, the
    groups stay where they still stand (`carry_over`).
    """
    if earlier is not None:
        kept = carry_over(earlier, rnas, articles, links, params.min_articles)
        rest = links[~links.rna_id.isin(kept.rna_id)]
        stand, anew = kept.rna_id.nunique(), rest.rna_id.nunique()
        print(f"{stand:,} RNAs keep the groups of the earlier run, {anew:,} are grouped anew")
        found = find(rnas, articles, rest, params, seed, store)
        return pd.concat([kept, found], ignore_index=True)
    links = links[["rna_id", "article_id"]].sort_values(["rna_id", "article_id"], ignore_index=True)
    # Articles are known by number here: millions of ids as Python's texts are gigabytes.
    numbers, article_ids = pd.factorize(links.article_id)
    starts = np.flatnonzero(links.rna_id != links.rna_id.shift())
    places: dict[bytes, list[slice]] = defaultdict(list)  # a set of articles → its RNAs' links
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(links)], strict=False):
        if end - start >= params.min_articles:
            places[numbers[start:end].tobytes()].append(slice(start, end))
    queue = sorted(places, key=len, reverse=True)  # the longest first: no worker ends late
    settings = params.model_dump(mode="json", include=MATTERS) | {"seed": seed}
    texts = Texts(articles)
    # as objects: a table's own columns of texts take milliseconds to give one
    fields = {name: rnas[name].to_numpy(object) for name in FIELDS if name in rnas}
    row_of = pd.Index(rnas["rna_id"]).get_indexer(links["rna_id"])
    article_ids = article_ids.to_numpy(object)

    def task(key: bytes) -> Task:
        ids = article_ids[np.frombuffer(key, numbers.dtype)]
        same = (row_of[place.start] for place in places[key])
        rows = ({n: of[row] for n, of in fields.items()} for row in same if row >= 0)
        names = dict.fromkeys(name for row in rows for name in names_of(row))
        return Task(tuple("\n".join(texts[i]) for i in ids), tuple(names), **settings)

    def groups(missing: Iterable[tuple[bytes, dict]]) -> Iterator[list]:
        tasks = (task(key) for key, _ in missing)
        return mapped(group, tasks, params.workers, "LDA per RNA", len(queue))

    wanted = ((key, settings) for key in queue)
    done = store.results(wanted, groups) if store else groups(wanted)
    topic, weight = np.zeros(len(links), int), np.ones(len(links))
    for key, found in zip(queue, done, strict=True):
        for place in places[key]:
            topic[place], weight[place] = zip(*found, strict=True)
    return links.assign(topic=topic, weight=weight)


def group(task: Task) -> list[tuple[int, float]]:
    """(topic, weight) of each abstract of one RNA: the most coherent of the stable numbers.

    One topic where no larger number is stable over the seeds. Topics are numbered by size.
    """
    tokens = preprocess(task.texts, task.names)
    dictionary, counts = bag_of_words(tokens)
    largest = min(task.max_topics, int(len(tokens) / ABSTRACTS_PER_TOPIC)) if dictionary else 1
    best, best_coherence = None, -np.inf
    for k in range(2, largest + 1):
        fit = stable_fit(task, counts, dictionary, k)
        coherence = u_mass(fit[0], counts, dictionary) if fit else -np.inf
        if coherence > best_coherence:
            best, best_coherence = fit[1], coherence
    if best is None:
        return [(0, 1.0)] * len(tokens)
    chosen = best.argmax(1)
    sizes = pd.Series(chosen).value_counts(sort=False).sort_index()
    order = sizes.sort_values(ascending=False, kind="stable").index
    rank = {topic: number for number, topic in enumerate(order)}
    return [(rank[t], float(best[i, t])) for i, t in enumerate(chosen)]


def stable_fit(
    task: Task, counts: list, dictionary: Dictionary, k: int
) -> tuple[LdaModel, np.ndarray] | None:
    """Of the fits with ``stability_seeds`` seeds the one most like the others, with its shares.

    None when they agree less than ``stable``, or when all abstracts end in one topic.
    """
    fits, chosen = [], []
    for number in range(task.stability_seeds):
        model = lda(counts, dictionary, k, task.passes, task.seed + number)
        fits.append((model, topic_shares(model, counts)))
        chosen.append(fits[-1][1].argmax(1))
        if number == 1 and stability(chosen)[0] < task.stable / 2:
            return None  # two that hardly agree: further seeds would only cost time
    agree, middle = stability(chosen)
    return fits[middle] if agree >= task.stable and len(set(chosen[middle])) > 1 else None


def bag_of_words(tokens: list[list[str]], most: float = 0.7) -> tuple[Dictionary, list]:
    """Dictionary and word counts per text; words of one text only or of nearly all are left out."""
    dictionary = Dictionary(tokens)
    dictionary.filter_extremes(no_below=2, no_above=most)
    return dictionary, [dictionary.doc2bow(text) for text in tokens]


def lda(counts: list, dictionary: Dictionary, k: int, passes: int, seed: int) -> LdaModel:
    """LDA with ``k`` topics on one thread: the same for the same seed.

    Priors are sparse (few topics in a text), since an abstract is about one or two things.
    """
    settings = {"iterations": 15, "gamma_threshold": 0.01, "chunksize": 64, "eval_every": None}
    settings |= {"alpha": [0.1] * k, "eta": 0.3, "passes": passes, "dtype": np.float64}
    return LdaModel(counts, num_topics=k, id2word=dictionary, random_state=seed, **settings)


def topic_shares(model: LdaModel, counts: list) -> np.ndarray:
    """Share of each topic in each text, shape (texts, K); rows sum to 1."""
    gamma, _ = model.inference(counts)
    return gamma / gamma.sum(axis=1, keepdims=True)


def stability(assignments: Sequence[np.ndarray]) -> tuple[float, int]:
    """Mean pairwise adjusted Rand index, and which assignment agrees best with the others.

    >>> stability([[0, 0, 1], [1, 1, 0], [0, 0, 1]])
    (1.0, 0)
    """
    n = len(assignments)
    table = np.eye(n)
    for i, j in combinations(range(n), 2):
        table[i, j] = table[j, i] = adjusted_rand_score(assignments[i], assignments[j])
    return float((table.sum() - n) / (n * (n - 1))), int(table.sum(1).argmax())


def u_mass(model: LdaModel, counts: list, dictionary: Dictionary) -> float:
    """Mean u_mass coherence of the topics' ten top words (0 at best)."""
    texts = {"corpus": counts, "dictionary": dictionary, "processes": 1}
    return float(CoherenceModel(model, coherence="u_mass", topn=10, **texts).get_coherence())


def agreement(table: pd.DataFrame, truth: pd.DataFrame, edges: Sequence[int]) -> pd.DataFrame:
    """How well topics meet planted ones, by the RNA's number of abstracts.

    ``table`` and ``truth`` have rna_id, article_id, topic; ``edges`` such as (0, 3, 7) make the
    classes 1-3 and 4-7. Columns: RNAs, mean adjusted Rand index, mean numbers of topics.
    """
    both = table.merge(truth, on=["rna_id", "article_id"], suffixes=("", "_planted"))
    of_rna = both.groupby("rna_id")
    rows = of_rna[["topic", "topic_planted"]].nunique().set_axis(["found", "planted"], axis=1)
    rows = rows.add_prefix("topics ")
    ari = [adjusted_rand_score(one["topic_planted"], one["topic"]) for _, one in of_rna]
    rows.insert(0, "adjusted Rand index", ari)
    labels = [f"{low + 1}-{high}" for low, high in pairwise(edges)]
    size = pd.cut(of_rna.size().rename("abstracts"), edges, labels=labels)
    classes = rows.groupby(size, observed=True)
    return classes.mean().round(3).assign(RNAs=classes.size())


# An earlier run's groups. Fitted again, LDA would deal the old abstracts anew, and every summary
# of the RNA would be paid for once more.


def carry_over(
    earlier: pd.DataFrame,
    rnas: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    min_articles: int,
) -> pd.DataFrame:
    """Rows of ``topics`` for the RNAs whose ``earlier`` topics (same columns) still stand.

    That is where at most `MOST_GROWTH` of abstracts came in, and where the RNA was not, or
    already was, large enough for LDA (``min_articles``). Abstracts that are linked no more are
    left out. A new one joins the group that it is most like; its weight is its likeness (cosine
    of tf-idf) to that group among all groups.
    """
    texts = Texts(articles)
    names = {row["rna_id"]: names_of(row) for row in rnas.to_dict("records")}
    old = dict(list(earlier.groupby("rna_id", sort=False)))
    kept = [earlier[:0]]
    for rna_id, ids in links.groupby("rna_id").article_id:
        before = old.get(rna_id, earlier[:0])
        rows = before[before.article_id.isin(ids)]
        new = sorted(set(ids) - set(rows.article_id))
        was_large, is_large = (some.nunique() >= min_articles for some in (before.article_id, ids))
        grown = is_large and len(new) > MOST_GROWTH * rows.article_id.nunique()
        if len(rows) and was_large == is_large and not grown:
            shares = _likeness(rows, new, texts, names.get(rna_id, []))
            found = {"rna_id": rna_id, "article_id": new, "topic": shares.idxmax(axis=1)}
            kept += [rows, pd.DataFrame(found | {"weight": shares.max(axis=1)})][: 1 + bool(new)]
    return pd.concat(kept, ignore_index=True)


def _likeness(rows: pd.DataFrame, new: list[str], texts: Texts, names: list[str]) -> pd.DataFrame:
    """How like each new abstract is to each group of ``rows``, as shares: (new, topics)."""
    order = sorted(set(rows.topic))
    if len(order) < 2:
        return pd.DataFrame(1.0, range(len(new)), order)
    words = preprocess(["\n".join(texts[i]) for i in [*rows.article_id, *new]], names)
    vectors = TfidfVectorizer(analyzer=list, sublinear_tf=True).fit_transform(words).toarray()
    known = vectors[: len(rows)]
    centres = [known[(rows.topic == topic).to_numpy()].mean(axis=0) for topic in order]
    # a text with no known word is like none
    likeness = vectors[len(rows) :] @ normalize(np.stack(centres)).T + 1e-9
    return pd.DataFrame(likeness / likeness.sum(axis=1, keepdims=True), columns=order)
