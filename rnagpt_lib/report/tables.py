"""The tables of a run's report, in order: the page and the LaTeX files show the same ones.

Cells are texts. A table whose numbers the run does not have is left out. Loads no model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from rnagpt_lib.evaluate import leakage, results
from rnagpt_lib.evaluate.results import PRIMARY, Results, number
from rnagpt_lib.report import (
    answer_breakdowns,
    figures,
    source_tables,
    variant_report,
)

MINIMAL = variant_report.MINIMAL
OWN_DATA = (
    "Columns with (paper) hold the paper's values, which come from other data, another LLM and "
    "other scorers, and are no target."
)
PARTS = f"Each cell: precision / recall / F1. {results.PLACE.replace('*', '')}."


@dataclass(frozen=True)
class Table:
    """``name``: the file's stem; ``labels``: how many of the first columns name the row."""

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    labels: int = 1


def tables(found: Results, others: Sequence[Results] = ()) -> dict[str, Table]:
    """All tables by name; with ``others`` those of every source, too."""
    parts = (_facts(found), _near(found), _named(found), _variants(found), _paper(found))
    parts += (_answers(found), _leakage(found))
    made = [table for part in (*parts, _sources([found, *others])) for table in part]
    return {table.name: table for table in made}


def _facts(found: Results) -> Iterator[Table]:
    yield Table(
        "facts",
        "Facts, floors and controls",
        "Share of right facts, and overlap scores for comparison; words of an answer on average.",
        results.facts_table(found).reset_index(),
    )
    yield Table(
        "strata",
        "Right facts by stratum",
        "fact.all with 95 % bootstrap bounds over units; n: answers.",
        results.strata_table(found).reset_index(),
    )
    yield Table(
        "place",
        "Place between the random answer and a perfect one",
        "Where a score lies between the random answer's (0) and a perfect one (1): how much of it "
        "is earned.",
        results.place_table(found).reset_index(),
    )
    yield Table(
        "differences",
        "The comparisons that were named beforehand",
        "Paired differences with 95 % bounds; clear: the bounds leave out zero.",
        results.differences_table(found, PRIMARY),
        labels=3,
    )


def _near(found: Results) -> Iterator[Table]:
    if not (found.folder / results.IDENTITY).is_file():
        return
    for name, metric in (("identity", "fact.all"), ("identity_local", "fact.local")):
        yield Table(
            name,
            f"{metric} by identity to the nearest training RNA",
            "Who copies is right where a training RNA is near. 95 % bounds over units; n: answers.",
            results.identity_table(found, metric).rename_axis(None, axis=1).reset_index(),
        )


def _named(found: Results) -> Iterator[Table]:
    if found.scores.metric.str.startswith("evidence.").any():
        yield Table(
            "evidence",
            "Entities that answers name, against the evidence",
            "precision: named entities that stand there, over the n answers that name any; recall: "
            "entities of the reference that are named; unsupported: named entities per answer that "
            "the evidence lacks.",
            results.evidence_table(found).reset_index(),
        )
    if (found.folder / results.ANNOTATIONS["answers"]).is_file():
        yield Table(
            "annotations",
            "MA on its own task: annotations",
            "What MA writes about RNAs that it has not seen behind the prompt of stage 1, and "
            "annotations of the training side as floors; n: RNAs.",
            results.annotations_table(found).reset_index(),
        )


def _variants(found: Results) -> Iterator[Table]:
    if variant_report.there(found):
        yield Table(
            "variants",
            "IT with a part taken away",
            "Each variant with what it lacks, its trainings, its scores, and IT's lead over it with "
            "95 % bounds over units and trainings.",
            variant_report.table(found).astype(str).reset_index(),
            labels=2,
        )
        by_type = variant_report.by_type(found)
        if len(by_type):
            yield Table(
                "local_types",
                "Local facts by RNA type, one row a training",
                "Share of right fact.local; n: answers in one training.",
                by_type.reset_index(),
            )


def _paper(found: Results) -> Iterator[Table]:
    beside = source_tables.BESIDE[found.source]
    yield Table(
        "rouge",
        "ROUGE, in the layout of the paper's Tables 2 and 4",
        f"ROUGE F1. {results.PLACE.replace('*', '')}. {OWN_DATA} {beside}",
        results.rouge_table(found).reset_index(),
    )
    yield Table(
        "semantic",
        "Semantic scores, in the layout of the paper's Tables 1 and 3",
        f"{PARTS} {OWN_DATA} {beside}",
        results.semantic_table(found).reset_index(),
    )


def _answers(found: Results) -> Iterator[Table]:
    if "confusion" in figures.drawable(found):
        counts = answer_breakdowns.confusion(found)
        often = found.answers[found.answers.model == "IT"].seed.nunique()
        of_all = f", of {often} trainings" if often > 1 else ""
        yield Table(
            "confusion",
            "RNA types confused",
            f"Answers of IT to the question for the RNA type{of_all}: rows are the RNAs' types, "
            "columns what the answer names.",
            counts.rename_axis("type").rename_axis(None, axis=1).astype(str).reset_index(),
        )
    if "ladder" in figures.drawable(found):
        rungs = pd.read_parquet(found.folder / figures.LADDER)
        shown = rungs.pivot(index="metric", columns="rung", values="value")
        shown = shown.loc[rungs["metric"].unique(), rungs["rung"].unique()].rename_axis(
            None, axis=1
        )
        yield Table(
            "ladder",
            "The scores scored",
            "How well a metric tells answers spoilt in one way from a paraphrase of the reference: "
            "AUROC, 1 always, one half never, below that it prefers the spoilt answer.",
            shown.map(lambda value: number(value, 2)).reset_index(),
        )
    if (found.folder / MINIMAL).is_file():
        pairs = variant_report.of_own(found, pd.read_parquet(found.folder / MINIMAL))
        whole = found.metrics.get("minimal_pairs")
        yield from [_minimal(pairs, whole)] if len(pairs) and whole else []
        yield from _minimal_by_training(found)


def _minimal(pairs: pd.DataFrame, whole: dict) -> Table:
    flags = pairs.assign(**pairs[["followed", "flipped"]].astype(float), n=1)
    kinds = ["relation", "rna_type"]
    table = flags.groupby(kinds).agg({"n": "size", "followed": "mean", "flipped": "mean"})
    table = table.assign(n=table.n.map("{:,}".format), followed=table.followed.map("{:.2f}".format),
                         flipped=table.flipped.map("{:.2f}".format))  # fmt: skip
    table.loc[("all", ""), :] = [
        f"{whole['n']:,}",
        *(results.interval(*(whole[name + end] for end in ("", "_low", "_high")))
          for name in ("followed", "flipped")),
    ]  # fmt: skip
    return Table(
        "minimal_pairs",
        "Minimal pairs",
        "One changed nucleotide changes the fact, another one near it does not: the share of "
        "answers that follow the first, and that a neutral change flips; of all with 95 % bounds.",
        table.reset_index(),
        labels=2,
    )


def _minimal_by_training(found: Results) -> Iterator[Table]:
    table = variant_report.minimal(found)
    if len(table):
        yield Table(
            "minimal_pairs_trainings",
            "Minimal pairs, by training",
            "Every training that could be asked: the share of answers that follow one nucleotide, "
            "and that a neutral change flips, with 95 % bounds over RNAs; followed ones by type.",
            table.reset_index(),
        )


def _leakage(found: Results) -> Iterator[Table]:
    if (found.folder / leakage.FILE).is_file():
        measured = pd.read_parquet(found.folder / leakage.FILE)
        parts = {of: leakage.table(own) for of, own in measured.groupby("of", sort=False)}
        whole = pd.concat(parts, names=["of"]).rename_axis(None, axis=1)
        splits, taxes = whole[[*leakage.SPLITS]], whole.drop(columns=[*leakage.SPLITS])
        yield Table(
            "leakage",
            "Scores by how test RNAs were parted from training",
            "By row (random), by unit of similar RNAs (cluster), by whole families; of finished "
            "runs, and of the floor that copies with all RNAs split anew; –: no run with that "
            "split. 95 % bounds over units; n: answers.",
            splits.reset_index(),
            labels=3,
        )
        yield Table(
            "leakage_tax",
            "The leakage tax",
            "Differences between the columns above, unpaired, since the test RNAs differ; n: the "
            "smaller number of answers.",
            taxes[(taxes != "–").any(axis=1)].reset_index(),
            labels=3,
        )


def _sources(many: Sequence[Results]) -> Iterator[Table]:
    if len(many) == 1:
        return
    yield Table(
        "sources",
        "Runs beside each other",
        "A row for each run and model; source: of the annotations that its questions were made of.",
        source_tables.side_by_side(many).astype(str).reset_index(),
        labels=3,
    )
    for tables in source_tables.table_sets(many):
        where = f"{tables.source}, run {tables.run}"
        stem = f"source_{tables.run}"
        yield Table(f"{stem}_semantic", f"Semantic scores: {where}", f"{PARTS} {tables.beside}",
                    tables.semantic.reset_index())  # fmt: skip
        yield Table(f"{stem}_rouge", f"ROUGE: {where}", f"ROUGE F1. {tables.beside}",
                    tables.rouge.reset_index())  # fmt: skip
