"""The ways of one training step, ours and the peers', on small models: one gradient for all."""

import json
from functools import partial

import pytest
import torch
from transformers import LlamaConfig

from benchmarks import _page
from benchmarks.speed import _peers, training_steps
from benchmarks.speed import _steps as steps
from rnagpt_lib.report import readme

WORDS = 97
TINY = LlamaConfig(
    vocab_size=WORDS, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2,
)  # fmt: skip


@pytest.fixture(scope="module", params=[True, False], ids=["lora", "projection"])
def model(request):
    torch.manual_seed(0)
    return steps.Model(TINY, request.param).double()


@pytest.fixture(scope="module")
def trees():
    torch.manual_seed(1)
    return [steps.rna(9, 3, WORDS), steps.rna(14, 2, WORDS)]


WAYS = {
    "padded": steps.padded,
    "padded, two by two": partial(steps.padded, together=2),
    "padding-free": steps.unshared,
    "ours": steps.shared,
    "ours, one row": partial(steps.one_row, tokens=1000),
    "ours, all logits": partial(steps.shared, everywhere=True),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_way_has_the_gradient_of_the_naive_one(model, trees, way):
    wanted = training_steps.gradient(model, trees, steps.naive)
    found = training_steps.gradient(model, trees, way)
    assert (found - wanted).norm() < 1e-6 * wanted.norm()  # transformers' loss is fp32


@pytest.mark.parametrize("way", [steps.naive, steps.padded, steps.unshared])
def test_a_peer_with_fewer_logits_has_the_same_gradient(model, trees, way):
    wanted = training_steps.gradient(model, trees, way)
    found = training_steps.gradient(model, trees, partial(way, everywhere=False))
    assert (found - wanted).norm() < 1e-6 * wanted.norm()


def test_adapters_are_those_of_peft_where_it_is_missing(trees, monkeypatch):
    torch.manual_seed(0)
    theirs = steps.Model(TINY, lora=True).double()
    monkeypatch.setattr(steps, "find_spec", lambda name: None)
    torch.manual_seed(0)
    ours = steps.Model(TINY, lora=True).double()
    assert any(isinstance(module, steps.Adapter) for module in ours.modules())
    with torch.no_grad():
        for mine, other in zip(ours.trained, theirs.trained, strict=True):
            mine.copy_(other)
    wanted = training_steps.gradient(theirs, trees, steps.shared)
    found = training_steps.gradient(ours, trees, steps.shared)
    assert (found - wanted).norm() < 1e-12 * wanted.norm()


def kept_bytes(model: steps.Model, trees: list) -> int:
    """What a forward pass keeps for the backward pass, each tensor once, parameters too."""
    kept = []  # held, so that no address is given out twice

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        list(steps.shared(model, trees))
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}.values()
    )


def test_adapters_over_bf16_are_fp32_and_keep_no_copies_of_their_inputs(trees, monkeypatch):
    model = steps.Model(TINY, lora=True, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.trained} == {torch.float32}
    lean = kept_bytes(model, trees)
    for module in model.causal.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = True  # as peft has it
    # of each layer two more copies of what q, k and v read, one of gate and up's, one of o's
    copies = TINY.num_hidden_layers * 4 * TINY.hidden_size * sum(map(len, trees))
    assert kept_bytes(model, trees) >= lean + 2 * copies  # bytes of bf16
    monkeypatch.setattr(steps, "find_spec", lambda name: None)
    own = steps.Model(TINY, lora=True, dtype=torch.bfloat16)
    assert kept_bytes(own, trees) == pytest.approx(lean, rel=0.02)


def test_a_way_with_another_gradient_stops_the_measurement(model, trees):
    ways = {"ours": steps.shared, "all but one": lambda model, trees: steps.naive(model, trees[:1])}
    with pytest.raises(AssertionError, match="all but one: its gradient differs"):
        training_steps.in_turn(model, trees, ways)


def test_the_head_s_share_of_the_flops():
    layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 48 + 2 * 32
    head, linear = 4 * 32 * WORDS, 4 * (2 * layer + 32)
    assert training_steps.head_share(TINY, 10) == head / (head + linear + 3 * 4 * 10 * 32 * 2)


def test_rows_keep_the_contract_and_a_file_holds_several(tmp_path, monkeypatch):
    monkeypatch.setattr(_page, "RESULTS", tmp_path)
    monkeypatch.setattr(_peers, "PAGE", tmp_path / "README.md")
    (tmp_path / "README.md").write_text("<!-- peers:start -->\n<!-- peers:end -->\n", "utf-8")
    for made in ("rna", "annotated"):
        small = {"rna": {"pairs": 2}, "annotated": {}}[made]
        monkeypatch.setattr(steps, made, partial(getattr(steps, made), vocabulary=WORDS, **small))
    monkeypatch.setattr(training_steps, "CONFIG", TINY)
    monkeypatch.setattr(training_steps, "TARGETS", {5: (2.3, 1.6), 7: (3, 3.5)})
    monkeypatch.setattr(training_steps, "REPEATS", 2)
    monkeypatch.setattr(training_steps, "THREADS", 1)
    monkeypatch.setattr(steps, "PAIRS", 2)
    training_steps.main()
    rows = json.loads((tmp_path / "training_steps.json").read_text("utf-8"))
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names) == 2 * 3 + 2 + 2
    wanted = "name ours peer workload ratio_median ratio_low ratio_high repeats equal target limit machine date"
    assert all(set(wanted.split()) <= set(row) and row["repeats"] == 2 for row in rows)
    page = readme.read_block(tmp_path / "README.md", "peers")
    assert all(f"| {name} |" in page for name in names) and "by packing alone" in page
