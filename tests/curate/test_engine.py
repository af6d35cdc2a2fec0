"""The pool: order, bounded look-ahead, faults; and what a user without a Ray cluster is told."""

import os
import sys
import time

import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate import workers as engine
from rnagpt_lib.curate.workers import mapped


def slow_first(number):
    """Tasks are done out of order: the first wait until a later one has left its mark."""
    path, i = number
    if i == 0:
        while not os.path.exists(path):
            time.sleep(0.01)
    if i == 3:
        open(path, "w").close()
    return i * i


def refuse_seven(i):
    if i == 7:
        raise ValueError("seven")
    return i


def threads(_):
    return os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers, tmp_path):
    first = 1 if workers == 1 else 0
    tasks = [(str(tmp_path / "mark"), i) for i in range(first, 9)]
    assert list(mapped(slow_first, tasks, workers=workers)) == [i * i for i in range(first, 9)]


def test_the_pool_draws_few_tasks_ahead():
    drawn = []
    tasks = (drawn.append(i) or i for i in range(10_000))
    results = mapped(abs, tasks, workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(drawn) <= 3 + 2 * engine.WAITING
    results.close() if hasattr(results, "close") else None


def test_a_fault_in_a_task_is_raised():
    with pytest.raises(ValueError, match="seven"):
        list(mapped(refuse_seven, range(50), workers=2))


def test_workers_have_one_thread():
    assert set(mapped(threads, range(4), workers=2)) == {"1"}


def test_no_tasks_no_results():
    assert list(mapped(abs, [], workers=2)) == []


def test_ray_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="not installed: pip install"):
        list(mapped(abs, [1], "ray"))
