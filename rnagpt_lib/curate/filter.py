"""Stage 00: RNAs with their literature, out of the miniature world, a user's files or the live
sources, by the rules of the paper's section 3.1. And what is said of the set in the end.

Ids and lengths alone decide which rows stay; then rows pass in batches. So memory holds columns of
ids and one row group of abstracts, however many there are.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jinja2 import StrictUndefined, Template

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Decompose, Filter
from rnagpt_lib.core.tables import frame, in_batches, schema, write, write_batches
from rnagpt_lib.core.text import markdown_table
from rnagpt_lib.curate.questions.question_templates import CATEGORICAL, entities, relation_of
from rnagpt_lib.curate.sources import harvest, user_files
from rnagpt_lib.curate.sources.user_files import drop
from rnagpt_lib.curate.splits import split
from rnagpt_lib.curate.summaries.divide_and_conquer import MISSING
from rnagpt_lib.miniature import world

RAW = ".raw"  # hidden: the tables as they came, while they are filtered
BATCH = 4096  # rows read at a time
READ = {"world": (), "files": ("fasta", "table", "articles", "links"), "rnacentral": ("fasta",)}


def write_tables(params: Filter, seed: int, folder: Path) -> dict[str, int]:
    """Read the RNAs of ``params.input`` with their literature, filter them, write the tables.

    ``folder`` gets ``rnas``, ``links``, ``articles`` and ``dropped``, for the world also ``truth``
    and ``topics_truth``, for live sources what `harvest` keeps; returns the rows of the first
    four. Raises InputError, and writes no table, for files that break their format or that the
    source would ignore, for sources that stay away, and when nothing is left.
    """
    for name in READ["files"]:
        if (given := getattr(params, name)) and name not in READ[params.input]:
            raise InputError(
                f"{name.upper()} is {given} but INPUT is {params.input!r}, which does not read "
                "it; set INPUT to files, or take the profile local"
            )
    raw, kept = folder / RAW, folder / RAW / "kept"
    shutil.rmtree(raw, ignore_errors=True)  # an earlier attempt may have been killed in it
    kept.mkdir(parents=True)
    try:
        truths = _gather(params, seed, folder, raw)
        counts = apply_rules(raw, kept, params.min_length, params.max_length)
        if not counts["rnas"]:
            lost = pq.read_table(kept / "dropped.parquet").slice(0, 1).to_pylist()
            first = "".join(f"; the first: {row['record']}, {row['reason']}" for row in lost)
            limits = f"{params.min_length} to {params.max_length} nt, RNA letters"
            source = params.fasta or params.input
            raise InputError(f"{source}: no RNA is left after the rules ({limits}){first}")
        known = pd.read_parquet(kept / "rnas.parquet", columns=["rna_id"])["rna_id"]
        for name, truth in truths.items():
            write(kept / f"{name}.parquet", name, truth[truth["rna_id"].isin(known)])
        for file in kept.iterdir():
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(raw)
    return counts


def _gather(params: Filter, seed: int, folder: Path, raw: Path) -> dict[str, pd.DataFrame]:
    """Write the tables that are to be filtered into ``raw``; returns the world's truths."""
    if params.input == "rnacentral":
        harvest.write(params, folder, raw)
        return {}
    if params.input == "files":
        made = user_files.read(params)
    else:
        made = {"dropped": frame("dropped", [])} | vars(world.make(params.world_size, seed))
    for name in ("rnas", "links", "articles", "dropped"):
        write(raw / f"{name}.parquet", name, made.pop(name))
    return made


def apply_rules(source: Path, target: Path, min_length: int, max_length: int) -> dict[str, int]:
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
    stay = {"rnas": fits, "links": linked, "articles": cited}
    tables = {name: _rows(source, name, which) for name, which in stay.items()}
    tables["dropped"] = _dropped(source, pc.invert(fits), pc.invert(cited), min_length, max_length)
    return {name: write_batches(target / f"{name}.parquet", name, tables[name]) for name in tables}


def _column(folder: Path, name: str, column: str) -> pa.Array:
    """A whole column; ids in Arrow's memory are far smaller than as Python's texts."""
    with in_batches(folder / f"{name}.parquet") as file:
        found = file.read([column]).column(0)
    return found.cast(schema(name).field(column).type).combine_chunks()


def _rows(folder: Path, name: str, which: pa.Array, *columns: str) -> Iterator[pa.RecordBatch]:
    """The rows of a table for which ``which``, a flag for each row, is true."""
    first = 0
    with in_batches(folder / f"{name}.parquet") as file:
        for batch in file.iter_batches(BATCH, columns=list(columns) or None):
            yield batch.filter(which.slice(first, len(batch)))
            first += len(batch)


def _dropped(
    folder: Path, unfit: pa.Array, uncited: pa.Array, least: int, most: int
) -> Iterator[pa.RecordBatch]:
    """What was dropped before, the RNAs of other lengths, the articles that are not cited."""
    with in_batches(folder / "dropped.parquet") as file:
        yield from file.iter_batches(BATCH)
    for batch in _rows(folder, "rnas", unfit, "rna_id", "length"):
        lost = [
            drop(row["rna_id"], f"{fault} nt ({row['length']:,} nt)")
            for row in batch.to_pylist()
            for short in [row["length"] < least]
            for fault in [f"shorter than {least}" if short else f"longer than {most}"]
        ]
        yield pa.RecordBatch.from_pylist(lost, schema("dropped"))
    for batch in _rows(folder, "articles", uncited, "article_id"):
        lost = [drop(i, "article linked with no RNA that is kept") for i in batch[0].to_pylist()]
        yield pa.RecordBatch.from_pylist(lost, schema("dropped"))


def data_card(
    rnas: pd.DataFrame,
    pairs: pd.DataFrame,
    dropped: pd.DataFrame,
    params: Decompose,
    seed: int,
    origin: str,
    preset: pd.Series | None = None,
    earlier: pd.DataFrame | None = None,
) -> str:
    """The data set's card in markdown; ``origin`` says in a sentence where the RNAs are from.

    ``preset``: the sides that stage 00 had fixed, to tell which RNAs followed them by unit;
    ``earlier``: what 02 dropped, to tell RNAs whose summaries are missing.
    """
    sides = pairs.merge(rnas[["rna_id", "split"]], on="rna_id")
    counts = sides.groupby(["kind", "form", "split"]).size().unstack(fill_value=0)
    by_side = rnas.groupby("split").agg(RNAs=("rna_id", "size"), units=("unit", "nunique"))
    by_side["pairs"] = sides.groupby("split").size().reindex(by_side.index, fill_value=0)
    reasons = dropped.groupby(["stage", "reason"]).size().rename("records")
    tables = {"by_side": by_side, "counts": counts, "reasons": reasons}
    told = set(pairs["rna_id"][~pairs["kind"].isin(CATEGORICAL)])
    own = [] if earlier is None else [earlier[earlier["reason"].str.startswith(params.source)]]
    lost = pd.concat([dropped, *own])
    lost = lost.assign(state=lost["reason"].astype(str).str.extract(MISSING)[0]).dropna()
    missing = lost[~lost["record"].isin(told)].drop_duplicates("record")["state"].value_counts()
    template = Path(__file__).with_name("data_card.md.j2").read_text("utf-8")
    return Template(template, undefined=StrictUndefined, keep_trailing_newline=True).render(
        params=params,
        seed=seed,
        origin=origin,
        versions=", ".join(sorted(set(pairs["prompt_version"]))) or "none",
        kinds=", ".join(CATEGORICAL),
        pairs=len(pairs),
        per_rna=pairs.groupby("rna_id").size().reindex(rnas["rna_id"], fill_value=0),
        missing=missing.to_dict(),
        others="their texts carry no more"
        if params.provider == "offline"
        else "no more pairs of the model passed the checks (Dropped)",
        straddling=len(split.straddling(rnas)),
        followed=0 if preset is None else len(split.swallowed(rnas.assign(split=preset))),
        **{name: markdown_table(table.reset_index()) for name, table in tables.items()},
    )


def agreement(pairs: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """Open literature and local pairs against the world's truth: precision and recall of facts.

    A fact is (RNA, relation, entity); a list in an answer counts as its items.
    """
    found = {
        (row.rna_id, relation_of(row.question), entity)
        for row in pairs.itertuples()
        for entity in entities(row.question, row.answer)
    }
    known = set(zip(truth["rna_id"], truth["relation"], truth["entity"], strict=True))
    right = len(found & known)
    return {"precision": right / max(1, len(found)), "recall": right / max(1, len(known))}
