"""The pool: order, bounded look-ahead, one thread a worker, faults."""

import os
import time

import pytest

from rnagpt_lib.curate import workers
from rnagpt_lib.curate.workers import mapped


def work(task):
    """Tasks are done out of order: the first waits until a later one has left its mark."""
    path, i = task
    while i == 0 and not os.path.exists(path):
        time.sleep(0.01)
    if i == 3:
        open(path, "w").close()
    if i == 90:
        raise ValueError("ninety")
    return i * i, os.environ["OMP_NUM_THREADS"]


def test_a_pool_keeps_the_order_draws_few_tasks_ahead_and_raises_faults(tmp_path):
    drawn = []
    tasks = (drawn.append(i) or (str(tmp_path / "mark"), i) for i in range(10_000))
    results = mapped(work, tasks, workers=2)
    assert [next(results) for _ in range(9)] == [(i * i, "1") for i in range(9)]
    assert len(drawn) <= 9 + 2 * workers.WAITING
    with pytest.raises(ValueError, match="ninety"):
        list(results)


def test_one_worker_is_this_process():
    results = mapped(lambda i: (i, os.getpid()), range(3), workers=1)
    assert list(results) == [(i, os.getpid()) for i in range(3)]
    assert list(mapped(abs, [], workers=2)) == []
