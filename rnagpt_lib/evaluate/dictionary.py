"""Entities of real texts: diseases, processes, kinds of RNA, molecules, by words and patterns.

The generated world's entities are known, those of nature are not: a small dictionary finds the
usual ones. How many it finds, and how often it errs, is measured (``benchmarks/README.md``).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from rnagpt_lib.evaluate import dictionary_terms

ID = dictionary_terms.ID
KINDS = ("disease", "process", "rna_type", "molecule")
_MIR = (
    r"(?:[a-z]{3}-)?(?:[Mm]i(?:cro)?RNAs?|[Mm]i[Rr]s?|MIR|[Ll]et)(?: ?- ?| )?\d+[a-z]{0,2}(?:-\d{1,2}(?!\d))?"
    r"(?:-[35]p)?\*?"
)
_MORE = re.compile(r"(?:,? and |, ?|/)(-\d+[a-z]{0,2}(?:-[35]p)?\*?)(?!\w)")
_SYMBOL = (
    r"[A-Z]{2,5}\d{1,3}-AS\d|CD\d+(?:R[AO])?|(?:IL|TGF-?(?:β|beta))-?\d+|LINC\d+|SNOR[AD]\d+\w*|"
    r"[A-Z][A-Za-z]{0,5}[A-Z]\d{1,3}[A-Z]{0,2}[a-z]?\d?|[A-Z]\d{2,3}|[A-Z][A-Za-z]{1,5}-?\d{1,2}[A-Z]?|"
    r"[A-Z]{2,5}-\d{1,2}[A-Z]?"
)
_ABBREVIATION = re.compile(r" \(([A-Za-z]*[A-Z][A-Za-z]*)\)")
_HEAD = r"(?:diseases?|syndromes?|disorders?|injur(?:y|ies)|fibrosis|failure)"


@dataclass(frozen=True)
class Mention:
    """An entity in a text: ``text[start:end]``, and the one ``name`` of all its spellings."""

    start: int
    end: int
    kind: str
    name: str


def mentions(text: str) -> list[Mention]:
    """All entities of a text in its order; of overlapping ones the longest.

    >>> [(m.kind, m.name) for m in mentions("MiR-21 targets PTEN in colorectal carcinomas (CRC).")]
    [('molecule', 'mir-21'), ('molecule', 'pten'), ('disease', 'colorectal carcinoma'), ('disease', 'colorectal cancer')]
    """
    found = [*_named_rnas(text), *_by_rules(text)]
    found += _abbreviated(text, found)
    found.sort(key=lambda m: (m.start - m.end, KINDS.index(m.kind), m.start))
    kept: list[Mention] = []
    for mention in found:
        if all(mention.end <= other.start or other.end <= mention.start for other in kept):
            kept.append(mention)
    return sorted(kept, key=lambda m: m.start)


def find(sentence: str) -> set[str]:
    """The names of all entities of a sentence: an `evidence.Finder`."""
    return {mention.name for mention in mentions(sentence)}


def _by_rules(text: str) -> Iterator[Mention]:
    for kind, pattern, barred in _rules():
        for match in pattern.finditer(text):
            if not barred.fullmatch(match[0]):
                yield Mention(*match.span(), kind, _name(kind, match[0]))


def _named_rnas(text: str) -> Iterator[Mention]:
    """miR-21 in all its spellings, and the "-143" of "miR-145, -143"."""
    for match in _whole(_MIR).finditer(text):
        yield Mention(*match.span(), "molecule", _mir(match[0]))
        end = match.end()
        while more := _MORE.match(text, end):
            yield Mention(*more.span(1), "molecule", _mir("mir" + more[1]))
            end = more.end()


def _abbreviated(text: str, found: list[Mention]) -> Iterator[Mention]:
    """What PC is in a text that says "pancreatic cancer (PC)"."""
    for mention in found:
        short = _ABBREVIATION.match(text, mention.end)
        same = short and short[1][0].casefold() == text[mention.start].casefold()
        if same and mention.kind in ("disease", "process"):
            for match in _whole(short[1]).finditer(text):
                yield Mention(*match.span(), mention.kind, mention.name)


def _mir(text: str) -> str:
    bare = re.sub(r"^[a-z]{3}-(?=mi|let)", "", text.lower().strip())
    bare = re.sub(r"^(?:micrornas?|mirnas?|mirs?)", "mir", bare)
    return re.sub(r"^(mir|let)[ -]*", r"\1-", bare).rstrip("*")


@cache
def _rules() -> list[tuple[str, re.Pattern, re.Pattern]]:
    """Kind, what names one, and which whole matches do not."""
    organs, tumours = _either(dictionary_terms.ORGANS), _either(dictionary_terms.TUMOURS)
    of_organ = (
        rf"(?:{organs})(?: \([A-Z]+\))?(?:[ /](?:{organs}|advanced|primary|mucinous|papillary|cell))*"
        rf" (?:(?:{tumours})s?|{_HEAD})"
    )
    whose = (
        rf"[A-Z][a-z]+(?:['’]s) {_HEAD}|(?:inflammatory bowel|[a-z]+ vascular|infectious) {_HEAD}"
    )
    no_disease, no_symbol = _bars(dictionary_terms.NO_DISEASES), _bars(dictionary_terms.NO_SYMBOLS)
    none = re.compile(r"(?!)")
    return [
        ("disease", _whole(of_organ, any_case=True), none),
        ("disease", _whole(whose), none),
        ("disease", _whole(rf"(?:{_either(dictionary_terms.DISEASES)})s?", any_case=True), none),
        ("disease", _whole(dictionary_terms.DISEASE_ENDINGS, any_case=True), no_disease),
        ("disease", _whole(rf"(?:{_either(dictionary_terms.ABBREVIATED_DISEASES)})s?"), none),
        ("process", _whole(_either(dictionary_terms.PROCESSES), any_case=True), none),
        ("process", _whole(_either(dictionary_terms.ABBREVIATED_PROCESSES)), none),
        ("rna_type", _whole(rf"(?:{_either(dictionary_terms.RNA_TYPES)})s?", any_case=True), none),
        ("molecule", _whole(_either(dictionary_terms.COMPOUNDS), any_case=True), none),
        ("molecule", _whole(dictionary_terms.COMPOUND_ENDINGS, any_case=True), none),
        ("molecule", _whole(_either(dictionary_terms.ABBREVIATED_COMPOUNDS)), none),
        ("molecule", _whole(rf"(?:{_either(dictionary_terms.PROTEINS)})s?", any_case=True), none),
        ("molecule", _whole(_either(dictionary_terms.SYMBOLS)), none),
        ("molecule", _whole(_SYMBOL), no_symbol),
    ]


def _either(words: str) -> str:
    """The lines' words, two spaces between them, as one expression."""
    return "|".join(word for word in re.split(r"\s{2,}|\n", words.strip()) if word)


def _bars(words: str) -> re.Pattern:
    return re.compile(_either(words), re.IGNORECASE)


def _whole(pattern: str, any_case: bool = False) -> re.Pattern:
    """Whole words alone; a hyphen ends a word, as in "KRAS-driven"."""
    return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE if any_case else 0)


def _name(kind: str, text: str) -> str:
    """One name for "Drug-resistance" and "drug resistance", "tumours" and "tumor", "CRC" and
    "colorectal cancer"."""
    name = re.sub(r"[\s_]+", " ", text.casefold().replace("tumour", "tumor"))
    name = re.sub(r" \([^)]*\)", "", name)
    if kind == "rna_type":
        name = re.sub(r"micro-? ?rna|mi-rna|^mirs?$", "mirna", name)
    if kind in ("disease", "rna_type"):
        name = re.sub(r"ies$", "y", re.sub(r"(?<=[a-hj-rt-z])s$", "", name))
    if kind == "process":
        name = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", name)
    return dictionary_terms.SYNONYMS.get(name, name)
