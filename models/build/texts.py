"""What the miniature LLM reads before any run: texts of the world's ``pretrain`` pool.

Abstracts, sequences with descriptions, statements about RNAs, and questions about RNAs that are
described in words, answered in many wordings. No question is asked about a sequence: reading
RNAs is left to the stages.
"""

import random
from collections.abc import Iterator

import pandas as pd

from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.miniature.literature import Fact, claim, sentence
from rnagpt_lib.miniature.rules import BROKEN, UNKNOWN
from rnagpt_lib.miniature.world import World

ENTRY: dict[str, tuple[str, ...]] = {
    "rna_type": ("{s} is a {e}", "{s} belongs to the RNA type {e}"),
    "family": ("{s} belongs to the family {e}", "{s} is a member of the family {e}"),
    "species": ("{s} is from {e}", "{s} belongs to the species {e}"),
}
DESCRIBED = ("{d}: {q}", "{q} {d}", "{q} This RNA is {d}.", "This is {d}. {q}")
QUESTIONS_PER_RNA, ABSTRACTS_PER_RNA = 12, 3
STATED = 0.6  # share of the questions whose answer stands in the description


def texts(world: World, seed: int = 0) -> list[str]:
    """All documents, shuffled; those of one RNA depend on the seed and on that RNA alone."""
    chosen = world.links.groupby("rna_id").head(ABSTRACTS_PER_RNA).article_id
    read = world.articles[world.articles.article_id.isin(chosen)]
    made = [f"{row.title}. {row.abstract}" for row in read.itertuples()]
    facts = {key: _facts(rows) for key, rows in world.truth.groupby("rna_id")}
    entities = _entities(world)
    for rna in world.rnas.itertuples():
        rng = random.Random(f"{seed}/{rna.rna_id}")
        made.extend(_about(rna, facts[rna.rna_id], entities, rng))
    random.Random(seed).shuffle(made)
    return made


def _about(
    rna, facts: list[Fact], entities: dict[str, list[str]], rng: random.Random
) -> Iterator[str]:
    fields = [Fact(field, getattr(rna, field)) for field in ENTRY]
    known = fields + facts
    yield _with_letters(rna.sequence, rng.sample(known, 3), rng)
    yield _statements("this RNA", rng.sample(known, len(known)), rng)
    for _ in range(QUESTIONS_PER_RNA):
        asked, *others = rng.sample(known, 3)
        described = _description(rna, [asked, *others], rng)
        question, answer = _question(asked, entities, rng)
        yield f"###Human: {described.format(q=question)} ###Assistant: {answer}"


def _with_letters(sequence: str, facts: list[Fact], rng: random.Random) -> str:
    """``<RNA>GGCU…</RNA> This RNA is a tRNA. It carries Phe.``"""
    said = _statements("this RNA", facts, rng)
    if rng.random() < 0.2:
        return f"{said} Its sequence is <RNA>{sequence}</RNA>."
    return f"<RNA>{sequence}</RNA> {said}"


def _statements(subject: str, facts: list[Fact], rng: random.Random) -> str:
    """Sentences about one RNA, the first with the subject, later ones also with "it"."""
    subjects = [subject, *rng.choices([subject, "it", "the RNA"], k=len(facts) - 1)]
    said = (_sentence(fact, s, rng) for fact, s in zip(facts, subjects, strict=True))
    return " ".join(text[0].upper() + text[1:] for text in said)


def _sentence(fact: Fact, subject: str, rng: random.Random) -> str:
    if fact.relation in ENTRY:
        return rng.choice(ENTRY[fact.relation]).format(s=subject, e=fact.entity) + "."
    return sentence(fact, subject, rng)


def _description(rna, facts: list[Fact], rng: random.Random) -> str:
    """A prompt about one RNA in words, with ``{q}`` where the question goes: statements of the
    facts, or the entry alone, from whose family some answers follow."""
    if rng.random() < STATED:
        return _statements("the RNA", rng.sample(facts, len(facts)), rng) + " {q}"
    entry = rng.choice((rna.description, f"a {rna.rna_type} of the family {rna.family}"))
    return rng.choice(DESCRIBED).replace("{d}", entry)


def _question(fact: Fact, entities: dict[str, list[str]], rng: random.Random) -> tuple[str, str]:
    """A question about the fact and its answer, in one of several manners."""
    if rng.random() < 0.3 and fact.entity not in (UNKNOWN, BROKEN):
        return _closed(fact, entities[fact.relation], rng)
    question = rng.choice(RELATIONS[fact.relation].questions)
    if rng.random() < 0.3 and fact.entity not in (UNKNOWN, BROKEN):
        return question, f"{fact.entity.capitalize() if fact.entity.islower() else fact.entity}."
    subject = rng.choice(("it", "the RNA", "this RNA"))
    said = rng.choice(ENTRY[fact.relation]) if fact.relation in ENTRY else ""
    said = said.format(s=subject, e=fact.entity) or claim(fact, subject, rng)
    return question, f"{said[0].upper()}{said[1:]}."


def _closed(fact: Fact, entities: list[str], rng: random.Random) -> tuple[str, str]:
    asked = fact.entity if rng.random() < 0.5 else rng.choice(entities)
    said = "Yes" if asked == fact.entity else "No"
    return RELATIONS[fact.relation].closed.format(asked), f"{said}."


def _facts(rows: pd.DataFrame) -> list[Fact]:
    return [Fact(row.relation, row.entity) for row in rows.itertuples()]


def _entities(world: World) -> dict[str, list[str]]:
    """All named entities by relation, fields of the entries included."""
    named = world.truth[~world.truth.entity.isin((UNKNOWN, BROKEN))]
    found = {relation: sorted(set(rows.entity)) for relation, rows in named.groupby("relation")}
    return found | {field: sorted(set(world.rnas[field])) for field in ENTRY}
