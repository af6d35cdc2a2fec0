"""The loop: its schedule, its order, its resumes, and what it says when something is wrong."""

import math
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest
import torch

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Stage1, Stage2
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.packing import collate
from rnagpt_lib.model.rna_gpt import RnaGpt, frozen_hash
from rnagpt_lib.train import loop
from rnagpt_lib.train.loop import Trainer, build_optimiser, lr_at, read_log, train
from rnagpt_lib.train.training_examples import (
    Examples,
    annotation_texts,
    stage1_examples,
    stage2_examples,
)
from rnagpt_lib.train.visit_order import Visit, epoch_length, epoch_steps, steps_per_epoch
from tests.support.tiny_model import (
    config_of,
    interrupted_after,
    make_examples,
    random_embeddings,
    rna_tables,
    write_llm,
)

LENGTHS = [12, 15, 20, 17, 30, 11, 25]
PARAMS = Stage2(
    epochs=3, learning_rate=1e-2, final_rate=5e-3, warmup_steps=15, rnas_per_step=2, row_tokens=128
)
CLOCK = ["seconds", "tokens_per_second", "memory_gb"]


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return write_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture
def build(llm):
    return lambda: RnaGpt.build(config_of(llm, "lora"))


@pytest.fixture
def trees(build):
    return make_examples(build(), LENGTHS)


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


@pytest.mark.parametrize("recipe", ["packed", "paper"])
def test_every_rate_is_the_closed_form(build, trees, tmp_path, monkeypatch, recipe):
    """The rates that the optimiser really used, with a warm-up longer than an epoch: counted in
    steps of one pair, or in the pairs that went before."""
    used = []
    step = torch.optim.AdamW.step

    def recording(self, *args, **kwargs):
        used.append([group["lr"] for group in self.param_groups])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", recording)
    params = PARAMS.model_copy(update={"warmup_steps": 20, "recipe": recipe})
    log = train(build(), trees, trees[:0], params, tmp_path)
    assert 20 > trees.pairs.sum() == 13
    before = (log["pairs"].cumsum() - log["pairs"]).tolist()
    low, high, end = params.initial_rate, params.learning_rate, params.final_rate
    wanted = [
        low + (high - low) * n / 20
        if n < 20
        else end + (high - end) * (1 + math.cos(math.pi * (n - 20) / (3 * 13 - 1 - 20))) / 2
        for n in before
    ]
    assert used == [[pytest.approx(rate, rel=1e-12)] * 2 for rate in wanted]
    assert log["lr"].tolist() == [rates[0] for rates in used]


def test_decay_spares_biases(build):
    model = build()
    decays, spared = build_optimiser(model, PARAMS).param_groups
    assert (decays["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    assert decays["betas"] == (0.9, 0.98)
    assert [id(p) for p in spared["params"]] == [id(model.projection.bias)]


def visits_of(trees: Examples, params: Stage2, epoch: int = 0, **options) -> list[list[Visit]]:
    return [step.visits for step in epoch_steps(trees, params, 0, epoch, **options)]


def test_every_epoch_visits_all_pairs_once_in_its_own_order(trees):
    orders = []
    for epoch in range(2):
        steps = visits_of(trees, PARAMS, epoch)
        assert len(steps) == steps_per_epoch(trees, PARAMS) == math.ceil(len(trees) / 2)
        orders.append([visit.rna for step in steps for visit in step])
        assert sorted(orders[-1]) == list(range(len(trees)))
        for step in steps:
            assert all(list(v.pairs) == list(range(trees.count(v.rna))) for v in step)
    assert orders[0] != orders[1]
    assert [visit.rna for step in visits_of(trees, PARAMS) for visit in step] == orders[0]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_paper_recipe_is_one_pair_a_step_and_process(trees, processes):
    params = PARAMS.model_copy(update={"recipe": "paper"})
    steps = visits_of(trees, params, processes=processes)
    pairs = int(trees.pairs.sum())
    assert len(steps) == steps_per_epoch(trees, params, processes) == math.ceil(pairs / processes)
    assert {len(step) for step in steps[:-1]} == {processes}
    seen = sorted((visit.rna, *visit.pairs) for step in steps for visit in step)
    assert seen == [(rna, pair) for rna in range(len(trees)) for pair in range(trees.count(rna))]


@pytest.mark.parametrize("recipe", ["packed", "paper"])
@pytest.mark.parametrize("wanted", [0, 2])
def test_skipped_steps_leave_the_rest_as_it_is(trees, recipe, wanted):
    params = PARAMS.model_copy(update={"recipe": recipe, "pairs_per_visit": wanted})
    whole = list(epoch_steps(trees, params, 3, 1))
    for skip in range(len(whole) + 1):
        assert list(epoch_steps(trees, params, 3, 1, skip=skip)) == whole[skip:]
    length = epoch_length(trees, params)
    brought = [1 if recipe == "paper" else sum(len(v.pairs) for v in s.visits) for s in whole]
    assert [step.before for step in whole] == [
        length + sum(brought[:number]) for number in range(len(whole))
    ]
    assert sum(brought) == length


def test_pairs_per_visit(trees):
    params = PARAMS.model_copy(update={"pairs_per_visit": 2})
    visits = {
        epoch: {v.rna: v.pairs for step in visits_of(trees, params, epoch) for v in step}
        for epoch in range(6)
    }
    assert {len(b) for v in visits.values() for b in v.values()} == {1, 2}
    three = next(number for number in range(len(trees)) if trees.count(number) == 3)
    drawn = [visits[epoch][three] for epoch in visits]
    assert any(one != other for one in drawn for other in drawn)


def test_no_visit_leaves_out_what_always_comes(build):
    kinds = ["local", "family", "family", "rna_type", "local", "species"]
    rnas = pd.DataFrame({"rna_id": ["R0"], "sequence": ["ACGUACGUACGU"]})
    pairs = pd.DataFrame({"rna_id": "R0", "kind": kinds, "question": kinds, "answer": "Yes."})
    trees = stage2_examples(build(), rnas, pairs, random_embeddings(rnas))
    params = PARAMS.model_copy(update={"pairs_per_visit": 2, "always": ("local",)})
    assert epoch_length(trees, params) == 4
    drawn = set()
    for epoch in range(20):
        [[visit]] = visits_of(trees, params, epoch)
        assert visit.pairs == sorted(visit.pairs) and len(visit.pairs) == 4
        assert {0, 4} < set(visit.pairs)
        drawn |= set(visit.pairs)
    assert drawn == set(range(len(kinds)))


def test_texts_in_pieces_are_the_same_texts_and_none_is_copied(build):
    """Read from parquet, a column lies in as many pieces as the file has groups of rows."""
    model, (rnas, pairs) = build(), rna_tables(LENGTHS)
    pairs["question"] += " Why?" * 10_000
    pairs["kind"] = ["local", "family"] * 6 + ["local"]
    pairs = pairs.sample(frac=1, random_state=0)
    arrow = pa.Table.from_pandas(pairs, preserve_index=False)
    parts = pa.concat_tables([arrow.slice(start, 3) for start in range(0, len(arrow), 3)])
    whole, cut = (
        stage2_examples(model, rnas, frame, random_embeddings(rnas))
        for frame in (pairs, parts.to_pandas())
    )
    assert cut.texts["question"].num_chunks == 5
    used = pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(used)
    trees = [(tree.rna_id, tree.branches) for tree in cut]
    pa.set_memory_pool(pa.system_memory_pool())
    assert used.max_memory() < parts["question"].nbytes / 100
    assert trees == [(tree.rna_id, tree.branches) for tree in whole]
    assert cut.hash() == whole.hash() and list(cut.longest()) == list(whole.longest())
    assert [cut.kinds(i) for i in range(7)] == [whole.kinds(i) for i in range(7)]
    assert list(cut.of_kinds(["local"])) == [cut.kinds(i).count("local") for i in range(7)]


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
    loaded = checkpoint.load(tmp_path, "last")
    assert all(map(torch.equal, trained(loaded), trained(model)))


def test_validation_loss_is_the_mean_over_pairs(build, trees, tmp_path):
    trainer = Trainer(build(), PARAMS, tmp_path)
    each = [
        trainer.model(collate([[trees.tree(number, [pair])]], 1).to(trainer.model.device)).item()
        for number in range(len(trees))
        for pair in range(trees.count(number))
    ]
    assert trainer.validate(trees) == pytest.approx(sum(each) / len(each), abs=1e-5)
    assert trainer.model.projection.weight.grad is None
    assert trainer.validate(trees[:0]) is None


def test_one_seed_one_result(build, trees, tmp_path):
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        model = build()
        log = train(model, trees, trees[:0], PARAMS, tmp_path / name, seed=7)
        runs.append((trained(model), log["loss"].tolist()))
    assert all(map(torch.equal, runs[0][0], runs[1][0])) and runs[0][1] == runs[1][1]


@pytest.mark.parametrize("stop", [1, 6])
def test_resume_in_mid_epoch_equals_the_uninterrupted_run(build, trees, tmp_path, stop):
    params = PARAMS.model_copy(update={"validate_every": 2})
    (tmp_path / "whole").mkdir()
    whole = build()
    wanted = train(whole, trees[:5], trees[5:], params, tmp_path / "whole")

    part = tmp_path / "part"
    part.mkdir()
    with interrupted_after(stop):
        train(build(), trees[:5], trees[5:], params, part)

    resumed = build()
    found = train(resumed, trees[:5], trees[5:], params, part)
    assert all(map(torch.equal, trained(resumed), trained(whole)))
    pd.testing.assert_frame_equal(found.drop(columns=CLOCK), wanted.drop(columns=CLOCK))


def test_resume_past_a_truncated_checkpoint(build, trees, tmp_path):
    (tmp_path / "whole").mkdir()
    whole = build()
    train(whole, trees, trees[:0], PARAMS, tmp_path / "whole")
    newest = checkpoint.newest(tmp_path / "whole")
    state = newest / "state" / "training.pt"
    state.write_bytes(state.read_bytes()[:-100])
    resumed = build()
    log = train(resumed, trees, trees[:0], PARAMS, tmp_path / "whole")
    assert all(map(torch.equal, trained(resumed), trained(whole)))
    assert log["step"].tolist() == list(range(1, 13))


def test_what_a_step_writes_down(build, trees, tmp_path):
    log = train(build(), trees[:5], trees[5:], PARAMS, tmp_path)
    assert log.columns.tolist() == [
        "step", "epoch", "lr", "loss", "grad_norm", "tokens", "pairs", *CLOCK, "val_loss",
    ]  # fmt: skip
    each = [step for epoch in range(3) for step in epoch_steps(trees[:5], PARAMS, 0, epoch)]
    wanted = [sum(len(trees.tree(*visit)) for visit in step.visits) for step in each]
    assert log["tokens"].tolist() == wanted
    assert (log["tokens_per_second"] * log["seconds"] / log["tokens"]).between(0.9, 1.1).all()
    assert log["memory_gb"].between(0.05, 100).all() and log["grad_norm"].gt(0).all()


def losses_of(monkeypatch, losses: list[float]) -> None:
    """The validations find these, whatever the model."""
    found = iter(losses)
    monkeypatch.setattr(Trainer, "validate", lambda *_: next(found))


def test_patience_ends_a_training_and_its_resume(build, trees, tmp_path, monkeypatch):
    params = PARAMS.model_copy(update={"epochs": 8, "patience": 2})
    losses_of(monkeypatch, [3.0, 2.0, 2.5, 2.1])
    log = train(build(), trees, trees, params, tmp_path)
    assert log["epoch"].max() == 4 and log["val_loss"].dropna().tolist() == [3.0, 2.0, 2.5, 2.1]
    assert checkpoint.find(tmp_path, "best").name == f"step-{2 * 4:08d}"
    losses_of(monkeypatch, [])
    assert len(train(build(), trees, trees, params, tmp_path)) == len(log)


def test_patience_of_none_goes_on(build, trees, tmp_path, monkeypatch):
    losses_of(monkeypatch, [1.0, 2.0, 3.0])
    assert train(build(), trees, trees, PARAMS, tmp_path)["epoch"].max() == 3


def test_a_tracker_that_is_missing_is_named(build, trees, tmp_path, monkeypatch):
    monkeypatch.setattr("rnagpt_lib.train.step_log.find_spec", lambda _: None)
    params = PARAMS.model_copy(update={"track": "trackio"})
    with pytest.raises(InputError, match="TRACK is trackio.*pip install trackio"):
        train(build(), trees, trees[:0], params, tmp_path)


def test_tensorboard_reads_what_the_log_says(build, trees, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    params = PARAMS.model_copy(update={"track": "tensorboard"})
    log = train(build(), trees[:5], trees[5:], params, tmp_path)
    [file] = tmp_path.glob("rnagpt/events.*")
    read = events.EventAccumulator(str(file)).Reload()
    for name in ("loss", "lr", "val_loss"):
        found = {event.step: event.value for event in read.Scalars(name)}
        wanted = log.dropna(subset=[name]).set_index("step")[name].to_dict()
        assert found == pytest.approx(wanted, rel=1e-6)


def test_another_training_in_the_folder_is_refused(build, trees, tmp_path):
    params = PARAMS.model_copy(update={"epochs": 1})
    train(build(), trees, trees[:0], params, tmp_path)
    with pytest.raises(InputError, match="other data, parameters or seed"):
        train(build(), trees, trees[:0], params, tmp_path, seed=1)
    with pytest.raises(InputError, match="other data, parameters or seed"):
        train(build(), trees[1:], trees[:0], params, tmp_path)


def test_not_finite_embeddings_are_named_and_the_last_state_is_intact(build, trees, tmp_path):
    params = PARAMS.model_copy(update={"validate_every": 1})
    last = trees.rna_ids[visits_of(trees, params)[-1][-1].rna]
    sequence = trees.sequences[list(trees.rna_ids).index(last)]

    def damaged(asked):
        before, vectors = trees.rna(asked)
        return before, torch.full_like(vectors, torch.nan) if asked == sequence else vectors

    bad = replace(trees, rna=damaged)
    with pytest.raises(InputError, match=rf"step 4 \(epoch 1\).*embeddings of {last} .*00003\."):
        train(build(), bad, trees[:0], params, tmp_path)
    whole, resumed = build(), build()
    (tmp_path / "whole").mkdir()
    train(whole, trees, trees[:0], params, tmp_path / "whole")
    train(resumed, trees, trees[:0], params, tmp_path)
    assert all(map(torch.equal, trained(resumed), trained(whole)))


def test_a_diverged_training_says_what_to_do(build, trees, tmp_path):
    model = build()
    with torch.no_grad():
        model.projection.weight.fill_(math.inf)
    with pytest.raises(InputError, match="lower LEARNING_RATE.*No checkpoint yet"):
        train(model, trees, trees[:0], PARAMS, tmp_path)


def test_nothing_to_train_on(build, trees, tmp_path):
    with pytest.raises(InputError, match="no RNA to train on"):
        train(build(), trees[:0], trees[:0], PARAMS, tmp_path)


def test_a_text_too_long_for_the_llm_is_named(build, trees, tmp_path):
    sequences = trees.sequences.copy()
    sequences[2] = "A" * 2048
    long = replace(trees, sequences=sequences, rna=lambda s: ([], torch.zeros(len(s), 8)))
    with pytest.raises(InputError, match="R2: the RNA and its longest text are .* reads 2048"):
        train(build(), long, trees[:0], PARAMS, tmp_path)


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
    trees = stage1_examples(model, rnas, texts, random_embeddings(rnas))
    assert [tree.rna_id for tree in trees] == ["R0", "R2"]
    assert trees[0].before == [model.tokenizer.bos_token_id]
    assert trees[0].branches[0].prompt == []
    written = [model.tokenizer.decode(tree.branches[0].answer) for tree in trees]
    assert written == ["A tRNA. It regulates growth.</s>", "A tRNA. From yeast.</s>"]


def test_log_survives_a_half_written_line(build, trees, tmp_path):
    params = PARAMS.model_copy(update={"epochs": 1})
    train(build(), trees, trees[:0], params, tmp_path)
    with (tmp_path / "steps.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')
    assert len(train(build(), trees, trees[:0], params, tmp_path)) == 4 == len(read_log(tmp_path))


@pytest.fixture
def by_eight(trees, monkeypatch):
    """The paper's recipe; checkpoints say that eight processes wrote them."""
    params, restore = (
        PARAMS.model_copy(update={"recipe": "paper", "epochs": 1}),
        checkpoint.restore,
    )
    params = params.model_copy(update={"validate_every": 4})
    plan = loop._plan(trees[:5], params, 0, 8)
    monkeypatch.setattr(
        checkpoint, "restore", lambda *given: restore(*given) | {"plan": plan, "processes": 8}
    )
    return params


def test_a_finished_training_is_read_by_however_many_processes(
    build, trees, tmp_path, by_eight, monkeypatch
):
    log = train(build(), trees[:5], trees[5:], by_eight, tmp_path)
    monkeypatch.setattr(loop, "Trainer", None)  # nothing is set up to train
    pd.testing.assert_frame_equal(train(build(), trees[:5], trees[5:], by_eight, tmp_path), log)
    apart = by_eight.model_copy(update={"parallel": "fsdp"})
    pd.testing.assert_frame_equal(train(build(), trees[:5], trees[5:], apart, tmp_path), log)


def test_an_unfinished_one_asks_for_as_many(build, trees, tmp_path, by_eight):
    with interrupted_after(6):
        train(build(), trees[:5], trees[5:], by_eight, tmp_path)
    with pytest.raises(InputError, match="trained in 8 processes.*here are 1; start as many again"):
        train(build(), trees[:5], trees[5:], by_eight, tmp_path)
    with pytest.raises(InputError, match="other data, parameters or seed"):
        train(build(), trees[:5], trees[5:], by_eight, tmp_path, seed=1)


def test_a_validation_that_overflows_costs_no_checkpoint(build, trees, tmp_path, monkeypatch):
    losses_of(monkeypatch, [3.0, math.nan, 2.0])
    log = train(build(), trees, trees, PARAMS, tmp_path)
    assert log["val_loss"].dropna().tolist() == [3.0, 2.0]
    assert log["val_note"].dropna().tolist() == ["the validation loss is not finite"]
    assert "NaN" not in (tmp_path / "steps.jsonl").read_text()
    assert checkpoint.find(tmp_path, "best") == checkpoint.find(tmp_path, "last")
