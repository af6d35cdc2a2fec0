"""The committed reference run: whole, made by the committed models, and able to answer."""

import pytest

from rnagpt_lib.chat.generate import load_model
from rnagpt_lib.chat.retrieval import Retrieval
from rnagpt_lib.miniature import world
from rnagpt_lib.runs import stages


@pytest.fixture(autouse=True)
def committed(monkeypatch):
    """The project's own ``runs/`` in place of the tests' empty one."""
    monkeypatch.delenv("RNAGPT_RUNS")


@pytest.mark.parametrize("stage", stages.STAGES)
def test_every_stage_reads_as_finished(stage):
    assert stages.is_fresh("reference", stage) is None


def test_its_model_answers_without_any_training():
    trnas = (r for r in world.entries(50, seed=1) if r.family and r.family.rna_type == "tRNA")
    answer = load_model("reference", "IT", 32).ask(
        next(trnas).sequence, "What type of RNA is the RNA?"
    )
    assert "tRNA" in answer


def test_its_training_rnas_are_found():
    retrieval = Retrieval.of("reference")
    sequence = retrieval.nearest.sequences[0]
    assert retrieval.near(sequence, k=1)[0]["identity"] == 1
