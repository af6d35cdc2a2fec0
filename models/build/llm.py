"""The miniature LLM: a byte-level tokenizer, and a small Llama trained to write the next token."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rnagpt_lib.core.files import sha256, write_json

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
VOCABULARY = 2000
LLM = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
ROW = 512  # tokens; documents are packed into rows without padding
# Every letter of a run of nucleotides is a token, and so is every digit.
NUCLEOTIDE = "[ACGU](?=[ACGU]{7})|(?<=[ACGU]{7})[ACGU]"


def make_tokenizer(texts: Sequence[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Byte-level BPE over ``texts``, with distinct BOS, EOS and PAD, none of them added unasked."""
    tokenizer = Tokenizer(models.BPE())
    letters = pre_tokenizers.Split(Regex(NUCLEOTIDE), behavior="isolated")
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([letters, digits, words])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=LLM["max_position_embeddings"],
        clean_up_tokenization_spaces=False,
    )


def make_llm(tokenizer: PreTrainedTokenizerFast, seed: int, **sizes: int) -> LlamaForCausalLM:
    """An untrained Llama of ``LLM``'s sizes (``sizes`` override them) over this tokenizer."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        **(LLM | sizes),
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def next_token_losses(
    llm: LlamaForCausalLM, documents: list[list[int]], step_tokens: int, seed: int
) -> Iterator[Tensor]:
    """One loss (nats a token) a step, over ``step_tokens`` tokens of shuffled documents."""
    rows = endless_rows(documents, random.Random(seed))
    while True:
        batch = torch.tensor([next(rows) for _ in range(max(1, step_tokens // ROW))])
        with torch.autocast("cpu", torch.bfloat16):
            loss = llm(input_ids=batch, labels=batch).loss
        yield loss


def tokenise(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Each text as BOS … EOS."""
    found = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id] for ids in found]


def endless_rows(documents: list[list[int]], rng: random.Random) -> Iterator[list[int]]:
    """Rows of ``ROW`` tokens cut from the documents in a new order each time round."""
    row: list[int] = []
    while True:
        for document in rng.sample(documents, len(documents)):
            row.extend(document)
            while len(row) >= ROW:
                yield row[:ROW]
                row = row[ROW:]


@torch.no_grad()
def perplexity(llm: LlamaForCausalLM, documents: list[list[int]]) -> float:
    """Per token, over documents read each on its own."""
    total, count = 0.0, 0
    for document in documents:
        ids = torch.tensor([document])
        total += float(llm(input_ids=ids, labels=ids).loss) * (len(document) - 1)
        count += len(document) - 1
    return float(torch.tensor(total / count).exp())


def save_llm(
    llm: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, facts: dict
) -> None:
    """Weights as fp16 safetensors, config, tokenizer, and a manifest with ``facts``."""
    folder.mkdir(parents=True, exist_ok=True)
    llm.half().save_pretrained(folder)
    llm.float()
    tokenizer.save_pretrained(folder)
    names = ("model.safetensors", "config.json", "tokenizer.json")
    write_json(folder / "manifest.json", facts | {"files": {n: sha256(folder / n) for n in names}})
