"""The relations that questions are about: wordings, answers, and how an answer is read back.

Every open answer is one sentence of its relation's template, so the entity that it names can
be recovered exactly; scoring rests on `relation_of` and `entity`.
"""

import re
from dataclasses import dataclass
from functools import cached_property

UNKNOWN = "unknown"  # the texts say that nothing is known
NONE = "none"  # the texts say that there is none


@dataclass(frozen=True)
class Relation:
    """One relation; ``{}`` stands for the entity.

    kind: as in the table ``pairs``. noun: what the entity is, as in "no *ligand* is known".
    questions: two wordings. base: the predicate, "is associated with" or as in "does it *bind*".
    nothing_of: "ligand", where there can be none.
    """

    name: str
    kind: str
    noun: str
    questions: tuple[str, str]
    base: str
    nothing_of: str = ""

    @cached_property
    def _verb(self) -> str:
        """The predicate in the third person: "is linked to", "binds", "carries"."""
        if self.base.startswith("is "):
            return self.base
        first, *rest = self.base.split()
        return " ".join([first[:-1] + "ies" if first.endswith("y") else first + "s", *rest])

    @property
    def answer(self) -> str:
        return f"The RNA {self._verb} {{}}."

    @property
    def closed(self) -> str:
        """The closed question."""
        if self.base.startswith("is "):
            return f"Is the RNA {self.base[3:]} {{}}?"
        return f"Does the RNA {self.base} {{}}?"

    @property
    def denial(self) -> str:
        """The answer to a closed question, without its "No, "."""
        if self.base.startswith("is "):
            return f"The RNA is not {self.base[3:]} {{}}."
        return f"The RNA does not {self.base} {{}}."

    @property
    def unknown(self) -> str:
        return f"No {self.noun} of the RNA is known."

    @property
    def nothing(self) -> str:
        """The answer when there is none; "" where there always is one."""
        return self.answer.format(f"no {self.nothing_of}") if self.nothing_of else ""

    @cached_property
    def answer_pattern(self) -> re.Pattern[str]:
        return _template(self.answer)

    @cached_property
    def closed_pattern(self) -> re.Pattern[str]:
        return _template(self.closed)

    def say(self, entities: list[str]) -> str:
        """The open answer: ``["glioma", "asthma"]`` → "… associated with glioma and asthma."."""
        if entities == [UNKNOWN]:
            return self.unknown
        if entities == [NONE]:
            return self.nothing
        listed = ", ".join(entities[:-1]) + " and " + entities[-1] if entities[1:] else entities[0]
        return self.answer.format(listed)

    def confirm(self, entity: str, true: bool) -> str:
        """The closed answer: "Yes, the RNA binds HuR." or "No, the RNA does not bind HuR."."""
        if true:
            return "Yes, t" + self.answer[1:].format(entity)
        return "No, t" + self.denial[1:].format(entity)


def _template(text: str) -> re.Pattern[str]:
    before, after = (re.escape(part) for part in text.rstrip(".?").split("{}"))
    return re.compile(rf"\s*{before}(?P<entity>\S.*?){after}\s*[.?]?\s*", re.IGNORECASE)


RELATIONS: dict[str, Relation] = {
    row[0]: Relation(*row)
    for row in (
        ("rna_type", "rna_type", "type",
         ("What type of RNA is the RNA?", "Which type of RNA is it?"), "is of the type"),
        ("species", "species", "species",
         ("What species does this RNA belong to?", "Which species is the RNA from?"),
         "belong to the species"),
        ("family", "family", "family",
         ("Which family does the RNA belong to?", "What is the family of the RNA?"),
         "belong to the family"),
        ("disease", "literature", "disease association",
         ("Which disease is the RNA associated with?", "What disease is the RNA linked to?"),
         "is associated with"),
        ("process", "literature", "regulated process",
         ("Which process does the RNA regulate?", "What process is regulated by the RNA?"),
         "regulate"),
        ("partner", "literature", "protein partner",
         ("Which protein does the RNA bind?", "What protein interacts with the RNA?"), "bind"),
        ("tissue", "literature", "tissue of expression",
         ("In which tissue is the RNA expressed?", "Where is the RNA expressed?"),
         "is expressed in"),
        ("location", "literature", "location in the cell",
         ("Where in the cell is the RNA located?", "Which compartment is the RNA located in?"),
         "is located in the"),
        ("isotype", "local", "amino acid",
         ("Which amino acid does the RNA carry?", "What amino acid is the RNA charged with?"),
         "carry", "amino acid"),
        ("target", "local", "target gene",
         ("Which gene does the RNA target?", "What gene is a target of the RNA?"), "target", "gene"),
        ("site", "local", "guided site",
         ("Which site does the RNA guide?", "The modification of which site does the RNA guide?"),
         "guide the modification of", "site"),
        ("ligand", "local", "ligand",
         ("Which ligand does the RNA sense?", "What ligand does the RNA respond to?"),
         "sense", "ligand"),
    )
}  # fmt: skip
CATEGORICAL = ("rna_type", "species", "family")

_OPEN = {question: name for name, relation in RELATIONS.items() for question in relation.questions}


def relation_of(question: str) -> str | None:
    """Name of the relation that a question, open or closed, is about; None for any other.

    >>> relation_of("Is the RNA associated with glioma?")
    'disease'
    """
    found = _OPEN.get(question.strip())
    return found or next((name for name, _ in _closed_matches(question)), None)


def _closed_matches(question: str):
    for name, relation in RELATIONS.items():
        match = relation.closed_pattern.fullmatch(question)
        if match:
            yield name, match["entity"]


def asked_entity(question: str) -> str | None:
    """The entity that a closed question names; None for an open one."""
    return next((entity for _, entity in _closed_matches(question)), None)


def entities(question: str, answer: str) -> list[str]:
    """All entities that an answer names, in its order; empty when it fits no template.

    Closed questions give ``["yes"]`` or ``["no"]``.

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
