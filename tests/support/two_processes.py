"""Trainings in as many processes as they are started in; what came out goes into OUT/JOB/found.pt.

``torchrun --nproc_per_node 2 -m tests.support.two_processes LLM OUT JOB…``, or without torchrun; a job is
RECIPE-PARALLEL-LAYERS, and LAYERS of the encoder train besides.
"""

import os
import sys
from pathlib import Path

import torch

from rnagpt_lib.core.params import Stage2
from rnagpt_lib.model.checkpoint import gather
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.train.loop import Trainer, train
from rnagpt_lib.train.visit_order import epoch_steps

sys.path.insert(0, str(Path(__file__).parent))
from tests.support.tiny_model import config_of, double, make_examples, with_encoder  # noqa: E402

LENGTHS = [12, 15, 20, 17, 30, 11, 25, 14, 40]


def main(llm: Path, out: Path, recipe: str, parallel: str, layers: int) -> None:
    """Gradients of an epoch's steps in fp64, then a whole training in fp32."""
    params, config = params_of(recipe, parallel), config_of(llm, "lora")
    if layers:
        config = with_encoder(config, out / f"encoder-of-{os.environ.get('RANK', 0)}", layers)
    model = double(RnaGpt.build(config))
    trees = make_examples(model, LENGTHS)
    trainer = Trainer(model, params, out)
    trainer.optimiser.step = lambda: None
    gradients, losses = [], []
    trainer.optimiser.zero_grad = lambda: gradients.append(taken(model))
    for step in epoch_steps(trees, params, 0, 0, processes=trainer.machine.num_processes):
        losses.append(trainer.update(trees, step, 1.0)["loss"])
    fresh = RnaGpt.build(config)
    trees = make_examples(fresh, LENGTHS)
    log = train(fresh, trees[:7], trees[7:], params, out)
    weights = [gather(p.detach()) for p in fresh.parameters() if p.requires_grad]
    if trainer.machine.is_main_process:
        found = {"gradients": gradients, "losses": losses, "weights": weights}
        torch.save(found | {"log": log.to_dict("list")}, out / "found.pt")


def params_of(recipe: str, parallel: str = "ddp") -> Stage2:
    """Two epochs, four RNAs a step."""
    return Stage2(
        recipe=recipe,
        parallel=parallel,
        epochs=2,
        learning_rate=1e-2,
        final_rate=5e-3,
        warmup_steps=4,
        rnas_per_step=4,
        row_tokens=64,
    )


def taken(model: RnaGpt) -> torch.Tensor:
    """The gradient as one vector; the parameters have none afterwards."""
    trained = [p for p in model.parameters() if p.requires_grad]
    gradient = torch.cat([gather(p.grad).flatten() for p in trained])
    for parameter in trained:
        parameter.grad = None
    return gradient


if __name__ == "__main__":
    for job in sys.argv[3:]:
        recipe, parallel, layers = job.split("-")
        main(Path(sys.argv[1]), Path(sys.argv[2]) / job, recipe, parallel, int(layers))
