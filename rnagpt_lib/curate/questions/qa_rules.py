"""Question and answer pairs: from an entry's fields, and from its annotation's facts.

Open pairs ask for the entity, closed ones name an entity, true or of another RNA. A made-up "No"
must be true, so its entity is one that neither the RNA's annotation nor any of its abstracts names:
what an abstract names may be true though no sentence of the annotation says so. The rules work on
any text; `qa_llm` has a chat model do the same.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import pandas as pd

from rnagpt_lib.core.params import Decompose
from rnagpt_lib.core.tables import Texts, frame
from rnagpt_lib.curate.questions import qa_llm
from rnagpt_lib.curate.questions.facts import Fact, facts_in, has_subject
from rnagpt_lib.curate.questions.question_templates import CATEGORICAL, NONE, RELATIONS, UNKNOWN
from rnagpt_lib.curate.summaries import divide_and_conquer, prompts
from rnagpt_lib.curate.text import names
from rnagpt_lib.runs.resume_store import Store
from rnagpt_lib.runs.stages import QA

MATTERS = {"model", "temperature", "min_pairs", "max_pairs"}  # for what a model's pairs are
RULES_VERSION = "rules-2"
MOST_ENTITIES = 3  # named in one open answer; the best supported ones
_WORD = re.compile(r"[^\W_]+")
_PLURAL = re.compile(r"(?<=\w\w\w)(?:ies|s)$")


class Claim(NamedTuple):
    """An RNA's relation to an entity, true or not, with the articles behind it."""

    rna_id: str
    relation: str
    entity: str
    true: bool
    article_ids: list[str]


class Decomposed(NamedTuple):
    """Tables ``pairs`` and ``dropped``, and a model's calls, tokens and micro-dollars by RNA."""

    pairs: pd.DataFrame
    dropped: pd.DataFrame
    usage: pd.DataFrame


def pairs(
    rnas: pd.DataFrame,
    annotations: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    params: Decompose,
    spool: Store | None = None,
) -> Decomposed:
    """All pairs of all RNAs, what was dropped, and what a model's answers took.

    The provider "offline" reads the annotations by rules, "openai" asks a model; questions about
    the entry's fields are made by rule in both. An RNA has at most ``max_pairs`` pairs: open
    categorical ones first, then open facts, closed facts and closed categorical ones. Closed
    answers are balanced: as many "No" as "Yes" for every relation, where other RNAs offer an
    entity that neither the RNA's own annotation nor (``no_by_abstracts``) any of its abstracts
    names. ``spool`` keeps what a model's answers became, as in `summarize`.
    """
    texts = annotations[annotations["source"] == params.source]
    literature, dropped = _read(texts) if params.provider == "offline" else ({}, [])
    made, claims, usage = [], [], []
    for rna in rnas.to_dict("records"):
        own, claimed = _of_rna(rna, params.source, literature.get(rna["rna_id"], {}))
        made += own
        claims += claimed
    if params.provider == "openai":
        own = texts[texts["rna_id"].isin(rnas["rna_id"])]
        more, lost, usage = _asked(qa_llm.Annotated(own, articles, links), params, spool)
        made, dropped = made + more, dropped + lost
    read = links if params.no_by_abstracts else links[:0]
    mentions = Mentions(articles, read, (claim.entity for claim in claims))
    words = texts.groupby("rna_id")["text"].agg(" ".join).str.casefold().to_dict()
    for claim in _closed(claims, words, mentions):
        relation = RELATIONS[claim.relation]
        said = {"kind": relation.kind, "question": relation.closed.format(claim.entity)}
        said |= {"form": "closed", "answer": relation.confirm(claim.entity, claim.true)}
        made.append(_pair(claim.rna_id, params.source, claim.article_ids, **said))
    made, named = _without_names(rnas, made)
    made, cut = _at_most(made, params.max_pairs)
    empty = set(rnas["rna_id"]) - {pair["rna_id"] for pair in made}
    bare = [_drop(rna_id, "no pair: no field and no fact") for rna_id in sorted(empty)]
    table = frame("pairs", made).sort_values(["rna_id", "pair_id"], ignore_index=True)
    lost = frame("dropped", dropped + named + cut + bare)
    return Decomposed(table, lost, pd.DataFrame(usage))


# What an annotation says


def _read(texts: pd.DataFrame) -> tuple[dict[str, dict[Fact, list[str]]], list[dict]]:
    """The facts of each annotated RNA that no other denies, and rows for what gave none or is
    contradictory."""
    literature, dropped = {}, []
    for rna_id, annotation in texts.groupby("rna_id"):
        evidence, silent = read_facts(annotation)
        dropped += [_drop(f"{rna_id} sentence {number}", reason) for number, reason in silent]
        said: dict[tuple[str, str], list[Fact]] = defaultdict(list)  # a fact and its denial
        for fact in evidence:
            said[fact.relation, fact.entity.casefold()].append(fact)
        for (relation, _), facts in said.items():
            if len(facts) > 1:
                dropped.append(
                    _drop(rna_id, f"contradictory: a {relation} is both said and denied")
                )
        lost = {fact for facts in said.values() if len(facts) > 1 for fact in facts}
        literature[rna_id] = {fact: ids for fact, ids in evidence.items() if fact not in lost}
    return literature, dropped


def read_facts(annotation: pd.DataFrame) -> tuple[dict[Fact, list[str]], list[tuple[int, str]]]:
    """The facts of one RNA's annotation, and the sentences that gave none.

    Returns fact → ids of the articles behind it (a fact said twice has the ids of both), and
    (sentence_no, reason) pairs.
    """
    evidence: dict[Fact, dict[str, None]] = defaultdict(dict)
    first: dict[tuple, Fact] = {}  # as written first: "Glioma" and "glioma" are one
    dropped, continues = [], False
    for row in annotation.sort_values("sentence_no").itertuples():
        found, reason = facts_in(row.text, continues)
        continues = has_subject(row.text) or (continues and bool(found))
        for fact in found:
            known = first.setdefault((fact.relation, fact.entity.casefold(), fact.true), fact)
            evidence[known].update(dict.fromkeys(row.article_ids))
        if not found:
            dropped.append((row.sentence_no, reason))
    return {fact: sorted(ids) for fact, ids in evidence.items()}, dropped


def _open_facts(evidence: dict[Fact, list[str]]) -> dict[str, list[Fact]]:
    """The true facts of each relation that the answer names: most articles first.

    Positive facts win over "nothing is known" and "none"; an entity that is a part of an earlier
    one, or holds one ("migration of cells"), is left out.
    """
    by_relation: dict[str, list[Fact]] = defaultdict(list)
    for fact in sorted((f for f in evidence if f.true), key=lambda f: -len(evidence[f])):
        by_relation[fact.relation].append(fact)
    for relation, facts in by_relation.items():
        apart: dict[str, Fact] = {}
        for fact in facts:
            low = fact.entity.casefold()
            if _is_named(fact) and not any(low in other or other in low for other in apart):
                apart[low] = fact
        by_relation[relation] = list(apart.values())[:MOST_ENTITIES] or facts[:1]
    return dict(by_relation)


def _is_named(fact: Fact) -> bool:
    return fact.entity not in (UNKNOWN, NONE)


def _of_rna(
    rna: Mapping, source: str, evidence: dict[Fact, list[str]]
) -> tuple[list[dict], list[Claim]]:
    """One open pair for each field and for each relation that the annotation speaks of; and what
    closed questions are asked about: what is denied, what is said, the type."""
    rna_id = rna["rna_id"]
    asked = [(name, [rna[name]], []) for name in CATEGORICAL if rna[name]]
    claims = [
        Claim(rna_id, f.relation, f.entity, False, i) for f, i in evidence.items() if not f.true
    ]
    for relation, facts in _open_facts(evidence).items():
        ids = sorted({article for fact in facts for article in evidence[fact]})
        asked.append((relation, [fact.entity for fact in facts], ids))
        named = filter(_is_named, facts)
        claims += [Claim(rna_id, relation, fact.entity, True, evidence[fact]) for fact in named]
    if rna["rna_type"]:
        claims.append(Claim(rna_id, "rna_type", rna["rna_type"], True, []))
    made = []
    for name, entities, ids in asked:
        relation = RELATIONS[name]
        wording = relation.questions[_number(rna_id, name) % len(relation.questions)]
        said = {"kind": relation.kind, "form": "open", "question": wording}
        made.append(_pair(rna_id, source, ids, **said, answer=relation.say(entities)))
    return made, claims


# Rows


def _asked(
    everyone: qa_llm.Annotated, params: Decompose, spool: Store | None
) -> tuple[list[dict], list[dict], list[dict]]:
    """The pairs that a chat model makes, rows for those that fail a check, what each RNA took."""
    settings = params.model_dump(mode="json", include=MATTERS)
    waves = ((wave, settings) for wave in divide_and_conquer.waves(everyone.rna_ids, params.mode))

    def rows(missing: Iterable) -> Iterator[Sequence[list[dict]]]:
        for replies in qa_llm.asked((list(everyone.of(wave)) for wave, _ in missing), params):
            made, dropped, usage = [], [], []
            for rna_id, kept, reasons, reply in replies:
                usage.append({"rna_id": rna_id} | reply.usage)
                dropped += [_drop(rna_id, reason) for reason in reasons]
                for pair, ids in kept:
                    said = pair.model_dump(exclude={"statements"})
                    made.append(_pair(rna_id, params.source, ids, prompts.QA_VERSION, **said))
            yield made, dropped, usage

    found = [[], [], []]
    for wave in spool.results(waves, rows) if spool else rows(waves):
        for table, part in zip(found, wave, strict=True):
            table += part
    return tuple(found)


def _drop(record: str, reason: str) -> dict:
    return {"stage": QA, "record": record, "reason": reason}


def _pair(
    rna_id: str, source: str, ids: Iterable[str], version: str = RULES_VERSION, **said: str
) -> dict:
    """A row of ``pairs``; ``said``: kind, form, question, answer."""
    key = pair_id(rna_id, source, said["question"])
    row = {"pair_id": key, "rna_id": rna_id, "source": source, "prompt_version": version}
    return row | said | {"article_ids": list(ids)}


def pair_id(rna_id: str, source: str, question: str) -> str:
    """First 16 hex digits of the SHA-256 of the three, joined by tabs."""
    return _digest(rna_id, source, question)[:16]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\t".join(parts).encode()).hexdigest()


def _number(*parts: str) -> int:
    """A number that depends on the texts alone; chooses wordings and negative entities."""
    return int(_digest(*parts)[:8], 16)


# Closed questions


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


def _closed(
    claims: Sequence[Claim], words: Mapping[str, str], mentions: Mentions
) -> Iterator[Claim]:
    """What closed questions ask: half of each relation's answers are "No", denials in the text
    among them. ``words``: the text of each RNA's annotation, folded."""
    for relation in RELATIONS:
        mine = [claim for claim in claims if claim.relation == relation]
        if len({claim.entity for claim in mine}) > 1:  # else "Yes" would always be right
            named = None if relation in CATEGORICAL else mentions  # a type in a text is no claim
            yield from _balanced(mine, words, named)


def _balanced(
    mine: list[Claim], words: Mapping[str, str], mentions: Mentions | None
) -> Iterator[Claim]:
    denied = [claim for claim in mine if not claim.true]
    true = sorted((claim for claim in mine if claim.true), key=lambda claim: _digest(*claim[:3]))
    wanted = max(0, len(mine) // 2 - len(denied))  # "No" still to be made
    own: dict[str, set[str]] = defaultdict(set)
    for claim in mine:
        own[claim.rna_id].add(claim.entity.casefold())
    pool = [claim.entity for claim in true]
    for claim in denied + true:
        rna_id, other = claim.rna_id, None
        if claim.true and wanted:
            other = _foreign(rna_id, pool, own[rna_id], words.get(rna_id, ""), mentions)
        if other:
            wanted -= 1
            own[rna_id].add(other.casefold())
            claim = Claim(rna_id, claim.relation, other, False, [])
        yield claim


def _foreign(
    rna_id: str, pool: list[str], own: set[str], text: str, mentions: Mentions | None
) -> str | None:
    """Another RNA's entity that is not true here, nor named, nor a part of one that is."""
    start, tried = _number(rna_id, "negative", *pool[:1]), set()
    for step in range(len(pool)):
        entity = pool[(start + step) % len(pool)]
        low = entity.casefold()
        if low in tried or low in text or any(low in known or known in low for known in own):
            continue
        tried.add(low)
        if mentions is None or not mentions.names(rna_id, entity):
            return entity
    return None


# What is kept


def _without_names(rnas: pd.DataFrame, made: list[dict]) -> tuple[list[dict], list[dict]]:
    """Pairs whose text does not name the RNA, and a row for each one that does.

    A family is often part of its members' names; it counts as a name only when it is one. A
    type such as ``RNase_P_RNA`` is no name, though the description says it.
    """
    texts: dict[str, list[str]] = defaultdict(list)
    for pair in made:
        texts[pair["rna_id"]].append(_text(pair))
    patterns = {}
    for rna in rnas.to_dict("records"):
        own = [n for n in names.names_of(rna | {"family": ""}) if n != rna["rna_type"]]
        # an expression for every RNA would take a quarter of an hour for all of RNAcentral
        if names.may_hold("\n".join(texts[rna["rna_id"]]), own):
            patterns[rna["rna_id"]] = names.pattern(own)
    kept, dropped = [], []
    for pair in made:
        if pair["rna_id"] in patterns and patterns[pair["rna_id"]].search(_text(pair)):
            dropped.append(_drop(f"{pair['rna_id']} {pair['kind']}", "the pair names the RNA"))
        else:
            kept.append(pair)
    return kept, dropped


def _text(pair: Mapping) -> str:
    return f"{pair['question']} {pair['answer']}"


def _at_most(made: list[dict], most: int) -> tuple[list[dict], list[dict]]:
    """The first ``most`` pairs of each RNA by importance; a row for what each one lost."""
    by_rna: dict[str, list[dict]] = defaultdict(list)
    for pair in made:
        by_rna[pair["rna_id"]].append(pair)
    kept, dropped = [], []
    for rna_id, own in by_rna.items():
        unique = list({pair["pair_id"]: pair for pair in own}.values())
        # fields first among open pairs, last among closed ones
        unique.sort(
            key=lambda p: (
                p["form"] == "closed",
                (p["kind"] in CATEGORICAL) == (p["form"] == "closed"),
            )
        )
        kept += unique[:most]
        if len(unique) > most:
            dropped.append(_drop(rna_id, f"pairs beyond the first {most}"))
    return kept, dropped
