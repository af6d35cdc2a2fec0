"""``benchmarks/nrc.py``: its splits, its scores, and what it says of copies."""

import random

import numpy as np
import pandas as pd
import pytest

from benchmarks.science import nrc
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.splits import relatives, split
from rnagpt_lib.evaluate import audit
from tests.curate.test_relatives import edited, letters


def test_scores_of_two_classes_are_the_closed_forms():
    rng = np.random.default_rng(0)
    wanted, given = (rng.choice(["a", "b"], 200, p=[0.3, 0.7]) for _ in range(2))
    tp, fn, fp, tn = (
        int(((wanted == w) & (given == g)).sum()) for w, g in ("aa", "ab", "ba", "bb")
    )
    found = nrc.scored(wanted, given)
    mcc = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert found["accuracy"] == pytest.approx((tp + tn) / 200, abs=1e-4)
    assert found["mcc"] == pytest.approx(mcc, abs=1e-4)
    assert found["f1"]["a"] == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-4)


def test_a_class_that_is_never_given_scores_nothing_and_others_stay_out():
    assert nrc.scored(np.array(["a", "b"]), np.array(["a", "c"]))["f1"] == {"a": 1.0, "b": 0.0}


def test_overlap_is_that_of_all_pairs():
    rng = random.Random(0)
    train = [letters(rng, rng.randint(60, 120)) for _ in range(30)]
    test = [*train[:4], *(edited(s, len(s) // 10, rng) for s in train[4:9]), letters(rng, 90)]
    copies, related = nrc.overlap(pd.Series(train), pd.Series(test))
    assert copies.tolist() == [s in train for s in test]
    assert related.tolist() == [any(relatives.similar(s, t) for t in train) for s in test]
    assert related.sum() == 9


def fasta(path, n=40, seed=0, families=4):
    rng = random.Random(seed)
    rows = (
        (f"RF{i % families:05d}_{seed}_{i}", "tRNA" if i % 2 else "miRNA", letters(rng, 60))
        for i in range(n)
    )
    path.write_text("".join(f">{name} {kind}\n{sequence}\n" for name, kind, sequence in rows))
    return path


def test_two_given_files_are_measured_and_kept_beside_the_splits(tmp_path, monkeypatch):
    monkeypatch.setattr(nrc, "RESULTS", tmp_path / "nrc.json")
    monkeypatch.setattr(nrc, "PAGE", tmp_path / "README.md")
    nrc.PAGE.write_text("<!-- nrc:start -->\n<!-- nrc:end -->")
    train, test = fasta(tmp_path / "a.fasta"), fasta(tmp_path / "b.fasta", 12, 1)
    test.write_text(test.read_text() + "".join(train.read_text().splitlines(True)[:4]))
    nrc.main(train)
    nrc.main(train, test)
    kept = nrc.read_json(nrc.RESULTS)
    assert set(kept) == {"random", "family", "given"}
    [given] = kept["given"]
    assert given["train"] == 40 and given["test"] == {"all": 14, "new": 12, "unrelated": 12}
    assert set(given["scores"]) == set(nrc.METHODS)
    assert given["families_on_both_sides"] == 4
    assert all(run["families_on_both_sides"] == 0 for run in kept["family"])
    page = nrc.PAGE.read_text()
    assert nrc.render() in page and "nRC's own halves" in page
    assert "14 % of the test RNAs (2 of 14) are in train" in " ".join(given["findings"])
    assert "letter by letter: 2;" in page and "a split of its own" in page


@pytest.mark.parametrize(
    "header, words", [("a tRNA", "names no Rfam family"), ("RF00001_x", "no answer in its header")]
)
def test_headers_without_family_or_class_are_refused(header, words, tmp_path):
    path = tmp_path / "a.fasta"
    path.write_text(f">{header}\nACGU\n")
    with pytest.raises(InputError, match=words):
        nrc.main(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="give nRC's file with --train"):
        nrc.main(tmp_path / "no.fasta")


def test_pooled_vectors_are_means_over_nucleotides():
    encoder = nrc.Encoder.load(nrc.ENCODER)
    sequences = ["ACGUACGUACGUNNRY", "GGCUAGCUCAAUCGGUAGAGCG"]
    means = [encoder.encode([s])[0].mean(dim=0).numpy() for s in sequences]
    np.testing.assert_allclose(nrc.embeddings(sequences), means, atol=1e-5)


def test_held_out_families_of_the_real_set_are_on_one_side(shared):
    rows = audit.read(shared / nrc.FASTA).rows
    rnas = nrc._rnas(shared / nrc.FASTA, "train").assign(unit=[f"U{i}" for i in range(len(rows))])
    side = split.split(rnas, "family", seed=0, val_share=0.0, test_share=0.2)
    assert rnas.groupby("family").split.size().sum() == 6320
    assert (side.groupby(rnas.family).nunique() == 1).all() and (side == "test").sum() > 500
