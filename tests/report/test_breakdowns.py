"""Answers by length and by named type: against naive counts, and the scores of the same facts."""

import numpy as np
import pandas as pd
import pytest

from rnagpt_lib.evaluate import results
from rnagpt_lib.report import answer_breakdowns, plots_kinds
from rnagpt_lib.report.answer_breakdowns import NONE, OTHER, SEVERAL
from rnagpt_lib.runs.stages import stage_folder
from tests.support import fake_results

SAY = fake_results.TYPED.format


@pytest.fixture
def found(own_runs) -> results.Results:
    fake_results.write("fake")
    return results.load("fake")


def answering(found, told: list[tuple[str, str]]) -> results.Results:
    """The run with these (reference, prediction) as IT's answers for the type."""
    rows = answer_breakdowns.type_answers(found)[lambda table: table.model == "IT"].head(len(told))
    references, predictions = zip(*told, strict=True)
    answers = rows.assign(reference=references, prediction=predictions)
    return results.Results("fake", found.folder, answers, found.scores, found.differences, {})


def test_confusion_counts_every_answer_where_it_belongs(found):
    told = [(SAY("tRNA"), SAY("tRNA")), (SAY("tRNA"), "It is a TRNA, I think."),
            (SAY("tRNA"), SAY("rRNA")), (SAY("rRNA"), "A tRNA or an rRNA."), (SAY("rRNA"), "DNA."),
            (SAY("tRNA"), "The RNA is not of the type tRNA."), (SAY("rRNA"), "")]  # fmt: skip
    table = answer_breakdowns.confusion(answering(found, told))
    assert table.loc["tRNA"].to_dict() == {"tRNA": 2, "rRNA": 1, NONE: 1, SEVERAL: 0}
    assert table.loc["rRNA"].to_dict() == {"tRNA": 0, "rRNA": 0, NONE: 2, SEVERAL: 1}
    assert list(table.index) == list(table.columns[:2]) == ["tRNA", "rRNA"]


def test_confusion_knows_the_types_of_the_training_side_and_shows_the_commonest(found, monkeypatch):
    path = stage_folder("fake", "03_decompose_qa") / "pairs.parquet"
    pairs = pd.read_parquet(path)
    pairs.loc[pairs.kind == "rna_type", "answer"] = SAY("tmRNA")
    pairs.to_parquet(path)
    told = [(SAY("tRNA"), SAY("tmRNA")), (SAY("tRNA"), SAY("tRNA")), (SAY("rRNA"), SAY("rRNA"))]
    table = answer_breakdowns.confusion(answering(found, told))
    assert table.loc["tRNA"].to_dict() == {"tRNA": 1, "rRNA": 0, OTHER: 1, NONE: 0, SEVERAL: 0}
    monkeypatch.setattr(answer_breakdowns, "MOST", 1)
    table = answer_breakdowns.confusion(answering(found, told))
    assert list(table.index) == ["tRNA"] and list(table) == ["tRNA", OTHER, NONE, SEVERAL]


def test_bins_hold_all_answers_and_their_means(found):
    rng = np.random.default_rng(0)
    many = pd.DataFrame({"unit": [f"U{i}" for i in range(600)], "kind": "a", "form": "open",
                         "words": rng.integers(1, 60, 600), "value": rng.random(600)})  # fmt: skip
    bins = answer_breakdowns.by_length(many)
    assert len(bins) == answer_breakdowns.BINS and bins.n.sum() == 600
    assert np.average(bins.words, weights=bins.n) == pytest.approx(many.words.mean())
    assert np.average(bins.value, weights=bins.n) == pytest.approx(many.value.mean())
    assert ((bins.low < bins.value) & (bins.value < bins.high)).all()
    many = many.assign(words=many.words % 12 + 1)
    few = answer_breakdowns.by_length(many)
    assert list(few.words) == list(range(1, 13))
    naive = many[many.words == 3].value.mean()
    assert few.value[2] == pytest.approx(naive)
    assert answer_breakdowns.by_length(many.assign(unit="U0")).empty


def test_lengths_are_those_of_the_answers(found):
    table = answer_breakdowns.lengths(found)
    trainings = sum(fake_results.SEEDS.get(model, 1) for model in results.MODELS)
    assert len(table) == trainings * 160 and set(table.words) == {6}
    for model, own in table.groupby("model"):
        assert own.value.mean() == pytest.approx(found.value(model, "rougeL"))


def test_the_figure_counts_the_answers_of_one_training(found):
    for axis in plots_kinds.lengths(found).axes[len(results.MODELS) :]:
        assert sum(bar.get_height() for bar in axis.patches) == pytest.approx(160)


def test_rank_correlation_within_a_kind_is_not_that_of_the_kinds():
    long = {"form": "open", "unit": "U"}
    apart = [(kind, words, value) for kind, shift in (("a", 0), ("b", 10))
             for words, value in ((shift + 1, shift + 2), (shift + 2, shift + 1))]  # fmt: skip
    table = pd.DataFrame(apart, columns=["kind", "words", "value"]).assign(**long)
    whole, within = answer_breakdowns.rank_correlation(table)
    assert whole == pytest.approx(0.6) and within == pytest.approx(-1.0)
    constant = pd.DataFrame({"kind": "c", "words": [3, 3], "value": [1, 0], **long})
    assert answer_breakdowns.rank_correlation(pd.concat([table, constant]))[1] == pytest.approx(
        -1.0
    )
    assert np.isnan(answer_breakdowns.rank_correlation(constant)).all()
