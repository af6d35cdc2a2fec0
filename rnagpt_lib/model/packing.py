"""Shared-prefix packing: all pairs of an RNA behind one copy of its soft tokens.

    [ ###Human: <RNA> soft … | </RNA> question 1 ###Assistant: answer 1 | </RNA> question 2 … ]

A row holds trees, a tree is a prefix and its branches. A token attends to its tree's prefix and to
its own branch, whose positions start where the prefix ended: each logit is the one that the pair
alone would give, so loss and gradient are those of the loop over pairs, for a fraction of the
tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnagpt_lib.model import attention
from rnagpt_lib.model.attention import prefix_mask


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

    ids (B, T) long · soft (B, T) bool · embeddings (S, D), the soft tokens' in row order ·
    positions (B, T) long · places (B, T, 2) int, each token's tree and branch
    (`attention.may_attend`) · predictors (A,) long into the flattened rows · targets (A,) long ·
    weights (A,) fp64.
    """

    ids: Tensor
    soft: Tensor
    embeddings: Tensor
    positions: Tensor
    places: Tensor
    predictors: Tensor
    targets: Tensor
    weights: Tensor

    @property
    def mask(self) -> Tensor:
        """Who may attend to whom, (B, 1, T, T) bool."""
        return prefix_mask(self.places)

    def to(self, device: torch.device) -> "Batch":
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return Batch(**{name: t.to(device, non_blocking=True) for name, t in tensors.items()})


def fill(trees: Sequence[Tree], row_tokens: int) -> list[list[Tree]]:
    """Trees into rows of at most ``row_tokens``, longest first into the first row with room; a
    longer one has a row of its own."""
    rows, room = [], []
    for tree in sorted(trees, key=len, reverse=True):
        fits = next((i for i, left in enumerate(room) if len(tree) <= left), len(rows))
        if fits == len(rows):
            rows.append([])
            room.append(row_tokens)
        rows[fits].append(tree)
        room[fits] -= len(tree)
    return rows


def passes(trees: Sequence[Tree], tokens: int) -> Iterator[list[list[Tree]]]:
    """The rows of each forward pass, as wide as the longest tree, and one or as many as ``tokens``
    allow."""
    width = max(map(len, trees), default=1)
    rows = fill(trees, width)
    together = max(1, tokens // width)
    for start in range(0, len(rows), together):
        yield rows[start : start + together]


def collate(rows: Sequence[Sequence[Tree]], pairs: int) -> Batch:
    """Rows, padded to the longest one, as tensors. ``pairs``: of the whole optimiser step; a token
    of answer i weighs 1/(pairs · |answer i|), so the step's batches sum to the mean over its pairs.
    """
    length = max(sum(map(len, row)) for row in rows)
    tokens, predictors, targets, weights = [], [], [], []  # the last three of those with loss
    for number, row in enumerate(rows, start=1):
        for place, tree in enumerate(row):
            prefix = [(i, 0) for i in tree.before] + [(0, 1)] * len(tree.embeddings)
            tokens += [(i, soft, at, place, 0) for at, (i, soft) in enumerate(prefix)]
            last = len(tokens) - 1  # predicts the first token of a branch without a prompt
            for branch_number, branch in enumerate(tree.branches, start=1):
                first, answer = len(tokens) + len(branch.prompt), len(branch.answer)
                predictors += [first - 1 if branch.prompt else last]
                predictors += range(first, first + answer - 1)
                targets += branch.answer
                weights += [1 / (pairs * answer)] * answer
                own = enumerate(branch.prompt + branch.answer, start=len(prefix))
                tokens += [(i, 0, at, place, branch_number) for at, i in own]
        tokens += [(0, 0, 0, -1, -1)] * (number * length - len(tokens))
    columns = torch.tensor(tokens).view(len(rows), length, 5)
    return Batch(
        ids=columns[..., 0].contiguous(),
        soft=columns[..., 1].bool(),
        embeddings=torch.cat([tree.embeddings for row in rows for tree in row]),
        positions=columns[..., 2].contiguous(),
        places=columns[..., 3:].int().contiguous(),
        predictors=torch.tensor(predictors),
        targets=torch.tensor(targets),
        weights=torch.tensor(weights, dtype=torch.float64),
    )


def weighted_loss(causal: nn.Module, inputs: Tensor, batch: Batch) -> Tensor:
    """The weighted loss of a causal LM on a batch whose input embeddings are ``inputs`` (B, T, H).
    Logits are made where a token with loss is predicted, and nowhere else."""
    options = attention.arguments(causal, batch.places, inputs.dtype)
    options |= {"position_ids": batch.positions, "use_cache": False}
    hidden = causal.base_model(inputs_embeds=inputs, **options).last_hidden_state  # (B, T, H)
    chosen = hidden.flatten(0, 1)[batch.predictors]  # (A, H)
    logits = causal.get_output_embeddings()(chosen)  # (A, V)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = functional.cross_entropy(logits, batch.targets, reduction="none")
    return (losses * batch.weights.to(losses.dtype)).sum()
