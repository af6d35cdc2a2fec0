"""Sentences are computed from the files, and say only what bounds allow; the block in docs/."""

from dataclasses import replace

import pandas as pd
import pytest

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.report import findings, readme, tables


def said(found, **changed) -> str:
    return " ".join(findings.findings(replace(found, **changed)))


def test_findings_are_computed(found):
    text = said(found)
    assert "IT 0." in text and "do not overlap" in text and "loses" in text
    keys = ["model_a", "model_b", "metric"]
    row = found.differences.set_index(keys).loc[("IT", "floor.most_common", "fact.all")]
    bounds = f"{row.value:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
    assert f"paired difference {bounds} (IT is better)" in text
    assert "By its mean a floor is better than IT on" not in text
    assert "Minimal pairs (40, one training of IT): the answer follows one changed" in text
    assert "92% [84%, 100%] (tRNA 98%)" in text or "93% [84%, 100%]" in text
    its = found.scores.model == "IT"
    worse = found.scores.assign(
        value=found.scores.value.mask(its, 0.1),
        low=found.scores.low.mask(its, 0.0),
        high=found.scores.high.mask(its, 0.3),
    )
    text = said(found, scores=worse, trainings=None)
    assert "no distance to lose" in text and " overlap" in text
    assert "By its mean a floor is better than IT on fact.rna_type (IT 0.10, floor." in text
    best = (found.scores.model == "MA") & (found.scores.metric == "fact.rna_type")
    better = found.scores.assign(value=found.scores.value.mask(best, 0.99))
    text = said(found, scores=better)
    assert "vanilla or MA is better than IT on fact.rna_type (IT 0." in text


def test_what_was_not_asked_is_not_spoken_of(found):
    assert "fact.local" not in said(found, scores=found.scores[found.scores.metric != "fact.local"])
    rouge = found.scores[~found.scores.metric.str.startswith("fact.")]
    assert "fact." not in said(found, scores=rouge)
    assert "MiniLM" not in said(found, scores=found.scores[found.scores.metric.str[:2] != "S_"])
    assert "Minimal pairs" not in said(found, metrics={})


def test_what_a_type_tells_of_the_species_stands_beside(found):
    assert "fact.species" not in said(found)
    species = found.scores[found.scores.metric == "fact.rna_type"].assign(metric="fact.species")
    known = {"metrics": {"species_by_type": 0.5}, "scores": pd.concat([found.scores, species])}
    value = found.value("IT", "fact.rna_type")
    assert f"fact.species: IT {value:.2f}; whoever knows" in said(found, **known)


def test_the_swapped_control_is_held_against_the_training_that_it_asked(found):
    trainings = found.trainings.copy()
    own = (trainings.metric == "fact.all") & (trainings.seed == found.seed)
    trainings.loc[own & (trainings.model == "IT"), "value"] = 0.9
    trainings.loc[own & (trainings.model == "control.swapped"), "value"] = 0.4
    assert "(0.90 → 0.40; floor" in said(found, trainings=trainings)
    trainings.loc[own & (trainings.model == "control.swapped"), "value"] = 0.0
    assert "loses all of its distance" in said(found, trainings=trainings)


@pytest.mark.parametrize(
    "bounds, verdict",
    [
        ((0.2, 0.1, 0.3), "IT is better (3 trainings of each)"),
        ((-0.2, -0.3, -0.1), "it.text is better (3 trainings of each)"),
        ((0.1, -0.1, 0.3), "no difference is shown (3 trainings of each)"),
    ],
)
def test_sentences_on_variants_say_what_the_bounds_allow(found, bounds, verdict):
    table = found.differences.copy()
    row = (table.model_a == "IT") & (table.model_b == "it.text") & (table.metric == "fact.local")
    table.loc[row, ["value", "low", "high"]] = bounds
    every = findings.findings(replace(found, differences=table))
    text, blind = (sentence for sentence in every if sentence.startswith("Without"))
    assert text.startswith("Without encoder, soft tokens and stage 1 (it.text) fact.local")
    assert verdict in text and "better" not in blind
    assert "of these trainings; another seed may differ (trainings of IT 3, of it.blind 1)" in blind
    answers = found.answers[~found.answers.model.str.startswith("it.")]
    assert "Without" not in said(found, answers=answers)


# --- the block in docs/


def test_the_block_is_replaced_between_its_markers(found):
    folder = found.folder / "figures"
    folder.mkdir()
    (folder / "facts.png").write_bytes(b"")
    page = found.folder.parent / "docs.md"
    page.write_text("# Title\n<!-- results:start -->\nold\n<!-- results:end -->\nrest\n")
    readme.write_block(page, "results", readme.render("fake", page))
    text = page.read_text()
    assert text.startswith("# Title\n") and text.endswith("\nrest\n") and "old" not in text
    assert readme.read_block(page, "results") == readme.render("fake", page)
    assert "](06_ablations/figures/facts.png)\n" in text and "learning.png" not in text
    for table in (tables.facts_table, tables.variants, tables.minimal_pairs, tables.local_types):
        assert readme.markdown(table(found)) in text
    assert "the last column" not in text
    assert "(trainings of IT: 3; bounds cover units and, of what has several, trainings" in text
    facts = tables.facts_table(found).loc[["IT"], readme.COLUMNS]
    assert readme.markdown(facts).splitlines()[-1] in readme.render_short("fake")
    page.write_text("no markers")
    with pytest.raises(InputError, match="lacks the markers"):
        readme.write_block(page, "results", "new")
    assert readme.render("absent", page) == readme.render_short("absent") == readme.NOTHING_YET


def test_results_and_readme_say_what_the_reference_run_says(monkeypatch):
    monkeypatch.delenv("RNAGPT_RUNS")
    page = paths.root() / "docs" / "results.md"
    assert readme.read_block(page, "results") == readme.render("reference", page)
    front = paths.root() / "README.md"
    assert readme.read_block(front, "short") == readme.render_short("reference")


def test_markdown_and_the_demos_end(found):
    lines = readme.markdown(found.answers[["prediction"]].head(1).set_index("prediction"))
    assert "The RNA is \\| a tRNA." in lines
    text = findings.ablation("fake")
    assert text.startswith("Ablation of run fake, 160 test questions") and "best first" in text
    with pytest.raises(InputError, match="there is no run absent"):
        findings.ablation("absent")
