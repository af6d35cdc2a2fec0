"""The encoder's last layers, where they train: the gradient, what else changes, what is kept."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Stage2, load
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.packing import Tree, collate
from rnagpt_lib.model.rna_gpt import Config, RnaGpt, trainable
from rnagpt_lib.model.vector_cache import encode_all
from rnagpt_lib.train.loop import Trainer, train
from tests.support.tiny_model import (
    TINY,
    config_of,
    double,
    interrupted_after,
    make_examples,
    trained,
    with_encoder,
)

LENGTHS = [12, 15, 11, 17, 13]
PARAMS = Stage2(
    epochs=2, learning_rate=1e-2, final_rate=5e-3, warmup_steps=15, rnas_per_step=2, row_tokens=128,
    cache="live", encoder_layers=1, validate_every=2,
)  # fmt: skip
CLOCK = ["seconds", "tokens_per_second", "memory_gb"]


@pytest.fixture(scope="module")
def config(llm, tmp_path_factory) -> Config:
    return with_encoder(config_of(llm, "lora"), tmp_path_factory.mktemp("encoder"), 1)


def gradient(model: RnaGpt) -> torch.Tensor:
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    model.zero_grad()
    return found


def naive(model: RnaGpt, trees: list[Tree], sequences: list[str], *, learns: bool = True) -> None:
    """One pair at a time, each read anew by the ``fm`` model itself and by transformers' path."""
    pairs = sum(len(tree.branches) for tree in trees)
    for tree, sequence in zip(trees, sequences, strict=True):
        for branch in tree.branches:
            with torch.set_grad_enabled(learns):
                seen = model.encoder.model(model.encoder.tokens([sequence]), repr_layers=[2])
            vectors = seen["representations"][2][0, 1:-1]
            prompt = model.splice(tree.before, vectors, branch.prompt)
            inputs = torch.cat([prompt, model.embed(branch.answer)])[None]
            labels = torch.tensor([[-100] * len(prompt) + branch.answer])
            (model.causal(inputs_embeds=inputs, labels=labels).loss / pairs).backward()


@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_gradient_is_that_of_the_naive_loop(config, layers):
    model = double(RnaGpt.build(replace(config, encoder_layers=layers)))
    trees = make_examples(model, LENGTHS)
    some = [trees[i] for i in range(len(trees))]
    pairs = sum(len(tree.branches) for tree in some)
    for rows in ([some[:3]], [some[3:]]):
        model(collate(rows, pairs)).backward()
    packed = gradient(model)
    naive(model, some, list(trees.sequences))
    wanted = gradient(model)
    assert (packed - wanted).norm() / wanted.norm() < 1e-6
    for parameter in model.encoder_layers.parameters():
        parameter.grad = torch.zeros_like(parameter)
    naive(model, some, list(trees.sequences), learns=False)
    assert (gradient(model) - wanted).norm() / wanted.norm() > 0.01  # it is a part of the whole


def test_the_last_layers_and_their_norm_train_and_no_other(config):
    model = RnaGpt.build(config)
    names = {n for n, p in model.encoder.model.named_parameters() if p.requires_grad}
    assert names == {name for name, _ in model.encoder_layers.named_parameters()}
    assert {name.split(".")[0] for name in names} == {"layers", "emb_layer_norm_after"}
    assert all(name.startswith(("layers.1.", "emb_")) for name in names)
    assert trainable(model).loc["encoder's last layers", "trained"] == sum(
        p.numel() for p in model.encoder_layers.parameters()
    )
    assert not model.encoder.is_frozen and Encoder.load(config.encoder).is_frozen


def test_a_training_changes_them_and_resumes_and_reads_as_it_did(config, tmp_path):
    def start(name: str) -> tuple[RnaGpt, pd.DataFrame]:
        (tmp_path / name).mkdir(exist_ok=True)
        model = RnaGpt.build(config)
        trees = make_examples(model, LENGTHS)
        return model, train(model, trees[:4], trees[4:], PARAMS, tmp_path / name)

    model, wanted = start("whole")
    with interrupted_after(3):
        start("part")
    resumed, found = start("part")
    assert all(map(torch.equal, trained(resumed), trained(model)))
    pd.testing.assert_frame_equal(found.drop(columns=CLOCK), wanted.drop(columns=CLOCK))
    before, after = (m.encoder.model.state_dict() for m in (RnaGpt.build(config), model))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(("layers.1.", "emb_layer_norm_")) for name in changed)
    loaded = checkpoint.load(tmp_path / "whole", "last")
    sequences = list(make_examples(model, LENGTHS).sequences)
    read = checkpoint.load_encoder(loaded).encode(sequences)
    assert all(map(torch.equal, read, model.encoder.encode(sequences)))
    assert not any(map(torch.equal, read, Encoder.load(config.encoder).encode(sequences)))
    assert not any(vectors.requires_grad for vectors in read)


def test_a_validation_keeps_no_way_back(config, tmp_path, monkeypatch):
    model = RnaGpt.build(config)
    trainer = Trainer(model, PARAMS, tmp_path)
    read, seen = Encoder.read, []

    def watched(self, sequence):
        seen.append(read(self, sequence))
        return seen[-1]

    monkeypatch.setattr(Encoder, "read", watched)
    trainer.validate(make_examples(model, LENGTHS))
    assert seen and not any(vectors.requires_grad for vectors in seen)


def test_what_does_not_go_together_is_refused(config, tmp_path):
    with pytest.raises(InputError, match="ENCODER_LAYERS is 2, but .* set CACHE to live"):
        load("mini").stage("05_train_stage2", encoder_layers=2)
    with pytest.raises(InputError, match="PARALLEL is ddp"):
        load("mini").stage("05_train_stage2", encoder_layers=2, cache="live", parallel="fsdp")
    with pytest.raises(InputError, match="the encoder has 2 layers; ENCODER_LAYERS is 3"):
        RnaGpt.build(replace(config, encoder_layers=3))
    encoder = Encoder.fresh(TINY, seed=0)
    encoder.unfreeze(1)
    with pytest.raises(InputError, match="set CACHE to live"):
        encode_all(encoder, ["ACGUACGUACGU"], tmp_path)
    assert not list(tmp_path.iterdir())
