"""RNA-FM's checkpoint with random weights, in the file format in which its authors publish it."""

import argparse
from pathlib import Path

import torch

from rnagpt_lib.model.encoder import UNUSED, Encoder

FULL = {
    "layers": 12,
    "embed_dim": 640,
    "ffn_embed_dim": 5120,
    "attention_heads": 20,
    "max_positions": 1024,
    "token_dropout": True,
    "emb_layer_norm_before": True,
}


def write(path: Path, config: dict, **other: object) -> Path:
    """A checkpoint as fairseq writes it: names, options and all; ``other`` options besides."""
    encoder = Encoder.fresh(config, seed=1)
    prefix = {name: "encoder." if name.startswith("lm_head") else "encoder.sentence_encoder."
              for name in encoder.model.state_dict() if name not in UNUSED}  # fmt: skip
    weights = {prefix[name] + name: encoder.model.state_dict()[name] for name in prefix}
    sizes = {f"encoder_{name}": config[name] for name in config if name.endswith(("dim", "heads"))}
    args = argparse.Namespace(
        arch="roberta_large", encoder_layers=config["layers"], max_positions=1024, **sizes,
        token_dropout=True, no_token_positional_embeddings=False, lr=[1e-4], save_dir=None, **other,
    )  # fmt: skip
    torch.save({"args": args, "model": weights}, path)
    return path
