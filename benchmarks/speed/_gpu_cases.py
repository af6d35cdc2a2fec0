"""What is measured on a GPU: RNAs, and the ways of taking one step over all of their pairs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig

from benchmarks.speed import _steps as steps
from rnagpt_lib.model.attention import FLEX
from rnagpt_lib.model.packing import Tree

LLAMA3_8B = LlamaConfig(
    vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32,
    num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=8192, rms_norm_eps=1e-5,
)  # fmt: skip
SDPA = "sdpa"


@dataclass(frozen=True)
class Plan:
    """The file to keep, the LLM and where it lies, lengths in nt, tokens of a long row, repeats."""

    results: Path
    config: LlamaConfig
    device: str = "cuda"
    dtype: torch.dtype = torch.bfloat16
    lengths: tuple[int, int, int] = (75, 300, 1022)
    pairs: int = steps.PAIRS
    long_row: int = 8192
    repeats: int = 5


@dataclass(frozen=True)
class Way:
    """``losses`` of one step; of several, the first for which memory suffices is measured."""

    losses: tuple[Callable[[steps.Model, list[Tree]], Iterator[Tensor]], ...]
    attention: str = SDPA
    compiled: bool = False
    copies: bool = False  # of the RNA, one for each pair

    def tokens(self, trees: list[Tree]) -> int:
        """What a step reads, without pads."""
        return sum(map(len, steps.alone(trees) if self.copies else trees))


@dataclass(frozen=True)
class Case:
    """RNAs, and the ways to be measured in turn."""

    name: str
    trees: list[Tree]
    ways: dict[str, Way]


def cases(plan: Plan, trains: str) -> Iterator[Case]:
    """What tells most comes first, since a run may be stopped."""
    short, middle, long = plan.lengths
    yield _one_rna(plan, trains, middle)
    yield _long_row(plan, trains, middle)
    yield _one_rna(plan, trains, long)
    yield _one_rna(plan, trains, short)
    if trains == "projection":
        yield _stage1(plan, short)
        yield _stage1(plan, middle)


def _one_rna(plan: Plan, trains: str, length: int) -> Case:
    tree = steps.rna(length, plan.pairs, plan.config.vocab_size, plan.device)
    every = partial(steps.shared, everywhere=True)
    ways = {
        "naive": Way((steps.naive,), copies=True),
        "padded": Way(
            tuple(partial(steps.padded, together=n) for n in (24, 12, 6, 3)), copies=True
        ),
        "padding-free": Way((steps.unshared,), copies=True),
        "padding-free, flex": Way((steps.unshared,), FLEX, copies=True),
        "packed": Way((steps.shared,)),
        "packed, flex": Way((steps.shared,), FLEX),
        "packed, logits of all tokens": Way((every,)),
    }
    return Case(f"stage 2, {trains}, {length:,} nt", [tree], ways)


def _long_row(plan: Plan, trains: str, length: int) -> Case:
    tree = steps.rna(length, plan.pairs, plan.config.vocab_size, plan.device)
    trees = [tree] * (plan.long_row // len(tree))
    beside = (partial(steps.shared, tokens=plan.long_row),)
    behind = (partial(steps.one_row, tokens=plan.long_row),)
    ways = {
        "a row each": Way(beside),
        "a row each, compiled": Way(beside, compiled=True),
        "one row": Way(behind),
        "one row, flex": Way(behind, FLEX),
        "one row, flex, compiled": Way(behind, FLEX, compiled=True),
    }
    return Case(f"{plan.long_row:,} tokens, {trains}, RNAs of {length:,} nt", trees, ways)


def _stage1(plan: Plan, length: int) -> Case:
    tree = steps.annotated(length, plan.config.vocab_size, plan.device)
    ways = {
        "naive": Way((steps.naive,), copies=True),
        "packed": Way((partial(steps.shared, tokens=plan.long_row),)),
        "packed, flex": Way((partial(steps.one_row, tokens=plan.long_row),), FLEX),
    }
    return Case(f"stage 1, projection, {length:,} nt", [tree] * plan.pairs, ways)
