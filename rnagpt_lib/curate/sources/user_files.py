"""Users' own files: FASTA, a TSV with columns of ``rnas``, articles and links as JSON lines.

Every fault is an InputError with the file, the line and the remedy; a FASTA record with a
foreign letter is not a fault but a row in ``dropped``.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from rnagpt_lib.core import fasta, paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Filter
from rnagpt_lib.core.tables import COLUMNS, frame

STAGE = "00_filter_rnacentral"
_MANY = re.compile(r"(?P<type>\S+) from \d+ species")
_ONE = re.compile(r"(?P<species>[A-Z][a-z]+ [a-z][\w.-]+)(?: \([^)]*\))? (?P<type>\S+)(?: .*)?")
_URS = re.compile(r"URS[0-9A-F]{10}(?:_(?P<taxid>\d+))?")


def drop(record: str, reason: str) -> dict[str, str]:
    """A row of ``dropped``, of stage 00."""
    return {"stage": STAGE, "record": record, "reason": reason}


def read(params: Filter) -> dict[str, pd.DataFrame]:
    """The tables rnas, articles, links and dropped out of the files that ``params`` names."""
    if params.fasta is None:
        raise InputError('INPUT is "files" but FASTA is not given; set FASTA to a FASTA file')
    path = paths.from_root(params.fasta)
    refused: dict[str, str] = {}
    records = fasta.read_fasta(path, refused)
    dropped = [*refused.items()]
    rnas = frame("rnas", [_row(record) for record in records])
    known = {*rnas["rna_id"], *refused}
    if params.table:
        rnas, unused = _with_table(rnas, paths.from_root(params.table), known)
        dropped += unused
    articles = _articles(paths.from_root(params.articles)) if params.articles else []
    links: list[dict] = []
    if params.links:
        articles_of = {row["article_id"] for row in articles}
        links = list(_links(paths.from_root(params.links), known, articles_of))
    return {
        "rnas": rnas,
        "articles": frame("articles", articles),
        "links": frame("links", links).drop_duplicates(ignore_index=True),
        "dropped": frame("dropped", [drop(*row) for row in dropped]),
    }


def _row(record: fasta.Record) -> dict:
    """The row of one FASTA record; type and species only where the header is RNAcentral's."""
    found = parse_description(record.id, record.description)
    return {
        "rna_id": record.id,
        "sequence": record.sequence,
        "length": len(record.sequence),
        "family": "",
        "description": record.description,
        "unit": "",
        "split": "",
        **found,
    }


def parse_description(rna_id: str, description: str) -> dict[str, str]:
    """Type, species and taxid out of an RNAcentral header; empty for any other.

    >>> parse_description("URS00008314B2", "tRNA from 13 species")
    {'rna_type': 'tRNA', 'species': '', 'taxid': ''}
    >>> parse_description("URS000006DA05_9606", "Homo sapiens (human) pre_miRNA hsa-mir-876")
    {'rna_type': 'pre_miRNA', 'species': 'Homo sapiens', 'taxid': '9606'}
    """
    urs = _URS.fullmatch(rna_id)
    found = (_MANY.fullmatch(description) or _ONE.fullmatch(description)) if urs else None
    fields = found.groupdict() if found else {"type": ""}
    return {
        "rna_type": fields["type"] if _is_type(fields["type"]) else "",
        "species": fields.get("species", ""),
        "taxid": (urs and urs["taxid"]) or "",
    }


def _is_type(word: str) -> bool:
    """RNAcentral's types end in RNA, or name a class such as ``ribozyme`` or ``other``."""
    return bool(re.fullmatch(r"\w*RNA|\w*ribozyme|other|autocatalytically_spliced_intron", word))


def _with_table(
    rnas: pd.DataFrame, path: Path, known: set[str]
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Fields from the user's TSV over those of the headers, and rows that match no record."""
    table = read_tsv(path)
    unknown = [column for column in table.columns if column not in COLUMNS["rnas"]]
    if unknown or "rna_id" not in table.columns:
        fault = f"column {unknown[0]!r} is unknown" if unknown else "the column rna_id is missing"
        raise InputError(f"{path}, line 1: {fault}; columns are {', '.join(COLUMNS['rnas'])}")
    twice = table["rna_id"].duplicated()
    if twice.any():
        line = twice.idxmax()
        raise InputError(
            f"{path}, line {line}: rna_id {table['rna_id'][line]!r} stands there twice; "
            "keep one row for each RNA"
        )
    _same_sequences(rnas, table, path)
    _known_sides(table, path)
    given = table.set_index("rna_id").drop(columns=["sequence", "length", "unit"], errors="ignore")
    merged = rnas.set_index("rna_id")
    merged.update(given[given != ""])
    rows = table["rna_id"][~table["rna_id"].isin(known)]
    unused = [(rna_id, f"in {path.name} but not in the FASTA file") for rna_id in rows]
    return merged.reset_index()[list(COLUMNS["rnas"])], unused


def read_tsv(path: Path) -> pd.DataFrame:
    """Columns of text as the first line names them, the index holding each row's line number."""
    text = _text(path)
    lines = {n: line.split("\t") for n, line in enumerate(text.split("\n"), 1) if line.strip()}
    header = next(iter(lines.values()))
    for number, fields in lines.items():
        if len(fields) != len(header):
            raise InputError(
                f"{path}, line {number}: {len(fields)} fields where the header has "
                f"{len(header)}; separate the columns by single tabs"
            )
    rows = pd.DataFrame([*lines.values()][1:], [*lines][1:], [name.strip() for name in header])
    return rows.apply(lambda column: column.str.strip())


def _same_sequences(rnas: pd.DataFrame, table: pd.DataFrame, path: Path) -> None:
    """A sequence in the TSV must be the FASTA's."""
    if "sequence" not in table.columns:
        return
    known = rnas.set_index("rna_id")["sequence"]
    for row in table.itertuples():
        given = row.sequence.upper().replace("T", "U")
        if given and given != known.get(row.rna_id, given):
            raise InputError(
                f"{path}, line {row.Index}: the sequence of {row.rna_id!r} is not the one in the FASTA "
                "file; correct it or leave the column out"
            )


def _known_sides(table: pd.DataFrame, path: Path) -> None:
    """A side that the TSV fixes is one of the three, or empty."""
    for line, side in table.get("split", pd.Series(dtype=str)).items():
        if side not in ("", "train", "val", "test"):
            raise InputError(
                f"{path}, line {line}: split {side!r} is unknown; write train, val, test or nothing"
            )


def _text(path: Path) -> str:
    """The text of a user's file, or InputError for a missing, binary or empty one."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is binary or not UTF-8; give a plain text file") from None
    if not text.strip():
        raise InputError(f"{path} is empty; leave it out if there is nothing to give")
    return text


def json_lines(path: Path, fields: tuple[str, ...]) -> Iterator[tuple[int, dict]]:
    """(line number, object) of every line, with the fields that it must have."""
    example = "{" + ", ".join(f'"{field}": …' for field in fields) + "}"
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if "\\u" in line:
                json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError(
                f"{path}, line {number}: half a character, as \\ud800, is no text; write the "
                "character itself"
            ) from None
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number}: no valid JSON ({error.msg}); write one object on each "
                f"line, as in {example}"
            ) from None
        missing = [f for f in fields if not isinstance(record, dict) or record.get(f) is None]
        if missing:
            raise InputError(
                f"{path}, line {number}: {missing[0]!r} is missing; each line is {example}"
            )
        yield number, record


def _articles(path: Path) -> list[dict]:
    rows: dict[str, dict] = {}
    for number, record in json_lines(path, ("id", "title", "abstract", "year")):
        article_id, year = str(record["id"]), str(record["year"])
        if not re.fullmatch(r"\S+", article_id) or article_id in rows:
            fault = "stands there twice" if article_id in rows else "is empty or holds spaces"
            raise InputError(f"{path}, line {number}: id {article_id!r} {fault}; ids are unique")
        if not year.isdigit():
            raise InputError(f"{path}, line {number}: year {year!r} is no number; write e.g. 2024")
        rows[article_id] = {
            "article_id": article_id,
            "title": str(record["title"]),
            "abstract": str(record["abstract"]),
            "year": int(year),
        }
    return list(rows.values())


def _links(path: Path, rnas: set[str], articles: set[str]) -> Iterator[dict]:
    for number, record in json_lines(path, ("rna_id", "article_ids")):
        rna_id, ids = str(record["rna_id"]), record["article_ids"]
        if rna_id not in rnas:
            raise InputError(
                f"{path}, line {number}: rna_id {rna_id!r} is not in the FASTA file; correct the "
                "id or take the line out"
            )
        if not isinstance(ids, list):
            raise InputError(f'{path}, line {number}: article_ids is no list; write ["id", …]')
        for article_id in map(str, ids):
            if article_id not in articles:
                raise InputError(
                    f"{path}, line {number}: article {article_id!r} is not in the articles file; "
                    "add it there or take it out"
                )
            yield {"rna_id": rna_id, "article_id": article_id}
