"""Two processes are one: gradients, losses, weights and the validation of the same training."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Stage2
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.train import processes
from rnagpt_lib.train.loop import Trainer, check_share, train
from tests.support import two_processes
from tests.support.tiny_model import config_of, make_examples, trained


def found(folder, llm, number: int, *jobs: str) -> dict[str, dict]:
    """What came out of each job, all of them done by the same processes one after the other."""
    for job in jobs:
        (folder / job).mkdir()
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(number)]
    command = [sys.executable, *(several if number > 1 else []), "-m"]
    command += ["tests.support.two_processes", llm, folder, *jobs]
    subprocess.run(command, cwd=paths.root(), check=True)
    return {job: torch.load(folder / job / "found.pt", weights_only=True) for job in jobs}


@pytest.fixture(scope="module")
def one(tmp_path_factory, llm):
    return found(tmp_path_factory.mktemp("one"), llm, 1, "packed-ddp-0", "packed-ddp-1")


@pytest.fixture(scope="module")
def two(tmp_path_factory, llm):
    """The folder of the jobs, and what came out of them."""
    folder = tmp_path_factory.mktemp("two")
    jobs = ("packed-ddp-0", "packed-fsdp-0", "packed-ddp-1", "paper-ddp-0")
    return folder, found(folder, llm, 2, *jobs)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_are_one_and_one_goes_on_for_two(llm, one, two, parallel):
    folder = two[0] / f"packed-{parallel}-0"
    one, two = one["packed-ddp-0"], two[1][folder.name]
    assert len(one["gradients"]) == len(two["gradients"]) == 3
    for wanted, gradient in zip(one["gradients"], two["gradients"], strict=True):
        assert (gradient - wanted).norm() / wanted.norm() < 1e-6
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-9)
    reads_it(folder, llm, two_processes.params_of("packed", parallel), two["log"])
    for name in ("step", "epoch", "lr", "pairs", "tokens"):
        assert two["log"][name] == one["log"][name]
    assert two["log"]["val_loss"][-1] == pytest.approx(one["log"]["val_loss"][-1], abs=1e-5)

    shutil.rmtree(checkpoint.find(folder, "last"))
    alone = RnaGpt.build(config_of(llm, "lora"))
    trees = make_examples(alone, two_processes.LENGTHS)
    log = train(alone, trees[:7], trees[7:], two_processes.params_of("packed"), folder)
    assert log["loss"].tolist() == pytest.approx(one["log"]["loss"], abs=1e-5)
    trained = [p.detach() for p in alone.parameters() if p.requires_grad]
    for wanted, there, here in zip(one["weights"], two["weights"], trained, strict=True):
        torch.testing.assert_close(there, wanted, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(here, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_two_processes_are_one_where_layers_of_the_encoder_train(one, two):
    one, two = one["packed-ddp-1"], two[1]["packed-ddp-1"]
    for wanted, gradient in zip(one["gradients"], two["gradients"], strict=True):
        assert (gradient - wanted).norm() / wanted.norm() < 1e-6
    assert two["log"]["val_loss"][-1] == pytest.approx(one["log"]["val_loss"][-1], abs=1e-5)
    for wanted, there in zip(one["weights"], two["weights"], strict=True):
        torch.testing.assert_close(there, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_papers_batch_is_one_pair_for_each_process(llm, two):
    log = two[1]["paper-ddp-0"]["log"]
    epoch = len(log["pairs"]) // 2
    assert log["pairs"] == 2 * ([2] * (epoch - 1) + log["pairs"][epoch - 1 : epoch])
    reads_it(two[0] / "paper-ddp-0", llm, two_processes.params_of("paper"), log)


def reads_it(folder, llm, params, log) -> None:
    """One process, such as the notebook's, finds the training finished, and reads it."""
    alone = RnaGpt.build(config_of(llm, "lora"))
    trees = make_examples(alone, two_processes.LENGTHS)
    wanted = checkpoint.load(folder, "last")
    read = train(alone, trees[:7], trees[7:], params, folder)
    assert read["loss"].tolist() == log["loss"] and len(read) == len(log["loss"])
    for name, weight in wanted.state_dict().items():
        torch.testing.assert_close(alone.state_dict()[name], weight, rtol=0, atol=0)
    changed = params.model_copy(update={"epochs": 9, "parallel": "ddp"})
    with pytest.raises(InputError, match="of a training with other data, parameters or seed"):
        train(alone, trees[:7], trees[7:], changed, folder)


def test_what_cannot_be_shared_evenly_is_refused():
    check_share(Stage2(rnas_per_step=4), 2)
    check_share(Stage2(recipe="paper"), 2)
    with pytest.raises(InputError, match="RNAS_PER_STEP is 3, which 2 .* a multiple of 2"):
        check_share(Stage2(rnas_per_step=3), 2)


def test_nobody_shares_with_nobody(tmp_path, llm):
    model = RnaGpt.build(config_of(llm))
    with pytest.raises(InputError, match="PARALLEL is fsdp, which needs several processes"):
        Trainer(model, Stage2(parallel="fsdp"), tmp_path)


# --- without being asked


@pytest.fixture
def threads():
    """Two threads, as on a computer with two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def fresh(llm):
    model = RnaGpt.build(config_of(llm, "lora"))
    return model, make_examples(model, two_processes.LENGTHS)


def ours(folder, llm):
    folder.mkdir(exist_ok=True)
    model, trees = fresh(llm)
    log = train(model, trees[:7], trees[7:], two_processes.params_of("packed"), folder)
    return log, [p.detach().clone() for p in trained(model)]


def test_a_training_takes_a_process_for_each_thread_and_comes_to_the_same(llm, tmp_path, threads):
    environment = dict(os.environ)
    model, _ = fresh(llm)
    model.projection.weight.sum().backward()  # as a notebook may before
    log, weights = ours(tmp_path / "two", llm)
    assert checkpoint.restore(model, checkpoint.newest(tmp_path / "two"))["processes"] == 2
    torch.set_num_threads(1)
    alone, single = ours(tmp_path / "one", llm)
    assert checkpoint.restore(model, checkpoint.newest(tmp_path / "one"))["processes"] == 1
    for column in ("loss", "grad_norm", "lr", "tokens", "pairs"):
        np.testing.assert_allclose(log[column], alone[column], rtol=1e-4)
    for one, other in zip(weights, single, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert dict(os.environ) == environment and not multiprocessing.active_children()
    again, _ = ours(tmp_path / "two", llm)  # done: read by one process as by two
    pd.testing.assert_frame_equal(again, log)


def test_who_trains_in_one_process(llm, threads, monkeypatch):
    model, _ = fresh(llm)
    count, packed = processes.count_processes, two_processes.params_of("packed")
    assert count(model, packed) == 2
    assert count(model, packed.model_copy(update={"rnas_per_step": 3})) == 1
    assert count(model, two_processes.params_of("paper")) == 1
    assert count(model, two_processes.params_of("packed", "fsdp")) == 1
    for name, value in (("MOST", 10), ("sys.platform", "darwin")):
        with monkeypatch.context() as changed:
            changed.setattr(f"rnagpt_lib.train.processes.{name}", value)
            assert count(model, packed) == 1
    monkeypatch.setenv("RANK", "0")  # by accelerate launch
    assert count(model, packed) == 1


def test_a_fault_of_all_is_told_once_and_leaves_nobody(threads):
    def fail():
        raise InputError("the loss is not finite")

    with pytest.raises(InputError, match="^the loss is not finite$"):
        processes.in_processes(3, fail, lambda: None)
    assert not multiprocessing.active_children()
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        processes.in_processes(2, lambda: 1 / 0, lambda: None)


def test_a_process_that_dies_is_a_sentence_and_the_training_goes_on(llm, tmp_path, threads):
    whole, weights = ours(tmp_path / "whole", llm)
    update, made = Trainer.update, []

    def dies(self, examples, step, rate):
        made.append(step)
        if os.environ.get("RANK") == "1" and len(made) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return update(self, examples, step, rate)

    with (
        mock.patch.object(Trainer, "update", dies),
        pytest.raises(InputError, match="exit code -9"),
    ):
        ours(tmp_path / "cut", llm)
    assert not multiprocessing.active_children()
    log, again = ours(tmp_path / "cut", llm)
    assert all(map(torch.equal, again, weights))
    assert log.loss.tolist() == whole.loss.tolist()


def test_the_others_end_with_the_first(llm, tmp_path):
    """SIGKILL, which nobody can handle."""
    code = (
        "import os, signal, sys\n"
        "from rnagpt_lib.train.processes import in_processes\n"
        "def work():\n"
        "    open(os.path.join(sys.argv[1], str(os.getpid())), 'w').close()\n"
        "    signal.pause()\n"
        "in_processes(2, work, lambda: None)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, tmp_path])
    while len(pids := [int(path.name) for path in tmp_path.iterdir()]) < 2:
        assert child.poll() is None
    child.kill()
    child.wait()
    for pid in pids:
        while (
            Path(f"/proc/{pid}/stat").exists()
            and " Z " not in Path(f"/proc/{pid}/stat").read_text()
        ):
            pass
