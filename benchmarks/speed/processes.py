"""Row 13: a training step of two processes over gloo against the same step in one process.

A thread each, `Trainer.update` as trainings call it. Every repeat starts one process, then two,
and holds their gradients against each other.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks.speed import _peers
from benchmarks.speed import _steps as steps
from benchmarks.speed.training_steps import CONFIG, PAIRS
from rnagpt_lib.core import paths
from rnagpt_lib.core.params import Stage2
from rnagpt_lib.model import language_model
from rnagpt_lib.model.attention import BLOCKWISE
from rnagpt_lib.model.packing import Tree
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.train.loop import Trainer
from rnagpt_lib.train.visit_order import Step, Visit

TOKENIZER, RNAS, NUCLEOTIDES = "models/mini-llm", 4, 300
REPEATS, EQUAL = 5, 1e-6  # relative error of a gradient


def main() -> None:
    """Time both in turn, assert the same gradient, write the row."""
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(REPEATS):
            (one, wanted), (two, gradient) = (measured(n, Path(folder)) for n in (1, 2))
            error = (gradient - wanted).norm() / wanted.norm()
            assert error < EQUAL, f"the gradient of two processes differs by {error:.1e}"
            ratios.append(one / two)
            print(f"{one:.2f} s in one process, {two:.2f} s in two", flush=True)
    _peers.keep(
        "processes",
        ratios,
        ours="2 processes over gloo, one thread each",
        peer="1 process, one thread",
        workload=f"stage 2, {RNAS} RNAs of {NUCLEOTIDES} nt a step, each with {PAIRS}; Llama-shaped, "
        "512 wide, 4 layers, vocabulary 32,000, fp32",
        target="≥ 1.5",
        limit="2 (cores)",
    )


def measured(processes: int, folder: Path) -> tuple[float, Tensor]:
    """Seconds of a step in so many processes, and its gradient."""
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [
        sys.executable,
        *(several if processes > 1 else []),
        "-m",
        "benchmarks.speed.processes",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, str(folder)], cwd=paths.root(), env=environment, check=True)
    found = torch.load(folder / "found.pt", weights_only=True)
    return found["seconds"], found["gradient"]


class Synthetic:
    """In the place of `Examples`: RNAs of random vectors with random pairs."""

    def tree(self, number: int, pairs: Sequence[int]) -> Tree:
        torch.manual_seed(number)
        return steps.rna(NUCLEOTIDES, len(pairs))


def _model() -> RnaGpt:
    torch.manual_seed(0)
    config = Config("none", "", steps.WIDTH, "none", "", train="lora")
    llm = AutoModelForCausalLM.from_config(CONFIG, attn_implementation=BLOCKWISE)
    model = RnaGpt(llm, language_model.load_tokenizer(TOKENIZER), config).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first, and with it the gradient of lora_A
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def _child(out: Path) -> None:
    """One of the processes: a small step to get warm, then the one that counts."""
    torch.set_num_threads(1)
    model = _model()
    trainer = Trainer(model, Stage2(rnas_per_step=RNAS), out)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients, empty = [], trainer.optimiser.zero_grad

    def noting() -> None:
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in trained]))
        empty()

    trainer.optimiser.zero_grad = noting
    for pairs in (1, steps.PAIRS):
        step = Step([Visit(number, range(pairs)) for number in range(RNAS)], 0)
        trainer.machine.wait_for_everyone()
        start = time.perf_counter()
        trainer.update(Synthetic(), step, rate=0.0)
        seconds = time.perf_counter() - start
    if trainer.machine.is_main_process:
        torch.save({"seconds": seconds, "gradient": gradients[-1]}, out / "found.pt")


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
