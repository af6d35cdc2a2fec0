"""Figures: the same bytes for the same files, a sidecar with hashes, and no model loaded."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from rnagpt_lib.core import paths
from rnagpt_lib.core.files import sha256
from rnagpt_lib.evaluate import results
from rnagpt_lib.report import figures
from rnagpt_lib.runs.stages import MODELS, stage_folder
from tests.support import fake_results


def drawn(axis) -> set[float]:
    """All x and y of an axis's points."""
    lines = [(*line.get_xdata(), *line.get_ydata()) for line in axis.lines]
    return {round(float(value), 6) for line in lines for value in line}


def test_figures_are_drawn_with_a_sidecar_and_again_as_the_same_bytes(found, monkeypatch):
    few = {name: figures.FIGURES[name] for name in ("rouge", "learning", "cases")}
    monkeypatch.setattr(figures, "FIGURES", few)
    written = figures.draw("fake")
    assert [path.stem for path in written] == ["rouge", "learning"]
    about = json.loads((found.folder / "figures/learning.json").read_text())
    steps = paths.runs() / "fake/04_train_stage1/steps.jsonl"
    assert about["inputs"]["fake/04_train_stage1/steps.jsonl"] == sha256(steps)
    assert about["run"] == "fake" and about["notebook"] == "06_ablations"
    files = [written[0], written[0].with_suffix(".pdf")]
    first = [file.read_bytes() for file in files]
    figures.save(figures.rouge(found), "rouge", found)
    assert [file.read_bytes() for file in files] == first


@pytest.mark.slow
def test_all_figures_are_drawn(found):
    written = figures.draw("fake")
    assert {path.stem for path in written} == set(figures.FIGURES) - {"cases"}
    for path in written:
        assert path.read_bytes()[:4] == b"\x89PNG" and path.with_suffix(".pdf").is_file()
    axis = figures.kinds(found).axes[1]
    shown = {round(found.value("IT", "rougeL", kind=kind), 6) for kind in fake_results.KINDS}
    assert shown <= drawn(axis)


def test_figures_show_the_values_with_their_bounds(found):
    bars = [bar.get_height() for bar in figures.rouge(found).axes[0].patches[:9]]
    metrics = ("rouge1", "rouge2", "rougeL")
    assert bars == [found.value(m, x) for m in ("vanilla", "MA", "IT") for x in metrics]
    facts = figures.facts(found)
    for axis, metric in zip(facts.axes, figures.FACTS, strict=True):
        assert axis.get_title() == metric
        for column in ("value", "low", "high"):
            value = found.value("IT", metric, stratum="seen", column=column)
            assert round(value, 6) in drawn(axis)
    labels = [tick.get_text() for tick in facts.axes[0].get_yticklabels()]
    assert labels[:3] == ["vanilla", "MA", "IT"]
    tax = pd.read_parquet(found.folder / "leakage.parquet").query("what == 'cluster'")
    own = tax[tax.metric == "fact.all"].value
    assert {round(value, 6) for value in own} <= drawn(figures.leakage_tax(found).axes[0])


def test_variants_show_every_training(found):
    axis = figures.variants(found).axes[-1]  # fact.local
    dots = {round(float(x), 6) for dots in axis.collections for x, _ in dots.get_offsets()}
    each = found.trainings.query("model == 'IT' and metric == 'fact.local'").value
    assert len(each) == 3 and {round(value, 6) for value in each} <= dots
    assert round(found.value("IT", "fact.local"), 6) in drawn(axis)


def test_what_a_run_lacks_is_not_drawn(found):
    axis = figures.confusion(found).axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()][0].startswith("tRNA (")
    (stage_folder("fake", "03_decompose_qa") / "pairs.parquet").unlink()
    assert set(figures.FIGURES) - set(figures.drawable(found)) == {"confusion", "cases"}
    path = paths.runs() / "fake" / "05_train_stage2" / "steps.jsonl"
    path.write_text('{"step": 0, "loss": 1.0, "lr": 0.1}\n{"step": 1, "loss": 0.5, "lr": 0.1}\n')
    assert len(figures.learning(found).axes) == 4


def test_cases_show_answers_and_verdicts():
    row = {"rna_id": "R1", "stratum": "seen", "question": "Which?", "reference": "The $x_1$ RNA."}
    row |= {model: f"{model} said" for model in MODELS}
    row |= {"vanilla_right": 0.0, "MA_right": None, "IT_right": 1.0}
    figure = figures.cases(pd.DataFrame([row]))
    cells = figure.axes[0].tables[0].get_celld()
    texts = [cells[1, x].get_text().get_text() for x in range(4)]
    assert texts == ["The $x_1$ RNA.", "✗ vanilla said", "MA said", "✓ IT said"]
    assert figures.png(figure)


def test_trajectories_are_drawn_from_the_committed_measurement():
    figure = figures.trajectories()
    assert [axis.get_title() for axis in figure.axes] == ["seconds", "cpu_seconds", "pairs"]


def test_only_the_projects_reference_run_has_the_projects_figures(own_runs, tmp_path, monkeypatch):
    """A run of that name in another folder of runs is a run like any other."""
    folder = stage_folder("reference", "06_ablations") / "figures"
    assert results.figure_folder("reference") == folder
    monkeypatch.setenv("RNAGPT_FIGURES", str(tmp_path / "figures"))
    assert results.figure_folder("reference") == tmp_path / "figures"
    assert (
        results.figure_folder("mini").parent.parent == stage_folder("mini", "06_ablations").parent
    )


@pytest.mark.slow
def test_the_report_needs_no_torch():
    code = "import sys, rnagpt_lib.report.readme, rnagpt_lib.report.figures, rnagpt_lib.report.page"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
