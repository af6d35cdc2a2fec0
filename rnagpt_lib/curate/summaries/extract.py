"""Extractive summaries, without a model: sentences about an RNA that state facts and add something.

Each topic group gets a part of the word budget; a greedy choice takes the sentence that says most
that is new; near-equal sentences become one.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import pandas as pd

from rnagpt_lib.curate.text.names import names_of
from rnagpt_lib.curate.text.sentences import STOP_WORDS, Sentence, about

SAME = 0.8  # share of a claim's content words, by weight, that a sentence must hold to say it
NEW = 0.5  # share of a sentence's content words, by weight, that must be new
UNSEEN = 6.0  # weight of a word that is in none of the abstracts
SHORTEST_SHARE = 20  # words that a topic group needs to be worth a summary
MIN_WORTH = 0.4  # below it a sentence is method, list or guess, and is not used
LAST_RESORT = 0.15  # what the one sentence must be worth that serves for want of better
NEGATIONS = frozenset("not no never without nothing neither nor unknown".split())
_GLUE = (STOP_WORDS | {"do", "does", "did"}) - NEGATIONS


class Line(NamedTuple):
    """A sentence of an annotation with the articles it rests on."""

    text: str
    article_ids: tuple[str, ...]


class Abstract(NamedTuple):
    """One abstract in its topic group."""

    article_id: str
    title: str
    text: str
    topic: int
    year: int = 0


class Subject(NamedTuple):
    """An RNA with all that is known about it here."""

    rna_id: str
    names: tuple[str, ...]
    abstracts: tuple[Abstract, ...]


def known_names(rnas: pd.DataFrame) -> frozenset[str]:
    """The names of all RNAs of the table, lower case."""
    return frozenset(name.lower() for row in rnas.to_dict("records") for name in names_of(row))


def word_weights(articles: pd.DataFrame) -> dict[str, float]:
    """Inverse document frequency of each content word; a rare word says more."""
    texts = [content_words(text) for text in articles.title + "\n" + articles.abstract]
    counts = Counter(word for words in texts for word in words)
    return {word: math.log((1 + len(texts)) / n) for word, n in counts.items()}


@lru_cache(maxsize=1 << 16)
def content_words(text: str) -> frozenset[str]:
    """What a sentence is made of: its words, lower case, without the glue but with negations.

    >>> sorted(content_words("This RNA does not bind to AGO2."))
    ['ago2', 'bind', 'not']
    """
    return frozenset(re.findall(r"[a-z0-9][\w'-]*", text.lower())) - _GLUE


def sentences_of(subject: Subject, others: frozenset[str] = frozenset()) -> list[Sentence]:
    """All sentences of an RNA's abstracts that are about it; ``others``: names of other RNAs."""
    others, names = others - {name.lower() for name in subject.names}, list(subject.names)
    return [
        sentence
        for a in subject.abstracts
        for sentence in about(a.article_id, a.title, a.text, names, others, a.topic)
    ]


def extract_summary(
    pool: Sequence[Sentence], budget: int, weights: Mapping[str, float]
) -> list[Line]:
    """The annotation of one RNA out of the sentences about it, at most ``budget`` words."""
    good = [s for s in pool if s.worth >= MIN_WORTH]
    good = good or [s for s in sorted(pool, key=lambda s: -s.worth)[:1] if s.worth >= LAST_RESORT]
    groups = defaultdict(list)
    for sentence in good:
        groups[sentence.topic].append(sentence)
    chosen: list[Sentence] = []
    allowed = 0
    for topic, words in shares(groups, budget).items():
        allowed += words
        chosen += select(groups[topic], allowed - length(chosen), weights, chosen)
    chosen += select(good, budget - length(chosen), weights, chosen)
    return merge(chosen, pool, weights)


def length(sentences: Iterable[Sentence | Line]) -> int:
    """Words in all."""
    return sum(len(sentence.text.split()) for sentence in sentences)


def shares(groups: Mapping[int, Sequence[Sentence]], budget: int) -> dict[int, int]:
    """The word budget over the topic groups, the largest first, by the root of their sentences.

    Small topics get more than their part; those beyond ``SHORTEST_SHARE`` words each get nothing.
    """
    order = sorted(groups, key=lambda topic: (-len(groups[topic]), topic))
    order = order[: max(1, budget // SHORTEST_SHARE)]
    roots = {topic: math.sqrt(len(groups[topic])) for topic in order}
    return {topic: int(budget * root / sum(roots.values())) for topic, root in roots.items()}


def select(
    pool: Sequence[Sentence],
    budget: int,
    weights: Mapping[str, float],
    before: Sequence[Sentence] = (),
) -> list[Sentence]:
    """Greedy choice: each step takes the sentence that adds most per word, until none fits.

    It adds the weight of its words that nothing so far (``before`` included) has said, times its
    worth; words that many of the pool use are the topic and count more. ``1 - NEW`` old is too old.
    """
    words = [content_words(sentence.text) for sentence in pool]
    common = Counter(word for each in words for word in each)
    weight = {w: weights.get(w, UNSEEN) * math.sqrt(n) for w, n in common.items()}
    said = set().union(*(content_words(sentence.text) for sentence in before))
    open_, chosen = set(range(len(pool))), []
    while open_:
        gains = {}
        for i in open_:
            new = sum(weight[w] for w in words[i] - said)
            size = len(pool[i].text.split())
            if size <= budget and new and new >= NEW * sum(weight[w] for w in words[i]):
                gains[i] = pool[i].worth ** 2 * new / (size + 5)
        if not gains:
            break
        best = max(sorted(gains), key=gains.get)
        chosen.append(pool[best])
        said |= words[best]
        budget -= len(pool[best].text.split())
        open_ = set(gains) - {best}
    return chosen


def merge(
    chosen: Sequence[Sentence], pool: Sequence[Sentence], weights: Mapping[str, float]
) -> list[Line]:
    """The chosen sentences, near-equal ones once, each with all articles that say it."""
    lines: list[Line] = []
    for sentence in chosen:
        if not any(
            says(line.text, sentence.text, weights) and says(sentence.text, line.text, weights)
            for line in lines
        ):
            ids = [s.article_id for s in pool if says(s.text, sentence.text, weights)]
            lines.append(Line(sentence.text, tuple(dict.fromkeys([sentence.article_id, *ids]))))
    return lines


def says(text: str, claim: str, weights: Mapping[str, float]) -> bool:
    """Whether a sentence holds nearly all content words of a claim, by weight, and as many "not".

    >>> says("This RNA targets TP53 in liver.", "This RNA targets TP53.", {})
    True
    """
    have, asked_for = content_words(text), content_words(claim)
    if (have & NEGATIONS) != (asked_for & NEGATIONS):
        return False
    total = sum(weights.get(word, UNSEEN) for word in asked_for)
    return sum(weights.get(word, UNSEEN) for word in asked_for & have) >= SAME * total
