"""The data set's tables: from the world, a user's files or live sources, filtered; their card.

The filter of the paper's section 3.1: length limits and the alphabet; nothing vanishes without
a row in ``dropped``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from rnagpt_lib import harvest, units, user_files, world
from rnagpt_lib.errors import InputError
from rnagpt_lib.markdown import table
from rnagpt_lib.profiles import Decompose, Filter
from rnagpt_lib.relations import CATEGORICAL, entities, relation_of
from rnagpt_lib.tables import frame
from rnagpt_lib.user_files import drop


@dataclass(frozen=True)
class Tables:
    """The tables of stage 00; the truths are there for the world alone.

    ``sources``: what live sources said of themselves, and how much of it came.
    """

    rnas: pd.DataFrame
    articles: pd.DataFrame
    links: pd.DataFrame
    dropped: pd.DataFrame
    truth: pd.DataFrame | None = None
    topics_truth: pd.DataFrame | None = None
    sources: Sequence[dict] = ()


def load_source(params: Filter, seed: int, folder: Path | None = None) -> Tables:
    """Read and filter the RNAs of ``params.input`` with their literature.

    ``folder`` keeps what live sources sent ("rnacentral"). Every entry that is left out has a
    row in ``dropped``. Raises InputError for files that break their format or that the source
    would ignore, for sources that stay away, and when nothing is left.
    """
    if params.input == "files":
        return _kept(Tables(**user_files.read(params)), params)
    live = params.input == "rnacentral"
    for name in ("fasta", "table", "articles", "links")[live:]:
        if given := getattr(params, name):
            raise InputError(
                f"{name.upper()} is {given} but INPUT is {params.input!r}, which does not read "
                "it; set INPUT to files, or take the profile local"
            )
    if live:
        return _kept(Tables(**harvest.read(params, folder)), params)
    made = world.make(params.world_size, seed)
    nothing = frame("dropped", [])
    tables = Tables(made.rnas, made.articles, made.links, nothing, made.truth, made.topics_truth)
    return _kept(tables, params)


def _kept(tables: Tables, params: Filter) -> Tables:
    """Only RNAs within the length limits, and only the literature that is linked with them."""
    rnas, lengths = tables.rnas, tables.rnas["length"]
    reason = pd.Series("", rnas.index)
    reason[lengths < params.min_length] = f"shorter than {params.min_length} nt"
    reason[lengths > params.max_length] = f"longer than {params.max_length} nt"
    keep = reason == ""
    links = tables.links[_among(tables.links["rna_id"], rnas["rna_id"][keep])]
    cited = _among(tables.articles["article_id"], links["article_id"])
    rows = [
        drop(rna_id, f"{why} ({length:,} nt)")
        for rna_id, why, length in zip(
            rnas["rna_id"][~keep], reason[~keep], lengths[~keep], strict=True
        )
    ] + [
        drop(i, "article linked with no RNA that is kept")
        for i in tables.articles["article_id"][~cited]
    ]
    dropped = pd.concat([tables.dropped, frame("dropped", rows)], ignore_index=True)
    if not keep.any():
        raise InputError(_nothing_left(params, dropped))
    truths = (
        truth if truth is None else truth[truth["rna_id"].isin(rnas["rna_id"][keep])]
        for truth in (tables.truth, tables.topics_truth)
    )
    articles = tables.articles if cited.all() else tables.articles[cited]  # may be gigabytes
    parts = (rnas[keep], articles, links, dropped, *truths)
    parts = (part if part is None else part.reset_index(drop=True) for part in parts)
    return Tables(*parts, sources=tables.sources)


def _among(names: pd.Series, known: pd.Series) -> np.ndarray:
    """Which of ``names`` are ``known``; ``isin`` takes minutes for millions of texts."""
    texts = (pa.array(column, pa.string(), from_pandas=True) for column in (names, known.unique()))
    found, values = (t.combine_chunks() if isinstance(t, pa.ChunkedArray) else t for t in texts)
    return pc.is_in(found, value_set=values).to_numpy(zero_copy_only=False)


def _nothing_left(params: Filter, dropped: pd.DataFrame) -> str:
    first = f"; the first: {dropped['record'][0]}, {dropped['reason'][0]}" if len(dropped) else ""
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
    followed = 0 if preset is None else len(units.swallowed(rnas.assign(split=preset)))
    shared = units.straddling(rnas)
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
