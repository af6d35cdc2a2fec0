"""Packing is exact: gradient and loss are those of the naive loop over pairs."""

from dataclasses import replace

import pytest
import torch

from rnagpt_lib.model import attention
from rnagpt_lib.model.attention import BLOCKWISE
from rnagpt_lib.model.packing import Batch, Branch, Tree, collate, fill, passes
from rnagpt_lib.model.rna_gpt import RnaGpt
from tests.support.tiny_model import config_of, double, make_examples, write_llm

LENGTHS = [12, 5, 20, 7]


@pytest.fixture(scope="module", params=["projection", "lora"])
def model(request, tmp_path_factory):
    llm = write_llm(tmp_path_factory.mktemp("llm"))
    return double(RnaGpt.build(config_of(llm, request.param)))


@pytest.fixture(scope="module")
def trees(model):
    return make_examples(model, LENGTHS)


def gradient(model: RnaGpt, batches: list[Batch]) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    loss = sum(model(batch) for batch in batches)
    loss.backward()
    trained = [p.grad.flatten() for p in model.parameters() if p.requires_grad]
    return loss.item(), torch.cat(trained)


def naive(model: RnaGpt, trees: list[Tree]) -> tuple[float, torch.Tensor]:
    """One pair at a time, by transformers' own causal path and labels: nothing of packing."""
    pairs = sum(len(tree.branches) for tree in trees)
    model.zero_grad()
    total = 0.0
    for tree in trees:
        for branch in tree.branches:
            prompt = model.splice(tree.before, tree.embeddings, branch.prompt)
            inputs = torch.cat([prompt, model.embed(branch.answer)])[None]
            labels = torch.tensor([[-100] * len(prompt) + branch.answer], device=model.device)
            loss = model.causal(inputs_embeds=inputs, labels=labels).loss / pairs
            loss.backward()
            total += loss.item()
    trained = [p.grad.flatten() for p in model.parameters() if p.requires_grad]
    return total, torch.cat(trained)


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


@pytest.fixture(params=["sdpa", BLOCKWISE])
def attended(request, model, monkeypatch):
    """How packed rows are computed; blocks so small that each row has several."""
    monkeypatch.setattr(attention, "BLOCK", 16)
    model.causal.set_attn_implementation(request.param)
    yield
    model.causal.set_attn_implementation(BLOCKWISE)


@pytest.mark.parametrize("row_tokens", [64, 1000])
def test_packed_gradient_is_the_naive_one(model, trees, row_tokens, attended):
    pairs = sum(len(tree.branches) for tree in trees)
    rows = fill(trees, row_tokens)
    wanted_loss, wanted = naive(model, trees)
    loss, found = gradient(model, [collate([row], pairs).to(model.device) for row in rows])
    assert loss == pytest.approx(wanted_loss, rel=1e-6)
    assert error(found, wanted) < 1e-6


def test_rows_padded_to_one_batch_change_nothing(model, trees, attended):
    pairs = sum(len(tree.branches) for tree in trees)
    batch = collate(fill(trees, 100), pairs).to(model.device)
    assert batch.ids.shape[0] > 1
    wanted_loss, wanted = naive(model, trees)
    loss, found = gradient(model, [batch])
    assert loss == pytest.approx(wanted_loss, rel=1e-6)
    assert error(found, wanted) < 1e-6


def not_restarted(batch: Batch) -> Batch:
    return replace(batch, positions=torch.arange(batch.ids.shape[1], device=batch.ids.device)[None])


def no_mask(batch: Batch) -> Batch:
    return replace(batch, places=None)


def causal_over_all(batch: Batch) -> Batch:
    return replace(batch, places=torch.zeros_like(batch.places))


def token_mean(batch: Batch) -> Batch:
    return replace(batch, weights=torch.full_like(batch.weights, 1 / len(batch.weights)))


@pytest.mark.parametrize("wrong", [not_restarted, no_mask, causal_over_all, token_mean])
def test_each_wrong_variant_has_another_gradient(model, trees, wrong, attended, monkeypatch):
    if wrong is no_mask:
        monkeypatch.setattr(attention, "arguments", lambda *given: {})
    pairs = sum(len(tree.branches) for tree in trees)
    _, wanted = naive(model, trees)
    _, found = gradient(model, [wrong(collate([trees], pairs).to(model.device))])
    assert error(found, wanted) > 1e-3


def test_one_answer_right_after_the_prefix(model, trees):
    """Stage 1: no prompt, so the last soft token predicts the first token of the annotation."""
    bare = [replace(t, branches=[Branch([], t.branches[0].answer)]) for t in trees]
    wanted_loss, wanted = naive(model, bare)
    loss, found = gradient(model, [collate([bare], len(bare)).to(model.device)])
    assert loss == pytest.approx(wanted_loss, rel=1e-6)
    assert error(found, wanted) < 1e-6


def tree_of(length: int, name: str = "R") -> Tree:
    return Tree(name, [1], torch.zeros(length - 4, 2), [Branch([5], [6, 7])])


@pytest.mark.parametrize("tokens, rows_each", [(64, [1, 1, 1]), (230, [2, 1]), (9999, [3])])
def test_passes_hold_every_tree_once_within_the_budget(tokens, rows_each):
    trees = [tree_of(n, f"R{n}") for n in (10, 30, 25, 60, 12, 110, 9)]
    assert [sum(map(len, row)) for row in fill(trees, 64)] == [110, 60, 64, 22]
    made = list(passes(trees, tokens))
    assert [len(rows) for rows in made] == rows_each
    found = [tree.rna_id for rows in made for row in rows for tree in row]
    assert sorted(found) == sorted(tree.rna_id for tree in trees)
    for rows in made:
        width = max(sum(map(len, row)) for row in rows)
        assert len(rows) == 1 or len(rows) * width <= tokens


def test_answers_weigh_the_same_whatever_their_length():
    tree = replace(tree_of(8), branches=[Branch([5], [6]), Branch([5, 5], [6, 7, 8, 9])])
    batch = collate([[tree]], pairs=4)
    assert batch.weights.sum().item() == pytest.approx(2 / 4)
    assert batch.weights.tolist() == [1 / 4] + [1 / 16] * 4
    assert batch.targets.tolist() == [6, 6, 7, 8, 9]
