"""What texts call an RNA, and how those names leave a text.

A question or an annotation that names its RNA gives the answer away, so summaries speak of
"this RNA". Names come out of the entry's own fields; nothing is looked up.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

THIS = "this RNA"
FIELDS = ("rna_id", "description", "species", "family", "taxid")  # of an entry, that name it

# Words of descriptions that carry a digit or capitals and are still nobody's name.
_GENERIC = re.compile(
    r"(?i)(?:\d+(?:\.\d+)?S|[a-z]{0,3}(?:micro|non-?coding|ribosomal|transfer)?-?RNAs?|DNA|"
    r"LSU|SSU|SRP|RNase|ITS\d?|[CHD]/[A-Z]+|[ACGU]{3}|\d+-\d+|\d+[a-z]{0,2}|\d+S_rRNA)"
)
_URS = re.compile(r"(URS[0-9A-F]{10})_\d+")
_MIRNA = re.compile(
    r"(?i)(?:(?P<species>[a-z]{3,4})-)?(?P<stem>mir|let)-?(?P<number>\d+[a-z]*)"
    r"(?P<copy>-\d{1,2})?(?P<arm>-[35]p|\*)?"
)
_TRNA = re.compile(
    r"(?i)(?:mt-)?tRNA[- (]*(?P<acid>i?[A-Z][a-z]{2,3})\b\)?(?P<rest>[-(]+[ACGU]{3}\)?)?"
)
# Without the separators that `pattern` lets go; case folding keeps two letters apart that (?i)
# takes for an i.
_BARE = str.maketrans("\u0130\u0131", "ii", "- \u2010\u2011\u2012\u2013\u2014")
_WORD = re.compile(r"[A-Za-z0-9][\w.:/*'-]*[\w*]")
# What a description names beside its RNA: the strain, and the gene that the RNA is named after.
_OTHERS = re.compile(
    r"\b(?:sub)?str(?:ain|\.) \S+|"
    r"(?<![\w-])[\w-]+ (?=(?:antisense|opposite strand|target|regulat\w+|host gene|intron\w*|"
    r"overlapping|adjacent|divergent|upstream|downstream|associated|transcript antisense)\b)"
)
_BACTERIAL = re.compile(r"[A-Z][a-z]{1,3}[A-Z]\d?")  # RyhB, MicF, a small RNA of bacteria
_BRACKETED = re.compile(r"\(([A-Za-z][\w-]*)\)")  # a symbol, as Xist, ryhB; or (human)
_KINDS = r"(?:(?:the|a|an) )?(?:human |mature |precursor ){0,3}(?:\w*RNA|riboswitch|ribozyme)"
# Around a name: what makes another RNA's of it, as GAS5-AS1 (antisense, intronic, overlapping or
# divergent transcripts), its "antisense RNA 1" in words, and circ-GAS5.
DERIVED = r"(?:-(?i:AS|IT|OT|DT|OS|NAT)\d{0,2}| (?:AS|IT|OT|DT|OS|NAT)\d{1,2})(?![A-Za-z0-9])"
_BEFORE = r"(?<![A-Za-z0-9])(?<!(?i:circ)[-_ ])(?<!(?i:circrna)[-_ ])"
_AFTER = (
    rf"(?![A-Za-z0-9])(?!-\d)(?!{DERIVED})"
    r"(?!(?i: (?:antisense|intronic|overlapping|divergent) (?:RNA|transcript)))"
)


def names_of(row: Mapping[str, object]) -> list[str]:
    """The names under which texts may speak of one entry (``rna_id``, ``description``, …).

    >>> names_of({"rna_id": "hsa-mir-21"})[:4]
    ['hsa-mir-21', 'mir-21', 'mir-21-3p', 'mir-21-5p']
    """
    rna_id, description, species, family, taxid = (str(row.get(name) or "") for name in FIELDS)
    urs = _URS.fullmatch(rna_id)
    found = [rna_id, urs[1] if urs else ""]
    text = description.replace(species, " ") if species else description
    text = _OTHERS.sub(" ", text)
    symbols = (word for word in _BRACKETED.findall(text) if word != taxid and len(word) >= 3)
    found += [word for word in symbols if not word.islower() and not _GENERIC.fullmatch(word)]
    for candidate in [rna_id, *_WORD.findall(text), family]:
        found += _spellings(candidate) if candidate != taxid else []
    for match in _TRNA.finditer(description):
        found += _trna_spellings(match)
    return list(dict.fromkeys(name for name in found if name))


def _spellings(word: str) -> list[str]:
    """The spellings of one name-like word; none when the word is not a name."""
    if mirna := _MIRNA.fullmatch(word):
        return _mirna_spellings(mirna)
    has_digit = any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
    capitals = word.isupper() and len(word) >= 4
    like_a_name = has_digit or capitals or _BACTERIAL.fullmatch(word)
    return [word] if like_a_name and not _GENERIC.fullmatch(word) and not _TRNA.match(word) else []


def _mirna_spellings(match: re.Match) -> list[str]:
    """hsa-mir-29b-1 → hsa-mir-29b-1, mir-29b-1, mir-29b, mir-29b-3p, mir-29b-1-3p, …."""
    stem, number, copy = match["stem"].lower(), match["number"].lower(), match["copy"] or ""
    stems = [stem] if stem == "let" else [stem, "miRNA", "microRNA", "micro RNA", "miRs"]
    ends = dict.fromkeys([copy, "", "-3p", "-5p", "*", f"{copy}-3p", f"{copy}-5p", f"{copy}*"])
    forms = [match[0], *(f"{name}-{number}{end}" for name in stems for end in ends)]
    if match["species"]:
        forms += [f"{match['species'].lower()}-{form}" for form in forms[1:]]
    return forms


def _trna_spellings(match: re.Match) -> list[str]:
    acid = match["acid"]
    forms = [match[0].strip(" ("), f"tRNA-{acid}", f"tRNA({acid})", f"tRNA{acid}"]
    rest = (match["rest"] or "").strip("-()")
    return [f"tRNA-{acid}-{rest}", f"tRNA-{acid}({rest})", *forms] if rest else forms


def pattern(names: Iterable[str]) -> re.Pattern[str]:
    """One expression that finds any of the names as a whole word, the longest first.

    Separators are loose (``miR-21``, ``miR21`` and ``miR 21`` are one); names of four letters
    and more, or with a digit and a hyphen, match in any case, short symbols only as written.
    ``miR-21`` is not found in ``miR-210`` nor in the cluster ``miR-21-92``; GAS5-AS1 is no GAS5.
    """
    return _pattern(tuple(sorted(set(names), key=lambda name: (-len(name), name))))


@lru_cache(maxsize=4096)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    parts = []
    for name in names:
        escaped = re.escape(name).replace(r"\-", "[-\u2010-\u2014 ]?")
        parts.append(f"(?i:{escaped})" if len(name) >= 4 else escaped)
    found = "|".join(parts) or r"(?!)"
    return re.compile(rf"{_BEFORE}(?:{found}){_AFTER}")


def may_hold(text: str, names: Iterable[str]) -> bool:
    """Whether `pattern` of the names may find one in the text; False is certain, and cheap.

    >>> may_hold("MiR 21 is high.", ["mir-21"]), may_hold("MiR-22 is high.", ["mir-21"])
    (True, False)
    """
    bare, *found = (one.translate(_BARE).casefold() for one in (text, *names))
    return any(name in bare for name in found)


def mask_names(text: str, names: Iterable[str], by: str = THIS) -> str:
    """The text with every name replaced.

    >>> mask_names("MicroRNA-21 (miR-21) is not miR-210.", names_of({"rna_id": "hsa-mir-21"}))
    'This RNA is not miR-210.'
    """
    masked, count = pattern(names).subn(by, text)
    return tidy(masked, by) if count else text


def tidy(text: str, by: str = THIS) -> str:
    """Join what masking left doubled ("the microRNA this RNA (this RNA)"); capital at the start."""
    mask = re.escape(by)
    joint = r"(?:,? (?:also )?(?:known as|called|named) |/|, | )?"
    text = re.sub(rf"{mask}({joint}[(\[]?{mask}[)\]]?)+", by, text)
    text = re.sub(rf"(?i)\b(?:{_KINDS}|the) {mask}\b", by, text)
    text = re.sub(rf"\b{mask} (?:mi|micro|t|lnc|sno)RNA\b", by, text)
    return by[:1].upper() + text[1:] if text.startswith(by) else text
