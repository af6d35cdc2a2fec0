"""One training loop for both stages (paper, section 4.1).

What a step visits (``visits``) and its learning rate follow from the seed and the step's number
alone, so a resumed training goes on as if never interrupted.
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from rnagpt_lib import checkpoints, paths, progress
from rnagpt_lib.errors import InputError
from rnagpt_lib.files import digest
from rnagpt_lib.model import RnaGpt
from rnagpt_lib.packing import Tree, collate, passes
from rnagpt_lib.profiles import Stage1, Stage2, Train
from rnagpt_lib.visits import epoch_steps, steps_per_epoch

LOG = "steps.jsonl"


def lr_at(step: int, total: int, params: Train) -> float:
    """Learning rate of step 0, 1, … ``total`` − 1: linear warm-up from ``initial_rate`` to
    ``learning_rate`` over ``warmup_steps``, then a cosine that ends at ``final_rate``."""
    warmup, peak, final = params.warmup_steps, params.learning_rate, params.final_rate
    if step < warmup:
        return params.initial_rate + (peak - params.initial_rate) * step / warmup
    done = (step - warmup) / max(1, total - 1 - warmup)
    return final + (peak - final) * (1 + math.cos(math.pi * done)) / 2


def step_loss(model: RnaGpt, trees: Sequence[Tree], row_tokens: int, backward: bool) -> float:
    """Mean loss over all pairs of ``trees``; memory holds one pass, of about ``row_tokens``.

    With ``backward`` the gradient of that mean is added to the parameters.
    """
    pairs = sum(len(tree.branches) for tree in trees)
    total = torch.zeros((), dtype=torch.float64, device=model.device)
    with torch.set_grad_enabled(backward):
        for rows in passes(trees, row_tokens):
            loss = model(collate(rows, pairs).to(model.device))
            if backward:
                loss.backward()
            total += loss.detach()
    return total.item()


def optimiser_of(model: RnaGpt, params: Train) -> torch.optim.AdamW:
    """AdamW over what trains; biases and norms do not decay."""
    trains = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trains if p.dim() > 1], "weight_decay": params.weight_decay},
        {"params": [p for p in trains if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=params.initial_rate, betas=params.betas)


def train(
    model: RnaGpt,
    trees: Sequence[Tree],
    validation: Sequence[Tree],
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
    loss is not finite, or the checkpoints in ``folder`` are of another training.
    """
    _check(model, trees, folder)
    per_epoch = steps_per_epoch(trees, params)
    total = per_epoch * params.epochs
    every = params.validate_every or per_epoch
    plan = _plan(trees, params, seed)
    optimiser = optimiser_of(model, params)
    done = _resume(model, optimiser, folder, plan)
    with (folder / LOG).open("a", encoding="utf-8") as log, _bar(total, done) as bar:
        for step, epoch, visits in _remaining(trees, params, seed, done):
            began, rate = time.perf_counter(), lr_at(step, total, params)
            loss = _update(model, optimiser, visits, rate, params.row_tokens)
            if not math.isfinite(loss):
                raise InputError(_not_finite(folder, step, epoch, visits))
            row = {"step": step + 1, "epoch": epoch + 1, "loss": loss, "lr": rate}
            row["tokens"] = sum(map(len, visits))
            row["pairs"] = sum(len(tree.branches) for tree in visits)
            row["seconds"] = round(time.perf_counter() - began, 4)
            due = (step + 1) % every == 0 or step + 1 == total
            if due:
                row["val_loss"] = validate(model, validation, params.row_tokens)
                bar.set_postfix(loss=f"{loss:.3f}", validation=row["val_loss"], refresh=False)
            log.write(json.dumps(row) + "\n")
            log.flush()
            if due:
                state = {"optimiser": optimiser.state_dict(), "plan": plan}
                scored = {"val_loss": row["val_loss"], "keep": params.keep}
                checkpoints.save(model, folder, step + 1, state, **scored)
            bar.update()
    return read_log(folder)


def _check(model: RnaGpt, trees: Sequence[Tree], folder: Path) -> None:
    if not trees:
        raise InputError(f"{paths.shown(folder)}: no RNA to train on; look at the split in 03")
    most = model.causal.config.max_position_embeddings
    for tree in trees:
        if tree.depth > most:
            raise InputError(
                f"{tree.rna_id}: the RNA and its longest text are {tree.depth} tokens, the LLM "
                f"reads {most}; lower MAX_LENGTH in 00 or WORDS in 02"
            )


def _update(
    model: RnaGpt,
    optimiser: torch.optim.Optimizer,
    visits: Sequence[Tree],
    rate: float,
    row_tokens: int,
) -> float:
    """One step at this learning rate; its loss. Nothing changes when that is not finite."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    loss = step_loss(model, visits, row_tokens, backward=True)
    if math.isfinite(loss):
        optimiser.step()
    optimiser.zero_grad()
    return loss


def validate(model: RnaGpt, trees: Sequence[Tree], row_tokens: int) -> float | None:
    """Mean loss over the pairs of ``trees``, rounded to 6 digits; None when there are none."""
    return round(step_loss(model, trees, row_tokens, backward=False), 6) if trees else None


def read_log(folder: Path) -> pd.DataFrame:
    """``steps.jsonl`` of a stage's folder: step, epoch, loss, lr, tokens, pairs, seconds and,
    at checkpoints, val_loss."""
    lines = (folder / LOG).read_text("utf-8").splitlines()
    return pd.DataFrame([json.loads(line) for line in lines])


def _remaining(
    trees: Sequence[Tree], params: Train, seed: int, done: int
) -> Iterator[tuple[int, int, list[Tree]]]:
    """(step, epoch, visits) of all steps from number ``done`` on."""
    step = done // steps_per_epoch(trees, params) * steps_per_epoch(trees, params)
    for epoch in range(done // steps_per_epoch(trees, params), params.epochs):
        for visits in epoch_steps(trees, params, seed, epoch):
            if step >= done:
                yield step, epoch, visits
            step += 1


def _plan(trees: Sequence[Tree], params: Train, seed: int) -> str:
    """Hash of all that decides the course of a training, apart from the model."""
    data = [[tree.rna_id, [[b.prompt, b.answer] for b in tree.branches]] for tree in trees]
    return digest([seed, params.model_dump(exclude={"keep"}), data])


def _resume(model: RnaGpt, optimiser: torch.optim.Optimizer, folder: Path, plan: str) -> int:
    """Steps done by the newest whole checkpoint (0: none), its state loaded, the log cut there."""
    checkpoint = checkpoints.newest(folder)
    done = 0
    if checkpoint is not None:
        state = checkpoints.restore(model, checkpoint)
        if state["plan"] != plan:
            raise InputError(
                f"{paths.shown(checkpoint)}: of a training with other data, parameters or seed; "
                "choose another run, or remove the checkpoints to start again"
            )
        optimiser.load_state_dict(state["optimiser"])
        done = int(checkpoint.name.removeprefix("step-"))
    if (folder / LOG).exists():
        lines = (folder / LOG).read_text("utf-8").splitlines(keepends=True)[:done]
        (folder / LOG).write_text("".join(lines), "utf-8")
    return done


def _not_finite(folder: Path, step: int, epoch: int, visits: Sequence[Tree]) -> str:
    broken = [tree.rna_id for tree in visits if not tree.embeddings.isfinite().all()]
    last = checkpoints.newest(folder)
    return (
        f"{paths.shown(folder)}: the loss is not finite at step {step + 1} (epoch {epoch + 1}); "
        + (
            f"the embeddings of {', '.join(broken)} are not finite: encode them again. "
            if broken
            else "lower LEARNING_RATE or lengthen WARMUP_STEPS. "
        )
        + (f"The last good checkpoint is {last.name}." if last else "No checkpoint yet.")
    )


def _bar(total: int, done: int) -> tqdm:
    # plain text, which stays: an executed notebook shows how long it took
    hidden = not progress.seen()
    return tqdm(
        total=total, initial=done, unit="step", mininterval=5, desc="training", disable=hidden
    )
