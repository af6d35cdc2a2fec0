"""Parquet shards of a table's sides, named as the Hugging Face Hub names them.

``train-00000-of-00002.parquet`` and so on. Rows stream through: what is held at a time is one
row group for each side, however long the table.
"""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

GROUP_ROWS = 50_000  # rows of a row group; a full one of RNAs of 1,024 nt is about 60 MB
SHARD_BYTES = 500_000_000  # of a shard's rows in memory, the Hub's own bound; files are smaller


class Shards:
    """One side of a table, as one or more parquet files in ``folder``."""

    def __init__(self, folder: Path, side: str, schema: pa.Schema) -> None:
        self.folder, self.side, self.schema = folder, side, schema
        self.rows = 0
        self._waiting: list[pa.Table] = []
        self._bytes = 0
        self._files: list[Path] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_shard()

    def add(self, rows: pa.Table) -> None:
        """Take rows; they are written once they fill a row group."""
        self.rows += rows.num_rows
        self._waiting.append(rows)
        if sum(part.num_rows for part in self._waiting) >= GROUP_ROWS:
            self._write()

    def finish(self) -> int:
        """Write what waits, and name the files; returns the rows. No rows make no file."""
        self._write()
        self._end_shard()
        for number, file in enumerate(self._files):
            name = f"{self.side}-{number:05d}-of-{len(self._files):05d}.parquet"
            os.rename(file, self.folder / name)
        return self.rows

    def _write(self) -> None:
        rows = pa.concat_tables([self.schema.empty_table(), *self._waiting])
        self._waiting = []
        if not rows.num_rows:
            return
        if self._writer is None:
            self._files.append(self.folder / f".{self.side}-{len(self._files):05d}")
            self._writer = pq.ParquetWriter(self._files[-1], self.schema, compression="zstd")
        self._writer.write_table(rows)
        self._bytes += rows.nbytes
        if self._bytes >= SHARD_BYTES:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer:
            self._writer.close()
        self._writer, self._bytes = None, 0


def write(
    folder: Path, schema: pa.Schema, tables: Iterable[pa.Table], sides: Iterable[str]
) -> dict[str, int]:
    """Write ``tables`` to ``folder``; returns side → rows, for the sides that have any.

    The column ``split`` of the tables names the side; the files hold the columns of ``schema``.
    """
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        shards = [stack.enter_context(Shards(folder, side, schema)) for side in sides]
        for table in tables:
            rows = table.select(schema.names).cast(schema)
            for own in shards:
                own.add(rows.filter(pc.equal(table["split"], own.side)))
        return {own.side: own.finish() for own in shards if own.rows}
