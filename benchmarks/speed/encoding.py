"""Rows 6 and 7: what the frozen encoder costs, and what it costs to ask it again.

Row 7: sequences sorted by length under a token budget against one by one, for the miniature
encoder (the world's RNAs, and RNAs as short as microRNAs) and for one of RNA-FM's size with random
weights. Row 6: vectors kept on the disk against the encoder in the loop, over the visits of the
paper's recipe: ten epochs of stage 1, and ten of stage 2 with every pair a visit of its own.
"""

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.speed import _peers
from rnagpt_lib.miniature import world
from rnagpt_lib.model.encoder import CPU_TOKENS, Encoder
from rnagpt_lib.model.vector_cache import encode_all
from tests.support.rna_fm import FULL

MINIATURE = "models/mini-encoder"
VISITED = 10  # RNAs of row 6
EPOCHS, PAIRS = 10, (24, 24, 24, 24, 25)  # of five RNAs: 24.2 each, as in RNA-QA


class Counted(Encoder):
    """An encoder that counts the sequences that pass through it."""

    passes = 0

    def _forward(self, sequences: list[str]) -> Tensor:
        self.passes += len(sequences)
        return super()._forward(sequences)


def main() -> None:
    """Measure and write the four rows."""
    miniature, full = Encoder.load(MINIATURE), Encoder.fresh(FULL, 0)
    one_by_one("encoding", miniature, "miniature", rnas(200), "≥ 1.5", 15)
    one_by_one("encoding_short", miniature, "miniature", short(800), "reported", 15)
    one_by_one("encoding_full_size", full, "12 × 640", rnas(16), "reported", 5)
    in_the_loop()


def one_by_one(
    name: str, encoder: Encoder, called: str, sequences: list[str], target: str, repeats: int
) -> None:
    """Row 7 for one encoder and one set of sequences."""
    peer = package(encoder)
    times = interleaved(
        lambda: encoder.encode(sequences),
        lambda: [alone(encoder, peer, s) for s in sequences],
        repeats,
    )
    lengths = sorted(map(len, sequences))
    _peers.keep(
        name,
        [peer / ours for ours, peer in times],
        seconds=medians(times),
        ours=f"sorted by length, up to {CPU_TOKENS:,} tokens a forward pass, fused attention",
        peer="one after the other by the fm package, as RNA-FM's page shows",
        workload=f"{called} encoder, {len(lengths)} RNAs of {lengths[0]} to {lengths[-1]} nt "
        f"(median {median(lengths):g}), {torch.get_num_threads()} threads",
        target=target,
        limit="launch floor",
    )


def package(encoder: Encoder) -> nn.Module:
    """The same model as the ``fm`` package computes it."""
    model = deepcopy(encoder.model)
    for layer in model.layers:
        del layer.forward  # ours
    return model


@torch.no_grad()
def alone(encoder: Encoder, peer: nn.Module, sequence: str) -> Tensor:
    """The vectors of one sequence by the peer, (L, dim)."""
    last = encoder.config["layers"]
    found = peer(encoder.tokens([sequence]), repr_layers=[last])
    return found["representations"][last][0, 1:-1]


def in_the_loop() -> None:
    """Row 6."""
    sequences, encoder = rnas(VISITED), Counted.load(MINIATURE)
    order, passes = visits(sequences), {"ours": 0, "peer": 0}

    def trained(side: str, cache: str) -> list[Tensor]:
        encoder.passes = 0
        with tempfile.TemporaryDirectory() as folder:
            vectors = encode_all(encoder, sequences, Path(folder), cache)
            last = {sequence: vectors[sequence] for sequence in order}
        passes[side] = encoder.passes / len(sequences)
        return [last[sequence] for sequence in sequences]

    times = interleaved(lambda: trained("ours", "fp32"), lambda: trained("peer", "live"), 5)
    assert passes == {"ours": 1, "peer": len(order) / len(sequences)}, passes
    _peers.keep(
        "embedding_cache",
        [peer / ours for ours, peer in times],
        seconds=medians(times),
        ours="vectors kept on the disk: encoded once, then read",
        peer="the encoder in the loop",
        workload=f"miniature encoder, {len(sequences)} RNAs, {EPOCHS} + {EPOCHS} × 24.2 visits of "
        f"each: passes an RNA {passes['peer']:g} → {passes['ours']:g}",
        passes=passes,
        target="passes 252 → 1, time reported",
        limit="252; reading from the disk",
    )


def interleaved(
    ours: Callable[[], list[Tensor]], peer: Callable[[], list[Tensor]], repeats: int
) -> list[tuple[float, float]]:
    """Seconds of both, in turn, once both have given the same vectors."""
    for mine, other in zip(ours(), peer(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)
    return [(seconds(ours), seconds(peer)) for _ in range(repeats)]


def seconds(side: Callable[[], list[Tensor]]) -> float:
    start = time.perf_counter()
    side()
    return time.perf_counter() - start


def medians(times: list[tuple[float, float]]) -> dict[str, float]:
    ours, peer = (round(median(each), 3) for each in zip(*times, strict=True))
    return {"ours": ours, "peer": peer}


def rnas(n: int) -> list[str]:
    """Distinct sequences of the miniature world, of all its lengths."""
    made = dict.fromkeys(rna.sequence for rna in world.entries(2 * n, seed=0))
    return random.Random(0).sample(list(made), n)


def short(n: int) -> list[str]:
    """Random sequences as long as microRNAs."""
    draw = random.Random(0)
    return ["".join(draw.choices("ACGU", k=draw.randint(20, 24))) for _ in range(n)]


def visits(sequences: Sequence[str]) -> list[str]:
    """Which RNA each step of both stages visits, shuffled within an epoch."""
    draw, order = random.Random(0), []
    every = [s for i, s in enumerate(sequences) for _ in range(PAIRS[i % len(PAIRS)])]
    for epoch in [list(sequences)] * EPOCHS + [every] * EPOCHS:
        order += draw.sample(epoch, len(epoch))
    return order
