"""The loop: its schedule, its order, its resumes, and what it says when something is wrong."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from tiny_model import broken, config_of, make_trees, random_embeddings, rna_tables, write_llm

from rnagpt_lib import checkpoints
from rnagpt_lib import train as loop
from rnagpt_lib.errors import InputError
from rnagpt_lib.model import RnaGpt, frozen_hash
from rnagpt_lib.packing import Branch
from rnagpt_lib.profiles import Stage1, Stage2
from rnagpt_lib.train import lr_at, optimiser_of, read_log, step_loss, train
from rnagpt_lib.visits import annotation_texts, epoch_steps, stage1_trees, steps_per_epoch

LENGTHS = [12, 15, 20, 17, 30, 11, 25]
PARAMS = Stage2(
    epochs=3, learning_rate=1e-2, final_rate=5e-3, warmup_steps=4, rnas_per_step=2, row_tokens=128
)


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return write_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture
def build(llm):
    return lambda: RnaGpt.build(config_of(llm, "lora"))


@pytest.fixture
def trees(build):
    return make_trees(build(), LENGTHS)


def trained(model: RnaGpt) -> list[torch.Tensor]:
    return [p.detach() for p in model.parameters() if p.requires_grad]


def test_schedule_of_the_paper():
    paper = Stage1()
    total = 10_000
    assert lr_at(0, total, paper) == 1e-6
    assert lr_at(1024, total, paper) == pytest.approx((1e-6 + 1e-4) / 2)
    assert lr_at(2048, total, paper) == pytest.approx(1e-4)
    middle = (2048 + total - 1) / 2
    assert lr_at(middle, total, paper) == pytest.approx(9e-5)
    assert lr_at(total - 1, total, paper) == pytest.approx(8e-5)
    rates = [lr_at(step, total, paper) for step in range(2048, total)]
    assert rates == sorted(rates, reverse=True)


def test_warm_up_longer_than_an_epoch_goes_on(build, trees, tmp_path, monkeypatch):
    """The rates that the optimiser really used are the closed form's, over all epochs."""
    used = []
    step = torch.optim.AdamW.step

    def recording(self, *args, **kwargs):
        used.append([group["lr"] for group in self.param_groups])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", recording)
    params = PARAMS.model_copy(update={"warmup_steps": 6})
    log = train(build(), trees, [], params, tmp_path)
    total = 3 * steps_per_epoch(trees, params)
    assert used == [[lr_at(step, total, params)] * 2 for step in range(total)]
    assert log["lr"].tolist() == [rates[0] for rates in used]


def test_decay_spares_biases(build):
    model = build()
    decays, spared = optimiser_of(model, PARAMS).param_groups
    assert (decays["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    assert decays["betas"] == (0.9, 0.98)
    assert [id(p) for p in spared["params"]] == [id(model.projection.bias)]


def test_every_epoch_visits_all_pairs_once_in_its_own_order(trees):
    orders = []
    for epoch in range(2):
        steps = list(epoch_steps(trees, PARAMS, 0, epoch))
        assert len(steps) == steps_per_epoch(trees, PARAMS) == math.ceil(len(trees) / 2)
        orders.append([tree.rna_id for step in steps for tree in step])
        assert sorted(orders[-1]) == sorted(tree.rna_id for tree in trees)
    assert orders[0] != orders[1]
    again = [tree.rna_id for step in epoch_steps(trees, PARAMS, 0, 0) for tree in step]
    assert again == orders[0]


def test_paper_recipe_is_one_pair_a_step(trees):
    params = PARAMS.model_copy(update={"recipe": "paper"})
    steps = list(epoch_steps(trees, params, 0, 0))
    assert len(steps) == steps_per_epoch(trees, params) == sum(len(t.branches) for t in trees)
    assert all(len(step) == 1 and len(step[0].branches) == 1 for step in steps)
    seen = sorted((step[0].rna_id, step[0].branches[0].answer) for step in steps)
    assert seen == sorted((tree.rna_id, b.answer) for tree in trees for b in tree.branches)


def test_pairs_per_visit(trees):
    params = PARAMS.model_copy(update={"pairs_per_visit": 2})
    visits = {
        epoch: {t.rna_id: t.branches for step in epoch_steps(trees, params, 0, epoch) for t in step}
        for epoch in range(6)
    }
    assert {len(b) for v in visits.values() for b in v.values()} == {1, 2}
    three = next(tree for tree in trees if len(tree.branches) == 3)
    drawn = [visits[epoch][three.rna_id] for epoch in visits]
    assert any(one != other for one in drawn for other in drawn)


def test_no_visit_leaves_out_what_always_comes(trees):
    kinds = ["local", "family", "family", "rna_type", "local", "species"]
    prompts = [[number, 8] for number in range(len(kinds))]
    branches = [Branch(prompt, [9], kind) for prompt, kind in zip(prompts, kinds, strict=True)]
    params = PARAMS.model_copy(update={"pairs_per_visit": 2, "always": ("local",)})
    drawn = set()
    for epoch in range(20):
        for visit in (
            t
            for s in epoch_steps([replace(trees[0], branches=branches)], params, 0, epoch)
            for t in s
        ):
            found = [branch.prompt[0] for branch in visit.branches]
            assert found == sorted(found) and len(found) == 4 and {0, 4} < set(found)
            drawn |= set(found)
    assert drawn == set(range(len(kinds)))


def test_training_learns_and_leaves_the_llm_alone(build, trees, tmp_path):
    model = build()
    before = frozen_hash(model)
    params = PARAMS.model_copy(update={"epochs": 8, "learning_rate": 0.1, "final_rate": 0.05})
    log = train(model, trees[:5], trees[5:], params, tmp_path)
    assert log["loss"].iloc[-3:].mean() < 0.8 * log["loss"].iloc[:3].mean()
    assert frozen_hash(model) == before
    assert log["step"].tolist() == list(range(1, 25))
    assert log["val_loss"].notna().sum() == 8 and log["val_loss"].notna().iloc[2::3].all()
    assert log["pairs"].sum() == 8 * sum(len(tree.branches) for tree in trees[:5])
    assert (tmp_path / "checkpoints" / "last.json").is_file()
    loaded = checkpoints.load(tmp_path, "last")
    assert all(map(torch.equal, trained(loaded), trained(model)))


def test_validation_loss_is_the_mean_over_pairs(build, trees):
    model = build()
    each = [
        step_loss(model, [tree.only([i])], 128, backward=False)
        for tree in trees
        for i in range(len(tree.branches))
    ]
    assert loop.validate(model, trees, 128) == pytest.approx(sum(each) / len(each), abs=1e-5)
    assert model.projection.weight.grad is None


def test_one_seed_one_result(build, trees, tmp_path):
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        model = build()
        log = train(model, trees, [], PARAMS, tmp_path / name, seed=7)
        runs.append((trained(model), log["loss"].tolist()))
    assert all(map(torch.equal, runs[0][0], runs[1][0])) and runs[0][1] == runs[1][1]


@pytest.mark.parametrize("stop", [1, 4, 6, 8])
def test_resume_in_mid_epoch_equals_the_uninterrupted_run(
    build, trees, tmp_path, monkeypatch, stop
):
    params = PARAMS.model_copy(update={"validate_every": 2})
    (tmp_path / "whole").mkdir()
    whole = build()
    wanted = train(whole, trees[:5], trees[5:], params, tmp_path / "whole")

    part = tmp_path / "part"
    part.mkdir()
    step_of = loop.step_loss
    calls = []

    def dies(model, visits, row_tokens, backward):
        calls.append(backward)
        if sum(calls) > stop:
            raise KeyboardInterrupt
        return step_of(model, visits, row_tokens, backward)

    monkeypatch.setattr(loop, "step_loss", dies)
    with pytest.raises(KeyboardInterrupt):
        train(build(), trees[:5], trees[5:], params, part)
    monkeypatch.undo()

    resumed = build()
    found = train(resumed, trees[:5], trees[5:], params, part)
    assert all(map(torch.equal, trained(resumed), trained(whole)))
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), wanted.drop(columns="seconds"))


def test_resume_past_a_truncated_checkpoint(build, trees, tmp_path):
    (tmp_path / "whole").mkdir()
    whole = build()
    train(whole, trees, [], PARAMS, tmp_path / "whole")
    newest = checkpoints.newest(tmp_path / "whole")
    state = newest / "state" / "training.pt"
    state.write_bytes(state.read_bytes()[:-100])
    resumed = build()
    log = train(resumed, trees, [], PARAMS, tmp_path / "whole")
    assert all(map(torch.equal, trained(resumed), trained(whole)))
    assert log["step"].tolist() == list(range(1, 13))


def test_another_training_in_the_folder_is_refused(build, trees, tmp_path):
    params = PARAMS.model_copy(update={"epochs": 1})
    train(build(), trees, [], params, tmp_path)
    with pytest.raises(InputError, match="other data, parameters or seed"):
        train(build(), trees, [], params, tmp_path, seed=1)
    with pytest.raises(InputError, match="other data, parameters or seed"):
        train(build(), trees[1:], [], params, tmp_path)


def test_not_finite_embeddings_are_named_and_the_last_state_is_intact(build, trees, tmp_path):
    params = PARAMS.model_copy(update={"validate_every": 1})
    last = [tree.rna_id for step in epoch_steps(trees, params, 0, 0) for tree in step][-1]
    bad = [broken(tree) if tree.rna_id == last else tree for tree in trees]
    with pytest.raises(InputError, match=rf"step 4 \(epoch 1\).*embeddings of {last} .*00003\."):
        train(build(), bad, [], params, tmp_path)
    whole, resumed = build(), build()
    (tmp_path / "whole").mkdir()
    train(whole, trees, [], params, tmp_path / "whole")
    train(resumed, trees, [], params, tmp_path)
    assert all(map(torch.equal, trained(resumed), trained(whole)))


def test_a_diverged_training_says_what_to_do(build, trees, tmp_path):
    model = build()
    with torch.no_grad():
        model.projection.weight.fill_(math.inf)
    with pytest.raises(InputError, match="lower LEARNING_RATE.*No checkpoint yet"):
        train(model, trees, [], PARAMS, tmp_path)


def test_nothing_to_train_on(build, tmp_path):
    with pytest.raises(InputError, match="no RNA to train on"):
        train(build(), [], [], PARAMS, tmp_path)


def test_a_text_too_long_for_the_llm_is_named(build, trees, tmp_path):
    long = replace(trees[2], embeddings=torch.zeros(2048, trees[2].embeddings.shape[1]))
    with pytest.raises(InputError, match="R2: the RNA and its longest text are .* reads 2048"):
        train(build(), [*trees[:2], long], [], PARAMS, tmp_path)


def test_stage_one_reads_sentences_in_order_and_fields_without_literature(build):
    model = build()
    rnas, _ = rna_tables([12, 5, 9])
    annotations = pd.DataFrame(
        {
            "rna_id": ["R0", "R0"],
            "sentence_no": [1, 0],
            "text": ["It regulates growth.", "A tRNA."],
        }
    )
    pairs = pd.DataFrame(
        {
            "rna_id": ["R0", "R2", "R2", "R2"],
            "kind": ["rna_type", "rna_type", "rna_type", "species"],
            "form": ["open", "open", "closed", "open"],
            "answer": ["Not read.", "A tRNA.", "Yes.", "From yeast."],
        }
    )
    texts = annotation_texts(annotations, pairs)
    trees = stage1_trees(model, rnas, texts, random_embeddings(rnas))
    assert [tree.rna_id for tree in trees] == ["R0", "R2"]
    assert trees[0].before == [model.tokenizer.bos_token_id]
    assert trees[0].branches[0].prompt == []
    written = [model.tokenizer.decode(tree.branches[0].answer) for tree in trees]
    assert written == ["A tRNA. It regulates growth.</s>", "A tRNA. From yeast.</s>"]


def test_log_survives_a_half_written_line(build, trees, tmp_path):
    params = PARAMS.model_copy(update={"epochs": 1})
    train(build(), trees, [], params, tmp_path)
    with (tmp_path / "steps.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')
    assert len(train(build(), trees, [], params, tmp_path)) == 4 == len(read_log(tmp_path))
