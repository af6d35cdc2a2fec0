"""Facts of single answers: whether they name the right entity and no other one. `bootstrap` turns
samples into tables, `text_scores` compares whole texts."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import yaml

from rnagpt_lib.core.text import caseless, fold
from rnagpt_lib.curate.questions import question_templates
from rnagpt_lib.curate.questions.facts import NEGATION
from rnagpt_lib.curate.questions.question_templates import NONE, UNKNOWN
from rnagpt_lib.evaluate import entities
from rnagpt_lib.evaluate.entities import SENTENCES, named

FREE = "dictionary."  # begins the relation of a question that is in no template's words
ID = "fact-3"
DEFINITIONS = yaml.safe_load(Path(__file__).with_name("definitions.yaml").read_text("utf-8"))
NOT_KNOWN = re.compile(
    r"\b(unknown|not (?:yet )?known|no \w[\w ]{0,100} (?:is|are|was|were) (?:yet )?known|no known"
    r"|cannot be (?:told|said|determined)|not (?:been )?(?:reported|described|studied))\b",
    re.IGNORECASE,
)


def lexicon(pairs: pd.DataFrame) -> dict[str, list[str]]:
    """Relation → every entity that an open reference answer names, over all splits."""
    known: dict[str, set[str]] = {}
    open_pairs = pairs[pairs.form == "open"][["question", "answer"]].drop_duplicates()
    for question, answer in open_pairs.itertuples(index=False):
        found = question_templates.entities(question, fold(answer))
        known.setdefault(question_templates.relation_of(question), set()).update(found)
    return {name: sorted(found - {UNKNOWN, NONE}) for name, found in known.items() if name}


def is_right(question: str, prediction: str, entity: str, known: Iterable[str]) -> bool:
    """Whether the answer names this entity and no other one of the relation, in a sentence that
    does not deny it; for the entity ``none``, whether it says so in the relation's own words and
    names none."""
    prediction = fold(prediction)
    if entity == NONE:
        return question_templates.entities(question, prediction) == [NONE]
    entity = caseless(entity)
    if named(prediction, {entity, *known}) != {entity}:
        return False
    said = [s for s in SENTENCES.split(prediction) if named(s, {entity})]
    return any(
        not NEGATION.search(entities.any_of((entity,)).sub("", s.casefold()))
        for s in said or [prediction]  # an entity may hold a full stop itself
    )


def yes_or_no(text: str) -> str | None:
    """The first word when it is yes or no: ``"Yes, it is." → "yes"``, else None."""
    word = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    return word[1].lower() if word else None


def fact(row, prediction: str, known: dict[str, list[str]]) -> tuple[str, float] | None:
    """Metric and value of one answer, or None where there is nothing to check. ``row`` is one of
    `questions.questions`: closed ones count towards ``fact.closed``, open ones whose reference
    names one entity towards ``fact.<kind>``, and those that the sequence cannot answer, or whose
    reference says "unknown", towards ``fact.abstention``."""
    if row.form == "closed":
        wanted = yes_or_no(row.reference)
        if not row.decidable or wanted is None:
            return None
        return "fact.closed", float(yes_or_no(prediction) == wanted)
    if row.entity is None:
        return None
    free, known_ones = row.relation.startswith(FREE), known.get(row.relation, [])
    if row.entity == UNKNOWN or not (row.decidable or row.kind == "species"):
        names = named(prediction, known_ones)
        names |= entities.find(prediction) - entities.find(row.question) if free else set()
        return "fact.abstention", float(bool(NOT_KNOWN.search(fold(prediction))) and not names)
    if free:
        claims = _claims(row.question, prediction)
        right = {name for kind, name in claims if FREE + kind == row.relation} == {row.entity}
    else:
        right = is_right(row.question, prediction, row.entity, known_ones)
    return f"fact.{row.kind}", float(right)


def wanted(question: str, reference: str, form: str) -> tuple[str | None, str | None]:
    """The relation that a question is about, and the one entity that its reference names; None
    where there is none, or not just one.

    Questions of the templates have their own relations. What anyone else asks openly has one of
    the dictionary's kinds, by the entity that the reference claims and the question does not name.

    >>> wanted("What does the RNA promote in glioma?", "In glioma it promotes angiogenesis.", "open")
    ('dictionary.process', 'angiogenesis')
    """
    question, reference = fold(question), fold(reference)
    relation = question_templates.relation_of(question)
    if relation or form == "closed":
        return relation, question_templates.entity(question, reference)
    if not question.strip():
        return None, None  # an annotation, which answers nothing that was asked
    claims = _claims(question, reference)
    if not claims and NOT_KNOWN.search(reference):
        return FREE, UNKNOWN
    [(kind, name)] = claims if len(claims) == 1 else [("", None)]
    return (FREE + kind, name) if name else (None, None)


def _claims(question: str, text: str) -> set[tuple[str, str]]:
    """(kind, name) of what a text claims and the question does not name, by the dictionary."""
    asked = entities.find(question)
    sentences = (s for s in SENTENCES.split(fold(text)) if not NEGATION.search(s))
    found = (mention for s in sentences for mention in entities.mentions(s))
    return {(mention.kind, mention.name) for mention in found if mention.name not in asked}
