"""Question and answer pairs: from an entry's fields, and from its annotation's facts.

Open pairs ask for the entity, closed ones name an entity, true or of another RNA. The rules
work on any text (`facts`); `asked` has a language model do the same.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from rnagpt_lib import names, prompts
from rnagpt_lib.errors import InputError
from rnagpt_lib.facts import Fact, facts_in, has_subject
from rnagpt_lib.llm import Chat
from rnagpt_lib.profiles import Decompose
from rnagpt_lib.relations import (
    CATEGORICAL,
    NONE,
    RELATIONS,
    UNKNOWN,
    asked_entity,
    entities,
    entity,
    relation_of,
)
from rnagpt_lib.tables import frame

__all__ = ["asked_entity", "entities", "entity", "pair_id", "pairs", "read_facts", "relation_of"]

STAGE = "03_decompose_qa"
RULES_VERSION = "rules-1"
MOST_ENTITIES = 3  # named in one open answer; the best supported ones


def pair_id(rna_id: str, source: str, question: str) -> str:
    """First 16 hex digits of the SHA-256 of the three, joined by tabs."""
    return _digest(rna_id, source, question)[:16]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\t".join(parts).encode()).hexdigest()


def _number(*parts: str) -> int:
    """A number that depends on the texts alone; chooses wordings and negative entities."""
    return int(_digest(*parts)[:8], 16)


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


def pairs(
    rnas: pd.DataFrame, annotations: pd.DataFrame, params: Decompose, *, log: Path | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All pairs of all RNAs and what was dropped, as tables ``pairs`` and ``dropped``.

    The provider "offline" reads the annotations by rules, "openai" asks a model (``log`` keeps
    its replies); questions about the entry's fields are made by rule in both. An RNA has at
    most ``max_pairs`` pairs: open categorical ones first, then open facts, closed facts and
    closed categorical ones. Closed answers are balanced: as many "No" as "Yes" for every
    relation, where other RNAs offer an entity that
    the RNA's own annotation does not name.
    """
    texts = annotations[annotations["source"] == params.source]
    grouped = dict(tuple(texts.groupby("rna_id")))
    chat = Chat(params.model, params.base_url, log) if params.provider == "openai" else None
    opened, closable, dropped = [], [], []
    words: dict[str, str] = {}
    for rna in rnas.to_dict("records"):
        rna_id, annotation = rna["rna_id"], grouped.get(rna["rna_id"], texts[:0])
        evidence, silent = ({}, []) if chat else read_facts(annotation)
        dropped += [_drop(f"{rna_id} sentence {number}", reason) for number, reason in silent]
        if chat and len(annotation):
            opened += asked(rna_id, annotation, params, chat)
        words[rna_id] = " ".join(annotation["text"]).casefold()
        opened += _open(rna, params.source, evidence)
        closable += _closable(rna, evidence)
    made = opened + _closed(closable, words, params.source)
    made, more = _without_names(rnas, made)
    made, cut = _at_most(made, params.max_pairs)
    empty = set(rnas["rna_id"]) - {pair["rna_id"] for pair in made}
    dropped += (
        more + cut + [_drop(rna_id, "no pair: no field and no fact") for rna_id in sorted(empty)]
    )
    table = frame("pairs", made).sort_values(["rna_id", "pair_id"], ignore_index=True)
    return table, frame("dropped", dropped)


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
        question = wordings[_number(rna["rna_id"], name) % len(wordings)]
        answer = RELATIONS[name].say(named)
        made.append(
            _pair(rna["rna_id"], source, RELATIONS[name].kind, "open", question, answer, ids)
        )
    return made


def _closable(rna: Mapping, evidence: dict[Fact, list[str]]) -> list[tuple[str, Fact, list[str]]]:
    """(rna_id, fact, ids) to ask closed questions about: what is said, what is denied, the type."""
    rna_id = rna["rna_id"]
    chosen = [(rna_id, fact, ids) for fact, ids in evidence.items() if not fact.true]
    for facts in _open_facts(evidence).values():
        named = [fact for fact in facts if fact.entity not in (UNKNOWN, NONE)]
        chosen += [(rna_id, fact, evidence[fact]) for fact in named]
    if rna["rna_type"]:
        chosen.append((rna_id, Fact("rna_type", rna["rna_type"]), []))
    return chosen


def _closed(closable: list, words: dict[str, str], source: str) -> list[dict]:
    """Closed pairs, half of each relation's answers "No" (denials in the text count as such)."""
    made = []
    for relation in RELATIONS:
        mine = [item for item in closable if item[1].relation == relation]
        if len({item[1].entity for item in mine}) < 2:
            continue  # nothing else to ask about: "Yes" would always be right
        denied = [item for item in mine if not item[1].true]
        true = sorted((item for item in mine if item[1].true), key=lambda i: _digest(*_key(i)))
        wanted = max(0, len(mine) // 2 - len(denied))  # "No" still to be made
        own: dict[str, set[str]] = defaultdict(set)
        for rna_id, fact, _ in mine:
            own[rna_id].add(fact.entity.casefold())
        for rna_id, fact, ids in denied + true:
            other = None
            if fact.true and wanted:
                other = _foreign(rna_id, [item[1].entity for item in true], own, words[rna_id])
            if other:
                wanted -= 1
                own[rna_id].add(other.casefold())
            asked = other or fact.entity
            answer = RELATIONS[relation].confirm(asked, fact.true and not other)
            question = RELATIONS[relation].closed.format(asked)
            ids = [] if other else ids
            made.append(
                _pair(rna_id, source, RELATIONS[relation].kind, "closed", question, answer, ids)
            )
    return made


def _key(item: tuple[str, Fact, list[str]]) -> tuple[str, str, str]:
    return item[0], item[1].relation, item[1].entity


def _foreign(rna_id: str, pool: list[str], own: dict[str, set[str]], text: str) -> str | None:
    """Another RNA's entity that is not true here, nor named, nor a part of one that is."""
    start = _number(rna_id, "negative", *pool[:1])
    for step in range(len(pool)):
        entity = pool[(start + step) % len(pool)]
        low = entity.casefold()
        related = any(low in known or known in low for known in own[rna_id])
        if not related and low not in text:
            return entity
    return None


def _without_names(rnas: pd.DataFrame, made: list[dict]) -> tuple[list[dict], list[dict]]:
    """Pairs whose text does not name the RNA, and a row for each one that does.

    A family is often part of its members' names; it counts as a name only when it is one. A
    type such as ``RNase_P_RNA`` is no name, though the description says it.
    """
    own = {
        rna["rna_id"]: names.pattern(
            name for name in names.names_of(rna | {"family": ""}) if name != rna["rna_type"]
        )
        for rna in rnas.to_dict("records")
    }
    kept, dropped = [], []
    for pair in made:
        if own[pair["rna_id"]].search(f"{pair['question']} {pair['answer']}"):
            dropped.append(_drop(f"{pair['rna_id']} {pair['kind']}", "the pair names the RNA"))
        else:
            kept.append(pair)
    return kept, dropped


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


class Asked(BaseModel):
    """One pair as a language model replies it."""

    form: Literal["open", "closed"]
    question: str = Field(pattern=r"(?i)\bthe RNA\b.*\?$")
    answer: str = Field(pattern=r"\w.*\.$")
    sentences: list[int] = Field(min_length=1)


def asked(rna_id: str, annotation: pd.DataFrame, params: Decompose, chat: Chat) -> list[dict]:
    """The literature pairs of one RNA by one chat call.

    Raises InputError when the reply is no JSON list of pairs, or rests on unknown sentences.
    """
    texts = dict(zip(annotation["sentence_no"], annotation["text"], strict=True))
    ids = dict(zip(annotation["sentence_no"], annotation["article_ids"], strict=True))
    reply = chat.complete(prompts.qa(texts.items(), params.min_pairs, params.max_pairs))
    body = re.sub(r"^```(?:json)?\s*|\s*```$", "", reply.strip())
    try:
        found = TypeAdapter(list[Asked]).validate_json(body)
        evidence = [{i for n in pair.sentences for i in ids[n]} for pair in found]
    except (ValidationError, KeyError) as error:
        fault = str(error).splitlines()[0]
        raise InputError(
            f"{rna_id}: the reply of model {params.model!r} is no list of pairs ({fault}); try "
            "again, or another MODEL"
        ) from None
    return [
        _pair(
            rna_id, params.source, "literature", pair.form, pair.question, pair.answer,
            sorted(articles), prompts.QA_VERSION,
        )
        for pair, articles in zip(found, evidence, strict=True)
    ]  # fmt: skip
