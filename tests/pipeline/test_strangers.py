"""What strangers give ends in what was read, or in a sentence: a few tries of each kind.

The campaign ``python -m benchmarks reliability.strangers`` makes a hundred of each.
"""

import pytest

from tests.support import strangers


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return strangers.Given(tmp_path_factory.mktemp("given"))


# `tests/core/test_foreign_files.py` has hundreds of files
HERE = ["folders of models", "answers of servers", "journals", "texts"]


@pytest.mark.parametrize("kind", HERE)
def test_it_is_read_or_refused(kind, given, tmp_path):
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
