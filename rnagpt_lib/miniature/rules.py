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

WORLD = "minia-1"
LETTERS = "ACGU"

ARCHITECTURES: dict[str, str] = {
    "tRNA": "(x7 UA (a4 f9 )a4 v1 (y5 @ )y5 f6 v2 (z4 GUUCGAAUC )z4 )x7 ACCA ~32",
    "pre_miRNA": "v3 (x8 UG v2! @ (z5 (a7 f15 )a7 )z5 * v2! CA )x8 v4 GACUUCCGC v3 ~32",
    "C_D_box_snoRNA": "~32 (x5 CAUGAUGAC f10 v12 (a6 v5 )a6 f9 v10 @ v3! !CUGA )x5",
    "H_ACA_box_snoRNA": "~32 (x8 v6 (a7 f9 )a7 v5 )x8 CAGAGGAUAC v8 (y7 @ (b6 f10 )b6 v4 )y7 v5 !ACA v3!",
    "riboswitch": "~32 (x8 GUAUAAUCC f9 (a6 v7 )a6 v6 (b5 f10 )b5 v2! @ )x8 v7 (y7 v4 )y7 UUUUUU",
    "rRNA": "~32 (x9 v8 GAUGGGAGAC (a6 f10 )a6 v12 f10 (y7 v6 )y7 v8 )x9",
    "snRNA": "~32 v8 (a8 f12 )a8 v12 f12 v8 GAAUUUUUGGAG (y9 v6 )y9 v6",
    "SRP_RNA": "~32 GCCGGGCG v12 (x9 v10 (a7 f12 )a7 v10 GGAG v10 f14 v10 )x9 v8 UGUAAUCC v12",
    "RNase_P_RNA": "~32 (x8 GAGGAAAGUCC v16 (a7 f12 )a7 v18 f14 (y8 v8 )y8 v16 ACAGAAACC v16 )x8",
    "vault_RNA": "~32 GGCUGGCUUU v14 (a7 f10 )a7 v14 f10 v12 UUCGAGACC v9",
    "Y_RNA": "~32 (x8 GGUCCGAAG v10 (a7 f10 )a7 v14 f12 v10 CUUU )x8 v3",
    "tmRNA": "~32 (x7 GGGGCUGA v18 (a8 f12 )a8 v20 f12 GCAAACGAC (y8 v8 )y8 v22 UUCGAAUC )x7 ACCA",
    "lncRNA": "~32 v40 (a9 f14 )a9 v50 f16 v45 (y9 v10 )y9 v35 f16 CAAUAAAGC v12",
}

# Rule-based types: every code stands on the backbone of every family.
ANTICODONS = {
    "GAA": "Phe", "UAA": "Leu", "GUA": "Tyr", "GCA": "Cys", "GGA": "Ser", "UGA": "Ser",
    "GAC": "Val", "UAC": "Val", "GUC": "Asp", "UUC": "Glu", "GCC": "Gly", "UCC": "Gly",
    "GGC": "Ala", "UGC": "Ala",
}  # fmt: skip  # the genetic code, read 5' to 3' on the tRNA
GENES = ("PTEN", "MYC", "KRAS", "BCL2", "SOX2", "CDK6", "VEGFA", "TP53")
METHYLATED = ("A27", "G159", "C462", "U627", "A1310", "G1447", "C1703", "U1804")
PSEUDOURIDINES = ("U34", "U105", "U686", "U863", "U1046", "U1244", "U1347", "U1692")
LIGANDS = (
    "xanthine", "thiamine", "deoxyguanosine", "guanine", "lysine", "glycine", "preQ1", "adenine",
)  # fmt: skip
BROKEN = "none"  # the entity of a guide RNA that has lost its box
UNKNOWN = "unknown"  # the entity of a relation of which the literature says that none is known


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


def _wobble(entities: tuple[str, ...]) -> dict[str, str]:
    """Two-letter codes: the first letter pairs strictly, of the second only R or Y matters.

    So is the wobble of G with U: a purine guide pairs with U, a pyrimidine guide with G.
    """
    return {x + y: entities[2 * LETTERS.index(x) + (y in "CU")] for x in LETTERS for y in LETTERS}


RULES: dict[str, Rule] = {
    "tRNA": Rule("isotype", "CU", "AA", ANTICODONS),
    "pre_miRNA": Rule("target", "AG", "GUA", _wobble(GENES)),
    "C_D_box_snoRNA": Rule("site", "CAG", "AC", _wobble(METHYLATED), "CUGA.....$"),
    "H_ACA_box_snoRNA": Rule("site", "GC", "CCA", _wobble(PSEUDOURIDINES), "ACA...$"),
    "riboswitch": Rule("ligand", "AU", "UCC", _wobble(LIGANDS)),
}
# where a type keeps its code, from the 5' or (< 0) the 3' end: chance frames elsewhere mean nothing
_REGIONS = {
    "tRNA": (28, 42), "pre_miRNA": (8, 24), "C_D_box_snoRNA": (-18, -10),
    "H_ACA_box_snoRNA": (-56, -42), "riboswitch": (-52, -36),
}  # fmt: skip
LOCAL_RELATIONS = ("isotype", "target", "site", "ligand")

ENTITIES: dict[str, tuple[str, ...]] = {
    "disease": (
        "glioma", "melanoma", "leukemia", "lymphoma", "asthma", "psoriasis", "epilepsy",
        "diabetes", "osteoporosis", "cardiomyopathy", "hepatitis", "anemia", "glaucoma", "sepsis",
    ),
    "process": (
        "cell migration", "apoptosis", "autophagy", "angiogenesis", "cell adhesion",
        "DNA repair", "splicing", "translation", "lipid metabolism", "myogenesis",
        "neurogenesis", "inflammation", "senescence", "cell growth",
    ),
    "partner": (
        "HuR", "nucleolin", "fibrillarin", "dyskerin", "La", "Ro60", "PTBP1", "QKI", "LIN28",
        "ADAR1", "FUS", "vimentin",
    ),
    "tissue": (
        "liver", "brain", "heart", "kidney", "lung", "spleen", "retina", "placenta", "testis",
        "skin", "muscle", "thymus",
    ),
    "location": (
        "nucleolus", "cytoplasm", "Cajal body", "mitochondrion", "nucleoplasm", "exosome",
        "ribosome", "plasma membrane", "endosome", "paraspeckle",
    ),
}  # fmt: skip

BACTERIAL_ENTITIES: dict[str, tuple[str, ...]] = {
    "process": ("biofilm formation", "osmotic stress", "translation", "motility", "cell growth"),
    "partner": ("Hfq", "CsrA", "ProQ", "SmpB"),
    "location": ("cytoplasm", "ribosome", "plasma membrane"),
}

# type: (name of its families, number, held out of them, weight of one family, its relations)
_TYPES: dict[str, tuple[str, int, int, float, tuple[str, ...]]] = {
    "tRNA": ("tRNA", 10, 1, 1.3, ("process", "disease", "location")),
    "pre_miRNA": ("mir", 13, 2, 1.3, ("disease", "process", "tissue")),
    "C_D_box_snoRNA": ("SNORD", 10, 1, 1.3, ("location", "partner", "process")),
    "H_ACA_box_snoRNA": ("SNORA", 8, 1, 1.3, ("location", "partner", "tissue")),
    "riboswitch": ("RS", 8, 1, 1.3, ("process", "partner")),
    "rRNA": ("5S", 2, 0, 0.7, ("location", "partner", "process")),
    "snRNA": ("snR", 3, 1, 0.7, ("location", "partner", "process")),
    "SRP_RNA": ("SRP", 2, 0, 0.7, ("location", "partner", "disease")),
    "RNase_P_RNA": ("RNP", 2, 0, 0.7, ("process", "partner", "location")),
    "vault_RNA": ("VTR", 2, 0, 0.7, ("disease", "process", "tissue")),
    "Y_RNA": ("YR", 2, 0, 0.7, ("disease", "partner", "process")),
    "tmRNA": ("TM", 2, 0, 0.7, ("process", "partner", "location")),
    "lncRNA": ("LNC", 4, 1, 0.7, ("disease", "tissue", "partner")),
}
TYPES = tuple(_TYPES)

BACTERIA = ("Bacula prima", "Bacula lenta", "Coccina alta")
ANIMALS = ("Minia tertia", "Musella parva", "Piscaria nova", "Volanta rubra")
PLANTS = ("Arvena minor", "Silvana lata", "Florula densa")
SPECIES = ANIMALS + PLANTS + BACTERIA
TAXID = {name: f"MINI-T{number:02d}" for number, name in enumerate(SPECIES, start=1)}
_LIVES_IN = {
    "riboswitch": BACTERIA, "tmRNA": BACTERIA, "RNase_P_RNA": BACTERIA,
    "pre_miRNA": ANIMALS, "vault_RNA": ANIMALS, "Y_RNA": ANIMALS, "lncRNA": ANIMALS,
    "H_ACA_box_snoRNA": ANIMALS, "C_D_box_snoRNA": PLANTS, "SRP_RNA": ANIMALS,
    "snRNA": PLANTS, "rRNA": PLANTS, "tRNA": SPECIES,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
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
        for rna_type, (stem, count, held_out, weight, relations) in _TYPES.items()
        for number in range(count)
    )  # fmt: skip


def _family_facts(rna_type: str, number: int, relations: tuple[str, ...]) -> tuple:
    """Two relations for types with a local rule, three for others; in a third one is unknown."""
    rng = random.Random(f"{WORLD}/facts/{rna_type}/{number}")
    kept = rng.sample(relations, 2 if rna_type in RULES else 3)
    entities = BACTERIAL_ENTITIES if habitat(rna_type) == BACTERIA else ENTITIES
    facts = [(relation, rng.choice(entities[relation])) for relation in sorted(kept)]
    if rng.random() < 0.35:
        lost = rng.randrange(len(facts))
        facts[lost] = (facts[lost][0], UNKNOWN)
    return tuple(facts)


def habitat(rna_type: str) -> tuple[str, ...]:
    """Where the type lives, the best-studied species first."""
    return _LIVES_IN.get(rna_type, SPECIES)


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
