"""Closed questions by rule: what is said, what is denied, and a "No" about another RNA's entity.

A made-up "No" must be true. So the entity is one that neither the RNA's annotation nor any of its
abstracts names: what an abstract names may be true though no sentence of the annotation says so.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import pandas as pd

from rnagpt_lib.core.tables import Texts
from rnagpt_lib.curate.questions.facts import Fact
from rnagpt_lib.curate.questions.question_templates import CATEGORICAL, RELATIONS

_WORD = re.compile(r"[^\W_]+")
_PLURAL = re.compile(r"(?<=\w\w\w)(?:ies|s)$")


class Closable(NamedTuple):
    """A fact of an RNA, true or denied, that a closed question can ask for."""

    rna_id: str
    fact: Fact
    article_ids: list[str]


class Closed(NamedTuple):
    """A closed question's RNA, relation, entity and truth, and the articles behind it."""

    rna_id: str
    relation: str
    entity: str
    true: bool
    article_ids: list[str]


class Mentions:
    """Which of some entities each RNA's abstracts name: whole words, in any case and number."""

    def __init__(self, articles: pd.DataFrame, links: pd.DataFrame, entities: Iterable[str]):
        self._known = {_words(entity) for entity in entities}
        self._lengths: dict[str, set[int]] = defaultdict(set)
        for words in self._known:
            self._lengths[words[0] if words else ""].add(len(words))
        self._texts = Texts(articles)
        self._linked: dict[str, list[str]] = defaultdict(list)
        for rna_id, article_id in zip(links["rna_id"], links["article_id"], strict=True):
            self._linked[rna_id].append(article_id)
        self._of_article: dict[str, frozenset] = {}
        self._of_rna: dict[str, frozenset] = {}

    def names(self, rna_id: str, entity: str) -> bool:
        """Whether an abstract of the RNA names the entity, one of those given at the start.

        >>> texts = pd.DataFrame({"article_id": ["A1"], "title": [""], "abstract": ["In gliomas."]})
        >>> linked = pd.DataFrame({"rna_id": ["R1"], "article_id": ["A1"]})
        >>> Mentions(texts, linked, ["Glioma"]).names("R1", "Glioma")
        True
        """
        if rna_id not in self._of_rna:
            read = (self._named(article_id) for article_id in self._linked.get(rna_id, ()))
            self._of_rna[rna_id] = frozenset().union(*read)
        return _words(entity) in self._of_rna[rna_id]

    def _named(self, article_id: str) -> frozenset:
        if article_id not in self._of_article:
            words = _words("\n".join(self._texts[article_id]))
            self._of_article[article_id] = frozenset(
                words[start : start + length]
                for start, word in enumerate(words)
                for length in self._lengths.get(word, ())
                if words[start : start + length] in self._known
            )
        return self._of_article[article_id]


def _words(text: str) -> tuple[str, ...]:
    """Words without case and plural; "NF-kB" is the two words on both sides of its hyphen.

    >>> _words("Acute-lung injuries")
    ('acute', 'lung', 'injury')
    """
    return tuple(map(_singular, _WORD.findall(text.casefold())))


@lru_cache(maxsize=1 << 18)
def _singular(word: str) -> str:
    return _PLURAL.sub(lambda end: "y" if end[0] == "ies" else "", word)


def closed(
    closable: Sequence[Closable], words: Mapping[str, str], mentions: Mentions
) -> list[Closed]:
    """Closed questions, half of each relation's answers "No" (denials in the text count as such).

    ``words``: the text of each RNA's annotation, folded.
    """
    made = []
    for relation in RELATIONS:
        mine = [item for item in closable if item.fact.relation == relation]
        if len({item.fact.entity for item in mine}) > 1:  # else "Yes" would always be right
            made += _balanced(relation, mine, words, mentions)
    return made


def _balanced(
    relation: str, mine: list[Closable], words: Mapping[str, str], mentions: Mentions
) -> list[Closed]:
    denied = [item for item in mine if not item.fact.true]
    true = sorted((item for item in mine if item.fact.true), key=_order)
    wanted = max(0, len(mine) // 2 - len(denied))  # "No" still to be made
    own: dict[str, set[str]] = defaultdict(set)
    for rna_id, fact, _ in mine:
        own[rna_id].add(fact.entity.casefold())
    pool = [item.fact.entity for item in true]
    made = []
    for rna_id, fact, ids in denied + true:
        other = None
        if fact.true and wanted:
            named = None if relation in CATEGORICAL else mentions  # a type in a text is no claim
            other = _foreign(rna_id, pool, own[rna_id], words.get(rna_id, ""), named)
        if other:
            wanted -= 1
            own[rna_id].add(other.casefold())
            made.append(Closed(rna_id, relation, other, False, []))
        else:
            made.append(Closed(rna_id, relation, fact.entity, fact.true, ids))
    return made


def _foreign(
    rna_id: str, pool: list[str], own: set[str], text: str, mentions: Mentions | None
) -> str | None:
    """Another RNA's entity that is not true here, nor named, nor a part of one that is."""
    start, tried = number(rna_id, "negative", *pool[:1]), set()
    for step in range(len(pool)):
        entity = pool[(start + step) % len(pool)]
        low = entity.casefold()
        if low in tried:
            continue
        tried.add(low)
        if low in text or any(low in known or known in low for known in own):
            continue
        if mentions is None or not mentions.names(rna_id, entity):
            return entity
    return None


def _order(item: Closable) -> str:
    return digest(item.rna_id, item.fact.relation, item.fact.entity)


def digest(*parts: str) -> str:
    """The SHA-256 of the parts, joined by tabs, in hex."""
    return hashlib.sha256("\t".join(parts).encode()).hexdigest()


def number(*parts: str) -> int:
    """A number that depends on the texts alone; chooses wordings and negative entities."""
    return int(digest(*parts)[:8], 16)
