"""Facts of single answers: whether they name the right entity and no other one.

One value per sample; ``bounds`` turns samples into tables. ``rouge`` and ``semantic`` hold the
scores of texts.
"""

import functools
import re
from collections.abc import Iterable

import pandas as pd

from rnagpt_lib import relations
from rnagpt_lib.phrases import NEGATION
from rnagpt_lib.relations import NONE, UNKNOWN

OPEN_FACTS = ("rna_type", "family", "local", "literature")  # the kinds that fact.all averages
ID = "fact-2"  # 1 did not notice that a fact was denied
DEFINITION = {
    "fact.<kind>": "the answer names the reference's one entity and no other one of that "
    "relation: whole words, longest first, case ignored; and says so in a sentence without a "
    "negation",
    "fact.all": "micro average of fact.rna_type, family, local and literature over open "
    "questions that the sequence can answer; literature and family of held-out families "
    "and of decoys are left out, and so is the species",
    "fact.closed": "balanced accuracy of yes and no, by the answer's first word",
    "fact.abstention": "where the reference is unknown or the sequence cannot tell: the "
    "answer says that it is not known and names no entity",
}
SENTENCES = re.compile(r"(?<=[.!?;])\s+")
NOT_KNOWN = re.compile(
    r"\b(unknown|not (?:yet )?known|no \w[\w ]* (?:is|are|was|were) (?:yet )?known|no known"
    r"|cannot be (?:told|said|determined)|not (?:been )?(?:reported|described|studied))\b",
    re.IGNORECASE,
)


def lexicon(pairs: pd.DataFrame) -> dict[str, list[str]]:
    """Relation → every entity that an open reference answer names, over all splits."""
    known: dict[str, set[str]] = {}
    open_pairs = pairs[pairs.form == "open"][["question", "answer"]].drop_duplicates()
    for question, answer in open_pairs.itertuples(index=False):
        found = relations.entities(question, answer)
        known.setdefault(relations.relation_of(question), set()).update(found)
    return {name: sorted(found - {UNKNOWN, NONE}) for name, found in known.items() if name}


def named(text: str, entities: Iterable[str]) -> set[str]:
    """The entities that stand in ``text`` as whole words, the longest first, case ignored;
    they come back folded to lower case.

    >>> named("It is a Box C/D snoRNA.", ["snoRNA", "box C/D snoRNA", "RNA"])
    {'box c/d snorna'}
    """
    folded = tuple(sorted({entity.casefold() for entity in entities}, key=lambda e: (-len(e), e)))
    return set(_pattern(folded).findall(text.casefold())) if folded else set()


@functools.cache
def _pattern(longest_first: tuple[str, ...]) -> re.Pattern:
    either = "|".join(map(re.escape, longest_first))
    return re.compile(rf"(?<!\w)(?<!\w-)(?:{either})(?!\w|-\w)")


def is_right(question: str, prediction: str, entity: str, known: Iterable[str]) -> bool:
    """Whether the answer names this entity and no other one of the relation, in a sentence that
    does not deny it; for the entity ``none``, whether it says so in the relation's own words and
    names none."""
    if entity == NONE:
        return relations.entities(question, prediction) == [NONE]
    if named(prediction, {entity, *known}) != {entity.casefold()}:
        return False
    said = [s for s in SENTENCES.split(prediction) if named(s, {entity})]
    return any(
        not NEGATION.search(_pattern((entity.casefold(),)).sub("", s.casefold()))
        for s in said or [prediction]  # an entity may hold a full stop itself
    )


def abstains(prediction: str, known: Iterable[str]) -> bool:
    """Whether the answer says that this is not known, and names no entity."""
    return bool(NOT_KNOWN.search(prediction)) and not named(prediction, known)


def yes_or_no(text: str) -> str | None:
    """The first word when it is yes or no: ``"Yes, it is." → "yes"``, else None."""
    word = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    return word[1].lower() if word else None


def fact(row, prediction: str, known: dict[str, list[str]]) -> tuple[str, float] | None:
    """Metric and value of one answer, or None where there is nothing to check.

    ``row`` is a row of ``floors.questions``. Closed questions count towards ``fact.closed``;
    open ones whose reference names one entity towards ``fact.<kind>``; those that the sequence
    cannot answer, and those whose reference says "unknown", towards ``fact.abstention``.
    """
    if row.form == "closed":
        wanted = yes_or_no(row.reference)
        if not row.decidable or wanted is None:
            return None
        return "fact.closed", float(yes_or_no(prediction) == wanted)
    entities = known.get(row.relation, [])
    if row.entity is None:
        return None
    if row.entity == UNKNOWN or not (row.decidable or row.kind == "species"):
        return "fact.abstention", float(abstains(prediction, entities))
    right = is_right(row.question, prediction, row.entity, entities)
    return f"fact.{row.kind}", float(right)
