"""The literature of the miniature world: abstracts in plain English, written from facts.

An abstract is about one topic. Facts stand among background, methods and results of that topic,
in varied wordings; the subject is the RNA's name, or "this RNA" / "it" right after the name.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from rnagpt_lib.miniature.rules import BROKEN, ENTITIES, UNKNOWN

TOPICS = ("disease", "function", "expression", "evolution", "methods")
TOPIC_OF = {
    "disease": "disease", "process": "function", "partner": "function", "tissue": "expression",
    "location": "expression", "isotype": "function", "target": "function", "site": "function",
    "ligand": "function",
}  # fmt: skip

# wordings by relation or topic, of fixed order: the seed draws by their places
WORDINGS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))


class Fact(NamedTuple):
    """One statement: the entity of a relation, ``unknown`` or ``none`` included."""

    relation: str
    entity: str
    modification: str = "modification"  # how a guide RNA's site is modified


class Article(NamedTuple):
    """A title and an abstract, with the topic it was planted for."""

    title: str
    abstract: str
    topic: str


def claim(fact: Fact, subject: str, rng: random.Random) -> str:
    """The fact as a clause without its full stop: ``"mir-M3-17 targets KRAS"``."""
    if fact.entity == UNKNOWN:
        pattern = rng.choice(WORDINGS["nothing"][fact.relation])
    elif fact.entity == BROKEN:
        pattern = rng.choice(WORDINGS["no_site"])
    else:
        pattern = rng.choice(WORDINGS["claims"][fact.relation])
    return pattern.format(s=subject, e=fact.entity, m=fact.modification)


def sentence(fact: Fact, subject: str, rng: random.Random, lead: str | None = None) -> str:
    """The fact as a whole sentence with a lead and a tail: ``"We show that it targets KRAS."``"""
    nothing = fact.entity == UNKNOWN
    if lead is None or nothing:
        lead = rng.choice(WORDINGS["leads_of_nothing"] if nothing else WORDINGS["leads"])
    return _capital(
        lead + claim(fact, subject, rng) + rng.choice(WORDINGS["tails"]) * (not nothing), subject
    )


def _capital(clause: str, name: str) -> str:
    """A full stop after, a capital before (names of RNAs keep their own letters)."""
    keeps = clause.startswith(name) and name not in ("it", "this RNA")
    return (clause if keeps else clause[0].upper() + clause[1:]) + "."


def write(
    name: str,
    topic: str,
    facts: list[Fact],
    rng: random.Random,
    other: tuple[str, Fact] | None = None,
    shared: bool = False,
    known: frozenset[str] = frozenset(),
) -> Article:
    """An abstract about ``name`` that states ``facts``; ``other`` is another RNA with a fact of it.

    In a shared abstract (read for either RNA) every statement names its subject. ``known``: the
    entities of all facts of the RNA, which no denial names.
    """
    fillers = rng.sample(WORDINGS["fillers"][topic], 3 + (len(facts) < 3) + (len(facts) < 1))
    blocks = [[_fill(filler, name, rng)] for filler in fillers]
    blocks.append(list(_statements(name, facts, rng, shared)))
    if other is not None:
        aside = rng.choice(("In contrast, ", "By comparison, ", "In other work, ", ""))
        blocks.append([_capital(aside + claim(other[1], other[0], rng), other[0])])
    if rng.random() < 0.15:
        blocks.append([_distractor(name, known, rng)])
    rng.shuffle(blocks)
    opening = _fill(rng.choice(WORDINGS["openings"][topic]), name, rng)
    lines = [opening, *(line for block in blocks for line in block)]
    if len(lines) < 8 and rng.random() < 0.3:
        lines.append(rng.choice(WORDINGS["closings"]))
    return Article(_fill(rng.choice(WORDINGS["titles"][topic]), name, rng), " ".join(lines), topic)


def write_empty(name: str, topic: str, rng: random.Random) -> Article:
    """An abstract that mentions the RNA and knows nothing about it."""
    lines = [
        rng.choice(WORDINGS["openings"][topic]),
        *rng.sample(WORDINGS["empty"], 2),
        *rng.sample(WORDINGS["fillers"][topic], 3),
    ]
    text = " ".join(_fill(line, name, rng) for line in lines)
    return Article(_fill(rng.choice(WORDINGS["titles"][topic]), name, rng), text, topic)


def _fill(pattern: str, name: str, rng: random.Random) -> str:
    return pattern.format(n=name, k=rng.randrange(12, 480))


def _statements(name: str, facts: list[Fact], rng: random.Random, shared: bool) -> Iterator[str]:
    """The facts in a row: the first by name, later ones also as "it" or "this RNA"."""
    leads = rng.sample(WORDINGS["leads"], len(facts))
    for position, fact in enumerate(facts):
        follows = position > 0 and not shared
        subject = rng.choice((name, "it", "this RNA")) if follows else name
        yield sentence(fact, subject, rng, leads[position])


def _distractor(name: str, known: frozenset[str], rng: random.Random) -> str:
    """A denial or an open question, which states no fact and contradicts none."""
    relation, pattern = rng.choice(
        (
            ("disease", "{} is not associated with {}."),
            ("process", "It was not tested whether {} regulates {}."),
        )
    )
    entities = [entity for entity in ENTITIES[relation] if entity not in known]
    return pattern.format(name, rng.choice(entities))
