"""Question and answer pairs: from an entry's fields, and from its annotation's facts.

Open pairs ask for the entity, closed ones name an entity, true or of another RNA. The rules
(`facts`, `qa_closed`) work on any text; `qa_asked` has a chat model do the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from rnagpt_lib.core.params import Decompose
from rnagpt_lib.core.tables import frame
from rnagpt_lib.curate.questions import qa_llm
from rnagpt_lib.curate.questions.facts import Fact, facts_in, has_subject
from rnagpt_lib.curate.questions.qa_negatives import (
    Closable,
    Closed,
    Mentions,
    closed,
    digest,
    number,
)
from rnagpt_lib.curate.questions.question_templates import (
    CATEGORICAL,
    NONE,
    RELATIONS,
    UNKNOWN,
    asked_entity,
    entities,
    entity,
    relation_of,
)
from rnagpt_lib.curate.summaries import divide_and_conquer, prompts
from rnagpt_lib.curate.text import names
from rnagpt_lib.runs.resume_store import Store

__all__ = ["asked_entity", "entities", "entity", "pair_id", "pairs", "read_facts", "relation_of"]

STAGE = "03_decompose_qa"
MATTERS = {"model", "temperature", "min_pairs", "max_pairs"}  # for what a model's pairs are
RULES_VERSION = "rules-2"
MOST_ENTITIES = 3  # named in one open answer; the best supported ones


def pair_id(rna_id: str, source: str, question: str) -> str:
    """First 16 hex digits of the SHA-256 of the three, joined by tabs."""
    return digest(rna_id, source, question)[:16]


def read_facts(annotation: pd.DataFrame) -> tuple[dict[Fact, list[str]], list[tuple[int, str]]]:
    """The facts of one RNA's annotation, and the sentences that gave none.

    Returns fact → ids of the articles behind it (a fact said twice has the ids of both), and
    (sentence_no, reason) pairs.
    """
    evidence: dict[Fact, dict[str, None]] = defaultdict(dict)
    dropped, continues = [], False
    for row in annotation.sort_values("sentence_no").itertuples():
        found, reason = facts_in(row.text, continues)
        continues = has_subject(row.text) or (continues and bool(found))
        for fact in found:
            evidence[_known(fact, evidence)].update(dict.fromkeys(row.article_ids))
        if not found:
            dropped.append((row.sentence_no, reason))
    return {fact: sorted(ids) for fact, ids in evidence.items()}, dropped


def _known(fact: Fact, seen: Iterable[Fact]) -> Fact:
    """The same fact as written first ("Glioma" and "glioma" are one)."""
    same = (fact.relation, fact.entity.casefold(), fact.true)
    return next((f for f in seen if (f.relation, f.entity.casefold(), f.true) == same), fact)


def _open_facts(evidence: dict[Fact, list[str]]) -> dict[str, list[Fact]]:
    """The true facts of each relation that the answer names: most articles first.

    Positive facts win over "nothing is known" and "none".
    """
    by_relation: dict[str, list[Fact]] = defaultdict(list)
    for fact in sorted((f for f in evidence if f.true), key=lambda f: -len(evidence[f])):
        by_relation[fact.relation].append(fact)
    for relation, facts in by_relation.items():
        named = [fact for fact in facts if fact.entity not in (UNKNOWN, NONE)]
        by_relation[relation] = _apart(named)[:MOST_ENTITIES] or facts[:1]
    return dict(by_relation)


def _apart(facts: list[Fact]) -> list[Fact]:
    """Without entities that are a part of an earlier one, or hold one ("migration of cells")."""
    kept: list[Fact] = []
    for fact in facts:
        low = fact.entity.casefold()
        if not any(low in k.entity.casefold() or k.entity.casefold() in low for k in kept):
            kept.append(fact)
    return kept


def _agreeing(
    evidence: dict[Fact, list[str]],
) -> tuple[dict[Fact, list[str]], list[str]]:
    """The facts that no other fact of the RNA denies, and a reason for each that is denied."""
    said: dict[tuple[str, str], set[bool]] = defaultdict(set)
    for fact in evidence:
        said[fact.relation, fact.entity.casefold()].add(fact.true)
    kept = {f: i for f, i in evidence.items() if len(said[f.relation, f.entity.casefold()]) == 1}
    lost = {(f.relation, f.entity.casefold()): f.relation for f in evidence if f not in kept}
    return kept, [
        f"contradictory: a {relation} is both said and denied" for relation in lost.values()
    ]


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
    made, closable, usage = [], [], []
    for rna in rnas.to_dict("records"):
        evidence = literature.get(rna["rna_id"], {})
        made += _open(rna, params.source, evidence)
        closable += _closable(rna, evidence)
    if params.provider == "openai":
        own = texts[texts["rna_id"].isin(rnas["rna_id"])]
        more, lost, usage = _asked(own, articles, links, params, spool)
        made, dropped = made + more, dropped + lost
    read = links if params.no_by_abstracts else links[:0]
    mentions = Mentions(articles, read, (item.fact.entity for item in closable))
    words = texts.groupby("rna_id")["text"].agg(" ".join).str.casefold().to_dict()
    made += [_worded(one, params.source) for one in closed(closable, words, mentions)]
    made, named = _without_names(rnas, made)
    made, cut = _at_most(made, params.max_pairs)
    empty = set(rnas["rna_id"]) - {pair["rna_id"] for pair in made}
    bare = [_drop(rna_id, "no pair: no field and no fact") for rna_id in sorted(empty)]
    table = frame("pairs", made).sort_values(["rna_id", "pair_id"], ignore_index=True)
    lost = frame("dropped", dropped + named + cut + bare)
    return Decomposed(table, lost, pd.DataFrame(usage))


def _read(texts: pd.DataFrame) -> tuple[dict[str, dict[Fact, list[str]]], list[dict]]:
    """The facts of each annotated RNA, and rows for what gave none or is contradictory."""
    literature, dropped = {}, []
    for rna_id, annotation in texts.groupby("rna_id"):
        evidence, silent = read_facts(annotation)
        literature[rna_id], lost = _agreeing(evidence)
        dropped += [_drop(f"{rna_id} sentence {number}", reason) for number, reason in silent]
        dropped += [_drop(rna_id, reason) for reason in lost]
    return literature, dropped


def _asked(
    texts: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    params: Decompose,
    spool: Store | None,
) -> tuple[list[dict], list[dict], list[dict]]:
    """The pairs that a chat model makes, rows for those that fail a check, what each RNA took."""
    settings = params.model_dump(mode="json", include=MATTERS)
    everyone = qa_llm.Annotated(texts, articles, links)
    waves = ((wave, settings) for wave in divide_and_conquer.waves(everyone.rna_ids, params.mode))

    def parts(missing: Iterable) -> Iterator[Sequence[list[dict]]]:
        own = (list(everyone.of(wave)) for wave, _ in missing)
        return (_part(wave, params.source) for wave in qa_llm.asked(own, params))

    made, dropped, usage = [], [], []
    for part in spool.results(waves, parts) if spool else parts(waves):
        made += part[0]
        dropped += part[1]
        usage += part[2]
    return made, dropped, usage


def _part(wave: Iterable, source: str) -> tuple[list[dict], list[dict], list[dict]]:
    made, dropped, usage = [], [], []
    for rna_id, kept, reasons, reply in wave:
        usage.append({"rna_id": rna_id} | reply.usage)
        dropped += [_drop(rna_id, reason) for reason in reasons]
        made += [
            _pair(rna_id, source, one.pair.kind, one.pair.form, one.pair.question,
                  one.pair.answer, one.article_ids, prompts.QA_VERSION)
            for one in kept
        ]  # fmt: skip
    return made, dropped, usage


def _drop(record: str, reason: str) -> dict:
    return {"stage": STAGE, "record": record, "reason": reason}


def _pair(
    rna_id: str, source: str, kind: str, form: str, question: str, answer: str,
    ids: Iterable[str] = (), version: str = RULES_VERSION,
) -> dict:  # fmt: skip
    return {
        "pair_id": pair_id(rna_id, source, question),
        "rna_id": rna_id,
        "source": source,
        "kind": kind,
        "form": form,
        "question": question,
        "answer": answer,
        "article_ids": list(ids),
        "prompt_version": version,
    }


def _open(rna: Mapping, source: str, evidence: dict[Fact, list[str]]) -> list[dict]:
    """One open pair for each field and for each relation that the annotation speaks of."""
    made = []
    asked = [(name, [rna[name]], []) for name in CATEGORICAL if rna[name]]
    for relation, facts in _open_facts(evidence).items():
        ids = sorted({article for fact in facts for article in evidence[fact]})
        asked.append((relation, [fact.entity for fact in facts], ids))
    for name, named, ids in asked:
        wordings = RELATIONS[name].questions
        question = wordings[number(rna["rna_id"], name) % len(wordings)]
        answer = RELATIONS[name].say(named)
        made.append(
            _pair(rna["rna_id"], source, RELATIONS[name].kind, "open", question, answer, ids)
        )
    return made


def _closable(rna: Mapping, evidence: dict[Fact, list[str]]) -> list[Closable]:
    """What closed questions are asked about: what is said, what is denied, the type."""
    rna_id = rna["rna_id"]
    chosen = [Closable(rna_id, fact, ids) for fact, ids in evidence.items() if not fact.true]
    for facts in _open_facts(evidence).values():
        named = [fact for fact in facts if fact.entity not in (UNKNOWN, NONE)]
        chosen += [Closable(rna_id, fact, evidence[fact]) for fact in named]
    if rna["rna_type"]:
        chosen.append(Closable(rna_id, Fact("rna_type", rna["rna_type"]), []))
    return chosen


def _worded(one: Closed, source: str) -> dict:
    relation = RELATIONS[one.relation]
    question = relation.closed.format(one.entity)
    answer = relation.confirm(one.entity, one.true)
    return _pair(one.rna_id, source, relation.kind, "closed", question, answer, one.article_ids)


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
        unique.sort(key=lambda pair: (pair["form"] == "closed", _rank(pair)))
        kept += unique[:most]
        if len(unique) > most:
            dropped.append(_drop(rna_id, f"pairs beyond the first {most}"))
    return kept, dropped


def _rank(pair: dict) -> int:
    """Fields first among open pairs, last among closed ones."""
    return (pair["kind"] in CATEGORICAL) == (pair["form"] == "closed")
