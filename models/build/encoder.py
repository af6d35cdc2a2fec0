"""The miniature encoder: masked nucleotides, and probes of what its vectors hold."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rnagpt_lib.core.sequences import LETTERS
from rnagpt_lib.model.encoder import Encoder

ENCODER = {
    "layers": 4,
    "embed_dim": 128,
    "ffn_embed_dim": 512,
    "attention_heads": 4,
    "max_positions": 1024,
    "token_dropout": True,
    "emb_layer_norm_before": True,
}
MASKED = 0.15  # share of the nucleotides that is hidden


def masked_losses(
    encoder: Encoder, sequences: Sequence[str], step_tokens: int, seed: int
) -> Iterator[Tensor]:
    """One loss (nats per hidden nucleotide) a step, over about ``step_tokens`` nucleotides."""
    generator = torch.Generator().manual_seed(seed)
    for batch in endless_batches(sequences, step_tokens, random.Random(seed)):
        tokens = encoder.tokens([sequence[: encoder.max_length] for sequence in batch])
        inputs, where = mask(tokens, encoder.alphabet, generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = encoder.model(inputs, masked_tokens=where)["logits"]
        yield functional.cross_entropy(logits.float(), tokens[where])


def endless_batches(
    sequences: Sequence[str], step_tokens: int, rng: random.Random
) -> Iterator[list[str]]:
    """Batches of about ``step_tokens`` nucleotides. Lengths are similar, families are mixed: a
    batch is a quarter of a random handful sorted by length, not a slice of the sorted whole."""
    handful = max(4, round(4 * step_tokens * len(sequences) / sum(map(len, sequences))))
    while True:
        order = rng.sample(sequences, len(sequences))
        for start in range(0, len(order), handful):
            some = sorted(order[start : start + handful], key=len)
            quarter = -(-len(some) // 4)
            yield from (some[i : i + quarter] for i in range(0, len(some), quarter))


def mask(tokens: Tensor, alphabet, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """BERT's game on (B, L) ids: the altered ids, and a bool map of the positions to restore.

    Of the chosen ``MASKED`` share, 80 % become <mask>, 10 % a random nucleotide, 10 % stay.
    """
    where = torch.rand(tokens.shape, generator=generator) < MASKED
    where &= is_letter(tokens, alphabet)
    fate = torch.rand(tokens.shape, generator=generator)
    letters = torch.tensor([alphabet.get_idx(letter) for letter in LETTERS])
    drawn = letters[torch.randint(len(LETTERS), tokens.shape, generator=generator)]
    inputs = torch.where(where & (fate < 0.1), drawn, tokens)
    return inputs.masked_fill(where & (fate >= 0.2), alphabet.mask_idx), where


def is_letter(tokens: Tensor, alphabet) -> Tensor:
    """Bool map: nucleotides, not <cls>, <eos> or <pad>."""
    special = torch.tensor((alphabet.cls_idx, alphabet.eos_idx, alphabet.padding_idx))
    return ~torch.isin(tokens, special)


def probe_family(
    encoder: Encoder,
    index: tuple[Sequence[str], Sequence[str]],
    queries: tuple[Sequence[str], Sequence[str]],
) -> float:
    """Share of the queries whose nearest neighbour in the index is of their family.

    Both are (sequences, families). Neighbours are by cosine of mean nucleotide vectors, centred
    and decorrelated over the index (as the projection of stage 1 reads vectors).
    """
    known, asked = (mean_vectors(encoder, sequences) for sequences, _ in (index, queries))
    centre = known.mean(0)
    _, scales, axes = torch.linalg.svd(known - centre, full_matrices=False)
    turn = axes.T / (scales + 0.01 * scales[0])
    known, asked = (functional.normalize((x - centre) @ turn, dim=1) for x in (known, asked))
    nearest = (asked @ known.T).argmax(1).numpy()
    return float((np.array(index[1])[nearest] == np.array(queries[1])).mean())


def mean_vectors(encoder: Encoder, sequences: Sequence[str]) -> Tensor:
    """(N, dim) mean over the nucleotides of each sequence."""
    return torch.stack([vectors.mean(0) for vectors in encoder.encode(sequences)])


def probe_letters(encoder: Encoder, sequences: Sequence[str], reach: int = 2) -> dict[int, float]:
    """By offset: share of nucleotides whose neighbour so far away a linear readout names right.

    One half of the sequences fits the readout, the other half tests it. Offset 0 is the letter
    itself; letters outside ACGU are left out.
    """
    half = len(sequences) // 2
    parts = [(part, encoder.encode(part)) for part in (sequences[:half], sequences[half:])]
    return {
        offset: _readout(*(_pairs(*part, offset) for part in parts))
        for offset in range(-reach, reach + 1)
    }


def _readout(fitted: tuple[Tensor, Tensor], tested: tuple[Tensor, Tensor]) -> float:
    targets = functional.one_hot(fitted[1], len(LETTERS)).float()
    weights = torch.linalg.lstsq(fitted[0], targets).solution
    return float(((tested[0] @ weights).argmax(1) == tested[1]).float().mean())


def _pairs(
    sequences: Sequence[str], vectors: Sequence[Tensor], offset: int
) -> tuple[Tensor, Tensor]:
    """Vectors (n, dim + 1), the last a bias, and the letters ``offset`` nt further on (n,)."""
    rows, letters = [], []
    for sequence, vector in zip(sequences, vectors, strict=True):
        for i in range(max(0, -offset), len(sequence) - max(0, offset)):
            if sequence[i + offset] in LETTERS:
                rows.append(vector[i])
                letters.append(LETTERS.index(sequence[i + offset]))
    x = torch.stack(rows)
    return torch.cat([x, torch.ones(len(x), 1)], 1), torch.tensor(letters)
