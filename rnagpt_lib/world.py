"""The miniature world: RNAcentral-like entries with their literature, from a seed.

RNA ``i`` depends on the seed, the pool and ``i`` alone, and writes only about itself and RNAs
before it: a smaller world is a part of a larger one. Three pools never share a lineage, an
RNA or an abstract: ``run`` (what notebooks read), ``pretrain`` (base models), ``tests``.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from rnagpt_lib import world_text
from rnagpt_lib.errors import InputError
from rnagpt_lib.sequences import dinucleotide_shuffle, nearest
from rnagpt_lib.world_rules import (
    BROKEN,
    LETTERS,
    LOCAL_RELATIONS,
    RULES,
    SPECIES,
    TAXID,
    UNKNOWN,
    Family,
    code_length,
    code_positions,
    families,
    habitat,
    read_local,
)
from rnagpt_lib.world_sequences import break_box, member, random_sequence
from rnagpt_lib.world_text import Fact

LETTER = {"run": ("R", "A"), "pretrain": ("P", "Q"), "tests": ("X", "Y")}
DECOYS, HELD_OUT, COPIES = 0.04, 0.08, 0.06  # shares of the RNAs
MOST_ARTICLES = 40
_ARTICLES = ((0.50, 1, 2), (0.83, 3, 6), (0.94, 7, 15), (1.0, 20, MOST_ARTICLES))
_HABITAT_WEIGHTS = (0.62, 0.2, 0.12, 0.06)
_TYPE_WORDS = {
    "pre_miRNA": "microRNA precursor", "C_D_box_snoRNA": "C/D box small nucleolar RNA",
    "H_ACA_box_snoRNA": "H/ACA box small nucleolar RNA", "rRNA": "5S ribosomal RNA",
    "snRNA": "small nuclear RNA", "SRP_RNA": "signal recognition particle RNA",
    "RNase_P_RNA": "RNase P RNA", "vault_RNA": "vault RNA", "Y_RNA": "Y RNA",
    "tmRNA": "transfer-messenger RNA", "lncRNA": "long non-coding RNA", "tRNA": "transfer RNA",
    "riboswitch": "riboswitch", "": "transcript",
}  # fmt: skip


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
        return f"MINI-{LETTER[self.pool][0]}{self.index:06d}"

    @property
    def rna_type(self) -> str:
        return self.family.rna_type if self.family else ""

    @property
    def stratum(self) -> str:
        if self.family is None:
            return "decoy"
        return "held_out" if self.family.held_out else "seen"

    def facts(self) -> list[Fact]:
        """What the literature says of it: its family's facts and its own local one."""
        if self.family is None:
            return []
        facts = [Fact(relation, entity) for relation, entity in self.family.facts]
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
    """The first ``n_rnas`` RNAs of a world with all their abstracts; about 10 s for 4,000."""
    if pool not in LETTER:
        raise InputError(f"pool {pool!r} does not exist; use one of {', '.join(LETTER)}")
    rnas = entries(n_rnas, seed, pool)
    articles, links = _literature(rnas, seed)
    topics = {row["article_id"]: row.pop("topic") for row in articles}
    return World(
        rnas=pd.DataFrame([_row(rna) for rna in rnas]),
        articles=pd.DataFrame(articles),
        links=pd.DataFrame(links, columns=["rna_id", "article_id"]),
        topics_truth=pd.DataFrame(
            [(rna, article, topics[article]) for rna, article in links],
            columns=["rna_id", "article_id", "topic"],
        ),
        truth=pd.DataFrame(
            [row for rna in rnas for row in _truth(rna)],
            columns=["rna_id", "relation", "entity", "local", "stratum"],
        ),
    )


def entries(n_rnas: int, seed: int = 0, pool: str = "run") -> list[Rna]:
    """The RNAs alone, without literature."""
    rnas: list[Rna] = []
    for index in range(n_rnas):
        rnas.append(_draw(index, seed, pool, rnas))
    return rnas


def _draw(index: int, seed: int, pool: str, earlier: list[Rna]) -> Rna:
    rng = random.Random(f"{seed}/{pool}/{index}")
    kind = rng.random() if pool == "run" else 1.0
    if kind < DECOYS:
        return _decoy(index, pool, rng)
    held_out = kind < DECOYS + HELD_OUT
    choice = [family for family in families() if family.held_out == held_out]
    family = rng.choices(choice, [family.weight for family in choice])[0]
    copied = rng.choice(earlier) if earlier and rng.random() < COPIES else None
    if copied is not None and copied.family is not None:
        return _copy(copied, index, rng)
    key = f"{seed}/{pool}/{rng.randrange(4 + index // 200)}"
    sequence = member(family, key, rng)
    return Rna(
        index, pool, f"{family.name}-{index}", family, key, _species(family.rna_type, rng),
        sequence, read_local(sequence, family.rna_type),
    )  # fmt: skip


def _species(rna_type: str, rng: random.Random) -> str:
    living = habitat(rna_type)[:4]
    return rng.choices(living, _HABITAT_WEIGHTS[: len(living)])[0]


def _copy(rna: Rna, index: int, rng: random.Random) -> Rna:
    """The same sequence found in another species: an entry, a name and abstracts of its own."""
    others = [name for name in habitat(rna.rna_type) if name != rna.species]
    name = f"{rna.family.name}-{index}"
    return replace(rna, index=index, name=name, species=rng.choice(others))


def _decoy(index: int, pool: str, rng: random.Random) -> Rna:
    """Random or shuffled nucleotides that belong to no family."""
    sequence = random_sequence(rng.randint(60, 140), rng)
    if rng.random() < 0.5:
        family = rng.choice([family for family in families() if not family.held_out])
        sequence = dinucleotide_shuffle(member(family, f"decoy/{index}", rng), rng)
    return Rna(index, pool, f"TX-{index}", None, "", rng.choice(SPECIES), sequence, None)


def _row(rna: Rna) -> dict:
    return {
        "rna_id": rna.id,
        "sequence": rna.sequence,
        "length": len(rna.sequence),
        "rna_type": rna.rna_type,
        "species": rna.species,
        "taxid": TAXID[rna.species],
        "family": rna.family.name if rna.family else "",
        "description": f"{rna.species} {_TYPE_WORDS[rna.rna_type]} {rna.name}",
        "unit": "",
        "split": "" if rna.stratum == "seen" else "test",
    }


def _truth(rna: Rna) -> Iterator[tuple]:
    for fact in rna.facts():
        yield rna.id, fact.relation, fact.entity, fact.relation in LOCAL_RELATIONS, rna.stratum
    if rna.family is None:
        for relation in ("disease", "process"):
            yield rna.id, relation, UNKNOWN, False, rna.stratum


# Literature


def _literature(rnas: list[Rna], seed: int) -> tuple[list[dict], list[tuple[str, str]]]:
    articles, links = [], []
    last_of_family: dict[str, Rna] = {}  # the latest member with enough abstracts to share one
    for rna in rnas:
        rng = random.Random(f"{seed}/{rna.pool}/{rna.index}/abstracts")
        count = _article_count(rng)
        shares = rna.family is not None and 4 <= count < MOST_ARTICLES
        relative = last_of_family.get(rna.family.name) if shares else None
        others = [other for other in rnas[max(0, rna.index - 50) : rna.index] if _citable(other)]
        for number, article in enumerate(_abstracts(rna, count, relative, others, rng)):
            article_id = f"MINI-{LETTER[rna.pool][1]}{rna.index * MOST_ARTICLES + number:06d}"
            articles.append(_article_row(article_id, article, rng))
            links.append((rna.id, article_id))
            if number == 0 and relative is not None:
                links.append((relative.id, article_id))
        if shares:
            last_of_family[rna.family.name] = rna
    return articles, links


def _citable(rna: Rna) -> bool:
    return rna.stratum == "seen"


def _article_count(rng: random.Random) -> int:
    """1 to 40: half of the RNAs have one or two abstracts, one in sixteen has 20 to 40."""
    draw = rng.random()
    low, high = next((low, high) for share, low, high in _ARTICLES if draw < share)
    return rng.randint(low, high)


def _article_row(article_id: str, article: world_text.Article, rng: random.Random) -> dict:
    return {
        "article_id": article_id,
        "title": article.title,
        "abstract": article.abstract,
        "year": rng.randint(1998, 2025),
        "topic": article.topic,
    }


def _abstracts(
    rna: Rna, count: int, relative: Rna | None, others: list[Rna], rng: random.Random
) -> Iterator[world_text.Article]:
    facts = rna.facts()
    topics = [rng.choice(world_text.TOPICS) for _ in range(count)]
    if not facts:
        yield from (world_text.write_empty(rna.name, topic, rng) for topic in topics)
        return
    for number, stated in enumerate(_scatter(facts, topics, rng)):
        shared = number == 0 and relative is not None
        other = relative if shared else _other(rna, others, rng)
        aside = (other.name, rng.choice(other.facts())) if other else None
        yield world_text.write(rna.name, topics[number], stated, rng, aside, shared)


def _other(rna: Rna, others: list[Rna], rng: random.Random) -> Rna | None:
    choice = [other for other in others if other.rna_type == rna.rna_type] or others
    return rng.choice(choice) if choice and rng.random() < 0.4 else None


def _scatter(facts: list[Fact], topics: list[str], rng: random.Random) -> list[list[Fact]]:
    """Which abstract states which facts: each fact somewhere, mostly under its own topic."""
    stated: list[list[Fact]] = [[] for _ in topics]
    for fact in facts:
        fitting = [i for i, t in enumerate(topics) if t == world_text.TOPIC_OF[fact.relation]]
        home = rng.choice(fitting or range(len(topics)))
        rare = len(topics) > 2 and rng.random() < 0.3  # stands in one abstract only
        for i in range(len(topics)):
            again = 0.75 if i in fitting else 0.12
            if i == home or (not rare and rng.random() < again):
                stated[i].append(fact)
    for sentences in stated:
        rng.shuffle(sentences)
    return stated


# Probes of the local rules


def minimal_pairs(n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """RNAs of new lineages with one substitution that changes the local answer and one that
    does not, both within 8 nt: rna_id, relation, sequence, entity, mutant, mutant_entity, neutral.

    Balanced over the relations; about one pair in ten of the guide RNAs breaks the box.
    """
    rows, seen = [], set()
    for index in range(n):
        rng = random.Random(f"{seed}/pairs/{index}")
        relation = LOCAL_RELATIONS[index % len(LOCAL_RELATIONS)]
        row = None
        while row is None or row["sequence"] in seen:
            row = _pair(relation, f"{seed}/pairs/{index}", rng)
        seen.add(row["sequence"])
        rows.append({"rna_id": f"MINI-Z{index:06d}", "relation": relation} | row)
    return pd.DataFrame(rows)


def _pair(relation: str, key: str, rng: random.Random) -> dict | None:
    family = rng.choice(_local_families(relation))
    sequence = member(family, key, rng)
    entity = read_local(sequence, family.rna_type)
    changes = list(_changes(sequence, family.rna_type))
    if entity in (None, BROKEN):
        return None
    mutants = [(m, e) for m, e, decisive in changes if decisive and e not in (None, entity)]
    neutrals = [m for m, e, decisive in changes if not decisive and e == entity]
    if RULES[family.rna_type].box and rng.random() < 0.1:
        mutants = [(break_box(sequence, family.rna_type, rng), BROKEN)]
    if not mutants or not neutrals:
        return None
    mutant, mutant_entity = rng.choice(mutants)
    return {
        "sequence": sequence, "entity": entity, "mutant": mutant,
        "mutant_entity": mutant_entity, "neutral": rng.choice(neutrals),
    }  # fmt: skip


def _local_families(relation: str) -> list[Family]:
    return [
        family for family in families()
        if not family.held_out
        and family.rna_type in RULES
        and RULES[family.rna_type].relation == relation
    ]  # fmt: skip


def _changes(sequence: str, rna_type: str) -> Iterator[tuple[str, str | None, bool]]:
    """All single substitutions within 8 nt of the code: mutant, its entity, inside the code?"""
    rule, (start, *_) = RULES[rna_type], code_positions(sequence, rna_type)
    end = start + code_length(rule)
    for position in range(max(0, start - 8), min(len(sequence), end + 8)):
        for letter in LETTERS.replace(sequence[position], ""):
            mutant = sequence[:position] + letter + sequence[position + 1 :]
            yield mutant, read_local(mutant, rna_type), start <= position < end


def local_tests(train: pd.DataFrame, n: int = 500, seed: int = 0) -> pd.DataFrame:
    """``n`` RNAs of new lineages whose nearest RNA of ``train`` has another local answer.

    ``train`` has the columns of rnas. Returns rna_id, rna_type, relation, sequence, entity and
    nearest, the rna_id of the closest training sequence by k-mers.
    """
    train = train[train.rna_type.isin(RULES)].reset_index(drop=True)
    pool = [rna for rna in entries(4 * n, seed, "tests") if rna.local is not None]
    closest = nearest([rna.sequence for rna in pool], train.sequence)
    rows = []
    for rna, row in zip(pool, closest, strict=True):
        twin = train.iloc[row]
        if read_local(twin.sequence, twin.rna_type) != rna.local:
            rows.append((rna.id, rna.rna_type, RULES[rna.rna_type].relation, rna.sequence,
                         rna.local, twin.rna_id))  # fmt: skip
    names = ["rna_id", "rna_type", "relation", "sequence", "entity", "nearest"]
    return pd.DataFrame(rows[:n], columns=names)
