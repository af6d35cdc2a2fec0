"""The audit: planted leaks are found, scores are what naive code counts, the page is inert."""

import json
import random
import re

import numpy as np
import pandas as pd
import pytest

from rnagpt_lib.core.sequences import kmers
from rnagpt_lib.curate.splits import relatives
from rnagpt_lib.evaluate import (
    audit,
    audit_baselines,
    audit_files,
    audit_findings,
    audit_page,
    audit_run,
    kmer_models,
)
from tests.curate.test_relatives import edited
from tests.support.rendered import Tags, shown

PAYLOAD = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def records(n, rng, question="What is it?", answers=("tRNA", "miRNA", "snRNA")):
    """Unrelated RNAs; an answer goes with a letter that the RNA has more of."""
    rows = []
    for i in range(n):
        answer = i % len(answers)
        sequence = "".join(rng.choices("ACGU"[answer] * 3 + "ACGU", k=rng.randint(50, 90)))
        rows.append((f"r{rng.random():.9f}", sequence, question, answers[answer]))
    return pd.DataFrame(rows, columns=["id", "sequence", "question", "answer"])


def leaking(rng):
    """Train, test: 6 test RNAs are in train as DNA in small letters, 5 have a relative there,
    3 of the copies have another answer."""
    train, test = records(60, rng), records(30, rng)
    copied = train.sequence[:6].str.lower().str.replace("u", "t")
    test.loc[:5, "sequence"] = copied
    test.loc[:5, "answer"] = train.answer[:6]
    test.loc[:2, "answer"] = "something else"
    test.loc[6:10, "sequence"] = [edited(s, len(s) // 10, rng) for s in train.sequence[10:15]]
    return train, test


def audited(folder, train, test, name="x.parquet", **options):
    paths = [folder / f"{side}_{name}" for side in ("train", "test")]
    for path, rows in zip(paths, (train, test), strict=True):
        rows.to_parquet(path)
    return audit.audit(*paths, **options)


def score(found, *names):
    return audit_findings.of(found, *names)


def test_a_planted_leak_is_found(tmp_path):
    train, test = leaking(random.Random(0))
    between = audited(tmp_path, train, test)["between"]
    assert between["rnas"] == between["records"] == 30
    assert between["rnas_in_train"] == between["records_of_rnas_in_train"] == 6
    assert between["records_shared"]["sequence, question and answer"] == 3
    assert between["records_contradicting_train"] == 3


@pytest.mark.parametrize("seed", range(3))
def test_relatives_between_and_within_are_those_of_all_pairs(seed, tmp_path):
    rng = random.Random(seed)
    train, test = leaking(rng)
    found = audited(tmp_path, train, test)
    ours, theirs = (
        sorted(set(s.str.upper().str.replace("T", "U"))) for s in (test.sequence, train.sequence)
    )
    near = {a for a in ours for b in theirs if relatives.similar(a, b)}
    assert found["between"]["rnas_with_relative_in_train"] == len(near) == 11
    for side, rnas in (("train", theirs), ("test", ours)):
        expected = sum(any(a != b and relatives.similar(a, b) for b in rnas) for a in rnas)
        assert found["within"][side]["rnas_with_relative"] == expected
    listed = test.id[test.sequence.str.upper().str.replace("T", "U").isin(near)]
    assert found["overlapping"] == listed.tolist()
    shown = {example["test"] for example in found["examples"]}
    assert shown == set(listed)
    assert [e["identity"] for e in found["examples"]][:6] == [1] * 6


def test_counts_of_texts_and_repeats_are_what_loops_count(tmp_path):
    rng = random.Random(4)
    train, test = records(40, rng), records(30, rng)
    for rows in (train, test):
        rows["question"] = rng.choices(["What is it?", "Which type?", "what  IS it?"], k=len(rows))
        rows["answer"] = rng.choices(["tRNA", "a tRNA", "TRNA", "miRNA", "x", "y"], k=len(rows))
    train = pd.concat([train, train[:4], train[:7].assign(answer="z")], ignore_index=True)
    test = pd.concat([test, train[20:25]], ignore_index=True)
    found = audited(tmp_path, train, test)

    def plain(rows, *columns):
        return [
            tuple(" ".join(str(row[c]).casefold().split()) for c in columns)
            for row in rows.to_dict("records")
        ]

    for name, columns in {
        "question": ["question"],
        "answer": ["answer"],
        "question and answer": ["question", "answer"],
        "sequence and question": ["sequence", "question"],
        "sequence, question and answer": ["sequence", "question", "answer"],
    }.items():
        known = set(plain(train, *columns))
        expected = sum(key in known for key in plain(test, *columns))
        assert found["between"]["records_shared"][name] == expected, name
    for side, rows in (("train", train), ("test", test)):
        keys = plain(rows, "sequence", "question", "answer")
        asked = plain(rows, "sequence", "question")
        within = found["within"][side]
        assert within["repeated_records"] == len(keys) - len(set(keys))
        assert within["records_of_repeated_rnas"] == sum(
            list(rows.sequence).count(s) > 1 for s in rows.sequence
        )
        assert within["contradicting_records"] == sum(
            len({k[2] for k in keys if k[:2] == one}) > 1 for one in asked
        )


def test_scores_are_shares_within_each_stratum(tmp_path):
    train, test = leaking(random.Random(1))
    found = audited(tmp_path, train, test)
    copied, related, rest = range(6), range(6, 11), range(11, 30)
    given = audit_baselines.answers(
        *(rows.assign(sequence=rows.sequence.str.upper().str.replace("T", "U"))
          for rows in (train, test))
    )  # fmt: skip
    for name, answers in given.items():
        right = [a == b for a, b in zip(answers, test.answer, strict=True)]
        for stratum, places in {
            "all": [*copied, *related, *rest],
            "new": [*related, *rest],
            "unrelated": rest,
        }.items():
            row = score(found, name, stratum)
            assert row["value"] == pytest.approx(np.mean([right[i] for i in places]))
            assert row["low"] <= row["value"] <= row["high"] and row["records"] == len(places)
    assert score(found, "floor.nearest")["value"] >= 3 / 30


def test_copies_count_once_in_bounds(tmp_path):
    """Ten records about each test RNA: the same bounds as one, over as many groups."""
    train, test = records(60, random.Random(2)), records(30, random.Random(3))
    one = score(audited(tmp_path, train, test), "floor.random", "all")
    once, tenfold = (
        score(audited(tmp_path, train, rows), "kmers.nearest", "all")
        for rows in (test, pd.concat([test] * 10))
    )
    assert (once["groups"], tenfold["groups"]) == (30, 30) and tenfold["records"] == 300
    assert [tenfold[k] for k in ("low", "value", "high")] == pytest.approx(
        [once[k] for k in ("low", "value", "high")]
    )
    assert one["groups"] == 30


def test_a_test_side_that_is_train_is_all_memory(tmp_path):
    train = records(40, random.Random(5))
    found = audited(tmp_path, train, train)
    assert score(found, "floor.nearest")["value"] == 1
    assert score(found, "floor.nearest", "new") is None
    said = " ".join(audit_findings.findings(found))
    assert "100 % of the test RNAs (40 of 40) are in train letter by letter" in said
    assert "no test RNA lacks a relative" in said


def test_disjoint_sides_are_told_so(tmp_path):
    found = audited(tmp_path, records(40, random.Random(6)), records(30, random.Random(7)))
    said = " ".join(audit_findings.findings(found))
    assert "None of the 30 test RNAs is in train letter by letter" in said
    assert "No test RNA has a relative in train" in said and "What to do" not in said
    assert found["overlapping"] == [] and found["examples"] == []


def test_questions_that_give_answers_away_are_told(tmp_path):
    rng = random.Random(8)
    train, test = records(90, rng), records(90, rng)
    for rows in (train, test):
        rows["question"] = [f"What binds the {a} no. {i % 7}?" for i, a in enumerate(rows.answer)]
    test["question"] = test.question + " Tell me"  # nobody asked just that
    found = audited(tmp_path, train, test)
    assert score(found, "blind")["value"] == 1
    assert "the wording gives answers away" in " ".join(audit_findings.findings(found))


def test_one_question_tells_a_blind_reader_the_most_common_answer_alone():
    rng = random.Random(9)
    train = records(60, rng, answers=("a", "a", "b"))
    given = audit_baselines.answers(train, records(12, rng))
    assert set(given["blind"]) == set(given["floor.most_common"]) == {"a"}


def test_composition_is_found_by_a_regression_and_not_by_a_constant(tmp_path):
    found = audited(tmp_path, records(150, random.Random(10)), records(60, random.Random(11)))
    assert score(found, "kmers.logistic")["value"] > 0.9
    assert score(found, "floor.most_common")["value"] == pytest.approx(1 / 3)
    assert score(found, "floor.most_common", "all", "balanced")["value"] == pytest.approx(1 / 3)


def test_answers_in_sentences_are_scored_by_rouge_too(tmp_path):
    rng = random.Random(12)
    sides = [records(40, rng) for _ in range(2)]
    for rows in sides:
        rows["answer"] = [f"The RNA was found in place {i} of the cell." for i in range(len(rows))]
    sides[1]["answer"] = sides[1].answer.str.replace("was found", "is made")
    found = audited(tmp_path, *sides)
    assert score(found, "floor.random")["value"] == 0
    assert 0.5 < score(found, "floor.random", "all", "rougeL")["value"] < 1
    assert found["classes"] is None and score(found, "floor.random", "all", "balanced") is None


def test_real_rnas_of_two_families_are_relatives_as_all_pairs_say(shared, tmp_path):
    rows = audit_files.read(shared / "nrc" / "dataset_Rfam_6320_13classes.fasta").rows
    rows = rows[rows.id.str.startswith(("RF00001_", "RF00005_"))].groupby("answer").head(60)
    train, test = rows[::2].reset_index(drop=True), rows[1::2].reset_index(drop=True)
    found = audited(tmp_path, train, test)
    near = sum(any(relatives.similar(a, b) for b in train.sequence) for a in test.sequence)
    # the search loses a few at the border, and finds none that are not
    assert 0.9 * near <= found["between"]["rnas_with_relative_in_train"] <= near
    assert 0 < near < len(test)
    assert score(found, "floor.nearest")["value"] > 0.9 > score(found, "floor.random")["value"]


def test_features_are_counted_words_and_the_length():
    text = "ACGUACGNNGGCA"
    row = kmer_models.features([text])[0]
    place, code = 0, {letter: i for i, letter in enumerate("ACGU")}
    for k in range(1, 5):
        counts = np.zeros(4**k)
        for word in kmers(text, k):
            if "N" not in word:
                counts[sum(code[c] * 4 ** (k - 1 - i) for i, c in enumerate(word))] += 1
        np.testing.assert_allclose(
            row[place : place + 4**k], counts / np.linalg.norm(counts), atol=1e-6
        )
        place += 4**k
    assert row[place:] == pytest.approx([np.log(len(text))])


def test_the_nearest_neighbour_is_that_of_all_distances():
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(50, 6)) * [1, 9, 1, 1, 4, 1], rng.normal(size=(20, 6))
    apart = (((x[None] - new[:, None]) / x.std(axis=0)) ** 2).sum(axis=2)
    labels = [f"l{i}" for i in range(50)]
    expected = [labels[i] for i in apart.argmin(axis=1)]
    assert kmer_models.nearest(x, labels, new).tolist() == expected


def test_a_regression_of_one_label_and_of_many_rows(monkeypatch):
    x = np.random.default_rng(0).normal(size=(400, 3))
    assert kmer_models.logistic(x, ["a"] * 400, x[:3]).tolist() == ["a"] * 3
    labels = np.where(x[:, 1] > 0, "up", "down")
    monkeypatch.setattr(kmer_models, "FITTED", 100)
    drawn = kmer_models.logistic(x, labels, x, seed=1)
    assert (drawn == labels).mean() > 0.95
    assert (drawn == kmer_models.logistic(x, labels, x, seed=1)).all()


def test_rows_of_a_regression_count_by_their_weights(monkeypatch):
    x = np.random.default_rng(0).normal(size=(400, 3))
    down = np.arange(400) % 4 == 0
    labels = np.where(down, "down", "up")  # which x does not tell
    assert (kmer_models.logistic(x, labels, x) == "up").mean() > 0.9
    weights = np.where(down, 30.0, 1.0)
    assert (kmer_models.logistic(x, labels, x, weights=weights) == "down").mean() > 0.9
    equal = kmer_models.logistic(x, labels, x, weights=np.full(400, 7.0))
    assert (equal == kmer_models.logistic(x, labels, x)).all()
    monkeypatch.setattr(kmer_models, "FITTED", 200)
    assert (kmer_models.logistic(x, labels, x, weights=weights) == "down").mean() > 0.9


def test_shares_are_never_rounded_to_none_or_all():
    assert audit_findings._percent(37, 100) == "37 %"
    assert audit_findings._percent(1, 1000) == "0.1 %"
    assert audit_findings._percent(999, 1000) == "99.9 %"


# --- page and command


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """An audit of a set that brings a payload wherever it can."""
    folder = tmp_path_factory.mktemp("hostile")
    train, test = leaking(random.Random(20))
    for rows in (train, test):
        rows["id"] = [f"{PAYLOAD} {i}" for i in range(len(rows))]
        rows["answer"] = rows.answer + PAYLOAD
        rows["question"] = rows.question + PAYLOAD
    test.loc[29, "sequence"] = "MEEPQSDPSV"
    test.loc[5, "answer"] = "very " * 1000 + "long"
    return audited(folder, train, test, name="<script>alert(3)<!--.parquet")


def test_what_a_data_set_brings_is_shown_and_never_acts(hostile):
    page = Tags(audit_page.render(hostile))
    known = (
        "html head meta title style body h1 h2 h3 p b ul li div table thead tbody tr th td img code"
    )
    assert page.tags <= set(known.split())
    names = {name for name, _ in page.attributes}
    assert not any(name.startswith("on") for name in names) and "href" not in names
    assert all(v.startswith("data:image/svg+xml;base64,") for k, v in page.attributes if k == "src")
    assert f"{PAYLOAD} 0" in page.text and "train_<script>alert(3)<!--.parquet" in page.text
    assert "looks like a protein" in page.text
    assert "very very" in page.text and "very " * 70 not in page.text


def test_the_page_needs_nothing_from_elsewhere(hostile):
    page = audit_page.render(hostile)
    assert "default-src 'none'" in page
    assert not re.search(r"(?:https?:)?//", re.sub(r'src="data:[^"]*"', "", page))


def test_the_page_says_the_numbers(hostile):
    text = Tags(audit_page.render(hostile)).text
    row = score(hostile, "kmers.logistic")
    assert f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" in text
    assert "6 of 29 (20.7%)" in text and "Records left out: 1" in text


def test_one_audit_is_one_page(hostile):
    assert audit_page.render(hostile) == audit_page.render(json.loads(json.dumps(hostile)))


def test_chromium_shows_the_page_without_a_network(hostile, tmp_path):
    path = tmp_path / "audit.html"
    path.write_text(audit_page.render(hostile), "utf-8")
    dom = shown(path)
    assert dom.count("<img ") == 2 and "<script" not in dom


@pytest.fixture
def files(tmp_path):
    train, test = leaking(random.Random(30))
    paths = []
    for side, rows in (("train", train), ("test", test)):
        paths.append(tmp_path / f"{side}.fasta")
        paths[-1].write_text(
            "".join(f">{r.id} {r.answer}\n{r.sequence}\n" for r in rows.itertuples())
        )
    return paths


def test_the_command_writes_page_and_numbers_and_says_what_it_found(rnagpt, files, tmp_path):
    out = tmp_path / "my.html"
    code, said, _ = rnagpt("audit", *files, "--out", out)
    numbers = json.loads(out.with_suffix(".json").read_text("utf-8"))
    assert code == 0 and "20 % of the test RNAs (6 of 30) are in train letter by letter" in said
    assert out.read_text("utf-8") == audit_page.render(numbers)
    assert [f"- {sentence}" for sentence in numbers["findings"]] == said.splitlines()[:-1]
    assert {p.name for p in tmp_path.iterdir()} - {"runs"} == {
        "my.html", "my.json", "test.fasta", "train.fasta",
    }  # fmt: skip


def test_nothing_is_overwritten_without_force(rnagpt, files, tmp_path):
    out = tmp_path / "my.html"
    for existing in (out, out.with_suffix(".json")):
        existing.write_text("mine")
        code, _, said = rnagpt("audit", *files, "--out", out)
        assert code == 2 and f"{existing} exists; give --force to replace it" in said
        assert existing.read_text() == "mine"
        existing.unlink()
    out.write_text("mine")
    assert rnagpt("audit", *files, "--out", out, "--force")[0] == 0
    assert out.read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    "out, words",
    [
        ("my.pdf", "let its name end in .html"),
        ("nowhere/my.html", "nowhere is no folder; make it first"),
        ("folder.html", "folder.html is a folder; name another place"),
    ],
)
def test_places_that_cannot_be_written_are_refused_before_anything_is_read(
    rnagpt, tmp_path, out, words
):
    (tmp_path / "folder.html").mkdir()
    code, _, said = rnagpt("audit", "no.fasta", "no.fasta", "--out", tmp_path / out)
    assert code == 2 and words in said and "Traceback" not in said


def test_a_fault_on_the_way_leaves_nothing(rnagpt, files, tmp_path, monkeypatch):
    out = tmp_path / "my.html"
    files[1].write_text(">a\nACGU\n")
    code, _, said = rnagpt("audit", *files, "--out", out)
    assert code == 2 and "there is no answer in its header" in said

    def full(*_):
        raise OSError(28, "No space left on device")

    files[1].write_text(files[0].read_text())
    monkeypatch.setattr(audit_run, "write_json", full)
    code, _, said = rnagpt("audit", *files, "--out", out)
    assert code == 2 and "cannot be written: No space left on device" in said
    assert not list(tmp_path.glob("*my*")) and not list(tmp_path.glob(".*my*"))


def test_help_helps(rnagpt):
    said = " ".join(rnagpt("audit", "--help")[1].split())
    for words in (".parquet", "'>id answer'", "--force", "IUPAC", "80 % identity"):
        assert words in said


def test_the_most_common_answer_may_say_that_none_is_known():
    """Not the ablation's floor, which names something: a constant that is right is the best one."""
    rng = random.Random(13)
    none, one = "No disease association of the RNA is known.", "The RNA is associated with glioma."
    train = records(100, rng).assign(answer=[none, none, none, none, one] * 20)
    train["question"] = "Which disease is the RNA associated with?"
    test = train.head(10)
    assert set(audit_baselines.answers(train, test)["floor.most_common"]) == {none}
