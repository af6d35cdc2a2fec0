"""The pool: order, bounded look-ahead, faults; and what a user without a Ray cluster is told."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate import workers
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


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_the_order_of_the_tasks(count, tmp_path):
    first = 1 if count == 1 else 0
    tasks = [(str(tmp_path / "mark"), i) for i in range(first, 9)]
    assert list(mapped(slow_first, tasks, workers=count)) == [i * i for i in range(first, 9)]


def test_the_pool_draws_few_tasks_ahead():
    drawn = []
    tasks = (drawn.append(i) or i for i in range(10_000))
    results = mapped(abs, tasks, workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(drawn) <= 3 + 2 * workers.WAITING


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


# On a real Ray cluster of two nodes on this machine.

SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # as there: the loopback address alone
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9",  # it would tell that it is disabled
    "RAY_AUTH_MODE": "disabled",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    # without it Ray asks the metadata services of three clouds where it is
    (home / "ray_bootstrap_config.yaml").write_text("provider: {type: local}\n")
    path = os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (SETTINGS | {"HOME": str(home), "PYTHONPATH": path}).items():
            patch.setenv(name, value)  # before the import, which reads them
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20}
        made = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
        made.add_node(**node)
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        ray.shutdown()
        made.shutdown()


def dies_once(task: tuple[str, int]) -> tuple[int, int]:
    """The square, and which process found it; the first to get number 70 is killed at it."""
    folder, number = task
    mark = Path(folder) / "died"
    if number == 70 and not mark.exists():
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2, os.getpid()


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(cluster, tmp_path):
    found = list(mapped(dies_once, ((str(tmp_path), n) for n in range(150)), "ray"))
    assert [square for square, _ in found] == [n**2 for n in range(150)]
    killed = int((tmp_path / "died").read_text())
    assert found[70][1] not in (killed, os.getpid())


@pytest.mark.slow
def test_the_topics_are_those_of_the_pool(cluster):
    # here, as every process of a pool imports what stands at the top of this module
    import pandas as pd

    from rnagpt_lib.core.params import Topics
    from rnagpt_lib.curate.topics import topics
    from rnagpt_lib.miniature import world

    data = world.make(40, seed=2)
    params = Topics(passes=2, stability_seeds=2, workers=1)
    pool = topics.rna_topics(data.rnas, data.articles, data.links, params, 0)
    by_ray = params.model_copy(update={"engine": "ray"})
    pd.testing.assert_frame_equal(
        topics.rna_topics(data.rnas, data.articles, data.links, by_ray, 0), pool
    )
