"""Score the scores: reference answers, spoilt a little more at every rung.

Which metric notices what? Each reference is given in other words (``paraphrase``), which nobody
should be marked down for, and spoilt in five ways. A metric notices a rung as far as its values
tell it from the paraphrase: AUROC, 1 where each paraphrase scores above each answer of the rung,
one half where they cannot be told apart, less where the metric prefers what is wrong.
"""

import random
from collections.abc import Callable

import numpy as np
import pandas as pd

from rnagpt_lib.core.bootstrap import OUTER, Bootstrap
from rnagpt_lib.curate.questions.question_templates import NONE, RELATIONS, UNKNOWN
from rnagpt_lib.evaluate.fact_scores import OPEN_FACTS, lexicon

FACTS = tuple(f"fact.{kind}" for kind in OPEN_FACTS)
UNSUPPORTED = "evidence.unsupported"  # the more, the worse: ranked the other way round
PRECISION = "evidence.precision"  # of an answer that claims nothing there is none
SEEN = ("rna_id", "unit", "relation", "entity", "reference")
PARAPHRASE = "paraphrase"
WORDS = {  # of the paraphrase
    "rna_type": "This molecule is a kind of {}.",
    "species": "This molecule comes from {}.",
    "family": "This molecule is a member of {}.",
    "disease": "This molecule has been linked to {}.",
    "process": "This molecule controls {}.",
    "partner": "This molecule interacts with {}.",
    "tissue": "This molecule is found in {}.",
    "location": "This molecule resides in the {}.",
    "isotype": "This molecule is charged with {}.",
    "target": "This molecule acts on {}.",
    "site": "This molecule directs the modification of {}.",
    "ligand": "This molecule responds to {}.",
}
SYNONYMS = {  # the reference's own sentence with another verb, or another noun
    "rna_type": "The RNA is of the class {}.",
    "species": "The RNA stems from the species {}.",
    "family": "The RNA is of the family {}.",
    "disease": "The RNA is linked with {}.",
    "process": "The RNA controls {}.",
    "partner": "The RNA contacts {}.",
    "tissue": "The RNA is found in {}.",
    "location": "The RNA is present in the {}.",
    "isotype": "The RNA bears {}.",
    "target": "The RNA hits {}.",
    "site": "The RNA directs the modification of {}.",
    "ligand": "The RNA detects {}.",
}


def climb(asked: pd.DataFrame, pairs: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The answers of all rungs to the templates' open questions whose reference names one entity.

    ``asked`` as ``floors.questions`` gives it. A row for each question and rung, shaped like the
    answers of a model of the rung's name, so that whatever scores models scores rungs: pair_id,
    rna_id, unit, source, kind, form, reference, model, seed, prediction. A question without
    another entity, or another RNA, lacks that rung.
    """
    named = asked["entity"].notna() & ~asked["entity"].isin([UNKNOWN, NONE])
    told = asked[(asked["form"] == "open") & named & asked["relation"].isin([*RELATIONS])]
    columns = {name: told[name].to_numpy(object) for name in SEEN}
    draw, known, rows = random.Random(seed), lexicon(pairs), []
    for row in told.itertuples():
        for rung, spoil in RUNGS.items():
            text = spoil(row, columns, known.get(row.relation, []), draw)
            if text is not None:
                rows.append((row.pair_id, rung, text))
    made = pd.DataFrame(rows, columns=["pair_id", "model", "prediction"])
    about = ["pair_id", "rna_id", "unit", "source", "kind", "form", "reference"]
    return told[about].merge(made, on="pair_id").assign(seed=seed)


def noticed(samples: pd.DataFrame, n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """How well each metric tells each rung from the paraphrase, with 95 % bounds over units.

    ``samples``: one value for each pair_id, model (the rung) and metric; facts of all open kinds
    are one metric, ``fact.all``. All metrics are compared over the same questions, those that
    each of them scores; ``evidence.precision`` is left out, since a denial claims nothing.
    Columns: metric, rung, value (AUROC), low, high, n (answers of the rung).
    """
    columns = ["metric", "rung", "value", "low", "high", "n"]
    if samples.empty:
        return pd.DataFrame(columns=columns)
    samples = samples.reset_index(drop=True)
    facts = samples["metric"].isin(FACTS)
    samples = samples[facts | ~samples["metric"].str.startswith(("fact.", PRECISION))]
    samples = samples.assign(
        metric=samples["metric"].mask(facts, "fact.all"),
        value=samples["value"] * np.where(samples["metric"] == UNSUPPORTED, -1, 1),
    )
    scored = samples.groupby("pair_id")["metric"].transform("nunique")
    samples = samples[scored == samples["metric"].nunique()]
    draws, rows = Bootstrap(samples["unit"], n, seed), []
    for metric, own in samples.groupby("metric", sort=False):
        fair = own[own["model"] == PARAPHRASE]
        for rung in RUNGS:
            if rung != PARAPHRASE and len(spoilt := own[own["model"] == rung]):
                rows.append((metric, rung, *_auroc(draws, fair, spoilt), len(spoilt)))
    return pd.DataFrame(rows, columns=columns)


def findings(table: pd.DataFrame) -> list[str]:
    """What ``noticed`` found, in sentences: for each way to spoil, who notices it, who does not,
    and who prefers it to the paraphrase."""
    said = []
    for rung, own in table[table["rung"] != "synonym"].groupby("rung", sort=False):
        own = own.sort_values("value", ascending=False)
        best = ", ".join(f"{m} {v:.2f}" for m, v in zip(own["metric"], own["value"], strict=True))
        told = f"{rung[0].upper()}{rung[1:]}, AUROC against the paraphrase: {best}"
        low, high = own["low"] <= 0.5, own["high"] >= 0.5
        for what, chosen in (("not told from", low & high), ("preferred to", low & ~high)):
            names = ", ".join(own.loc[chosen, "metric"])
            told += f"; {what} the paraphrase by {names}" if names else ""
        said.append(f"{told}.")
    return said


def _auroc(draws: Bootstrap, fair: pd.DataFrame, spoilt: pd.DataFrame) -> tuple[float, ...]:
    """The share of pairs of a paraphrase and an answer of the rung in which the first scores
    higher, ties by half; and its bounds, with units drawn for both sides at once."""
    higher = np.sign(np.subtract.outer(fair["value"].to_numpy(), spoilt["value"].to_numpy()))
    mine, other = (draws.units.get_indexer(side["unit"]) for side in (fair, spoilt))
    wins = np.zeros((len(draws.units),) * 2)
    np.add.at(wins, (mine[:, None], other), (higher + 1) / 2)
    sizes = (np.bincount(side, minlength=len(draws.units)) for side in (mine, other))
    pairs = np.outer(*sizes)
    drawn = [np.einsum("nu,nu->n", draws.counts @ table, draws.counts) for table in (wins, pairs)]
    with np.errstate(invalid="ignore"):
        low, high = np.nanpercentile(drawn[0] / drawn[1], OUTER)
    return float(wins.sum() / pairs.sum()), float(low), float(high)


# --- the rungs: what stands there for the reference of a question, or None


Columns = dict[str, np.ndarray]  # SEEN, of all questions that climb
Spoil = Callable[[tuple, Columns, list[str], random.Random], str | None]


def _other_entity(row, told: Columns, known: list[str], draw: random.Random) -> str | None:
    own = (told["rna_id"] == row.rna_id) & (told["relation"] == row.relation)
    right = {entity.casefold() for entity in told["entity"][own]}
    wrong = [entity for entity in known if entity.casefold() not in right]
    return RELATIONS[row.relation].say([draw.choice(wrong)]) if wrong else None


def _of_another(row, told: Columns, known: list[str], draw: random.Random) -> str | None:
    """What is true of an RNA of another unit, in answer to the same question."""
    foreign = (told["unit"] != row.unit) & (told["reference"] != row.reference)
    return _any(told, foreign & (told["relation"] == row.relation), draw)


def _at_random(row, told: Columns, known: list[str], draw: random.Random) -> str | None:
    """An answer to another question about an RNA of another unit."""
    return _any(told, (told["unit"] != row.unit) & (told["relation"] != row.relation), draw)


def _any(told: Columns, chosen: np.ndarray, draw: random.Random) -> str | None:
    references = told["reference"][chosen]
    return draw.choice(references) if len(references) else None


RUNGS: dict[str, Spoil] = {
    "synonym": lambda row, *_: SYNONYMS[row.relation].format(row.entity),
    PARAPHRASE: lambda row, *_: WORDS[row.relation].format(row.entity),
    "entity swapped": _other_entity,
    "negated": lambda row, *_: RELATIONS[row.relation].denial.format(row.entity),
    "another RNA's": _of_another,
    "random": _at_random,
}
