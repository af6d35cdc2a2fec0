"""Facts of single answers: whether they name the right entity and no other one. `bootstrap` turns
samples into tables, `text_scores` compares whole texts."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import yaml

from rnagpt_lib.core.text import caseless, fold
from rnagpt_lib.curate.questions import question_templates
from rnagpt_lib.curate.questions.question_templates import NONE, UNKNOWN
from rnagpt_lib.evaluate import entities, statements
from rnagpt_lib.evaluate.entities import named, spots

FREE = "dictionary."  # begins the relation of a question that is in no template's words
ID = "fact-4"
DEFINITIONS = yaml.safe_load(Path(__file__).with_name("definitions.yaml").read_text("utf-8"))


def lexicon(pairs: pd.DataFrame) -> dict[str, list[str]]:
    """Relation → every entity that an open reference answer names, over all splits."""
    known: dict[str, set[str]] = {}
    open_pairs = pairs[pairs.form == "open"][["question", "answer"]].drop_duplicates()
    for question, answer in open_pairs.itertuples(index=False):
        found = question_templates.entities(question, fold(answer))
        known.setdefault(question_templates.relation_of(question), set()).update(found)
    return {name: sorted(found - {UNKNOWN, NONE}) for name, found in known.items() if name}


def is_right(question: str, prediction: str, entity: str, known: Iterable[str]) -> bool:
    """Whether the answer affirms this entity and no other one of the relation, in any spelling, and
    does not say that it cannot be known; for the entity ``none``, whether it says so."""
    said = affirmed(prediction, {entity, *known} - {NONE, UNKNOWN})
    if entity == NONE:
        return not said and _says_none(question, prediction)
    return said == {caseless(entity)} and not statements.abstains(prediction, said)


def affirmed(prediction: str, known: Iterable[str]) -> set[str]:
    """Which of ``known`` the answer affirms, folded to lower case."""
    known = sorted(known)
    return statements.claimed(prediction, lambda text: spots(text, known))


def _says_none(question: str, prediction: str) -> bool:
    """ "The RNA guides no site.", "It does not guide any site.", or the template's own words."""
    if statements.abstains(prediction):
        return False
    relation = question_templates.RELATIONS.get(question_templates.relation_of(question))
    what = relation.nothing_of.split()[-1] if relation and relation.nothing_of else r"\w{1,20}"
    none = rf"\bno (?:\w+ )?{what}s?\b|\bnone\b|\b(?:not|n't) .{{0,60}}\bany (?:\w+ )?{what}s?\b"
    return bool(re.search(none, fold(prediction), re.IGNORECASE))


def yes_or_no(question: str, text: str) -> str | None:
    """What a text answers to a closed question, read as a whole: see `statements.yes_or_no`."""
    asked = question_templates.asked_entity(fold(question))
    about = statements.read(text, lambda part: spots(part, [asked])) if asked else None
    return statements.yes_or_no(text, about)


def fact(row, prediction: str, known: dict[str, list[str]]) -> tuple[str, float] | None:
    """Metric and value of one answer, or None where there is nothing to check. ``row`` is one of
    `questions.questions`: closed ones count towards ``fact.closed``, open ones whose reference
    names one entity towards ``fact.<kind>``, and those that the sequence cannot answer, or whose
    reference says "unknown", towards ``fact.abstention``: there it is right to say that it is not
    known, and not wrong to name what the reference names."""
    if row.form == "closed":
        wanted = yes_or_no(row.question, row.reference)
        if not row.decidable or wanted is None:
            return None
        return "fact.closed", float(yes_or_no(row.question, prediction) == wanted)
    if row.entity is None:
        return None
    free, known_ones = row.relation.startswith(FREE), known.get(row.relation, [])
    if free:
        claims = _claims(row.question, prediction)
        right = {name for kind, name in claims if FREE + kind == row.relation} == {row.entity}
    else:
        right = is_right(row.question, prediction, row.entity, known_ones)
    if row.entity == UNKNOWN or not (row.decidable or row.kind == "species"):
        names = named(prediction, known_ones)
        names |= entities.find(prediction) - entities.find(row.question) if free else set()
        abstains = statements.abstains(prediction) and not names
        return "fact.abstention", float(abstains or right)
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
    if not claims and statements.abstains(reference):
        return FREE, UNKNOWN
    [(kind, name)] = claims if len(claims) == 1 else [("", None)]
    return (FREE + kind, name) if name else (None, None)


def _claims(question: str, text: str) -> set[tuple[str, str]]:
    """(kind, name) of what a text claims and the question does not name, by the dictionary."""
    kinds: dict[str, str] = {}

    def find(part: str) -> list[entities.Mention]:
        there = entities.mentions(part)
        kinds.update((mention.name, mention.kind) for mention in there)
        return there

    affirmed = statements.claimed(text, find) - entities.find(question)
    return {(kinds[name], name) for name in affirmed}
