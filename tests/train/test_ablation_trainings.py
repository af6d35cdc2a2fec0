"""IT trained otherwise: what each variant reads, where it starts, what stands after a kill."""

import os
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from rnagpt_lib.chat.decoding import answer_all
from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.evaluate.ablation import load_training
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.runs.stages import stage_folder
from rnagpt_lib.train import ablation_trainings
from rnagpt_lib.train.ablation_trainings import ABLATED, Training
from rnagpt_lib.train.headless import train_variant
from tests.support import finished

RUN = "tiny"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of a few RNAs with 02 to 05 finished."""
    tmp_path = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNAGPT_RUNS", str(tmp_path / "runs"))
        finished.made(RUN, first={"world_size": 20})
        course = {"warmup_steps": 2, "rnas_per_step": 4, "epochs": 1, "learning_rate": 1e-2}
        finished.trained(RUN, tmp_path / "models", aligned=course, **course, pairs_per_visit=1)
    return tmp_path / "runs"


@pytest.fixture
def run(own_runs, made):
    shutil.copytree(made, own_runs)
    return RUN


def trained(name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    training = Training(RUN, name, seed)
    train_variant(training)
    return weights(training)


def weights(training: Training) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.find(training.folder, "last") / checkpoint.WEIGHTS)


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["it.text", "it.blind"])
def test_the_answer_is_that_of_what_was_trained(run, name):
    """A blind model gives every RNA one answer, one on letters that of its letters' prompt."""
    trained(name)
    chat = load_training(Training(run, name, 0), max_new_tokens=6)
    rnas = tables.read(stage_folder(run, "03_decompose_qa") / "rnas.parquet", "rnas")
    question = "What type of RNA is the RNA?"
    found = chat.answer_all(list(rnas.sequence), [question] * len(rnas))
    read = [None if name == "it.blind" else s for s in rnas.sequence]
    assert found == answer_all(chat.model, read, [question] * len(rnas), max_new_tokens=6)
    assert (len(set(found)) == 1) == (name == "it.blind")


def test_only_what_is_taken_away_differs(run):
    """IT with the run's seed starts from the run's stage 1, without it from the seed's draw."""
    start = checkpoint.find(stage_folder(run, "04_train_stage1")) / checkpoint.PROJECTION
    projection = load_file(start)
    it, no_ma = Training(run, "IT", 0), Training(run, "it.no_ma", 0)
    for training in (it, no_ma):
        train_variant(training)
    ends = [load_file(checkpoint.find(t.folder, "last") / checkpoint.PROJECTION)
            for t in (it, no_ma)]  # fmt: skip
    assert torch.equal(ends[0]["whitener"], projection["whitener"])
    assert not torch.equal(ends[1]["whitener"], projection["whitener"])
    assert not torch.equal(ends[0]["weight"], ends[1]["weight"])
    logs = [pd.read_json(t.folder / "steps.jsonl", lines=True) for t in (it, no_ma)]
    for column in ("step", "epoch", "lr", "pairs", "tokens"):
        assert logs[0][column].tolist() == logs[1][column].tolist()
    assert logs[0].loss.tolist() != logs[1].loss.tolist()


def test_a_random_encoder_is_the_seeds_and_comes_along(run):
    training = Training(run, "it.random_encoder", 1)
    train_variant(training)
    fresh = Encoder.fresh(finished.SMALL, seed=1)
    chat = load_training(training, max_new_tokens=4)
    for name, weight in fresh.model.named_parameters():
        assert torch.equal(weight, dict(chat.encoder.model.named_parameters())[name])
    assert (training.folder / "stage1" / "checkpoints").is_dir()
    assert not (training.folder / ".embeddings").exists()


@pytest.mark.parametrize(
    "name", [pytest.param("it.random_encoder", marks=pytest.mark.slow), "it.text"]
)
def test_stopped_it_goes_on_to_the_same_weights(run, name, monkeypatch):
    whole = trained(name, 1)
    folder = Training(run, name, 1).folder
    os.rename(folder, folder.with_name("kept"))
    save = checkpoint.save

    def dies(model, where, step, *given, **named):
        save(model, where, step, *given, **named)
        if where == folder:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        train_variant(Training(run, name, 1))
    assert not Training(run, name, 1).is_finished()
    monkeypatch.setattr(checkpoint, "save", save)
    assert same(trained(name, 1), whole)
    assert Training(run, name, 1).is_finished()


@pytest.mark.slow
def test_all_are_trained_each_in_a_process_and_found_in_order(run, capsys):
    """One that fails is told, and the others are made; one without its weights is made again."""
    broken = Training(run, "IT", 1).folder / "steps.jsonl"
    broken.mkdir(parents=True)  # nothing can be written there
    with pytest.raises(InputError, match="1 of 3 trainings failed; IT, seed 1: .*steps.jsonl"):
        ablation_trainings.train_all(run, ["it.blind", "IT"], range(2), workers=2)
    said = capsys.readouterr().out
    assert "0 of 3 trainings stand already" in said and "it.blind, seed 1: trained" in said
    whole = weights(Training(run, "it.blind", 0))
    assert same(whole, trained("it.blind", 0))
    shutil.rmtree(Training(run, "it.blind", 0).folder / "checkpoints")  # as in a clone
    (Training(run, "it.blind", 0).folder / "steps.jsonl").unlink()
    broken.rmdir()
    asked = ablation_trainings.train_all(run, ["it.blind", "IT"], range(2), workers=2)
    assert "1 of 3 trainings stand already" in capsys.readouterr().out
    assert [(t.name, t.seed) for t in asked] == [("it.blind", 0), ("it.blind", 1), ("IT", 1)]
    assert [(t.name, t.seed) for t in ablation_trainings.list_finished(run)] == [
        ("IT", 1), ("it.blind", 0), ("it.blind", 1)
    ]  # fmt: skip
    assert same(weights(asked[0]), whole)
    when = {t.folder: (t.folder / "manifest.json").read_bytes() for t in asked}
    ablation_trainings.train_all(run, ["it.blind", "IT"], range(2), workers=2)
    assert all((folder / "manifest.json").read_bytes() == left for folder, left in when.items())


def test_what_was_trained_on_other_data_is_none_of_the_runs(run, capsys):
    trained("it.blind")
    folder = Training(run, "it.blind", 0).folder
    for name in ("it.blind-seed0-old", "it.other-seed0"):  # no trainings
        shutil.copytree(folder, folder.with_name(name))
    assert [t.folder for t in ablation_trainings.list_finished(run)] == [folder]
    data = stage_folder(run, "03_decompose_qa") / "manifest.json"
    write_json(data, read_json(data) | {"hash": "0" * 64})
    assert ablation_trainings.list_finished(run) == []
    trained("it.blind")
    assert "earlier files moved to" in capsys.readouterr().out
    assert len(ablation_trainings.list_finished(run)) == 1
    assert len(list((folder.parent / ".previous").iterdir())) == 1


@pytest.mark.slow
def test_interrupted_it_leaves_no_training_behind_and_begins_no_other(run, own_runs):
    """SIGINT to the command alone, once the first of two trainings has begun."""
    waits = "import sys; [*sys.stdin]"  # what the child does instead of training
    program = (
        "from rnagpt_lib.train import ablation_trainings as trainings\n"
        "real, sleep, begun = trainings.Popen, trainings.time.sleep, []\n"
        "def child(command, **named):\n"
        f"    begun.append(real([command[0], '-c', {waits!r}], stdin=-1, **named))\n"
        "    return begun[-1]\n"
        "def tell(seconds):\n"
        "    print(*[made.pid for made in begun], flush=True)\n"
        "    sleep(60)\n"
        "trainings.Popen, trainings.time.sleep = child, tell\n"
        "trainings.train_all('tiny', ['it.blind', 'it.text'], [0], 1)\n"
    )
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **options) as command:
        assert command.stdout.readline() == "0 of 2 trainings stand already\n"
        child = int(command.stdout.readline())
        command.send_signal(signal.SIGINT)
        assert command.wait(60) != 0
        assert command.stdout.read() == ""  # no second child
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert not Training(run, "it.text", 0).folder.exists()


def test_bad_input_is_named(run):
    with pytest.raises(InputError, match="variant 'it.deaf' is unknown; variants are IT, it.no_ma"):
        ablation_trainings.train_all(run, ["it.deaf"], [0], 1)
    with pytest.raises(InputError, match="run nowhere has no 04_train_stage1 .* not been run yet"):
        ablation_trainings.train_all("nowhere", ABLATED, [0], 1)


@pytest.mark.slow
def test_two_do_not_train_the_same(run):
    program = (
        "import sys; from rnagpt_lib.runs.folder import acquire_lock, lock_of\n"
        "from rnagpt_lib.train.ablation_trainings import Training\n"
        "t = Training('tiny', 'it.blind', 0)\n"
        "acquire_lock(lock_of(t.folder), 'x')\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="it.blind of run tiny, seed 0 is in use by process"):
            train_variant(Training(run, "it.blind", 0))
        one.send_signal(signal.SIGKILL)
