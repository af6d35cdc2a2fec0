"""Answers as a file: JSON lines, a table with tabs, or Markdown. Foreign text acts in none of them."""

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from rnagpt_lib.chat.retrieved_evidence import article, percent
from rnagpt_lib.core import markdown
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta_lines import printable

VERSION = 3  # of what a row holds
SENTENCES = 2  # of a neighbour's annotation, for people
ENDINGS = (".jsonl", ".tsv", ".md")
STATEMENT = "  * "  # before one, in a terminal
SAME = "- retrieved, not generated: the same as above"
COLUMNS = (
    "id", "line", "nt", "question", "answer", "stop_reason", "model", "statements", "nearest",
    "identity", "notes", "refused",
)  # fmt: skip


def ending(out: Path) -> str:
    """The format of a path. Raises InputError for one that is not written."""
    if out.suffix not in ENDINGS:
        raise InputError(f"{out}: answers are written as {', '.join(ENDINGS)}; name it so")
    return out.suffix


def write(rows: Iterable[dict], path: Path, form: str) -> None:
    """Write rows of ``asking`` in one pass."""
    lines = {".jsonl": _json_lines, ".tsv": _tsv, ".md": _markdown}[form](rows)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def shown(rows: Iterable[dict]) -> Iterator[str]:
    """Lines for a terminal."""
    for row in rows:
        about = f"{one_line(row['id'])}, line {row['line']}"
        if "refused" in row:
            yield f"{about}: refused, {one_line(row['refused'])}"
            continue
        yield f"{about}: {one_line(row['question'])}"
        yield from (f"  note: {one_line(note)}" for note in row.get("notes", []))
        if "answer" in row:
            yield f"  {row['model']}: {one_line(row['answer'])}{_cut(row, '[{}]')}"
        yield from retrieved(row.get("retrieved", {}))


def retrieved(found: dict) -> Iterator[str]:
    """``beside.to_dict`` as lines for a terminal."""
    yield from (STATEMENT + one_line(one) for one in found.get("statements", []))
    for near in found.get("neighbours", []):
        yield "  retrieved, not generated: " + one_line(", ".join(_plainly(near)))
        for said in near.get("sentences", [])[:SENTENCES]:
            yield f"    {one_line(said['text'])} [{one_line(', '.join(said['article_ids']))}]"


def one_line(text: str) -> str:
    """For a terminal or a cell: white space as single spaces, no control characters.

    >>> one_line("a\x1b[31m\nb")
    'a�[31m b'
    """
    return " ".join(printable(text).split())


def _json_lines(rows: Iterable[dict]) -> Iterator[str]:
    return (json.dumps(row, ensure_ascii=False) for row in rows)


def _tsv(rows: Iterable[dict]) -> Iterator[str]:
    yield "\t".join(COLUMNS)
    for row in rows:
        found = row.get("retrieved", {})
        near = next(iter(found.get("neighbours", [])), {})
        row = row | {
            "statements": " ".join(found.get("statements", [])),
            "nearest": next(iter(near.get("rna_ids", [])), ""),
            "identity": near.get("identity", ""),
            "notes": " ".join(row.get("notes", [])),
        }
        yield "\t".join(_cell(row.get(name, "")) for name in COLUMNS)


# with these a spreadsheet begins a formula, or a cell anew
FORMULA = tuple("=+-@＝＋－＠\t\r\n")


def _cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula, and no reader for the start of a quotation."""
    text = one_line(str(value))
    risky = text.startswith(('"', *FORMULA)) or text.lstrip().startswith(FORMULA)
    return f"'{text}" if risky else text


def _markdown(rows: Iterable[dict]) -> Iterator[str]:
    yield "# Answers\n"
    for (name, line), about in groupby(rows, lambda row: (row["id"], row["line"])):
        yield f"## {markdown.plain(name)} (line {line})\n"
        before: list[str] = []
        for number, row in enumerate(about):
            if "refused" in row:
                yield f"Refused: {markdown.plain(row['refused'])}\n"
                continue
            if not number:
                yield from (f"Note: {markdown.plain(note)}\n" for note in row.get("notes", []))
            near = list(_neighbours(row))
            yield from _answer(row, [SAME] if near and near == before else near)
            before = near


def _answer(row: dict, neighbours: list[str]) -> Iterator[str]:
    yield f"**{markdown.plain(row['question'], 2000)}**\n"
    if "answer" in row:
        yield f"{row['model']}: {markdown.plain(row['answer'], 5000)}{_cut(row, '*({})*')}\n"
    found = row.get("retrieved", {})
    # behind a word, as "# x" would be a heading at the start of an item
    notes = [f"- Note: {markdown.plain(one, 2000)}" for one in found.get("statements", [])]
    if notes or neighbours:
        yield from (*notes, *neighbours, "")


def _neighbours(row: dict) -> Iterator[str]:
    for near in row.get("retrieved", {}).get("neighbours", []):
        yield "- retrieved, not generated: " + ", ".join(_told(near))
        for said in near.get("sentences", [])[:SENTENCES]:
            yield f"  - “{markdown.plain(said['text'])}” {', '.join(map(article, said['article_ids']))}"


def _cut(row: dict, mark: str) -> str:
    return "" if row["stop_reason"] in ("eos", "stop") else " " + mark.format("cut")


def _told(near: dict) -> Iterator[str]:
    return map(markdown.plain, _plainly(near))


def _plainly(near: dict) -> Iterator[str]:
    chance = "" if near.get("near", True) else ", which chance reaches"
    yield f"{near['rna_ids'][0]} ({percent(near['identity'])} identical{chance})"
    yield from (near[name][0] for name in ("rna_type", "family", "species") if near.get(name))
