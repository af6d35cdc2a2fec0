"""The encoder of ``nrc_asking``: the miniature's, which has read no RNA of nature, with its layers
trained to tell the classes by a linear head on the mean of its vectors. The head is thrown away.
"""

import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.science import nrc
from rnagpt_lib.core.files import progress, read_json
from rnagpt_lib.model.encoder import MANIFEST, Encoder, batches

EPOCHS, POINTS = 12, 4
RATE, WARMUP, DECAY, SMOOTHING = 1e-3, 100, 0.05, 0.05
TOKENS = 4096  # of a step, with padding
CROPPED, MASKED = 0.3, 0.25  # shares: cut off an RNA's ends at most, hidden of its letters
EVEN = 0.5  # families are drawn from by their size to this power less than RNAs are; 1: evenly

Piece = tuple[int, int, int]  # place of an RNA, its letters from … to …


def adapt(rnas: pd.DataFrame, start: str, folder: Path, seed: int) -> list[dict]:
    """Write the encoder of ``start`` to ``folder``, trained on the train rows of ``rnas``
    (sequence, rna_type, family, split); one that stands there is kept.

    Returns the points along the training: RNAs seen, minutes, minutes of a processor, and the
    head's accuracy on the val rows.
    """
    if not (folder / MANIFEST).is_file():
        encoder = Encoder.load(start, device="cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            points = _train(encoder, rnas, np.random.default_rng(seed))
        encoder.save(folder, {"about": f"{start}, its layers trained on RNAs", "points": points})
    return read_json(folder / MANIFEST)["points"]


def key() -> list[float]:
    """All that decides a training beside its data and seed."""
    return [EPOCHS, RATE, WARMUP, DECAY, SMOOTHING, TOKENS, CROPPED, MASKED, EVEN]


def _train(encoder: Encoder, rnas: pd.DataFrame, rng: np.random.Generator) -> list[dict]:
    classes = sorted(set(rnas["rna_type"]))
    train, val = (rnas[rnas["split"] == side] for side in ("train", "val"))
    sequences, labels = train["sequence"].tolist(), _labels(train, classes)
    drawn_by = chances(train["family"])
    head = torch.nn.Linear(encoder.dim, len(classes))
    layers = encoder.unfreeze(encoder.config["layers"])
    weights = [*layers.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(weights, betas=(0.9, 0.98), weight_decay=DECAY)
    points, taken, step = [], np.zeros(2), 0
    for epoch in progress(range(EPOCHS), desc="encoder", unit=" epochs"):
        began, steps = _clocks(), _steps(sequences, drawn_by, encoder.max_length, rng)
        for done, pieces in enumerate(steps):
            rate = _rate(step, (epoch + done / len(steps)) / EPOCHS)
            optimiser.param_groups[0]["lr"] = rate
            wanted = labels[[place for place, *_ in pieces]]
            given = head(_pooled(encoder, [sequences[i][a:b] for i, a, b in pieces]))
            optimiser.zero_grad()
            functional.cross_entropy(given, wanted, label_smoothing=SMOOTHING).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            step += 1
        taken += (_clocks() - began) / 60
        if (epoch + 1) % (EPOCHS // POINTS) == 0:
            points.append({
                "pairs": (epoch + 1) * len(train),
                "minutes": round(taken[0].item(), 1),
                "cpu_minutes": round(taken[1].item(), 1),
                "val_accuracy": _accuracy(encoder, head, val, _labels(val, classes)),
            })  # fmt: skip
    return points


def _labels(rnas: pd.DataFrame, classes: list[str]) -> Tensor:
    return torch.tensor(pd.Index(classes).get_indexer(rnas["rna_type"]))


def chances(family: pd.Series) -> np.ndarray:
    """Of each RNA to be drawn: in a family of four half of that in a family of one."""
    found = family.map(family.value_counts()).to_numpy(float) ** -EVEN
    return found / found.sum()


def _steps(
    sequences: list[str], drawn_by: np.ndarray, longest: int, rng: np.random.Generator
) -> list[list[Piece]]:
    """Parts of RNAs, as many as there are RNAs; those of like length in a step, steps in random
    order."""
    pieces = []
    for place in rng.choice(len(sequences), len(sequences), p=drawn_by).tolist():
        length = len(sequences[place])
        kept = min(math.ceil(length * (1 - CROPPED * rng.random())), longest)
        start = int(rng.integers(length - kept + 1))
        pieces.append((place, start, start + kept))
    steps = list(batches(pieces, TOKENS))
    return [steps[i] for i in rng.permutation(len(steps))]


def _rate(step: int, done: float) -> float:
    """Linear warm-up, then half a cosine down to zero at ``done`` 1."""
    return RATE * min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * done)) / 2


def _pooled(encoder: Encoder, sequences: list[str]) -> Tensor:
    """Means of the vectors of sequences with hidden letters, (B, D)."""
    tokens, alphabet = encoder.tokens(sequences), encoder.alphabet
    frame = torch.tensor([alphabet.padding_idx, alphabet.cls_idx, alphabet.eos_idx])
    letters = ~torch.isin(tokens, frame)
    hidden = letters & (torch.rand(tokens.shape) < MASKED)
    last, nowhere = encoder.config["layers"], torch.zeros_like(letters)
    read = encoder.model(
        tokens.masked_fill(hidden, alphabet.mask_idx), repr_layers=[last], masked_tokens=nowhere
    )["representations"][last]
    return (read * letters[..., None]).sum(1) / letters.sum(1, keepdim=True)


@torch.no_grad()
def _accuracy(encoder: Encoder, head: torch.nn.Linear, rnas: pd.DataFrame, wanted: Tensor) -> float:
    pooled = torch.from_numpy(nrc.embeddings(rnas["sequence"].tolist(), encoder))
    return round((head(pooled).argmax(1) == wanted).float().mean().item(), 4)


def _clocks() -> np.ndarray:
    """Seconds of the wall and of the processors, (2,)."""
    return np.array([time.perf_counter(), time.process_time()])
