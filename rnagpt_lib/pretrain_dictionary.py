"""Initial weights of the miniature encoder: two layers that know the pool's recurring words.

From random weights, masked nucleotides alone take hours of two cores to learn what families
conserve. So the lower layers start as a dictionary, found without labels: words of 13 nt that
recur in many RNAs of the pool, and the latent topics (LSA) that tell which words go together.

The residual stream is divided into lanes (`_LANE`, `_slot`, `_TOPICS`): positions as sinusoids,
the letters up to 7 nt away, and topics of the words around. Layer 1 fetches the letters 1 and 2
nt away, layer 2 those up to 7 nt away and looks the word up in its feed-forward network.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rnagpt_lib.encoder import Encoder
from rnagpt_lib.sequences import LETTERS

WORD, RARE, COMMON = 13, 10, 0.05  # nt of a word; in how many RNAs (at least; share at most)
ERRORS = 3.5  # between three and four mismatches a word is no longer recognised
LOUD = 3.0  # length that a unit's topics add to the stream, over its activation
_REACH = 7  # nt to either side whose letters a position holds
_LANE = slice(0, 32)  # sinusoids of the position, in pairs
_TOPICS = slice(32 + 3 * (2 * _REACH + 1), 128)
_CODES = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)


def _slot(offset: int) -> slice:
    """Where the letter ``offset`` nt away is held, as a corner of a tetrahedron."""
    start = 32 + 3 * (offset + _REACH)
    return slice(start, start + 3)


@torch.no_grad()
def install(encoder: Encoder, sequences: Sequence[str], seed: int) -> None:
    """Write lanes and dictionary into an untrained encoder of 128 wide, 4 heads, 512 units.

    The upper layers start near zero. All but the positions is left to be trained.
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
    growth = math.sqrt((16 + 4 * 5) / (16 + 4))  # of the stream, which layer norm takes back
    for head, far in enumerate((-5, 5)):
        moves = {_slot(k).start: _slot(far + k).start for k in (0, *near)}
        _fetch(second.self_attn, head, far, frequencies, moves, growth)
    words = recurring(sequences)
    _look_up(second, words, topics(words, sequences, _TOPICS.stop - _TOPICS.start))
    model.lm_head.bias.fill_(-10.0)  # but for letters, nothing is ever to be restored
    model.lm_head.bias[[encoder.alphabet.get_idx(letter) for letter in LETTERS]] = 0.0
    model.requires_grad_(True)
    model.embed_positions.requires_grad_(False)


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


def _look_up(layer: nn.Module, words: Sequence[str], vectors: np.ndarray) -> None:
    """Hidden unit j fires where the letters around spell word j but for ``ERRORS``, and adds the
    word's topics. A match counts 1 and a mismatch -1/3, as the corners of a tetrahedron do."""
    letter = 5.06 * math.sqrt((16 + 4) / (16 + 4 * (2 * _REACH + 1)))  # length after layer norm
    sharpness = 2.5
    layer.fc1.weight.zero_()
    layer.fc1.bias.fill_(-10.0)
    for unit, (word, vector) in enumerate(zip(words, vectors, strict=True)):
        for place, nucleotide in enumerate(word):
            code = _CODES[LETTERS.index(nucleotide)]
            layer.fc1.weight[unit, _slot(place - WORD // 2)] = sharpness * 0.75 / letter * code
        layer.fc1.bias[unit] = sharpness * (WORD / 4 - (WORD - ERRORS))
        layer.fc2.weight[_TOPICS, unit] = LOUD * torch.from_numpy(vector).float()


def recurring(sequences: Sequence[str], size: int = 512) -> list[str]:
    """The ``size`` words that cover the RNAs best among those that recur, but not everywhere.

    Chance does not make a word recur ``RARE`` times (there are 4^13); what a whole type shares is
    ``COMMON``. Greedy: an RNA counts half as much for each word that it has.
    """
    holders: dict[str, list[int]] = defaultdict(list)
    for row, sequence in enumerate(sequences):
        for word in {sequence[i : i + WORD] for i in range(len(sequence) - WORD + 1)}:
            holders[word].append(row)
    most = COMMON * len(sequences)
    known = sorted(w for w, rows in holders.items() if RARE <= len(rows) <= most)
    present = np.zeros((len(known), len(sequences)), np.float32)
    for i, word in enumerate(known):
        present[i, holders[word]] = 1
    need, chosen = np.ones(len(sequences), np.float32), []
    for _ in range(min(size, len(known))):
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
