"""Runs beside each other, as one for each source of annotations: the layout of the paper's Tables
1 to 4, whether the runs can be compared, and one table of all. Loads no model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.evaluate.results import (
    MODELS,
    Results,
    interval,
    rouge_table,
    semantic_table,
    split_of,
    title,
)
from rnagpt_lib.runs.stages import STAGES, stage_folder

# Source as 03 names it: as it is shown, and which of the paper's tables stand beside.
SHOWN = {"given": "litsumm", "dnc": "dnc", "single_pass": "single_pass"}
FLOOR = "floor.nearest"  # what copying gives, source by source
BESIDE = {
    "given": "The paper's values are those of its Tables 1 and 2 (AIS).",
    "dnc": "The paper's values are those of its Tables 3 and 4 (D&C).",
    "single_pass": "The paper has no table of a single pass; the values of its Tables 3 and 4 "
    "(D&C) stand beside.",
}


@dataclass(frozen=True)
class TableSet:
    """A run's tables in the paper's layout; ``beside`` says whose values the paper's are."""

    run: str
    source: str
    beside: str
    semantic: pd.DataFrame
    rouge: pd.DataFrame


def table_sets(many: Sequence[Results]) -> list[TableSet]:
    """One set for each run, by source: litsumm, dnc, single_pass."""
    order = list(SHOWN)
    ordered = sorted(many, key=lambda r: order.index(r.source) if r.source in order else len(order))
    return [
        TableSet(r.run, shown(r), BESIDE[r.source], semantic_table(r), rouge_table(r))
        for r in ordered
    ]


def side_by_side(many: Sequence[Results], *more: str) -> pd.DataFrame:
    """All runs in one table, a row for each run and model, and one for the floor that copies: RNAs
    and questions; ROUGE-L, the headlines of the semantic scores that any run has, ``fact.all`` and
    ``more`` metrics, with their bounds; – where one lacks."""
    found = dict.fromkeys(metric for r in many for metric in r.headlines)
    rows = [
        {"run": r.run, "source": shown(r), "model": model}
        | {"RNAs": r.answers.rna_id.nunique(), "questions": r.answers.pair_id.nunique()}
        | {title(m): _bounded(r, model, m) for m in ("rougeL", *found, "fact.all", *more)}
        for r in many
        for model in (*MODELS, FLOOR)
    ]
    return pd.DataFrame(rows).set_index(["run", "source", "model"])


def _bounded(results: Results, model: str, metric: str) -> str:
    found = [results.value(model, metric, column=c) for c in ("value", "low", "high")]
    return "–" if pd.isna(found[0]) else interval(*found)


def shown(results: Results) -> str:
    """The source of a run's annotations, as tables call it."""
    return SHOWN.get(results.source, results.source)


def check(run: str, rnas: pd.Series, others: Sequence[Results]) -> list[str]:
    """What keeps other runs from being compared with this one, in sentences; empty if nothing does.

    ``rnas``: the sequences that this run asks about, by rna_id. Raises InputError where another
    run of the same ``SPLIT`` was asked about none of them, or an id stands for another sequence
    there.
    """
    found = []
    for other in others:
        theirs = asked_rnas(other)
        both = rnas.index.intersection(theirs.index)
        unlike = both[(rnas[both] != theirs[both]).to_numpy()]
        if not len(both) and split_of(other.run) != split_of(run):
            found.append(
                f"Run {other.run} was split otherwise (SPLIT {split_of(other.run)}) and asked about "
                f"none of the RNAs of run {run}: compare them in the leakage tax alone."
            )
            continue
        if len(unlike) or not len(both):
            why = (
                f"{unlike[0]} is another sequence there"
                if len(unlike)
                else "they were asked about no RNA in common"
            )
            raise InputError(
                f"run {other.run} cannot stand beside run {run}: {why}; name runs in RUNS that "
                "share 00 to 02 and the split of 03"
            )
        if not len(both) == len(rnas) == len(theirs):
            found.append(
                f"Run {other.run} was asked about {len(theirs):,} RNAs and run {run} about "
                f"{len(rnas):,}, of which {len(both):,} are the same: their values are not of one "
                "test set."
            )
    return found


def notes(first: Results, others: Sequence[Results]) -> list[str]:
    """`check` of finished runs, and metrics that another run defines otherwise."""
    said = check(first.run, asked_rnas(first), others)
    return said + [line for other in others for line in _defined_otherwise(first, other)]


def asked_rnas(results: Results) -> pd.Series:
    """The sequences that a finished run was asked about, by rna_id."""
    ids = set(results.answers.rna_id)
    path = stage_folder(results.run, STAGES[3]) / "rnas.parquet"
    if not path.is_file():
        raise InputError(f"run {results.run} has no {STAGES[3]}/rnas.parquet; run {STAGES[3]}")
    read = pd.read_parquet(path, columns=["rna_id", "sequence"], filters=[("rna_id", "in", ids)])
    return read.set_index("rna_id").sequence


def _defined_otherwise(first: Results, other: Results) -> Iterator[str]:
    ours, theirs = (
        r.scores.drop_duplicates("metric").set_index("metric").definition for r in (first, other)
    )
    both = ours.index.intersection(theirs.index)
    differ = pd.DataFrame({"ours": ours[both], "theirs": theirs[both]}).query("ours != theirs")
    for (mine, its), rows in differ.groupby(["ours", "theirs"]):
        yield (
            f"Run {other.run} defines {', '.join(sorted(rows.index))} as {its}, run {first.run} as "
            f"{mine}: these values do not compare."
        )
