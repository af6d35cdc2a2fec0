"""A training's answers to notebook 06: of its model, or kept beside its manifest."""

import shutil

import pandas as pd
import pytest

from rnagpt_lib.chat.decoding import Answer
from rnagpt_lib.evaluate import ablation, questions
from rnagpt_lib.miniature import world
from rnagpt_lib.runs.run import Run
from rnagpt_lib.train import ablation_trainings
from rnagpt_lib.train.ablation_trainings import Training
from rnagpt_lib.train.headless import train_variant
from tests.support import finished

RUN = "tiny"


@pytest.fixture
def asked(own_runs, tmp_path):
    """Questions of a finished run with one finished training, ``it.blind`` of seed 1."""
    finished.made(RUN)
    finished.trained(RUN, tmp_path / "models", epochs=1, pairs_per_visit=1)
    train_variant(Training(RUN, "it.blind", 1))
    rnas, pairs = (opened(4).read("03_decompose_qa", name) for name in ("rnas", "pairs"))
    return questions.questions(rnas, pairs).head(12).reset_index(drop=True)


def opened(most: int) -> Run:
    return Run.open("06_ablations", run=RUN, max_new_tokens=most, on_finished="archive")


def test_kept_answers_are_taken_where_the_weights_are_not(asked, capsys):
    [training] = ablation_trainings.list_finished(RUN)
    path, run = training.folder / ablation.ANSWERS, opened(4)
    probes = ablation.probe_questions(world.minimal_pairs(2, seed=0))
    to_probes = ablation.of_training(training, run, probes, ablation.MINIMAL)
    assert len(to_probes) == 6 and not path.exists()  # a file of their own
    given = ablation.of_training(training, run, asked)
    assert [a.n_tokens <= 4 for a in given] == [True] * 12
    shutil.rmtree(training.folder / "checkpoints")
    assert ablation_trainings.list_finished(RUN) == [training]

    run = opened(4)
    capsys.readouterr()
    assert ablation.of_training(training, run, asked) == given
    assert "its weights are not here; its answers are those of answers" in capsys.readouterr().out
    assert any(name.endswith("it.blind-seed1/answers.parquet") for name in run.manifest["inputs"])
    fewer = asked.iloc[[7, 2]]
    assert ablation.of_training(training, run, fewer) == [given[7], given[2]]
    assert ablation.of_training(training, run, probes, ablation.MINIMAL) == to_probes
    assert "those of minimal_pairs.parquet" in capsys.readouterr().out

    others = ablation.probe_questions(world.minimal_pairs(2, seed=1))
    assert ablation.of_training(training, run, others, ablation.MINIMAL) is None
    assert "of other questions" in capsys.readouterr().out
    for answer, fits in (
        (Answer("No.", 2, "eos"), [2, 3, 4, 5]),
        (Answer("No, it", 4, "length"), [4]),
    ):
        rows = [(p, answer.text, answer.n_tokens, answer.stop_reason) for p in asked.pair_id]
        pd.DataFrame(rows, columns=ablation.KEPT).to_parquet(path)
        assert [m for m in range(1, 6) if ablation.of_training(training, opened(m), asked)] == fits
    path.unlink()
    assert ablation.of_training(training, run, asked) is None
    assert "it.blind-seed1: its weights are not here, nor" in capsys.readouterr().out
