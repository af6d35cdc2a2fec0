"""Answers kept batch by batch: SIGKILL anywhere loses one batch, and nothing foreign is taken."""

import signal
import subprocess
import sys
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from rnagpt_lib.chat import decoding, generate
from rnagpt_lib.core import paths
from rnagpt_lib.core.params import Ablations
from rnagpt_lib.evaluate import ablation, questions
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.runs.run import Run
from tests.support.finished import made, trained
from tests.support.tiny_model import DIM, QUESTIONS, config_of, write_llm

SEQUENCES = ["ACGUACGUACGU", "GGGGGGGGGGCC", None, "ACGUACGUACGUACGAACGU", "GGGGGGGGGGCC"]


class Letters:
    """An encoder of a few numbers per letter; counts its passes."""

    def __init__(self):
        self.passes = 0

    def encode(self, sequences):
        self.passes += 1
        code = torch.eye(4, DIM)
        return [code[["ACGU".index(letter) for letter in s]] for s in sequences]


@pytest.fixture
def chat(tmp_path) -> generate.Chat:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = RnaGpt.build(config_of(write_llm(tmp_path / "llm"))).eval()
    return generate.Chat("IT", model, Letters(), max_new_tokens=5, hash="h")


@pytest.fixture
def run(tmp_path):
    return SimpleNamespace(folder=tmp_path, params=Ablations(batch_size=2))


@pytest.fixture
def together(monkeypatch) -> list[list[int]]:
    """The batches that were answered since the list was last cleared."""
    asked, in_batches = [], decoding._in_batches

    def noted(order, size, answer, keep):
        def note(batch):
            answered = answer(batch)
            asked.append(batch)  # not one that was stopped
            return answered

        return in_batches(order, size, note, keep)

    monkeypatch.setattr(decoding, "_in_batches", noted)
    return asked


def requests() -> tuple[list, list[str]]:
    pairs = [(s, q or "Why?") for s in SEQUENCES for q in QUESTIONS]
    return [s for s, _ in pairs], [q for _, q in pairs]


def test_what_is_kept_is_what_the_model_says(chat, run, together, capsys):
    sequences, asked = requests()
    expected = chat.answer_all(sequences, asked, 2)
    batches = together.copy()
    together.clear()
    assert ablation.Asking(chat, run)("IT", sequences, asked) == expected
    assert together == batches and not capsys.readouterr().out
    passes = chat.encoder.passes
    assert ablation.Asking(chat, run)("IT", sequences, asked) == expected
    assert together == batches and chat.encoder.passes == passes  # nothing was asked again
    assert "IT: 12 answers kept" in capsys.readouterr().out  # of 12 that differ


@pytest.mark.parametrize("stop", range(7))
def test_one_that_was_stopped_forms_the_same_batches(chat, run, together, monkeypatch, stop):
    sequences, asked = requests()
    expected = chat.answer_all(sequences, asked, 2)
    batches = together.copy()
    together.clear()
    in_batches, calls = decoding._in_batches, count()

    def stops(order, size, answer, keep):
        def once(batch):
            if next(calls) == stop:
                raise KeyboardInterrupt
            return answer(batch)

        return in_batches(order, size, once, keep)

    monkeypatch.setattr(decoding, "_in_batches", stops)
    if stop < len(batches):
        with pytest.raises(KeyboardInterrupt):
            ablation.Asking(chat, run)("IT", sequences, asked)
    assert ablation.Asking(chat, run)("IT", sequences, asked) == expected
    assert together == batches  # each once, in the order of an evaluation in a single go


@pytest.mark.parametrize(
    "change",
    [
        lambda chat, run, s, q: (replace(chat, hash="other"), run, s, q),
        lambda chat, run, s, q: (replace(chat, name="MA"), run, s, q),
        lambda chat, run, s, q: (replace(chat, max_new_tokens=4), run, s, q),
        lambda chat, run, s, q: (
            chat,
            SimpleNamespace(**vars(run) | {"params": Ablations()}),
            s,
            q,
        ),
        lambda chat, run, s, q: (chat, run, s[:-1], q[:-1]),
        lambda chat, run, s, q: (chat, run, s, [*q[:-1], "What?"]),
        lambda chat, run, s, q: (chat, run, [*s[:-1], "GGGGGGGGGGCA"], q),
        lambda chat, run, s, q: (chat, run, s[::-1], q[::-1]),
    ],
)
def test_answers_of_others_are_never_taken(chat, run, together, capsys, change):
    ablation.Asking(chat, run)("IT", *requests())
    together.clear()
    chat, run, sequences, asked = change(chat, run, *requests())
    found = ablation.Asking(chat, run)("IT", sequences, asked)
    assert sum(map(len, together)) == len(set(zip(sequences, asked, strict=True)))
    assert not capsys.readouterr().out
    assert found == chat.answer_all(sequences, asked, run.params.batch_size)


OPENED = {"run": "w", "max_pairs": 12, "max_new_tokens": 4, "batch_size": 3}


def evaluated(run: Run) -> pd.DataFrame:
    """The answers of all models to a few questions of the open stage."""
    rnas, pairs = (run.read("03_decompose_qa", name) for name in ("rnas", "pairs"))
    asked = questions.sample(questions.questions(rnas, pairs), run.params.max_pairs)
    return ablation.answer_all(run, asked, rnas, pairs)


KILLED = """
import os, signal, sys
from itertools import count
from rnagpt_lib.chat import decoding
from rnagpt_lib.runs.run import Run
from tests.evaluate.test_resumed_answers import OPENED, evaluated
answer, calls = decoding.DecodingBatch.complete, count()
def dies(*given):
    if next(calls) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return answer(*given)
decoding.DecodingBatch.complete = dies
evaluated(Run.open("06_ablations", **OPENED))
"""


@pytest.mark.slow
def test_a_killed_evaluation_asks_for_one_batch_again(tmp_path, together, capsys):
    """SIGKILL in the middle of MA, and again in that of a control: the answers of the stage are
    those of an evaluation that nobody killed, and only the two batches were asked for twice."""
    made("w")
    trained("w", tmp_path / "models")
    run = Run.open("06_ablations", **OPENED)
    whole = evaluated(run)
    run.finish()
    run.folder.rename(tmp_path / "whole")
    batches = together.copy()
    assert len(batches) == 18 and (4 % 3, 10 % 3) == (1, 1), "3 each: both kills come in the middle"
    for more in (4, 6):
        command = [sys.executable, "-c", KILLED, str(more)]
        assert subprocess.run(command, cwd=paths.root()).returncode == -signal.SIGKILL
    together.clear()
    run = Run.open("06_ablations", **OPENED)
    assert run.resuming
    pd.testing.assert_frame_equal(evaluated(run), whole, check_exact=True)
    assert together == batches[4 + 6 :]
    assert "vanilla: " in capsys.readouterr().out
