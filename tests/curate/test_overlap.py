"""Close sets by prefix filtering: exactly what comparing all sets gives, and no more pairs."""

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from rnagpt_lib.curate.splits import similar_sets
from rnagpt_lib.curate.splits.similar_sets import close_sets


def parts(n, pairs):
    one, other = np.array(sorted(pairs), dtype=int).reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(len(one)), (one, other)), shape=(n, n))
    return connected_components(graph, directed=False)[1].tolist()


@pytest.mark.parametrize("jaccard", [0.3, 0.5, 0.8])
def test_close_sets_are_those_of_all_pairs(jaccard, monkeypatch):
    monkeypatch.setattr(similar_sets, "PAIRS", 17)
    monkeypatch.setattr(similar_sets, "ITEMS", 50)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, size = int(rng.integers(1, 30)), int(rng.integers(1, 200))
        sets, items = rng.integers(0, n, size), np.minimum(rng.zipf(1.5, size), 25)
        held = [set(items[sets == number].tolist()) for number in range(n)]
        true = {
            (a, b)
            for b in range(n)
            for a in range(b)
            if held[a] and held[b] and len(held[a] & held[b]) >= jaccard * len(held[a] | held[b])
        }
        found = {
            tuple(sorted(pair)) for pair in zip(*close_sets(sets, items, jaccard), strict=True)
        }
        assert found <= true
        assert parts(n, found) == parts(n, true)


def test_an_item_in_all_sets_makes_few_pairs(monkeypatch):
    """20,000 sets {0, own}: only the set {0} is close to each; no two of them are compared."""
    n, compared = 20_000, []
    real = similar_sets._meeting
    monkeypatch.setattr(
        similar_sets, "_meeting", lambda *given: [(compared.append(len(a)), (a, b))[1] for a, b in real(*given)]
    )  # fmt: skip
    sets = np.concatenate([np.arange(n), np.arange(n), [n]])
    items = np.concatenate([np.zeros(n, int), np.arange(1, n + 1), [0]])
    one, other = close_sets(sets, items, 0.5)
    assert len(one) == n and set(np.concatenate([one, other])) == set(range(n + 1))
    assert sum(compared) == n


def test_no_sets():
    assert [len(side) for side in close_sets(np.array([], int), np.array([], int), 0.5)] == [0, 0]
