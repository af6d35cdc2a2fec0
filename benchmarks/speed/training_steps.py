"""Rows 1 to 5: one training step of ours against the ways of peers, on the CPU.

All ways run over one LLM of random weights, in turn, after their gradients were found equal. The
peers make logits of all tokens, as transformers does for labels; what packing alone brings, against
the same peers with logits where an answer is predicted, stands beside each ratio.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch
from torch import Tensor
from transformers import LlamaConfig

from benchmarks.speed import _peers
from benchmarks.speed import _steps as steps
from rnagpt_lib.model.packing import Tree

CONFIG = LlamaConfig(
    vocab_size=32_000, hidden_size=512, intermediate_size=1376, num_hidden_layers=4,
    num_attention_heads=8, num_key_value_heads=2,
)  # fmt: skip
THREADS, REPEATS, ROW_TOKENS = 2, 5, 2048
EQUAL = 1e-4  # relative error of a gradient in fp32
SHAPE = f"Llama-shaped, 512 wide, 4 layers, vocabulary 32,000, fp32, {THREADS} threads"
PAIRS = f"{steps.PAIRS} pairs of 70 tokens, 25 of them answer; projection and LoRA r 16 train"
# by length in nt: against naive, against a padded batch
TARGETS = {75: (2.3, 1.6), 300: (3, 3.5), 1022: (6, 9)}
PACKED = "shared-prefix packing, answer-only logits"

Way = Callable[[steps.Model, list[Tree]], Iterator[Tensor]]


def main() -> None:
    """Measure all rows and write them."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        _peers.keep_rows("training_steps", list(rows()))
    finally:
        torch.set_num_threads(before)


def rows() -> Iterator[dict]:
    """All rows, in the order of the table."""
    torch.manual_seed(0)
    stage2, stage1 = steps.Model(CONFIG, lora=True), steps.Model(CONFIG, lora=False)
    for length in TARGETS:
        yield from one_rna(stage2, length)
    for length in (75, 300):
        yield several_rnas(stage1, length)
    for length in TARGETS:
        yield answer_logits(stage2, length)


def one_rna(model: steps.Model, length: int) -> Iterator[dict]:
    """Rows 1 to 3: the stage-2 step of one RNA with its pairs."""
    trees = [steps.rna(length)]
    tokens = sum(map(len, steps.alone(trees))) / len(trees[0])
    batch = 8 if length > 1000 else steps.PAIRS  # logits of 24 long pairs would take 10 GB
    padded = partial(steps.padded, together=batch)
    naive, batched = (f"≥ {target:g}" for target in TARGETS[length])
    unshared = "–" if length > 1000 else f"≥ {0.6 * tokens:.2f} (0.6 × token ratio)"
    peers = [
        ("naive", steps.naive, "HF + PEFT, batch 1, accumulated over the pairs", naive),
        ("padded", padded, f"HF + PEFT, padded batches of {batch} pairs", batched),
        (
            "padding-free",
            steps.unshared,
            "HF + PEFT, whole pairs in rows of ≤ 4K, as TRL",
            unshared,
        ),
    ]
    ways = {"ours": steps.shared} | {name: way for name, way, *_ in peers}
    ways |= {f"{name}, answers": partial(way, everywhere=False) for name, way, *_ in peers}
    seconds = in_turn(model, trees, ways)
    about = {"ours": PACKED, "workload": f"stage 2, {length:,} nt, {PAIRS}; {SHAPE}"}
    about["limit"] = f"{tokens:.2f} (tokens) × share of the logits × launch overhead"
    for name, _, peer, target in peers:
        alone = median(ratios(seconds, f"{name}, answers"))
        yield _peers.row(
            f"packed vs {name}, {length:,} nt", ratios(seconds, name), **about,
            peer=peer, target=target, ratio_same_logits=round(alone, 2),
        )  # fmt: skip


def several_rnas(model: steps.Model, length: int) -> dict:
    """Row 4: the stage-1 step of several RNAs, packed and one by one."""
    trees = [steps.annotated(length) for _ in range(steps.PAIRS)]
    ours = partial(steps.shared, tokens=ROW_TOKENS)
    answers = partial(steps.naive, everywhere=False)
    seconds = in_turn(model, trees, {"ours": ours, "naive": steps.naive, "answers": answers})
    return _peers.row(
        f"stage 1, packed vs batch 1, {length} nt", ratios(seconds, "naive"),
        ours=f"passes of {ROW_TOKENS:,} tokens, logits of the annotation only",
        peer="HF, batch 1, accumulated over the RNAs",
        workload=f"stage 1, {len(trees)} RNAs of {length} nt, annotations of "
        f"{steps.ANNOTATION} tokens; the projection trains; {SHAPE}",
        target="≥ 1.4", limit="roofline knee near 200 tokens",
        ratio_same_logits=round(median(ratios(seconds, "answers")), 2),
    )  # fmt: skip


def answer_logits(model: steps.Model, length: int) -> dict:
    """Row 5: the same packed step with logits of its answers, and of all tokens."""
    trees = [steps.rna(length)]
    ways = {"ours": steps.shared, "all": partial(steps.shared, everywhere=True)}
    seconds = in_turn(model, trees, ways)
    share = head_share(CONFIG, len(trees[0]))
    wasted = share * (1 - steps.PAIRS * steps.ANSWER / len(trees[0]))
    return _peers.row(
        f"answer-only logits, {length:,} nt", ratios(seconds, "all"),
        ours=PACKED, peer="the same, logits of all tokens",
        workload=f"stage 2, {length:,} nt, {PAIRS}; {SHAPE}",
        target=f"≥ {0.9 / (1 - wasted):.2f} (90 % of 1/(1 − share without loss))",
        limit=f"{1 / (1 - wasted):.2f} (tokens without loss are {wasted:.0%} of the FLOPs by the "
        f"head's {share:.0%}); {1 / (1 - share):.2f} if the head cost nothing",
    )  # fmt: skip


def head_share(config: LlamaConfig, tokens: int) -> float:
    """The head's share of a step's FLOPs over one row: linear layers take as much backwards as
    forwards (they are frozen), attention twice as much."""
    width, layers = config.hidden_size, config.num_hidden_layers
    head = 2 * 2 * width * config.vocab_size
    linear = 2 * 2 * (steps.parameters(config) - width * config.vocab_size)
    attention = 3 * 4 * tokens * width * layers
    return head / (head + linear + attention)


def in_turn(model: steps.Model, trees: list[Tree], ways: dict[str, Way]) -> dict[str, list[float]]:
    """Seconds of each way, repeat by repeat in turn. Raises AssertionError when the gradient of a
    way is not that of ``ours``."""
    wanted = gradient(model, trees, ways["ours"])
    for name, way in ways.items():
        error = (gradient(model, trees, way) - wanted).norm() / wanted.norm()
        assert error < EQUAL, f"{name}: its gradient differs by {error:.1e}"
    seconds = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            gradient(model, trees, way)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def gradient(model: steps.Model, trees: list[Tree], way: Way) -> Tensor:
    """The gradient of one step, flat."""
    model.zero_grad()
    steps.gradient(way(model, trees))
    return torch.cat([parameter.grad.flatten() for parameter in model.trained])


def ratios(seconds: dict[str, list[float]], peer: str) -> list[float]:
    """The peer's seconds over ours, repeat by repeat."""
    return [theirs / ours for theirs, ours in zip(seconds[peer], seconds["ours"], strict=True)]
