"""What a run's numbers say, in sentences that are computed from its files; loads no model."""

from collections.abc import Iterator, Sequence

import pandas as pd

from rnagpt_lib.evaluate import results
from rnagpt_lib.evaluate.results import Results
from rnagpt_lib.report import tables
from rnagpt_lib.report.tables import interval, title
from rnagpt_lib.runs.stages import MODELS

LEGEND = tables.CAPTIONS["legend"]
COMMON, LOCAL = "floor.most_common", tables.LOCAL


def findings(found: Results) -> list[str]:
    """All sentences; what was not asked is not spoken of."""
    said = [_order(found, metric) for metric in ("rougeL", *found.headlines, "fact.all")]
    said += [_against(found, COMMON, "fact.all"), _against(found, "floor.nearest", LOCAL)]
    said += [*_variants(found), _kept(found), _species(found)]
    said += [_better(found, results.FLOORS, "a floor is better than IT on")]
    said += [_better(found, MODELS[:-1], "vanilla or MA is better than IT on"), _minimal(found)]
    return [sentence for sentence in said if sentence]


def ablation(run: str) -> str:
    """The ablation as plain text, for the end of ``make demo``."""
    found = results.load(run)
    parts = [tables.facts_table(found), tables.rouge_table(found), tables.semantic_table(found)]
    title = f"Ablation of run {run}, {found.answers.pair_id.nunique()} test questions"
    texts = [table.to_string() for table in parts]
    return "\n\n".join([title, *texts, "\n".join(findings(found))])


def verdict(other: str, low: float, high: float) -> str:
    """What the bounds of IT minus ``other`` show."""
    if low <= 0 <= high:
        return "no difference is shown"
    return f"{'IT' if low > 0 else other} is better"


def _order(found: Results, metric: str) -> str:
    values = {model: found.value(model, metric) for model in MODELS}
    if pd.isna(found.value(COMMON, metric)):
        return ""
    ordered = sorted(values, key=values.get, reverse=True)
    return f"{title(metric)}, best first: {', '.join(f'{m} {values[m]:.2f}' for m in ordered)}."


def _against(found: Results, other: str, metric: str) -> str:
    ours, theirs = (
        [found.value(model, metric, column=column) for column in ("value", "low", "high")]
        for model in ("IT", other)
    )
    if pd.isna([*ours, *theirs]).any():
        return ""
    apart = "do not overlap" if ours[1] > theirs[2] or theirs[1] > ours[2] else "overlap"
    paired, told = found.difference("IT", other, metric), ""
    if paired:
        told = f", paired difference {interval(*paired, '+')} ({verdict(other, *paired[1:])})"
    return (
        f"{metric}: IT {ours[0]:.2f}, {other} {theirs[0]:.2f}{told}; their 95 % bounds "
        f"([{ours[1]:.2f}, {ours[2]:.2f}] and [{theirs[1]:.2f}, {theirs[2]:.2f}]) {apart}."
    )


def _variants(found: Results) -> Iterator[str]:
    """Whether local facts need what each variant of IT lacks."""
    often = tables.trainings(found)
    for name in list(often)[1:]:
        mine, its = (found.value(model, LOCAL) for model in (name, "IT"))
        paired = found.difference("IT", name, LOCAL)
        if pd.isna([mine, its]).any() or not paired:
            continue
        told, how_often = verdict(name, *paired[1:]), f"{often['IT']} trainings of each"
        if 1 in (often["IT"], often[name]):
            told, how_often = "of these trainings; another seed may differ", "one training of each"
        if often["IT"] != often[name]:
            how_often = f"trainings of IT {often['IT']}, of {name} {often[name]}"
        yield (
            f"Without {tables.LACKS[name]} ({name}) {LOCAL} is {mine:.2f}, IT's {its:.2f}: difference "
            f"{interval(*paired, '+')}, {told} ({how_often})."
        )


def _kept(found: Results) -> str:
    """How far IT falls with another RNA in place of its own: of the training that was asked so."""
    common = found.value(COMMON, "fact.all")
    if pd.isna(common):
        return ""
    models = ("IT", "control.swapped")
    right, swapped = (found.value(model, "fact.all") for model in models)
    if found.trainings is not None:
        own = found.trainings[found.trainings.seed == found.seed]
        own = own[own.metric == "fact.all"].set_index("model")["value"]
        right, swapped = (own.get(model, float("nan")) for model in models)
    told = f"({right:.2f} → {swapped:.2f}; floor {common:.2f})"
    if right <= common:
        return f"fact.all: IT is not above {COMMON}, so there is no distance to lose {told}."
    lost = (right - swapped) / (right - common)
    share = f"{lost:.0%} of" if swapped > common else "all of"
    end = "" if swapped > common else ", and is no better than it"
    return f"Given another RNA (control.swapped), IT loses {share} its distance to {COMMON}{end} {told}."


def _species(found: Results) -> str:
    guess, ours = found.metrics.get("species_by_type"), found.value("IT", "fact.species")
    if guess is None or pd.isna(ours):
        return ""
    return (
        f"fact.species: IT {ours:.2f}; whoever knows an RNA's type and names its commonest "
        f"training species is right in {guess:.2f}."
    )


def _better(found: Results, others: Sequence[str], said: str) -> str:
    """Where a floor, or an earlier model, is better than IT, told as plainly as the rest."""
    better = []
    for fact in results.FACTS:
        values = {other: found.value(other, f"fact.{fact}") for other in others}
        best, ours = max(values, key=values.get), found.value("IT", f"fact.{fact}")
        if values[best] > ours:
            better.append(f"fact.{fact} (IT {ours:.2f}, {best} {values[best]:.2f})")
    return f"By its mean {said} {', '.join(better)}." if better else ""


def _minimal(found: Results) -> str:
    pairs = found.metrics.get("minimal_pairs")
    if not pairs:
        return ""
    followed, flipped = (
        "{:.0%} [{:.0%}, {:.0%}]".format(*(pairs[name + end] for end in ("", "_low", "_high")))
        for name in ("followed", "flipped")
    )
    each = ", ".join(f"{name} {share:.0%}" for name, share in pairs["by_type"].items())
    return (
        f"Minimal pairs ({pairs['n']}, one training of IT): the answer follows one changed "
        f"nucleotide in {followed} ({each}), a neutral change flips it in {flipped}."
    )
