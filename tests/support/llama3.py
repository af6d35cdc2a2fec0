"""A small LLM in the format of Llama 3 Instruct: its kind of tokenizer, stops, shapes and shards."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

BOS, END, TURN = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
SPECIAL = [BOS, END, "<|start_header_id|>", "<|end_header_id|>", TURN]
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
TEXTS = [
    "What type of RNA is the RNA? It is a tRNA. ###Human: <RNA></RNA> ###Assistant: Yes, it is.",
    "This RNA is associated with glioma and regulates cell growth.",
]


def write(
    folder: Path, shard: str = "40KB", vocabulary: int = 400, texts: Sequence[str] = TEXTS
) -> Path:
    """Random weights: grouped queries, untied embeddings, bf16 in shards; no pad token.

    The tokenizer's words are those of ``texts``.
    """
    tokenizer = _tokenizer(vocabulary, texts)
    tokenizer.save_pretrained(folder)
    ends = [tokenizer.convert_tokens_to_ids(END), tokenizer.eos_token_id]
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=112, num_hidden_layers=2,
        num_attention_heads=8, num_key_value_heads=2, max_position_embeddings=8192,
        rope_theta=500_000.0, rms_norm_eps=1e-5, tie_word_embeddings=False, initializer_range=0.1,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=ends[0], dtype="bfloat16",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        llm = LlamaForCausalLM(config).to(torch.bfloat16)
    llm.lm_head.weight.data[ends] *= 3  # a random model would hardly ever end its answers
    llm.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=ends, do_sample=True, temperature=0.6
    )
    logging.disable_progress_bar()
    llm.save_pretrained(folder, max_shard_size=shard)
    return folder


def _tokenizer(vocabulary: int, texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE over Llama 3's words; BOS is added to what is not said to be plain text."""
    bpe = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, whole])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_special_tokens(SPECIAL)
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, bpe.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=BOS, eos_token=TURN, chat_template=CHAT,
        model_max_length=131_072, clean_up_tokenization_spaces=False,
    )  # fmt: skip
