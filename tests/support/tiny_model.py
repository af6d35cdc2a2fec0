"""A tiny LLM with grouped-query attention, and RNAs with pairs to train it on."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rnagpt_lib.core.weights import llm_hash
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.packing import Tree
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.model.template import ids
from rnagpt_lib.model.vector_cache import encode_all
from rnagpt_lib.train.loop import Trainer
from rnagpt_lib.train.training_examples import Examples, stage2_examples

DIM = 8
TINY = {
    "layers": 2,
    "embed_dim": 16,
    "ffn_embed_dim": 32,
    "attention_heads": 2,
    "max_positions": 1024,
    "token_dropout": True,
    "emb_layer_norm_before": True,
}  # an encoder
TEXTS = [
    "The RNA is a tRNA. It is associated with glioma and regulates cell growth.",
    "###Human: <RNA></RNA> What type of RNA is the RNA? ###Assistant: ACGUACGU",
]
QUESTIONS = ("What type of RNA is the RNA?", "", "Is it associated with glioma?")
ANSWERS = ("A tRNA.", "The RNA regulates cell growth.", "Yes, the RNA is associated with glioma.")


def write_llm(folder: Path) -> Path:
    """A random 2-layer Llama with 4 query and 2 key-value heads, and a byte-level BPE."""
    folder.mkdir(parents=True, exist_ok=True)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llm(tmp_path_factory) -> Path:
    """The tiny LLM, written once; nothing may be changed in its folder."""
    return write_llm(tmp_path_factory.mktemp("llm"))


def letters_prompt(model: RnaGpt, letters: str, question: str) -> list[int]:
    """The ids of a prompt with the nucleotides as letters, as the untouched LLM reads it."""
    template, tokenizer = model.template, model.tokenizer
    middle = ids(tokenizer, letters) + template.question_ids(tokenizer, question)
    return template.prefix_ids(tokenizer) + middle


def trained(model: RnaGpt) -> list[torch.Tensor]:
    """What trains."""
    return [p.detach() for p in model.parameters() if p.requires_grad]


def config_of(llm: Path, train: str = "projection") -> Config:
    return Config("models/none", "0" * 64, DIM, str(llm), llm_hash(llm), train, lora_rank=4)


def with_encoder(config: Config, folder: Path, layers: int) -> Config:
    """The config over a tiny encoder, saved in ``folder``, of which the last ``layers`` train."""
    encoder = Encoder.fresh(TINY, seed=0)
    encoder.save(folder, {})
    made = {"encoder": str(folder), "encoder_hash": encoder.hash, "encoder_dim": encoder.dim}
    return replace(config, **made, encoder_layers=layers)


def double(model: RnaGpt) -> RnaGpt:
    """The model in fp64, its adapters away from their start at zero."""
    model.double()
    if model.encoder:
        model.encoder.model.double()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return model


def rna_tables(lengths: list[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """rnas and pairs: RNA i has 1 to 3 pairs, one of them with an empty question."""
    rnas = pd.DataFrame(
        {"rna_id": f"R{i}", "sequence": "ACGU" * (n // 4) + "A" * (n % 4) + "C" * i}
        for i, n in enumerate(lengths)
    )
    pairs = pd.DataFrame(
        {
            "rna_id": f"R{i}",
            "kind": "literature",
            "question": QUESTIONS[j],
            "answer": ANSWERS[(i + j) % 3],
        }
        for i in range(len(lengths))
        for j in range(1 + i % 3)
    )
    return rnas, pairs


def random_embeddings(rnas: pd.DataFrame) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {s: torch.randn(len(s), DIM, generator=generator) for s in rnas["sequence"]}


def make_examples(model: RnaGpt, lengths: list[int]) -> Examples:
    """Random vectors, or those of the model's own encoder, where it has one."""
    rnas, pairs = rna_tables(lengths)
    if model.encoder is None:
        return stage2_examples(model, rnas, pairs, random_embeddings(rnas))
    live = encode_all(model.encoder, rnas["sequence"].tolist(), Path(), "live")
    return stage2_examples(model, rnas, pairs, live)


def broken(tree: Tree) -> Tree:
    return replace(tree, embeddings=torch.full_like(tree.embeddings, torch.nan))


@contextmanager
def interrupted_after(steps: int) -> Iterator[None]:
    """A training in this block is stopped by Ctrl-C after so many steps."""
    update, calls = Trainer.update, []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) > steps:
            raise KeyboardInterrupt
        return update(*arguments)

    with patch.object(Trainer, "update", dies), pytest.raises(KeyboardInterrupt):
        yield


@contextmanager
def read_only(*folders: Path) -> Iterator[None]:
    """Nothing can be written into these, not even by root, who is somebody else here."""
    user, modes = os.geteuid(), {folder: folder.stat().st_mode for folder in folders}
    for folder in folders:
        folder.chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for folder, mode in modes.items():
            folder.chmod(mode)


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """The kernel refuses every byte of a file beyond ``size``, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Counted(Encoder):
    """An encoder that notes what goes through it."""

    seen: list[str]

    def _forward(self, sequences):
        self.seen += sequences
        return super()._forward(sequences)


def new_encoder(seed: int = 0) -> Counted:
    encoder = Counted.fresh(TINY, seed)
    encoder.seen = []
    return encoder
