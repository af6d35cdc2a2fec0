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
    assert ablation.ask(run, chat, "IT", sequences, asked) == expected
    assert together == batches and not capsys.readouterr().out
    passes = chat.encoder.passes
    assert ablation.ask(run, chat, "IT", sequences, asked) == expected
    assert together == batches and chat.encoder.passes == passes  # nothing was asked again
    assert "IT: 12 answers kept" in capsys.readouterr().out  # of 12 that differ


def test_one_that_was_stopped_forms_the_same_batches(chat, run, together, monkeypatch, tmp_path):
    sequences, asked = requests()
    expected = chat.answer_all(sequences, asked, 2)
    batches, in_batches = together.copy(), decoding._in_batches

    def stopping(stop: int):
        calls = count()

        def stops(order, size, answer, keep):
            def once(batch):
                if next(calls) == stop:
                    raise KeyboardInterrupt
                return answer(batch)

            return in_batches(order, size, once, keep)

        return stops

    for stop in range(len(batches)):
        run.folder = tmp_path / str(stop)
        run.folder.mkdir()
        together.clear()
        monkeypatch.setattr(decoding, "_in_batches", stopping(stop))
        with pytest.raises(KeyboardInterrupt):
            ablation.ask(run, chat, "IT", sequences, asked)
        assert ablation.ask(run, chat, "IT", sequences, asked) == expected
        assert together == batches  # each once, in the order of an evaluation in a single go


def test_answers_of_others_are_never_taken(chat, run, together, capsys):
    sequences, asked = (side[-6:] for side in requests())
    ablation.ask(run, chat, "IT", sequences, asked)
    for other, size, s, q in (
        (replace(chat, hash="other"), 2, sequences, asked),
        (replace(chat, name="MA"), 2, sequences, asked),
        (replace(chat, max_new_tokens=4), 2, sequences, asked),
        (chat, 64, sequences, asked),
        (chat, 2, sequences[:-1], asked[:-1]),
        (chat, 2, sequences, [*asked[:-1], "What?"]),
        (chat, 2, [*sequences[:-1], "GGGGGGGGGGCA"], asked),
        (chat, 2, sequences[::-1], asked[::-1]),
    ):
        together.clear()
        run.params = Ablations(batch_size=size)
        found = ablation.ask(run, other, "IT", s, q)
        assert sum(map(len, together)) == len(set(zip(s, q, strict=True)))
        assert not capsys.readouterr().out
        assert found == other.answer_all(s, q, size)


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
