"""A tiny LLM with a template and a chat over it, to be asked in tests; what it says is nonsense."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rnagpt_lib.model.rna_gpt import Config, RnaGpt

DIM = 6
TEXTS = ["###Human: <RNA></RNA> What type of RNA is the RNA? ###Assistant: The RNA is a tRNA."]
QUESTIONS = ["What type of RNA is it?", "Why?", "What is this RNA associated with, please?"]
CONFIG = Config("encoder", "e", DIM, "llm", "l")


def tokenizer(vocab: int = 300) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


@pytest.fixture(scope="module")
def tiny() -> RnaGpt:
    torch.manual_seed(0)
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.4,
    )
    return RnaGpt(LlamaForCausalLM(config), words, CONFIG).eval()


def greedy(model: RnaGpt, inputs: torch.Tensor, n: int) -> list[int]:
    """Token by token behind a prompt (T, H)."""
    found: list[int] = []
    for _ in range(n):
        logits = model.llm(inputs_embeds=inputs[None]).logits[0, -1]
        found.append(int(logits.argmax()))
        if found[-1] == model.tokenizer.eos_token_id:
            break
        inputs = torch.cat([inputs, model.embed([found[-1]])])
    return found


class Letters:
    """An encoder of a few numbers per letter."""

    def encode(self, sequences):
        code = torch.eye(4, DIM)
        return [code[["ACGU".index(letter) for letter in s]] for s in sequences]


class Script:
    """In place of an LLM: says the given tokens, whatever it reads; the prompt comes in pieces."""

    def __init__(self, model: RnaGpt, tokens: list[int], pieces: int):
        self.size, self.tokens, self.said = len(model.tokenizer), tokens, -pieces
        self.config = model.llm.config

    def __call__(self, *, inputs_embeds, past_key_values, **options):
        rows, length = inputs_embeds.shape[:2]
        blank = torch.zeros(rows, 1, length, 1)
        past_key_values.update(blank, blank, 0)
        self.said += 1
        logits = torch.zeros(rows, 1, self.size)
        logits[:, :, self.tokens[max(self.said, 0)]] = 1
        return type("Out", (), {"logits": logits})


def scripted(tiny, monkeypatch, text: str, end: list[int], pieces: int = 2) -> None:
    """The model says ``text`` from now on, whatever it is asked."""
    tokens = tiny.tokenizer(text, add_special_tokens=False)["input_ids"] + end
    monkeypatch.setitem(tiny._modules, "llm", Script(tiny, tokens, pieces))
    monkeypatch.setattr(
        RnaGpt, "embed", lambda self, ids: torch.zeros(*torch.as_tensor(ids).shape, 1)
    )
