"""Answers, evidence and conversations for people: in a terminal, as Markdown, in the chat box.

Each has a template of macros. Texts of models, tables and users are foreign: shown, none acts.
"""

import unicodedata
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from rnagpt_lib.chat.retrieval import HEADING, describe
from rnagpt_lib.core import text

LONGEST = 10_000  # characters of a text that are shown
PUBMED = "https://pubmed.ncbi.nlm.nih.gov/{}/"
RETRIEVED_ONLY = "retrieval only"  # the stop reason of a turn in which no model was asked


def seen(value: object) -> str:
    """A text without what nobody sees: control characters, direction marks, halves of letters."""
    if isinstance(value, Markup):
        return value
    kept = "".join(c for c in str(value) if c in "\n\t" or unicodedata.category(c)[0] != "C")
    return kept if len(kept) <= LONGEST else kept[: LONGEST - 1] + "…"


def _is_pubmed(article_id: str) -> bool:
    return article_id.isascii() and article_id.isdecimal()


def _macros(template: str, **options: object) -> Any:
    pages = Environment(loader=PackageLoader("rnagpt_lib.chat", "."), **options)
    pages.globals |= {"describe": describe, "heading": HEADING, "retrieved_only": RETRIEVED_ONLY}
    pages.globals |= {"nobody": "No annotated RNA of the training set is near.", "pubmed": PUBMED}
    pages.filters |= {"plain": text.plain, "fenced": text.fenced, "one_line": text.one_line}
    pages.filters |= {"quoted": lambda given: Markup(quote(given, safe=""))}
    pages.tests["pubmed_id"] = _is_pubmed
    return pages.get_template(template).module


TERMINAL = _macros("terminal.txt.j2", trim_blocks=True)
MARKDOWN = _macros("transcript.md.j2", trim_blocks=True)
PAGE = _macros("notebook_box.html.j2", autoescape=True, finalize=seen)
