"""Annotations out of abstracts: divide and conquer, single pass, or given texts.

``dnc`` (paper, section 3.2) summarises each topic group on its own and merges the summaries;
``single_pass`` summarises all abstracts at once under the same word budget; ``given`` takes a
user's own texts. The provider ``offline`` is extractive, the provider ``openai`` a chat model.
Every sentence carries the ids of the articles it rests on, and speaks of "this RNA".
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from rnagpt_lib import prompts, tables
from rnagpt_lib.errors import InputError
from rnagpt_lib.extractive import (
    SHORTEST_SHARE,
    Abstract,
    Line,
    Subject,
    extracted,
    known_names,
    sentences_of,
    word_weights,
)
from rnagpt_lib.llm import Chat
from rnagpt_lib.names import mask_names, names_of
from rnagpt_lib.paths import from_root, shown
from rnagpt_lib.sentences import capital, split_sentences

STAGE = "02_summarize"


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
        texts, lost = given(from_root(params.given), rnas)
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


def compare(
    annotations: pd.DataFrame, links: pd.DataFrame, truth: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The sources side by side, one row each: size, share of the linked articles that is cited.

    With ``truth`` (rna_id, entity) also the share of its named entities that the annotation of
    their RNA holds, and how many of them it holds in 100 words.
    """
    rows = {}
    for source, lines in annotations.groupby("source"):
        words = int(lines["text"].str.split().str.len().sum())
        cited_ids = lines[["rna_id", "article_ids"]].explode("article_ids").dropna()
        near = links["rna_id"].isin(lines["rna_id"]).sum()
        rows[source] = {
            "RNAs": lines["rna_id"].nunique(),
            "sentences per RNA": len(lines) / lines["rna_id"].nunique(),
            "words per RNA": words / lines["rna_id"].nunique(),
            "articles cited": len(cited_ids.drop_duplicates()) / max(near, 1),
        }
        if truth is not None:
            kept = _facts_kept(lines, truth)
            rows[source] |= {
                "facts kept": kept.mean(),
                "facts per 100 words": 100 * kept.sum() / words,
            }
    return pd.DataFrame.from_dict(rows, orient="index").astype(float).round(3)


def _facts_kept(lines: pd.DataFrame, truth: pd.DataFrame) -> pd.Series:
    """For each named entity of the annotated RNAs, whether their annotation holds it."""
    texts = lines.groupby("rna_id")["text"].agg(" ".join).str.lower()
    named = truth[~truth["entity"].isin(["unknown", "none"]) & truth["rna_id"].isin(texts.index)]
    pairs = zip(named["rna_id"], named["entity"].str.lower(), strict=True)
    held = [bool(re.search(rf"\b{re.escape(entity)}\b", texts[rna_id])) for rna_id, entity in pairs]
    return pd.Series(held, dtype=bool)


# A chat model as the provider.


def asked(subject: Subject, source: str, budget: int, chat: Chat) -> list[Line]:
    """The annotation of one RNA by a chat model: a summary per topic group, then one merged."""
    groups = defaultdict(list)
    for abstract in subject.abstracts:
        groups[abstract.topic if source == "dnc" else 0].append(abstract)
    parts = []
    for topic in sorted(groups):
        words = max(SHORTEST_SHARE, budget // len(groups))
        texts = [(a.article_id, f"{a.title}\n{a.text}") for a in groups[topic]]
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
    for number, line in enumerate(text.split("\n"), 1):
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
