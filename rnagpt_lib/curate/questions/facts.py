"""Facts out of sentences: rules over the clauses of any English text about one RNA.

The RNA stands in the text as "this RNA" (see `names.mask_names`); its relations to other
things are read from a finite set of phrases. What a sentence only supposes is not a fact.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rnagpt_lib.curate.questions.entity_phrases import fitting, listed
from rnagpt_lib.curate.questions.fact_patterns import (
    AFTER,
    CONNECT,
    HEDGE,
    IGNORANCE,
    LEFT,
    LITTLE,
    NEGATION,
    NOTHING,
    NOUNS,
    PASSIVE,
    PHRASE,
    PHRASES,
    RNA,
    TARGET_OF,
    THIS,
    UNASSERTED,
)
from rnagpt_lib.curate.questions.question_templates import NONE, UNKNOWN

HEDGED = "hedged or only asked"
MOST_WORDS = 100  # a longer sentence is a broken one, and costs the expressions much time


@dataclass(frozen=True)
class Fact:
    """One reading of a clause; ``true`` is False where the clause denies it."""

    relation: str
    entity: str
    true: bool = True


def facts_in(sentence: str, continues: bool = False) -> tuple[list[Fact], str]:
    """The facts that one sentence states about the RNA, and why there are none.

    ``continues``: the sentence before had the RNA as its subject, so "it" and "the RNA" are
    the RNA too. The reason is "" when there are facts.

    >>> facts_in("This RNA inhibits cell growth by targeting PTEN.")[0]
    [Fact(relation='process', entity='cell growth', true=True), Fact(relation='target', ...)]
    """
    text = " ".join(sentence.split()).removesuffix(".")
    if text.endswith("?"):
        return [], "a question"
    if text.count(" ") >= MOST_WORDS:
        return [], f"a sentence of more than {MOST_WORDS} words"
    nothing = list(_nothing_known(text))
    if nothing:
        return nothing, ""
    facts, reasons = [], []
    for start, end in _mentions(text, continues):
        found, reason = _active(text, start, end)
        facts += found
        reasons.append(reason)
    found, reason = _passive(text)
    facts = list(dict.fromkeys(facts + found))
    reasons = [reason for reason in [*reasons, reason] if reason]
    return facts, "" if facts else (reasons or ["no relation with the RNA as its subject"])[0]


def has_subject(sentence: str) -> bool:
    """Whether a clause of the sentence has the RNA, named in full, as its subject."""
    return any(True for _ in _mentions(" ".join(sentence.split()), False))


def _nothing_known(text: str) -> Iterator[Fact]:
    for pattern in NOTHING:
        match = pattern.search(text)
        if match:
            for relation, nouns in NOUNS.items():
                if re.search(rf"\b(?:{nouns})\b", match["noun"]):
                    yield Fact(relation, UNKNOWN)
                    break
    if IGNORANCE.search(text):
        yield from (Fact("disease", UNKNOWN), Fact("process", UNKNOWN))


def _mentions(text: str, continues: bool) -> Iterator[tuple[int, int]]:
    """Spans of the RNA (with "expression" and the like behind it) where it opens a clause."""
    known = continues
    for match in re.finditer(rf"(?<![\w-]){RNA}", text):
        this = match[0].lower().startswith("this")
        if not (this or known):
            continue
        left = text[: match.start()]
        if not this and re.search(r"(?<=.)(?:[A-Z0-9]|\w,)", left) and THIS not in left.lower():
            continue  # after another name, "it" may be that one
        if LEFT.search(left) and not re.search(r"(?i)\b(?:between|among)\b[^;]*$", left):
            known = True
            yield match.start(), AFTER.match(text, match.end()).end()


def _active(text: str, start: int, end: int) -> tuple[list[Fact], str]:
    """Facts of the predicates that follow a subject which ends at ``end``."""
    if UNASSERTED.search(re.split(r";", text[:start])[-1]):
        return [], HEDGED
    facts, reason = [], ""
    limit = _predicate_end(text, end)
    match = PHRASE.match(text, end + 1, limit)
    if match is None:
        match = _next_phrase(text, end, limit)
        between = text[end : match.start()] if match else ""
        if HEDGE.search(between):
            return [], HEDGED
        if re.search(r"\b(?:which|that|while|when)\b", between):
            return [], ""
    while match:
        found, why = _read(text, match, limit)
        facts += found
        reason = reason or why
        if why == HEDGED:
            break  # what is only supposed has only supposed means and consequences
        match = _next_phrase(text, match.end(), limit)
    return facts, reason


def _predicate_end(text: str, start: int) -> int:
    """Where the RNA stops to be the subject: a semicolon, a new clause, the next mention."""
    ends = re.compile(rf";|, (?:which|whereas|while|but (?!also|not))|\bwhereas\b|(?<![\w-]){RNA}")
    match = ends.search(text, start + 1)
    return match.start() if match else len(text)


def _next_phrase(text: str, start: int, limit: int) -> re.Match | None:
    """The next predicate of the same subject: "… and promotes …", "… by targeting …"."""
    for match in PHRASE.finditer(text, start, limit):
        if CONNECT.search(text, start - 1, match.start()):
            joined = re.search(
                r"(?:by|via|through|while|thereby|thus|,) (?:\w+ )?$", text[: match.start()]
            )
            if not joined or re.search(r"ing\b", match[0]):
                return match
    return None


def _read(text: str, match: re.Match, limit: int) -> tuple[list[Fact], str]:
    """The facts of one phrase: its relation with every fitting entity of the list behind it."""
    lead = match["lead"].replace("not only", "")
    number = next(i for i in range(len(PHRASES)) if match[f"p{i}"])
    if HEDGE.search(lead) or re.search(
        r"(?i)\b(?:potential|possible|candidate|promising)", match[f"p{number}"]
    ):
        return [], HEDGED
    denied = bool(NEGATION.search(lead))
    rest = text[match.end() : limit]
    for relation in PHRASES[number][1]:
        if relation == "tissue" and LITTLE.search(lead):
            relation = "altered"  # "poorly expressed in glioma": a change, not a place
        entities = listed(relation, rest)
        if entities:
            name = "disease" if relation == "altered" else relation
            return [Fact(name, entity, not denied) for entity in entities], ""
    empty = re.match(r"(?: (?:of|at))?(?: (?:any|no)(?: \w+)?| \w+ site)?\s*(?:[,;]|and\b|$)", rest)
    if denied and empty and PHRASES[number][1][0] in ("site", "isotype", "target", "ligand"):
        return [Fact(PHRASES[number][1][0], NONE)], ""
    return [], "no entity of the kind that the relation needs"


def _passive(text: str) -> tuple[list[Fact], str]:
    """Facts of "PTEN is targeted by this RNA" and "PTEN is a direct target of this RNA"."""
    facts, reason = [], ""
    for match in [*PASSIVE.finditer(text), *TARGET_OF.finditer(text)]:
        if HEDGE.search(match[0]) or UNASSERTED.search(text[: match.end("mid")]):
            reason = HEDGED
            continue
        found = {name: value for name, value in match.groupdict().items() if value}
        relation = next((n for n in ("process", "partner") if n in found), "target")
        phrase = re.split(r"\b(?:that|and|of|show|found)\b", found["np"])[-1]
        short = fitting(relation, found.get("short", ""))
        entity = short or fitting(relation, phrase)
        if entity:
            facts.append(Fact(relation, entity, not NEGATION.search(found["mid"])))
        else:
            reason = "no entity of the kind that the relation needs"
    return facts, reason
