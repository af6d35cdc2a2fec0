"""A model's summary as it is asked for, and the checks that its citations must pass.

A sentence rests on articles that the prompt gave, under ids that we gave, and holds no id or bracket
itself. Checks look at the texts, not at their truth.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from rnagpt_lib.core.text import screen
from rnagpt_lib.curate.summaries.extract import Line, content_words
from rnagpt_lib.curate.text.names import THIS, mask_names
from rnagpt_lib.curate.text.sentences import (
    Folded,
    capital,
    fold_spelling,
    name_greek,
    split_sentences,
)

CITED = 0.5  # share of the sentences that must cite an article
GROUNDED = 0.3  # share of a sentence's content words that each article it cites must hold
STEM = 5  # letters by which two forms of a word are one

_ID_INSIDE = re.compile(
    r"[\[\]]|(?<!\w)\(\s*\d+(?:\s*[,;-]\s*\d+)*\s*\)|\b(?:PMID|PMC)\W?\d|\bAbstracts? \d"
)
_END = re.compile(r"(?<=\w\w\w)(?:ing|ed|es|s)$")
_SUBJECT = re.compile(rf"(?i)\b(?:{THIS}|the RNA|its?)\b")


class Cited(BaseModel):
    """One sentence and the given ids of the articles that it rests on."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)  # [1] for ["1"]

    text: Folded
    articles: list[str]


class Summary(BaseModel):
    """What a chat model answers when it summarises or merges."""

    model_config = ConfigDict(extra="forbid")

    sentences: list[Cited]


class Checked(NamedTuple):
    """What is wrong with ``each`` sentence of a summary ("" for a good one) and with the ``whole``;
    the ``lines`` that stand within the budget, and why the others are ``lost``."""

    each: list[str]
    whole: list[str]
    lines: list[Line]
    lost: list[str]


def check(
    summary: Summary,
    texts: Mapping[str, str],
    articles: Mapping[str, str],
    names: Iterable[str],
    words: int,
) -> Checked:
    """Hold a summary against the rules.

    ``texts``: given id → text; ``articles``: given id → article id. An RNA's name is no fault: it is
    masked. Nor is a summary without a sentence. A line has no fault and cites something.
    """
    each = [find_fault(sentence, texts, names) for sentence in summary.sentences]
    spoken = [mask(sentence.text, names) for sentence in summary.sentences]
    sizes = [len(text.split()) for text in spoken]
    whole, lines, lost, room = [], [], [], words
    cited = sum(bool(sentence.articles) for sentence in summary.sentences)
    if cited < CITED * len(each):
        whole.append(f"only {cited} of {len(each)} sentences cite an article; each should")
    if sum(sizes) > words:
        whole.append(f"the sentences have {sum(sizes)} words together; at most {words} are allowed")
    for sentence, fault, text, size in zip(summary.sentences, each, spoken, sizes, strict=True):
        fault = fault or ("" if sentence.articles else "cites no article")
        fault = fault or (f"is beyond the {words} words" if size > room else "")
        if fault:
            lost.append(fault)
        else:
            room -= size
            ids = tuple(dict.fromkeys(articles[one] for one in given_ids(sentence)))
            lines.append(Line(text, ids))
    return Checked(each, whole, lines, lost)


def find_fault(sentence: Cited, texts: Mapping[str, str], names: Iterable[str]) -> str:
    """Why one sentence cannot be used as it is; "" when it can, or when it only cites nothing."""
    spoken = mask(sentence.text, names)
    if reason := screen(sentence.text.strip()):
        return reason
    if _ID_INSIDE.search(sentence.text):
        return "holds an id or a bracket inside"
    if len(split_sentences(spoken)) != 1:
        return "is not one sentence"
    if not _SUBJECT.search(spoken):
        return "does not speak of this RNA"
    given = given_ids(sentence)
    if not set(given) <= set(texts):
        return "cites an article that was not given"
    said = stems(spoken)
    if any(len(said & stems(texts[one])) < GROUNDED * len(said) for one in given):
        return "cites an article that says nothing of it"
    return ""


def given_ids(sentence: Cited) -> tuple[str, ...]:
    """The given ids of a sentence, each once, without brackets that the model may put around."""
    return tuple(dict.fromkeys(one.strip(" []") for one in sentence.articles))


def stems(text: str) -> frozenset[str]:
    """The content words of a text, but for the RNA itself; those without a digit cut short.

    >>> sorted(stems("This RNA binds CDKN1A in gliomas."))
    ['bind', 'cdkn1a', 'gliom']
    """
    own = content_words(name_greek(text)) - {"rna", "rnas"}
    words = (fold_spelling(word.replace("-", "")) for word in own)
    return frozenset(w if any(c.isdigit() for c in w) else _END.sub("", w)[:STEM] for w in words)


def mask(text: str, names: Iterable[str]) -> str:
    """A model's sentence with "this RNA" for every name, a capital and a full stop."""
    text = capital(mask_names(" ".join(text.split()), names))
    return text if text.endswith((".", "!", "?")) else f"{text}."
