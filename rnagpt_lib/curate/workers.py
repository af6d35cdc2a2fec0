"""Per-RNA functions on many tasks, by a pool of processes with one thread each."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from rnagpt_lib.core.files import progress

WAITING = 16  # tasks for each worker that are under way or done and not yet asked for


def mapped(
    function: Callable[[Any], Any],
    tasks: Iterable,
    workers: int = 0,
    desc: str = "",
    total: int | None = None,
) -> Iterator:
    """``function`` of every task, in the order of the tasks, with a progress bar.

    ``function`` stands at the top of a module, so that other processes can import it; its results
    depend on the task alone. Tasks are drawn as workers get free, so memory holds a few of each.
    ``workers``: processes, 0 for one a core; 1 works in this one.
    """
    workers = workers or os.cpu_count() or 1
    run = map(function, tasks) if workers == 1 else _by_pool(function, tasks, workers)
    return iter(progress(run, desc=desc, total=total, unit="task"))


def _by_pool(function: Callable, tasks: Iterable, workers: int) -> Iterator:
    running = deque()
    with ProcessPoolExecutor(workers, get_context("spawn"), _take_one_thread) as pool:
        try:
            for task in tasks:
                running.append(pool.submit(function, task))
                if len(running) >= WAITING * workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _take_one_thread() -> None:
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
