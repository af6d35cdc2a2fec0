"""One side of anybody's data set: FASTA, TSV, JSON lines or parquet, as records of one form.

A record is an RNA with a question and its answer. Faults of a file are InputErrors with the file,
the record and the remedy; single records that cannot be used are left out, and told.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rnagpt_lib.core import fasta, sequences
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import sha256
from rnagpt_lib.curate.questions import question_templates
from rnagpt_lib.curate.sources.user_files import json_lines, parse_description, read_tsv

QUESTION = question_templates.RELATIONS["rna_type"].questions[0]  # where a file holds answers alone
COLUMNS = ("id", "sequence", "question", "answer")
IDS = ("id", "rna_id", "name")
FASTA = (".fasta", ".fa", ".fna", ".fas", ".gz")
TABLES = (".tsv", ".jsonl", ".parquet")
_Raw = tuple[str, dict]  # where it stands in the file, and its fields


class Side(NamedTuple):
    """Records of a file, and what happened on the way.

    ``rows``: id, sequence (upper case, U for T), question, answer, all text. ``left_out``: which
    record and why. ``read_as``: how answers and questions were found, a sentence.
    """

    name: str
    sha256: str
    rows: pd.DataFrame
    left_out: list[tuple[str, str]]
    read_as: str


def read(path: Path) -> Side:
    """Read a file by its ending: .fasta (.fa, .fna, .fas, also .gz), .tsv, .jsonl or .parquet.

    Raises InputError for a missing, foreign or empty file, and where no record can be used.
    """
    kind = path.suffix.lower()
    if kind not in FASTA + TABLES:
        raise InputError(
            f"{path}: its ending says no format; name it .fasta (or .fa, .gz), .tsv, .jsonl or "
            ".parquet, after what it holds"
        )
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    if kind == ".gz" and Path(path.stem).suffix.lower() in TABLES:
        raise InputError(f"{path}: of packed files only FASTA is read; unpack it with gunzip first")
    left_out: list[tuple[str, str]] = []
    if kind in FASTA:
        raw, read_as = _fasta(path, left_out)
    else:
        raw, read_as = _table(path, kind)
    rows = [row for where, fields in raw for row in _usable(where, fields, left_out)]
    if not rows:
        first = f"; the first, {': '.join(left_out[0])}" if left_out else ""
        raise InputError(f"{path} holds no record that can be used{first}")
    return Side(
        path.name, sha256(path), pd.DataFrame(rows, columns=COLUMNS, dtype=str), left_out, read_as
    )


def _usable(where: str, fields: dict, left_out: list[tuple[str, str]]) -> Iterator[tuple]:
    """The record, if it is one."""
    given = fields.get("id")
    name = where if given in (None, "") else str(given)
    for field in ("question", "answer"):
        if not fields[field].strip():
            left_out.append((where, f"the {field} is empty; write one, or take the record out"))
            return
    try:
        sequence = sequences.normalise(fields["sequence"])
    except InputError as error:
        left_out.append((where, str(error)))
        return
    yield name, sequence, fields["question"].strip(), fields["answer"].strip()


def _fasta(path: Path, left_out: list[tuple[str, str]]) -> tuple[list[_Raw], str]:
    """Records whose answer is the header's RNAcentral type, else all of it behind the id."""
    refused: dict[str, str] = {}
    raw, how = [], Counter()
    for record in fasta.stream_fasta(path, refused):
        rna_type = parse_description(record.id, record.description)["rna_type"]
        how["type" if rna_type else "text"] += 1
        fields = {"id": record.id, "sequence": record.sequence, "question": QUESTION}
        answer = rna_type or record.description
        raw.append((f"record {record.id!r} (line {record.line})", fields | {"answer": answer}))
    left_out += [(f"record {name!r}", reason) for name, reason in refused.items()]
    if raw and not any(fields["answer"] for _, fields in raw):
        raise InputError(
            f"{path}, {raw[0][0]}: there is no answer in its header, nor in any other; write the "
            "class or description behind the id, as in '>my_rna tRNA', or give a .tsv file with "
            "the columns sequence and answer"
        )
    found = [
        f"{how['type']:,} by the RNA type in an RNAcentral header" if how["type"] else "",
        f"{how['text']:,} by all of the header behind the id" if how["text"] else "",
    ]
    return raw, f"FASTA; answers: {', '.join(filter(None, found))}; question: “{QUESTION}”"


def _table(path: Path, kind: str) -> tuple[Iterator[_Raw], str]:
    """Records of the columns sequence, answer and, where there are any, question and an id."""
    rows, place = {".tsv": _tsv, ".jsonl": _json, ".parquet": _parquet}[kind](path)
    rows.columns = [str(column).strip().lower() for column in rows.columns]
    needed = {"sequence", "answer"} - set(rows.columns)
    twice = rows.columns[rows.columns.duplicated()]
    if needed or len(twice):
        fault = f"column {min(needed)!r} is missing" if needed else f"{twice[0]!r} stands twice"
        raise InputError(
            f"{path}: {fault}; the columns are sequence, question, answer (one each), and id if "
            f"there are ids; here are {', '.join(rows.columns) or 'none'}"
        )
    asks = "question" in rows.columns
    named = next((column for column in IDS if column in rows.columns), None)
    if not asks:
        rows["question"] = QUESTION
    rows = rows.fillna("")
    told = "questions and answers of its columns" if asks else f"answers; question: “{QUESTION}”"

    def records() -> Iterator[_Raw]:
        ids = rows[named] if named else [""] * len(rows)
        columns = (rows["sequence"], rows["question"], rows["answer"])
        for number, name, *fields in zip(rows.index, ids, *columns, strict=True):
            given = dict(zip(COLUMNS[1:], map(str, fields), strict=True))
            yield f"{place} {number}", {"id": name} | given

    return records(), f"{kind[1:].upper()}; {told}"


def _tsv(path: Path) -> tuple[pd.DataFrame, str]:
    return read_tsv(path), "line"


def _json(path: Path) -> tuple[pd.DataFrame, str]:
    lines = dict(json_lines(path, ("sequence", "answer")))
    for number, record in lines.items():
        for field, value in record.items():
            if field in COLUMNS + IDS and isinstance(value, list | dict):
                raise InputError(
                    f"{path}, line {number}: {field!r} is no text; write one text, and a line for "
                    "each answer"
                )
    # as objects: a number that other lines lack would become 1.0
    return pd.DataFrame([*lines.values()], index=[*lines], dtype=object), "line"


def _parquet(path: Path) -> tuple[pd.DataFrame, str]:
    try:
        there = pq.read_schema(path).names
        wanted = [name for name in there if name.strip().lower() in COLUMNS + IDS]
        table = pq.read_table(path, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no readable parquet table ({error}); write it anew") from None
    columns = {name: _texts(path, name, table[name]) for name in wanted}
    return pd.DataFrame(columns, range(1, len(table) + 1), dtype=object), "row"


def _texts(path: Path, name: str, column: pa.ChunkedArray) -> list[str]:
    """The values as texts; "" where there is none. Whole numbers stay whole: 1 is "1" in a column
    that has gaps, and is a float for that reason, too."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    try:
        return pc.fill_null(column.cast(pa.string()), "").to_pylist()
    except pa.ArrowException:
        raise InputError(
            f"{path}: the column {name!r} holds {column.type}, which is no text; write one text in "
            "each row, and a row for each answer"
        ) from None
