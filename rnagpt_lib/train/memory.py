"""How much memory a training step takes, told from the LLM's shapes before a weight is loaded."""

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from rnagpt_lib.core.params import Train
from rnagpt_lib.model import language_model

# Bytes that one layer keeps for the way back, per token: so many times the hidden width and so
# many times the inner width, by precision and by whether adapters (in fp32) train beside.
KEPT = {(2, False): (16, 6), (2, True): (24, 8), (4, False): (24, 12), (4, True): (32, 16)}
FOUR_BITS = 0.53  # bytes a weight, with the scales of its blocks
TRAINED = 16  # bytes a trained parameter: itself, its gradient and AdamW's two moments, in fp32
RESERVE = 1.1  # buffers and fragments


@dataclass(frozen=True)
class Memory:
    """Bytes of one step: the LLM's weights, what trains, what the way back keeps, logits."""

    weights: int
    trained: int
    kept: int
    logits: int

    @property
    def total(self) -> int:
        """All of them, with a tenth in reserve."""
        return int(RESERVE * (self.weights + self.trained + self.kept + self.logits))


def of_training(
    folder: Path, params: Train, dim: int, tokens: int, answers: int, shares: int = 1
) -> Memory:
    """An estimate for an LLM's folder, an encoder of width ``dim``, a pass of ``tokens`` tokens.

    ``answers`` of the tokens carry loss. ``shares``: processes over which the weights are cut
    (FSDP); each gathers one unit at a time. Shapes alone are read, from ``config.json``.
    """
    llm, train = _shapes(folder), getattr(params, "train", "projection")
    config = llm.config
    linear = {n: m for n, m in llm.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"}
    inner = sum(m.weight.numel() for m in linear.values())
    each = language_model.DTYPES[params.precision].itemsize
    weights = each * sum(p.numel() for p in llm.parameters())
    if train == "qlora":
        weights -= int((each - FOUR_BITS) * inner)
    if shares > 1:
        layers = sum(p.numel() for p in llm.base_model.layers.parameters())
        rest = sum(p.numel() for p in llm.parameters()) - layers
        weights = weights // shares + each * max(layers // config.num_hidden_layers, rest)
    trained = TRAINED * (dim + 1) * config.hidden_size
    if train != "projection":
        widths = sum(m.in_features + m.out_features for m in linear.values())
        trained += (TRAINED + each % 4) * params.lora_rank * widths  # a copy in half precision
    by_width, by_inner = KEPT[each, train != "projection"]
    layer = by_width * config.hidden_size + by_inner * config.intermediate_size
    logits = answers * config.vocab_size * (each + 3 * 4)  # with fp32, softmax and gradient
    kept = tokens * layer * config.num_hidden_layers
    return Memory(weights, trained, kept, logits)


def peak(device: torch.device) -> int:
    """The most bytes that this process has held: of the GPU, or of the computer's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _shapes(folder: Path) -> nn.Module:
    """The LLM without weights."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)
