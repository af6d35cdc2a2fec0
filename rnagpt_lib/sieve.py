"""The rules of stage 00 for tables that are too large to hold: parquet in, parquet out.

Notebook 00 itself filters in memory (`dataset`); this is for tables that are there already.

RNAs within the length limits, their links, and the articles that these cite; what is left out
goes into ``dropped``. Batches of rows are read, filtered and written one after the other, so
memory holds the ids and a few thousand abstracts, however many there are.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from rnagpt_lib.errors import InputError
from rnagpt_lib.files import replacing
from rnagpt_lib.paths import shown
from rnagpt_lib.tables import ARROW, COLUMNS

BATCH = 4096  # rows at a time
GROUP = 8  # batches that one row group of an output holds
STAGE = "00_filter_rnacentral"


def sieve(source: Path, target: Path, min_length: int, max_length: int) -> dict[str, int]:
    """Filter ``rnas``, ``links`` and ``articles`` of the folder ``source`` into ``target``.

    Writes these tables and ``dropped`` there, each whole or not at all; returns their rows.
    Raises InputError for a table that is missing, or when no RNA is left.
    """
    rnas, links, articles = (_table(source, name) for name in ("rnas", "links", "articles"))
    fits = (ds.field("length") >= min_length) & (ds.field("length") <= max_length)
    known = _ids(rnas, "rna_id", fits)
    if not len(known):
        raise InputError(
            f"{shown(source)}: no RNA has {min_length} to {max_length} nt; change MIN_LENGTH and "
            "MAX_LENGTH"
        )
    linked = pc.field("rna_id").isin(known)
    cited = pc.field("article_id").isin(_ids(links, "article_id", linked).unique())
    counts = {
        "rnas": _write(target, "rnas", _batches(rnas, "rnas", fits)),
        "links": _write(target, "links", _batches(links, "links", linked)),
        "articles": _write(target, "articles", _batches(articles, "articles", cited)),
    }
    lost = _dropped(rnas, articles, ~fits, ~cited, min_length)
    return counts | {"dropped": _write(target, "dropped", lost)}


def _table(folder: Path, name: str) -> ds.Dataset:
    path = folder / f"{name}.parquet"
    if not path.exists():
        raise InputError(f"{shown(path)} is missing; the filter reads rnas, links and articles")
    return ds.dataset(path)


def _scan(data: ds.Dataset, columns: list[str], which: pc.Expression) -> Iterator[pa.RecordBatch]:
    """Batches in the order of the file; little is read ahead, since abstracts are long."""
    options = {"batch_size": BATCH, "batch_readahead": 2, "fragment_readahead": 1}
    return data.scanner(columns=columns, filter=which, **options).to_batches()


def _batches(data: ds.Dataset, name: str, which: pc.Expression) -> Iterator[pa.RecordBatch]:
    return _scan(data, list(COLUMNS[name]), which)


def _ids(data: ds.Dataset, column: str, which: pc.Expression) -> pa.Array:
    parts = [batch.column(0) for batch in _scan(data, [column], which)]
    return pa.concat_arrays(parts) if parts else pa.array([], pa.string())


def _dropped(
    rnas: ds.Dataset, articles: ds.Dataset, unfit: pc.Expression, uncited: pc.Expression, least: int
) -> Iterator[pa.RecordBatch]:
    for batch in _scan(rnas, ["rna_id", "length"], unfit):
        short = pc.less(batch["length"], least)
        reason = pc.if_else(short, "shorter than MIN_LENGTH", "longer than MAX_LENGTH")
        yield _lost(batch["rna_id"], reason)
    for batch in _scan(articles, ["article_id"], uncited):
        reason = pa.array(["article linked with no RNA that is kept"] * len(batch))
        yield _lost(batch["article_id"], reason)


def _lost(record: pa.Array, reason: pa.Array) -> pa.RecordBatch:
    stage = pa.array([STAGE] * len(record))
    return pa.record_batch([stage, record, reason], list(COLUMNS["dropped"]))


def _write(folder: Path, name: str, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches as they come, several to a row group; how many rows there were."""
    schema = pa.schema([(column, ARROW[kind]) for column, kind in COLUMNS[name].items()])
    rows, held = 0, []
    with replacing(folder / f"{name}.parquet") as path, pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            rows += len(batch)
            held.append(batch.cast(schema))
            if len(held) == GROUP:
                writer.write_table(pa.Table.from_batches(held))
                held = []
        if held:
            writer.write_table(pa.Table.from_batches(held))
    return rows
