"""Initial weights of the miniature encoder: two layers that know the pool's recurring words.

In the minutes that we can afford, masked nucleotides alone do not bring into the vectors what
families conserve (``models/README.md`` has the figures). So the lower layers start as a
dictionary, found without labels: words that recur in many RNAs of the pool, and the latent topics
(LSA) that tell which words go together. Training goes on from there: first the upper layers, then
all weights but the positions.

The residual stream is divided into lanes (`_LANE`, `_slot`, `_TOPICS`): positions as sinusoids,
the letters up to 7 nt away, and topics of the words around. Layer 1 fetches the letters 1 and 2
nt away, layer 2 those up to 7 nt away and looks the word up in its feed-forward network.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rnagpt_lib.core.sequences import LETTERS
from rnagpt_lib.model.encoder import Encoder


@dataclass(frozen=True)
class Words:
    """One kind of words: how long (nt), in how many RNAs (at least; share at most), how many are
    kept, and between which numbers of mismatches a word is no longer recognised."""

    length: int
    rare: int
    common: float
    count: int
    errors: float


KINDS = (  # what families conserve; what whole types conserve, which is shorter
    Words(length=13, rare=10, common=0.05, count=432, errors=4.5),
    Words(length=8, rare=60, common=0.3, count=80, errors=0.75),
)
LOUD = 67.0  # length that the topics of a word without mismatch add to the stream
_REACH = 7  # nt to either side whose letters a position holds
_LANE = slice(0, 32)  # sinusoids of the position, in pairs
_TOPICS = slice(32 + 3 * (2 * _REACH + 1), 126)
_SLOW = 126  # a last pair of sinusoids, which turns by a quarter in about 300 nt
_PLACE = 17  # squared length of all sinusoids; that of a letter is 4
_CODES = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)


def _slot(offset: int) -> slice:
    """Where the letter ``offset`` nt away is held, as a corner of a tetrahedron."""
    start = 32 + 3 * (offset + _REACH)
    return slice(start, start + 3)


@torch.no_grad()
def install(encoder: Encoder, sequences: Sequence[str], seed: int) -> None:
    """Write lanes and dictionary into an untrained encoder of 128 wide, 4 heads, 512 units.

    The upper layers start near zero, and they and the head are left to be trained: random ones
    would spoil the dictionary. ``thaw`` lets the rest follow.
    """
    model, generator = encoder.model, torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0.0, module.in_features**-0.5, generator=generator)
    for layer in model.layers:
        layer.self_attn.out_proj.weight.mul_(0.1)
        layer.fc2.weight.mul_(0.1)
    frequencies = _embed(encoder)
    first, second = model.layers[0], model.layers[1]
    _silence(first, second)
    near = (-1, 1, -2, 2)
    for head, offset in enumerate(near):
        _fetch(first.self_attn, head, offset, frequencies, {_slot(0).start: _slot(offset).start}, 1)
    growth = math.sqrt((_PLACE + 4 * 5) / (_PLACE + 4))  # of the stream: layer norm takes it back
    for head, far in enumerate((-5, 5)):
        moves = {_slot(k).start: _slot(far + k).start for k in (0, *near)}
        _fetch(second.self_attn, head, far, frequencies, moves, growth)
    words = [(word, kind) for kind in KINDS for word in recurring(sequences, kind)]
    found = topics([word for word, _ in words], sequences, _TOPICS.stop - _TOPICS.start)
    _look_up(second, words, found)
    model.lm_head.bias.fill_(-10.0)  # but for letters, nothing is ever to be restored
    model.lm_head.bias[[encoder.alphabet.get_idx(letter) for letter in LETTERS]] = 0.0
    model.requires_grad_(True)
    frozen = (model.embed_tokens, model.embed_positions, model.emb_layer_norm_before, first, second)
    for module in frozen:
        module.requires_grad_(False)


def thaw(encoder: Encoder) -> None:
    """Let all but the positions be trained."""
    encoder.model.requires_grad_(True)
    encoder.model.embed_positions.requires_grad_(False)


def _embed(encoder: Encoder) -> Tensor:
    """Letters into their slot, sinusoids into their lane; returns the lane's frequencies."""
    model = encoder.model
    letters, positions = model.embed_tokens.weight, model.embed_positions.weight
    letters.zero_()
    for letter, code in zip(LETTERS, _CODES, strict=True):
        letters[encoder.alphabet.get_idx(letter), _slot(0)] = 2 * code
    pairs = (_LANE.stop - _LANE.start) // 2
    frequencies = math.pi * 0.22 ** torch.linspace(0, 1, pairs, dtype=torch.float64)
    angles = torch.arange(len(positions), dtype=torch.float64)[:, None] * frequencies
    positions.zero_()
    positions[:, 0 : 2 * pairs : 2] = angles.sin().float()
    positions[:, 1 : 2 * pairs : 2] = angles.cos().float()
    slow = torch.arange(len(positions)) / 200
    positions[:, _SLOW], positions[:, _SLOW + 1] = slow.sin(), slow.cos()
    positions[model.padding_idx] = 0
    return frequencies


def _silence(*layers: nn.Module) -> None:
    for layer in layers:
        for linear in (layer.self_attn.out_proj, layer.fc2):
            linear.weight.zero_()


def _fetch(
    attention: nn.Module,
    head: int,
    offset: int,
    frequencies: Tensor,
    moves: dict[int, int],
    growth: float,
) -> None:
    """Let a head copy letters from ``offset`` nt away: ``moves`` maps slots there to slots here.

    The query is the position's sinusoids turned by the offset, the key the plain ones, so that
    they agree best where the key's position is the query's plus ``offset``.
    """
    start = head * (attention.embed_dim // attention.num_heads)
    query, key, value = (
        projection.weight[start : start + 32]
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    for weight in (query, key, value):
        weight.zero_()
    for pair, frequency in enumerate(frequencies.tolist()):
        i, angle = 2 * pair, offset * frequency
        sine, cosine = math.sin(angle), math.cos(angle)
        turn = torch.tensor([[cosine, sine], [-sine, cosine]])
        query[i : i + 2, i : i + 2] = growth * turn
        key[i : i + 2, i : i + 2] = growth * torch.eye(2)
    for place, (source, target) in enumerate(moves.items()):
        for axis in range(3):
            value[3 * place + axis, source + axis] = growth
            attention.out_proj.weight[target + axis, start + 3 * place + axis] = 1.0


def _look_up(layer: nn.Module, words: Sequence[tuple[str, Words]], vectors: np.ndarray) -> None:
    """Hidden unit j fires where the letters around spell word j but for its errors, and adds the
    word's topics. A match counts 1 and a mismatch -1/3, as the corners of a tetrahedron do."""
    letter = 2 * math.sqrt(128 / (_PLACE + 4 * (2 * _REACH + 1)))  # length after layer norm
    sharpness = 2.5
    layer.fc1.weight.zero_()
    layer.fc1.bias.fill_(-10.0)
    for unit, ((word, kind), vector) in enumerate(zip(words, vectors, strict=True)):
        for place, nucleotide in enumerate(word):
            code = _CODES[LETTERS.index(nucleotide)]
            layer.fc1.weight[unit, _slot(place - len(word) // 2)] = sharpness * 0.75 / letter * code
        layer.fc1.bias[unit] = sharpness * (kind.errors - 0.75 * len(word))
        added = LOUD / (sharpness * kind.errors) * torch.from_numpy(vector).float()
        layer.fc2.weight[_TOPICS, unit] = added


def recurring(sequences: Sequence[str], kind: Words) -> list[str]:
    """The words that cover the RNAs best among those that recur, but not everywhere.

    Chance does not make a word recur so often. Greedy: an RNA counts half as much for each word
    that it has.
    """
    holders: dict[str, list[int]] = defaultdict(list)
    for row, sequence in enumerate(sequences):
        starts = range(len(sequence) - kind.length + 1)
        for word in {sequence[i : i + kind.length] for i in starts}:
            holders[word].append(row)
    most = kind.common * len(sequences)
    known = sorted(w for w, rows in holders.items() if kind.rare <= len(rows) <= most)
    present = np.zeros((len(known), len(sequences)), np.float32)
    for i, word in enumerate(known):
        present[i, holders[word]] = 1
    need, chosen = np.ones(len(sequences), np.float32), []
    for _ in range(min(kind.count, len(known))):
        best = int((present @ need).argmax())
        chosen.append(known[best])
        need[present[best] > 0] /= 2
        present[best] = 0
    return chosen


def topics(words: Sequence[str], sequences: Sequence[str], size: int) -> np.ndarray:
    """(words, size) unit vectors by latent semantic analysis: words of the same RNAs are alike."""
    present = np.array([[word in sequence for sequence in sequences] for word in words], float)
    weighted = present * np.log(len(sequences) / present.sum(1, keepdims=True))
    weighted /= np.maximum(1e-9, np.linalg.norm(weighted, axis=0, keepdims=True))
    vectors, values, _ = np.linalg.svd(weighted, full_matrices=False)
    vectors = vectors[:, :size] * values[:size]
    padded = np.zeros((len(words), size))
    padded[:, : vectors.shape[1]] = vectors
    return padded / np.maximum(1e-9, np.linalg.norm(padded, axis=1, keepdims=True))
