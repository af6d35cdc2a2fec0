"""The test questions with their strata, and what the controls put in place of the sequence."""

import random

import numpy as np
import pandas as pd

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.sequences import dinucleotide_shuffle
from rnagpt_lib.evaluate import fact_scores
from rnagpt_lib.miniature.world import WORLD_IDS

STRATA = ("seen", "held_out", "decoy")


def questions(rnas: pd.DataFrame, pairs: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """Questions of one side of the split, in a fixed order, with what scoring needs to know:
    stratum, relation and entity (`fact_scores.wanted`), decidable (can the sequence tell? not the
    species; and of held-out families and decoys no literature and no family). Raises InputError
    when nothing is asked on that side."""
    table = pairs.merge(rnas.assign(stratum=strata(rnas)), on="rna_id", validate="many_to_one")
    table = table[table.split == split].rename(columns={"answer": "reference"})
    if not len(table):
        raise InputError(f"03 left no question on the {split} side; give it more RNAs or shares")
    asked = zip(table.question, table.reference, table.form, strict=True)
    about = [fact_scores.wanted(*row) for row in asked]
    named = pd.DataFrame(about, table.index, dtype=object)  # a column of str would make None a NaN
    table["relation"], table["entity"] = named[0], named[1]
    learnt = table.kind.isin(["literature", "family"])
    table["decidable"] = (table.kind != "species") & ~(learnt & (table.stratum != "seen"))
    columns = ["pair_id", "rna_id", "unit", "sequence", "rna_type", "stratum", "source", "kind"]
    columns += ["form", "question", "reference", "relation", "entity", "decidable"]
    return table[columns].sort_values(["rna_id", "pair_id"], ignore_index=True)


def strata(rnas: pd.DataFrame) -> pd.Series:
    """``decoy``: one of the world's random sequences, which have no RNA type; ``held_out`` when
    no training RNA has the family, else ``seen``, as are RNAs whose type nobody gave."""
    known = set(rnas[rnas.split == "train"].family)
    held_out = np.where(rnas.family.isin(known), "seen", "held_out")
    decoy = (rnas.rna_type == "") & rnas.rna_id.str.startswith(WORLD_IDS)
    return pd.Series(np.where(decoy, "decoy", held_out), rnas.index)


def sample(asked: pd.DataFrame, max_pairs: int, seed: int = 0) -> pd.DataFrame:
    """At most ``max_pairs`` questions (0: all), whole RNAs at a time, drawn by the seed."""
    if not max_pairs or len(asked) <= max_pairs:
        return asked
    order = asked.drop_duplicates("rna_id").sample(frac=1, random_state=seed).rna_id
    sizes = asked.groupby("rna_id").size()[order].cumsum()
    kept = sizes.index[: max(1, int((sizes <= max_pairs).sum()))]
    return asked[asked.rna_id.isin(kept)].reset_index(drop=True)


def describe_facts(asked: pd.DataFrame) -> str:
    """How many of the open questions have a fact to check, in a sentence."""
    open_ones = asked[asked["form"] == "open"]
    named = open_ones[open_ones["entity"].notna()]
    free = int(named["relation"].str.startswith(fact_scores.FREE).sum())
    return (
        f"{len(named):,} of {len(open_ones):,} open questions have a reference that names one "
        f"entity, or says that none is known: facts are of these ({free:,} in words of their own, "
        "by the dictionary)"
    )


def species_by_type(asked: pd.DataFrame, rnas: pd.DataFrame) -> float:
    """The share of the open species questions that are right for whoever knows the RNA's type and
    names its commonest species of the training side; NaN where none is asked."""
    named = asked[(asked.kind == "species") & (asked.form == "open") & asked.entity.notna()]
    train = rnas[(rnas.split == "train") & (rnas.species != "") & (rnas.rna_type != "")]
    common = train.groupby("rna_type").species.agg(lambda own: own.value_counts().index[0])
    guess = named.rna_type.map(common).fillna("")
    return float((guess.str.casefold() == named.entity.str.casefold()).mean())


def shuffled(asked: pd.DataFrame, seed: int = 0) -> list[str]:
    """Every question's sequence, shuffled with its dinucleotides kept; one for an RNA."""
    return _per_rna(asked, lambda rna, rng: dinucleotide_shuffle(rna.sequence, rng), seed)


def swapped(asked: pd.DataFrame, seed: int = 0) -> list[str]:
    """Every question with the sequence of a test RNA of another type, where all have one type
    of another unit, and where there is one unit with its own, reversed; one for an RNA."""
    rnas = asked.drop_duplicates("rna_id")

    def other(rna, rng: random.Random) -> str:
        for column in ("rna_type", "unit"):
            others = rnas[(rnas[column] != getattr(rna, column)) & (rnas.sequence != rna.sequence)]
            if len(others):
                return rng.choice(list(others.sequence))
        return rna.sequence[::-1]

    return _per_rna(asked, other, seed)


def _per_rna(asked: pd.DataFrame, change, seed: int) -> list[str]:
    """One changed sequence per RNA, drawn from the seed and the RNA's id alone."""
    rnas = asked.drop_duplicates("rna_id").itertuples()
    changed = {rna.rna_id: change(rna, random.Random(f"{seed} {rna.rna_id}")) for rna in rnas}
    return [changed[rna_id] for rna_id in asked.rna_id]


CONTROL_SEQUENCES = {  # of IT: what stands in each question's place of the sequence
    "control.shuffled": shuffled,
    "control.swapped": swapped,
    "control.none": lambda asked, seed: [None] * len(asked),
}
