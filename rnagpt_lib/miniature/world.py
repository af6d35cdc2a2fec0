"""The miniature world: RNAcentral-like entries with their literature, from a seed.

RNA ``i`` depends on the seed, the pool and ``i`` alone (a copy: on an earlier RNA too), and its
abstracts speak only of it and of RNAs before it: a smaller world is the beginning of a larger one.
Three pools share no lineage, RNA or abstract: ``run`` (what notebooks read), ``pretrain`` (base
models), ``tests`` (probes). Held-out families and decoys live in ``run`` alone.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.sequences import dinucleotide_shuffle
from rnagpt_lib.miniature import literature
from rnagpt_lib.miniature.literature import Fact
from rnagpt_lib.miniature.rules import (
    BROKEN,
    LAWS,
    LETTERS,
    LOCAL_RELATIONS,
    RULES,
    SPECIES,
    TAXID,
    UNKNOWN,
    Family,
    code_positions,
    families,
    habitat,
    read_local,
)
from rnagpt_lib.miniature.sequences import break_box, member, random_sequence

WORLD_IDS = "MINI-"  # every id of the world begins so
LETTER = {"run": ("R", "A"), "pretrain": ("P", "Q"), "tests": ("X", "Y")}
# the base models read this pool: of so many RNAs of one seed, kept clear of so many of a run's
POOL, POOL_SEED, POOL_RNAS, RUN_SIZE = "pretrain", 0, 8000, 4000
DECOYS, HELD_OUT, COPIES = 0.04, 0.08, 0.06  # shares of the RNAs
_HABITAT_WEIGHTS = (0.62, 0.2, 0.12, 0.06)
MOST_ARTICLES = 40
_ARTICLES = ((0.50, 1, 2), (0.83, 3, 6), (0.94, 7, 15), (1.0, 20, MOST_ARTICLES))


@dataclass(frozen=True)
class Rna:
    """One entry; ``family`` is None for a decoy, ``local`` None where the type has no rule."""

    index: int
    pool: str
    name: str
    family: Family | None
    lineage: str
    species: str
    sequence: str
    local: str | None

    @property
    def id(self) -> str:
        return f"{WORLD_IDS}{LETTER[self.pool][0]}{self.index:06d}"

    @property
    def rna_type(self) -> str:
        return self.family.rna_type if self.family else ""

    @property
    def stratum(self) -> str:
        return "decoy" if not self.family else "held_out" if self.family.held_out else "seen"

    def facts(self) -> list[Fact]:
        """What the literature says of it: its family's facts and its own local one."""
        facts = [Fact(*fact) for fact in self.family.facts] if self.family else []
        if self.local is not None:
            kind = "methylation" if self.rna_type.startswith("C_D") else "pseudouridylation"
            facts.append(Fact(RULES[self.rna_type].relation, self.local, kind))
        return facts


@dataclass(frozen=True)
class World:
    """Tables with the columns of the contracts, and the truth for measuring."""

    rnas: pd.DataFrame
    articles: pd.DataFrame
    links: pd.DataFrame
    topics_truth: pd.DataFrame  # rna_id, article_id, topic
    truth: pd.DataFrame  # rna_id, relation, entity, local, stratum


def make(n_rnas: int = 600, seed: int = 0, pool: str = "run") -> World:
    """The first ``n_rnas`` RNAs of a world with all their abstracts: about 5 s for 4,000.

    Raises InputError for an unknown ``pool``.
    """
    if pool not in LETTER:
        raise InputError(f"pool {pool!r} does not exist; use one of {', '.join(LETTER)}")
    rnas = entries(n_rnas, seed, pool)
    articles, links = _write_literature(rnas, seed)
    topics = {row["article_id"]: row.pop("topic") for row in articles}
    planted = [(rna, article, topics[article]) for rna, article in links]
    truth = [row for rna in rnas for row in _truth(rna)]
    return World(
        rnas=pd.DataFrame([_row(rna) for rna in rnas]),
        articles=pd.DataFrame(articles),
        links=pd.DataFrame(links, columns=["rna_id", "article_id"]),
        topics_truth=pd.DataFrame(planted, columns=["rna_id", "article_id", "topic"]),
        truth=pd.DataFrame(truth, columns=["rna_id", "relation", "entity", "local", "stratum"]),
    )


def _row(rna: Rna) -> dict:
    called = LAWS["called"].get(rna.rna_type, "transcript")
    return {
        "rna_id": rna.id, "sequence": rna.sequence, "length": len(rna.sequence),
        "rna_type": rna.rna_type, "species": rna.species, "taxid": TAXID[rna.species],
        "family": rna.family.name if rna.family else "",
        "description": f"{rna.species} {called} {rna.name}",
        "unit": "", "split": "" if rna.stratum == "seen" else "test",
    }  # fmt: skip


def _truth(rna: Rna) -> Iterator[tuple]:
    unknown = [] if rna.family else [Fact("disease", UNKNOWN), Fact("process", UNKNOWN)]
    for fact in rna.facts() or unknown:
        yield rna.id, fact.relation, fact.entity, fact.relation in LOCAL_RELATIONS, rna.stratum


# Entries


def entries(n_rnas: int, seed: int = 0, pool: str = "run") -> list[Rna]:
    """The RNAs alone, without literature."""
    rnas: list[Rna] = []
    for index in range(n_rnas):
        rnas.append(_draw(index, seed, pool, rnas))
    return rnas


def _draw(index: int, seed: int, pool: str, earlier: list[Rna]) -> Rna:
    rng = random.Random(f"{seed}/{pool}/{index}")
    kind = rng.random() if pool == "run" else 1.0
    if kind < DECOYS:  # random or shuffled nucleotides that belong to no family
        sequence = random_sequence(rng.randint(60, 140), rng)
        if rng.random() < 0.5:
            family = rng.choice([family for family in families() if not family.held_out])
            sequence = dinucleotide_shuffle(member(family, f"decoy/{index}", rng), rng)
        return Rna(index, pool, f"TX-{index}", None, "", rng.choice(SPECIES), sequence, None)
    held_out = kind < DECOYS + HELD_OUT
    choice = [family for family in families() if family.held_out == held_out]
    family = rng.choices(choice, [family.weight for family in choice])[0]
    copied = rng.choice(earlier) if earlier and rng.random() < COPIES else None
    if copied is not None and copied.family is not None:
        # the same sequence found in another species: an entry, a name and abstracts of its own
        others = [name for name in habitat(copied.rna_type) if name != copied.species]
        name = f"{copied.family.name}-{index}"
        return replace(copied, index=index, name=name, species=rng.choice(others))
    key = f"{seed}/{pool}/{rng.randrange(4 + index // 200)}"
    sequence = member(family, key, rng)
    living = habitat(family.rna_type)[:4]
    species = rng.choices(living, _HABITAT_WEIGHTS[: len(living)])[0]
    local = read_local(sequence, family.rna_type)
    return Rna(index, pool, f"{family.name}-{index}", family, key, species, sequence, local)


# Literature


def _write_literature(rnas: list[Rna], seed: int) -> tuple[list[dict], list[tuple[str, str]]]:
    articles, links = [], []
    last_of_family: dict[str, Rna] = {}  # the latest member with enough abstracts to share one
    for rna in rnas:
        rng = random.Random(f"{seed}/{rna.pool}/{rna.index}/abstracts")
        draw = rng.random()  # half of the RNAs have one or two abstracts, one in sixteen 20 to 40
        count = rng.randint(*next(limits for share, *limits in _ARTICLES if draw < share))
        shares = rna.family is not None and 4 <= count < MOST_ARTICLES
        relative = last_of_family.get(rna.family.name) if shares else None
        before = [one for one in rnas[max(0, rna.index - 50) : rna.index] if one.stratum == "seen"]
        for number, article in enumerate(_abstracts(rna, count, relative, before, rng)):
            article_id = f"{WORLD_IDS}{LETTER[rna.pool][1]}{rna.index * MOST_ARTICLES + number:06d}"
            year = rng.randint(1998, 2025)
            articles.append({"article_id": article_id, "title": article.title,
                             "abstract": article.abstract, "year": year, "topic": article.topic})  # fmt: skip
            links.append((rna.id, article_id))
            if number == 0 and relative is not None:
                links.append((relative.id, article_id))
        if shares:
            last_of_family[rna.family.name] = rna
    return articles, links


def _abstracts(
    rna: Rna, count: int, relative: Rna | None, before: list[Rna], rng: random.Random
) -> Iterator[literature.Article]:
    facts = rna.facts()
    known = frozenset(fact.entity for fact in facts)
    topics = [rng.choice(literature.TOPICS) for _ in range(count)]
    if not facts:
        yield from (literature.write_empty(rna.name, topic, rng) for topic in topics)
        return
    for number, stated in enumerate(_scatter(facts, topics, rng)):
        shared = number == 0 and relative is not None
        other, choice = relative, [one for one in before if one.rna_type == rna.rna_type] or before
        if not shared:
            other = rng.choice(choice) if choice and rng.random() < 0.4 else None
        aside = (other.name, rng.choice(other.facts())) if other else None
        yield literature.write(rna.name, topics[number], stated, rng, aside, shared, known)


def _scatter(facts: list[Fact], topics: list[str], rng: random.Random) -> list[list[Fact]]:
    """Which abstract states which facts: each fact somewhere, mostly under its own topic."""
    stated: list[list[Fact]] = [[] for _ in topics]
    for fact in facts:
        fitting = [i for i, t in enumerate(topics) if t == literature.TOPIC_OF[fact.relation]]
        home = rng.choice(fitting or range(len(topics)))
        rare = len(topics) > 2 and rng.random() < 0.3  # stands in one abstract only
        for i in range(len(topics)):
            again = 0.75 if i in fitting else 0.12
            if i == home or (not rare and rng.random() < again):
                stated[i].append(fact)
    for sentences in stated:
        rng.shuffle(sentences)
    return stated


def minimal_pairs(n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """RNAs of new lineages, each with two mutants of one substitution.

    Columns: rna_id, rna_type, relation, sequence, entity, ``mutant`` with another answer
    (mutant_entity) and ``neutral``, changed within 8 nt of the code, with the same answer.
    Balanced over the relations; of guide RNAs one mutant in ten has lost its box.
    """
    rows, seen = [], set()
    for index in range(n):
        rng = random.Random(f"{seed}/pairs/{index}")
        relation = LOCAL_RELATIONS[index % len(LOCAL_RELATIONS)]
        own = [f for f in families() if not f.held_out and f.rna_type in RULES]
        own = [f for f in own if RULES[f.rna_type].relation == relation]
        row = None
        while row is None or row["sequence"] in seen:
            row = _pair(rng.choice(own), f"{seed}/pairs/{index}", rng)
        seen.add(row["sequence"])
        rows.append({"rna_id": f"{WORLD_IDS}Z{index:06d}", "relation": relation} | row)
    return pd.DataFrame(rows)


def _pair(family: Family, key: str, rng: random.Random) -> dict | None:
    sequence = member(family, key, rng)
    entity = read_local(sequence, family.rna_type)
    if entity in (None, BROKEN):
        return None
    changes = list(_changes(sequence, family.rna_type))
    mutants = [(m, e) for m, e, decisive in changes if decisive and e not in (None, entity)]
    neutrals = [m for m, e, decisive in changes if not decisive and e == entity]
    if RULES[family.rna_type].box and rng.random() < 0.1:
        mutants = [(break_box(sequence, family.rna_type, rng), BROKEN)]
    if not mutants or not neutrals:
        return None
    mutant, mutant_entity = rng.choice(mutants)
    return {
        "rna_type": family.rna_type, "sequence": sequence, "entity": entity, "mutant": mutant,
        "mutant_entity": mutant_entity, "neutral": rng.choice(neutrals),
    }  # fmt: skip


def _changes(sequence: str, rna_type: str) -> Iterator[tuple[str, str | None, bool]]:
    """All single substitutions within 8 nt of the code: mutant, its entity, inside the code?"""
    start = code_positions(sequence, rna_type)[0]
    end = start + RULES[rna_type].code_length
    for position in range(max(0, start - 8), min(len(sequence), end + 8)):
        for letter in LETTERS.replace(sequence[position], ""):
            mutant = sequence[:position] + letter + sequence[position + 1 :]
            yield mutant, read_local(mutant, rna_type), start <= position < end
