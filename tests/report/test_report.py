"""Tables and texts say what the files say; the README's block is the rendering."""

from dataclasses import replace

import pandas as pd
import pytest

from rnagpt_lib.core import paper, paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.evaluate import results
from rnagpt_lib.report import findings, readme
from rnagpt_lib.report import readme as blocks
from tests.support import fake_results


@pytest.fixture
def found(own_runs) -> results.Results:
    fake_results.write("fake")
    return results.load("fake")


def test_rouge_table_has_our_values_and_the_papers(found):
    table = results.rouge_table(found)
    assert list(table.index) == ["vanilla", "MA", "IT"]
    assert table.loc["IT", "ROUGE-L"] == f"{found.value('IT', 'rougeL'):.4f}"
    assert table.loc["MA", "ROUGE-1 (paper)"] == "0.0922"  # Table 4: the source is dnc


def test_paper_columns_follow_the_source_and_are_labelled(found):
    given = results.Results(
        "r", found.folder, found.answers, found.scores.assign(source="given"), found.differences, {}
    )
    assert results.rouge_table(given).loc["MA", "ROUGE-1 (paper)"] == "0.2239"  # Table 2
    published = {f"{value:.4f}" for value in paper.scores().value}
    for table in (results.rouge_table(found), results.semantic_table(found)):
        for column in table.columns:
            cells = {part for cell in table[column] for part in cell.split(" / ")}
            assert (cells <= published) == column.endswith("(paper)")


def test_a_missing_scorer_is_an_absent_column(found):
    scores = found.scores[~found.scores.metric.str.startswith("S_")]
    without = results.Results("r", found.folder, found.answers, scores, found.differences, {})
    assert [c for c in results.semantic_table(without) if "paper" not in c] == []
    assert not any("MiniLM" in c for c in results.facts_table(without))
    assert not any("MiniLM" in sentence for sentence in findings.findings(without))


def test_facts_table_lists_models_floors_and_controls(found):
    table = results.facts_table(found)
    assert len(table) == 12 and table.loc["IT", "all"] == f"{found.value('IT', 'fact.all'):.2f}"
    assert table.loc["IT", "species"] == "–"
    seen = results.facts_table(found, stratum="seen")
    assert seen.loc["IT", "rna_type"] == f"{found.value('IT', 'fact.rna_type', stratum='seen'):.2f}"


def test_evidence_has_its_own_number_of_answers(found):
    assert set(results.evidence_table(found).to_numpy().ravel()) == {"–"}  # a run without it
    scores = found.scores.replace({"metric": {"rouge1": "evidence.precision"}})
    with_it = results.Results("r", found.folder, found.answers, scores, found.differences, {})
    table, seen = (results.evidence_table(with_it, s) for s in ("all", "seen"))
    assert list(table.columns) == ["precision", "recall", "unsupported"] and len(table) == 12
    assert table.precision["IT"] == results.bounded(found, "IT", "rouge1")
    assert seen.precision["IT"] == results.bounded(found, "IT", "rouge1", "seen")
    assert set(table.unsupported) == {"–"}


def test_place_is_zero_at_the_random_floor(found):
    table = results.place_table(found)
    assert set(table.loc["floor.random"]) == {"0.00"}
    assert 0 < float(table.loc["IT", "ROUGE-L"]) < 1
    perfect = found.scores.assign(value=1.0)
    other = results.Results("r", found.folder, found.answers, perfect, found.differences, {})
    assert set(results.place_table(other).loc["IT"]) == {"–"}


def test_differences_say_which_are_clear(found):
    table = results.differences_table(found, [("IT", "vanilla", "fact.all"), ("IT", "x", "rouge1")])
    assert len(table) == 1 and table.clear[0] == "yes"
    assert table.difference[0].startswith("+0.")
    assert len(results.differences_table(found)) > 20


def test_findings_are_computed(found):
    text = " ".join(findings.findings(found))
    assert "IT 0." in text and "do not overlap" in text and "loses" in text
    keys = ["model_a", "model_b", "metric"]
    row = found.differences.set_index(keys).loc[("IT", "floor.most_common", "fact.all")]
    assert (
        f"paired difference {row.value:+.2f} [{row.low:+.2f}, {row.high:+.2f}] (IT is better)"
        in text
    )
    assert "By its mean a floor is better than IT on" not in text
    worse = found.scores.assign(
        value=found.scores.value.where(found.scores.model != "IT", 0.1),
        low=found.scores.low.where(found.scores.model != "IT", 0.0),
        high=found.scores.high.where(found.scores.model != "IT", 0.3),
    )
    other = results.Results("r", found.folder, found.answers, worse, found.differences, {})
    text = " ".join(findings.findings(other))
    assert "no distance to lose" in text and " overlap" in text
    assert "By its mean a floor is better than IT on fact.rna_type (IT 0.10, floor." in text


def test_what_a_type_tells_of_the_species_stands_beside(found):
    assert not [s for s in findings.findings(found) if s.startswith("fact.species")]
    species = found.scores[found.scores.metric == "fact.rna_type"].assign(metric="fact.species")
    known = replace(
        found,
        metrics=found.metrics | {"species_by_type": 0.5},
        scores=pd.concat([found.scores, species]),
    )
    [said] = [s for s in findings.findings(known) if s.startswith("fact.species")]
    assert said.endswith("is right in 0.50.")
    assert f"IT {found.value('IT', 'fact.rna_type'):.2f};" in said


def test_an_earlier_model_that_is_better_is_named(found):
    best = (found.scores.model == "MA") & (found.scores.metric == "fact.rna_type")
    better = found.scores.assign(value=found.scores.value.mask(best, 0.99))
    text = " ".join(findings.findings(replace(found, scores=better)))
    assert "vanilla or MA is better than IT on fact.rna_type (IT 0." in text


def test_findings_leave_out_what_was_not_asked(found):
    scores = found.scores[found.scores.metric != "fact.local"]
    other = results.Results("r", found.folder, found.answers, scores, found.differences, {})
    text = " ".join(findings.findings(other))
    assert "fact.local" not in text and "nan" not in text
    none = found.scores[~found.scores.metric.str.startswith("fact.")]
    other = results.Results("r", found.folder, found.answers, none, found.differences, {})
    text = " ".join(findings.findings(other))
    assert "ROUGE-L, best first" in text and "fact.all" not in text and "nan" not in text


def test_what_another_rna_costs_is_of_the_training_that_was_asked_so(found):
    trainings = found.trainings.copy()
    own = (trainings.metric == "fact.all") & (trainings.seed == 0)
    trainings.loc[own & (trainings.model == "IT"), "value"] = 0.75
    trainings.loc[own & (trainings.model == "control.swapped"), "value"] = 0.5
    floor = found.value("floor.most_common", "fact.all")
    told = " ".join(findings.findings(replace(found, trainings=trainings)))
    lost = 0.25 / (0.75 - floor)
    assert f"IT loses {lost:.0%} of its distance to floor.most_common (0.75 → 0.50" in told
    trainings.loc[own & (trainings.model == "control.swapped"), "value"] = floor - 0.1
    told = " ".join(findings.findings(replace(found, trainings=trainings)))
    assert "IT loses all of its distance to floor.most_common, and is no better than it" in told


def test_markdown_escapes_bars(found):
    lines = readme.markdown(found.answers[["prediction"]].head(1).set_index("prediction"))
    assert "The RNA is \\| a tRNA." in lines


def test_end_of_the_demo(found):
    text = findings.ablation("fake")
    assert "control.swapped" in text and "(paper)" in text and "160 test questions" in text
    with pytest.raises(InputError, match="there is no run absent; runs are fake"):
        findings.ablation("absent")


def test_the_block_is_rendered_between_the_markers(found, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n<!-- results:start -->\nold\n<!-- results:end -->\nrest\n")
    findings.render_readme("fake", readme)
    text = readme.read_text()
    assert text.startswith("# Title\n") and text.endswith("\nrest\n") and "old" not in text
    assert blocks.read_block(readme, "results") == findings.readme("fake").strip()
    assert (
        "Minimal pairs (40, one training of IT): the answer follows one changed nucleotide in 92% [84%, 100%] (tRNA 98%),"
        in text
    )
    readme.write_text("no markers")
    with pytest.raises(InputError, match="markers"):
        findings.render_readme("fake", readme)


def test_readme_says_what_the_reference_run_says(monkeypatch):
    monkeypatch.setenv("RNAGPT_RUNS", str(paths.root() / "runs"))
    assert (
        blocks.read_block(paths.root() / "README.md", "results")
        == findings.readme("reference").strip()
    )
