"""Shared-prefix packing: all pairs of an RNA behind one copy of its soft tokens.

A row holds trees one after the other, a tree is a prefix and its branches:

    [ ###Human: <RNA> soft … | </RNA> question 1 ###Assistant: answer 1 | </RNA> question 2 … ]

A token attends to its tree's prefix and to its own branch, causally; the positions of every
branch start where the prefix ended. By induction over the layers each logit is the one that the
pair alone would give, and a pair weighs the same whatever the length of its answer, so loss and
gradient are those of the naive loop over pairs, for a fraction of the tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Branch:
    """What follows the RNA: ids of the prompt (may be empty) and of the answer with its EOS;
    ``kind`` is that of the pair."""

    prompt: list[int]
    answer: list[int]
    kind: str = ""

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True)
class Tree:
    """One RNA: text ids before it, its embeddings (L, D), and the branches behind it."""

    rna_id: str
    before: list[int]
    embeddings: Tensor
    branches: list[Branch]

    def __len__(self) -> int:
        return len(self.before) + len(self.embeddings) + sum(map(len, self.branches))

    @property
    def depth(self) -> int:
        """Positions that the longest branch reaches."""
        return len(self.before) + len(self.embeddings) + max(map(len, self.branches))

    def only(self, chosen: Sequence[int]) -> "Tree":
        """The same RNA with some of its branches."""
        return replace(self, branches=[self.branches[i] for i in chosen])


@dataclass(frozen=True)
class Batch:
    """B rows of T tokens, A of which predict a token that carries loss.

    ids (B, T) long, 0 at soft tokens and pads · soft (B, T) bool · embeddings (S, D), the soft
    tokens' in row order · positions (B, T) long · mask (B, 1, T, T) bool, True: may attend ·
    predictors (A,) long into the flattened rows · targets (A,) long · weights (A,) fp64.
    """

    ids: Tensor
    soft: Tensor
    embeddings: Tensor
    positions: Tensor
    mask: Tensor
    predictors: Tensor
    targets: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> "Batch":
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return Batch(**{name: t.to(device, non_blocking=True) for name, t in tensors.items()})


def fill(trees: Sequence[Tree], row_tokens: int) -> list[list[Tree]]:
    """Trees into rows of at most ``row_tokens``, longest first into the first row with room.

    A tree longer than the budget has a row of its own.
    """
    rows: list[list[Tree]] = []
    room: list[int] = []
    for tree in sorted(trees, key=len, reverse=True):
        fits = next((i for i, left in enumerate(room) if len(tree) <= left), None)
        if fits is None:
            fits = len(rows)
            rows.append([])
            room.append(row_tokens)
        rows[fits].append(tree)
        room[fits] -= len(tree)
    return rows


def passes(trees: Sequence[Tree], tokens: int) -> Iterator[list[list[Tree]]]:
    """The rows of each forward pass, as wide as the longest tree and as many as ``tokens`` allow.

    A pass holds one row at least, however wide.
    """
    width = max(map(len, trees), default=1)
    rows = fill(trees, width)
    together = max(1, tokens // width)
    for start in range(0, len(rows), together):
        yield rows[start : start + together]


def collate(rows: Sequence[Sequence[Tree]], pairs: int) -> Batch:
    """Rows, padded to the longest one, as tensors.

    ``pairs`` is the number of pairs in the whole optimiser step: every token of answer i weighs
    1/(pairs · |answer i|), so that the sum over the step's batches is the mean over its pairs.
    """
    length = max(sum(map(len, row)) for row in rows)
    ids, soft, positions, places = [], [], [], []
    predictors, targets, weights = [], [], []
    for number, row in enumerate(rows):
        tokens = _Row(offset=number * length)
        for tree in row:
            tokens.add(tree, pairs)
        pads = length - len(tokens.ids)
        ids.append(tokens.ids + [0] * pads)
        soft.append(tokens.soft + [False] * pads)
        positions.append(tokens.positions + [0] * pads)
        places.append(tokens.places + [(-1, -1)] * pads)
        predictors += tokens.predictors
        targets += tokens.targets
        weights += tokens.weights
    return Batch(
        ids=torch.tensor(ids),
        soft=torch.tensor(soft),
        embeddings=torch.cat([tree.embeddings for row in rows for tree in row]),
        positions=torch.tensor(positions),
        mask=prefix_mask(torch.tensor(places)),
        predictors=torch.tensor(predictors),
        targets=torch.tensor(targets),
        weights=torch.tensor(weights, dtype=torch.float64),
    )


def prefix_mask(places: Tensor) -> Tensor:
    """Who may attend to whom, (B, 1, T, T), out of each token's (tree, branch), (B, T, 2).

    Branch 0 is the prefix; pads have tree −1 and attend to themselves (a row of all False would
    make the softmax NaN).

    >>> prefix_mask(torch.tensor([[(0, 0), (0, 1), (0, 2)]]))[0, 0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    tree, branch = places.unbind(-1)  # (B, T) each
    time = torch.arange(places.shape[1])
    same_tree = (tree[:, :, None] == tree[:, None, :]) & (tree >= 0)[:, None, :]
    visible = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    causal = time[:, None] >= time
    return (same_tree & visible & causal | torch.eye(len(time), dtype=torch.bool))[:, None]


def weighted_loss(causal: nn.Module, inputs: Tensor, batch: Batch) -> Tensor:
    """The weighted loss of a causal LM on a batch whose input embeddings are ``inputs`` (B, T, H).

    Logits are made where a token with loss is predicted, and nowhere else.
    """
    hidden = causal.base_model(
        inputs_embeds=inputs,
        attention_mask=batch.mask,
        position_ids=batch.positions,
        use_cache=False,
    ).last_hidden_state  # (B, T, H)
    chosen = hidden.flatten(0, 1)[batch.predictors]  # (A, H)
    logits = causal.get_output_embeddings()(chosen)  # (A, V)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = functional.cross_entropy(logits, batch.targets, reduction="none")
    return (losses * batch.weights.to(losses.dtype)).sum()


class _Row:
    """The lists of one row under construction; ``offset`` is its place in the flattened batch."""

    def __init__(self, offset: int) -> None:
        self.offset, self.trees = offset, 0
        self.ids, self.soft, self.positions, self.places = [], [], [], []
        self.predictors, self.targets, self.weights = [], [], []

    def add(self, tree: Tree, pairs: int) -> None:
        nucleotides = len(tree.embeddings)
        prefix = len(tree.before) + nucleotides
        self.soft += [False] * len(tree.before) + [True] * nucleotides
        self._extend(tree.before + [0] * nucleotides, start=0, branch=0)
        last = self.offset + len(self.ids) - 1
        for number, branch in enumerate(tree.branches, start=1):
            first = self.offset + len(self.ids) + len(branch.prompt)
            answer = len(branch.answer)
            self.predictors += [first - 1 if branch.prompt else last]
            self.predictors += range(first, first + answer - 1)
            self.targets += branch.answer
            self.weights += [1 / (pairs * answer)] * answer
            self.soft += [False] * len(branch)
            self._extend(branch.prompt + branch.answer, start=prefix, branch=number)
        self.trees += 1

    def _extend(self, ids: list[int], start: int, branch: int) -> None:
        self.ids += ids
        self.positions += range(start, start + len(ids))
        self.places += [(self.trees, branch)] * len(ids)
