"""The test questions with their strata, and the answers that need no model.

A semantic score means little without its floor, so every floor answers the same questions as
the models: from the training pairs alone, looking at the question, at another RNA's sequence
or at a length, never at a reference.
"""

import random

import numpy as np
import pandas as pd

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.sequences import dinucleotide_shuffle, kmer_profile
from rnagpt_lib.curate.questions import question_templates
from rnagpt_lib.evaluate import fact_scores
from rnagpt_lib.miniature.world import WORLD_IDS

FLOORS = ("floor.most_common", "floor.random", "floor.nearest", "floor.length")
STRATA = ("seen", "held_out", "decoy")
BLOCK = 256  # RNAs that are compared with all training RNAs at a time


def questions(rnas: pd.DataFrame, pairs: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """Questions of one side of the split, in a fixed order, with what scoring needs to know.

    Columns: pair_id, rna_id, unit, sequence, rna_type, stratum, source, kind, form, question,
    reference, relation, entity (``scores.wanted``), decidable (can the sequence
    tell? not the species; and of held-out families and decoys no literature and no family).
    Raises InputError when nothing is asked on that side.
    """
    table = pairs.merge(rnas.assign(stratum=strata(rnas)), on="rna_id", validate="many_to_one")
    table = table[table.split == split].rename(columns={"answer": "reference"})
    if not len(table):
        raise InputError(f"03 left no question on the {split} side; give it more RNAs or shares")
    asked = zip(table.question, table.reference, table.form, strict=True)
    about = [fact_scores.wanted(*row) for row in asked]
    found = pd.DataFrame(about, table.index, dtype=object)  # a column of str would make None a NaN
    table["relation"], table["entity"] = found[0], found[1]
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


def floor_answers(
    asked: pd.DataFrame, rnas: pd.DataFrame, pairs: pd.DataFrame, seed: int = 0
) -> dict[str, list[str]]:
    """Floor → its answer to every row of ``asked`` (a table of ``questions``).

    An answer comes from training pairs that asked the same (`Slots`).
    ``most_common`` gives the most common of these that names one entity (for closed ones the
    most common of all): the best that one constant answer can do. ``random`` gives any,
    ``nearest`` that of the training RNA nearest by 5-mer cosine, ``length`` that of the one
    nearest in length.
    """
    train = pairs.merge(rnas[rnas.split == "train"][["rna_id"]], on="rna_id")
    train = train.sort_values(["rna_id", "pair_id"], ignore_index=True)
    slots, given = Slots(train), train.answer.to_numpy(object)
    rng = random.Random(seed)
    found: dict[str, list[str]] = {name: [] for name in FLOORS}
    for row in asked.itertuples():
        key = slots.key_of(row)
        found["floor.most_common"].append(slots.most_common(row, key))
        found["floor.random"].append(given[rng.choice(slots.rows[key])])
    for name, rows in _closest(asked, rnas, train, slots).items():
        found[name] = given[rows].tolist()
    return found


class Slots:
    """Which training pairs asked the same as a question: the same relation, for closed questions
    the same words, or where nobody did, the same kind and form.

    ``train`` and the rows asked about have the columns question, kind and form; ``rows`` are the
    places in ``train`` by `key_of` a question.
    """

    def __init__(self, train: pd.DataFrame):
        places: dict[tuple, list[int]] = {}
        for place, row in enumerate(train.itertuples()):
            for key in self._keys(row):
                places.setdefault(key, []).append(place)
        self.rows = {key: np.array(found) for key, found in places.items()}
        self._given, self._common = train.answer.to_numpy(object), {}

    def key_of(self, row) -> tuple:
        return next(key for key in self._keys(row) if key in self.rows)

    def most_common(self, row, key: tuple) -> str:
        """The best constant answer to the question, counted once for all that it serves."""
        naming = row.form != "closed" and question_templates.relation_of(row.question) is not None
        asked = (key, row.form, row.question if naming else None)
        if asked not in self._common:
            self._common[asked] = _most_common(row, self._given[self.rows[key]])
        return self._common[asked]

    @staticmethod
    def _keys(row) -> list[tuple]:
        closed = row.form == "closed"
        same = (
            "asked",
            row.question
            if closed
            else question_templates.relation_of(row.question) or row.question,
        )
        return [same, ("kind", row.kind, row.form), ("form", row.form), ("any",)]


def _most_common(row, answers: np.ndarray) -> str:
    texts, counts = np.unique(answers.astype(str), return_counts=True)
    ordered = [str(text) for text in texts[np.argsort(-counts, kind="stable")]]
    if row.form == "closed":
        return ordered[0]
    nothing = (None, question_templates.UNKNOWN)
    naming = (t for t in ordered if question_templates.entity(row.question, t) not in nothing)
    return next(naming, ordered[0])


def _closest(
    asked: pd.DataFrame, rnas: pd.DataFrame, train: pd.DataFrame, slots: Slots
) -> dict[str, np.ndarray]:
    """Floor → for every question the training pair that asked the same about the closest RNA, by
    5-mers and by length; a block of RNAs at a time, since all with all would be gigabytes."""
    by_id = rnas.set_index("rna_id").sequence
    ids, owner = np.unique(train.rna_id, return_inverse=True)
    theirs = kmer_profile(by_id[ids]).T
    lengths = by_id[ids].str.len().to_numpy()
    found = {name: np.zeros(len(asked), dtype=int) for name in ("floor.nearest", "floor.length")}
    ours, rna = np.unique(asked.rna_id, return_inverse=True)
    order = np.argsort(rna, kind="stable")
    for first in range(0, len(ours), BLOCK):
        sequences = by_id[ours[first : first + BLOCK]]
        cosine = np.round(kmer_profile(sequences) @ theirs, 5)
        closer = -np.abs(lengths - sequences.str.len().to_numpy()[:, None])
        part = order[slice(*np.searchsorted(rna[order], [first, first + BLOCK]))]
        for place, row in zip(part, asked.iloc[part].itertuples(), strict=True):
            rows = slots.rows[slots.key_of(row)]
            for name, affinity in (("floor.nearest", cosine), ("floor.length", closer)):
                best = affinity[rna[place] - first][owner[rows]].argmax()
                found[name][place] = rows[best]
    return found


def species_by_type(asked: pd.DataFrame, rnas: pd.DataFrame) -> float:
    """The share of the open species questions that are right for whoever knows the RNA's type and
    names its commonest species of the training side; NaN where none is asked."""
    told = asked[(asked.kind == "species") & (asked.form == "open") & asked.entity.notna()]
    train = rnas[(rnas.split == "train") & (rnas.species != "") & (rnas.rna_type != "")]
    common = train.groupby("rna_type").species.agg(lambda own: own.value_counts().index[0])
    guess = told.rna_type.map(common).fillna("")
    return float((guess.str.casefold() == told.entity.str.casefold()).mean())


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
