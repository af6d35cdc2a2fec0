"""A run's results as text: what the numbers say, the end of the demo, the README's block.

Everything is rendered from the files of a run; no number is written by hand. Loads no model.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rnagpt_lib.core import paths
from rnagpt_lib.evaluate.results import (
    FACTS,
    FLOORS,
    MODELS,
    PLACE,
    SCORES,
    STAGE,
    Results,
    facts_table,
    figure_folder,
    load,
    rouge_table,
    semantic_table,
    strata_table,
    title,
)
from rnagpt_lib.report import variant_report
from rnagpt_lib.report.readme import markdown, write_block
from rnagpt_lib.runs.stages import stage_folder
from rnagpt_lib.train.ablation_trainings import NO_MA

LEGEND = (
    "*vanilla* is the LLM, given the nucleotides as letters; *MA* the model after stage 1 "
    "(modality alignment), *IT* after stage 2 (instruction tuning). Floors answer without a "
    "model: with the commonest answer of the training pairs that names something, a random one, "
    "that of the training RNA nearest by 5-mers, or nearest in length. Controls ask IT about a "
    "shuffled sequence, another RNA's, or none. Where IT was trained several times its scores are "
    "means over the trainings; controls ask the run's own. *local*: facts that a "
    "few nucleotides decide; *closed*: yes or no (balanced accuracy); *species*: no sequence tells "
    "it, beyond the commonest one of its type, so it is no part of *all*; *abstention*: saying "
    "that one does not know, where nobody can. A *unit* is a group of similar RNAs, never on two sides "
    "of the split; *held_out* are families, and *decoy* random sequences, that training never saw."
)
NOTHING_YET = "There is no reference run in `runs/reference/` yet; `make reference` makes it."


def findings(results: Results) -> list[str]:
    """What the numbers say, in sentences that are computed from them."""
    asked = not pd.isna(results.value("floor.most_common", "fact.all"))  # of open facts at all
    return [
        *(_order(results, metric) for metric in ("rougeL", *results.headlines)),
        *([_order(results, "fact.all")] if asked else []),
        *_against(results, "floor.most_common"),
        *_against(results, "floor.nearest", "fact.local"),
        *variant_report.findings(results),
        *([_kept(results)] if asked else []),
        *_species(results),
        *_below(results),
        *_minimal(results),
    ]


def _order(results: Results, metric: str) -> str:
    values = {model: results.value(model, metric) for model in MODELS}
    ordered = sorted(values, key=values.get, reverse=True)
    listed = ", ".join(f"{model} {values[model]:.2f}" for model in ordered)
    return f"{title(metric)}, best first: {listed}."


def _against(results: Results, other: str, metric: str = "fact.all") -> list[str]:
    ours = [results.value("IT", metric, column=c) for c in ("value", "low", "high")]
    theirs = [results.value(other, metric, column=c) for c in ("value", "low", "high")]
    if pd.isna([*ours, *theirs]).any():
        return []  # no such question was asked
    apart = "do not overlap" if ours[1] > theirs[2] or theirs[1] > ours[2] else "overlap"
    return [
        f"{metric}: IT {ours[0]:.2f}, {other} {theirs[0]:.2f}{_paired(results, other, metric)}; "
        f"their 95 % bounds ([{ours[1]:.2f}, {ours[2]:.2f}] and [{theirs[1]:.2f}, "
        f"{theirs[2]:.2f}]) {apart}."
    ]


def _paired(results: Results, other: str, metric: str) -> str:
    """The paired difference, which tells more than whether two bounds overlap."""
    table = results.differences.set_index(["model_a", "model_b", "metric"])
    if ("IT", other, metric) not in table.index:
        return ""
    row = table.loc[("IT", other, metric)]
    worth = variant_report.verdict(other, row.low, row.high)
    return f", paired difference {row.value:+.2f} [{row.low:+.2f}, {row.high:+.2f}] ({worth})"


def _below(results: Results) -> list[str]:
    """Where a floor, or an earlier model, is better than IT, told as plainly as the rest."""
    return [
        *_better(results, FLOORS, "a floor is better than IT on"),
        *_better(results, MODELS[:-1], "vanilla or MA is better than IT on"),
    ]


def _better(results: Results, others: Sequence[str], said: str) -> list[str]:
    better = []
    for name in FACTS:
        values = {other: results.value(other, f"fact.{name}") for other in others}
        best, ours = max(values, key=values.get), results.value("IT", f"fact.{name}")
        if values[best] > ours:
            better.append(f"fact.{name} (IT {ours:.2f}, {best} {values[best]:.2f})")
    return [f"By its mean {said} {', '.join(better)}."] if better else []


def _kept(results: Results) -> str:
    """How far IT falls with another RNA in place of its own: of the training that was asked so."""
    common = results.value("floor.most_common", "fact.all")
    right, swapped = results.of_own(("IT", "control.swapped"), "fact.all")
    told = f"({right:.2f} → {swapped:.2f}; floor {common:.2f})"
    if right <= common:
        return (
            f"fact.all: IT is not above floor.most_common, so there is no distance to lose {told}."
        )
    if swapped <= common:
        return (
            "Given another RNA (control.swapped), IT loses all of its distance to "
            f"floor.most_common, and is no better than it {told}."
        )
    lost = (right - swapped) / (right - common)
    return (
        f"Given another RNA (control.swapped), IT loses {lost:.0%} of its distance to "
        f"floor.most_common {told}."
    )


# --- texts


def ablation(run: str) -> str:
    """The ablation as plain text, for the end of ``make demo``."""
    results = load(run)
    parts = [
        f"Ablation of run {run}, {results.answers.pair_id.nunique()} test questions",
        facts_table(results).to_string(),
        rouge_table(results).to_string(),
        semantic_table(results).to_string(),
        "\n".join(findings(results)),
    ]
    return "\n\n".join(parts)


def readme(run: str = "reference") -> str:
    """What stands between the README's markers, rendered from the run's files alone."""
    if not (stage_folder(run, STAGE) / SCORES).is_file():
        return NOTHING_YET
    results = load(run)
    cosines = ", or cosines where they are called so" if results.cosines else ""
    parts = [
        f"Test questions of run `{run}`: {results.answers.pair_id.nunique()} about "
        f"{results.answers.rna_id.nunique()} RNAs in {results.answers.unit.nunique()} units that "
        "training never saw. Facts are the share of answers that name the right entity and no "
        f"other; ROUGE-L and the semantic score are F1{cosines}.",
        LEGEND,
        markdown(facts_table(results)),
        *_figure(run, "facts", "Facts by family seen or held out, with floors and controls"),
        "`fact.all` by stratum, with 95 % bootstrap bounds over units:",
        markdown(strata_table(results)),
        *_variants(results),
        "In the layout of the paper's tables; its values are labelled, come from other data, "
        f"and are no target. {PLACE}:",
        markdown(rouge_table(results)),
        markdown(semantic_table(results)),
        "\n".join(f"- {sentence}" for sentence in findings(results)),
        *_figure(run, "learning", "Losses of both stages, and learning rates"),
    ]
    return "\n\n".join(parts)


def _variants(results: Results) -> list[str]:
    if not variant_report.there(results):
        return []
    often = variant_report.trainings(results)
    several = (
        f"trainings of IT: {often['IT']}; bounds cover units and, of what has several, trainings: "
        "two or three of these are few, so that such bounds come out narrow"
    )
    seeds = "one seed each" if set(often.values()) == {1} else several
    beside = ": the last column sets them beside `it.no_ma`, which lacks nothing else"
    return [
        "IT trained again on the same pairs, in as many steps, with a part taken away "
        f"({seeds}). Differences are IT minus the variant, with 95 % bounds. Where there are no "
        "soft tokens stage 1 has nothing to align, so `it.text` and `it.blind` lack it, too"
        f"{beside if NO_MA in often else ''}:",
        markdown(variant_report.table(results)),
        *_figure(results.run, "variants", "Facts of IT, of its variants and of two floors"),
        *_titled("Local facts by RNA type, one row a training:", variant_report.by_type(results)),
        *_titled(
            "Minimal pairs, one row for every training whose weights or answers are here: the share "
            "of answers that follow one changed nucleotide, that a neutral change flips, with 95 % "
            "bounds over RNAs, and of followed ones by RNA type:",
            variant_report.minimal(results),
        ),
    ]


def _titled(title: str, table: pd.DataFrame) -> list[str]:
    return [] if table.empty else [title, markdown(table)]


def _figure(run: str, name: str, alt: str) -> list[str]:
    path = figure_folder(run) / f"{name}.png"
    return [f"![{alt}]({paths.shown(path)})"] if path.is_file() else []


def _species(results: Results) -> list[str]:
    """What the type alone tells of the species."""
    guess, ours = results.metrics.get("species_by_type"), results.value("IT", "fact.species")
    if guess is None or pd.isna(ours):
        return []
    return [
        f"fact.species: IT {ours:.2f}; whoever knows an RNA's type and names its commonest "
        f"training species is right in {guess:.2f}."
    ]


def _minimal(results: Results) -> list[str]:
    found = results.metrics.get("minimal_pairs")
    if not found:
        return []
    by_type = found.get("by_type", {})  # runs of earlier versions have none
    each = ", ".join(f"{name} {share:.0%}" for name, share in by_type.items())
    return [
        f"Minimal pairs ({found['n']}, one training of IT): the answer follows one changed "
        f"nucleotide in {_share(found, 'followed')}{each and f' ({each})'}, a neutral change flips it in "
        f"{_share(found, 'flipped')}."
    ]


def _share(found: dict, name: str) -> str:
    return "{:.0%} [{:.0%}, {:.0%}]".format(*(found[name + end] for end in ("", "_low", "_high")))


def render_readme(run: str = "reference", path: Path | None = None) -> Path:
    """Write the README's block ``results``. Raises InputError without its markers."""
    return write_block(path or paths.root() / "README.md", "results", readme(run))
