"""The entries of the miniature world: which RNA stands at which number of which pool.

RNA ``i`` depends on the seed, the pool and ``i`` alone (a copy: on an earlier RNA too). Three
pools never share a lineage, an RNA or an abstract: ``run`` (what notebooks read), ``pretrain``
(base models), ``tests`` (probes). Held-out families and decoys live in ``run`` alone.
"""

import random
from dataclasses import dataclass, replace

from rnagpt_lib.core.sequences import dinucleotide_shuffle
from rnagpt_lib.miniature.literature import Fact
from rnagpt_lib.miniature.rules import RULES, SPECIES, Family, families, habitat, read_local
from rnagpt_lib.miniature.sequences import member, random_sequence

WORLD_IDS = "MINI-"  # every id of the world begins so
LETTER = {"run": ("R", "A"), "pretrain": ("P", "Q"), "tests": ("X", "Y")}
# the base models read this pool: of so many RNAs of one seed, kept clear of so many of a run's
POOL, POOL_SEED, POOL_RNAS, RUN_SIZE = "pretrain", 0, 8000, 4000
DECOYS, HELD_OUT, COPIES = 0.04, 0.08, 0.06  # shares of the RNAs
_HABITAT_WEIGHTS = (0.62, 0.2, 0.12, 0.06)


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
