"""Two processes are one: gradients, losses, weights and the validation of the same training."""

import subprocess
import sys

import pytest
import torch
from tiny_model import write_llm

from rnagpt_lib import paths
from rnagpt_lib.errors import InputError
from rnagpt_lib.profiles import Stage2
from rnagpt_lib.train import check_share


def found(folder, llm, processes: int, recipe: str) -> dict:
    folder.mkdir()
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(several if processes > 1 else []), "-m", "tests.two_processes"]
    subprocess.run([*command, str(llm), str(folder), recipe], cwd=paths.root(), check=True)
    return torch.load(folder / "found.pt", weights_only=True)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    llm = write_llm(tmp_path / "llm")
    one, two = (found(tmp_path / str(n), llm, n, "packed") for n in (1, 2))
    assert len(one["gradients"]) == len(two["gradients"]) == 3
    for wanted, gradient in zip(one["gradients"], two["gradients"], strict=True):
        assert (gradient - wanted).norm() / wanted.norm() < 1e-6
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-9)
    for wanted, weight in zip(one["weights"], two["weights"], strict=True):
        torch.testing.assert_close(weight, wanted, rtol=1e-3, atol=1e-5)
    for name in ("step", "epoch", "lr", "pairs", "tokens"):
        assert two["log"][name] == one["log"][name]
    assert two["log"]["val_loss"][-1] == pytest.approx(one["log"]["val_loss"][-1], abs=1e-5)


@pytest.mark.slow
def test_the_papers_batch_is_one_pair_for_each_process(tmp_path):
    log = found(tmp_path / "2", write_llm(tmp_path / "llm"), 2, "paper")["log"]
    epoch = len(log["pairs"]) // 2
    assert log["pairs"] == 2 * ([2] * (epoch - 1) + log["pairs"][epoch - 1 : epoch])


def test_what_cannot_be_shared_evenly_is_refused():
    check_share(Stage2(rnas_per_step=4), 2)
    check_share(Stage2(recipe="paper"), 2)
    with pytest.raises(InputError, match="RNAS_PER_STEP is 3, which 2 .* a multiple of 2"):
        check_share(Stage2(rnas_per_step=3), 2)
