"""One training loop for both stages (paper, section 4.1), over Hugging Face Accelerate.

What a step visits (``visits``) and its learning rate follow from the seed and the step's number
alone, so a resumed training goes on as if never interrupted. Under ``accelerate launch`` or
``torchrun`` every process takes its share of a step's RNAs; the gradient is that of the mean over
all pairs of the step, however many processes there are.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest
from rnagpt_lib.core.params import Stage1, Stage2, Train
from rnagpt_lib.model import (
    checkpoint as checkpoints,
)
from rnagpt_lib.model import (
    fsdp,
    language_model,
)
from rnagpt_lib.model.packing import Tree, collate, passes
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.train.step_log import StepLog, cut, read_log, speed, tracking
from rnagpt_lib.train.training_examples import Examples
from rnagpt_lib.train.visit_order import Step, Visit, epoch_steps, length_of_epoch, steps_per_epoch

TOGETHER = 64  # RNAs of the validation side in memory at a time
EXTRA = 64  # tokens at most that a template adds to an RNA and its texts
FREE = (
    "attention",
    "keep",
    "parallel",
    "track",
)  # parameters that do not decide the course of a training


def lr_at(done: int, total: int, params: Train) -> float:
    """Learning rate when ``done`` of ``total`` units of the schedule lie behind: linear warm-up
    from ``initial_rate`` to ``learning_rate`` over ``warmup_steps`` units, then a cosine that
    ends at ``final_rate``. The unit is a step in the ``paper`` recipe, a pair in ``packed``."""
    warmup, peak, final = params.warmup_steps, params.learning_rate, params.final_rate
    if done < warmup:
        return params.initial_rate + (peak - params.initial_rate) * done / warmup
    share = (done - warmup) / max(1, total - 1 - warmup)
    return final + (peak - final) * (1 + math.cos(math.pi * share)) / 2


def optimiser_of(model: RnaGpt, params: Train) -> torch.optim.AdamW:
    """AdamW over what trains; biases and norms do not decay."""
    trains = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trains if p.dim() > 1], "weight_decay": params.weight_decay},
        {"params": [p for p in trains if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=params.initial_rate, betas=params.betas)


class Trainer:
    """A model, its optimiser and its scaler, on this process's device; makes steps."""

    def __init__(self, model: RnaGpt, params: Train, folder: Path) -> None:
        self.model, self.params = model, params
        # mixed precision is the model's own matter: RnaGpt.amp
        options = {"cpu": not torch.cuda.is_available()} | tracking(params, folder)
        self.machine = Accelerator(mixed_precision="no", **options)
        shards = params.parallel == "fsdp"
        self.wrapped = fsdp.sharded(model) if shards else self.machine.prepare(model)
        self.optimiser = optimiser_of(model, params)
        half = params.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.machine.device.type, enabled=half)

    def update(self, trees: Examples, step: Step, rate: float) -> dict:
        """One step at this learning rate: its loss, gradient's norm, tokens and pairs.

        Nothing changes where one of them is not finite; whoever calls is to look.
        """
        pairs = sum(len(visit.pairs) for visit in step.visits)
        own = [trees.tree(*visit) for visit in self._share(step.visits)]
        some = Visit(step.visits[0].rna, step.visits[0].pairs[:1])
        loss, tokens = self._loss(own, pairs, lambda: trees.tree(*some), backward=True)
        self.scaler.unscale_(self.optimiser)
        norm = self._norm()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if math.isfinite(loss) and (math.isfinite(norm) or self.scaler.is_enabled()):
            self.scaler.step(self.optimiser)  # leaves out what overflowed
            self.scaler.update()
        self.optimiser.zero_grad()
        return {"loss": loss, "grad_norm": norm, "tokens": int(tokens), "pairs": pairs}

    @torch.no_grad()
    def validate(self, trees: Examples) -> float | None:
        """Mean loss over the pairs of ``trees``, rounded to 6 digits; None when there are none."""
        if not len(trees):
            return None
        pairs, total = int(trees.pairs.sum()), 0.0
        for start in range(0, len(trees), TOGETHER):
            own = [trees[i] for i in self._share(range(len(trees))[start : start + TOGETHER])]
            total += self._loss(own, pairs, lambda: trees.tree(0, [0]), backward=False)[0]
        return round(total, 6)

    def state(self) -> dict:
        """What a resume needs besides the weights; every process is to ask for it."""
        optimiser = fsdp.state_of(self.wrapped, self.optimiser)
        return {"optimiser": optimiser, "scaler": self.scaler.state_dict()}

    def load_state(self, state: dict) -> None:
        """Take up what ``state`` gave, in however many processes."""
        fsdp.load_state(self.wrapped, self.optimiser, state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])

    def _share(self, items: Sequence) -> Sequence:
        """This process's part of what all of them do together."""
        return items[self.machine.process_index :: self.machine.num_processes]

    def _loss(
        self, trees: Sequence[Tree], pairs: int, spare: Callable[[], Tree], *, backward: bool
    ) -> tuple[float, float]:
        """Loss and tokens of the trees of all processes; a pair of them weighs 1/``pairs``.

        With ``backward`` the gradient is added to the parameters. Memory holds one pass, of about
        ``row_tokens``. All processes make as many passes, over ``spare`` without weight where
        one has less to do than another: their passes wait for each other.
        """
        work = [(rows, pairs) for rows in passes(trees, self.params.row_tokens)]
        most = self.machine.gather(torch.tensor([len(work)], device=self.machine.device)).max()
        work += [([[spare()]], math.inf) for _ in range(int(most) - len(work))]
        tokens = float(sum(map(len, trees)))
        totals = torch.tensor([0.0, tokens], dtype=torch.float64, device=self.machine.device)
        for number, (rows, weighed) in enumerate(work, start=1):
            last = number == len(work)
            with nullcontext() if last else self.machine.no_sync(self.wrapped):
                with torch.set_grad_enabled(backward):
                    loss = self.wrapped(collate(rows, weighed).to(self.machine.device))
                if backward:  # gradients are averaged over the processes, and are to be summed
                    self.scaler.scale(loss * self.machine.num_processes).backward()
            totals[0] += loss.detach()
        loss, tokens = self.machine.reduce(totals, "sum").tolist()
        return loss, tokens

    def _norm(self) -> float:
        trained = [p.grad for group in self.optimiser.param_groups for p in group["params"]]
        norm = torch.nn.utils.get_total_norm([g for g in trained if g is not None])
        return fsdp.whole(norm).item()


def train(
    model: RnaGpt,
    trees: Examples,
    validation: Examples,
    params: Stage1 | Stage2,
    folder: Path,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Train ``model`` in place and return its log, one row a step.

    Writes ``steps.jsonl`` and ``checkpoints/`` under ``folder``, with a validation and a
    checkpoint every ``validate_every`` steps (0: each epoch) and at the end. A training that
    ``folder`` holds unfinished goes on from its newest whole checkpoint.
    Raises InputError when there is nothing to train on, a text is too long for the LLM, the
    loss or the gradient is not finite, the checkpoints in ``folder`` are of another training, or
    the disk takes no more; the last checkpoint stays as it is.
    """
    _check(model, trees, folder)
    checkpoint = checkpoints.newest(folder)
    state = checkpoints.restore(model, checkpoint) if checkpoint else {}
    if state.get("finished") and _plan(trees, params, seed, state["processes"]) == state["plan"]:
        cut(folder, _done(checkpoint))
        if not int(os.environ.get("RANK", 0)):
            checkpoints.tidy(folder, params.keep)  # of a training that was killed in its last save
        return read_log(folder)  # by however many processes: there is nothing to share
    trainer = Trainer(model, params, folder)
    processes = trainer.machine.num_processes
    check_share(params, processes)
    per_epoch = steps_per_epoch(trees, params, processes)
    total, span = per_epoch * params.epochs, length_of_epoch(trees, params, processes)
    every = params.validate_every or per_epoch
    plan = _plan(trees, params, seed, processes)
    if checkpoint and state["plan"] != plan:
        other = _plan(trees, params, seed, state.get("processes", processes)) == state["plan"]
        raise InputError(_unlike(checkpoint, state if other else {}, processes))
    done = _resume(trainer, checkpoint, state) if checkpoint else 0
    with StepLog(trainer.machine, folder, params, total, done) as log:
        for number, epoch, step in _remaining(trees, params, seed, done, processes):
            if log.is_over(params.patience):
                break
            began, rate = time.perf_counter(), lr_at(step.before, span * params.epochs, params)
            row = {"step": number + 1, "epoch": epoch + 1, "lr": rate}
            row |= trainer.update(trees, step, rate)
            _look(row, trainer, trees, step, folder)
            row |= speed(row, time.perf_counter() - began, model.device)
            due = (number + 1) % every == 0 or number + 1 == total
            if due:
                row |= _validated(trainer.validate(validation))
            log.add(row)
            if due:
                over = number + 1 == total or log.is_over(params.patience)
                facts = {"plan": plan, "processes": processes, "finished": over}
                state = trainer.state() | facts
                options = {"val_loss": row["val_loss"], "keep": params.keep}
                options["writes"] = trainer.machine.is_main_process
                checkpoints.save(model, folder, number + 1, state, **options)
    if trainer.machine.is_main_process:
        checkpoints.tidy(folder, params.keep)  # of a training that was killed in its last save
    trainer.machine.wait_for_everyone()
    return read_log(folder)


def _check(model: RnaGpt, trees: Examples, folder: Path) -> None:
    if not len(trees):
        raise InputError(f"{paths.shown(folder)}: no RNA to train on; look at the split in 03")
    most = language_model.reach(model.causal.config)
    sizes = trees.longest() + [len(s) for s in trees.sequences[trees.chosen]]
    for number in (sizes + EXTRA > most).nonzero()[0]:  # few, if any: these are worth a look
        tree = trees[int(number)]
        if tree.depth > most:
            raise InputError(
                f"{tree.rna_id}: the RNA and its longest text are {tree.depth} tokens, the LLM "
                f"reads {most}; lower MAX_LENGTH in 00 or WORDS in 02"
            )


def check_share(params: Train, processes: int) -> None:
    """Raises InputError where a packed step cannot be shared evenly by the processes."""
    if params.recipe == "packed" and params.rnas_per_step % processes:
        raise InputError(
            f"RNAS_PER_STEP is {params.rnas_per_step}, which {processes} processes cannot share "
            f"evenly; set a multiple of {processes}"
        )


def _look(row: dict, trainer: Trainer, trees: Examples, step: Step, folder: Path) -> None:
    """Whether all is finite: InputError, or in fp16 a note that the step was left out."""
    if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]):
        return
    scale = trainer.scaler.get_scale()
    if math.isfinite(row["loss"]) and trainer.scaler.is_enabled() and scale >= 1:
        row |= {"grad_norm": None, "left_out": f"gradient overflowed, loss scale now {scale:g}"}
        return
    raise InputError(_not_finite(row, trees, step, folder))


def _not_finite(row: dict, trees: Examples, step: Step, folder: Path) -> str:
    visited = [trees.tree(visit.rna, visit.pairs[:1]) for visit in step.visits]
    broken = [tree.rna_id for tree in visited if not tree.embeddings.isfinite().all()]
    last = checkpoints.newest(folder)
    what = "loss" if not math.isfinite(row["loss"]) else "gradient"
    return (
        f"{paths.shown(folder)}: the {what} is not finite at step {row['step']} "
        f"(epoch {row['epoch']}); "
        + (
            f"the embeddings of {', '.join(broken)} are not finite: encode them again. "
            if broken
            else "lower LEARNING_RATE, lengthen WARMUP_STEPS, or take PRECISION bf16 for fp16. "
        )
        + (f"The last good checkpoint is {last.name}." if last else "No checkpoint yet.")
    )


def _validated(loss: float | None) -> dict:
    """A validation for the log: one that overflowed is none, and says so; training goes on."""
    if loss is None or math.isfinite(loss):
        return {"val_loss": loss}
    return {"val_loss": None, "val_note": "the validation loss is not finite"}


def _remaining(
    trees: Examples, params: Train, seed: int, done: int, processes: int
) -> Iterator[tuple[int, int, Step]]:
    """(number, epoch, step) of all steps from number ``done`` on."""
    each = steps_per_epoch(trees, params, processes)
    for epoch in range(done // each, params.epochs):
        skip = max(0, done - epoch * each)
        steps = epoch_steps(trees, params, seed, epoch, skip=skip, processes=processes)
        for number, step in enumerate(steps, start=epoch * each + skip):
            yield number, epoch, step


def _plan(trees: Examples, params: Train, seed: int, processes: int) -> str:
    """Hash of all that decides the course of a training, apart from the model."""
    shared = processes if params.recipe == "paper" else 1
    return digest([seed, params.model_dump(exclude=set(FREE)), trees.hash(), shared])


def _unlike(checkpoint: Path, state: dict, processes: int) -> str:
    """Why a checkpoint is none to go on from: it had other ``processes``, where ``state`` says how
    many, or it is of another training."""
    if state:
        return (
            f"{paths.shown(checkpoint)}: trained in {state['processes']} processes, which count the "
            f"steps of the recipe paper, and here are {processes}; start as many again"
        )
    return (
        f"{paths.shown(checkpoint)}: of a training with other data, parameters or seed; "
        "choose another run, or remove the checkpoints to start again"
    )


def _resume(trainer: Trainer, checkpoint: Path, state: dict) -> int:
    """Take up a checkpoint's state; the steps that were done."""
    trainer.load_state(state)
    return _done(checkpoint)


def _done(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))
