"""The laws of the miniature world: RNA types, families, entities, and the local rules.

Everything here is fixed: it depends on ``WORLD`` alone, never on a seed. An architecture is a
string of elements, read from 5' to 3':

``GGUUC``  conserved in the whole type (``!GGUUC``: without exception)
``f8``     8 nt conserved in a family
``v6``     6 ± 2 nt of a lineage's own (``v6!``: exactly 6)
``~32``    0 to 32 nt of a lineage's own at an end, so that types overlap in length
``(a5 )a5`` the arms of a stem whose 5' arm is conserved in a family; stems x, y, z belong to
a lineage; ``@`` the local code in its frame; ``*`` the arm across from it, half of the time paired.
"""

import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

WORLD = "minia-1"
LETTERS = "ACGU"
BROKEN = "none"  # the entity of a guide RNA that has lost its box
UNKNOWN = "unknown"  # the entity of a relation of which the literature says that none is known

LAWS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
ARCHITECTURES: dict[str, str] = LAWS["architectures"]
ANTICODONS: dict[str, str] = LAWS["anticodons"]
ENTITIES: dict[str, list[str]] = LAWS["entities"]  # relation → entities
TYPES = tuple(LAWS["types"])
SPECIES = sum((LAWS["species"][kind] for kind in ("animals", "plants", "bacteria")), [])
TAXID = {name: f"MINI-T{number:02d}" for number, name in enumerate(SPECIES, start=1)}


@dataclass(frozen=True)
class Rule:
    """A relation read from a few nucleotides: ``before`` code ``after``, at most one nt decides.

    ``box``: pattern of the intact 3' end without which a guide RNA guides nothing.
    """

    relation: str
    before: str
    after: str
    codes: dict[str, str]
    box: str = ""

    @property
    def code_length(self) -> int:
        """How many nucleotides the code has: 3 for anticodons, else 2."""
        return len(next(iter(self.codes)))


def _wobble(entities: list[str]) -> dict[str, str]:
    """Two-letter codes: the first letter pairs strictly, of the second only R or Y matters.

    So is the wobble of G with U: a purine guide pairs with U, a pyrimidine guide with G.
    """
    return {x + y: entities[2 * LETTERS.index(x) + (y in "CU")] for x in LETTERS for y in LETTERS}


# Rule-based types: every code stands on the backbone of every family.
RULES: dict[str, Rule] = {
    "tRNA": Rule("isotype", "CU", "AA", ANTICODONS),
    "pre_miRNA": Rule("target", "AG", "GUA", _wobble(LAWS["genes"])),
    "C_D_box_snoRNA": Rule("site", "CAG", "AC", _wobble(LAWS["methylated"]), "CUGA.....$"),
    "H_ACA_box_snoRNA": Rule("site", "GC", "CCA", _wobble(LAWS["pseudouridines"]), "ACA...$"),
    "riboswitch": Rule("ligand", "AU", "UCC", _wobble(LAWS["ligands"])),
}
# where a type keeps its code, from the 5' or (< 0) the 3' end: chance frames elsewhere mean nothing
_REGIONS = {
    "tRNA": (28, 42), "pre_miRNA": (8, 24), "C_D_box_snoRNA": (-18, -10),
    "H_ACA_box_snoRNA": (-56, -42), "riboswitch": (-52, -36),
}  # fmt: skip
LOCAL_RELATIONS = ("isotype", "target", "site", "ligand")


class Family(NamedTuple):
    """A family: its name, its type, the facts its members share, and its abundance."""

    name: str
    rna_type: str
    number: int
    held_out: bool
    weight: float
    facts: tuple[tuple[str, str], ...]


@cache
def families() -> tuple[Family, ...]:
    """All families, in a fixed order; the last ones of a type are the held-out ones."""
    return tuple(
        Family(f"{stem}-M{number + 1}", rna_type, number, number >= count - held_out, weight,
               _family_facts(rna_type, number, relations))
        for rna_type, (stem, count, held_out, weight, relations) in LAWS["types"].items()
        for number in range(count)
    )  # fmt: skip


def _family_facts(rna_type: str, number: int, relations: list[str]) -> tuple:
    """Two relations for types with a local rule, three for others; in a third one is unknown."""
    rng = random.Random(f"{WORLD}/facts/{rna_type}/{number}")
    kept = rng.sample(relations, 2 if rna_type in RULES else 3)
    bacterial = LAWS["lives_in"].get(rna_type) == "bacteria"
    entities = LAWS["bacterial_entities" if bacterial else "entities"]
    facts = [(relation, rng.choice(entities[relation])) for relation in sorted(kept)]
    if rng.random() < 0.35:
        lost = rng.randrange(len(facts))
        facts[lost] = (facts[lost][0], UNKNOWN)
    return tuple(facts)


def habitat(rna_type: str) -> list[str]:
    """Where the type lives, the best-studied species first."""
    kind = LAWS["lives_in"].get(rna_type)
    return LAWS["species"][kind] if kind else SPECIES


def read_local(sequence: str, rna_type: str) -> str | None:
    """The entity of the type's local relation, read from the sequence alone.

    >>> read_local("GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAAAUCUGGAGGUCCUGUGUUCGAUCC", "tRNA")
    'Phe'

    ``none`` for a guide RNA whose box is broken; None where the type has no local rule, or the
    frame is missing, ambiguous, or holds no code.
    """
    rule = RULES.get(rna_type)
    positions = code_positions(sequence, rna_type) if rule else []
    if len(positions) != 1:
        return None
    code = sequence[positions[0] : positions[0] + rule.code_length]
    broken = code in rule.codes and rule.box and not re.search(rule.box, sequence)
    return BROKEN if broken else rule.codes.get(code)


def code_positions(sequence: str, rna_type: str) -> list[int]:
    """Where the rule's frame allows a code (index of its first nucleotide), inside its region."""
    rule = RULES[rna_type]
    frame = f"(?={rule.before}(.{{{rule.code_length}}}){rule.after})"
    first, last = (place + len(sequence) * (place < 0) for place in _REGIONS[rna_type])
    starts = (match.start(1) for match in re.finditer(frame, sequence))
    return [start for start in starts if first <= start <= last]
