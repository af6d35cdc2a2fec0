"""Who attends to whom, against the definition in words; blocks and FlexAttention against SDPA."""

import pytest
import torch

from rnagpt_lib.model import attention
from rnagpt_lib.model.attention import BLOCKWISE, FLEX, block_mask, blocks_of, prefix_mask
from rnagpt_lib.model.packing import Batch, collate, fill
from rnagpt_lib.model.rna_gpt import RnaGpt
from tests.support.tiny_model import config_of, double, make_examples, write_llm


def places_of(*rows: list[list[int]], pads: int = 0) -> torch.Tensor:
    """Rows of trees, each the lengths of its prefix and of its branches; padded alike."""
    made = [
        [(tree, branch) for tree, lengths in enumerate(row)
         for branch, length in enumerate(lengths) for _ in range(length)]
        for row in rows
    ]  # fmt: skip
    width = max(map(len, made)) + pads
    return torch.tensor([row + [(-1, -1)] * (width - len(row)) for row in made])


ROWS = [
    places_of([[5, 3, 4, 2]]),
    places_of([[3, 2, 2], [7, 1], [1, 4, 1, 1]], pads=3),
    places_of([[20, 9, 30]], [[2, 2], [4, 11]], pads=1),
]


def in_words(query: list[int], key: list[int]) -> bool:
    """Of two tokens, the key not after the query: within one tree, its prefix or one branch."""
    return query[0] == key[0] and key[1] in (0, query[1])


@pytest.mark.parametrize("places", ROWS)
def test_the_rule_is_the_one_in_words(places):
    mask = prefix_mask(places)[:, 0]
    for row, tokens in enumerate(places.tolist()):
        for q, query in enumerate(tokens):
            wanted = [k <= q and in_words(query, key) for k, key in enumerate(tokens)]
            if query[0] >= 0:
                assert mask[row, q].tolist() == wanted
            else:  # pads attend to pads alone, and to one at least
                assert mask[row, q, q]
                assert not any(mask[row, q, k] for k, key in enumerate(tokens) if key[0] >= 0)


@pytest.mark.parametrize("places", ROWS)
def test_blocks_hold_what_the_mask_allows_and_no_key_in_vain(places, monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", 4)
    mask = prefix_mask(places)
    again = torch.zeros_like(mask)
    for row, queries, keys, allowed in blocks_of(mask):
        assert allowed.any(0).all() and allowed.any(1).all()
        again[row, 0, queries, keys] = allowed
    assert torch.equal(again, mask)


@pytest.mark.slow
@pytest.mark.parametrize("places", ROWS)
def test_flex_reads_the_same_rule(places):
    """Its own blocks of 128 and the rule within them, both evaluated densely."""
    with torch.compiler.set_stance("force_eager"):
        made = block_mask(places)
    rows, tokens = places.shape[:2]
    assert made.shape == (rows, 1, tokens, tokens)
    index = [torch.arange(n) for n in (rows, tokens, tokens)]
    dense = made.mask_mod(index[0][:, None, None], None, index[1][:, None], index[2])
    assert torch.equal(dense[:, None], prefix_mask(places))
    assert made.to_dense().shape == (rows, 1, 1, 1) and made.to_dense().all()


def test_the_additive_mask_is_aligned_and_says_the_same():
    mask = prefix_mask(ROWS[1])
    made = attention.additive(mask, torch.bfloat16)
    assert made.shape == mask.shape and made.stride(-2) % 16 == 0 == made.storage_offset()
    assert torch.equal(made == 0, mask) and made[~mask].isneginf().all()


@pytest.mark.slow
def test_flex_skips_blocks_in_which_nobody_attends():
    places = places_of([[128, 128, 128], [128, 128]])
    with torch.compiler.set_stance("force_eager"):
        blocks = block_mask(places).to_dense()[0, 0]
    assert blocks.tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 1],
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return double(RnaGpt.build(config_of(write_llm(tmp_path_factory.mktemp("llm")), "lora")))


@pytest.fixture(scope="module")
def batch(model) -> Batch:
    trees = make_examples(model, [12, 5, 20, 7])
    made = collate(fill(trees, 100), 8)
    assert made.ids.shape[0] > 1 and (made.places == -1).any()
    return made.to(model.device)


@pytest.mark.parametrize("kind", [BLOCKWISE, pytest.param(FLEX, marks=pytest.mark.slow)])
def test_flex_and_blocks_have_the_loss_of_sdpa(model, batch, monkeypatch, kind):
    monkeypatch.setattr(attention, "BLOCK", 16)
    found = []
    for implementation in ("sdpa", kind):
        model.causal.set_attn_implementation(implementation)
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            found.append(model(batch).item())
    assert found[1] == pytest.approx(found[0], rel=1e-9)
