"""Probes of the local rules: does an answer follow the nucleotides that decide it?"""

import random
from collections.abc import Iterator

import pandas as pd

from rnagpt_lib.miniature.rules import (
    BROKEN,
    LETTERS,
    LOCAL_RELATIONS,
    RULES,
    Family,
    code_positions,
    families,
    read_local,
)
from rnagpt_lib.miniature.sequences import break_box, member
from rnagpt_lib.miniature.world import WORLD_IDS


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
