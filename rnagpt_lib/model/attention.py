"""Who attends to whom in packed rows, and three ways of computing it, by transformers' names.

``sdpa``: PyTorch's, with a dense mask · ``blockwise``: the same by blocks of queries, each with the
keys that it needs, in long rows on the CPU · ``flex_attention``, whose way back needs CUDA.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

FLEX, BLOCKWISE = "flex_attention", "blockwise"
BLOCK = 256  # queries; rows that are not longer than two blocks are computed whole
ALIGNED = 16  # elements of a mask's row

Block = tuple[int, slice, Tensor, Tensor]  # row, its queries, their keys (K,), mask (Q, K)


def may_attend(places: Tensor) -> Callable[..., Tensor]:
    """The rule, out of each token's (tree, branch), (B, T, 2), as a function of the indices (row,
    head, query, key). Branch 0 is the prefix; pads, whose tree is −1, attend to pads (attending to
    nothing would make the softmax NaN)."""
    tree, branch = places.long().unbind(-1)
    prefix = tree << 32
    own = prefix + branch

    def rule(row: Tensor, head: Tensor | None, query: Tensor, key: Tensor) -> Tensor:
        within = (own[row, query] == own[row, key]) | (prefix[row, query] == own[row, key])
        return within & (query >= key)

    return rule


def prefix_mask(places: Tensor) -> Tensor:
    """The rule for all pairs of tokens, (B, 1, T, T) bool.

    >>> prefix_mask(torch.tensor([[(0, 0), (0, 1), (0, 2)]]))[0, 0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    rows, time = (torch.arange(n, device=places.device) for n in places.shape[:2])
    return may_attend(places)(rows[:, None, None], None, time[:, None], time)[:, None]


def block_mask(places: Tensor) -> BlockMask:
    """The rule as FlexAttention reads it: blocks in which nobody attends are skipped."""
    rows, tokens = places.shape[:2]
    create = torch.compile(create_block_mask)  # else it would hold all pairs of tokens
    return create(may_attend(places), rows, None, tokens, tokens, device=places.device)


def arguments(causal: nn.Module, places: Tensor, dtype: torch.dtype) -> dict:
    """The arguments with which a causal LM computes packed rows by its own attention; ``dtype`` is
    that of its hidden states."""
    kind = causal.config._attn_implementation
    if kind == FLEX:
        return {"attention_mask": block_mask(places)}
    mask = prefix_mask(places)
    # not on a GPU: many small kernels gain nothing there, and each block keeps a copy of its keys
    if kind == BLOCKWISE and places.device.type == "cpu" and places.shape[1] > 2 * BLOCK:
        return {"attention_mask": mask, "blocks": list(blocks_of(mask))}
    return {"attention_mask": additive(mask, dtype)}


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where attention is allowed and −∞ elsewhere, in rows that lie as CUDA's kernels want them:
    of any other mask every layer would make and keep a copy."""
    width = -(-mask.shape[-1] // ALIGNED) * ALIGNED
    wide = torch.zeros(*mask.shape[:-1], width, dtype=dtype, device=mask.device)
    return wide[..., : mask.shape[-1]].masked_fill_(~mask, -torch.inf)


def blocks_of(mask: Tensor) -> Iterator[Block]:
    """Blocks of a mask's queries, each with the keys that any of them attends to."""
    for row, allowed in enumerate(mask[:, 0]):
        for start in range(0, mask.shape[2], BLOCK):
            queries = slice(start, start + BLOCK)
            keys = allowed[queries].any(0).nonzero().squeeze(1)
            yield row, queries, keys, allowed[queries, keys]


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    blocks: list[Block] | None = None, **options: object,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention as transformers calls it: heads (B, N, T, d) → (B, T, N, d), by ``blocks``."""
    if blocks is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    dropout, scale = options.get("dropout", 0.0), options.get("scaling")
    sharing = query.shape[1] // key.shape[1]  # query heads of one key head
    rows: list[list[Tensor]] = [[] for _ in query]
    for row, queries, keys, mask in blocks:
        one = slice(row, row + 1)
        seen = (t[one, :, keys].repeat_interleave(sharing, 1) for t in (key, value))
        given = {"attn_mask": mask, "dropout_p": dropout, "scale": scale}
        rows[row].append(scaled_dot_product_attention(query[one, :, queries], *seen, **given))
    return torch.cat([torch.cat(parts, 2) for parts in rows]).transpose(1, 2), None


AttentionInterface.register(BLOCKWISE, attend)
AttentionMaskInterface.register(BLOCKWISE, sdpa_mask)
