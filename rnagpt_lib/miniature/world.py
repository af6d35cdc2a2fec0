"""The miniature world: RNAcentral-like entries with their literature, from a seed.

RNA ``i`` depends on the seed, the pool and ``i`` alone, and writes only about itself and RNAs
before it: a smaller world is the beginning of a larger one. `world_rules` holds the laws,
`world_sequences` and `world_entries` make the RNAs, `world_text` the words, `world_probes`
the minimal pairs.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.miniature import literature
from rnagpt_lib.miniature.entries import LETTER, WORLD_IDS, Rna, entries
from rnagpt_lib.miniature.literature import Fact
from rnagpt_lib.miniature.probes import local_tests, minimal_pairs
from rnagpt_lib.miniature.rules import LOCAL_RELATIONS, TAXID, UNKNOWN

__all__ = ["Rna", "World", "entries", "local_tests", "make", "minimal_pairs"]

MOST_ARTICLES = 40
_ARTICLES = ((0.50, 1, 2), (0.83, 3, 6), (0.94, 7, 15), (1.0, 20, MOST_ARTICLES))
_TYPE_WORDS = {
    "pre_miRNA": "microRNA precursor", "C_D_box_snoRNA": "C/D box small nucleolar RNA",
    "H_ACA_box_snoRNA": "H/ACA box small nucleolar RNA", "rRNA": "5S ribosomal RNA",
    "snRNA": "small nuclear RNA", "SRP_RNA": "signal recognition particle RNA",
    "RNase_P_RNA": "RNase P RNA", "vault_RNA": "vault RNA", "Y_RNA": "Y RNA",
    "tmRNA": "transfer-messenger RNA", "lncRNA": "long non-coding RNA", "tRNA": "transfer RNA",
    "riboswitch": "riboswitch", "": "transcript",
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """Tables with the columns of the contracts, and the truth for measuring."""

    rnas: pd.DataFrame
    articles: pd.DataFrame
    links: pd.DataFrame
    topics_truth: pd.DataFrame  # rna_id, article_id, topic
    truth: pd.DataFrame  # rna_id, relation, entity, local, stratum


def make(n_rnas: int = 600, seed: int = 0, pool: str = "run") -> World:
    """The first ``n_rnas`` RNAs of a world with all their abstracts: about 5 s for 4,000."""
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
            article_id = f"{WORLD_IDS}{LETTER[rna.pool][1]}{rna.index * MOST_ARTICLES + number:06d}"
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


def _article_row(article_id: str, article: literature.Article, rng: random.Random) -> dict:
    return {
        "article_id": article_id,
        "title": article.title,
        "abstract": article.abstract,
        "year": rng.randint(1998, 2025),
        "topic": article.topic,
    }


def _abstracts(
    rna: Rna, count: int, relative: Rna | None, others: list[Rna], rng: random.Random
) -> Iterator[literature.Article]:
    facts = rna.facts()
    known = frozenset(fact.entity for fact in facts)
    topics = [rng.choice(literature.TOPICS) for _ in range(count)]
    if not facts:
        yield from (literature.write_empty(rna.name, topic, rng) for topic in topics)
        return
    for number, stated in enumerate(_scatter(facts, topics, rng)):
        shared = number == 0 and relative is not None
        other = relative if shared else _other(rna, others, rng)
        aside = (other.name, rng.choice(other.facts())) if other else None
        yield literature.write(rna.name, topics[number], stated, rng, aside, shared, known)


def _other(rna: Rna, others: list[Rna], rng: random.Random) -> Rna | None:
    choice = [other for other in others if other.rna_type == rna.rna_type] or others
    return rng.choice(choice) if choice and rng.random() < 0.4 else None


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
