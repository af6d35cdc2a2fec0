"""Baselines answer from training pairs alone; models of k-mers are what naive code finds."""

import random

import numpy as np
import pandas as pd
import pytest

from rnagpt_lib.core.sequences import kmers
from rnagpt_lib.evaluate import baselines, questions
from tests.evaluate.small import DISEASE, TYPE, A, rna, two_pairs


def test_floors_answer_from_training_pairs_alone(tables):
    rnas, pairs = tables
    asked = questions.questions(rnas, pairs)
    found = baselines.floor_answers(asked, rnas, pairs)
    train = set(pairs[pairs.rna_id.isin(["R0", "R1", "R2"])].answer)
    assert all(set(answers) <= train for answers in found.values())
    by_floor = {
        name: dict(zip(asked.pair_id, answers, strict=True)) for name, answers in found.items()
    }
    assert by_floor["floor.most_common"]["P30"] == TYPE.say(["snRNA"])
    assert by_floor["floor.most_common"]["P31"] == DISEASE.say(["asthma"])
    assert by_floor["floor.nearest"]["P30"] == TYPE.say(["tRNA"])  # whatever the wording
    assert by_floor["floor.nearest"]["P31"] == DISEASE.say(["glioma"])
    assert by_floor["floor.nearest"]["P32"] == DISEASE.confirm("glioma", True)
    assert by_floor["floor.length"]["P30"] == TYPE.say(["snRNA"])


def test_the_most_common_answer_names_something(tables):
    rnas, pairs = tables
    extra = [rna(n, A, "tRNA", "f1", "train") for n in range(10, 15)]
    unknown = [row for n in range(10, 15) for row in two_pairs(n, "tRNA", "?")]
    for row in unknown:
        if row["kind"] == "literature" and row["form"] == "open":
            row["answer"] = DISEASE.unknown
    rnas = pd.concat([rnas, pd.DataFrame(extra)], ignore_index=True)
    pairs = pd.concat([pairs, pd.DataFrame(unknown)], ignore_index=True)
    asked = questions.questions(rnas, pairs)
    found = baselines.floor_answers(asked, rnas, pairs)["floor.most_common"]
    assert dict(zip(asked.pair_id, found, strict=True))["P31"] == DISEASE.say(["asthma"])


def test_floors_do_not_look_at_references_and_the_random_one_is_seeded(tables):
    rnas, pairs = tables
    asked = questions.questions(rnas, pairs)
    drawn = [baselines.floor_answers(asked, rnas, pairs, seed=s) for s in range(5)]
    hidden = pairs.assign(answer=pairs.answer.where(~pairs.rna_id.isin(["R3", "R4"]), "?"))
    again = baselines.floor_answers(asked.assign(reference="?"), rnas, hidden, seed=3)
    assert again == drawn[3] and len({tuple(d["floor.random"]) for d in drawn}) > 1


def test_a_question_that_nobody_asked_falls_back_on_kind_and_form(tables):
    rnas, pairs = tables
    strange = pairs[pairs.pair_id == "P31"].assign(question="What else is known?", pair_id="P39")
    pairs = pd.concat([pairs, strange], ignore_index=True)
    asked = questions.questions(rnas, pairs)
    found = baselines.floor_answers(asked, rnas, pairs)["floor.most_common"]
    assert found[list(asked.pair_id).index("P39")] == DISEASE.say(["asthma"])


def records(n, rng, question="What is it?", answers=("tRNA", "miRNA", "snRNA")):
    """Unrelated RNAs; an answer goes with a letter that the RNA has more of."""
    rows = []
    for i in range(n):
        answer = i % len(answers)
        sequence = "".join(rng.choices("ACGU"[answer] * 3 + "ACGU", k=rng.randint(50, 90)))
        rows.append((f"r{rng.random():.9f}", sequence, question, answers[answer]))
    return pd.DataFrame(rows, columns=["id", "sequence", "question", "answer"])


def test_one_question_tells_a_blind_reader_the_most_common_answer_alone():
    rng = random.Random(9)
    train = records(60, rng, answers=("a", "a", "b"))
    given = baselines.audit_answers(train, records(12, rng))
    assert set(given["blind"]) == set(given["floor.most_common"]) == {"a"}


def test_the_most_common_answer_may_say_that_none_is_known():
    """Not the ablation's floor, which names something: a constant that is right is the best one."""
    rng = random.Random(13)
    none, one = "No disease association of the RNA is known.", "The RNA is associated with glioma."
    train = records(100, rng).assign(answer=[none, none, none, none, one] * 20)
    train["question"] = "Which disease is the RNA associated with?"
    test = train.head(10)
    assert set(baselines.audit_answers(train, test)["floor.most_common"]) == {none}


def test_words_that_occur_are_those_of_a_plain_count():
    texts = ["ACGUACGNNGGCA", "AC", "", "GGGGGGGG"]
    lengths = (3, 5)
    found = baselines.kmer_presence(texts, lengths).toarray()
    assert found.shape == (4, 4**3 + 4**5)
    for row, text in zip(found, texts, strict=True):
        expected = np.zeros(len(row))
        for k, start in zip(lengths, (0, 4**3), strict=True):
            for word in kmers(text, k):
                if "N" not in word:
                    expected[
                        start + sum("ACGU".index(c) * 4**i for i, c in enumerate(word[::-1]))
                    ] = 1
        np.testing.assert_array_equal(row, expected)


def test_the_nearest_shares_most_words_and_the_first_of_equals_wins():
    known = ["ACGUACGUAC", "GGGGGCCCCC", "GGGGGCCCCC"]
    x, new = (baselines.kmer_presence(s, (4,)) for s in (known, ["GGGGGCCCUA", "ACGUACGUUU", "NN"]))
    assert baselines.nearest_label(x, ["a", "b", "c"], new).tolist() == ["b", "a", "a"]


def test_k_is_chosen_by_neighbours_within_train():
    """Eight letters are the label's own; of shorter words each is shared with the other label."""
    rng = random.Random(3)
    parts = {"x": "ACGUUGCA", "y": "ACGUUGCC"}
    labels = [rng.choice("xy") for _ in range(200)]
    texts = [parts[one] + "".join(rng.choices("ACGU", k=6)) for one in labels]
    assert baselines.choose_length(texts, labels) in baselines.LENGTHS
    alone = baselines.choose_length(texts[:1], labels[:1])
    assert alone == baselines.choose_length([], []) == baselines.LENGTHS[0]


@pytest.mark.parametrize("fit", [baselines.logistic_label, baselines.svm_label])
def test_models_of_words_learn_what_a_neighbour_cannot(fit):
    """A short word anywhere decides, in random surroundings."""
    rng = random.Random(5)
    labels = np.array([rng.choice(["no", "yes"]) for _ in range(400)], dtype=object)
    texts = []
    for label in labels:
        text = "".join(rng.choices("ACGU", k=40)).replace("GAUUACA", "GAUUACC")
        at = rng.randrange(30)
        texts.append(text[:at] + "GAUUACA" + text[at:] if label == "yes" else text)
    x = baselines.kmer_presence(texts, (7,))
    right = {name: (model(x[:300], labels[:300], x[300:]) == labels[300:]).mean()
             for name, model in (("fit", fit), ("near", baselines.nearest_label))}  # fmt: skip
    assert right["fit"] > 0.95 > 0.8 > right["near"]


def test_a_regression_of_one_label_and_of_many_rows(monkeypatch):
    x = np.random.default_rng(0).normal(size=(400, 3))
    assert baselines.logistic_label(x, ["a"] * 400, x[:3]).tolist() == ["a"] * 3
    labels = np.where(x[:, 1] > 0, "up", "down")
    monkeypatch.setattr(baselines, "FITTED", 100)
    drawn = baselines.logistic_label(x, labels, x, seed=1)
    assert (drawn == labels).mean() > 0.95
    assert (drawn == baselines.logistic_label(x, labels, x, seed=1)).all()
