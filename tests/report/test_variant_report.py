"""What the variants show: rows and sentences are the scores', and say only what bounds allow."""

from dataclasses import replace

import pandas as pd
import pytest

from rnagpt_lib.evaluate import ablation, results
from rnagpt_lib.report import findings, plots_variants, readme, variant_report
from tests.support import fake_results


@pytest.fixture
def found(own_runs) -> results.Results:
    fake_results.write("fake")
    return results.load("fake")


def with_difference(found, value, low, high):
    """IT − it.text on local facts, as if it had been measured so."""
    table = found.differences.copy()
    row = (table.model_a == "IT") & (table.model_b == "it.text") & (table.metric == "fact.local")
    assert row.sum() == 1
    table.loc[row, ["value", "low", "high"]] = value, low, high
    return replace(found, differences=table)


def test_the_table_has_a_row_for_each_variant_that_was_trained(found):
    table = variant_report.table(found)
    assert list(table.index) == ["it.text", "it.blind"]
    assert table.trainings.tolist() == [3, 1]
    row = found.differences.query(
        "model_a == 'IT' and model_b == 'it.blind' and metric == 'fact.all'"
    ).iloc[0]
    told = f"{row.value:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
    assert table.loc["it.blind", "IT − it, fact.all"] == told
    assert table.loc["it.text", "rougeL"] == f"{found.value('it.text', 'rougeL'):.2f}"


def test_what_lacks_stage_1_too_stands_beside_the_training_without_it(found):
    column = "it.no_ma − it, fact.local"
    assert column not in variant_report.table(found)  # it was not trained
    assert "the last column" not in findings.readme("fake")
    wanted = [(a, b) for a, b, metric in ablation.comparisons() if metric == "fact.local"]
    assert {("it.no_ma", "it.text"), ("it.no_ma", "it.blind")} <= set(wanted)
    both = found.differences.query("model_a == 'IT' and model_b == 'it.text'")
    others = [both.assign(model_a="it.no_ma", value=0.25), both.assign(model_b="it.no_ma")]
    named = found.scores[found.scores.model == "IT"].assign(model="it.no_ma")
    said = found.answers[found.answers.model == "IT"].assign(model="it.no_ma")
    more = replace(
        found,
        differences=pd.concat([found.differences, *others]),
        scores=pd.concat([found.scores, named]),
        answers=pd.concat([found.answers, said]),
    )
    table = variant_report.table(more)
    assert table.loc["it.text", column].startswith("+0.25 [")
    assert table.loc["it.no_ma", column] == "–"


def test_minimal_pairs_have_a_row_for_each_training_that_was_asked(found):
    table = variant_report.minimal(found)
    assert list(table.index) == ["IT, seed 0", "it.text, seed 1"]
    assert table.followed["IT, seed 0"].startswith("0.93 [0.8")
    assert table.tRNA.tolist() == ["0.95", "0.50"] and table.pre_miRNA.tolist() == ["0.90", "0.00"]
    assert readme.markdown(table) in findings.readme("fake")
    path = found.folder / variant_report.MINIMAL
    both = pd.read_parquet(path)
    own = variant_report.of_own(found, both)
    assert own.model.tolist() == ["IT"] * 40
    own.to_parquet(path)
    assert variant_report.minimal(found).empty
    assert "Minimal pairs, one row" not in findings.readme("fake")
    before = own.drop(columns=["model", "seed"])  # as earlier versions wrote them
    assert variant_report.of_own(found, before) is before
    path.unlink()
    assert variant_report.minimal(found).empty


def test_local_facts_by_type_are_those_of_each_training(found):
    table = variant_report.by_type(found)
    trainings = ["IT, seed 0", "IT, seed 1", "IT, seed 2", "it.text, seed 0", "it.text, seed 1"]
    assert list(table.index) == [*trainings, "it.text, seed 2", "it.blind, seed 0", "floor.nearest"]
    samples = pd.read_parquet(found.folder / "samples.parquet")
    rnas = pd.read_parquet(found.folder.parent / "03_decompose_qa" / "rnas.parquet")
    local = samples[samples.metric == "fact.local"].merge(rnas[["rna_id", "rna_type"]], on="rna_id")
    for rna_type, own in local.groupby("rna_type"):
        [column] = [name for name in table if name.startswith(f"{rna_type} (n=")]
        one = own[(own.model == "IT") & (own.seed == 2)]
        assert column == f"{rna_type} (n={len(one)})"
        assert table.loc["IT, seed 2", column] == f"{one.value.mean():.2f}"
    assert readme.markdown(table) in findings.readme("fake")


def test_a_run_without_local_facts_has_no_table_of_them(found):
    path = found.folder / "samples.parquet"
    samples = pd.read_parquet(path)
    samples[samples.metric != "fact.local"].to_parquet(path)
    assert variant_report.by_type(found).empty
    assert "one row a training" not in findings.readme("fake")


@pytest.mark.parametrize("lost", ["03_decompose_qa/rnas.parquet", "06_ablations/samples.parquet"])
def test_scores_without_the_types_or_their_samples_have_no_table_by_type(found, lost):
    (found.folder.parent / lost).unlink()
    assert variant_report.by_type(found).empty
    assert "IT trained again on the same pairs" in findings.readme("fake")
    assert "one row a training" not in findings.readme("fake")


@pytest.mark.parametrize(
    "bounds, verdict",
    [
        ((0.2, 0.1, 0.3), "IT is better (3 trainings of each)"),
        ((-0.2, -0.3, -0.1), "it.text is better (3 trainings of each)"),
        ((0.1, -0.1, 0.3), "no difference is shown (3 trainings of each)"),
    ],
)
def test_sentences_say_what_the_bounds_allow(found, bounds, verdict):
    text, blind = variant_report.findings(with_difference(found, *bounds))
    assert (
        text.startswith("Without encoder, soft tokens and stage 1 (it.text) fact.local")
        and verdict in text
    )
    assert "of these trainings; another seed may differ (trainings of IT 3, of it.blind 1)" in blind
    assert "better" not in blind
    assert set(variant_report.findings(found)) <= set(findings.findings(found))


def test_one_training_of_each_says_nothing_of_other_seeds():
    for its, mine, told in ((1, 1, "one training of each"), (3, 3, "3 trainings of each"),
                            (3, 2, "trainings of IT 3, of it.text 2")):  # fmt: skip
        assert variant_report._often({"IT": its, "it.text": mine}, "it.text") == told


def test_without_variants_nothing_is_said(found):
    scores = found.scores[~found.scores.model.str.startswith("it.")]
    without = replace(found, scores=scores)
    assert variant_report.findings(without) == [] and variant_report.table(without).empty
    assert variant_report.there(without) == []


def test_the_readme_has_them(found):
    text = findings.readme("fake")
    assert "(trainings of IT: 3; bounds cover units and, of what has several, trainings" in text
    assert readme.markdown(variant_report.table(found)) in text


def test_the_figure_shows_every_training(found):
    axis = plots_variants.variants(found).axes[-1]  # fact.local
    shown = {round(x, 9) for line in axis.lines for x in line.get_xdata()}
    each = found.trainings.query("model == 'IT' and metric == 'fact.local'").value
    assert len(each) == 3 and {round(value, 9) for value in each} <= shown
    assert round(found.value("IT", "fact.local"), 9) in shown
