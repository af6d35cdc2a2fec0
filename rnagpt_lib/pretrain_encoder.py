"""The miniature encoder: masked nucleotides and words, and probes of what its vectors hold.

Two games on the same hidden letters, neither with labels: restore each hidden nucleotide from
its vector, and tell from the mean vector which recurring words the whole RNA contains.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rnagpt_lib.encoder import Encoder
from rnagpt_lib.sequences import LETTERS

ENCODER = {
    "layers": 4,
    "embed_dim": 128,
    "ffn_embed_dim": 512,
    "attention_heads": 4,
    "max_positions": 1024,
    "token_dropout": True,
    "emb_layer_norm_before": True,
}
MASKED, SPAN = 0.15, 4  # share of the nucleotides that is masked, length of a masked run
WORD, RARE, COMMON = 10, 16, 0.05  # nt of a word; in how many RNAs (at least; share at most)
LETTER_SCALE, POSITION_SCALE, FOCUS = 0.15, 0.3, 1.5  # of the initial weights, see `fresh`
OFFSETS = ((-1, 1, -2, 2), (-3, 3, -4, 4))  # where the heads of the first layers look at first


@torch.no_grad()
def fresh(config: dict, seed: int) -> Encoder:
    """An untrained encoder that starts out reading neighbours.

    Weights of N(0, 0.02) stay on the plateau of letter frequencies for as long as we can afford:
    attention over 100 nt has to find the next letter first. So positions are fixed sinusoids
    (of periods from 2 to 1,024 nt), and a rotation of them points the heads of the first layers
    to ``OFFSETS``; all else is N(0, 1/fan-in), what a layer adds to its input a third of that,
    or the second layer would no longer see positions.
    """
    encoder = Encoder.fresh(config, seed)
    model, generator = encoder.model, torch.Generator().manual_seed(seed)
    model.embed_tokens.weight.normal_(0.0, LETTER_SCALE, generator=generator)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.normal_(0.0, module.in_features**-0.5, generator=generator)
    for layer in model.layers:
        layer.self_attn.out_proj.weight.mul_(0.3)
        layer.fc2.weight.mul_(0.3)
    frequencies = _sinusoids(model.embed_positions.weight, model.padding_idx)
    for layer, offsets in zip(model.layers, OFFSETS, strict=False):
        for head, offset in enumerate(offsets[: config["attention_heads"]]):
            _point(layer.self_attn, head, offset, frequencies)
    return encoder


def _sinusoids(weight: Tensor, padding: int) -> Tensor:
    """Fill (positions, dim) with sine and cosine pairs; returns the dim / 2 frequencies."""
    positions, dim = weight.shape
    frequencies = math.pi * 512.0 ** -torch.linspace(0, 1, dim // 2, dtype=torch.float64)
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * frequencies
    weight[:, 0::2], weight[:, 1::2] = angles.sin(), angles.cos()
    weight.mul_(POSITION_SCALE)
    weight[padding] = 0
    return frequencies


def _point(attention: torch.nn.Module, head: int, offset: int, frequencies: Tensor) -> None:
    """Let a head's query at position p match the key at p + ``offset``: the query is the
    position's sinusoids turned by the offset, the key is the plain ones."""
    width = attention.embed_dim // attention.num_heads
    rows = slice(head * width, (head + 1) * width)
    query, key = attention.q_proj.weight[rows], attention.k_proj.weight[rows]
    query.zero_()
    key.zero_()
    for pair in range(width // 2):
        i, angle = 2 * pair, offset * float(frequencies[pair])
        turn = torch.tensor(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        )
        query[i : i + 2, i : i + 2] = FOCUS * turn
        key[i : i + 2, i : i + 2] = FOCUS * torch.eye(2)


class Pretraining(torch.nn.Module):
    """An encoder in training, and the readout of words, which is thrown away afterwards."""

    def __init__(self, encoder: Encoder, sequences: Sequence[str], seed: int):
        super().__init__()
        self.encoder, self.model = encoder, encoder.model
        self.model.train().requires_grad_(True)
        self.model.embed_positions.requires_grad_(False)
        self.words = words(sequences)
        torch.manual_seed(seed)
        self.readout = torch.nn.Linear(encoder.dim, len(self.words))

    def losses(self, sequences: Sequence[str], step_tokens: int, seed: int) -> Iterator[Tensor]:
        """One loss a step, over about ``step_tokens`` nucleotides: nats per hidden nucleotide and
        nats per word of an RNA."""
        generator = torch.Generator().manual_seed(seed)
        for batch in endless_batches(sequences, step_tokens, random.Random(seed)):
            tokens = self.encoder.tokens(
                [sequence[: self.encoder.max_length] for sequence in batch]
            )
            inputs, where = mask(tokens, self.encoder.alphabet, generator)
            last = self.encoder.config["layers"]
            with torch.autocast("cpu", torch.bfloat16):
                out = self.model(inputs, repr_layers=[last], masked_tokens=where)
            letters = functional.cross_entropy(out["logits"].float(), tokens[where])
            vectors = out["representations"][last].float()
            yield letters + self._word_loss(vectors, tokens, batch)

    def _word_loss(self, vectors: Tensor, tokens: Tensor, batch: list[str]) -> Tensor:
        """Cross-entropy between the words of each RNA, all alike, and the readout's guess."""
        inside = is_letter(tokens, self.encoder.alphabet)[..., None]
        means = (vectors * inside).sum(1) / inside.sum(1)
        found = [sorted(self.words[w] for w in kmers(s) & self.words.keys()) for s in batch]
        wanted = torch.zeros(len(batch), len(self.words))
        for row, own in zip(wanted, found, strict=True):
            row[own] = 1 / max(1, len(own))
        return -(wanted * self.readout(means).log_softmax(1)).sum() / len(batch)


def words(sequences: Sequence[str]) -> dict[str, int]:
    """Words that recur in the pool, numbered: conserved elements, but those of a whole type."""
    count = Counter(word for sequence in sequences for word in kmers(sequence))
    most = COMMON * len(sequences)
    return {w: i for i, w in enumerate(sorted(w for w, n in count.items() if RARE <= n <= most))}


def kmers(sequence: str) -> set[str]:
    """All words of ``WORD`` nt in a sequence."""
    return {sequence[i : i + WORD] for i in range(len(sequence) - WORD + 1)}


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

    Runs of ``SPAN`` nt are hidden, a ``MASKED`` share in all; of these 80 % become <mask>, 10 % a random nucleotide, 10 % stay.
    """
    starts = torch.rand(tokens.shape, generator=generator) < 1 - (1 - MASKED) ** (1 / SPAN)
    where = starts.clone()
    for shift in range(1, SPAN):
        where[:, shift:] |= starts[:, :-shift]
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

    Both are (sequences, families). Neighbours are by cosine of mean nucleotide vectors, each
    dimension standardised over the index.
    """
    known, asked = (mean_vectors(encoder, sequences) for sequences, _ in (index, queries))
    centre, scale = known.mean(0), known.std(0)
    known, asked = (functional.normalize((x - centre) / scale, dim=1) for x in (known, asked))
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
