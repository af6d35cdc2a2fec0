"""Scores of whole texts are the packages' own; empty and long texts, each text once, whose weights."""

import json
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
import torch
from bert_score import BERTScorer
from rouge_score.rouge_scorer import RougeScorer
from transformers import BertModel

from rnagpt_lib.core.errors import CapReached, InputError
from rnagpt_lib.core.params import Ablations
from rnagpt_lib.evaluate import text_scores
from rnagpt_lib.evaluate.text_scores import (
    MOST_BYTES,
    ROUGE,
    BertScore,
    Cosine,
    Weights,
    greedy,
    rouge,
    scorers,
    words_of,
)
from rnagpt_lib.llm_api import journal
from tests.standin import Faults, serve
from tests.standin.hub import Hub
from tests.standin.openai_api import PRICE, OpenAI
from tests.support import paid_loop, random_bert

TOKENS = """the RNA rna binds bound HuR targets naïve β-actin 5S 28S-A1310 cells, running runs miR-21
3′-UTR İstanbul 漢字 🧬 don't generalization generously x y it.
""".split()


def pairs(n: int, distinct: int) -> tuple[list[str], list[str]]:
    """``n`` pairs out of ``distinct`` texts a side; empty ones and those of 600 words among them."""
    rng, sides = random.Random(0), []
    for long in ("cell " * 600, "x " * 601):
        texts = [" ".join(rng.choices(TOKENS, k=rng.randint(1, 12))) for _ in range(distinct)]
        sides.append(rng.choices([*texts, "", " \n", long], k=n))
    return sides


def test_rouge_is_rouge_scores_one_for_each_sample_in_order():
    said, wanted = pairs(200, 60)
    said[:3], wanted[:3] = ["…", "a cat sat\nthe dog ran", "a"], ["", "the dog ran\na cat sat", "a"]
    scorer = RougeScorer(list(ROUGE), use_stemmer=True)
    scores = [scorer.score(r, p) for p, r in zip(said, wanted, strict=True)]
    found = rouge(said, wanted)
    assert list(found) == list(ROUGE)
    assert found.to_numpy().tolist() == [[s[name].fmeasure for name in ROUGE] for s in scores]
    assert found.iloc[:3].rougeLsum.tolist() == [0, 1, 1] and found.rougeL[1] == 0.5
    assert 0.05 < found.rougeL.mean() < 0.95, "both extremes would say little"
    assert rouge([], []).shape == (0, 4)
    with pytest.raises(ValueError, match="zip"):
        rouge(["a"], [])


# BERTScore

TINY = Weights("tiny", 2)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return random_bert.write(tmp_path_factory.mktemp("bert"), **random_bert.TINY)


@pytest.fixture(scope="module")
def minilm() -> list:
    """BERTScore and cosines by MiniLM."""
    return list(scorers(Ablations(semantic=("MiniLM",))))


def peer(folder, layer: int, dtype: torch.dtype, predictions, references) -> np.ndarray:
    """bert_score itself, with nothing padded; it cannot read empty texts, which count as 0."""
    scorer = BERTScorer(model_type=str(folder), num_layers=layer, use_fast_tokenizer=True)
    scorer._tokenizer.model_max_length = 512
    scorer._model.to(dtype)
    found = np.zeros((len(predictions), 3))
    full = [i for i, pair in enumerate(zip(predictions, references, strict=True))
            if all(map(str.strip, pair))]  # fmt: skip
    texts = [[side[i] for i in full] for side in (predictions, references)]
    found[full] = torch.stack(scorer.score(*texts, batch_size=1), dim=1)
    return found


def check_equal(scorer: BertScore, folder, layer: int, dtype: torch.dtype, n: int) -> None:
    predictions, references = pairs(n, 8)
    scorer.model.to(dtype)
    found = scorer.score(predictions, references)
    expected = peer(folder, layer, dtype, predictions, references)
    scorer.model.to(torch.float32)
    tolerance = 1e-6 if dtype == torch.float64 else 1e-5
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
    assert (found == 0).all(axis=1).sum() > 2 and scorer.definition["cut_texts"] > 2
    assert found.iloc[:, 2].max() > found.iloc[:, 2].mean() > 0


@pytest.mark.slow
def test_it_is_bert_scores_by_minilm_and_by_a_model_of_berts_size(minilm, tmp_path):
    check_equal(minilm[0], minilm[0].tokenizer.name_or_path, 6, torch.float32, 80)
    folder = random_bert.write(tmp_path / "base")
    scorer = BertScore("base", folder, Weights("base", 9))
    for dtype in (torch.float32, torch.float64):
        check_equal(scorer, folder, 9, dtype, 80)


def test_it_is_bert_scores_whatever_stands_beside(bert):
    scorer = BertScore("tiny", bert, Weights("tiny", 3))
    check_equal(scorer, bert, 3, torch.float32, 40)
    predictions, references = pairs(40, 8)
    together = scorer.score(predictions, references)
    for row in range(0, 40, 9):
        alone = scorer.score(predictions[row : row + 1], references[row : row + 1])
        np.testing.assert_allclose(together.iloc[row], alone.iloc[0], atol=1e-5)


def test_what_is_empty_or_cut_is_counted_and_said_nowhere_else(bert, caplog, capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    scorer = BertScore("tiny", bert, TINY)
    said = ["it binds hur", "", "word " * 200, "same", "same", "\u200b"]
    found = scorer.score(said, ["it binds la.", "text", "other", "same", "  ", "text"])
    assert not caplog.text and not capfd.readouterr().err
    assert list(found) == ["S_tiny.precision", "S_tiny.recall", "S_tiny.f1"]
    assert (found.iloc[[1, 4, 5]] == 0).all(axis=None) and (found.iloc[[0, 2]] > 0).all(axis=None)
    assert found.iloc[3].tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    said = scorer.definition
    assert (said["empty_texts"], said["cut_texts"], said["layer"]) == (3, 1, 2)
    assert said["bert_score"].startswith("tiny_L2_no-idf") and len(said["sha256"]) == 64
    assert scorer.id == f"S_tiny-layer2-{said['sha256'][:8]}-unpadded"
    assert str(bert) not in str(said)


def test_other_weights_and_those_that_lack_a_part_are_refused(bert, tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(InputError, match="sha256 .*, but that of tiny is 000000000000…; put"):
        BertScore("tiny", bert, Weights("tiny", 2, "0" * 64))
    with pytest.raises(InputError, match="but that of bert-base-uncased is 68d45e234eb4"):
        folder = text_scores.weights_folder("MiniLM", Ablations())
        list(scorers(Ablations(semantic=("BERT",), bert=str(folder))))
    with pytest.raises(InputError, match="lacks layer 4, it has 3"):
        BertScore("tiny", bert, Weights("tiny", 4))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="neither model.safetensors nor pytorch_model.bin"):
        BertScore("tiny", empty, TINY)
    folder = shutil.copytree(bert, tmp_path / "part")
    kept = load_file(folder / "model.safetensors")
    del kept["bert.encoder.layer.1.output.dense.weight"]  # else the library would draw it anew
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="lacks encoder.layer.1.output.dense.weight"):
        BertScore("tiny", folder, TINY)


def test_a_pickle_is_read_as_tensors_alone(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "bin")
    expected = BertScore("tiny", folder, TINY).score(["it binds hur"], ["it binds la"])
    state = BertModel.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    found = BertScore("tiny", folder, TINY).score(["it binds hur"], ["it binds la"])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    torch.save({"layer": Armed()}, folder / "pytorch_model.bin")
    with pytest.raises(Exception, match="[Ww]eights.only"):
        BertScore("tiny", folder, TINY)


class Armed:
    """Runs when it is unpickled without care."""

    def __reduce__(self):
        return pytest.fail, ("a pickle ran",)


# Cosines of an embedding model

LARGE = "text-embedding-3-large"
TABLE = {
    "a": [2.0, 0.0], "b": [0.0, 0.5], "c": [3.0, 4.0], "d": [-1.0, 0.0], "zero": [0.0, 0.0],
    "A b": [1.0, 1.0], "A, a; b!": [1.0, 0.0], "…": [0.0, 1.0],
}  # fmt: skip


def by_hand(asked: list | None = None) -> Cosine:
    """By an embedder of a few words that a person can reckon with, which notes what it is asked."""

    def embed(texts):
        (asked if asked is not None else []).extend(texts)
        return np.array([TABLE[text] for text in texts])

    return Cosine("known", "known-1", {"model": "known"}, embed, lambda text: len(text) > 6)


def test_greedy_matching_by_hand():
    """Said: a, a, b. Wanted: c = (.6, .8). Cosines a·c = .6, b·c = .8."""
    found = by_hand().score(["A, a; b!", "a", "a", "a", "A b"], ["c", "d", "zero", "c", "a"])
    names = [f"S_known.{part}" for part in ("cos", "words.precision", "words.recall", "words.f1")]
    precision, recall = (0.6 + 0.6 + 0.8) / 3, 0.8
    f1 = 2 * precision * recall / (precision + recall)
    assert list(found) == names
    assert found.iloc[0].tolist() == pytest.approx([0.6, precision, recall, f1], abs=1e-12)
    assert found.iloc[1].tolist() == [-1, -1, -1, 0], "opposites have no negative F1"
    assert found.iloc[2].tolist() == [0, 0, 0, 0], "a vector of zeros is like nothing"
    # F1 is that of a sample, not of the means
    assert found.iloc[3, 3] == pytest.approx(0.6) and found.iloc[4, 3] == pytest.approx(2 / 3)
    none = np.zeros((0, 3))
    assert greedy(none, np.eye(3)) == greedy(np.eye(3), none) == (0, 0, 0)


def test_texts_and_words_are_asked_once_together_and_counted():
    asked: list = []
    scorer = by_hand(asked)
    found = scorer.score(["A b", "A b", " ", "…", "A, a; b!"], ["a", "b", "a", "a", "a"])
    assert sorted(asked) == sorted({"A b", "a", "b", "…", "A, a; b!"})
    assert found.iloc[2].tolist() == [0, 0, 0, 0]
    assert found.iloc[3, 1:].tolist() == [0, 0, 0], "a text without words has none to match"
    assert scorer.definition["empty_texts"] == 1 and scorer.definition["cut_texts"] == 1
    assert {"cos", "words", "model"} <= set(scorer.definition)
    scorer.score(["a"], ["b"])
    assert scorer.definition["empty_texts"] == 0, "a call counts its own texts"
    assert scorer.score([""], [""]).iloc[0].tolist() == [0, 0, 0, 0]


def test_words():
    for text, words in {
        "The miR-21/PTEN axis.": ["the", "mir-21/pten", "axis"],
        "5.8S rRNA's 3′ end, (β-actin)": ["5.8s", "rrna's", "3", "end", "β-actin"],
        "— … !": [],
    }.items():
        assert words_of(text) == words


@pytest.mark.slow
def test_a_local_model_has_its_own_name_and_tells_right_from_wrong(minilm):
    scorer, reference = minilm[1], "The RNA is associated with glioma."
    said = [reference, "The RNA is linked to glioma.", "Tuesday was rainy.", "rna " * 300]
    found = scorer.score(said, [reference] * 4)
    assert list(found)[0] == "S_MiniLM.cos"
    assert found.iloc[0].tolist() == pytest.approx([1, 1, 1, 1], abs=1e-5)
    for metric in ("S_MiniLM.cos", "S_MiniLM.words.f1"):
        assert found[metric][1] > found[metric][2] + 0.2
    said = scorer.definition
    assert (said["cut_texts"], said["empty_texts"], said["max_tokens"]) == (1, 0, 256)
    assert said["model"] == "sentence-transformers/all-MiniLM-L6-v2" and len(said["sha256"]) == 64


# A model of a server.


@pytest.fixture
def server(monkeypatch, pauses):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    faults = Faults()
    with serve(OpenAI(), faults=faults) as url:
        yield url, faults


def params(url, **changes):
    known = {"semantic": ("GPT",), "base_url": f"{url}/v1", "prices": {LARGE: PRICE}}
    return Ablations(**(known | changes))


def inputs(faults):
    return [text for seen in faults.asked("/embeddings") for text in json.loads(seen.body)["input"]]


def test_a_server_is_asked_once_for_each_text_of_all_models(server, capsys):
    url, faults = server
    references = [f"The RNA guides A{n}." for n in range(40)]
    said = [f"The RNA guides U{n}." for n in range(40)] + references + ["a, b", ""] * 20
    (scorer,) = scorers(params(url))
    found = scorer.score(said, references * 3)
    asked = inputs(faults)
    assert len(asked) == len(set(asked)) and {*said, *references} - {""} <= set(asked)
    assert len(faults.asked("/embeddings")) < 8
    assert found.iloc[40:80].to_numpy() == pytest.approx(1, abs=1e-6)
    assert found["S_GPT.cos"][:40].abs().max() < 0.99
    a, b = scorer.embed(["a", "b"])  # vectors are matched as they came
    precision = np.mean(
        [max(one @ scorer.embed(["the", "rna", "guides", "a0"]).T) for one in (a, b)]
    )
    assert found["S_GPT.words.precision"][80] == pytest.approx(precision, abs=1e-6)
    assert inputs(faults) == asked
    out, total = capsys.readouterr().out, len(asked)
    assert f"S_GPT: {total} texts and words, 0 of them in the journal; to embed the others" in out
    assert "tokens, $0.0" in out and "at most $0.0" in out
    (again,) = scorers(params(url))
    assert again.score(said, references * 3).equals(found)
    assert inputs(faults) == asked and f"{total} of them in the journal" in capsys.readouterr().out
    assert scorer.id == f"S_GPT-cos-1-{LARGE}" and "canary" not in str(scorer.definition)


def test_another_model_has_another_name_and_what_is_too_long_is_cut_and_counted(server):
    url, faults = server
    (scorer,) = scorers(params(url, embedder="nomic/embed v1.5", prices={}))
    assert list(scorer.score(["β" * MOST_BYTES], ["b"]))[0] == "S_nomic-embed-v1-5.cos"
    assert scorer.definition["model"] == "nomic/embed v1.5"
    assert scorer.definition["cut_texts"] == 1
    assert max(len(text.encode()) for text in inputs(faults)) == MOST_BYTES - 1


def test_a_cap_stops_it_before_it_costs_more_and_what_was_paid_is_kept(server, capsys):
    url, faults = server
    texts = [f"text number {n} of many" for n in range(200)]
    (scorer,) = scorers(params(url, cap_dollars=0, width=1))
    with pytest.raises(CapReached, match="raise CAP_DOLLARS"):
        scorer.score(texts, texts)
    assert not inputs(faults) and "at most $0.0" in capsys.readouterr().out
    # room for the worst case of one request, and for what a few of them cost in fact
    (scorer,) = scorers(params(url, cap_dollars="0.0016", width=1))
    with pytest.raises(CapReached):
        scorer.score(texts, texts)
    paid = inputs(faults)
    assert paid
    (scorer,) = scorers(params(url))
    scorer.score(texts, texts)
    assert len(inputs(faults)) == len(set(inputs(faults))) > len(paid)


def test_without_a_key_or_a_price_nothing_is_loaded_or_sent(server, monkeypatch):
    url, faults = server
    with pytest.raises(InputError, match=f"no price of model '{LARGE}'"):
        next(scorers(params(url, semantic=("MiniLM", "GPT"), prices={}, cap_dollars=1)))
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="OPENAI_API_KEY is not set"):
        next(scorers(params(url, semantic=("MiniLM", "GPT"))))
    assert not faults.seen


@pytest.mark.slow
@pytest.mark.parametrize(("when", "repeated"), [("before", 36), ("after", 0)])
def test_killed_in_the_middle_it_asks_only_what_is_missing(server, own_runs, when, repeated):
    """Before the second body was kept: those texts were in flight, and may be asked again."""
    url, faults = server
    texts = [f"t{n}" for n in range(300)]
    die = ("rnagpt_lib.llm_api.journal.Journal.keep", when, 2)
    process = paid_loop.start(own_runs, texts, url, die, job=paid_loop.embed, width=1)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    first = inputs(faults)
    assert len(first) == 72
    process = paid_loop.start(own_runs, texts, url, job=paid_loop.embed, width=1)
    process.join()
    assert process.exitcode == 0
    asked = inputs(faults)
    assert set(asked) == set(texts) and len(asked) == len(texts) + repeated
    with sqlite3.connect(journal.path()) as db:
        assert db.execute("SELECT count(*) FROM calls WHERE state = 'ok'").fetchone() == (300,)


# Which scorers a run has


@pytest.fixture
def tiny(bert, monkeypatch):
    """A folder that passes as the weights of BERT and of Pub."""
    for name in ("BERT", "Pub"):
        monkeypatch.setitem(text_scores.WEIGHTS, name, Weights(f"tiny {name}", 2))
    return bert


def test_without_weights_a_line_says_so_and_the_rest_is_scored(tiny, capsys, monkeypatch):
    params = Ablations(semantic=("BERT", "Pub"), bert="no/such/folder", pub=str(tiny))
    (only,) = scorers(params)
    assert only.columns[0] == "S_Pub.precision" and only.definition["model"] == "tiny Pub"
    said = capsys.readouterr().out
    assert said == "S_BERT is left out: no weights in no/such/folder (models/README.md)\n"
    monkeypatch.setattr(text_scores, "PACKAGE", "no_such_package")
    assert list(scorers(Ablations(semantic=("MiniLM",)))) == []
    assert '".[semantic]"' in capsys.readouterr().out
    monkeypatch.setenv("RNAGPT_ROOT", str(tiny.parent))  # relative paths are the project's
    assert len(list(scorers(Ablations(semantic=("BERT",), bert=tiny.name)))) == 1


def test_the_defaults_are_those_that_need_no_network_and_no_money():
    params = Ablations()
    assert "GPT" not in params.semantic and not params.bert.startswith("hf:")
    assert not params.pub.startswith("hf:")
    assert params.calls().model == "text-embedding-3-large" and params.calls().mode == "sync"


FETCH = """
from rnagpt_lib.evaluate import text_scores
from rnagpt_lib.core.params import Ablations
folder = text_scores.weights_folder("Pub", Ablations(pub="hf:some/bert"))
print(*(path.name for path in folder.iterdir()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_hub_id_fetches_the_weights_and_nothing_else(tiny, tmp_path, name):
    there = shutil.copytree(tiny, tmp_path / "hub/some/bert")
    (there / "tf_model.h5").write_bytes(b"not read")
    (there / "pytorch_model.bin").write_bytes(b"not read, but where nothing else is there")
    if name == "pytorch_model.bin":
        (there / "model.safetensors").unlink()
    hub = Hub(tmp_path / "hub")
    with serve(hub) as url:  # a process of its own: the hub's client reads settings on import
        settings = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        told = subprocess.run(
            [sys.executable, "-c", FETCH], capture_output=True, text=True, env=os.environ | settings
        )
    assert told.returncode == 0, told.stderr
    assert {name, "vocab.txt", "config.json"} <= set(told.stdout.split())
    fetched = {path.rsplit("/", 1)[1] for path in hub.asked if "/resolve/" in path}
    assert {"model.safetensors", "pytorch_model.bin", "tf_model.h5"} & fetched == {name}
