"""Two processes are one: gradients, losses, weights and the validation of the same training."""

import shutil
import subprocess
import sys

import pytest
import torch

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Stage2
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.train.loop import Trainer, check_share, train
from tests.support import two_processes
from tests.support.tiny_model import config_of, make_examples


def found(folder, llm, processes: int, *jobs: str) -> dict[str, dict]:
    """What came out of each job, all of them done by the same processes one after the other."""
    for job in jobs:
        (folder / job).mkdir()
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(several if processes > 1 else []), "-m"]
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
