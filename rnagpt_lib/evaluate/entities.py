"""Entities of texts: diseases, processes, kinds of RNA, molecules, by words and patterns. Those of
the generated world are known (`named`); of nature's a dictionary, ``entities.tsv``, finds the usual
ones (`mentions`). How many, and how often it errs: ``python -m benchmarks dictionary``."""

import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from rnagpt_lib.core.text import caseless, fold

ID = "dictionary-1"  # a change of words or rules is a new number
PLURAL = frozenset("abcdefghjklmnopqrtuvwxyz")  # last letters that an s makes a plural of
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
_ABBREVIATION = re.compile(r" \(([A-Za-z]{0,15}[A-Z][A-Za-z]{0,15})\)")
_LETTERS = re.compile(r"(?<!\w)[A-Za-z]+(?!\w)")
_HEAD = r"(?:diseases?|syndromes?|disorders?|injur(?:y|ies)|fibrosis|failure)"
_RULES = (  # kind, what names one (a list in braces), whether in any case, what does not name one
    ("disease", "(?:{organ})(?: \\([A-Z]+\\))?"
     "(?:[ /](?:{organ}|advanced|primary|mucinous|papillary|cell))*"
     f" (?:(?:{{tumour}})s?|{_HEAD})", True, None),
    ("disease", rf"[A-Z][a-z]+(?:['’]s) {_HEAD}|"
     rf"(?:inflammatory bowel|[a-z]+ vascular|infectious) {_HEAD}", False, None),
    ("disease", "(?:{disease})s?", True, None),
    ("disease", "{disease ending}", True, "no disease"),
    ("disease", "(?:{disease, capitals})s?", False, None),
    ("process", "{process}", True, None),
    ("process", "{process, capitals}", False, None),
    ("rna_type", "(?:{rna_type})s?", True, None),
    ("molecule", "{compound}", True, None),
    ("molecule", "{compound ending}", True, None),
    ("molecule", "{compound, capitals}", False, None),
    ("molecule", "(?:{protein})s?", True, None),
    ("molecule", "{symbol}", False, None),
    ("molecule", _SYMBOL, False, "no symbol"),
)  # fmt: skip


class Mention(NamedTuple):
    """An entity in a text: ``text[start:end]``, and the one ``name`` of all its spellings."""

    start: int
    end: int
    kind: str
    name: str


def named(text: str, entities: Iterable[str]) -> set[str]:
    """The entities that stand in ``text``, by `spots`.

    >>> named("It is a Box C/D snoRNA.", ["snoRNA", "box C/D snoRNA", "RNA"])
    {'box c/d snorna'}
    """
    return {spot.name for spot in spots(text, entities)}


def spots(text: str, entities: Iterable[str]) -> list[Mention]:
    """Where entities stand in ``text`` as whole words, the longest first, case ignored, in any of
    their spellings (``synonyms.yaml``, plurals); names come back folded to lower case."""
    spellings, pattern = _spellings(tuple(entities))
    lower = caseless(text)
    if len(lower) != len(text := fold(text)):  # places are those in the text
        lower = "".join(c if len(c.casefold()) != 1 else c.casefold() for c in text)
    found = pattern.finditer(lower) if spellings else ()
    return [Mention(*match.span(), "", spellings[match[0]]) for match in found]


@functools.lru_cache(maxsize=512)
def _spellings(entities: tuple[str, ...]) -> tuple[dict[str, str], re.Pattern]:
    """Spelling → entity, and what finds each spelling as whole words."""
    known, more = {caseless(entity): caseless(entity) for entity in entities}, {}
    for entity in known:
        both = [entity, *map(caseless, _synonyms().get(entity, ()))]
        both += [one.replace("_", by) for one in both for by in " -" if "_" in one]
        both += [one + "s" for one in both if one[-1:] in PLURAL]
        more |= dict.fromkeys(both, entity)
    spellings = more | known  # a name of its own goes before another's synonym
    either = "|".join(map(re.escape, sorted(spellings, key=lambda e: (-len(e), e))))
    return spellings, re.compile(rf"(?<!\w)(?<!\w-)(?:{either})(?!\w|-\w)")


@functools.cache
def _synonyms() -> dict[str, list[str]]:
    lists = yaml.safe_load(Path(__file__).with_name("synonyms.yaml").read_text("utf-8"))
    return {caseless(name): others for name, others in lists.items()}


def find(sentence: str) -> set[str]:
    """The names of all entities of a sentence, by the dictionary."""
    return {mention.name for mention in mentions(fold(sentence))}


def mentions(text: str) -> list[Mention]:
    """All entities of a text by the dictionary, in its order; of overlapping ones the longest.

    >>> [(m.kind, m.name) for m in mentions("MiR-21 targets PTEN in colorectal carcinomas (CRC).")]
    [('molecule', 'mir-21'), ('molecule', 'pten'), ('disease', 'colorectal carcinoma'), ('disease', 'colorectal cancer')]
    """
    there = [*_named_rnas(text), *_by_rules(text)]
    there += _abbreviated(text, there)
    return longest(sorted(there, key=lambda m: KINDS.index(m.kind)))


def longest(there: list[Mention]) -> list[Mention]:
    """Of overlapping ones the longest, then the first; in the order of the text."""
    there = sorted(there, key=lambda m: m.start - m.end)
    kept, taken = [], bytearray(max((m.end for m in there), default=0))
    for mention in there:
        if 1 not in taken[mention.start : mention.end]:
            kept.append(mention)
            taken[mention.start : mention.end] = b"\1" * (mention.end - mention.start)
    return sorted(kept, key=lambda m: m.start)


def _by_rules(text: str) -> Iterator[Mention]:
    for kind, pattern, barred in _patterns():
        for match in pattern.finditer(text):
            if not (barred and barred.fullmatch(match[0])):
                yield Mention(*match.span(), kind, _name(kind, match[0]))


def _named_rnas(text: str) -> Iterator[Mention]:
    """miR-21 in all its spellings, and the "-143" of "miR-145, -143"."""
    for match in _whole(_MIR).finditer(text):
        yield Mention(*match.span(), "molecule", _mir(match[0]))
        end = match.end()
        while more := _MORE.match(text, end):
            yield Mention(*more.span(1), "molecule", _mir("mir" + more[1]))
            end = more.end()


def _abbreviated(text: str, there: list[Mention]) -> Iterator[Mention]:
    """What PC is in a text that says "pancreatic cancer (PC)"."""
    meant: dict[str, dict[tuple[str, str], None]] = {}
    for mention in there:
        short = _ABBREVIATION.match(text, mention.end)
        same = short and short[1][0].casefold() == text[mention.start].casefold()
        if same and mention.kind in ("disease", "process"):
            meant.setdefault(short[1], {})[mention.kind, mention.name] = None
    for match in _LETTERS.finditer(text) if meant else ():
        yield from (Mention(*match.span(), *one) for one in meant.get(match[0], ()))


def _mir(text: str) -> str:
    bare = re.sub(r"^[a-z]{3}-(?=mi|let)", "", text.lower().strip())
    bare = re.sub(r"^(?:micrornas?|mirnas?|mirs?)", "mir", bare)
    return re.sub(r"^(mir|let)[ -]*", r"\1-", bare).rstrip("*")


@functools.cache
def _words() -> dict[str, dict[str, str]]:
    """List → its expressions in their order → the one name of a synonym."""
    lists: dict[str, dict[str, str]] = {}
    text = Path(__file__).with_name("entities.tsv").read_text("utf-8")
    for line in text.splitlines()[1:]:
        name, expression, *meant = line.split("\t")
        lists.setdefault(name, {})[expression] = "".join(meant)
    return lists


@functools.cache
def _patterns() -> list[tuple[str, re.Pattern, re.Pattern | None]]:
    """Kind, what names one, and which whole matches do not."""
    either = {name: "|".join(words) for name, words in _words().items()}
    lists = re.compile(r"\{(" + "|".join(map(re.escape, either)) + r")\}")
    rules = []
    for kind, pattern, any_case, barred in _RULES:
        whole = _whole(lists.sub(lambda found: either[found[1]], pattern), any_case)
        rules.append((kind, whole, re.compile(either[barred], re.I) if barred else None))
    return rules


def _whole(pattern: str, any_case: bool = False) -> re.Pattern:
    """Whole words alone; a hyphen ends a word, as in "KRAS-driven"."""
    return re.compile(rf"\b(?=\w)(?:{pattern})(?!\w)", re.IGNORECASE if any_case else 0)


def _name(kind: str, text: str) -> str:
    """One name for "Drug-resistance" and "drug resistance", "tumours" and "tumor", "CRC" and
    "colorectal cancer"."""
    name = re.sub(r"[\s_]+", " ", text.casefold().replace("tumour", "tumor"))
    name = re.sub(r" \([^()]*\)", "", name)
    if kind == "rna_type":
        name = re.sub(r"micro-? ?rna|mi-rna|^mirs?$", "mirna", name)
    if kind in ("disease", "rna_type"):
        name = re.sub(r"ies$", "y", re.sub(r"(?<=[a-hj-rt-z])s$", "", name))
    if kind == "process":
        name = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", name)
    return _words()["synonym"].get(name, name)
