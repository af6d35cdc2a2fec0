"""Automatic mixed precision: what trains stays in fp32, and overflow in fp16 is dealt with."""

import json
from dataclasses import replace

import pytest
import torch

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Stage2
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.packing import collate
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.train.loop import Trainer, train
from rnagpt_lib.train.step_log import LOG
from tests.support.tiny_model import config_of, make_examples, write_llm

PARAMS = Stage2(
    precision="fp16", epochs=2, learning_rate=1e-3, final_rate=5e-4, warmup_steps=4, row_tokens=128
)


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return write_llm(tmp_path_factory.mktemp("llm"))


def build(llm, precision: str) -> RnaGpt:
    model = RnaGpt.build(replace(config_of(llm, "lora"), precision=precision))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model


def trained(model: RnaGpt) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(("precision", "near"), [("bf16", 0.1), ("fp16", 0.02)])
def test_gradients_are_in_fp32_and_near_those_of_fp32(llm, precision, near):
    whole, half = build(llm, "fp32"), build(llm, precision)
    assert {p.dtype for p in half.parameters() if not p.requires_grad} == {
        {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    }
    trees = list(make_examples(whole, [12, 5, 20]))
    for model in (whole, half):
        loss = model(collate([trees], 6).to(model.device))
        assert loss.dtype == torch.float32
        loss.backward()
    for name, parameter in trained(half).items():
        wanted = trained(whole)[name].grad
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert (parameter.grad - wanted).norm() / wanted.norm() < near, name


def test_adapters_keep_no_copy_of_their_input(llm):
    """peft hands an fp32 adapter an fp32 copy of a half-precision input; not here."""
    model = build(llm, "bf16")
    tree = make_examples(model, [12])[0]
    wide = []

    def note(tensor):
        if tensor.dtype == torch.float32 and tensor.dim() == 3 and tensor.shape[-1] == 48:
            wide.append(tensor.shape)  # 48: the inner width, of no norm
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(collate([[tree]], 1).to(model.device)).backward()
    assert not wide


def test_an_overflow_leaves_the_step_out_and_halves_the_scale(llm, tmp_path, monkeypatch):
    model = build(llm, "fp16")
    trees = make_examples(model, [12, 5, 20])
    real = torch.amp.GradScaler
    huge = {"init_scale": 2.0**101, "backoff_factor": 2.0**-90}
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: real(*a, **k, **huge))
    before = {name: p.detach().clone() for name, p in trained(model).items()}
    seen = []
    update = Trainer.update

    def watched(self, *arguments):
        done = update(self, *arguments)
        same = all(torch.equal(before[name], p) for name, p in trained(model).items())
        seen.append((same, self.scaler.get_scale()))
        return done

    monkeypatch.setattr(Trainer, "update", watched)
    log = train(model, trees, trees[:0], PARAMS, tmp_path)
    assert seen[0] == (True, 2.0**11) and not seen[-1][0]
    assert log["left_out"].tolist()[0] == "gradient overflowed, loss scale now 2048"
    assert log["left_out"].isna().tolist() == [False] + [True] * (len(log) - 1)
    assert log["grad_norm"].notna().sum() == len(log) - 1
    for line in (tmp_path / LOG).read_text("utf-8").splitlines():
        assert "NaN" not in line and "Infinity" not in line and json.loads(line)
    state = checkpoint.restore(build(llm, "fp16"), checkpoint.newest(tmp_path))
    assert state["scaler"]["scale"] == 2.0**11


def test_an_overflow_at_every_scale_ends_with_advice(llm, tmp_path, monkeypatch):
    model = build(llm, "fp16")
    trees = make_examples(model, [12, 5, 20])
    grown = torch.nn.utils.get_total_norm
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda g: grown(g) * torch.inf)
    real = torch.amp.GradScaler
    small = {"init_scale": 0.5}
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: real(*a, **k, **small))
    with pytest.raises(InputError, match="gradient is not finite at step 1.*PRECISION bf16"):
        train(model, trees, trees[:0], PARAMS, tmp_path)
