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
from transformers import BertModel, BertTokenizer

from rnagpt_lib.core import paths
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

WORDS = """the RNA rna binds bound HuR targets naïve β-actin 5S 28S-A1310 cells, running runs miR-21
hsa-miR-876-3p 18S 1,022 3′-UTR İstanbul ſtudies 漢字 🧬 don't e.g. generalization generously x y it.
""".split()


def random_texts(n: int, seed: int, breaks: str = " ") -> list[str]:
    """Random texts of 0 to 40 words, with one of ``breaks`` between them."""
    rng = random.Random(seed)

    def one() -> str:
        words = rng.choices(WORDS, k=rng.choice((0, 1, 2, 5, 12, 40)))
        return "".join(word + rng.choice(breaks) for word in words)

    return [one() for _ in range(n)]


def expected(predictions, references):
    scorer = RougeScorer(list(ROUGE), use_stemmer=True)
    found = [scorer.score(r, p) for p, r in zip(predictions, references, strict=True)]
    return [[scores[name].fmeasure for name in ROUGE] for scores in found]


@pytest.mark.parametrize("breaks", [" ", "   \n", "\n\r\t -"])
def test_it_is_rouge_scores(breaks):
    predictions, references = random_texts(400, 1, breaks), random_texts(400, 2, breaks)
    predictions[:4] = ["", "…", "\n", "running cells"]
    references[3:6] = ["runs cell", "", " \n "]
    references[6:60] = predictions[6:60]
    found = rouge(predictions, references)
    np.testing.assert_allclose(found, expected(predictions, references), atol=1e-12, rtol=0)
    assert 0.05 < found.rougeL.mean() < 0.95, "both extremes would say little"
    assert (found.rougeL != found.rougeLsum).any() == (breaks != " ")


def test_lsum_splits_at_newlines():
    found = rouge(["a cat sat\nthe dog ran"], ["the dog ran\na cat sat"])
    assert found.rougeLsum[0] == 1 and found.rougeL[0] == 0.5


def test_a_long_text_is_counted_whole():
    """Longer than a machine word of bits, in an order that a wrong carry would break."""
    rng = random.Random(0)
    said, wanted = (" ".join(rng.choices("abcdefgh", k=700)) for _ in range(2))
    np.testing.assert_allclose(
        rouge([said], [wanted]), expected([said], [wanted]), atol=1e-12, rtol=0
    )


def test_samples_come_in_order_and_none_is_needed():
    found = rouge(["a", "b", "a"], ["a", "a", "a"])
    assert found.rouge1.tolist() == [1, 0, 1] and list(found) == list(ROUGE)
    assert rouge([], []).shape == (0, 4)
    with pytest.raises(ValueError, match="zip"):
        rouge(["a"], [])


# BERTScore

TOKENS = (
    "the RNA rna binds HuR targets naïve β-actin 5S 28S-A1310 cells, running runs it. x".split()
)
TINY = Weights("tiny", 2)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return random_bert.write(tmp_path_factory.mktemp("bert"), **random_bert.TINY)


@pytest.fixture(scope="module")
def minilm():
    return next(scorers(Ablations(semantic=("MiniLM",))))


def pairs(n: int, distinct: int) -> tuple[list[str], list[str]]:
    """``n`` pairs out of ``distinct`` texts a side; empty ones and those of 600 words among them."""
    rng = random.Random(0)
    sides = []
    for long in ("cell " * 600, "x " * 601):
        texts = [" ".join(rng.choices(TOKENS, k=rng.randint(1, 12))) for _ in range(distinct)]
        sides.append(rng.choices([*texts, "", " \n", long], k=n))
    return sides


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


def check_equal(scorer: BertScore, folder, layer: int, dtype: torch.dtype) -> None:
    predictions, references = pairs(80, 8)
    scorer.model.to(dtype)
    found = scorer.score(predictions, references)
    expected = peer(folder, layer, dtype, predictions, references)
    scorer.model.to(torch.float32)
    tolerance = 1e-6 if dtype == torch.float64 else 1e-5
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
    empty = sum(not text.strip() for text in predictions + references)
    cut = sum(len(text) > 600 for text in predictions + references)
    assert (found == 0).all(axis=1).sum() > 2 and empty > 2 and cut > 2
    assert found.iloc[:, 2].max() > found.iloc[:, 2].mean() > 0


def test_it_is_bert_scores_by_minilm(minilm):
    check_equal(minilm, minilm.tokenizer.name_or_path, 6, torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_bert_scores_by_a_model_of_berts_size(tmp_path, dtype):
    folder = random_bert.write(tmp_path / "base")
    check_equal(BertScore("base", folder, Weights("base", 9)), folder, 9, dtype)


def naive(folder, prediction: str, reference: str, layer: int) -> tuple:
    """Greedy matching, one text at a time: [CLS] and [SEP] may be matched but do not count."""
    tokenizer = BertTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder).eval()

    def vectors(text):
        ids = tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**ids, output_hidden_states=True).hidden_states[layer][0]
        return torch.nn.functional.normalize(hidden, dim=-1)

    cosine = vectors(prediction) @ vectors(reference).T
    precision = cosine.max(1).values[1:-1].mean().item()
    recall = cosine.max(0).values[1:-1].mean().item()
    return precision, recall, 2 * precision * recall / (precision + recall)


def test_it_is_greedy_matching(bert, caplog, capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    scorer = BertScore("tiny", bert, TINY)
    predictions = [
        "the rna is a trna.",
        "it binds hur",
        "",
        "word " * 200,
        "same",
        "same",
        "\u200b",
    ]
    references = ["the rna is a snorna.", "it binds la.", "text", "other", "same", "  ", "text"]
    found = scorer.score(predictions, references)
    assert not caplog.text, "texts that are cut are counted, and no warning stands in a notebook"
    assert not capfd.readouterr().err
    assert list(found) == ["S_tiny.precision", "S_tiny.recall", "S_tiny.f1"]
    for row in (0, 1, 3, 4):
        expected = naive(bert, predictions[row], references[row], 2)
        assert found.iloc[row].tolist() == pytest.approx(expected, abs=1e-5)
    assert (found.iloc[[2, 5, 6]] == 0).all(axis=None)
    said = scorer.definition
    assert (said["empty_texts"], said["cut_texts"], said["layer"]) == (3, 1, 2)
    assert said["bert_score"].startswith("tiny_L2_no-idf") and len(said["sha256"]) == 64
    assert scorer.id == f"S_tiny-layer2-{said['sha256'][:8]}-unpadded" and str(bert) not in str(
        said
    )


def test_a_score_does_not_depend_on_the_other_texts(bert):
    scorer = BertScore("tiny", bert, Weights("tiny", 3))
    predictions, references = pairs(60, 30)
    together = scorer.score(predictions, references)
    for row in range(0, 60, 7):
        alone = scorer.score(predictions[row : row + 1], references[row : row + 1])
        np.testing.assert_allclose(together.iloc[row], alone.iloc[0], atol=1e-5)


def test_other_weights_are_refused(bert, tmp_path):
    with pytest.raises(InputError, match="sha256 .*, but that of tiny is 000000000000…; put"):
        BertScore("tiny", bert, Weights("tiny", 2, "0" * 64))
    with pytest.raises(InputError, match="lacks layer 4, it has 3"):
        BertScore("tiny", bert, Weights("tiny", 4))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="neither model.safetensors nor pytorch_model.bin"):
        BertScore("tiny", empty, TINY)


def test_weights_that_lack_a_part_are_refused(bert, tmp_path):
    """Else the library would draw that part anew, with a warning."""
    from safetensors.torch import load_file, save_file

    folder = random_bert.write(tmp_path / "part", **random_bert.TINY)
    kept = load_file(folder / "model.safetensors")
    del kept["bert.encoder.layer.1.output.dense.weight"]
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="lacks encoder.layer.1.output.dense.weight"):
        BertScore("tiny", folder, TINY)


def test_a_pickle_is_read_as_tensors_alone(bert, tmp_path):
    folder = random_bert.write(tmp_path / "bin", **random_bert.TINY)
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


class Known:
    """An embedder of a few words that a person can reckon with."""

    name, id = "known", "known-1"
    about = {"model": "known"}
    table = {
        "a": [2.0, 0.0], "b": [0.0, 0.5], "c": [3.0, 4.0], "d": [-1.0, 0.0], "zero": [0.0, 0.0],
        "A b": [1.0, 1.0], "A, a; b!": [1.0, 0.0], "…": [0.0, 1.0],
    }  # fmt: skip

    def __init__(self):
        self.asked = []

    def vectors(self, texts):
        self.asked += texts
        return np.array([self.table[text] for text in texts])

    def cut(self, texts):
        return {text for text in texts if len(text) > 6}


def test_greedy_matching_by_hand():
    """Said: a, a, b. Wanted: c = (.6, .8). Cosines a·c = .6, b·c = .8."""
    scorer = Cosine(Known())
    found = scorer.score(["A, a; b!"], ["c"])
    assert list(found) == [
        "S_known.cos", "S_known.words.precision", "S_known.words.recall", "S_known.words.f1"
    ]  # fmt: skip
    precision, recall = (0.6 + 0.6 + 0.8) / 3, 0.8
    expected = [0.6, precision, recall, 2 * precision * recall / (precision + recall)]
    assert found.iloc[0].tolist() == pytest.approx(expected, abs=1e-12)


def test_opposites_have_no_negative_f1_and_a_vector_of_zeros_is_like_nothing():
    found = Cosine(Known()).score(["a", "a"], ["d", "zero"])
    assert found.iloc[0].tolist() == [-1, -1, -1, 0]
    assert found.iloc[1].tolist() == [0, 0, 0, 0]


def test_f1_is_that_of_a_sample():
    found = Cosine(Known()).score(["a", "A b"], ["c", "a"])
    means = found.mean()
    harmonic = 2 * means.iloc[1] * means.iloc[2] / (means.iloc[1] + means.iloc[2])
    assert found.iloc[0, 3] == pytest.approx(0.6) and found.iloc[1, 3] == pytest.approx(2 / 3)
    assert means.iloc[3] < harmonic


def test_texts_and_words_are_asked_once_together_and_counted():
    scorer = Cosine(Known())
    found = scorer.score(["A b", "A b", " ", "…", "A, a; b!"], ["a", "b", "a", "a", "a"])
    assert sorted(scorer.embedder.asked) == sorted({"A b", "a", "b", "…", "A, a; b!"})
    assert found.iloc[2].tolist() == [0, 0, 0, 0]
    assert found.iloc[3, 1:].tolist() == [0, 0, 0], "a text without words has none to match"
    assert scorer.definition["empty_texts"] == 1 and scorer.definition["cut_texts"] == 1
    assert {"cos", "words", "model"} <= set(scorer.definition)
    scorer.score(["a"], ["b"])
    assert scorer.definition["empty_texts"] == 0, "a call counts its own texts"
    assert Cosine(Known()).score([""], [""]).iloc[0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The miR-21/PTEN axis.", ["the", "mir-21/pten", "axis"]),
        ("5.8S rRNA's 3′ end, (β-actin)", ["5.8s", "rrna's", "3", "end", "β-actin"]),
        ("miR-21's target is PTEN (5'-UTR).", ["mir-21's", "target", "is", "pten", "5", "utr"]),
        ("— … !", []),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


def test_no_side_no_score():
    none = np.zeros((0, 3))
    assert greedy(none, np.eye(3)) == greedy(np.eye(3), none) == (0, 0, 0)


# A model on this machine.


def test_a_local_model_has_its_own_name_and_tells_right_from_wrong():
    _, scorer = scorers(Ablations(semantic=("MiniLM",)))
    reference = "The RNA is associated with glioma."
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
    out = capsys.readouterr().out
    total = len(asked)
    assert f"S_GPT: {total} texts and words, 0 of them in the journal; to embed the others" in out
    assert "tokens, $0.0" in out and "at most $0.0" in out
    (again,) = scorers(params(url))
    assert again.score(said, references * 3).equals(found)
    assert inputs(faults) == asked and f"{total} of them in the journal" in capsys.readouterr().out
    assert scorer.id == f"S_GPT-cos-1-{LARGE}" and "canary" not in str(scorer.definition)


def test_vectors_are_matched_as_they_came(server):
    url, _ = server
    (scorer,) = scorers(params(url))
    found = scorer.score(["ab cd"], ["cd ef"]).iloc[0]
    words = {w: v for w, v in zip(("ab", "cd", "ef"), np.array(scorer.embedder.vectors(
        ["ab", "cd", "ef"])), strict=True)}  # fmt: skip
    best = max(words["ab"] @ words["cd"], words["ab"] @ words["ef"])
    assert found["S_GPT.words.precision"] == pytest.approx((best + 1) / 2, abs=1e-6)


def test_another_model_has_another_name(server):
    url, _ = server
    (scorer,) = scorers(params(url, embedder="nomic/embed v1.5", prices={}))
    assert list(scorer.score(["a"], ["b"]))[0] == "S_nomic-embed-v1-5.cos"
    assert scorer.definition["model"] == "nomic/embed v1.5"


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


def test_a_text_too_long_for_the_server_is_cut_and_counted(server):
    url, faults = server
    long = "β" * MOST_BYTES
    (scorer,) = scorers(params(url))
    scorer.score([long], ["a"])
    assert scorer.definition["cut_texts"] == 1
    assert max(len(text.encode()) for text in inputs(faults)) == MOST_BYTES - 1


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
def tiny(tmp_path, monkeypatch):
    """A folder that passes as the weights of BERT and of Pub."""
    folder = random_bert.write(tmp_path / "tiny", **random_bert.TINY)
    for name in ("BERT", "Pub"):
        monkeypatch.setitem(text_scores.WEIGHTS, name, Weights(f"tiny {name}", 2))
    return folder


def test_without_weights_a_line_says_so_and_the_rest_is_scored(tiny, capsys):
    params = Ablations(semantic=("BERT", "Pub"), bert="no/such/folder", pub=str(tiny))
    (only,) = scorers(params)
    assert only.columns[0] == "S_Pub.precision" and only.definition["model"] == "tiny Pub"
    said = capsys.readouterr().out
    assert said == "S_BERT is left out: no weights in no/such/folder (models/README.md)\n"


def test_without_its_package_minilm_is_absent(monkeypatch, capsys):
    monkeypatch.setattr(text_scores, "PACKAGE", "no_such_package")
    assert list(scorers(Ablations(semantic=("MiniLM",)))) == []
    assert '".[semantic]"' in capsys.readouterr().out


def test_the_defaults_are_those_that_need_no_network_and_no_money():
    params = Ablations()
    assert "GPT" not in params.semantic and not params.bert.startswith("hf:")
    assert not params.pub.startswith("hf:")
    assert params.calls().model == "text-embedding-3-large" and params.calls().mode == "sync"


def test_other_weights_do_not_take_the_place_of_bert():
    package = next(scorers(Ablations(semantic=("MiniLM",)))).tokenizer.name_or_path
    with pytest.raises(InputError, match="but that of bert-base-uncased is 68d45e234eb4"):
        list(scorers(Ablations(semantic=("BERT",), bert=package)))


def test_relative_paths_are_the_project_s(tiny, monkeypatch):
    monkeypatch.setenv("RNAGPT_ROOT", str(tiny.parent))
    assert paths.from_root("tiny") == tiny
    assert len(list(scorers(Ablations(semantic=("BERT",), bert="tiny")))) == 1


FETCH = """
from rnagpt_lib.evaluate import text_scores
from rnagpt_lib.core.params import Ablations
folder = text_scores.weights_folder("Pub", Ablations(pub="hf:some/bert"))
print(*(path.name for path in folder.iterdir()))
"""


def fetch(url: str, cache) -> str:
    """The files' names; in a process of its own, as the hub's client reads settings on import."""
    settings = {"HF_ENDPOINT": url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", FETCH]
    told = subprocess.run(command, capture_output=True, text=True, env=os.environ | settings)
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_hub_id_fetches_the_weights_and_nothing_else(tiny, tmp_path, name):
    there = shutil.copytree(tiny, tmp_path / "hub/some/bert")
    (there / "tf_model.h5").write_bytes(b"not read")
    (there / "pytorch_model.bin").write_bytes(b"not read, but where nothing else is there")
    if name == "pytorch_model.bin":
        (there / "model.safetensors").unlink()
    hub = Hub(tmp_path / "hub")
    with serve(hub) as url:
        said = fetch(url, tmp_path)
    assert {name, "vocab.txt", "config.json"} <= set(said.split())
    fetched = {path.rsplit("/", 1)[1] for path in hub.asked if "/resolve/" in path}
    assert {"model.safetensors", "pytorch_model.bin", "tf_model.h5"} & fetched == {name}
