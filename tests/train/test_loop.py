"""The loop: the schedule, exact resumes, faults that end in a sentence, mixed precision."""

import math
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Stage1, Stage2
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.packing import collate
from rnagpt_lib.model.rna_gpt import RnaGpt, frozen_hash
from rnagpt_lib.train import loop
from rnagpt_lib.train.loop import Trainer, build_optimiser, lr_at, train
from rnagpt_lib.train.step_log import LOG, read_log
from rnagpt_lib.train.training_examples import Examples
from rnagpt_lib.train.visit_order import epoch_steps
from tests.support.tiny_model import (
    config_of,
    interrupted_after,
    make_examples,
    no_file_over,
    read_only,
    trained,
)

LENGTHS = [12, 15, 11, 17, 13, 11, 16]
PARAMS = Stage2(
    epochs=2, learning_rate=1e-2, final_rate=5e-3, warmup_steps=15, rnas_per_step=2, row_tokens=128
)
CLOCK = ["seconds", "tokens_per_second", "memory_gb"]
GOES_ON = "; make room, .* it goes on from its newest whole checkpoint"


@pytest.fixture
def build(llm) -> Callable[[], RnaGpt]:
    return lambda: RnaGpt.build(config_of(llm, "lora"))


@pytest.fixture
def examples(build) -> Examples:
    return make_examples(build(), LENGTHS)


@pytest.fixture(scope="module")
def whole(llm, tmp_path_factory) -> tuple[Path, list[torch.Tensor], pd.DataFrame]:
    """A training of ``start`` that nothing stopped: its folder, weights and log."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *start(llm, folder)


@pytest.fixture(autouse=True)
def folders(tmp_path) -> None:
    for name in ("part", "whole"):
        (tmp_path / name).mkdir()


def start(llm: Path, folder: Path, fault: AbstractContextManager | None = None):
    """Train, or go on, under a fault; weights and log. A checkpoint at every second step."""
    model = RnaGpt.build(config_of(llm, "lora"))
    examples = make_examples(model, LENGTHS)
    params = PARAMS.model_copy(update={"validate_every": 2})
    with fault or nullcontext():
        log = train(model, examples[:5], examples[5:], params, folder)
    return trained(model), log


def stop_after(llm: Path, folder: Path, steps: int) -> None:
    with interrupted_after(steps):
        start(llm, folder)


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def changed(examples: Examples, **new: object) -> Examples:
    made = copy(examples)
    vars(made).update(new)
    return made


# The schedule and the steps.


def test_schedule_of_the_paper():
    paper, total = Stage1(), 10_000
    assert lr_at(0, total, paper) == 1e-6
    assert lr_at(1024, total, paper) == pytest.approx((1e-6 + 1e-4) / 2)
    assert lr_at(2048, total, paper) == pytest.approx(1e-4)
    assert lr_at((2048 + total - 1) / 2, total, paper) == pytest.approx(9e-5)
    assert lr_at(total - 1, total, paper) == pytest.approx(8e-5)
    rates = [lr_at(step, total, paper) for step in range(2048, total)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("recipe", ["packed", "paper"])
def test_every_rate_is_the_closed_form(build, examples, tmp_path, monkeypatch, recipe):
    """The rates that the optimiser really used, with a warm-up longer than an epoch: counted in
    steps of one pair, or in the pairs that went before."""
    used, step = [], torch.optim.AdamW.step

    def recording(self, *args, **kwargs):
        used.append([group["lr"] for group in self.param_groups])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", recording)
    params = PARAMS.model_copy(update={"warmup_steps": 20, "recipe": recipe})
    log = train(build(), examples, examples[:0], params, tmp_path)
    assert 20 > examples.pairs.sum() == 13
    before = (log["pairs"].cumsum() - log["pairs"]).tolist()
    low, high, end = params.initial_rate, params.learning_rate, params.final_rate
    wanted = [
        low + (high - low) * n / 20
        if n < 20
        else end + (high - end) * (1 + math.cos(math.pi * (n - 20) / (2 * 13 - 1 - 20))) / 2
        for n in before
    ]
    assert used == [[pytest.approx(rate, rel=1e-12)] * 2 for rate in wanted]
    assert log["lr"].tolist() == [rates[0] for rates in used]


def test_decay_spares_biases(build):
    model = build()
    decays, spared = build_optimiser(model, PARAMS).param_groups
    assert (decays["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    assert decays["betas"] == (0.9, 0.98)
    assert [id(p) for p in spared["params"]] == [id(model.projection.bias)]


def test_training_learns_leaves_the_llm_alone_and_writes_down_its_steps(build, examples, tmp_path):
    model = build()
    before = frozen_hash(model)
    params = PARAMS.model_copy(update={"epochs": 6, "learning_rate": 0.1, "final_rate": 0.05})
    log = train(model, examples[:5], examples[5:], params, tmp_path)
    assert log["loss"].iloc[-3:].mean() < 0.9 * log["loss"].iloc[:3].mean()
    assert frozen_hash(model) == before
    assert log["step"].tolist() == list(range(1, 19))
    assert log["val_loss"].notna().sum() == 6 and log["val_loss"].notna().iloc[2::3].all()
    assert log["pairs"].sum() == 6 * sum(len(tree.branches) for tree in examples[:5])
    assert same(trained(checkpoint.load(tmp_path, "last")), trained(model))
    assert log.columns.tolist() == [
        "step", "epoch", "lr", "loss", "grad_norm", "tokens", "pairs", *CLOCK, "val_loss",
    ]  # fmt: skip
    steps = [step for epoch in range(6) for step in epoch_steps(examples[:5], params, 0, epoch)]
    tokens = [sum(len(examples.tree(*visit)) for visit in step.visits) for step in steps]
    assert log["tokens"].tolist() == tokens and log["grad_norm"].gt(0).all()
    assert (log["tokens_per_second"] * log["seconds"] / log["tokens"]).between(0.9, 1.1).all()
    assert log["memory_gb"].between(0.05, 100).all()


def test_validation_loss_is_the_mean_over_pairs(build, examples, tmp_path):
    trainer = Trainer(build(), PARAMS, tmp_path)
    each = [
        trainer.model(collate([[examples.tree(number, [pair])]], 1).to(trainer.model.device)).item()
        for number in range(len(examples))
        for pair in range(examples.count(number))
    ]
    assert trainer.validate(examples) == pytest.approx(sum(each) / len(each), abs=1e-5)
    assert trainer.model.projection.weight.grad is None
    assert trainer.validate(examples[:0]) is None


def losses_of(monkeypatch, losses: list[float]) -> None:
    """The validations find these, whatever the model."""
    found = iter(losses)
    monkeypatch.setattr(Trainer, "validate", lambda *_: next(found))


def test_patience_ends_a_training_and_its_resume(build, examples, tmp_path, monkeypatch):
    params = PARAMS.model_copy(update={"epochs": 8, "patience": 2})
    losses_of(monkeypatch, [3.0, 2.0, 2.5, 2.1])
    log = train(build(), examples, examples, params, tmp_path)
    assert log["epoch"].max() == 4 and log["val_loss"].dropna().tolist() == [3.0, 2.0, 2.5, 2.1]
    assert checkpoint.find(tmp_path, "best").name == f"step-{2 * 4:08d}"
    losses_of(monkeypatch, [])
    assert len(train(build(), examples, examples, params, tmp_path)) == len(log)


def test_a_validation_that_overflows_costs_no_checkpoint(build, examples, tmp_path, monkeypatch):
    losses_of(monkeypatch, [3.0, math.nan, 2.0])
    params = PARAMS.model_copy(update={"epochs": 3})
    log = train(build(), examples, examples, params, tmp_path)
    assert log["val_loss"].dropna().tolist() == [3.0, 2.0]
    assert log["val_note"].dropna().tolist() == ["the validation loss is not finite"]
    assert "NaN" not in (tmp_path / LOG).read_text()
    assert checkpoint.find(tmp_path, "best") == checkpoint.find(tmp_path, "last")


@pytest.mark.slow
def test_trackers(build, examples, tmp_path, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    params = PARAMS.model_copy(update={"track": "tensorboard"})
    log = train(build(), examples[:5], examples[5:], params, tmp_path)
    [file] = tmp_path.glob("rnagpt/events.*")
    read = events.EventAccumulator(str(file)).Reload()
    for name in ("loss", "lr", "val_loss"):
        found = {event.step: event.value for event in read.Scalars(name)}
        wanted = log.dropna(subset=[name]).set_index("step")[name].to_dict()
        assert found == pytest.approx(wanted, rel=1e-6)
    monkeypatch.setattr("rnagpt_lib.train.loop.find_spec", lambda _: None)
    with pytest.raises(InputError, match="TRACK trackio.*pip install trackio"):
        Trainer(build(), PARAMS.model_copy(update={"track": "trackio"}), tmp_path)


# Going on.


@pytest.mark.parametrize("stop", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_resume_in_mid_epoch_equals_the_uninterrupted_run(llm, whole, tmp_path, stop):
    stop_after(llm, tmp_path, stop)
    weights, log = start(llm, tmp_path)
    assert same(weights, whole[1])
    pd.testing.assert_frame_equal(log.drop(columns=CLOCK), whole[2].drop(columns=CLOCK))


def test_resume_past_a_truncated_checkpoint_and_a_half_written_line(build, examples, tmp_path):
    first, second = build(), build()
    train(first, examples, examples[:0], PARAMS, tmp_path)
    for other, seed in ((examples, 1), (examples[1:], 0)):  # another training in its folder
        with pytest.raises(InputError, match="other data, parameters or seed"):
            train(build(), other, examples[:0], PARAMS, tmp_path, seed=seed)
    state = checkpoint.newest(tmp_path) / "state" / "training.pt"
    state.write_bytes(state.read_bytes()[:-100])
    with (tmp_path / LOG).open("a") as log:
        log.write('{"step": 5, "lo')
    log = train(second, examples, examples[:0], PARAMS, tmp_path)
    assert same(trained(second), trained(first))
    assert log["step"].tolist() == list(range(1, 9)) and len(read_log(tmp_path)) == 8


def test_a_finished_training_is_read_by_however_many_and_an_unfinished_one_asks_for_as_many(
    build, examples, tmp_path, monkeypatch
):
    """The paper's recipe; checkpoints say that eight processes wrote them."""
    params = PARAMS.model_copy(update={"recipe": "paper", "epochs": 1, "validate_every": 4})
    restore, plan = checkpoint.restore, loop._plan(examples[:5], params, 0, 8)
    said = {"plan": plan, "processes": 8}
    monkeypatch.setattr(checkpoint, "restore", lambda *given: restore(*given) | said)
    with interrupted_after(6):
        train(build(), examples[:5], examples[5:], params, tmp_path / "part")
    with pytest.raises(InputError, match="or .RECIPE paper. in other than 1 processes"):
        train(build(), examples[:5], examples[5:], params, tmp_path / "part")
    log = train(build(), examples[:5], examples[5:], params, tmp_path / "whole")
    monkeypatch.setattr(loop, "Trainer", None)  # nothing is set up to train
    fsdp = params.model_copy(update={"parallel": "fsdp"})
    read = train(build(), examples[:5], examples[5:], fsdp, tmp_path / "whole")
    pd.testing.assert_frame_equal(read, log)


# Faults.


def test_not_finite_embeddings_are_named_and_the_last_state_is_intact(build, examples, tmp_path):
    params = PARAMS.model_copy(update={"validate_every": 1, "epochs": 1})
    last = list(epoch_steps(examples, params, 0, 0))[-1].visits[-1].rna
    name, sequence = examples.rna_ids[last], examples.sequences[last]
    broken = torch.full_like(examples.vectors[sequence], torch.nan)
    bad = changed(examples, vectors={**examples.vectors, sequence: broken})
    with pytest.raises(InputError, match=rf"step 4 \(epoch 1\).*embeddings of {name} .*00003\."):
        train(build(), bad, examples[:0], params, tmp_path)
    first, resumed = build(), build()
    train(first, examples, examples[:0], params, tmp_path / "whole")
    train(resumed, examples, examples[:0], params, tmp_path)
    assert same(trained(resumed), trained(first))


def test_what_cannot_be_trained_is_named(build, examples, tmp_path):
    model = build()
    with torch.no_grad():
        model.projection.weight.fill_(math.inf)
    with pytest.raises(InputError, match="lower LEARNING_RATE.*No checkpoint yet"):
        train(model, examples, examples[:0], PARAMS, tmp_path)
    with pytest.raises(InputError, match="no RNA to train on"):
        train(build(), examples[:0], examples[:0], PARAMS, tmp_path)
    sequences = examples.sequences.copy()
    sequences[2] = "A" * 2048
    vectors = {sequence: torch.zeros(len(sequence), 8) for sequence in sequences}
    long = changed(examples, sequences=sequences, vectors=vectors)
    with pytest.raises(InputError, match="R2: the RNA and its longest text are .* reads 2048"):
        train(build(), long, examples[:0], PARAMS, tmp_path)


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SLOW = ("adapter/adapter_model.safetensors", "state/training.pt", LOG)


@pytest.mark.parametrize(
    "name",
    ["projection.safetensors", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)],
)
def test_a_full_disk_ends_in_a_sentence_and_the_training_goes_on(llm, whole, tmp_path, name):
    stop_after(llm, tmp_path, 3)
    before = snapshot(tmp_path / "checkpoints")
    if name == LOG:
        lines = (whole[0] / LOG).read_bytes().splitlines(keepends=True)
        size, named = sum(map(len, lines[:2])) + len(lines[2]) // 2, LOG
    else:
        size = (checkpoint.newest(whole[0]) / name).stat().st_size - 1
        named = "checkpoints/step-00000004"
    with pytest.raises(InputError) as refused:
        start(llm, tmp_path, no_file_over(size))
    assert refused.match(f".*{named} cannot be written: File too large{GOES_ON}")
    assert snapshot(tmp_path / "checkpoints") == before
    assert checkpoint.newest(tmp_path).name == "step-00000002"
    assert same(start(llm, tmp_path)[0], whole[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("below", "named"), [(".", LOG), ("checkpoints", "checkpoints/step-00000004")]
)
def test_a_read_only_folder_ends_in_a_sentence(llm, whole, open_folder, below, named):
    stop_after(llm, open_folder, 3)
    before = snapshot(open_folder / "checkpoints")
    (open_folder / LOG).chmod(0o644 if below == "." else 0o666)
    with pytest.raises(InputError) as refused:
        start(llm, open_folder, read_only(open_folder / below))
    assert refused.match(f".*{named} cannot be written: Permission denied{GOES_ON}")
    assert snapshot(open_folder / "checkpoints") == before
    assert same(start(llm, open_folder)[0], whole[1])


def test_a_training_killed_in_its_last_save_names_its_last_checkpoint(
    llm, whole, tmp_path, monkeypatch
):
    """The files of the last step are there, and ``best.json`` and ``last.json`` of the one before."""
    tidy, last = checkpoint.tidy, checkpoint.newest(whole[0]).name

    def dies(folder, keep):
        if checkpoint.newest(folder).name == last:
            raise KeyboardInterrupt
        tidy(folder, keep)

    monkeypatch.setattr(checkpoint, "tidy", dies)
    with pytest.raises(KeyboardInterrupt):
        start(llm, tmp_path)
    assert checkpoint.find(tmp_path, "last").name < last
    monkeypatch.undo()
    assert same(start(llm, tmp_path)[0], whole[1])
    assert checkpoint.find(tmp_path, "last").name == last


# Mixed precision.


def in_precision(llm: Path, precision: str) -> RnaGpt:
    model = RnaGpt.build(replace(config_of(llm, "lora"), precision=precision))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model


@pytest.mark.parametrize(("precision", "near"), [("bf16", 0.1), ("fp16", 0.02)])
def test_gradients_are_in_fp32_and_near_those_of_fp32(llm, precision, near):
    models = [in_precision(llm, "fp32"), in_precision(llm, precision)]
    kinds = {p.dtype for p in models[1].parameters() if not p.requires_grad}
    assert kinds == {{"bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
    trees, wide = list(make_examples(models[0], [12, 5, 20])), []

    def note(tensor):
        if tensor.dtype == torch.float32 and tensor.dim() == 3 and tensor.shape[-1] == 48:
            wide.append(tensor.shape)  # 48: the inner width, of no norm
        return tensor

    gradients = []
    for model in models:
        wide.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = model(collate([trees], 6).to(model.device))
        assert loss.dtype == torch.float32
        loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert not wide  # peft would hand every adapter an fp32 copy of its input
    for wanted, found in zip(*gradients, strict=True):
        assert found.dtype == torch.float32 and (found - wanted).norm() / wanted.norm() < near


def test_an_overflow_leaves_the_step_out_and_halves_the_scale(llm, tmp_path, monkeypatch):
    model = in_precision(llm, "fp16")
    examples, real = make_examples(model, [12, 5, 20]), torch.amp.GradScaler
    huge = {"init_scale": 2.0**101, "backoff_factor": 2.0**-90}
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: real(*a, **k, **huge))
    before, seen, update = [p.clone() for p in trained(model)], [], Trainer.update

    def watched(self, *arguments):
        done = update(self, *arguments)
        seen.append((same(before, trained(model)), self.scaler.get_scale()))
        return done

    monkeypatch.setattr(Trainer, "update", watched)
    params = PARAMS.model_copy(update={"precision": "fp16", "epochs": 2})
    log = train(model, examples, examples[:0], params, tmp_path)
    assert seen[0] == (True, 2.0**11) and not seen[-1][0]
    assert log["left_out"].tolist()[0] == "gradient overflowed, loss scale now 2048"
    assert log["left_out"].isna().tolist() == [False] + [True] * (len(log) - 1)
    assert not re.search("NaN|Infinity", (tmp_path / LOG).read_text("utf-8"))
    state = checkpoint.restore(in_precision(llm, "fp16"), checkpoint.newest(tmp_path))
    assert state["scaler"]["scale"] == 2.0**11
    grown = torch.nn.utils.get_total_norm
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda g: grown(g) * torch.inf)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: real(*a, **k, init_scale=0.5))
    with pytest.raises(InputError, match="gradient is not finite at step 1.*PRECISION bf16"):
        train(in_precision(llm, "fp16"), examples, examples[:0], params, tmp_path / "part")
