"""The column contracts of the tables that stages hand to each other.

>>> list(COLUMNS["links"])
['rna_id', 'article_id']
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import replacing
from rnagpt_lib.core.paths import shown
from rnagpt_lib.core.text import cut, one_line

# Arrow's own, mimalloc, holds 0.7 GB beside 2.2 GB of texts in parquet's pieces.
pa.set_memory_pool(pa.system_memory_pool())

# Columns hold text, unless another kind stands behind their names.
_CONTRACTS = {
    "rnas": "rna_id sequence length:whole rna_type species taxid family description unit split",
    "articles": "article_id title abstract year:whole",
    "links": "rna_id article_id",
    "topics": "rna_id article_id topic:whole weight:real",
    "annotations": "rna_id source sentence_no:whole text article_ids:texts",
    "pairs": "pair_id rna_id source kind form question answer article_ids:texts prompt_version",
    "dropped": "stage record reason",
    "truth": "rna_id relation entity local:flag stratum",
    "topics_truth": "rna_id article_id topic",
    "answers": (
        "run source model seed:whole pair_id rna_id unit kind form prediction reference "
        "n_tokens:whole stop_reason"
    ),
    "samples": "run source model seed:whole pair_id rna_id unit kind form metric value:real",
    "scores": (
        "run source model kind form stratum metric definition value:real low:real high:real n:whole"
    ),
    "trainings": "run model seed:whole metric value:real",
    "differences": "model_a model_b metric value:real low:real high:real",
}
# What identifies a row, in the tables that may not repeat one.
_KEYS: dict[str, list[str]] = {
    "rnas": ["rna_id"],
    "articles": ["article_id"],
    "links": ["rna_id", "article_id"],
    "annotations": ["rna_id", "source", "sentence_no"],
    "pairs": ["pair_id"],
}
ARROW = {
    "text": pa.string(),
    "whole": pa.int64(),
    "real": pa.float64(),
    "flag": pa.bool_(),
    "texts": pa.list_(pa.string()),
}
_TEXTS = {pa.string(), pa.large_string(), pa.binary(), pa.large_binary()}
COLUMNS: dict[str, dict[str, str]] = {  # table → column → its kind, one of `ARROW`
    table: {name: kind or "text" for name, _, kind in (c.partition(":") for c in columns.split())}
    for table, columns in _CONTRACTS.items()
}
GROUP = 1 << 15  # rows of a row group at most: what a writer of batches holds
FRAME = 1 << 18  # the same of a frame, which is in memory: each group repeats the ids
UNFOLDED, VALUE = 1 << 28, 64  # bytes of a foreign file in memory; of a value beside its letters
BUFFER = 1 << 20  # bytes of a column that a reader of batches takes at a time


def frame(table: str, rows: Iterable[dict]) -> pd.DataFrame:
    """Rows as a table, all columns there even when there are no rows.

    ``frame("links", [{"rna_id": "R1", "article_id": "A1"}])``
    """
    return pd.DataFrame(list(rows), columns=list(_columns(table)))


class Texts:
    """The texts of the table ``articles`` by id, read out one by one: all together are gigabytes.

    ``Texts(articles)["PMC1"]`` is (title, abstract); KeyError for an id that is not there.
    """

    def __init__(self, articles: pd.DataFrame):
        self._place = pd.Index(articles["article_id"])
        self._columns = {name: column.array for name, column in articles.items()}

    def __getitem__(self, article_id: str) -> tuple[str, str]:
        place = self._place.get_loc(article_id)
        return str(self._columns["title"][place]), str(self._columns["abstract"][place])

    def year(self, article_id: str) -> int:
        """The year of an article."""
        return int(self._columns["year"][self._place.get_loc(article_id)])


def schema(table: str) -> pa.Schema:
    """The columns of a table as Arrow's types."""
    return pa.schema([(name, ARROW[kind]) for name, kind in _columns(table).items()])


def write(path: Path, table: str, frame: pd.DataFrame) -> Path:
    """Check ``frame`` against the contract and write it as parquet, whole or not at all.

    Raises InputError for missing or unknown columns, wrong types, empty or repeated ids.
    """
    arrow = _checked(path, table, frame)
    with replacing(path) as temporary:
        pq.write_table(arrow, temporary, row_group_size=FRAME, compression="zstd")
    return path


def write_batches(path: Path, table: str, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches as they come, whole or not at all; returns how many rows there were.

    Columns may come in any order. Only their types are checked: of ids that are empty or
    repeated no batch knows enough.
    """
    columns, rows, held = schema(table), 0, []
    with replacing(path) as temporary, pq.ParquetWriter(temporary, columns) as writer:
        for batch in batches:
            if held and sum(map(len, held)) + len(batch) > GROUP:
                writer.write_table(pa.Table.from_batches(held), row_group_size=GROUP)
                held.clear()
            if len(batch):
                held.append(batch.select(columns.names).cast(columns))
            rows += len(batch)
        if held:
            writer.write_table(pa.Table.from_batches(held), row_group_size=GROUP)
    return rows


def read(path: Path, table: str) -> pd.DataFrame:
    """Read a table and check its contract; ``texts`` columns come back as lists.

    Raises InputError when the file is missing, is no parquet or breaks the contract.
    """
    data = _checked(path, table, _read(path).to_pandas()).to_pandas()
    for name, kind in _columns(table).items():
        if kind == "texts":
            data[name] = [list(texts) for texts in data[name]]
    return data


def read_part(path: Path, table: str, columns: Sequence[str], **equal: str) -> pa.Table:
    """Some columns of the rows whose columns ``equal`` so, as Arrow: what is small enough to hold
    of the tables of 400,000 RNAs. Only types are checked.

    ``read_part(path, "annotations", ["rna_id", "text"], source="dnc")``; InputError as `read`.
    """
    wanted = pa.schema([schema(table).field(name) for name in columns])
    where = [(name, "=", value) for name, value in equal.items()]
    found = _read(path, columns=list(columns), filters=where or None)
    try:
        return found.select(wanted.names).cast(wanted)
    except (pa.ArrowException, KeyError) as error:
        raise InputError(f"{shown(path)} (table {table}): {error}; make it again") from None


def _read(path: Path, **part: object) -> pa.Table:
    if not path.is_file():
        raise InputError(f"{shown(path)} is missing; first run {path.parent.name}, which writes it")
    try:
        found = pq.read_table(path, **part)
        found.validate(full=True)  # Arrow reads bytes that are no UTF-8 as if they were
        return found
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def read_foreign(path: Path, wanted: Callable[[str], bool]) -> pd.DataFrame:
    """The columns that are ``wanted`` of a parquet file of anybody's, whatever they hold. Raises
    InputError for another file, and for one that would unfold to more than `UNFOLDED` bytes."""
    try:
        about = pq.read_metadata(path)
        schema = about.schema.to_arrow_schema()
        names = [name for name in schema.names if wanted(name)]
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        size = sum(group.total_byte_size + VALUE * group.num_rows * len(names) for group in groups)
        nested = [name for name in names if pa.types.is_nested(schema.field(name).type)]
        if nested:
            raise ValueError(f"{nested[0]!r} is no text but several; write a record for each")
        if size <= UNFOLDED:
            # repeated texts stay one until it is known how long they are together
            found = pq.read_table(path, columns=names, read_dictionary=names)
            for chunk in (chunk for column in found.columns for chunk in column.chunks):
                if pa.types.is_dictionary(chunk.type) and chunk.type.value_type in _TEXTS:
                    lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
                    size += pc.sum(lengths).as_py() or 0
        if size <= UNFOLDED:
            found.validate(full=True)
            types = (t.value_type if pa.types.is_dictionary(t) else t for t in found.schema.types)
            plain = found.cast(pa.schema([*zip(found.column_names, types, strict=True)]))
            return plain.to_pandas(ignore_metadata=True).convert_dtypes()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    raise InputError(f"{shown(path)} unfolds to more than {UNFOLDED:,} bytes; give a part of it")


def _unreadable(path: Path, error: Exception) -> InputError:
    said = cut(one_line(str(error)), 300)
    return InputError(f"{shown(path)} is no readable parquet table: {said}; make it again")


def in_batches(path: Path) -> pq.ParquetFile:
    """A table to be read once through, batch by batch; Arrow's ``pre_buffer`` would hold it all."""
    return pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)


def _columns(table: str) -> dict[str, str]:
    if table not in COLUMNS:
        raise InputError(f"table {table!r} is unknown; tables are {', '.join(COLUMNS)}")
    return COLUMNS[table]


def _checked(path: Path, table: str, data: pd.DataFrame) -> pa.Table:
    """The frame as Arrow with the contract's columns in order, or InputError."""
    columns, where = _columns(table), f"{shown(path)} (table {table})"
    missing, unknown = sorted({*columns} - {*data}), sorted({*data} - {*columns})
    if missing or unknown:
        raise InputError(f"{where}: columns missing: {missing}, unknown: {unknown}")
    arrays = []
    for name, kind in columns.items():
        column = data[name]
        try:
            if kind not in ("text", "texts") and pd.api.types.is_string_dtype(column) and len(data):
                raise pa.ArrowInvalid("it holds text")  # Arrow would parse "1" silently
            # in chunks as it came: a million abstracts are not copied to be one piece
            arrays.append(pa.Array.from_pandas(column, type=ARROW[kind], safe=True))
        except pa.ArrowException as error:
            raise InputError(f"{where}: column {name} should hold {kind}: {error}") from None
        if kind != "real" and arrays[-1].null_count:
            row = int(column.isna().to_numpy().argmax())
            raise InputError(f"{where}: column {name} has no value in row {row}")
        bad = ~column.astype(str).str.fullmatch(r"\S+") if name.endswith("_id") else column[:0]
        if bad.any():
            row = int(bad.to_numpy().argmax())
            fault = f"{name} {column.iloc[row]!r} in row {row} is empty or holds spaces"
            raise InputError(f"{where}: {fault}")
    keys = _KEYS.get(table)
    repeated = data[data.duplicated(keys)] if keys else data[:0]
    if len(repeated):
        first = ", ".join(f"{key} {repeated[key].iloc[0]}" for key in keys)
        raise InputError(f"{where}: {len(repeated)} repeated rows, the first is {first}")
    return pa.table(arrays, names=[*columns])
