"""Quality against time: a tiny campaign, killed and resumed; its sentences on made-up points."""

import json

import pandas as pd
import pytest
import torch

from benchmarks.science import _trajectories as measurement
from benchmarks.science import trajectories as campaign
from rnagpt_lib.core.params import Ablations, Stage2
from rnagpt_lib.evaluate import questions
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.train.loop import Trainer
from rnagpt_lib.train.training_examples import stage2_examples
from rnagpt_lib.train.visit_order import epoch_steps
from tests.support.tiny_model import config_of, double, make_examples, random_embeddings, write_llm

PARAMS = Stage2(
    epochs=1, learning_rate=1e-2, warmup_steps=4, rnas_per_step=1, row_tokens=512, keep=2
)
QUESTIONS = {
    "What type of RNA is the RNA?": "The RNA is of the type {}.",
    "Which type of RNA is it?": "The RNA is of the type {}.",
}


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return write_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture
def ground(llm, tmp_path):
    """Five RNAs to train on, one to validate, two to ask about; two questions each."""
    splits = ["train"] * 5 + ["val", "test", "test"]
    rnas = pd.DataFrame(
        {"rna_id": f"R{i}", "sequence": "ACGU" * 3 + "G" * i, "rna_type": "tRNA", "family": "f",
         "unit": f"U{i}", "split": split}
        for i, split in enumerate(splits)
    )  # fmt: skip
    pairs = pd.DataFrame(
        {"pair_id": f"{rna_id}-{i}", "rna_id": rna_id, "source": "dnc", "kind": "rna_type",
         "form": "open", "question": question, "answer": answer.format("tRNA")}
        for rna_id in rnas["rna_id"]
        for i, (question, answer) in enumerate(QUESTIONS.items())
    )  # fmt: skip
    embeddings = random_embeddings(rnas)

    def build():
        return RnaGpt.build(config_of(llm, "lora"))

    sides = {side: rnas[rnas["split"] == side] for side in ("train", "val")}
    model = build()
    return campaign.Ground(
        folder=tmp_path / "trainings",
        params=PARAMS,
        build=build,
        trees={side: stage2_examples(model, own, pairs, embeddings) for side, own in sides.items()},
        asked=questions.questions(rnas, pairs),
        pairs=pairs,
        embeddings=embeddings,
        scoring=Ablations(max_new_tokens=4, bootstrap=100),
    )


def trained(model: RnaGpt) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters() if p.requires_grad]


def test_accumulation_goes_the_way_of_packed(llm, tmp_path):
    """Weights after steps of two RNAs with one to three pairs, in fp64; a pass for each pair."""
    params, made, passes = PARAMS.model_copy(update={"rnas_per_step": 2}), [], []
    for trainer_of in (campaign.Clocked, campaign.Accumulating):
        model = double(RnaGpt.build(config_of(llm, "lora")))
        start, trees = trained(model), make_examples(model, [12, 15, 20, 17, 30])
        model.register_forward_hook(lambda *_, of=trainer_of: passes.append(of))
        trainer = trainer_of(model, params, tmp_path)
        for step in epoch_steps(trees, params, 0, 0):
            assert trainer.update(trees, step, 1e-2)["cpu_seconds"] >= 0
        made.append(trained(model))
    for packed, accumulated, before in zip(*made, start, strict=True):
        assert torch.allclose(packed, accumulated, rtol=0, atol=1e-6)
        assert (packed - before).abs().max() > 1e-2
    counts = [passes.count(of) for of in (campaign.Clocked, campaign.Accumulating)]
    assert counts[1] == trees.pairs.sum() > counts[0] == 3


@pytest.mark.slow
def test_a_campaign_that_was_killed_goes_on(ground, monkeypatch):
    monkeypatch.setattr(campaign, "POINTS", 2)
    calls, update = [], Trainer.update

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) > 32:  # in the accumulation, once packed has its scores
            raise KeyboardInterrupt
        return update(*arguments)

    monkeypatch.setattr(Trainer, "update", dies)
    with pytest.raises(KeyboardInterrupt):
        campaign.campaign(ground)
    assert len(list(ground.folder.glob("packed-*/scores/*"))) == 2 * 2  # and the longer ones
    assert len(list(ground.folder.glob("accumulation-*/steps.jsonl"))) == 1
    monkeypatch.undo()
    monkeypatch.setattr(campaign, "POINTS", 2)
    points = pd.DataFrame(campaign.campaign(ground))
    _is_whole(points)

    def nothing(*_, **__):
        raise AssertionError("all of it is there")

    monkeypatch.setattr(Trainer, "update", nothing)
    monkeypatch.setattr(campaign, "answer_all", nothing)
    pd.testing.assert_frame_equal(pd.DataFrame(campaign.campaign(ground)), points)


def _is_whole(points: pd.DataFrame) -> None:
    tried = points.groupby("mode")["learning_rate"].unique().map(list)
    best = points[points["mode"] == "packed"].groupby("learning_rate")["val_loss"].min().idxmin()
    assert tried.to_dict() == {
        "packed": [*campaign.RATES],
        "batch 1": [*campaign.RATES],
        "packed longer": [best],
        "accumulation": [best],
    }
    for (mode, _), own in points.groupby(["mode", "learning_rate"]):
        epochs = 2 if mode == "packed longer" else 1
        assert own["pairs"].iloc[-1] == 5 * 2 * epochs and own["seconds"].is_monotonic_increasing
    assert (points["fact_all"].notna() == points["chosen"]).all()
    assert (points.dropna()["questions"] == 4).all()
    for _, own in points.groupby("mode"):
        lowest = own.loc[own["val_loss"].idxmin()]
        assert own[own["chosen"]]["learning_rate"].unique() == [lowest["learning_rate"]]


def made_up(packed: list[float], each: float = 1.0) -> measurement.Measured:
    """Batch 1 reaches 0.5 [0.4, 0.6] at 100 s and is within these bounds at 80 s."""
    quality = {"batch 1": [0.1, 0.3, 0.35, 0.45, 0.5], "packed": packed, "accumulation": packed}
    quality["packed longer"] = [*packed, packed[-1]]
    speed = {"batch 1": 20.0, "packed": each, "packed longer": each, "accumulation": 15.0}
    points = [
        {"mode": mode, "learning_rate": 1e-3, "chosen": True, "step": i, "pairs": 100 * i,
         "seconds": speed[mode] * i, "cpu_seconds": speed[mode] * i / 2, "val_loss": 1 / i,
         "fact_all": value, "low": value - 0.1, "high": value + 0.1}
        for mode, values in quality.items()
        for i, value in enumerate(values, start=1)
    ]  # fmt: skip
    other = points[0] | {"learning_rate": 3e-3, "chosen": False, "fact_all": None}
    return measurement.Measured(pd.DataFrame([*points, other]), "some machine, 2026-01-01")


def test_findings_where_packed_is_faster():
    rates, target, packed, end, _, longer, slow, _, same = measurement.findings(
        made_up([0.1, 0.2, 0.3, 0.42, 0.49], each=5.0)
    )
    assert "of 0.001, 0.003: batch 1 0.001, packed 0.001" in rates
    assert "best after 100 s and 500 pairs: fact.all 0.50 [0.40, 0.60]" in target
    assert "within these bounds from 80 s" in target
    assert packed.startswith("packed is within these bounds from 20 s and 400 pairs on, at 0.42 [")
    assert "20% of batch 1's wall time to its best point (25% of that to its first" in packed
    assert "20% of batch 1's processor time" in packed
    assert packed.endswith("; all of these are at most half.") and "25% of the wall time" in end
    assert "ended at 0.49 [0.39, 0.59] against 0.50 [0.40, 0.60]" in end
    assert end.startswith("For the same 500 pairs packed took")
    assert longer.startswith("For 600 pairs against 500 packed longer took 30% of the wall time")
    assert "60% of batch 1's wall time" in slow
    assert slow.endswith("; not all of these are at most half.")
    assert same.endswith("differ by 0 at most.")


def test_findings_where_half_of_one_time_is_more_than_half_of_the_other():
    packed = measurement.findings(made_up([0.1, 0.2, 0.3, 0.42, 0.49], each=12.0))[2]
    assert "48% of batch 1's wall time" in packed and "(60% of that" in packed
    assert packed.endswith("; not all of these are at most half.")


def test_one_high_point_is_not_being_there_and_a_fall_after_the_best_does_not_count():
    packed = measurement.findings(made_up([0.1, 0.45, 0.3, 0.49, 0.2]))[2]
    assert packed.startswith("packed is within these bounds from 4 s and 400 pairs on, at 0.49")


def test_findings_where_packed_never_comes_there():
    packed = measurement.findings(made_up([0.1, 0.2, 0.39, 0.38, 0.3]))[2]
    assert packed == (
        "packed is never within the bounds of batch 1's best; its own best, after 3 s and "
        "300 pairs, is 0.39 [0.29, 0.49]."
    )


def test_what_was_not_measured_is_none_and_what_was_is_read(tmp_path):
    path = tmp_path / "trajectories.json"
    assert measurement.load(path) is None
    points = made_up([0.1, 0.2, 0.3, 0.42, 0.49]).points
    rows = json.loads(points.to_json(orient="records"))
    path.write_text(json.dumps({"machine": "m", "date": "2026-01-01", "points": rows}))
    found = measurement.load(path)
    assert found.where == "m, 2026-01-01"
    pd.testing.assert_frame_equal(found.points, points)
