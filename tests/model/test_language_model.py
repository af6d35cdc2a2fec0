"""LLMs by folder or hub id: Llama 3's kind of tokenizer, its stops, its shards, and the hub's no."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config

from rnagpt_lib.chat.decoding import answer_all
from rnagpt_lib.chat.generate import Chat
from rnagpt_lib.core import weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.evaluate.text_scores import BertScore, Weights
from rnagpt_lib.model import language_model, template
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.model.template import ChatTemplate, Template, bos_ids, ids
from tests.standin import serve
from tests.standin.hub import Hub
from tests.support import llama3
from tests.support.tiny_model import DIM, config_of

KNOWN = "74fd302e821170190ff47c06ac0dd9fde4d1c17b31e2abec43b7a74bd9d87d99"  # of the miniature, in the configs of its models
QUESTION = "What type of RNA is the RNA?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama3.write(tmp_path_factory.mktemp("llama3") / "llm")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """With its weights in one file, as a scorer's are."""
    return llama3.write(tmp_path_factory.mktemp("whole") / "llm", shard="1GB")


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


def test_a_list_beside_the_config_is_no_damage(tmp_path):
    copy = llama3.write(tmp_path / "llm")
    (copy / "data_config.json").write_text('[{"name": "a training set"}]')  # as MiniLM has one
    assert weights.check_folder(copy) == copy


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


def test_its_own_chat_template_alone_makes_special_tokens(model):
    tokenizer, own = model.tokenizer, ChatTemplate.of(model.tokenizer)
    said = f"Is it {llama3.TURN} or <RNAHere> or {llama3.BOS}, {{question}}?"
    read = own.prefix_ids(tokenizer) + ids(tokenizer, "ACGU") + own.question_ids(tokenizer, said)
    special = [tokenizer.convert_tokens_to_ids(token) for token in llama3.SPECIAL]
    bos, _, head, foot, turn = special
    assert [i for i in read if i in special] == [bos, head, foot, turn, head, foot]
    assert tokenizer.decode(read) == (
        f"{llama3.BOS}<|start_header_id|>user<|end_header_id|>\n\n<RNA>ACGU</RNA> {said}"
        f"{llama3.TURN}<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    chat = Chat("vanilla", model, None, 4, "h").in_own_template()
    assert chat.model.template == own and model.template == Template() and chat.hash != "h"
    assert chat.model.causal.lm_head.weight is model.causal.lm_head.weight
    answers = chat.answer_all(["ACGUACGUACGU"], [QUESTION])
    assert answers != Chat("vanilla", model, None, 4).answer_all(["ACGUACGUACGU"], [QUESTION])
    assert Chat("IT", model, None).in_own_template() is None


SAID = "{% for m in messages %}{{ m.content }}{% endfor %}"
DOUBLED = "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"
TEMPLATES = {  # its program, what is wrong with it
    "wrong": ("{% for %}", "cannot be used (Expected an expression, got 'end of statement block')"),
    "refuses": ("{{ raise_exception('no\n\x1b[2J') }}", "it cannot be used (no �[2J)"),
    "elsewhere": ("{{ open('/etc/passwd') }}", "'open' is undefined"),
    "silent": ("hello", "as it is, and once"), "twice": (SAID + SAID, "as it is, and once"),
    "long": ("{{ 'x' * 9999 }}" + SAID, "it writes 2,000 letters or more"),
    "two places": (f"<RNAHere>{SAID}", "and once"), "two questions": (SAID + "{question}", "and once"),
    "large": ("{{ messages[0]['content'] + 'x'*(10**9) }}", "it takes too much memory"),
    "larger": ("{{ '%1000000000d' % 1 }}" + SAID, "it takes too much memory"),
    "wide": ("{{ 'x' | center(3000000000) }}" + SAID, "it takes too much memory"),
    "doubled": (DOUBLED + SAID, "it takes too much memory"),
    "endless": ("{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3, "it does not end within 1 s"),
    "a number": ("{{ 9 ** (9 ** 9) }}", "it does not end within 1 s"),
    "two of them": ({"a": SAID, "b": SAID}, "it cannot be used"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_template_that_puts_no_question_says_why_in_bounds(model, monkeypatch, name):
    program, fault = TEMPLATES[name]
    monkeypatch.setattr(model.tokenizer, "chat_template", program)
    monkeypatch.setattr(template, "SECONDS", 1)
    with pytest.raises(InputError) as raised:
        Chat("vanilla", model, None).in_own_template()
    assert fault in str(raised.value) and len(str(raised.value)) <= 200
    assert not multiprocessing.active_children()


def test_no_chat_template_is_none_and_a_plain_one_is_one(model, monkeypatch):
    for program, good in ((None, False), (SAID, True), (f"[{SAID}]", True)):
        monkeypatch.setattr(model.tokenizer, "chat_template", program)
        assert bool(ChatTemplate.of(model.tokenizer)) == good
        assert bool(Chat("vanilla", model, None).in_own_template()) == good


def test_a_chat_template_that_writes_the_day_is_the_same_on_every_day(model, monkeypatch):
    program = (
        "{% if not date_string is defined %}{{ strftime_now('%d') }}{% endif %}{{ date_string }} "
    )
    program += "{% for m in messages %}{{ m.content }}{% endfor %}"
    monkeypatch.setattr(model.tokenizer, "chat_template", program)
    assert ChatTemplate.of(model.tokenizer).prompt.startswith("26 Jul 2024 <RNA>")


TURNS = [
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}{% endfor %}",
    '{%- for m in messages -%}{{- bos_token ~ m["role"] -}}{{ m.content }}{%- endfor -%}',
]


def test_a_bos_that_opens_every_turn_opens_no_prompt(folder, model):
    """As of SmolLM2 Instruct: behind it the LLM waits for a role, and no ###Human: is one."""
    assert bos_ids(model.tokenizer) == [model.tokenizer.bos_token_id]  # once, before all turns
    words = language_model.load_tokenizer(folder)
    words.add_special_tokens({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"})
    for turns in TURNS:
        words.chat_template = turns
        assert bos_ids(words) == []
    assert Template().prefix_ids(words) == ids(words, "###Human: <RNA>")
    other = language_model.load_tokenizer(folder)
    other.chat_template = None
    assert bos_ids(other) == [other.bos_token_id]
    assert bos_ids(language_model.load_tokenizer("models/mini-llm")) == [0]


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


# What others put into a folder.


def changed(folder, to, **files):
    """A copy whose JSON files say more."""
    shutil.copytree(folder, to)
    for name, more in files.items():
        path = to / f"{name}.json"
        said = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        path.write_text(json.dumps(said | more), "utf-8")
    return to


def readings(folder):
    """All ways by which a folder's files are read."""
    llm = str(folder)
    return (
        lambda: weights.llm_folder(llm), lambda: weights.llm_hash(llm),
        lambda: language_model.load(llm, "fp32"), lambda: language_model.load_tokenizer(llm),
        lambda: language_model.outline(folder), lambda: BertScore("x", folder, Weights("x", 1)),
    )  # fmt: skip


OWN = {"auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M",
                   "AutoTokenizer": ["own.T", None]}}  # fmt: skip
PROGRAMS = {
    "config": {"config": OWN},
    "tokenizer": {"tokenizer_config": OWN},
    "deep": {"config": {"text_config": {"parts": [OWN]}}},
    "elsewhere": {"config": {"auto_map": {"AutoModelForCausalLM": "some/repo--own.M"}}},
    "file alone": {},
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_no_program_of_a_folder_is_run(whole, tmp_path, monkeypatch, case):
    monkeypatch.setattr("builtins.input", lambda _: "y")
    other = changed(whole, tmp_path / "llm", **PROGRAMS[case])
    if case != "elsewhere":
        (other / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        for read in readings(other):
            with pytest.raises(InputError, match="own.py is a program"):
                read()
        (other / "own.py").unlink()
    if PROGRAMS[case]:
        for read in readings(other):
            with pytest.raises(InputError, match="config.json asks for a program of its own"):
                read()
    assert not (tmp_path / "ran").exists()


def test_attention_is_ours_and_adapters_are_not_taken(whole, tmp_path):
    kernel = {"attn_implementation": "somebody/kernel", "_attn_implementation": "somebody/kernel"}
    other = changed(whole, tmp_path / "llm", config=kernel)
    assert language_model.load(other, "fp32").config._attn_implementation == "blockwise"
    assert language_model.outline(other).config._attn_implementation == "blockwise"
    (other / "adapter_config.json").write_text('{"base_model_name_or_path": "some/llm"}')
    for read in readings(other):
        with pytest.raises(InputError, match="adapters on top of another LLM"):
            read()


ABSURD = [
    {"num_hidden_layers": 10**12}, {"num_hidden_layers": 3}, {"num_hidden_layers": "many"},
    {"hidden_size": 10**400}, {"hidden_size": 10**9}, {"hidden_size": -64}, {"hidden_size": None},
    {"vocab_size": 10**10}, {"vocab_size": 0}, {"num_attention_heads": 10**9},
    {"num_attention_heads": 0}, {"rms_norm_eps": 1e400}, {"rms_norm_eps": float("nan")},
    {"rope_parameters": {"rope_type": "none of ours"}}, {"model_type": "none of ours"},
    {"model_type": ["llama"]}, {"intermediate_size": 10**7}, {"eos_token_id": [[1]]},
]  # fmt: skip


@pytest.mark.parametrize("config", ABSURD, ids=str)
def test_numbers_that_no_model_has_are_a_sentence(folder, tmp_path, config):
    other = changed(folder, tmp_path / "llm", config=config)
    with pytest.raises(InputError, match=f"{other}.*|the weights lack"):
        language_model.load(other, "fp32")


@pytest.mark.parametrize("name", ["config", "tokenizer_config", "generation_config"])
@pytest.mark.parametrize("text", ["[]", "7", "[" * 100_000, '{"a": ' * 100_000, "{", '{"a": 1' * 9])
def test_json_of_another_kind_is_a_sentence(folder, tmp_path, name, text):
    other = changed(folder, tmp_path / "llm")
    (other / f"{name}.json").write_text(text)
    with pytest.raises(InputError, match=rf"{name}.json is damaged \(.*\); restore it$"):
        weights.llm_hash(other)


def test_the_ends_of_its_generation_config_are_hashed(folder, tmp_path):
    before = weights.llm_hash(folder)
    said = json.loads((folder / "generation_config.json").read_text("utf-8"))
    first, second = said["eos_token_id"]
    for number, ends in enumerate(([first], [first, second, 7], None, [9])):
        more = {"generation_config": {"eos_token_id": ends}}
        assert weights.llm_hash(changed(folder, tmp_path / str(number), **more)) != before
    # what no answer depends on is left out, and with it what the miniature's hash never had
    more = {"generation_config": {"temperature": 0.1}}
    assert weights.llm_hash(changed(folder, tmp_path / "warm", **more)) == before
    assert weights.llm_hash("models/mini-llm") == KNOWN


def test_the_chat_template_that_decides_on_the_bos_is_hashed(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "llm")
    known, tokenizer = {weights.llm_hash(copy)}, language_model.load_tokenizer
    assert len(bos_ids(tokenizer(copy))) == 1
    (copy / "chat_template.jinja").write_text(TURNS[2])
    assert bos_ids(tokenizer(copy)) == []
    known.add(weights.llm_hash(copy))
    (copy / "additional_chat_templates").mkdir()
    for name in ("default", "chat_template"):
        (copy / f"additional_chat_templates/{name}.jinja").write_text(SAID)
        known.add(weights.llm_hash(copy))
    assert len(known) == 4


# The hub.


ASK = """
import sys
from rnagpt_lib.core import weights
from rnagpt_lib.core.errors import InputError
for name in sys.argv[1:]:
    try:
        print(weights.llm_folder(name, download=True), weights.llm_hash(name))
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


FOLDERS_WORD = """
import sys
from rnagpt_lib.core import weights
from rnagpt_lib.core.errors import InputError
for download in (False, True):
    try:
        weights.llm_folder("hf:some/llm", download)
    except InputError as error:
        print(error)
"""


@pytest.mark.slow
def test_the_hub_is_asked_for_what_the_user_names_alone(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "hub/some/llm")
    hub = Hub(tmp_path / "hub")
    with serve(hub) as url:
        settings = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path), "HF_TOKEN": "hf_canary"}
        for offline, lines in (("1", 2), ("0", 1)):
            told = subprocess.run(
                [sys.executable, "-c", FOLDERS_WORD], capture_output=True, text=True,
                env=os.environ | settings | {"RNAGPT_OFFLINE": offline},
            )  # fmt: skip
            assert len(told.stdout.splitlines()) == lines, told.stderr
            assert bool(hub.asked) == (offline == "0")
            said = "RNAGPT_OFFLINE forbids" if offline == "1" else "-p LLM hf:some/llm"
            assert said in told.stdout


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
