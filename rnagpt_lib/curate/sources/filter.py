"""The rules of stage 00, in batches: parquet in, parquet out.

RNAs within the length limits, their links, and the articles that these cite; what is left out
goes into ``dropped``. Ids and lengths alone decide which rows stay, a bit for each row; then
batches of rows are read, filtered and written one after the other. So memory holds columns of
ids and one row group of abstracts, however many there are.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rnagpt_lib.core.tables import in_batches, schema, write_batches
from rnagpt_lib.curate.sources.user_files import drop

BATCH = 4096  # rows read at a time
UNREAD = "article linked with no RNA that is kept"


def sieve(source: Path, target: Path, min_length: int, max_length: int) -> dict[str, int]:
    """Filter ``rnas``, ``links`` and ``articles`` of the folder ``source`` into ``target``.

    ``dropped`` of ``source`` goes on with what is left out here. All four tables keep their
    order; each is written whole or not at all. Returns their rows; no RNA may be among them.
    """
    lengths = _column(source, "rnas", "length")
    fits = pc.and_(pc.greater_equal(lengths, min_length), pc.less_equal(lengths, max_length))
    known = _column(source, "rnas", "rna_id").filter(fits)
    linked = pc.is_in(_column(source, "links", "rna_id"), value_set=known)
    read = _column(source, "links", "article_id").filter(linked).unique()
    cited = pc.is_in(_column(source, "articles", "article_id"), value_set=read)
    batches = {
        "rnas": _rows(source, "rnas", fits),
        "links": _rows(source, "links", linked),
        "articles": _rows(source, "articles", cited),
        "dropped": _dropped(source, pc.invert(fits), pc.invert(cited), min_length, max_length),
    }
    return {
        name: write_batches(target / f"{name}.parquet", name, rows)
        for name, rows in batches.items()
    }


def _file(folder: Path, name: str) -> pq.ParquetFile:
    return in_batches(folder / f"{name}.parquet")


def _column(folder: Path, name: str, column: str) -> pa.Array:
    """A whole column; ids in Arrow's memory are far smaller than as Python's texts."""
    with _file(folder, name) as file:
        found = file.read([column]).column(0)
    return found.cast(schema(name).field(column).type).combine_chunks()


def _rows(
    folder: Path, name: str, which: pa.Array, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a table for which ``which``, a flag for each row, is true."""
    first = 0
    with _file(folder, name) as file:
        for batch in file.iter_batches(BATCH, columns=columns):
            yield batch.filter(which.slice(first, len(batch)))
            first += len(batch)


def _dropped(
    folder: Path, unfit: pa.Array, uncited: pa.Array, least: int, most: int
) -> Iterator[pa.RecordBatch]:
    with _file(folder, "dropped") as file:
        yield from file.iter_batches(BATCH)
    for batch in _rows(folder, "rnas", unfit, ["rna_id", "length"]):
        yield _lost(
            drop(row["rna_id"], f"{_fault(row['length'], least, most)} ({row['length']:,} nt)")
            for row in batch.to_pylist()
        )
    for batch in _rows(folder, "articles", uncited, ["article_id"]):
        yield _lost(drop(row["article_id"], UNREAD) for row in batch.to_pylist())


def _fault(length: int, least: int, most: int) -> str:
    return f"shorter than {least} nt" if length < least else f"longer than {most} nt"


def _lost(rows: Iterator[dict[str, str]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema("dropped"))
