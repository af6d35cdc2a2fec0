"""Annotations out of abstracts: divide and conquer, single pass, or given texts.

``dnc`` (paper, section 3.2) summarises each topic group on its own and merges the summaries;
``single_pass`` summarises all abstracts at once under the same word budget; ``given`` takes a
user's own texts. The provider ``offline`` is extractive: it chooses sentences about the RNA that
state facts, are on topic and add something. The provider ``openai`` asks a chat model.
Every sentence carries the ids of the articles it rests on, and speaks of "this RNA".
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from tqdm.auto import tqdm

from rnagpt_lib import prompts, tables
from rnagpt_lib.errors import InputError
from rnagpt_lib.llm import Chat
from rnagpt_lib.names import mask_names, names_of
from rnagpt_lib.paths import shown
from rnagpt_lib.sentences import Sentence, about, capital, split_sentences

STAGE = "02_summarize"
SAME = 0.8  # share of a claim's content words, by weight, that a sentence must hold to say it
NEW = 0.4  # share of a sentence's content words, by weight, that must be new
UNSEEN = 6.0  # weight of a word that is in none of the abstracts
SHORTEST_SHARE = 20  # words that a topic group needs to be worth a summary
MIN_WORTH = 0.4  # below it a sentence is method, list or guess, and is not used
_NEGATIONS = frozenset("not no never without nothing neither nor unknown".split())
_GLUE = (ENGLISH_STOP_WORDS | {"rna"}) - _NEGATIONS


@dataclass(frozen=True)
class Line:
    """A sentence of an annotation with the articles it rests on."""

    text: str
    article_ids: tuple[str, ...]


@dataclass(frozen=True)
class Abstract:
    """One abstract in its topic group."""

    article_id: str
    title: str
    text: str
    topic: int


@dataclass(frozen=True)
class Subject:
    """An RNA with all that is known about it here."""

    rna_id: str
    names: tuple[str, ...]
    abstracts: tuple[Abstract, ...]


def summarize(
    rnas: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    topics: pd.DataFrame,
    params: Any,
    *,
    log: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(annotations, dropped): ``dnc`` and ``single_pass``, and ``given`` where a file is named.

    For every source an RNA has rows in ``annotations`` or one in ``dropped``. ``log`` keeps the
    replies of the provider ``openai``. Raises InputError for a bad file or a failing provider.
    """
    chat = Chat(params.model, params.base_url, log) if params.provider == "openai" else None
    weights, others = word_weights(articles), known_names(rnas)
    rows, dropped = [], []
    everyone = subjects(rnas, articles, links, topics)
    for subject in tqdm(everyone, desc="summaries", unit="RNA", leave=False):
        pool = [] if chat else sentences_of(subject, others)
        for source in ("dnc", "single_pass"):
            if chat:
                lines = asked(subject, source, params.words, chat)
            else:
                lines = extracted(pool, source, params.words, weights)
            rows += _rows(subject.rna_id, source, lines)
            if not lines:
                reason = f"no usable sentence in its {len(subject.abstracts)} abstracts"
                reason = reason if subject.abstracts else "no abstract is linked to it"
                dropped.append(_drop(subject.rna_id, f"{source}: {reason}"))
    if params.given:
        texts, lost = given(Path(params.given), rnas)
        rows, dropped = rows + texts, dropped + lost
    return tables.frame("annotations", rows), tables.frame("dropped", dropped)


def subjects(
    rnas: pd.DataFrame, articles: pd.DataFrame, links: pd.DataFrame, topics: pd.DataFrame
) -> list[Subject]:
    """The RNAs with their abstracts; links without a topic row are in group 0."""
    known = {row["article_id"]: row for row in articles.to_dict("records")}
    topic = {(row.rna_id, row.article_id): int(row.topic) for row in topics.itertuples()}
    linked = defaultdict(list)
    for rna_id, article_id in zip(links.rna_id, links.article_id, strict=True):
        row = known[article_id]
        linked[rna_id].append(
            Abstract(article_id, row["title"], row["abstract"], topic.get((rna_id, article_id), 0))
        )
    return [
        Subject(row["rna_id"], tuple(names_of(row)), tuple(linked[row["rna_id"]]))
        for row in rnas.to_dict("records")
    ]


def known_names(rnas: pd.DataFrame) -> frozenset[str]:
    """The names of all RNAs of the table, lower case."""
    return frozenset(name.lower() for row in rnas.to_dict("records") for name in names_of(row))


def word_weights(articles: pd.DataFrame) -> dict[str, float]:
    """Inverse document frequency of each content word; a rare word says more."""
    texts = [content_words(text) for text in articles.title + ". " + articles.abstract]
    counts = Counter(word for words in texts for word in words)
    return {word: math.log((1 + len(texts)) / n) for word, n in counts.items()}


@lru_cache(maxsize=1 << 16)
def content_words(text: str) -> frozenset[str]:
    """What a sentence is made of: its words, lower case, without the glue but with negations.

    >>> sorted(content_words("This RNA does not bind to AGO2."))
    ['ago2', 'bind', 'not']
    """
    return frozenset(re.findall(r"[a-z0-9][\w'-]*", text.lower())) - _GLUE


# The extractive provider.


def sentences_of(subject: Subject, others: frozenset[str] = frozenset()) -> list[Sentence]:
    """All sentences of an RNA's abstracts that are about it; ``others``: names of other RNAs."""
    others, names = others - {name.lower() for name in subject.names}, list(subject.names)
    return [
        sentence
        for a in subject.abstracts
        for sentence in about(a.article_id, a.title, a.text, names, others, a.topic)
    ]


def extracted(
    pool: Sequence[Sentence], source: str, budget: int, weights: Mapping[str, float]
) -> list[Line]:
    """The annotation of one RNA out of the sentences about it, at most ``budget`` words."""
    good = [s for s in pool if s.worth >= MIN_WORTH]
    groups = defaultdict(list)
    for sentence in good:
        groups[sentence.topic if source == "dnc" else 0].append(sentence)
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
    """The word budget split over the topic groups, the largest first.

    By the square root of their sentences, so that small topics get more than their part; groups
    beyond what the budget can serve with ``SHORTEST_SHARE`` words each get nothing.
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

    What a sentence adds is the weight of its words that no sentence so far has said (``before``
    included), times its worth; words that many sentences of the pool use are the topic and count
    more. A sentence that is ``1 - NEW`` old is left out.
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
    """The chosen sentences, near-equal ones once, each with all articles of ``pool`` that say it."""
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
    if (have & _NEGATIONS) != (asked_for & _NEGATIONS):
        return False
    total = sum(weights.get(word, UNSEEN) for word in asked_for)
    return sum(weights.get(word, UNSEEN) for word in asked_for & have) >= SAME * total


# A chat model as the provider.


def asked(subject: Subject, source: str, budget: int, chat: Chat) -> list[Line]:
    """The annotation of one RNA by a chat model: a summary per topic group, then one merged."""
    groups = defaultdict(list)
    for abstract in subject.abstracts:
        groups[abstract.topic if source == "dnc" else 0].append(abstract)
    parts = []
    for topic in sorted(groups):
        words = max(SHORTEST_SHARE, budget // len(groups))
        texts = [(a.article_id, f"{a.title}. {a.text}") for a in groups[topic]]
        reply = chat.complete(prompts.summary(subject.names, texts, words))
        parts.append(cited(reply, {a.article_id for a in groups[topic]}, subject.names))
    if len(parts) == 1:
        return parts[0]
    allowed = {article_id for part in parts for line in part for article_id in line.article_ids}
    if not allowed:
        return []
    reply = chat.complete(
        prompts.merge([[(x.text, x.article_ids) for x in p] for p in parts], budget)
    )
    return cited(reply, allowed, subject.names)


def cited(reply: str, allowed: set[str], names: Iterable[str]) -> list[Line]:
    """The sentences of a reply with the known ids of their closing brackets; others are left out.

    >>> cited("miR-21 targets PTEN [1, 9]. It is odd.", {"1"}, ["miR-21"])
    [Line(text='This RNA targets PTEN.', article_ids=('1',))]
    """
    lines = []
    plain = re.sub(r"(?m)^\s*[-*•]\s+", "", reply)
    for text, ids in re.findall(r"([^\[\]]+?)\s*\[([^\[\]]*)\]\.?", plain):
        known = tuple(i for i in dict.fromkeys(re.split(r"[\s,;]+", ids)) if i in allowed)
        sentences = split_sentences(text)
        if known and sentences:
            lines.append(Line(capital(mask_names(sentences[-1].rstrip(".") + ".", names)), known))
    return lines


# Texts of the user.


def given(path: Path, rnas: pd.DataFrame) -> tuple[list[dict], list[dict]]:
    """Rows of annotations and of dropped from a JSONL file of rna_id, text[, article_ids].

    Raises InputError for a missing file or a line that is no such object.
    """
    names = {row["rna_id"]: names_of(row) for row in rnas.to_dict("records")}
    lines, dropped = defaultdict(list), []
    for number, entry in _entries(path):
        rna_id = entry["rna_id"]
        if rna_id not in names:
            dropped.append(_drop(rna_id, f"given: line {number}: not among the run's RNAs"))
            continue
        ids = tuple(map(str, entry.get("article_ids") or ()))
        for sentence in split_sentences(entry["text"]):
            lines[rna_id].append(Line(capital(mask_names(sentence, names[rna_id])), ids))
    dropped += [_drop(rna_id, "given: no text") for rna_id in names if not lines.get(rna_id)]
    return [row for rna_id in names for row in _rows(rna_id, "given", lines[rna_id])], dropped


def _entries(path: Path) -> Iterable[tuple[int, dict]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{shown(path)} (given) is missing or is no UTF-8 text") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            good = isinstance(entry["rna_id"], str) and isinstance(entry["text"], str)
            good = good and isinstance(entry.get("article_ids") or [], list)
        except (json.JSONDecodeError, TypeError, KeyError):
            good = False
        if not good:
            raise InputError(
                f"{shown(path)}, line {number}: not a JSON object with rna_id and text "
                "(strings) and, if at all, article_ids (a list)"
            )
        yield number, entry


def _rows(rna_id: str, source: str, lines: Sequence[Line]) -> list[dict]:
    return [
        {"rna_id": rna_id, "source": source, "sentence_no": number, "text": line.text,
         "article_ids": list(line.article_ids)}
        for number, line in enumerate(lines)
    ]  # fmt: skip


def _drop(record: str, reason: str) -> dict:
    return {"stage": STAGE, "record": record, "reason": reason}
