"""``benchmarks/nrc_asking.py``: a tiny training that is asked, killed, and not measured twice."""

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.science import _nrc_asking_page, _nrc_encoder, nrc, nrc_asking
from rnagpt_lib.chat.decoding import Answer
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.model import checkpoint, language_model
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.rna_gpt import Config, RnaGpt, trainable
from rnagpt_lib.report import readme
from rnagpt_lib.train.step_log import read_log
from tests.benchmarks.test_nrc import fasta
from tests.support.tiny_model import TINY, interrupted_after, write_llm

CLASSES = ["5S_rRNA", "5_8S_rRNA", "CD-box", "HACA-box", "IRES", "Intron_gpI", "Intron_gpII"]
CLASSES += ["leader", "miRNA", "riboswitch", "ribozyme", "scaRNA", "tRNA"]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Two epochs of a tiny model; results and page of its own."""
    encoder = Encoder.fresh(TINY, seed=0)
    encoder.save(tmp_path / "encoder", {})
    changed = {"encoder": str(tmp_path / "encoder"), "llm": str(write_llm(tmp_path / "llm"))}
    changed |= {
        "lora_rank": 4,
        "epochs": 2,
        "warmup_steps": 4,
        "learning_rate": 1e-2,
    }
    monkeypatch.setattr(nrc_asking, "PARAMS", nrc_asking.PARAMS.model_copy(update=changed))
    monkeypatch.setattr(_nrc_encoder, "EPOCHS", 2)
    monkeypatch.setattr(_nrc_encoder, "POINTS", 2)
    model = RnaGpt.build(Config.of(nrc_asking.PARAMS, encoder))
    checkpoint.save(model, tmp_path / "start", 0, {}, val_loss=None)
    monkeypatch.setattr(nrc_asking, "START", tmp_path / "start")
    monkeypatch.setattr(nrc_asking, "POINTS", 2)
    monkeypatch.setattr(nrc_asking, "RESULTS", tmp_path / "asking.json")
    monkeypatch.setattr(nrc, "RESULTS", tmp_path / "nrc.json")
    monkeypatch.setattr(nrc, "PAGE", tmp_path / "README.md")
    monkeypatch.setattr(nrc_asking, "PAGE", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(
        "<!-- nrc_summary:start -->\n<!-- nrc_summary:end -->\n"
        "<!-- nrc_asking:start -->\n<!-- nrc_asking:end -->\n<!-- nrc:start -->\n<!-- nrc:end -->"
    )
    return fasta(tmp_path / "a.fasta", 64, families=12)


def test_an_answer_counts_where_it_names_one_class():
    for name in CLASSES:
        told = nrc_asking.TYPE.say([nrc_asking.said(name)])
        assert nrc_asking.one_class(told, CLASSES) == name
        assert nrc_asking.one_class(told.upper(), CLASSES) == name
    for text in (
        "",
        "The RNA is of the type tRNA and microRNA.",
        "tRNA-like",
        "The RNA is an RNA.",
    ):
        assert nrc_asking.one_class(text, CLASSES) == ""
    assert nrc_asking.one_class("tRNA, surely a tRNA", CLASSES) == "tRNA"


def test_answers_are_spelt_with_tokens_that_the_llm_has_read():
    """The others' embeddings are one heap, in which each has hundreds of near neighbours."""
    llm = nrc_asking.PARAMS.llm
    tokenizer = language_model.load_tokenizer(llm)
    vectors = language_model.load(llm, "fp32").get_input_embeddings().weight.detach()
    vectors = torch.nn.functional.normalize(vectors, dim=1)

    def heaped(text):
        near = vectors[tokenizer(" " + text, add_special_tokens=False).input_ids] @ vectors.T
        return bool(((near > 0.8).sum(dim=1) > 50).any())

    assert not any(heaped(nrc_asking.TYPE.say([nrc_asking.said(name)])) for name in CLASSES)
    assert all(map(heaped, ("ribozyme", "leader", "IRES", "miRNA", "Intron_gpI", "scaRNA")))


def test_answers_are_those_about_each_rna_in_order(monkeypatch):
    """Each said to be what its own vectors hold, whatever the order of the sequences."""

    class Letters:
        def encode(self, sequences):
            return list(sequences)

    def said(model, rnas, questions, **_):
        assert set(questions) == {"What type of RNA is the RNA?"}
        return [Answer({"A": "tRNA", "C": "leader or IRES"}[r[0]], 1, "eos") for r in rnas]

    monkeypatch.setattr(nrc_asking, "answer_all", said)
    found = nrc_asking.asked(None, Letters(), ["CC", "AAA", "A"], CLASSES)
    assert found.tolist() == ["", "tRNA", "tRNA"]


def test_validation_comes_out_of_train_alone_and_by_families(tmp_path):
    rnas, sides = nrc.read(fasta(tmp_path / "a.fasta", 400, families=60))
    for how, of in sides.items():
        for seed, side in enumerate(of):
            three = nrc_asking.with_validation(rnas, side, how, seed)
            assert ((three == "test") == (side == "test")).all()
            assert 0 < (three == "val").sum() <= 0.1 * len(rnas)
            assert how == "random" or three.groupby(rnas.family).nunique().max() == 1


def test_a_training_is_asked_and_stands_in_results_and_page(tiny, capsys):
    nrc_asking.main(tiny, split="random", seed=0)
    [(seed, run)] = read_json(nrc_asking.RESULTS)["random"].items()
    assert seed == "0" and set(run["scores"]) == set(_nrc_asking_page.OWN)
    assert run["fitted"] + run["validated"] == run["train"]
    assert [point["pairs"] for point in run["encoder_points"]] == [run["fitted"], 2 * run["fitted"]]
    log = read_log(paths.runs() / "nrc-random-0")
    assert run["points"][-1]["pairs"] == log["pairs"].sum() == 2 * run["fitted"]
    assert [point["val_loss"] for point in run["points"]] == [
        round(loss, 4) for loss in log["val_loss"].dropna()
    ]
    page = nrc_asking.PAGE.read_text()
    assert nrc_asking.render() in page and "missing: 1, 2." in page
    accuracy, short = (
        run["scores"]["asking"]["all"]["accuracy"],
        readme.read_block(nrc_asking.PAGE, "nrc_summary"),
    )
    [asking] = [line for line in short.splitlines() if line.startswith("| by asking |")]
    assert f"{accuracy:.2f} ({accuracy:.2f}–{accuracy:.2f})" in asking
    assert "| method | random: accuracy | random: MCC |" in short
    assert all(f"| {told} |" in short for told in nrc.METHODS.values())
    assert "**Split: whole families held out.** Not measured yet." in page
    assert "**Not reached**: 3 seeds (1)" in page
    capsys.readouterr()
    nrc_asking.main(tiny, split="random", seed=0)
    assert "random, seed 0: measured already" in capsys.readouterr().out


def test_the_end_of_a_training_answers_whatever_its_validation_loss(tiny):
    nrc_asking.main(tiny, split="random", seed=0)
    first = read_json(nrc_asking.RESULTS)["random"]["0"]
    best = paths.runs() / "nrc-random-0" / "checkpoints" / "best.json"
    write_json(best, {"folder": "none"})
    nrc_asking.RESULTS.unlink()
    nrc_asking.main(tiny, split="random", seed=0)
    assert read_json(nrc_asking.RESULTS)["random"]["0"]["scores"] == first["scores"]


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_scores(tiny, tmp_path, monkeypatch):
    nrc_asking.main(tiny, split="family", seed=1)
    whole = read_json(nrc_asking.RESULTS)["family"]["1"]
    monkeypatch.setenv("RNAGPT_RUNS", str(tmp_path / "others"))
    nrc_asking.RESULTS.unlink()
    with interrupted_after(9):  # in the second epoch
        nrc_asking.main(tiny, split="family", seed=1)
    assert not nrc_asking.RESULTS.exists()
    nrc_asking.main(tiny, split="family", seed=1)
    again = read_json(nrc_asking.RESULTS)["family"]["1"]
    assert again["scores"] == whole["scores"] and again["made_of"] == whole["made_of"]
    kept = ("pairs", "val_loss", "val_accuracy")
    for one, other in zip(again["points"], whole["points"], strict=True):
        assert [one[name] for name in kept] == [other[name] for name in kept]


def test_copies_are_left_out_of_the_second_column(tiny, tmp_path):
    test = fasta(tmp_path / "b.fasta", 12, 1)
    test.write_text(test.read_text() + "".join(tiny.read_text().splitlines(True)[:4]))
    nrc_asking.main(tiny, test)
    run = read_json(nrc_asking.RESULTS)["given"]["0"]
    assert run["test"] == {"all": 14, "new": 12, "unrelated": 12}
    assert set(run["scores"]["asking"]) == {"all", "new", "unrelated"}
    assert "(2 of them copies of train RNAs)" in nrc_asking.PAGE.read_text()


def test_a_training_begins_with_the_reference_models_projection_and_lora():
    model, start = nrc_asking.begun(nrc_asking.PARAMS, 0), checkpoint.load(nrc_asking.START)
    own = model.state_dict()
    assert own.keys() == start.state_dict().keys()
    assert all(torch.equal(own[name], value) for name, value in start.state_dict().items())
    trained = trainable(model).trained
    assert (trained > 0).sum() == 2  # projection and LoRA


def two_classes(number):
    """RNAs of two classes that the share of G and C tells; every fourth is of val."""
    rng, found = np.random.default_rng(0), []
    for place in range(number):
        chances = [0.35, 0.15, 0.15, 0.35] if place % 2 else [0.15, 0.35, 0.35, 0.15]
        sequence = "".join(rng.choice(list("ACGU"), int(rng.integers(30, 60)), p=chances))
        side = "val" if place % 8 > 5 else "train"
        found.append((sequence, "ab"[place % 2], f"RF{place // 8:05}", side))
    return pd.DataFrame(found, columns=["sequence", "rna_type", "family", "split"])


def test_the_encoder_learns_from_train_rnas_alone_and_stands(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(_nrc_encoder, "EPOCHS", 4)
    monkeypatch.setattr(_nrc_encoder, "RATE", 1e-2)
    monkeypatch.setattr(_nrc_encoder, "WARMUP", 4)
    rnas, start = two_classes(320), str(tmp_path / "encoder")
    points = _nrc_encoder.adapt(rnas, start, tmp_path / "one", 0)
    assert points[-1]["val_accuracy"] > 0.8 and points[-1]["pairs"] == 4 * 240
    hidden = rnas.assign(rna_type=rnas.rna_type.where(rnas.split == "train", "b"))
    _nrc_encoder.adapt(hidden, start, tmp_path / "two", 0)
    one, two, before = (Encoder.load(tmp_path / n).hash for n in ("one", "two", "encoder"))
    assert one == two != before
    monkeypatch.setattr(_nrc_encoder, "_train", None)
    assert _nrc_encoder.adapt(rnas, start, tmp_path / "one", 0) == points


def test_large_families_are_drawn_less_often():
    family = pd.Series(["A"] * 9 + ["B"] * 4 + ["C"])
    chances = _nrc_encoder.chances(family)
    assert chances.sum() == pytest.approx(1)
    assert [chances[family == name].sum() / chances[-1] for name in "ABC"] == [3, 2, 1]


def test_steps_hold_a_part_of_as_many_rnas_each_within_its_bounds():
    rng = np.random.default_rng(0)
    sequences = ["A" * length for length in rng.integers(12, 300, 500)]
    even = np.full(len(sequences), 1 / len(sequences))
    steps = _nrc_encoder._steps(sequences, even, 200, rng)
    for pieces in steps:
        longest = max(stop - start for _, start, stop in pieces) + 2
        assert longest * len(pieces) <= _nrc_encoder.TOKENS
    pieces = [piece for step in steps for piece in step]
    assert len(pieces) == len(sequences) and len({place for place, *_ in pieces}) > 250
    for place, start, stop in pieces:
        length = len(sequences[place])
        assert 0 <= start < stop <= length and stop - start <= 200
        assert stop - start >= min(200, length * (1 - _nrc_encoder.CROPPED))


def test_the_rate_rises_and_falls_to_nothing():
    rates = [_nrc_encoder._rate(step, step / 1000) for step in range(1001)]
    assert np.argmax(rates) == _nrc_encoder.WARMUP - 1 and rates[-1] == 0
    assert max(rates) == pytest.approx(_nrc_encoder.RATE, rel=0.05)


def test_a_folder_of_another_training_is_refused(tiny, monkeypatch):
    nrc_asking.main(tiny, split="random", seed=0)
    monkeypatch.setattr(nrc_asking, "VAL_SHARE", 0.1)
    with pytest.raises(InputError, match="nrc-random-0 is of another training; remove or rename"):
        nrc_asking.main(tiny, split="random", seed=0)


def test_a_split_or_seed_that_is_none_is_told(tiny):
    with pytest.raises(InputError, match="no split random with seed 7; there are random 0, family"):
        nrc_asking.main(tiny, split="random", seed=7)
    with pytest.raises(InputError, match="there is no split nope; there are random 0, family"):
        nrc_asking.main(tiny, split="nope")


@pytest.mark.parametrize("asking, said", [(0.80, "Reached"), (0.78, "**Not reached**")])
def test_the_bar_is_read_off_the_scores(asking, said, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)

    def scores(accuracy):
        wanted = np.array(["a", "b"] * 500)
        given = np.where(rng.permutation(1000) < 1000 * accuracy, wanted, "")
        return {"all": nrc.scored(wanted, given)}

    run = {
        "classes": {"a": 500, "b": 500}, "fitted": 9, "validated": 1, "test": {"all": 9, "new": 9},
        "minutes": 30.0, "cpu_minutes": 49.0, "where": "here", "unclear": 0.01,
        "encoder_points": [{"minutes": 40.0, "cpu_minutes": 70.0, "pairs": 5, "val_accuracy": 0.4}],
        "points": [{"minutes": 1.0, "cpu_minutes": 1.0, "pairs": 9, "val_loss": 1.0,
                    "val_accuracy": 0.5}],
        "scores": {"asking.linear": scores(0.77), "asking": scores(asking)},
        "by_family": {"RF1": {"RNAs": 1000, "asking.linear": 770, "asking": int(1000 * asking)}},
    }  # fmt: skip
    strong = {name: 770 - 300 * (name != "kmers.svm") for name in nrc.METHODS}
    baselines = {
        "classes": run["classes"], "test": run["test"], "by_family": {"RF1": strong},
        "scores": {name: scores(right / 1000) for name, right in strong.items()},
    }  # fmt: skip
    monkeypatch.setattr(nrc, "RESULTS", tmp_path / "nrc.json")
    write_json(nrc.RESULTS, {"random": [baselines] * 3})
    monkeypatch.setattr(nrc_asking, "RESULTS", tmp_path / "r.json")
    write_json(nrc_asking.RESULTS, {"random": {str(seed): run for seed in range(3)}})
    page = nrc_asking.render()
    assert (
        f"- {said}: at least 0.03 above the best baseline (linear SVM on which 3- to 8-mers occur), and bounds above 0 ({asking:.3f} against"
        in page
    )
    assert "- Reached: at most 0.02 below the linear head" in page
    assert "- Reached: at most 60 minutes of training on 2 cores (119.0 of 120" in page
    assert "70.0 minutes of training, the encoder's 40.0 included (119.0 of a processor)" in page
    lead = f"{asking - 0.77:+.3f} [{asking - 0.77:+.3f}, {asking - 0.77:+.3f}]"
    assert f"against 0.770, {lead})" in page and f"Without seed 0: {asking:.3f}, {lead}" in page
    assert "| 71.0" in page and "missing" not in page and "- Reached: 3 seeds (3)." in page


def test_nothing_measured_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(nrc_asking, "RESULTS", tmp_path / "none.json")
    assert nrc_asking.render() == "Not measured yet."


def test_leads_are_bounded_over_families_drawn_for_all_seeds_at_once():
    """One family that is told by asking alone, of four as large: half a lead in one seed."""

    def run(*families):
        right = {name: {"RNAs": 10, "asking": 10, "kmers.logistic": 10 * (name != "A")}
                 for name in families}  # fmt: skip
        shares = {m: sum(of[m] for of in right.values()) / 10 / len(right) for m in
                  ("asking", "kmers.logistic")}  # fmt: skip
        return {
            "by_family": right,
            "scores": {m: {"all": {"accuracy": a}} for m, a in shares.items()},
        }

    lead = _nrc_asking_page._lead
    assert lead([run("A")], "kmers.logistic") == "+1.000 [+1.000, +1.000]"
    assert lead([run("B", "C")], "kmers.logistic") == "+0.000 [+0.000, +0.000]"
    one = lead([run("A", "B", "C", "D")], "kmers.logistic")
    assert one.startswith("+0.250 [+0.000, +0.")
    assert lead([run("A", "B", "C", "D")] * 3, "kmers.logistic") == one
