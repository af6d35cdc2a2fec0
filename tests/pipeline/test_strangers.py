"""What strangers give ends in what was read, or in a sentence: a few tries of each kind.

The campaign ``python -m benchmarks reliability.strangers`` makes a hundred of each.
"""

import random

import pytest

from tests.support import strangers


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return strangers.Given(tmp_path_factory.mktemp("given"))


@pytest.mark.parametrize("kind", strangers.KINDS)
def test_it_is_read_or_refused(kind, given, tmp_path, monkeypatch):
    monkeypatch.setenv("RNAGPT_RUNS", str(given.runs))
    ends = {seed: strangers.attempt(kind, seed, tmp_path / str(seed), given) for seed in range(4)}
    assert {seed: why for seed, (end, why) in ends.items() if end == "lost"} == {}


def test_a_fault_would_be_seen(given, tmp_path, monkeypatch):
    def failing(rng, folder, given):
        raise KeyError("x")

    def telling(rng, folder, given):
        print(strangers.KEY)

    kinds = {"failing": failing, "telling": telling}
    monkeypatch.setattr(strangers, "KINDS", kinds)
    ends = [strangers.attempt(kind, 0, tmp_path / kind, given)[0] for kind in kinds]
    assert ends == ["lost", "lost"]


def test_damage_is_done_and_repeats():
    data = b'{"a": [1, 2, {"b": "c"}]}'
    done = [strangers.mutate(data, random.Random(seed)) for seed in range(50)]
    assert done == [strangers.mutate(data, random.Random(seed)) for seed in range(50)]
    assert len(set(done)) > 40 and done.count(data) < 5
    spoilt = [strangers.spoil({"a": [1, {"b": "c"}]}, random.Random(seed)) for seed in range(50)]
    assert spoilt.count({"a": [1, {"b": "c"}]}) < 5
