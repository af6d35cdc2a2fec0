"""Plain statements about one answer: what it says against the fields of the RNA or of those near
it, what it names that no evidence holds, and when nothing near is known at all.

A statement has to be right more than it has to be there: where an answer denies, hedges or lists,
nothing is said. How often they are right is measured (`benchmarks/README.md`, neighbours).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from rnagpt_lib.chat.retrieved_evidence import Entry, Neighbour, listed, percent
from rnagpt_lib.chat.rna_types import same
from rnagpt_lib.curate.questions import facts, question_templates
from rnagpt_lib.curate.questions.question_templates import CATEGORICAL, RELATIONS
from rnagpt_lib.evaluate import dictionary
from rnagpt_lib.evaluate.evidence import Finder, claimed
from rnagpt_lib.evaluate.fact_scores import SENTENCES, lexicon, named, yes_or_no
from rnagpt_lib.miniature.world import WORLD_IDS

NOUNS = {"rna_type": "type", "species": "species", "family": "family"}
HEDGES = re.compile(
    r"\b(may|might|could|maybe|perhaps|possibly|presumably|probably|likely|seems?|appears?|think)\b",
    re.IGNORECASE,
)
# Kinds of statements
OTHER, FIELD, ANNOTATED, NEAR = "other", "field", "annotated", "near"
SPECIES, FAR, UNFOUND = "species", "far", "unfound"


class Statement(NamedTuple):
    """A sentence, and which of the kinds above it is."""

    kind: str
    text: str


class Claim(NamedTuple):
    """Values of one field that an answer gives the RNA, and those that it denies."""

    said: set[str]
    denied: set[str]


@dataclass(frozen=True)
class Retrieved:
    """What is known beside an answer. ``known``: the asked RNA's own entry, None for a new one;
    ``same``: all entries with its sequence; ``another``: the asked id, where it is that of another
    sequence."""

    known: Entry | None
    same: Entry | None
    another: str
    neighbours: Sequence[Neighbour]

    @property
    def near(self) -> list[Neighbour]:
        return [one for one in self.neighbours if one.near]


@dataclass(frozen=True)
class Checker:
    """``fields``: the values of each field, and ``taught`` those of training RNAs; ``find``: the
    other entities of a sentence; ``typed``: the types that it names in other words; ``spelling``:
    of what is folded."""

    fields: Mapping[str, Sequence[str]]
    taught: Mapping[str, Sequence[str]]
    find: Finder
    typed: Finder
    spelling: Mapping[str, str]

    @classmethod
    def of(cls, rnas: pd.DataFrame, pairs: pd.DataFrame | None) -> "Checker":
        """``rnas`` of a run (split and fields). Of the generated world ``pairs`` (form, question,
        answer) name all that can be named; of other RNAs, without them, the dictionary does."""
        fields, taught = (
            {name: sorted(set(side[name]) - {""}) for name in CATEGORICAL}
            for side in (rnas, rnas[rnas["split"] == "train"])
        )
        if pairs is None:
            return cls(fields, taught, _other_than_types, _types, _spelling(fields.values()))
        known = lexicon(pairs)
        others = sorted(set().union(*(known[name] for name in known.keys() - {*CATEGORICAL})))
        spelling = _spelling([*fields.values(), others])
        return cls(fields, taught, lambda text: named(text, others), lambda text: set(), spelling)

    def statements(self, question: str, answer: str, found: Retrieved) -> list[Statement]:
        """What is to be said of an answer, most telling first; empty where nothing is."""
        said = []
        if found.another:
            text = f"{found.another} has another sequence in the run's tables"
            said.append(Statement(OTHER, f"{text}; its fields are not used."))
        for field in CATEGORICAL:
            claim = self.claim(field, question, answer)
            if found.known and found.known.values[field]:
                said += self._against_own(field, claim, found)
            elif field == "species":
                said += self._cannot_tell(claim, found)
            else:
                said += self._against_near(field, claim, found.near)
        if not found.near:
            guess = "" if found.known else "; take the answer as a guess"
            said.append(Statement(FAR, f"{nothing_near(found)}{guess}."))
        against = list(_against_annotation(question, answer, found))
        return [*said, *against] if against else [*said, *self._unfound(question, answer, found)]

    def claim(self, field: str, question: str, answer: str) -> Claim:
        """What an answer claims of a field, folded.

        To a question about the field, whatever it names; to any other one what it says in a
        sentence of the field's own: "The RNA is of the type tRNA."
        """
        entity = question_templates.asked_entity(question)
        if question_templates.relation_of(question) != field:
            return Claim(self._in_passing(field, answer), set())
        sure = " ".join(s for s in SENTENCES.split(answer) if not HEDGES.search(s))
        said = claimed(sure, lambda sentence: self._values(field, sentence))
        word = yes_or_no(answer) if entity else None
        yes, no = ({entity.casefold()} if word == which else set() for which in ("yes", "no"))
        return Claim(said | yes, no)

    def _values(self, field: str, sentence: str) -> set[str]:
        found = named(sentence, self.fields[field])
        return found | self.typed(sentence) if field == "rna_type" else found

    def _in_passing(self, field: str, answer: str) -> set[str]:
        relation, known = RELATIONS[field], {value.casefold() for value in self.fields[field]}
        matches = map(relation.answer_pattern.fullmatch, SENTENCES.split(answer))
        return {match["entity"].casefold() for match in matches if match} & known

    def _against_own(self, field: str, claim: Claim, found: Retrieved) -> Iterator[Statement]:
        own = found.known.values[field]
        if but := self._but(claim, own):
            text = (
                f"{who(found.known.rna_id)} gives this RNA the {NOUNS[field]} {listed(own)}; {but}."
            )
            if field == "species" and len(_species(found)) > 1:
                text += f" The sequence cannot tell: {_found_in(found)}."
            yield Statement(FIELD, text)

    def _against_near(
        self, field: str, claim: Claim, near: Sequence[Neighbour]
    ) -> Iterator[Statement]:
        """Only where all that are near, and have the field, agree on one value, and the answer's
        is one that training RNAs have: of another none could have been near."""
        if claim.said and not _any_same(claim.said, self.taught[field]):
            return
        telling = [one for one in near if one.values[field]]
        agreed = {value for one in telling for value in one.values[field]}
        if len(agreed) == 1 and (but := self._but(claim, tuple(agreed))):
            best = max(telling, key=lambda one: one.identity)
            some = f"{len(telling)} nearest RNAs have" if telling[1:] else "nearest RNA has"
            yield Statement(
                NEAR,
                f"The {some} the {NOUNS[field]} {agreed.pop()} ({best.rna_id} is "
                f"{percent(best.identity)} identical); {but}.",
            )

    def _but(self, claim: Claim, own: Sequence[str]) -> str:
        """In what the answer differs from the values ``own``; "" where it does not."""
        if claim.said:
            agrees = _any_same(claim.said, own)
            return "" if agrees else f"the answer says {self._spelt(claim.said)}"
        denies = {value.casefold() for value in own} <= claim.denied
        return "the answer denies it" if denies else ""

    def _cannot_tell(self, claim: Claim, found: Retrieved) -> Iterator[Statement]:
        if claim.said and len(_species(found)) > 1:
            yield Statement(SPECIES, f"The sequence cannot tell the species: {_found_in(found)}.")

    def _unfound(self, question: str, answer: str, found: Retrieved) -> Iterator[Statement]:
        """Entities that the RNA's annotation lacks, or, where it has none, those of near RNAs."""
        said = claimed(answer, self.find)
        entity = question_templates.asked_entity(question)
        if entity and yes_or_no(answer) == "yes":
            said |= self.find(entity)
        own = self._told([found.same] if found.same else [])
        near = self._told(found.near)
        if own and said - own:
            there = "; RNAs near it have it" if said - own <= near else ""
            text = f"Not found in the evidence of this RNA: {self._spelt(said - own)}{there}."
            yield Statement(UNFOUND, text)
        elif not own and found.near and said - near:
            text = f"Not found in the evidence of the nearest RNAs: {self._spelt(said - near)}."
            yield Statement(UNFOUND, text)

    def _told(self, entries: Sequence[Entry]) -> set[str]:
        """What the annotations of some RNAs claim."""
        sentences = (sentence for entry in entries for sentence in entry.sentences)
        return set().union(*(claimed(each.text, self.find) for each in sentences))

    def _spelt(self, folded: set[str]) -> str:
        return listed(tuple(self.spelling.get(one, one) for one in sorted(folded)))


def _against_annotation(question: str, answer: str, found: Retrieved) -> Iterator[Statement]:
    """Where a closed question's answer is not what the RNA's own annotation says of the entity."""
    entity, word = question_templates.asked_entity(question), yes_or_no(answer)
    if not (entity and word and found.same):
        return
    asked = (question_templates.relation_of(question), entity.casefold())
    told = [
        (fact.true, sentence.text)
        for sentence in found.same.sentences
        for fact in facts.facts_in(sentence.text, continues=True)[0]
        if (fact.relation, fact.entity.casefold()) == asked
    ]
    if told and all(true != (word == "yes") for true, _ in told):
        text = f"The annotation of this RNA says “{told[0][1]}”; the answer says {word}."
        yield Statement(ANNOTATED, text)


def _any_same(some: Iterable[str], others: Iterable[str]) -> bool:
    return any(same(one, other) for one in some for other in others)


def who(rna_id: str) -> str:
    """Whose fields those of an RNA are, by its id."""
    if rna_id.startswith(WORLD_IDS):
        return "The generated world"
    return "RNAcentral" if re.match(r"URS[0-9A-F]{10}(_|$)", rna_id) else "The run's table"


def nothing_near(found: Retrieved) -> str:
    """That no alignment is better than chance's."""
    nearest = f"the nearest one is {percent(found.neighbours[0].identity)} identical, which chance reaches"
    return f"No RNA of the training set is similar ({nearest})"


def _species(found: Retrieved) -> list[str]:
    """Of all entries with the sequence, and of RNAs near it."""
    entries = [found.same, *found.near] if found.same else found.near
    return sorted({species for entry in entries for species in entry.values["species"]})


def _found_in(found: Retrieved) -> str:
    lowest = min((one.identity for one in found.near), default=1.0)
    alike = "the same one is" if lowest == 1 else f"RNAs at least {percent(lowest)} identical are"
    return f"{alike} found in {listed(tuple(_species(found)))}"


def _other_than_types(sentence: str) -> set[str]:
    return {m.name for m in dictionary.mentions(sentence) if m.kind != "rna_type"}


def _types(sentence: str) -> set[str]:
    """But not the second half of a name with a hyphen, as in "transfer-messenger RNA"."""
    found = (m for m in dictionary.mentions(sentence) if m.kind == "rna_type")
    return {m.name for m in found if sentence[: m.start][-1:] != "-"}


def _spelling(groups: Sequence[Sequence[str]]) -> dict[str, str]:
    return {value.casefold(): value for group in groups for value in group}
