"""Users' own files: FASTA, a TSV with columns of ``rnas``, articles and links as JSON lines.

Every fault is an InputError with the file, the line and the remedy; a FASTA record with a
foreign letter is not a fault but a row in ``dropped``.
"""

import json
import re
from array import array
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from rnagpt_lib.core import fasta
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import parse_json
from rnagpt_lib.core.params import Filter
from rnagpt_lib.core.paths import from_root
from rnagpt_lib.core.tables import COLUMNS, frame
from rnagpt_lib.core.text import cut, fold
from rnagpt_lib.curate.sources.literature import Article, value_of
from rnagpt_lib.runs.stages import FILTER

LONGEST_LINE, MOST_COLUMNS, MOST_ROWS = 1 << 24, 1_000, 2_000_000  # characters; of a table
_MANY = re.compile(r"(?P<type>\S+) from \d+ species")
_ONE = re.compile(r"(?P<species>[A-Z][a-z]+ [a-z][\w.-]+)(?: \([^)]*\))? (?P<type>\S+)(?: .*)?")
_URS = re.compile(r"URS[0-9A-F]{10}(?:_(?P<taxid>\d+))?")
_TYPE = re.compile(r"\w*RNA|\w*ribozyme|other|autocatalytically_spliced_intron")
_YEAR = re.compile(r"(\d{1,4})(?:\.0)?", re.ASCII)  # whole numbers of a column with gaps


def drop(record: str, reason: str) -> dict[str, str]:
    """A row of ``dropped``, of stage 00."""
    return {"stage": FILTER, "record": record, "reason": reason}


def read(params: Filter) -> dict[str, pd.DataFrame]:
    """The tables rnas, articles, links and dropped out of the files that ``params`` names."""
    if params.fasta is None:
        raise InputError('INPUT is "files" but FASTA is not given; set FASTA to a FASTA file')
    dropped: dict[str, str] = {}
    rnas = frame("rnas", map(_row, fasta.read_fasta(from_root(params.fasta), dropped)))
    if len(twice := rnas["rna_id"][rnas["rna_id"].duplicated()]):
        said = f"two ids read {twice.iloc[0]!r} once hyphens and accents are written in one way"
        raise InputError(f"{params.fasta}: {said}; rename one")
    dropped = {fold(record): reason for record, reason in dropped.items()}
    known = {*rnas["rna_id"], *dropped}
    if params.table:
        table = _table(from_root(params.table), rnas)
        unused = table["rna_id"][~table["rna_id"].isin(known)]
        dropped |= dict.fromkeys(unused, f"in {Path(params.table).name} but not in the FASTA file")
        merged, given = rnas.set_index("rna_id"), table.set_index("rna_id")
        merged.update(
            given[given != ""].drop(columns=["sequence", "length", "unit"], errors="ignore")
        )
        rnas = merged.reset_index()[list(COLUMNS["rnas"])]
    articles = _articles(from_root(params.articles)) if params.articles else {}
    links = _links(from_root(params.links), known, articles) if params.links else ()
    stay = [link for link in links if not articles[link[1]].fault]
    dropped |= {name: article.fault for name, article in articles.items() if article.fault}
    return {
        "rnas": rnas,
        "articles": frame("articles", [a[:-1] for a in articles.values() if not a.fault]),
        "links": frame("links", stay).drop_duplicates(ignore_index=True),
        "dropped": frame("dropped", [drop(*row) for row in dropped.items()]),
    }


def _row(record: fasta.Record) -> dict:
    """The row of one FASTA record; type and species only where the header is RNAcentral's."""
    row = dict.fromkeys(COLUMNS["rnas"], "") | parse_description(record.id, record.description)
    row |= {"rna_id": fold(record.id), "description": fold(record.description)}
    return row | {"sequence": record.sequence, "length": len(record.sequence)}


def parse_description(rna_id: str, description: str) -> dict[str, str]:
    """Type, species and taxid out of an RNAcentral header; empty for any other.

    >>> parse_description("URS00008314B2", "tRNA from 13 species")
    {'rna_type': 'tRNA', 'species': '', 'taxid': ''}
    >>> parse_description("URS000006DA05_9606", "Homo sapiens (human) pre_miRNA hsa-mir-876")
    {'rna_type': 'pre_miRNA', 'species': 'Homo sapiens', 'taxid': '9606'}
    """
    urs = _URS.fullmatch(rna_id)
    found = urs and (_MANY.fullmatch(description) or _ONE.fullmatch(description))
    fields = found.groupdict() if found else {"type": ""}
    return {
        "rna_type": fields["type"] if _TYPE.fullmatch(fields["type"]) else "",
        "species": fields.get("species", ""),
        "taxid": (urs and urs["taxid"]) or "",
    }


def _fault(path: Path, line: int, fault: str) -> InputError:
    return InputError(f"{path}, line {line}: {cut(fault, 500)}")


def _table(path: Path, rnas: pd.DataFrame) -> pd.DataFrame:
    """The user's TSV, its rows checked against the records of the FASTA file."""
    table = read_tsv(path)
    unknown = [column for column in table.columns if column not in COLUMNS["rnas"]]
    if unknown or "rna_id" not in table.columns:
        fault = f"column {unknown[0]!r} is unknown" if unknown else "the column rna_id is missing"
        raise _fault(path, 1, f"{fault}; columns are {', '.join(COLUMNS['rnas'])}")
    fields = [name for name in table.columns if name != "rna_id"]
    table[fields] = table[fields].map(value_of)
    if "taxid" in fields:
        table["taxid"] = table["taxid"].str.removesuffix(".0")  # of a column with gaps
    sequences = dict(zip(rnas["rna_id"], rnas["sequence"], strict=True))
    asked = table.reindex(columns=["rna_id", "split", "sequence"], fill_value="")
    twice = table["rna_id"].duplicated()
    for (line, rna_id, side, sequence), again in zip(asked.itertuples(), twice, strict=True):
        sequence, said = sequence.upper().replace("T", "U"), ""
        if again:
            said = f"rna_id {rna_id!r} stands there twice; keep one row for it"
        elif sequence and sequence != sequences.get(rna_id, sequence):
            said = f"the sequence of {rna_id!r} is not the one in the FASTA file; leave it out"
        elif side not in ("", "train", "val", "test"):
            said = f"split {side!r} is unknown; write train, val, test or nothing"
        if said:
            raise _fault(path, line, said)
    return table


def read_tsv(path: Path) -> pd.DataFrame:
    """Columns of text as the first line names them, the index holding each row's line number."""
    lines = ((n, line.split("\t")) for n, line in enumerate(_lines(path), 1) if line.strip())
    first, header = next(lines)
    if len(header) > MOST_COLUMNS:
        raise _fault(path, first, f"{len(header):,} columns are more than are read; give a part")
    if len(set(header)) < len(header):
        twice = max(header, key=header.count)
        raise _fault(path, first, f"the column {twice!r} stands twice; keep one")
    numbers, columns = array("q"), [[] for _ in header]  # by columns: rows would take gigabytes
    for number, fields in lines:
        if len(fields) != len(header):
            said = f"{len(fields)} fields where the header has {len(header)}; use single tabs"
            raise _fault(path, number, said)
        if len(numbers) == MOST_ROWS:
            raise _fault(path, number, f"more than {MOST_ROWS:,} rows are not read; give a part")
        numbers.append(number)
        for column, field in zip(columns, fields, strict=True):
            column.append(fold(field).strip())
    table = pd.DataFrame(dict(enumerate(columns)), numbers, dtype=str)
    return table.set_axis([fold(name).strip() for name in header], axis=1)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a user's file, or InputError for a missing, binary or empty one."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    empty = True
    try:
        with path.open(encoding="utf-8-sig") as file:
            while line := file.readline(LONGEST_LINE + 1):
                if len(line) > LONGEST_LINE:
                    said = f"more than {LONGEST_LINE:,} characters; write a record a line"
                    raise InputError(f"{path}: a line has {said}")
                empty = empty and not line.strip()
                yield line.removesuffix("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} is binary or not UTF-8; give a plain text file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from None
    if empty:
        raise InputError(f"{path} is empty; leave it out if there is nothing to give")


def json_lines(path: Path, fields: tuple[str, ...]) -> Iterator[tuple[int, dict]]:
    """(line number, object) of every line, with the fields that it must have."""
    example = "{" + ", ".join(f'"{field}": …' for field in fields) + "}"
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
            if "\\u" in line or not line.isascii():
                record = parse_json(fold(json.dumps(record, ensure_ascii=False)))
        except InputError as error:
            said = f"{error}; write one object on each line, as in {example}"
            raise _fault(path, number, said) from None
        if isinstance(record, dict):  # NaN, which no value equals, is a gap
            record = {name: "" if value != value else value for name, value in record.items()}
        missing = [f for f in fields if not isinstance(record, dict) or record.get(f) is None]
        if missing:
            raise _fault(path, number, f"{missing[0]!r} is missing; each line is {example}")
        yield number, record


def _articles(path: Path) -> dict[str, Article]:
    rows: dict[str, Article] = {}
    fields = ("id", "title", "abstract", "year")
    for number, record in json_lines(path, fields):
        article_id, title, abstract, said = (str(record[name]) for name in fields)
        if not re.fullmatch(r"\S+", article_id) or article_id in rows:
            fault = "stands there twice" if article_id in rows else "is empty or holds spaces"
            raise _fault(path, number, f"id {article_id!r} {fault}; ids are unique")
        if not (year := _YEAR.fullmatch(said)):
            raise _fault(path, number, f"year {said!r} is none; write e.g. 2024")
        rows[article_id] = Article.read(article_id, title, abstract, int(year[1]))
    return rows


def _links(path: Path, rnas: set[str], articles: dict[str, Article]) -> Iterator[tuple[str, str]]:
    for number, record in json_lines(path, ("rna_id", "article_ids")):
        rna_id, ids = str(record["rna_id"]), record["article_ids"]
        if rna_id not in rnas:
            raise _fault(path, number, f"rna_id {rna_id!r} is not in the FASTA file; correct it")
        if not isinstance(ids, list):
            raise _fault(path, number, 'article_ids is no list; write ["id", …]')
        if unknown := [name for name in map(str, ids) if name not in articles]:
            said = f"article {unknown[0]!r} is not in the articles file; add it there"
            raise _fault(path, number, said)
        yield from ((rna_id, article_id) for article_id in map(str, ids))
