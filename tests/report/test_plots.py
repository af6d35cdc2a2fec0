"""Figures: the same bytes for the same files, a sidecar with hashes, and no model loaded."""

import json
import subprocess
import sys

import pytest

from rnagpt_lib.core import paths
from rnagpt_lib.core.files import sha256
from rnagpt_lib.evaluate import results
from rnagpt_lib.report import figures, findings
from rnagpt_lib.runs.stages import stage_folder
from tests.support import fake_results


@pytest.fixture
def found(own_runs) -> results.Results:
    fake_results.write("fake")
    return results.load("fake")


def test_all_figures_twice_are_the_same_bytes(found, capsys):
    def read():
        return {p.name: p.read_bytes() for p in (found.folder / "figures").iterdir()}

    figures.draw("fake")
    first = read()
    figures.draw("fake")
    assert read() == first
    assert {name.split(".")[0] for name in first} == set(figures.FIGURES)
    assert len(first) == 3 * len(figures.FIGURES) and "rouge.png" in capsys.readouterr().out


def test_sidecars_name_run_notebook_and_inputs(found):
    path = figures.save(figures.learning(found), "learning", found)
    about = json.loads(path.with_suffix(".json").read_text())
    steps = paths.runs() / "fake" / "04_train_stage1" / "steps.jsonl"
    assert about["inputs"]["fake/04_train_stage1/steps.jsonl"] == sha256(steps)
    assert about["run"] == "fake" and about["notebook"] == "06_ablations"


def test_reference_figures_are_redrawn_in_their_place(own_runs, tmp_path, monkeypatch):
    monkeypatch.setenv("RNAGPT_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setattr(findings, "render_readme", lambda run: paths.root() / "README.md")
    monkeypatch.setattr(figures, "FIGURES", {"rouge": figures.rouge})
    fake_results.write("reference")
    drawn = figures.draw("reference")
    assert all(path.parent == tmp_path / "figures" for path in drawn)


def test_bars_show_the_values(found):
    figure = figures.rouge(found)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    metrics = ("rouge1", "rouge2", "rougeL")
    expected = [found.value(m, metric) for m in ("vanilla", "MA", "IT") for metric in metrics]
    assert heights == expected


def test_kinds_show_facts_and_rouge_of_models_and_floors(found):
    figure = figures.FIGURES["kinds"](found)
    facts, rouge = figure.axes
    assert [t.get_text() for t in facts.get_xticklabels()] == list(fake_results.KINDS)
    shown = [line.get_ydata() for line in rouge.lines if line.get_label() in ("IT", "_nolegend_")]
    expected = [found.value("IT", "rougeL", kind=kind) for kind in fake_results.KINDS]
    assert any(list(heights) == expected for heights in shown)


def test_confusion_is_drawn_where_the_type_was_asked(found):
    figure = figures.FIGURES["confusion"](found)
    rows = figure.axes[0].images[0].get_array()
    assert rows.shape == (2, 4) and rows.sum(axis=1).tolist() == [1, 1]
    (stage_folder("fake", "03_decompose_qa") / "pairs.parquet").unlink()
    assert "confusion" not in figures.drawable(found)
    other = found.answers[found.answers.kind != "rna_type"]
    without = results.Results("fake", found.folder, other, found.scores, found.differences, {})
    assert "confusion" not in figures.drawable(without)


def test_a_run_of_an_older_version_is_drawn_as_far_as_it_goes(found):
    (found.folder / figures.LADDER).unlink()
    assert set(figures.FIGURES) - set(figures.drawable(found)) == {"ladder"}


def test_learning_curves_without_validation(found):
    path = paths.runs() / "fake" / "05_train_stage2" / "steps.jsonl"
    path.write_text('{"step": 0, "loss": 1.0, "lr": 0.1}\n{"step": 1, "loss": 0.5, "lr": 0.1}\n')
    assert len(figures.learning(found).axes) == 4


def test_figures_need_no_torch():
    code = "import sys, rnagpt_lib.report.figures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_of_that_name_in_another_folder_is_not_the_projects(own_runs, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {"rouge": figures.rouge})
    fake_results.write("reference")
    assert results.figure_folder("reference") == paths.runs() / "reference/06_ablations/figures"
    before = (paths.root() / "README.md").read_bytes()
    drawn = figures.draw("reference")
    assert all(path.is_relative_to(own_runs) for path in drawn)
    assert (paths.root() / "README.md").read_bytes() == before
