"""Cosines of texts and greedy matching of words, by hand, by a local model and by a server."""

import json
import signal
import sqlite3

import numpy as np
import pytest

from rnagpt_lib.core.errors import CapReached, InputError
from rnagpt_lib.core.params import Ablations
from rnagpt_lib.evaluate.embedders import MOST_BYTES
from rnagpt_lib.evaluate.embedding_similarity import Cosine, greedy, words_of
from rnagpt_lib.evaluate.semantic_scorers import scorers
from rnagpt_lib.llm_api import journal
from tests.standin import Faults, serve
from tests.standin.openai_api import PRICE, OpenAI
from tests.support import paid_loop

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
