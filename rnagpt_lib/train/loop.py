"""One training loop for both stages (paper, section 4.1), over Hugging Face Accelerate.

What a step visits (`visit_order`) and its learning rate follow from the seed and the step's number
alone, so a resumed training goes on as if never interrupted. Several processes (`processes`, or those
of ``accelerate launch``) share a step's RNAs; the gradient is that of the mean over all pairs of the
step, however many there are.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator
from torch.distributed.checkpoint import state_dict
from torch.distributed.fsdp import fully_shard

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest
from rnagpt_lib.core.params import Stage1, Stage2, Train
from rnagpt_lib.core.paths import shown
from rnagpt_lib.model import checkpoint as checkpoints
from rnagpt_lib.model import language_model
from rnagpt_lib.model.packing import Tree, collate, passes
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.train.processes import count_processes, in_processes
from rnagpt_lib.train.step_log import StepLog, cut, peak_memory, progress_of, read_log
from rnagpt_lib.train.training_examples import Examples
from rnagpt_lib.train.visit_order import Step, Visit, epoch_length, remaining_steps, steps_per_epoch

TOGETHER = 64  # RNAs of the validation side in memory at a time
EXTRA = 64  # tokens at most that a template adds to an RNA and its texts
WHOLE = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
FREE = {"attention", "keep", "parallel", "track"}  # what does not decide the course of a training


def lr_at(done: int, total: int, params: Train) -> float:
    """Learning rate when ``done`` of ``total`` units of the schedule lie behind: linear warm-up
    from ``initial_rate`` to ``learning_rate`` over ``warmup_steps`` units, then a cosine that
    ends at ``final_rate``. The unit is a step in the ``paper`` recipe, a pair in ``packed``."""
    warmup, peak, final = params.warmup_steps, params.learning_rate, params.final_rate
    if done < warmup:
        return params.initial_rate + (peak - params.initial_rate) * done / warmup
    share = (done - warmup) / max(1, total - 1 - warmup)
    return final + (peak - final) * (1 + math.cos(math.pi * share)) / 2


def build_optimiser(model: RnaGpt, params: Train) -> torch.optim.AdamW:
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
        options = {"cpu": not torch.cuda.is_available(), "project_dir": str(folder)}
        options |= {} if params.track == "jsonl" else {"log_with": params.track}
        if params.track != "jsonl" and find_spec(params.track) is None:
            raise InputError(f"TRACK {params.track} is missing: pip install {params.track}")
        # mixed precision is the model's own matter: RnaGpt.amp
        self.machine = Accelerator(mixed_precision="no", **options)
        if params.parallel == "ddp":
            self.wrapped = self.machine.prepare(model)
        elif self.machine.num_processes == 1:
            raise InputError("PARALLEL is fsdp, which needs several processes: accelerate launch …")
        else:  # FSDP2: each process holds its part of every layer, and gathers one to compute it
            for layer in model.causal.base_model.layers:
                fully_shard(layer)
            # a validation has no way back
            self.wrapped = fully_shard(model, reshard_after_forward=True)
        self.optimiser = build_optimiser(model, params)
        half = params.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.machine.device.type, enabled=half)

    def update(self, examples: Examples, step: Step, rate: float) -> dict:
        """One step at this learning rate: its loss, gradient's norm, tokens and pairs. Nothing
        changes where one of them is not finite; whoever calls is to look."""
        pairs = sum(len(visit.pairs) for visit in step.visits)
        own = [examples.tree(*visit) for visit in self._share(step.visits)]
        some = Visit(step.visits[0].rna, step.visits[0].pairs[:1])
        loss, tokens = self._loss(own, pairs, lambda: examples.tree(*some), backward=True)
        self.scaler.unscale_(self.optimiser)
        trained = [p.grad for group in self.optimiser.param_groups for p in group["params"]]
        norm = torch.nn.utils.get_total_norm([g for g in trained if g is not None])
        norm = checkpoints.gather(norm).item()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if math.isfinite(loss) and (math.isfinite(norm) or self.scaler.is_enabled()):
            self.scaler.step(self.optimiser)  # leaves out what overflowed
            self.scaler.update()
        self.optimiser.zero_grad()
        return {"loss": loss, "grad_norm": norm, "tokens": int(tokens), "pairs": pairs}

    @torch.no_grad()
    def validate(self, examples: Examples) -> float | None:
        """Mean loss over the pairs of ``examples``, to 6 digits; None when there are none."""
        if not len(examples):
            return None
        pairs, total, numbers = int(examples.pairs.sum()), 0.0, range(len(examples))
        for start in range(0, len(examples), TOGETHER):
            own = [examples[i] for i in self._share(numbers[start : start + TOGETHER])]
            total += self._loss(own, pairs, lambda: examples.tree(0, [0]), backward=False)[0]
        return round(total, 6)

    def state(self) -> dict:
        """What a resume needs besides the weights; every process is to ask for it."""
        optimiser = state_dict.get_optimizer_state_dict(self.wrapped, self.optimiser, options=WHOLE)
        return {"optimiser": optimiser, "scaler": self.scaler.state_dict()}

    def load_state(self, state: dict) -> None:
        """Take up what ``state`` gave, in however many processes."""
        saved = state["optimiser"]
        state_dict.set_optimizer_state_dict(self.wrapped, self.optimiser, saved, options=WHOLE)
        self.scaler.load_state_dict(state["scaler"])

    def _share(self, items: Sequence) -> Sequence:
        """This process's part of what all of them do together."""
        return items[self.machine.process_index :: self.machine.num_processes]

    def _loss(
        self, trees: Sequence[Tree], pairs: int, spare: Callable[[], Tree], *, backward: bool
    ) -> tuple[float, float]:
        """Loss and tokens of the trees of all processes; a pair weighs 1/``pairs``; ``backward``
        adds the gradient. All processes make as many passes, over ``spare`` without weight where
        one has less to do: their passes wait for each other."""
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


def train(
    model: RnaGpt,
    examples: Examples,
    validation: Examples,
    params: Stage1 | Stage2,
    folder: Path,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Train ``model`` in place and return its log, one row a step, or go on from the newest
    checkpoint.

    ``folder`` gets ``steps.jsonl``, and every ``validate_every`` steps (0: each epoch) a validation
    and a checkpoint. Raises InputError when there is nothing to train on, a text is too long, a
    loss or a gradient is not finite, another training is in ``folder``, or the disk takes no more.
    """
    _check_lengths(model, examples, folder)
    checkpoint = checkpoints.newest(folder)
    state = checkpoints.restore(model, checkpoint) if checkpoint else {}
    done = int(checkpoint.name.removeprefix("step-")) if checkpoint else 0
    if state.get("finished") and _plan(examples, params, seed, state["processes"]) == state["plan"]:
        if not int(os.environ.get("RANK", 0)):  # of a training that was killed in its last save
            cut(folder, done)
            checkpoints.tidy(folder, params.keep)
        return read_log(folder)  # by however many processes: there is nothing to share

    def steps() -> pd.DataFrame:
        return _train(model, examples, validation, params, folder, seed, checkpoint, state)

    several = count_processes(model, params)
    if several == 1:
        return steps()
    total = steps_per_epoch(examples, params) * params.epochs
    with progress_of(folder, total, done) as look:
        in_processes(several, steps, look)
    checkpoints.restore(model, checkpoints.newest(folder))  # they were copies
    return read_log(folder)


def _train(
    model: RnaGpt,
    examples: Examples,
    validation: Examples,
    params: Stage1 | Stage2,
    folder: Path,
    seed: int,
    checkpoint: Path | None,
    state: dict,
) -> pd.DataFrame:
    """The steps of `train` that are still to be made, in each of its processes."""
    done = int(checkpoint.name.removeprefix("step-")) if checkpoint else 0
    trainer = Trainer(model, params, folder)
    processes = trainer.machine.num_processes
    check_share(params, processes)
    plan = _plan(examples, params, seed, processes)
    if checkpoint and state["plan"] != plan:
        of = "of a training with other data, parameters or seed, or (RECIPE paper) in other than"
        remedy = "choose another run, or remove it"
        raise InputError(f"{shown(checkpoint)}: {of} {processes} processes; {remedy}")
    if checkpoint:
        trainer.load_state(state)
    per_epoch = steps_per_epoch(examples, params, processes)
    total, span = per_epoch * params.epochs, epoch_length(examples, params, processes)
    every, main = params.validate_every or per_epoch, trainer.machine.is_main_process
    with StepLog(trainer.machine, folder, params, total, done) as log:
        for number, epoch, step in remaining_steps(examples, params, seed, done, processes):
            if log.is_over(params.patience):
                break
            began, rate = time.perf_counter(), lr_at(step.before, span * params.epochs, params)
            row = {"step": number + 1, "epoch": epoch + 1, "lr": rate}
            row |= trainer.update(examples, step, rate)
            _check_finite(row, trainer, examples, step, folder)
            seconds, memory = time.perf_counter() - began, peak_memory(model.device)
            row |= {"seconds": round(seconds, 4)}
            row |= {"tokens_per_second": round(row["tokens"] / seconds, 1)}
            row |= {"memory_gb": round(memory / 1e9, 3)}
            due = (number + 1) % every == 0 or number + 1 == total
            if due:
                row["val_loss"] = trainer.validate(validation)
                if row["val_loss"] is not None and not math.isfinite(row["val_loss"]):
                    row |= {"val_loss": None, "val_note": "the validation loss is not finite"}
            log.add(row)
            if due:
                over = number + 1 == total or log.is_over(params.patience)
                facts = {"plan": plan, "processes": processes, "finished": over}
                options = {"val_loss": row["val_loss"], "keep": params.keep, "writes": main}
                checkpoints.save(model, folder, number + 1, trainer.state() | facts, **options)
    if main:
        checkpoints.tidy(folder, params.keep)  # of a training that was killed in its last save
    trainer.machine.wait_for_everyone()
    return read_log(folder)


def check_share(params: Train, processes: int) -> None:
    """Raises InputError where a packed step cannot be shared evenly by the processes."""
    each = params.rnas_per_step
    if params.recipe == "packed" and each % processes:
        share = f"which {processes} processes cannot share evenly; set a multiple of {processes}"
        raise InputError(f"RNAS_PER_STEP is {each}, {share}")


def _plan(examples: Examples, params: Train, seed: int, processes: int) -> str:
    """Hash of all that decides the course of a training, apart from the model."""
    shared = processes if params.recipe == "paper" else 1
    return digest([seed, params.model_dump(exclude=FREE), examples.hash(), shared])


def _check_lengths(model: RnaGpt, examples: Examples, folder: Path) -> None:
    if not len(examples):
        raise InputError(f"{shown(folder)}: no RNA to train on; look at the split in 03")
    most = language_model.reach(model.causal.config)
    sizes = examples.longest() + [len(s) for s in examples.sequences[examples.chosen]]
    for number in (sizes + EXTRA > most).nonzero()[0]:  # few, if any: these are worth a look
        tree = examples[int(number)]
        if tree.depth > most:
            what = f"{tree.rna_id}: the RNA and its longest text are {tree.depth} tokens"
            raise InputError(f"{what}, the LLM reads {most}; lower MAX_LENGTH in 00 or WORDS in 02")


def _check_finite(row: dict, trainer: Trainer, examples: Examples, step: Step, folder: Path):
    """Whether all is finite: InputError, or in fp16 a note that the step was left out."""
    if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]):
        return
    scale = trainer.scaler.get_scale()
    if math.isfinite(row["loss"]) and trainer.scaler.is_enabled() and scale >= 1:
        row |= {"grad_norm": None, "left_out": f"gradient overflowed, loss scale now {scale:g}"}
        return
    visited = [examples.tree(visit.rna, visit.pairs[:1]) for visit in step.visits]
    broken = [tree.rna_id for tree in visited if not tree.embeddings.isfinite().all()]
    what = "gradient" if math.isfinite(row["loss"]) else "loss"
    remedy = "lower LEARNING_RATE, lengthen WARMUP_STEPS, or take PRECISION bf16 for fp16"
    if broken:
        remedy = f"the embeddings of {', '.join(broken)} are not finite: encode them again"
    last = checkpoints.newest(folder)
    good = f"The last good checkpoint is {last.name}." if last else "No checkpoint yet."
    where = f"step {row['step']} (epoch {row['epoch']})"
    raise InputError(f"{shown(folder)}: the {what} is not finite at {where}; {remedy}. {good}")
