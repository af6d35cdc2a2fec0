"""The data set's tables: from the world, a user's files or live sources, filtered; their card.

The filter of the paper's section 3.1: length limits and the alphabet; nothing vanishes without
a row in ``dropped``.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.markdown import table
from rnagpt_lib.core.params import Decompose, Filter
from rnagpt_lib.core.tables import frame, write
from rnagpt_lib.curate.questions.question_templates import CATEGORICAL, entities, relation_of
from rnagpt_lib.curate.sources import harvest, user_files
from rnagpt_lib.curate.sources.filter import sieve
from rnagpt_lib.curate.splits import split
from rnagpt_lib.miniature import world

RAW = ".raw"  # hidden: the tables as they came, while they are filtered


def curate(params: Filter, seed: int, folder: Path) -> dict[str, int]:
    """Read the RNAs of ``params.input`` with their literature, filter them, write the tables.

    ``folder`` gets ``rnas``, ``links``, ``articles`` and ``dropped``, for the world also ``truth``
    and ``topics_truth``, for live sources what `harvest` keeps; returns the rows of the first
    four. Every entry that is left out has a row in ``dropped``. Raises InputError, and writes no
    table, for files that break their format or that the source would ignore, for sources that
    stay away, and when nothing is left.
    """
    _refuse_unread(params)
    with _hidden(folder / RAW) as raw:
        truths = _gather(params, seed, folder, raw)
        kept = raw / "kept"
        kept.mkdir()
        counts = sieve(raw, kept, params.min_length, params.max_length)
        if not counts["rnas"]:
            raise InputError(_nothing_left(params, kept))
        known = pd.read_parquet(kept / "rnas.parquet", columns=["rna_id"])["rna_id"]
        for name, truth in truths.items():
            write(kept / f"{name}.parquet", name, truth[truth["rna_id"].isin(known)])
        for made in kept.iterdir():
            os.replace(made, folder / made.name)
    return counts


def _refuse_unread(params: Filter) -> None:
    unread = {"files": (), "rnacentral": ("table", "articles", "links")}
    for name in unread.get(params.input, ("fasta", "table", "articles", "links")):
        if given := getattr(params, name):
            raise InputError(
                f"{name.upper()} is {given} but INPUT is {params.input!r}, which does not read "
                "it; set INPUT to files, or take the profile local"
            )


@contextmanager
def _hidden(folder: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards, even if an earlier attempt was killed in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _gather(params: Filter, seed: int, folder: Path, raw: Path) -> dict[str, pd.DataFrame]:
    """Write the tables that are to be filtered into ``raw``; returns the world's truths."""
    if params.input == "rnacentral":
        harvest.write(params, folder, raw)
        return {}
    truths = {}
    if params.input == "files":
        came = user_files.read(params)
    else:
        made = world.make(params.world_size, seed)
        came = {"rnas": made.rnas, "links": made.links, "articles": made.articles}
        came["dropped"] = frame("dropped", [])
        truths = {"truth": made.truth, "topics_truth": made.topics_truth}
    for name, data in came.items():
        write(raw / f"{name}.parquet", name, data)
    return truths


def _nothing_left(params: Filter, kept: Path) -> str:
    dropped = pq.read_table(kept / "dropped.parquet").slice(0, 1).to_pylist()
    first = "".join(f"; the first: {row['record']}, {row['reason']}" for row in dropped)
    return (
        f"{params.fasta or params.input}: no RNA is left after the rules ({params.min_length} to "
        f"{params.max_length} nt, RNA letters){first}; give RNAs that keep them, or change "
        "MIN_LENGTH and MAX_LENGTH"
    )


def data_card(
    rnas: pd.DataFrame,
    pairs: pd.DataFrame,
    dropped: pd.DataFrame,
    params: Decompose,
    seed: int,
    origin: str,
    preset: pd.Series | None = None,
) -> str:
    """The data set's card in markdown; ``origin`` says in a sentence where the RNAs are from.

    ``preset``: the sides that stage 00 had fixed, to tell which RNAs followed them by unit.
    """
    sides = pairs.merge(rnas[["rna_id", "split"]], on="rna_id")
    counts = sides.groupby(["kind", "form", "split"]).size().unstack(fill_value=0)
    per_rna = pairs.groupby("rna_id").size().reindex(rnas["rna_id"], fill_value=0)
    by_side = rnas.groupby("split").agg(RNAs=("rna_id", "size"), units=("unit", "nunique"))
    by_side["pairs"] = sides.groupby("split").size().reindex(by_side.index, fill_value=0)
    reasons = dropped.groupby(["stage", "reason"]).size().rename("records").reset_index()
    followed = 0 if preset is None else len(split.swallowed(rnas.assign(split=preset)))
    shared = split.straddling(rnas)
    kinds = ", ".join(CATEGORICAL)
    return "\n".join([
        "# RNA-QA data card", "",
        f"- **Origin**: {origin}",
        f"- **Annotation source**: `{params.source}`; pairs by `{_one(pairs['prompt_version'])}`; "
        f"seed {seed}.",
        f"- **Pairs**: {len(pairs):,} for {len(rnas):,} RNAs, {per_rna.mean():.1f} an RNA "
        f"({per_rna.min()} to {per_rna.max()}); {int((per_rna < params.min_pairs).sum()):,} RNAs "
        f"have fewer than {params.min_pairs}, as their texts carry no more.",
        f"- **Kinds**: {kinds} from the entry's fields; literature and local from the annotation, "
        "each with the ids of the articles behind it.",
        "- **Licences**: RNAcentral's data are CC0; a generated world's texts are the project's; "
        "abstracts of PubMed belong to their publishers and are not part of the pairs.", "",
        "## Split", "",
        f"By `{params.split}`. Units on more than one side: {len(shared)}. RNAs that followed a "
        f"preset member of their unit: {followed}.", "",
        table(by_side.reset_index()), "",
        "## Pairs by kind, form and side", "", table(counts.reset_index()), "",
        "## Dropped", "", table(reasons), "",
    ])  # fmt: skip


def _one(values: pd.Series) -> str:
    return ", ".join(sorted(set(values))) or "none"


def agreement(pairs: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """Open literature and local pairs against the world's truth: precision and recall of facts.

    A fact is (RNA, relation, entity); a list in an answer counts as its items.
    """
    made = {
        (row.rna_id, relation_of(row.question), entity)
        for row in pairs.itertuples()
        for entity in entities(row.question, row.answer)
    }
    known = set(zip(truth["rna_id"], truth["relation"], truth["entity"], strict=True))
    right = len(made & known)
    return {"precision": right / max(1, len(made)), "recall": right / max(1, len(known))}
