"""What the chat box shows of a conversation, as HTML in which every text is escaped.

JupyterLab puts the value of an HTML widget into its page as it is, and scripts in it run. So each
text that comes from elsewhere (questions, answers, FASTA headers, evidence) passes `shown`.
"""

import unicodedata
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from rnagpt_lib.chat.retrieved_evidence import (
    HEADING,
    NOBODY,
    PUBMED,
    SENTENCES,
    Beside,
    Neighbour,
    percent,
)
from rnagpt_lib.chat.transcript import RETRIEVED_ONLY, Said, how
from rnagpt_lib.core.fasta import Refused
from rnagpt_lib.core.rna_source import Chosen

LONGEST = 10_000  # characters of a text
OPEN = 5  # refused records that are shown without being asked for
KINDS = {"json": "application/json", "md": "text/markdown"}
STYLE = """<style class="rnagpt-style">
.rnagpt { border: 1px solid var(--jp-border-color2, #ccc); border-radius: 6px; padding: 12px;
  max-width: 60rem; }
.rnagpt .widget-html-content { line-height: 1.45; }
.rnagpt h4 { margin: 0; font-size: 1.05em; }
.rnagpt .rnagpt-small, .rnagpt .rnagpt-how { color: var(--jp-ui-font-color2, #666); font-size: .9em; }
.rnagpt .rnagpt-text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
.rnagpt .rnagpt-log { border-top: 1px solid var(--jp-border-color2, #ccc);
  border-bottom: 1px solid var(--jp-border-color2, #ccc); }
.rnagpt .rnagpt-asked { background: var(--jp-layout-color2, #eee); border-radius: 6px;
  padding: 4px 10px; margin: 8px 0 4px; }
.rnagpt .rnagpt-answer { padding: 2px 10px; }
.rnagpt .rnagpt-who { font-weight: 600; margin-right: .4em; }
.rnagpt .rnagpt-about { margin: 10px 0 2px; color: var(--jp-ui-font-color2, #666); }
.rnagpt details { border-left: 3px solid var(--jp-warn-color1, #f57c00); margin: 6px 10px 8px;
  padding: 2px 10px; font-size: .95em; }
.rnagpt .rnagpt-statement { margin: 2px 0; }
.rnagpt summary { cursor: pointer; font-weight: 600; }
.rnagpt ul { margin: 2px 0; padding-left: 1.3em; }
.rnagpt .rnagpt-error { color: var(--jp-error-color1, #b00020); }
.rnagpt .rnagpt-links a { color: var(--jp-content-link-color, #06c); text-decoration: underline;
  margin-right: 1em; }
</style>"""


def printable(text: object) -> str:
    """A text without what nobody sees: control characters, direction marks, halves of letters."""
    return "".join(c for c in str(text) if c in "\n\t" or unicodedata.category(c)[0] != "C")


def shown(text: object) -> str:
    """A text as HTML that is this text alone.

    >>> shown('<b>"x"</b>')
    '&lt;b&gt;&quot;x&quot;&lt;/b&gt;'
    """
    kept = printable(text)
    return escape(kept if len(kept) <= LONGEST else kept[: LONGEST - 1] + "…")


def line(text: str, kind: str = "small") -> str:
    """One sentence; ``kind``: ``small`` or ``error``."""
    role = "alert" if kind == "error" else "status"
    return f'<div role="{role}" class="rnagpt-text rnagpt-{kind}">{shown(text)}</div>'


def title(text: str) -> str:
    """The heading of the box."""
    return f"<h4>{shown(text)}</h4>"


def about(number: int, chosen: Chosen) -> str:
    """The record that is chosen, by its place: id, length, and how it was read."""
    head = f'<b class="rnagpt-text">{shown(chosen.id)}</b>, {len(chosen.sequence):,} nt'
    if chosen.description:
        head += f' <span class="rnagpt-text rnagpt-small">{shown(chosen.description)}</span>'
    head = f'<div class="rnagpt-chosen" data-number="{number}">{head}</div>'
    return head + "".join(line(f"Note: {note}") for note in chosen.notes)


def refusals(refused: Sequence[Refused]) -> str:
    """Records that cannot be read, each with its line and the reason."""
    if not refused:
        return ""
    items = "".join(
        f'<li class="rnagpt-text"><b>{shown(one.id)}</b>, line {one.line}: {shown(one.reason)}</li>'
        for one in refused
    )
    count = "1 record is" if len(refused) == 1 else f"{len(refused):,} records are"
    count += " refused"
    state = " open" if len(refused) <= OPEN else ""
    return (
        f'<details class="rnagpt-refused"{state}><summary>{count}</summary>'
        f"<ul>{items}</ul></details>"
    )


def part(model: str, chosen: Chosen) -> str:
    """The line that starts a conversation within the log."""
    told = f"{model} about {chosen.id}, {len(chosen.sequence):,} nt"
    return f'<div class="rnagpt-about rnagpt-text">{shown(told)}</div>'


def answering(model: str, question: str, text: str) -> str:
    """A turn in work, as far as it came."""
    return _turn(question, _answer(model, text + " …"))


def answered(model: str, said: Said, fault: str = "") -> str:
    """A turn at its end, with what was retrieved; ``fault``: why nothing was."""
    made = ""
    if said.turn.stop_reason != RETRIEVED_ONLY:
        made = _answer(model, said.turn.answer or "(nothing)")
        made += f'<div class="rnagpt-answer rnagpt-how">{shown(how(said))}</div>'
    if said.beside is not None:
        made += _beside(said.beside)
    return _turn(said.turn.question, made + (line(fault) if fault else ""))


def links(files: dict[str, str]) -> str:
    """Links that save ``files`` (name → text) from this page, without a server."""
    made = []
    for name, text in files.items():
        kind = name.rpartition(".")[2]
        address = f"data:{KINDS[kind]};charset=utf-8,{quote(text, safe='')}"
        label = f"Download {kind.upper() if kind == 'json' else 'Markdown'}"
        made.append(f'<a download="{shown(name)}" href="{address}">{label}</a>')
    return f'<div class="rnagpt-links">{"".join(made)}</div>'


def _turn(question: str, body: str) -> str:
    return (
        '<div class="rnagpt-turn"><div class="rnagpt-asked"><span class="rnagpt-who">You</span>'
        f'<span class="rnagpt-text">{shown(question)}</span></div>{body}</div>'
    )


def _answer(model: str, text: str) -> str:
    return (
        f'<div class="rnagpt-answer"><span class="rnagpt-who">{shown(model)}</span>'
        f'<span class="rnagpt-text rnagpt-said">{shown(text)}</span></div>'
    )


def _beside(found: Beside) -> str:
    body = "".join(
        f'<div class="rnagpt-text rnagpt-statement">{shown(one)}</div>' for one in found.statements
    )
    items = "".join(f"<li>{_neighbour(one)}</li>" for one in found.neighbours)
    body += f"<ul>{items}</ul>" if items else "" if found.statements else line(NOBODY)
    return f'<details open class="rnagpt-beside"><summary>{HEADING}</summary>{body}</details>'


def _neighbour(one: Neighbour) -> str:
    fields = [one.rna_type, one.family, one.species]
    chance = "" if one.near else ", which chance reaches"
    told = ", ".join(field for field in fields if field) or "no fields"
    near = f"{percent(one.identity)} identical{chance}"
    head = (
        f'<span class="rnagpt-text"><b>{shown(one.rna_id)}</b>: {shown(f"{told}; {near}")}</span>'
    )
    items = [
        f'<li><span class="rnagpt-text">“{shown(each.text)}”</span> '
        f"{', '.join(map(_article, each.article_ids))}</li>"
        for each in one.sentences[:SENTENCES]
    ]
    more = len(one.sentences) - len(items)
    items += [f"<li>and {more:,} more</li>"] if more else []
    return head + (f"<ul>{''.join(items)}</ul>" if items else "")


def _article(article_id: str) -> str:
    """A PubMed id as a link that is followed only by a click; other ids as text."""
    if article_id.isascii() and article_id.isdecimal():
        address = PUBMED.format(article_id)
        return f'<a href="{address}" target="_blank" rel="noreferrer">PMID {article_id}</a>'
    return f'<span class="rnagpt-text">{shown(article_id)}</span>'
