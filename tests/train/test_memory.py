"""The estimate of a step's memory against what PyTorch really keeps, and the sizes of Llama 3 8B."""

import json
import re

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import LlamaConfig, LlamaForCausalLM

from rnagpt_lib.core import params as profiles
from rnagpt_lib.core.params import Stage1, Stage2
from rnagpt_lib.model import language_model
from rnagpt_lib.train import doctor
from rnagpt_lib.train.doctor import estimate_memory

SHAPE = {"vocab_size": 300, "hidden_size": 128, "intermediate_size": 448, "num_attention_heads": 8,
         "num_key_value_heads": 2, "num_hidden_layers": 2}  # fmt: skip
LLAMA_3_8B = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128_256,
    "hidden_size": 4096, "intermediate_size": 14_336, "num_attention_heads": 32,
    "num_key_value_heads": 8, "num_hidden_layers": 32, "tie_word_embeddings": False,
}  # fmt: skip


def really_kept(llm: torch.nn.Module, tokens: int) -> int:
    """Bytes that the forward pass keeps for the way back, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in llm.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held: no address comes twice
        return tensor

    inputs = torch.randn(1, tokens, 128, dtype=llm.dtype, requires_grad=True)
    mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()[None, None]
    base = llm.get_base_model() if hasattr(llm, "get_base_model") else llm
    half = torch.autocast("cpu", llm.dtype, enabled=llm.dtype != torch.float32)
    saved = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with saved, half, disable_input_dtype_casting(llm):  # as RnaGpt.amp
        base.model(inputs_embeds=inputs, attention_mask=mask, use_cache=False)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("train", ["projection", "lora"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_the_way_back_keeps(tmp_path, train, precision):
    llm = LlamaForCausalLM(LlamaConfig(**SHAPE)).to(language_model.DTYPES[precision])
    llm.config.save_pretrained(tmp_path)
    need = estimate_memory(tmp_path, Stage2(precision=precision, train=train), 48)
    assert need["weights"] == sum(p.numel() * p.element_size() for p in llm.parameters())
    llm.requires_grad_(False)
    if train == "lora":
        options = {"r": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
        llm = get_peft_model(llm, LoraConfig(**options))
    adapters = sum(p.numel() for p in llm.parameters() if p.requires_grad)
    copies = adapters * 2 if precision == "bf16" else 0  # what autocast multiplies with
    assert need["adapters"] == doctor.TRAINED * adapters + copies
    assert need["activations"] == pytest.approx(really_kept(llm, 48) - copies, rel=0.1)


def test_llama_3_8b_has_its_size_and_is_shared_by_several_gpus(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_3_8B), "utf-8")
    params = Stage1(precision="bf16")
    whole, eighth = (estimate_memory(tmp_path, params, 2048, shares) for shares in (1, 8))
    assert whole["weights"] == 2 * 8_030_261_248  # as its publisher counts
    rest = 2 * 2 * 128_256 * 4096  # the embeddings, in and out, which each gathers whole
    assert eighth["weights"] == pytest.approx(whole["weights"] / 8 + rest, rel=0.01)
    assert eighth["activations"] == whole["activations"]
    small = estimate_memory(tmp_path, Stage2(precision="bf16", train="qlora"), 2048)
    assert 5e9 < small["weights"] < 7e9 and small["activations"] > whole["activations"]
    assert 1.05 * whole["weights"] < sum(whole.values()) < 40e9


SMOLLM2_135M = LLAMA_3_8B | {
    "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
    "num_key_value_heads": 3, "num_hidden_layers": 30, "tie_word_embeddings": True,
}  # fmt: skip


def test_a_small_llm_on_a_processor_takes_what_was_measured(tmp_path, monkeypatch):
    """3.7 GB, of which its many logits and the program itself are a third."""
    monkeypatch.setattr(doctor, "_device", lambda: ("a computer", 32e9))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "config.json").write_text(json.dumps(SMOLLM2_135M), "utf-8")
    asked = {"llm": str(tmp_path), "precision": "bf16", "train": "lora", "row_tokens": 2048}
    profile = profiles.overridden(profiles.load("reference"), asked)
    said = doctor._memory(profile, "05_train_stage2")
    need = float(re.search(r"about ([\d.]+) GB", said)[1])
    assert need == pytest.approx(3.7, rel=0.1), said
    parts = estimate_memory(tmp_path, Stage2(precision="bf16"), 2048, 1, 1000)
    assert parts["logits"] == 1000 * 49_152 * doctor.LOGIT
