"""RNA-QA as a product: a run as a Hugging Face dataset folder with its card and checksums.

``README.md`` (the card), ``data/<config>/<side>-00000-of-00001.parquet``, ``rnagpt_export.json``
(what made it) and ``SHA256SUMS``. The same run gives the same bytes. Tables are streamed, checked
and counted on the way: nothing but the RNAs and the articles' ids is held whole.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import progress
from rnagpt_lib.core.paths import shown
from rnagpt_lib.curate.splits import split
from rnagpt_lib.runs import stages
from rnagpt_lib.runs.provenance import Provenance
from rnagpt_lib.runs.stages import STAGES, stage_folder
from rnagpt_lib.share import cards
from rnagpt_lib.share import folder as export
from rnagpt_lib.share.cards import SIDES, Contents

PATH = stages.STAGES[:4]  # what a data set is made by
MADE_BY = "rnagpt export-dataset"
COPYRIGHT = (
    "titles and abstracts, and sentences quoted from them, belong to their publishers: share the "
    "export only as far as each of them permits"
)


BATCH_ROWS = 32_768
ALL = ("train",)  # the one side, by the Hub's custom, of tables that have none
OF_RNA = ("sequence", "length", "rna_type", "species", "taxid", "family", "unit")
CONFIGS = {
    "pairs": (
        "pair_id", "question", "answer", "kind", "form", "rna_id", *OF_RNA, "source",
        "article_ids", "prompt_version",
    ),
    "rnas": tuple(name for name in tables.COLUMNS["rnas"] if name != "split"),
    "annotations": tuple(tables.COLUMNS["annotations"]),
    "links": tuple(tables.COLUMNS["links"]),
    "articles": ("article_id", "year"),
    "dropped": tuple(tables.COLUMNS["dropped"]),
}  # fmt: skip
OWN_WORDS = ("given", "litsumm")  # sources whose sentences are never quotes of the abstracts
FIRST, _, SUMMARIES, LAST = STAGES[:4]
GROUP_ROWS = 50_000  # rows of a row group; a full one of RNAs of 1,024 nt is about 60 MB
SHARD_BYTES = 500_000_000  # of a shard's rows in memory, the Hub's own bound; files are smaller


def export_dataset(
    run_id: str,
    out: Path,
    *,
    with_abstracts: bool = False,
    with_copyrighted_abstracts: bool = False,
    force: bool = False,
) -> dict[str, dict[str, int]]:
    """Write ``out`` from the finished stages 00 to 03 of a run; returns config → side → rows.

    ``out`` appears whole or not at all. An earlier export in its place is replaced with ``force``
    alone, and anything else never. Titles and abstracts are left out, as are sentences that the
    offline provider quotes from real abstracts, unless the run's world is generated
    (``with_abstracts``) or the caller takes the responsibility (``with_copyrighted_abstracts``).
    Raises InputError for a run that is unfinished, stale or breaks an invariant.
    """
    out = Path(out).expanduser().resolve()
    export.check(out, MADE_BY, force)
    before = export.finished(run_id, PATH)
    run = Provenance.of(run_id)
    _check_abstracts(run, with_abstracts, with_copyrighted_abstracts)
    texts = with_copyrighted_abstracts or with_abstracts
    quotes = with_copyrighted_abstracts or not run.quotes_abstracts
    with export.in_place_of(out, MADE_BY, force) as folder:
        made = write_tables(run_id, folder / "data", run.split, texts=texts, quotes=quotes)
        (folder / export.CARD).write_text(cards.dataset_card(run, made), "utf-8")
        about = {"made_by": MADE_BY, "run": run_id, "stages": run.hashes, "rows": made.rows}
        export.seal(folder, about)
        if export.finished(run_id, PATH) != before:
            raise InputError(f"run {run_id} was run again while it was exported; export it again")
    return made.rows


def _check_abstracts(run: Provenance, asked: bool, copyrighted: bool) -> None:
    """InputError for abstracts that somebody owns, a note where the user takes them all the same."""
    if run.generated:
        return
    if copyrighted:
        print(f"Note: {COPYRIGHT}.", file=sys.stderr)
    elif asked:
        raise InputError(
            f"the articles of run {run.run} are not generated, and {COPYRIGHT}; "
            "to include them all the same, give --with-copyrighted-abstracts"
        )


# --- the tables


def write_tables(run_id: str, folder: Path, how: str, *, texts: bool, quotes: bool) -> Contents:
    """Write every config that has rows below ``folder``; ``how`` is the run's SPLIT.

    ``texts``: with titles and abstracts; ``quotes``: with sentences that quote abstracts.
    Raises InputError for an unknown or repeated id, and for a unit on two sides unless ``how``
    is "random".
    """
    made = Contents(*_rnas(run_id, how), texts, quotes)
    for config, (flow, names) in _flows(run_id, made).items():
        sides = ALL if config in ("articles", "dropped") else SIDES.values()
        flow, schema = _with_bar(flow, config), _schema(config, names)
        rows = write_shards(folder / config, schema, flow, sides)
        if rows:  # `datasets` cannot load a config without any
            made.rows[config] = rows
        else:
            (folder / config).rmdir()
    return made


def _rnas(run_id: str, how: str) -> tuple[pd.DataFrame, pd.Series]:
    """The RNAs of 03, checked, and the sides that 00 had fixed, indexed like them."""
    rnas = tables.read(_path(run_id, LAST, "rnas"), "rnas")
    _check_sides(rnas, how, run_id)
    preset = tables.read(_path(run_id, FIRST, "rnas"), "rnas").set_index("rna_id")["split"]
    return rnas, preset.reindex(rnas["rna_id"]).fillna("").set_axis(rnas.index)


def _flows(run_id: str, made: Contents) -> dict[str, tuple[Iterable[pa.Table], tuple[str, ...]]]:
    """Config → its tables, with the column `split`, and the columns to write."""
    sided = made.rnas.assign(split=made.rnas["split"].map(SIDES))
    rnas = pa.Table.from_pandas(sided, preserve_index=False).combine_chunks()
    articles = CONFIGS["articles"] + (("title", "abstract") if made.texts else ())
    flows = {
        "pairs": _pairs(run_id, rnas, made),
        "rnas": (rnas.slice(i, BATCH_ROWS) for i in range(0, len(rnas), BATCH_ROWS)),
        "annotations": _annotations(run_id, rnas, made.quotes),
        "links": _links(run_id, rnas, made),
        "articles": _whole(_path(run_id, FIRST, "articles"), "articles", articles),
        "dropped": _dropped(run_id, made),
    }
    columns = CONFIGS | {"articles": articles}
    return {config: (flow, columns[config]) for config, flow in flows.items()}


def _with_bar(flow: Iterable[pa.Table], name: str) -> Iterator[pa.Table]:
    with progress(desc=name, unit=" rows", unit_scale=True) as bar:
        for rows in flow:
            yield rows
            bar.update(len(rows))


def _check_sides(rnas: pd.DataFrame, how: str, run_id: str) -> None:
    unknown = rnas[~rnas["split"].isin(SIDES)]
    if len(unknown):
        row = unknown.iloc[0]
        raise InputError(
            f"run {run_id}: RNA {row['rna_id']} is on the side {row['split']!r}; sides are "
            f"{', '.join(SIDES)}; run 03_decompose_qa again"
        )
    both = split.straddling(rnas) if how != "random" else []
    if both:
        raise InputError(
            f"run {run_id}: {len(both)} units stand on two sides, the first is {both[0]}, so the "
            f"test side is no test (SPLIT is {how}); run 03_decompose_qa again"
        )


# --- the flows: tables with the column `split`


def _pairs(run_id: str, rnas: pa.Table, made: Contents) -> Iterator[pa.Table]:
    path = _path(run_id, LAST, "pairs")
    ids, known = [], _index(rnas["rna_id"])
    for rows in _stream(path, "pairs"):
        place = _place(rows, "rna_id", known, path)
        for name in (*OF_RNA, "split"):
            rows = rows.append_column(name, rnas[name].take(place))
        made.per_rna += np.bincount(place, minlength=len(made.rnas))
        counted = rows.group_by(["kind", "form", "split"]).aggregate([([], "count_all")])
        for *key, number in zip(*counted.to_pydict().values(), strict=True):
            made.pairs[tuple(key)] += number
        made.versions.update(rows["prompt_version"].unique().to_pylist())
        made.example = made.example or rows.select(CONFIGS["pairs"]).slice(0, 1).to_pylist()[0]
        ids.append(_as_numbers(rows["pair_id"], path))
        yield rows
    if not made.per_rna.any():
        raise InputError(f"{shown(path)} holds no pair, so there is no data set to export")
    _check_unique(np.concatenate(ids), path)


def _annotations(run_id: str, rnas: pa.Table, quotes: bool) -> Iterator[pa.Table]:
    path, known = _path(run_id, SUMMARIES, "annotations"), _index(rnas["rna_id"])
    for rows in _stream(path, "annotations"):
        rows = rows.append_column("split", rnas["split"].take(_place(rows, "rna_id", known, path)))
        if not quotes:
            own = pc.is_in(rows["source"], value_set=pa.array(OWN_WORDS))
            text = pc.if_else(own, rows["text"], pa.scalar(None, pa.string()))
            rows = rows.set_column(rows.schema.get_field_index("text"), "text", text)
        yield rows


def _links(run_id: str, rnas: pa.Table, made: Contents) -> Iterator[pa.Table]:
    path, source = _path(run_id, FIRST, "links"), _path(run_id, FIRST, "articles")
    batches = [
        rows["article_id"].to_pylist() for rows in _stream(source, "articles", ["article_id"])
    ]
    articles = pd.Index([i for batch in batches for i in batch], dtype=object)
    known = _index(rnas["rna_id"])
    sides = np.zeros(len(articles), np.int8)  # a bit for each side
    bit = rnas["split"].to_pandas().map({side: 1 << i for i, side in enumerate(SIDES.values())})
    bit = bit.to_numpy(np.int8)
    for rows in _stream(path, "links"):
        place = _place(rows, "rna_id", known, path)
        np.bitwise_or.at(sides, _place(rows, "article_id", articles, path), bit[place])
        yield rows.append_column("split", rnas["split"].take(place))
    made.shared_articles = int((np.bitwise_count(sides) > 1).sum())


def _dropped(run_id: str, made: Contents) -> Iterator[pa.Table]:
    for stage in (FIRST, SUMMARIES, LAST):
        for rows in _whole(_path(run_id, stage, "dropped"), "dropped"):
            reason = pc.replace_substring_regex(rows["reason"], r"\b\d[\d,.]*\b", "#")
            counted = pa.table([rows["stage"], reason], ["stage", "reason"])
            counted = counted.group_by(["stage", "reason"]).aggregate([([], "count_all")])
            for *key, number in zip(*counted.to_pydict().values(), strict=True):
                made.reasons[tuple(key)] += number
            yield rows


def _whole(path: Path, table: str, columns: Iterable[str] | None = None) -> Iterator[pa.Table]:
    """A table that has no sides."""
    for rows in _stream(path, table, columns):
        yield rows.append_column("split", pa.array(ALL * len(rows), pa.string()))


# --- parts


def _path(run_id: str, stage: str, table: str) -> Path:
    return stage_folder(run_id, stage) / f"{table}.parquet"


def _schema(config: str, names: Iterable[str]) -> pa.Schema:
    kinds = tables.COLUMNS["rnas"] | tables.COLUMNS[config]
    return pa.schema([(name, tables.ARROW[kinds[name]]) for name in names])


def _stream(path: Path, table: str, columns: Iterable[str] | None = None) -> Iterator[pa.Table]:
    """The table's batches, in the contract's columns. InputError for a file that breaks it."""
    names = list(columns or tables.COLUMNS[table])
    try:
        with tables.in_batches(path) as file:
            schema = _schema(table, names)
            for batch in file.iter_batches(BATCH_ROWS, columns=names):
                yield pa.Table.from_batches([batch]).select(names).cast(schema)
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{shown(path)} is no readable table {table} ({reason}); run its notebook again"
        ) from None


def _index(ids: pa.ChunkedArray) -> pd.Index:
    return pd.Index(ids.to_pylist(), dtype=object)  # hashed once, where Arrow hashes in every call


def _place(rows: pa.Table, column: str, known: pd.Index, path: Path) -> np.ndarray:
    """Position in ``known`` for each row. InputError naming an id that is not there."""
    place = known.get_indexer(np.array(rows[column].to_pylist(), dtype=object))
    if (place < 0).any():
        unknown = rows[column][int((place < 0).argmax())].as_py()
        raise InputError(
            f"{shown(path)}: {column} {unknown} is not among the run's; run its notebook again"
        )
    return place


def _as_numbers(ids: pa.ChunkedArray, path: Path) -> np.ndarray:
    """Ids of 16 hex digits as numbers of 8 bytes: ten million take 80 MB."""
    wrong = ids.filter(pc.invert(pc.match_substring_regex(ids, "^[0-9a-f]{16}$")))
    if len(wrong):
        raise InputError(
            f"{shown(path)}: pair_id {wrong[0].as_py()!r} is not 16 hex digits; "
            "run 03_decompose_qa again"
        )
    return np.frombuffer(bytes.fromhex("".join(ids.to_pylist())), ">u8")


def _check_unique(ids: np.ndarray, path: Path) -> None:
    ids = np.sort(ids)
    twice = ids[1:][ids[1:] == ids[:-1]]
    if len(twice):
        raise InputError(
            f"{shown(path)}: {len(twice)} pair ids stand there twice, the first is "
            f"{int(twice[0]):016x}; run 03_decompose_qa again"
        )


# --- shards


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


def write_shards(
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
