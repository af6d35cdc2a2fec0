"""Answers taken apart, read from a run's files: by their length, and by the RNA type they name.

Loads no model. The tables stand behind figures and the report.
"""

import numpy as np
import pandas as pd

from rnagpt_lib.core.bootstrap import Bootstrap
from rnagpt_lib.curate.questions.question_templates import RELATIONS, entity
from rnagpt_lib.evaluate import fact_scores
from rnagpt_lib.evaluate.results import MODELS, Results

PAIRS = "03_decompose_qa/pairs.parquet"
SAMPLES = "samples.parquet"
KEY = ["model", "seed", "pair_id"]  # of an answer; a model may have been trained several times
OWN_BIN = 16  # up to so many distinct lengths each stands alone, beyond there are BINS
BINS = 10
LEAST = 5  # units behind a bin
NONE, SEVERAL, OTHER = "names none", "names several", "another type"
MOST = 25  # RNA types that a table of them shows
DRAWS = 1000


def lengths(results: Results, metric: str = "rougeL") -> pd.DataFrame:
    """Every model's answers: model, seed, unit, kind, form, words of the answer, the metric's value."""
    samples = pd.read_parquet(
        results.folder / SAMPLES,
        columns=[*KEY, "value"],
        filters=[("metric", "==", metric), ("model", "in", MODELS)],
    )
    answers = results.answers[results.answers.model.isin(MODELS)]
    words = answers.prediction.str.split().str.len()
    about = answers[[*KEY, "unit", "kind", "form"]].assign(words=words)
    return about.merge(samples, on=KEY, validate="one_to_one")


def by_length(answers: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """A model's `lengths` in bins of words: words (their mean), n, value, low and high.

    The bounds are 95 % bootstrap over units; a bin with answers about fewer than ``LEAST`` units
    has none worth the name, and is left out.
    """
    words, draws = answers.words, Bootstrap(answers.unit, DRAWS, seed)
    if words.nunique() > OWN_BIN:
        words = pd.qcut(words, BINS, duplicates="drop")
    rows = [
        (own.words.mean(), len(own), *draws.bounds(own.value, own.unit))
        for _, own in answers.groupby(words, observed=True)
        if own.unit.nunique() >= LEAST
    ]
    return pd.DataFrame(rows, columns=["words", "n", "value", "low", "high"])


def rank_correlation(answers: pd.DataFrame) -> tuple[float, float]:
    """Spearman's correlation of words and value over a model's `lengths`; and the mean, weighted
    by answers, of those within the questions of one kind and form, where neither is constant.

    The second asks whether the longer of two answers to questions of a kind scores better: kinds
    differ in both. NaN where nothing varies.
    """
    groups = [own for _, own in answers.groupby(["kind", "form"])]
    found = [(_spearman(own), len(own)) for own in groups]
    kept = np.array([(value, n) for value, n in found if not np.isnan(value)])
    within = np.average(kept[:, 0], weights=kept[:, 1]) if len(kept) else float("nan")
    return _spearman(answers), float(within)


def confusion(results: Results, model: str = "IT") -> pd.DataFrame:
    """RNA types as a model names them (columns) of RNAs by their type (rows, commonest first):
    counts of answers to the open question for the type, at most ``MOST`` types.

    An answer counts for a type as ``fact.rna_type`` does: it names that one alone, and does not
    deny it. The other columns: ``NONE``, ``SEVERAL``, and where it happens a type of no row.
    """
    answers = type_answers(results)
    question = RELATIONS["rna_type"].questions[0]
    truth = [entity(question, reference) for reference in answers.reference]
    known = _types(results) | {name for name in truth if name}
    kept = answers.assign(truth=truth)[lambda table: (table.model == model) & table.truth.notna()]
    named = [_named(question, prediction, known) for prediction in kept.prediction]
    table = pd.crosstab(kept.truth, pd.Series(named, kept.index))
    order = sorted(table.index, key=lambda name: (-table.loc[name].sum(), name))[:MOST]
    others = [name for name in table if name not in (*order, NONE, SEVERAL)]
    table = table.assign(**{OTHER: table[others].sum(axis=1)})
    columns = [*order, *([OTHER] if others else []), NONE, SEVERAL]
    return table.reindex(index=order, columns=columns, fill_value=0)


def type_answers(results: Results) -> pd.DataFrame:
    """The answers to the open question for the RNA type."""
    answers = results.answers
    return answers[(answers.kind == "rna_type") & (answers.form == "open")]


def _types(results: Results) -> set[str]:
    """The lexicon of RNA types, out of 03's pairs."""
    pairs = pd.read_parquet(
        results.folder.parent / PAIRS,
        columns=["form", "question", "answer"],
        filters=[("kind", "==", "rna_type"), ("form", "==", "open")],
    )
    return set(fact_scores.lexicon(pairs).get("rna_type", []))


def _named(question: str, prediction: str, known: set[str]) -> str:
    found = fact_scores.named(prediction, known)
    if len(found) > 1:
        return SEVERAL
    of = {name.casefold(): name for name in sorted(known)}
    name = of[found.pop()] if found else None
    return name if name and fact_scores.is_right(question, prediction, name, known) else NONE


def _spearman(answers: pd.DataFrame) -> float:
    ranks = answers[["words", "value"]].rank()
    return float(ranks.words.corr(ranks.value)) if (ranks.nunique() > 1).all() else float("nan")
