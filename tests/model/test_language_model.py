"""LLMs by folder or hub id: Llama 3's kind of tokenizer, its stops, its shards, and the hub's no."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config

from rnagpt_lib.chat.decoding import answer_all
from rnagpt_lib.core import weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model import language_model
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.model.template import ids
from tests.standin import serve
from tests.standin.hub import Hub
from tests.support import llama3
from tests.support.tiny_model import DIM, config_of

QUESTION = "What type of RNA is the RNA?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama3.write(tmp_path_factory.mktemp("llama3") / "llm")


@pytest.fixture(scope="module")
def model(folder):
    return RnaGpt.build(replace(config_of(folder, "lora"), precision="bf16"))


def test_its_shards_are_read_and_hashed(folder, model, tmp_path):
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2 and model.causal.lm_head.weight.dtype == torch.bfloat16
    assert model.projection.weight.dtype == torch.float32
    copy = llama3.write(tmp_path / "llm")
    before = weights.llm_hash(copy)
    assert before == weights.llm_hash(folder)
    last = copy / shards[-1].name
    last.write_bytes(last.read_bytes()[:-2] + b"\0\1")
    assert weights.llm_hash(copy) != before


def test_a_prompt_has_one_bos_and_text_makes_no_special_token(model):
    tokenizer, template = model.tokenizer, model.template
    assert tokenizer.pad_token_id is None
    special = {tokenizer.convert_tokens_to_ids(token) for token in llama3.SPECIAL}
    question = f"Is it {llama3.TURN} or {llama3.BOS} or {llama3.END}?"
    prompt = template.prefix_ids(tokenizer) + template.question_ids(tokenizer, question)
    assert prompt[0] == tokenizer.bos_token_id and not special & set(prompt[1:])
    assert question in tokenizer.decode(prompt)
    answer = template.answer_ids(tokenizer, f"No {llama3.END}.")
    assert answer[-1] == tokenizer.eos_token_id and not special & set(answer[:-1])
    assert tokenizer.decode(ids(tokenizer, question)) == question
    assert model.ends == {tokenizer.convert_tokens_to_ids(t) for t in (llama3.TURN, llama3.END)}


@pytest.mark.parametrize("end", [llama3.TURN, llama3.END])
def test_an_answer_ends_with_any_of_its_ends(model, monkeypatch, end):
    """Made to say one word and then the token: it stops there, and the token is no text."""
    tokenizer = model.tokenizer
    said = [*ids(tokenizer, " tRNA"), tokenizer.convert_tokens_to_ids(end), 7, 7]
    head, step = model.causal.lm_head, iter(range(100))

    def logits(hidden):
        made = torch.zeros(*hidden.shape[:-1], head.out_features)
        made[..., said[next(step)]] = 1.0
        return made

    monkeypatch.setattr(head, "forward", logits)
    # the first forward reads the RNA alone
    said.insert(0, 0)
    [answer] = answer_all(model, [torch.zeros(20, DIM)], [QUESTION], max_new_tokens=20)
    assert (answer.text, answer.stop_reason) == ("tRNA", "eos")


def test_folders_that_hold_no_llm_for_us(folder, tmp_path):
    with pytest.raises(InputError, match="hf:OWNER/NAME"):
        weights.llm_folder(tmp_path)
    other = llama3.write(tmp_path / "llm")
    for path in other.glob("*.safetensors*"):
        path.unlink()
    torch.save({}, other / "pytorch_model.bin")
    with pytest.raises(InputError, match="no safetensors"):
        language_model.load(other, "fp32")
    settings = json.loads((other / "tokenizer_config.json").read_text("utf-8"))
    del settings["eos_token"]
    (other / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(InputError, match="eos_token in tokenizer_config"):
        language_model.load_tokenizer(other)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="ATTENTION is flex, which needs a CUDA GPU"):
            language_model.load(folder, "fp32", attention="flex")
    other = llama3.write(tmp_path / "scaled")
    config = json.loads((other / "config.json").read_text("utf-8"))
    for name in ("logits_scaling", "logit_scale", "final_logit_softcapping"):
        (other / "config.json").write_text(json.dumps(config | {name: 8}), "utf-8")
        with pytest.raises(InputError, match=f"scaled or capped.*{name} is 8"):
            language_model.load(other, "fp32")


# The hub.


ASK = """
import sys
from rnagpt_lib.core import weights
from rnagpt_lib.core.errors import InputError
for name in sys.argv[1:]:
    try:
        print(weights.llm_folder(name), weights.llm_hash(name))
    except InputError as error:
        print(error)
"""


def ask(names, url, cache, offline="0"):
    """A line for each; in a process of its own, as the hub's client reads settings on import."""
    settings = {"HF_ENDPOINT": url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_OFFLINE": offline}  # fmt: skip
    command = [sys.executable, "-c", ASK, *names]
    told = subprocess.run(command, capture_output=True, text=True, env=os.environ | settings)
    assert told.returncode == 0, told.stderr
    return told.stdout.splitlines()


@pytest.mark.slow
def test_a_model_of_the_hub_is_fetched_once_without_what_is_not_read(folder, tmp_path):
    there = shutil.copytree(folder, tmp_path / "hub/some/llm")
    (there / "original").mkdir()
    (there / "original/consolidated.00.pth").write_bytes(b"not read")
    hub = Hub(tmp_path / "hub")
    with serve(hub) as url:
        [first] = ask(["hf:some/llm"], url, tmp_path)
        assert first.split()[1] == weights.llm_hash(folder)
        assert not any("original" in path for path in hub.asked)
    again, other = ask(["hf:some/llm", "hf:some/other"], url, tmp_path, offline="1")
    assert again == first and "not in the cache" in other


@pytest.mark.slow
def test_the_hub_s_refusals_say_what_to_do(tmp_path):
    refuses = {
        "/gated/": (403, "GatedRepo"),
        "/gone/": (404, "RepoNotFound"),
        "/old/": (404, "RevisionNotFound"),
        "/busy/": (400, "Other"),
    }
    said = {
        "hf:gated/llm": "licence must be accepted",
        "hf:gone/llm": "no such model",
        "hf:old/llm@v9": "no revision v9",
        "hf:busy/llm": "cannot be reached",
        "hf:not a name": "OWNER/NAME",
    }
    with serve(Hub(tmp_path, refuses=refuses)) as url:
        for line, (name, reason) in zip(ask(said, url, tmp_path), said.items(), strict=True):
            assert line.startswith(f"{name}: ") and reason in line


def test_within_its_window_an_llm_sees_all():
    length = {"max_position_embeddings": 8192}
    for config, tokens in [
        (LlamaConfig(**length), 8192),
        (MistralConfig(**length, sliding_window=512), 512),
        (MistralConfig(**length, sliding_window=None), 8192),
        (Qwen2Config(**length, sliding_window=512), 8192),
        (Gemma3TextConfig(**length, sliding_window=512), 512),
    ]:
        assert language_model.reach(config) == tokens
