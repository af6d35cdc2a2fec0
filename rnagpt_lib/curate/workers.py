"""Per-RNA functions on many tasks: a pool of processes here, or a Ray cluster that is running.

Tasks are drawn from an iterator as workers get free, and results come back one by one in the
order of the tasks, so memory holds a few of each, however many there are.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any, Literal

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import progress

Engine = Literal["pool", "ray"]
WAITING = 16  # tasks for each worker that are under way or done and not yet asked for
SLICE = 2048  # tasks of one Ray data set: what is in memory at a time
BATCH = 16  # tasks that one Ray worker gets at a time


def mapped(
    function: Callable[[Any], Any],
    tasks: Iterable,
    engine: Engine = "pool",
    workers: int = 0,
    desc: str = "",
    total: int | None = None,
) -> Iterator:
    """``function`` of every task, in the order of the tasks, with a progress bar.

    ``function`` stands at the top of a module, so that other processes can import it; its
    results must depend on the task alone. ``workers``: processes of the pool, 0 for all cores; a
    Ray cluster has its own. Raises InputError when ``engine`` is "ray" and there is none.
    """
    run = _by_ray(function, tasks) if engine == "ray" else _by_pool(function, tasks, workers)
    return iter(progress(run, desc=desc, total=total, unit="task"))


def _by_pool(function: Callable, tasks: Iterable, workers: int) -> Iterator:
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        yield from map(function, tasks)
        return
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


def _by_ray(function: Callable, tasks: Iterable) -> Iterator:
    """The tasks by slices, each a Ray data set of numbered rows, put in order again at its end."""
    ray = _connect()
    tasks = iter(tasks)
    while part := list(islice(tasks, SLICE)):
        rows = [{"number": number, "task": _Whole(task)} for number, task in enumerate(part)]
        blocks = max(1, len(rows) // BATCH)
        data = ray.data.from_items(rows, override_num_blocks=blocks)
        done = data.map_batches(_batch, fn_kwargs={"function": function}, batch_size=BATCH)
        results = {row["number"]: row["result"].value for row in done.iter_rows()}
        yield from map(results.get, range(len(part)))


@dataclass(frozen=True)
class _Whole:
    """What Ray is to pass on as it is: it would turn pairs of numbers into an array of floats."""

    value: Any


def _batch(batch: dict, function: Callable) -> dict:
    import numpy as np

    results = np.empty(len(batch["task"]), dtype=object)
    results[:] = [_Whole(function(task.value)) for task in batch["task"]]
    return {"number": batch["number"], "result": results}


def _connect():
    """Ray, connected to the cluster at $RAY_ADDRESS or the one running on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data

        if not ray.is_initialized():
            ray.init(address="auto", log_to_driver=False, configure_logging=False)
    except ImportError:
        raise InputError('ENGINE is ray, which is not installed: pip install -e ".[ray]"') from None
    except ConnectionError:
        raise InputError(
            "ENGINE is ray, but no Ray cluster is running: `ray start --head`, or ENGINE pool"
        ) from None
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its plans; the bar is ours
    return ray
