"""A BERT with random weights and a vocabulary of letters, as a folder."""

from pathlib import Path

import torch
from transformers import BertConfig, BertForPreTraining, BertTokenizer

LETTERS = list("abcdefghijklmnopqrstuvwxyz.,0123456789")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS)]
TINY = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
TINY |= {"intermediate_size": 32, "initializer_range": 1.0}


def write(folder: Path, **config: object) -> Path:
    """As published BERTs are: with the heads of its training. No arguments: BERT-base's shape."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    BertForPreTraining(BertConfig(vocab_size=len(WORDS), **config)).save_pretrained(folder)
    return folder
