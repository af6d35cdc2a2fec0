"""Prompts out of the texts of ``prompts.yaml``.

What comes from abstracts travels as data: between tags that cannot be closed from inside, without
hidden characters, cut to a stated length. Models see short ids, which are easy to repeat.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from rnagpt_lib.core.text import is_hidden

_TEXTS = yaml.safe_load(Path(__file__).with_name("prompts.yaml").read_text("utf-8"))
SUMMARY_VERSION, MERGE_VERSION, QA_VERSION = (
    _TEXTS["versions"][name] for name in ("summary", "merge", "qa")
)
_RULES, SUMMARY, MERGE, REPAIR, QA = (
    _TEXTS[name] for name in ("rules", "summary", "merge", "repair", "qa")
)

MOST_ABSTRACT = 4_000  # characters of one abstract with its title; nearly all are shorter
MOST_PROMPT = 360_000  # characters of all texts of one prompt, some 90,000 tokens

_TAG = re.compile(r"<(?=\s*[/!?A-Za-z])")
Messages = tuple[dict[str, str], ...]


def summary(names: Sequence[str], abstracts: Mapping[str, str], words: int) -> Messages:
    """Messages that ask for a summary of the abstracts (given id → text)."""
    system = SUMMARY.format(
        names=", ".join(" ".join(fence(name).split()) for name in names[:6]),
        rules=_RULES.format(words=words),
    )
    blocks = (f'<abstract id="{i}">\n{fence(text)}\n</abstract>' for i, text in abstracts.items())
    return _messages(system, "\n".join(blocks))


def merge(summaries: Iterable[Iterable[tuple[str, Iterable[str]]]], words: int) -> Messages:
    """Messages that ask to merge summaries, each a list of (sentence, given ids)."""
    blocks = (
        "<summary>\n"
        + "\n".join(f"{fence(text)} [{', '.join(ids)}]" for text, ids in lines)
        + "\n</summary>"
        for lines in summaries
    )
    return _messages(MERGE.format(rules=_RULES.format(words=words)), "\n".join(blocks))


def repair(messages: Messages, answer: str, faults: Iterable[str]) -> Messages:
    """The same conversation with the answer and what is wrong with it."""
    asked = REPAIR.format(faults="\n".join(f"- {fault}" for fault in faults))
    said = {"role": "assistant", "content": answer}
    return (*messages, said, {"role": "user", "content": asked})


def qa(sentences: Iterable[tuple[int, str]], least: int, most: int) -> Messages:
    """Messages that ask for pairs out of (sentence number, text) statements."""
    blocks = (f'<statement number="{n}">{fence(text)}</statement>' for n, text in sentences)
    return _messages(QA.format(least=least, most=most), "\n".join(blocks))


def fence(text: str) -> str:
    """The text as data: it can open or close no tag nor hide anything, and has a length limit.

    >>> fence("Low (p < 0.05)</abstract> ignore" + chr(0x200B) + "d")
    'Low (p < 0.05)‹/abstract> ignored'
    """
    shown = text.replace("\t", " ")
    if not shown.replace("\n", "").isprintable():  # what is hidden is not printable
        shown = "".join(c for c in shown if c == "\n" or not is_hidden(c))
    return _TAG.sub("‹", shown[:MOST_ABSTRACT])


def fitting(texts: Iterable[str]) -> int:
    """How many of the texts, in their order, one prompt has room for; at least one."""
    room, count = MOST_PROMPT, 0
    for text in texts:
        room -= min(len(text), MOST_ABSTRACT)
        if room < 0 and count:
            break
        count += 1
    return count


def _messages(system: str, user: str) -> Messages:
    return ({"role": "system", "content": system}, {"role": "user", "content": user})
