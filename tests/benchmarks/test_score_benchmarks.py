"""The two sides of the rows on scores, small."""

import numpy as np

from benchmarks.speed import bertscore, rouge
from rnagpt_lib.evaluate import rouge as ours


def test_row_9_compares_the_same_scores_of_distinct_pairs():
    for pairs in (rouge.answers(), rouge.annotations()):
        assert len(pairs) == len(set(pairs)) > 1500
        sides = list(map(list, zip(*pairs[:40], strict=True)))
        np.testing.assert_allclose(ours.score(*sides), rouge.peer(*sides), atol=1e-12, rtol=0)


def test_row_10_embeds_distinct_texts_alone():
    said, wanted = bertscore.texts(32)
    flat = sum(said, []) + wanted
    assert len(said) == bertscore.MODELS and {len(side) for side in (*said, wanted)} == {32}
    assert len(flat) == len(set(flat)) and bertscore.CEILING == 1.5
