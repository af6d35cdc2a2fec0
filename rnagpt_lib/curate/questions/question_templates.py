"""The relations that questions are about: wordings, answers, and how an answer is read back.

An open answer is one sentence of its relation's template, so `entity` recovers what it names.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

UNKNOWN = "unknown"  # the texts say that nothing is known
NONE = "none"  # the texts say that there is none


@dataclass(eq=False)
class Relation:
    """One relation of ``relations.yaml``; ``{}`` stands for the entity.

    kind: as in the table ``pairs``. noun: what the entity is, as in "no *ligand* is known".
    base: the predicate, "is associated with" or as in "does it *bind*". questions: two wordings.
    nothing_of: "ligand", where there can be none. Out of these come the open ``answer``, the
    ``closed`` question, its ``denial`` (an answer without its "No, "), and the answers ``unknown``
    and ``nothing`` ("" where there always is one).
    """

    name: str
    kind: str
    noun: str
    base: str
    questions: tuple[str, str]
    nothing_of: str = ""

    def __post_init__(self):
        first, *rest = self.base.split()
        if first == "is":
            verb, question, denied = first, "Is the RNA", "is not"
        else:
            verb = first[:-1] + "ies" if first.endswith("y") else first + "s"
            question, denied = f"Does the RNA {first}", f"does not {first}"
        what = " ".join([*rest, "{}"])
        self.answer, self.denial = f"The RNA {verb} {what}.", f"The RNA {denied} {what}."
        self.closed = f"{question} {what}?"
        self.unknown = f"No {self.noun} of the RNA is known."
        self.nothing = self.answer.format(f"no {self.nothing_of}") if self.nothing_of else ""
        self.answer_pattern, self.closed_pattern = _template(self.answer), _template(self.closed)

    def say(self, entities: list[str]) -> str:
        """The open answer: ``["glioma", "asthma"]`` → "… associated with glioma and asthma."."""
        if entities in ([UNKNOWN], [NONE]):
            return self.unknown if entities == [UNKNOWN] else self.nothing
        listed = ", ".join(entities[:-1]) + " and " + entities[-1] if entities[1:] else entities[0]
        return self.answer.format(listed)

    def confirm(self, entity: str, true: bool) -> str:
        """The closed answer: "Yes, the RNA binds HuR." or "No, the RNA does not bind HuR."."""
        turn, said = ("Yes", self.answer) if true else ("No", self.denial)
        return f"{turn}, t{said[1:].format(entity)}"


def _template(text: str) -> re.Pattern[str]:
    before, after = (re.escape(part) for part in text.rstrip(".?").split("{}"))
    return re.compile(
        rf"\s{{0,3}}{before}(?P<entity>\S.*?){after}\s{{0,3}}[.?]?\s{{0,3}}", re.IGNORECASE
    )


RELATIONS: dict[str, Relation] = {
    name: Relation(name, **row)
    for name, row in yaml.safe_load(
        Path(__file__).with_name("relations.yaml").read_text("utf-8")
    ).items()
}
CATEGORICAL = ("rna_type", "species", "family")

_OPEN = {question: name for name, relation in RELATIONS.items() for question in relation.questions}


def _read_closed(question: str) -> tuple[str, str] | tuple[None, None]:
    """The relation and the entity of a closed question."""
    for name, relation in RELATIONS.items():
        if match := relation.closed_pattern.fullmatch(question):
            return name, match["entity"]
    return None, None


def relation_of(question: str) -> str | None:
    """Name of the relation that a question, open or closed, is about; None for any other.

    >>> relation_of("Is the RNA associated with glioma?")
    'disease'
    """
    return _OPEN.get(question.strip()) or _read_closed(question)[0]


def asked_entity(question: str) -> str | None:
    """The entity that a closed question names; None for an open one."""
    return _read_closed(question)[1]


def entities(question: str, answer: str) -> list[str]:
    """All entities that an answer names; empty when it fits no template; closed: ["yes"] or ["no"].

    >>> entities("Which protein does the RNA bind?", "The RNA binds HuR and La.")
    ['HuR', 'La']
    """
    name = relation_of(question)
    if name is None:
        return []
    if question.strip() not in _OPEN:
        return re.findall(r"^\s*(yes|no)\b", answer.lower())
    relation, text = RELATIONS[name], answer.strip().rstrip(".").casefold()
    for special, value in ((relation.unknown, UNKNOWN), (relation.nothing, NONE)):
        if special and text == special.rstrip(".").casefold():
            return [value]
    match = relation.answer_pattern.fullmatch(answer)
    if match and name in CATEGORICAL:
        return [match["entity"]]
    return re.split(r", (?:and )?| and ", match["entity"]) if match else []


def entity(question: str, answer: str) -> str | None:
    """The one entity that an answer names; None when it names none or several.

    >>> entity("Which disease is the RNA associated with?", "The RNA is associated with glioma.")
    'glioma'
    """
    found = entities(question, answer)
    return found[0] if len(found) == 1 else None
