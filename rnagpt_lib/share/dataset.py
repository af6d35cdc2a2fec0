"""RNA-QA as a product: a run as a Hugging Face dataset folder with its card and checksums.

``README.md`` (the card), ``data/<config>/<side>-00000-of-00001.parquet``, ``rnagpt_export.json``
(what made it) and ``SHA256SUMS``. The same run gives the same bytes. Tables are streamed, checked
and counted on the way: nothing but the RNAs and the articles' ids is held whole.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import progress
from rnagpt_lib.core.paths import shown
from rnagpt_lib.curate.splits import split
from rnagpt_lib.runs.provenance import Provenance
from rnagpt_lib.runs.stages import DATA, FILTER, QA, SUMMARIES, stage_folder
from rnagpt_lib.share import cards
from rnagpt_lib.share import folder as export
from rnagpt_lib.share.cards import SIDES, Contents

MADE_BY = "rnagpt export-dataset"
COPYRIGHT = (
    "titles and abstracts, and sentences quoted from them, belong to their publishers: share the "
    "export only as far as each of them permits"
)
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
BATCH_ROWS = 32_768
GROUP_ROWS = 50_000  # rows of a row group; a full one of RNAs of 1,024 nt is about 60 MB
SHARD_ROWS = 8 * GROUP_ROWS  # of a file: below the Hub's bound of 500 MB


def export_dataset(
    run_id: str, out: Path, *, with_abstracts: bool = False,
    with_copyrighted_abstracts: bool = False, force: bool = False,
) -> dict[str, dict[str, int]]:  # fmt: skip
    """Write ``out`` from the finished stages 00 to 03 of a run; returns config → side → rows.

    ``out`` appears whole or not at all. An earlier export in its place is replaced with ``force``
    alone, and anything else never. Titles and abstracts are left out, as are sentences that the
    offline provider quotes from real abstracts, unless the run's world is generated
    (``with_abstracts``) or the caller takes the responsibility (``with_copyrighted_abstracts``).
    Raises InputError for a run that is unfinished, stale or breaks an invariant.
    """
    out = Path(out).expanduser().resolve()
    with export.in_place_of(out, MADE_BY, run_id, DATA, force) as folder:
        run = Provenance.of(run_id)
        if with_copyrighted_abstracts and not run.generated:
            print(f"Note: {COPYRIGHT}.", file=sys.stderr)
        elif with_abstracts and not run.generated:
            raise InputError(
                f"the articles of run {run_id} are not generated, and {COPYRIGHT}; "
                "to include them all the same, give --with-copyrighted-abstracts"
            )
        texts = with_copyrighted_abstracts or with_abstracts
        quotes = with_copyrighted_abstracts or not run.quotes_abstracts
        made = write_tables(run_id, folder / "data", run.split, texts=texts, quotes=quotes)
        (folder / export.CARD).write_text(cards.dataset_card(run, made), "utf-8")
        about = {"made_by": MADE_BY, "run": run_id, "stages": run.hashes, "rows": made.rows}
        export.seal(folder, about)
    return made.rows


# --- the tables


def write_tables(run_id: str, folder: Path, how: str, *, texts: bool, quotes: bool) -> Contents:
    """Write every config that has rows below ``folder``; ``how`` is the run's SPLIT.

    ``texts``: with titles and abstracts; ``quotes``: with sentences that quote abstracts.
    Raises InputError for an unknown or repeated id, and for a unit on two sides unless ``how``
    is "random".
    """
    rnas = tables.read(_path(run_id, QA, "rnas"), "rnas")
    _check_sides(rnas, how, run_id)
    preset = tables.read(_path(run_id, FILTER, "rnas"), "rnas").set_index("rna_id")["split"]
    preset = preset.reindex(rnas["rna_id"]).fillna("").set_axis(rnas.index)
    made = Contents(rnas, preset, texts, quotes)
    arrow = rnas.assign(split=rnas["split"].map(SIDES))
    arrow = pa.Table.from_pandas(arrow, preserve_index=False).combine_chunks()
    articles = CONFIGS["articles"] + ("title", "abstract") * texts
    flows = {
        "pairs": _pairs(run_id, arrow, made),
        "rnas": (arrow.slice(i, BATCH_ROWS) for i in range(0, len(rnas), BATCH_ROWS)),
        "annotations": _annotations(run_id, arrow, made.quotes),
        "links": _links(run_id, arrow, made),
        "articles": _without_side(_path(run_id, FILTER, "articles"), "articles", articles),
        "dropped": _dropped(run_id, made),
    }
    for config, flow in flows.items():
        columns = articles if config == "articles" else CONFIGS[config]
        rows = write_shards(folder / config, _schema(config, columns), flow)
        if rows:  # `datasets` cannot load a config without any
            made.rows[config] = rows
    return made


def _check_sides(rnas: pd.DataFrame, how: str, run_id: str) -> None:
    unknown = rnas[~rnas["split"].isin(SIDES)]
    if len(unknown):
        rna_id, side = unknown.iloc[0][["rna_id", "split"]]
        fault = f"RNA {rna_id} is on the side {side!r}; sides are {', '.join(SIDES)}"
        raise InputError(f"run {run_id}: {fault}; run {QA} again")
    if how != "random" and (both := split.straddling(rnas)):
        raise InputError(
            f"run {run_id}: {len(both)} units stand on two sides, the first is {both[0]}, so the "
            f"test side is no test (SPLIT is {how}); run {QA} again"
        )


def write_shards(folder: Path, schema: pa.Schema, flow: Iterable[pa.Table]) -> dict[str, int]:
    """Write tables to ``folder`` as files of bounded size; side → rows, of those that have any.

    The column ``split`` of the tables names the side; the files hold the columns of ``schema``.
    """
    whole = schema.append(pa.field("split", pa.string()))

    def batches() -> Iterator[pa.RecordBatch]:
        with progress(desc=folder.name, unit=" rows", unit_scale=True) as bar:
            for rows in flow:
                yield from rows.select(whole.names).cast(whole).to_batches()
                bar.update(len(rows))

    pads.write_dataset(
        pa.RecordBatchReader.from_batches(whole, batches()), folder, format="parquet",
        partitioning=pads.partitioning(pa.schema([whole.field("split")])),
        file_options=pads.ParquetFileFormat().make_write_options(compression="zstd"),
        min_rows_per_group=GROUP_ROWS, max_rows_per_group=GROUP_ROWS,
        max_rows_per_file=SHARD_ROWS, basename_template="{i}", use_threads=False,
    )  # fmt: skip
    found = {}
    for side in SIDES.values():
        files = sorted((folder / side).glob("*"), key=lambda file: int(file.name))
        for number, file in enumerate(files):
            found[side] = found.get(side, 0) + pq.read_metadata(file).num_rows
            os.rename(file, folder / f"{side}-{number:05d}-of-{len(files):05d}.parquet")
        if files:
            (folder / side).rmdir()
    return found


# --- the flows: tables with the column `split`


def _pairs(run_id: str, rnas: pa.Table, made: Contents) -> Iterator[pa.Table]:
    path = _path(run_id, QA, "pairs")
    ids, known = [], _index(rnas["rna_id"])
    for rows in _stream(path, "pairs"):
        place = _place(rows, "rna_id", known, path)
        for name in (*OF_RNA, "split"):
            rows = rows.append_column(name, rnas[name].take(place))
        made.per_rna += np.bincount(place, minlength=len(made.rnas))
        made.pairs.update(_counted(rows.select(["kind", "form", "split"])))
        made.versions.update(rows["prompt_version"].unique().to_pylist())
        made.example = made.example or rows.select(CONFIGS["pairs"]).slice(0, 1).to_pylist()[0]
        ids.append(_as_numbers(rows["pair_id"], path))
        yield rows
    if not ids:
        raise InputError(f"{shown(path)} holds no pair, so there is no data set to export")
    ids = np.sort(np.concatenate(ids))
    twice = ids[1:][ids[1:] == ids[:-1]]
    if len(twice):
        fault = f"{len(twice)} pair ids stand there twice, the first is {int(twice[0]):016x}"
        raise InputError(f"{shown(path)}: {fault}; run {QA} again")


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
    path, source = _path(run_id, FILTER, "links"), _path(run_id, FILTER, "articles")
    batches = (rows["article_id"] for rows in _stream(source, "articles", ["article_id"]))
    articles = pd.Index([i for ids in batches for i in ids.to_pylist()], dtype=object)
    known = _index(rnas["rna_id"])
    bit = {side: 1 << place for place, side in enumerate(SIDES.values())}
    bit = rnas["split"].to_pandas().map(bit).to_numpy(np.int8)
    sides = np.zeros(len(articles), np.int8)  # a bit for each side
    for rows in _stream(path, "links"):
        place = _place(rows, "rna_id", known, path)
        np.bitwise_or.at(sides, _place(rows, "article_id", articles, path), bit[place])
        yield rows.append_column("split", rnas["split"].take(place))
    made.shared_articles = int((np.bitwise_count(sides) > 1).sum())


def _dropped(run_id: str, made: Contents) -> Iterator[pa.Table]:
    for stage in (FILTER, SUMMARIES, QA):
        for rows in _without_side(_path(run_id, stage, "dropped"), "dropped"):
            reason = pc.replace_substring_regex(rows["reason"], r"\b\d[\d,.]*\b", "#")
            made.reasons.update(_counted(pa.table({"stage": rows["stage"], "reason": reason})))
            yield rows


def _without_side(
    path: Path, table: str, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """A table that has no sides; all of it is in ``train``, by the Hub's custom."""
    for rows in _stream(path, table, columns):
        yield rows.append_column("split", pa.array(["train"] * len(rows), pa.string()))


# --- parts


def _path(run_id: str, stage: str, table: str) -> Path:
    return stage_folder(run_id, stage) / f"{table}.parquet"


def _counted(rows: pa.Table) -> dict[tuple, int]:
    """How often each row stands there."""
    counted = rows.group_by(rows.column_names).aggregate([([], "count_all")])
    *keys, numbers = counted.to_pydict().values()
    return dict(zip(zip(*keys, strict=True), numbers, strict=True))


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
        fault = f"pair_id {wrong[0].as_py()!r} is not 16 hex digits"
        raise InputError(f"{shown(path)}: {fault}; run {QA} again")
    return np.frombuffer(bytes.fromhex("".join(ids.to_pylist())), ">u8")
