"""Sentences of abstracts: where they end, which are about one RNA, which state a fact.

Only general cues of scientific English; no vocabulary of any one data set.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from rnagpt_lib.core.text import fold
from rnagpt_lib.curate.text.names import DERIVED, THIS, mask_names, pattern

_LISTS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
Folded = Annotated[str, AfterValidator(fold)]  # a text of a model's or a server's answer
MOST_LETTERS = 1_000  # a longer sentence is a broken one, and costs the expressions much time
STOP_WORDS = ENGLISH_STOP_WORDS | frozenset(_LISTS["stop_words"].split())
_ANY = {name: "|".join(re.split(r"\s{2,}|\n", some.strip())) for name, some in _LISTS.items()}

_ABBREVIATION = re.compile(rf"(?i)(?:\b(?:{_ANY['abbreviations']})|\b[A-Z])\.$")
_CAPITALS = r"[A-Z][A-Z /&,]{3,40}:"  # "RESULTS:", which may stand right behind a full stop
_BREAK = re.compile(
    r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?(?:[A-Z0-9]|[a-z]+-?[A-Z0-9]|let-?7))|"
    rf"(?<=[.!?])(?={_CAPITALS})"
)
_STARTER = re.compile(rf"(?:{_ANY['starters']})\b|mi[Rr]|let-")
_LABEL = re.compile(
    rf"^(?:{_CAPITALS}|(?=[A-Z])(?i:(?:(?:{_ANY['sections']})\b[ /&,]*+){{1,6}}):)\s*"
)
_OTHER_RNA = re.compile(
    rf"(?i)(?<![A-Za-z0-9])(?:{_ANY['other_rna']}|(?-i:[A-Z][A-Z0-9]{{1,9}}{DERIVED}))"
)
_KIND = r"(?:non-?coding |small |micro|mature |long )*(?:\w*RNA|riboswitch|ribozyme|transcript)"
_DISCOURSE = rf"(?:(?:{_ANY['discourse']}),? )"
_REPORT = rf"(?:(?:{_ANY['report']}) that )"
_HEDGE = rf"(?i:(?:{_ANY['hedge']}) that )"
_OPEN = re.compile(rf"(?i)\b(?:{_ANY['open']})\b")
_LEAD = re.compile(rf"(?i)(?>{_DISCOURSE}|{_REPORT})+")
_ANAPHOR = re.compile(
    rf"(?i)(?P<lead>(?>{_DISCOURSE}|{_REPORT}|{_HEDGE})*)(?P<subject>it|this {_KIND})\b(?![-'])"
)
_STATISTICS = re.compile(rf"(?i) ?\((?![^()]*{THIS})(?=[^()]*(?:[<>=≤≥]|95% CI))[^()]*\)")
_THIS_KIND = re.compile(rf"(?i)\bthis {_KIND}\b(?![-'])")
_NOTHING_OF_IT = re.compile(r"(?i)^(?P<head>.*\b(?:no|the) [\w ]*)\bit\b(?P<tail>[\w ]*\.)$")
_EXPLETIVE = re.compile(
    r"(?i)\bit (?:is|was|has been|remains|seems|appears|had been|may be|can be) (?:\w+ ){0,2}?"
    r"(?:that|whether|how|why|if|(?:important|necessary|possible|essential|difficult|crucial|"
    r"critical|of \w+|interesting|tempting) to)\b"
)
_FACT = re.compile(
    r"(?i)\b(?:(?:is|are|was|were|be|been|being) (?:\w+ly |also |not |often ){0,12}+"
    rf"(?:{_ANY['states']})|"
    rf"(?:directly |specifically |strongly |negatively |positively )?(?:{_ANY['verbs']}))\b"
)
_UNKNOWN = re.compile(rf"(?i){_ANY['unknown']}")
_METHOD = re.compile(
    rf"(?i)\b(?:(?:was|were) (?:\w+ )?(?:{_ANY['measured']})|{_ANY['methods']})\b|"
    r"\b(?:p|n|r) ?[<=>]|[<>=] ?0?\.\d"
)


# British endings and diphthongs, and the American ones
_SPELLINGS = [(re.compile(old), new) for old, new in (
    ("[ao]e", "e"), (r"(?<=\w\w)our(?=s?$|al|ed|ing)", "or"), ("ll(?=ing$|e[dr]s?$)", "l"),
    (r"(?<=[iy])s(?=e[sd]?$|er$|ing$|ations?$)", "z"), ("(?<=[bt])re(?=s?$)", "er"), ("sulph", "sulf"),
)]  # fmt: skip


def fold_spelling(word: str) -> str:
    """A word of small letters in one of its spellings, which may be none of them.

    >>> [fold_spelling(word) for word in "signalling tumours oedema localisation".split()]
    ['signaling', 'tumors', 'edema', 'localization']
    """
    for old, new in _SPELLINGS:
        word = old.sub(new, word)
    return word


def name_greek(text: str) -> str:
    """A text in small letters, the Greek ones by their names: TGF-β is tgf-beta."""

    def name(greek: re.Match) -> str:
        return unicodedata.name(greek[0]).rpartition(" ")[2].lower().replace("lamda", "lambda")

    return re.sub("[α-ω]", name, text.casefold())


def split_sentences(text: str) -> list[str]:
    """Sentences of a text, without section labels ("RESULTS:").

    >>> split_sentences("Smith et al. saw E. coli at 0.5 mM. miR-21 binds AGO2.")
    ['Smith et al. saw E. coli at 0.5 mM.', 'miR-21 binds AGO2.']
    """
    text, sentences, start = " ".join(text.split()), [], 0
    for match in _BREAK.finditer(text):
        head = text[max(start, match.start() - 12) : match.start()]
        abbreviated = _ABBREVIATION.search(head)
        initial = abbreviated and re.search(r"(?:^|[\s(])[A-Z]\.$", head)
        if abbreviated and not (initial and _STARTER.match(text, match.end())):
            continue
        sentences.append(text[start : match.end()].strip())
        start = match.end()
    sentences.append(text[start:].strip())
    return [s for s in (_LABEL.sub("", s) for s in sentences) if s]


@dataclass(frozen=True)
class Sentence:
    """One sentence about an RNA, the names masked; ``worth`` is how much it looks like a fact."""

    text: str
    article_id: str
    topic: int
    worth: float


def about(
    article_id: str,
    title: str,
    abstract: str,
    names: list[str],
    others: frozenset[str] = frozenset(),
    topic: int = 0,
) -> list[Sentence]:
    """The sentences of one abstract that are about the RNA with these names, names masked.

    A sentence counts when it names the RNA, when it says "it" right after one that does, or
    "this RNA" while the RNA named last is this one (``others``: names of other RNAs, lower
    case). The title counts where it is a clause. Openings such as "We show that" are cut.
    """
    own, kept = pattern(names), []
    title = title if len(title) <= MOST_LETTERS else ""
    near = referent = bool(own.search(title))
    if near and _FACT.search(title):
        kept.append(title.strip("[]. ") + ".")
    for sentence in split_sentences(abstract):
        if len(sentence) > MOST_LETTERS:
            near = referent = False
            continue
        named, other = own.search(sentence), _other(sentence, own, others)
        spoken = sentence if named else _resolved(sentence, near, referent)
        near = spoken is not None
        if named or other is not None:
            referent = bool(named) and (other is None or named.start() < other)
        if near:
            kept.append(spoken)
    masked = [capital(shortened(mask_names(sentence, names))) for sentence in kept]
    return [Sentence(text, article_id, topic, worth(text)) for text in masked]


def shortened(sentence: str) -> str:
    """Without an opening that only reports, and without statistics in brackets.

    >>> shortened("We found that miR-21 was elevated (P < 0.05).")
    'miR-21 was elevated.'
    """
    sentence = _LEAD.sub("", sentence, count=1) if _LEAD.match(sentence) else sentence
    return _STATISTICS.sub("", sentence)


def capital(text: str) -> str:
    """``"this RNA binds AGO2."`` → ``"This RNA binds AGO2."``"""
    return text[:1].upper() + text[1:]


def _resolved(sentence: str, near: bool, referent: bool) -> str | None:
    """The sentence with "it" or "this microRNA" read as the RNA; None when it is about others."""
    anaphor = _ANAPHOR.match(sentence)
    if anaphor:
        it = anaphor["subject"].lower() == "it"
        if not (near if it else referent) or (
            it and _EXPLETIVE.match(sentence, anaphor.start("subject"))
        ):
            return None
        return anaphor["lead"] + THIS + sentence[anaphor.end() :]
    if referent and _THIS_KIND.search(sentence):
        return _THIS_KIND.sub(THIS, sentence)
    nothing = _NOTHING_OF_IT.match(sentence) if near and _UNKNOWN.search(sentence) else None
    return f"{nothing['head']}{THIS}{nothing['tail']}" if nothing else None


def _other(sentence: str, own: re.Pattern, others: frozenset[str]) -> int | None:
    """Where the sentence first names an RNA that is not the own one."""
    spans = [match.span() for match in own.finditer(sentence)]
    found = [match.span() for match in _OTHER_RNA.finditer(sentence)]
    words = re.finditer(r"[\w*-]+", sentence) if others else ()
    found += [match.span() for match in words if match[0].lower() in others]
    free = [a for a, b in found if not any(x < b and a < y for x, y in spans)]
    return min(free, default=None)


def worth(text: str) -> float:
    """From 0 (open questions, methods, lists) to 1: does this state a fact with the RNA as its subject?

    >>> worth("This RNA binds AGO2.") > worth("AGO2 is bound by this RNA.") > worth("We saw it.")
    True
    """
    claim = re.sub(_HEDGE, "", text)
    verb = _FACT.search(claim) or _UNKNOWN.search(claim)
    mention = re.search(re.escape(THIS), claim, re.IGNORECASE)
    value = 0.25
    if verb and mention:
        between = claim[mention.end() : verb.start()]
        first = mention.start() < verb.start()
        value = (1.0 if len(between.split()) < 3 else 0.8) if first else 0.6
    if _METHOD.search(claim):
        value *= 0.35
    if _OPEN.search(claim):
        value *= 0.1
    value *= 0.7 ** min(len(_OTHER_RNA.findall(claim)), 4)
    return value if 4 <= len(text.split()) <= 40 else value * 0.5
