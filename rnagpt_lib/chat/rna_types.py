"""When two names of RNA types exclude each other: RNAcentral's, and those of people.

The types are those of RNAcentral (https://rnacentral.org/help, INSDC's ncRNA vocabulary).
"""

import re

GENERIC = {"rna", "ncrna", "misc rna", "other"}  # exclude no other
ALIASES = {
    "piwi interacting rna": "pirna",
    "7sl rna": "srp rna",
    "signal recognition particle rna": "srp rna",
    "vtrna": "vault rna",
    "grna": "guide rna",
    "sgrna": "guide rna",
    "transfer messenger rna": "tmrna",
}
KIN = (  # one may be a kind, a part or a maker of the other
    {"precursor rna", "pre mirna"},
    {"precursor rna", "pri mirna"},
    {"rnase p rna", "ribozyme"},
    {"rnase mrp rna", "ribozyme"},
    {"autocatalytically spliced intron", "ribozyme"},
    {"scarna", "snorna"},
    {"y rna", "scrna"},
    {"srp rna", "scrna"},
    {"antisense rna", "lncrna"},
    {"antisense rna", "srna"},
)


def same(one: str, other: str) -> bool:
    """Whether two RNA types, or other values, do not exclude each other.

    >>> same("snoRNA", "C_D_box_snoRNA"), same("ncRNA", "tRNA"), same("tRNA", "rRNA")
    (True, True, False)
    >>> same("piRNA", "piwi-interacting RNA"), same("RNase_P_RNA", "ribozyme")
    (True, True)
    """
    names = [" ".join(re.findall(r"[^\W_]+", each.casefold())) for each in (one, other)]
    names = [ALIASES.get(name, name) for name in names]
    if not GENERIC.isdisjoint(names) or set(names) in KIN:
        return True
    words = [set(name.split()) for name in names]
    return words[0] <= words[1] or words[1] <= words[0]
