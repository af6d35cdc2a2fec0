"""Synthetic RNAs and literature of RNAcentral's size, seeded, written shard by shard.

Not RNAcentral: families by mutation, words by chance. Sizes follow what is known of it: lengths by
type, families with many near-identical members, abstracts of 1.3 KB, links by Zipf's law.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rnagpt_lib.core.params import Kind
from rnagpt_lib.core.tables import COLUMNS, frame, schema, write

RNAS, ARTICLES = 407_616, 1_044_729  # the paper's; LitScan's counter
PAIRS = 9_800_000  # 24 for each RNA, as the paper has of its 5,000
SHARD = 20_000  # rows of an article shard: about 30 MB
# type: share, shortest, longest founder, largest family
TYPES = {
    "miRNA": (0.16, 20, 24, 60),
    "piRNA": (0.03, 26, 32, 2),
    "pre_miRNA": (0.20, 60, 110, 300),
    "tRNA": (0.20, 72, 88, 4000),
    "snoRNA": (0.12, 70, 150, 200),
    "snRNA": (0.05, 106, 190, 2000),
    "rRNA": (0.04, 119, 160, 1500),
    "lncRNA": (0.20, 200, 1150, 12),
}
EDITS = (0.0, 0.01, 0.02, 0.05, 0.1)  # of a member from its founder
LONELY = 0.35  # families of one


def write_all(folder: Path, n_rnas: int) -> int:
    """The four tables that the filter reads; how many articles there are, in the paper's share."""
    n_articles = round(ARTICLES * n_rnas / RNAS)
    rnas(n_rnas).to_parquet(folder / "rnas.parquet", index=False)
    links(n_rnas, n_articles).to_parquet(folder / "links.parquet", index=False)
    write_articles(folder / "articles.parquet", n_articles)
    write(folder / "dropped.parquet", "dropped", frame("dropped", []))
    return n_articles


def families(n: int, seed: int = 0) -> Iterator[tuple[str, str, str]]:
    """(sequence, type, family) of ``n`` RNAs; a founder's members are edited copies."""
    rng, made = random.Random(seed), 0
    names, shares = list(TYPES), [share for share, *_ in TYPES.values()]
    size_of = {name: _mean_size(largest) for name, (*_, largest) in TYPES.items()}
    weights = [share / size_of[name] for name, share in zip(names, shares, strict=True)]
    for number in range(n):
        name = rng.choices(names, weights)[0]
        _, shortest, longest, largest = TYPES[name]
        founder = "".join(rng.choices("ACGU", k=rng.randint(shortest, longest)))
        for _ in range(_size(rng, largest)):
            yield edited(founder, rng.choice(EDITS), rng), name, f"{name} {number}"
            made += 1
            if made == n:
                return


def _size(rng: random.Random, largest: int) -> int:
    """Members of a family: one, or up to ``largest``, evenly over the orders of magnitude."""
    return 1 if rng.random() < LONELY else int(largest ** rng.random()) + 1


def _mean_size(largest: int) -> float:
    return LONELY + (1 - LONELY) * (1 + (largest - 1) / np.log(largest))


def edited(sequence: str, rate: float, rng: random.Random) -> str:
    """A copy with ``rate`` of its letters substituted, deleted or doubled (2 : 1 : 1)."""
    letters = list(sequence)
    for place in range(len(letters)):
        if rng.random() < rate:
            kind = rng.random()
            other = rng.choice("ACGU")
            letters[place] = other if kind < 0.5 else "" if kind < 0.75 else letters[place] + other
    return "".join(letters)


def rnas(n: int, seed: int = 0) -> pd.DataFrame:
    """The table ``rnas`` of ``n`` RNAs, family by family; split and unit empty."""
    sequence, kind, family = zip(*families(n, seed), strict=True)
    data = {name: [""] * n for name in COLUMNS["rnas"]}
    data |= {"rna_id": [f"URS{i:010X}_9606" for i in range(n)], "sequence": sequence}
    data |= {"rna_type": kind, "family": family, "length": [len(one) for one in sequence]}
    data |= {"species": ["Homo sapiens"] * n, "taxid": ["9606"] * n}
    data["description"] = [f"Homo sapiens (human) {name}" for name in family]
    return pd.DataFrame(data)


def links(n_rnas: int, n_articles: int, seed: int = 0) -> pd.DataFrame:
    """The table ``links``: numbers of articles by Zipf's law, and so the articles' RNAs.

    Most of an RNA's articles are its gene's (four neighbours share them); one in eight is on
    many RNAs, the first of these articles on the most. One in twenty RNAs has no article, and
    one article in eight no RNA.
    """
    rng = np.random.default_rng(seed)
    counts = np.minimum(rng.zipf(1.6, n_rnas), 2000)
    counts[rng.random(n_rnas) < 0.05] = 0
    counts = np.minimum(counts, max(1, n_articles // 4))
    rna = np.repeat(np.arange(n_rnas), counts)
    eighth = n_articles // 8
    own = 2 * eighth + (rna // 4 * 7 + rng.zipf(1.4, len(rna)) - 1) % (n_articles - 2 * eighth)
    shared = eighth + (eighth * rng.random(len(rna)) ** 4).astype(int)
    article = np.where(rng.random(len(rna)) < 0.125, shared, own)
    pairs = np.unique(rna * n_articles + article)
    rna, article = np.divmod(pairs, n_articles)
    ids = [f"URS{i:010X}_9606" for i in range(n_rnas)]
    return pd.DataFrame({
        "rna_id": pd.Series(ids).to_numpy()[rna],
        "article_id": np.char.add("PMC", article.astype(str)).astype(object),
    })  # fmt: skip


def write_articles(path: Path, n: int, seed: int = 0) -> None:
    """The table ``articles``, in row groups of `SHARD`: titles of 90, abstracts of 1,300 letters.

    Words are drawn by Zipf's law from 20,000, so that compression finds what it finds in prose.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 12, 20_000)
    letters = rng.choice(list("etaoinshrdlucmfwypvbgk"), lengths.sum())
    ends = np.cumsum(lengths)
    words = np.array(["".join(letters[e - k : e]) for e, k in zip(ends, lengths, strict=True)])
    chance = 1 / np.arange(10, 10 + len(words))
    with pq.ParquetWriter(path, schema("articles")) as writer:
        for first in range(0, n, SHARD):
            size = min(SHARD, n - first)
            drawn = words[rng.choice(len(words), (size, 165), p=chance / chance.sum())]
            columns = {
                "article_id": [f"PMC{i}" for i in range(first, first + size)],
                "title": [" ".join(row[:11]) for row in drawn],
                "abstract": [" ".join(row) for row in drawn],
                "year": rng.integers(1990, 2026, size),
            }
            writer.write_table(pa.table(columns, schema=writer.schema))


def write_pairs(
    path: Path, rna_ids: Sequence[str], n: int, words: Sequence[str], seed: int = 0
) -> None:
    """The table ``pairs``, in row groups of `SHARD`: as many for each RNA, RNA after RNA.

    Questions of 8 to 16 of ``words``, answers of 5 to 25, kinds by chance.
    """
    rng = np.random.default_rng(seed)
    with pq.ParquetWriter(path, schema("pairs")) as writer:
        for first in range(0, n, SHARD):
            places = np.arange(first, min(first + SHARD, n))
            size = len(places)
            columns = {
                "pair_id": [f"{place:016x}" for place in places],
                "rna_id": np.asarray(rna_ids)[places * len(rna_ids) // n],
                "source": ["dnc"] * size,
                "kind": rng.choice(get_args(Kind), size),
                "form": ["open"] * size,
                "question": [f"{text}?" for text in _texts(rng, words, size, 8, 16)],
                "answer": [f"{text}." for text in _texts(rng, words, size, 5, 25)],
                "article_ids": [[]] * size,
                "prompt_version": ["synthetic"] * size,
            }
            writer.write_table(pa.table(columns, schema=writer.schema))


def _texts(
    rng: np.random.Generator, words: Sequence[str], n: int, fewest: int, most: int
) -> Iterator[str]:
    drawn = np.asarray(words, dtype=object)[rng.integers(len(words), size=(n, most))]
    for row, length in zip(drawn, rng.integers(fewest, most + 1, n), strict=True):
        yield " ".join(row[:length])
