"""ROUGE: rouge_score's values to the last digits, on whatever text."""

import random

import numpy as np
import pytest
from rouge_score import tokenizers
from rouge_score.rouge_scorer import RougeScorer

from rnagpt_lib.evaluate import rouge

WORDS = """the RNA rna binds bound HuR targets naïve β-actin 5S 28S-A1310 cells, running runs miR-21
hsa-miR-876-3p 18S 1,022 3′-UTR İstanbul ſtudies 漢字 🧬 don't e.g. generalization generously x y it.
""".split()


def texts(n: int, seed: int, breaks: str = " ") -> list[str]:
    """Random texts of 0 to 40 words, with one of ``breaks`` between them."""
    rng = random.Random(seed)

    def one() -> str:
        words = rng.choices(WORDS, k=rng.choice((0, 1, 2, 5, 12, 40)))
        return "".join(word + rng.choice(breaks) for word in words)

    return [one() for _ in range(n)]


def expected(predictions, references):
    scorer = RougeScorer(list(rouge.METRICS), use_stemmer=True)
    found = [scorer.score(r, p) for p, r in zip(predictions, references, strict=True)]
    return [[scores[name].fmeasure for name in rouge.METRICS] for scores in found]


@pytest.mark.parametrize("breaks", [" ", "   \n", "\n\r\t -"])
def test_it_is_rouge_scores(breaks):
    predictions, references = texts(2000, 1, breaks), texts(2000, 2, breaks)
    predictions[:4] = ["", "…", "\n", "running cells"]
    references[3:6] = ["runs cell", "", " \n "]
    references[6:60] = predictions[6:60]
    found = rouge.score(predictions, references)
    np.testing.assert_allclose(found, expected(predictions, references), atol=1e-12, rtol=0)
    assert 0.05 < found.rougeL.mean() < 0.95, "both extremes would say little"
    assert (found.rougeL != found.rougeLsum).any() == (breaks != " ")


def test_lsum_splits_at_newlines():
    found = rouge.score(["a cat sat\nthe dog ran"], ["the dog ran\na cat sat"])
    assert found.rougeLsum[0] == 1 and found.rougeL[0] == 0.5


def test_a_long_text_is_counted_whole():
    """Longer than a machine word of bits, in an order that a wrong carry would break."""
    rng = random.Random(0)
    said, wanted = (" ".join(rng.choices("abcdefgh", k=700)) for _ in range(2))
    np.testing.assert_allclose(
        rouge.score([said], [wanted]), expected([said], [wanted]), atol=1e-12, rtol=0
    )


def test_samples_come_in_order_and_none_is_needed():
    found = rouge.score(["a", "b", "a"], ["a", "a", "a"])
    assert found.rouge1.tolist() == [1, 0, 1] and list(found) == list(rouge.METRICS)
    assert rouge.score([], []).shape == (0, 4)
    with pytest.raises(ValueError, match="zip"):
        rouge.score(["a"], [])


def test_a_word_is_stemmed_once_and_a_text_read_once(monkeypatch):
    stemmer, seen = tokenizers.porter.PorterStemmer, []
    real = stemmer.stem
    monkeypatch.setattr(stemmer, "stem", lambda self, word: seen.append(word) or real(self, word))
    rouge.score(["running cells", "cells running", "running cells"], ["running cells"] * 3)
    assert sorted(seen) == ["cells", "running"]
