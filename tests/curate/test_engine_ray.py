"""Slow: per-RNA functions on a real Ray cluster of two nodes on this machine."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from rnagpt_lib.core.params import Topics
from rnagpt_lib.curate.topics import topics
from rnagpt_lib.curate.workers import mapped
from rnagpt_lib.miniature import world

pytestmark = pytest.mark.slow
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


def test_a_killed_worker_loses_nothing(cluster, tmp_path):
    found = list(mapped(dies_once, ((str(tmp_path), n) for n in range(150)), "ray"))
    assert [square for square, _ in found] == [n**2 for n in range(150)]
    killed = int((tmp_path / "died").read_text())
    assert found[70][1] not in (killed, os.getpid())


def test_the_topics_are_those_of_the_pool(cluster):
    data = world.make(40, seed=2)
    params = Topics(passes=2, stability_seeds=2, workers=1)
    pool = topics.rna_topics(data.rnas, data.articles, data.links, params, 0)
    by_ray = params.model_copy(update={"engine": "ray"})
    pd.testing.assert_frame_equal(
        topics.rna_topics(data.rnas, data.articles, data.links, by_ray, 0), pool
    )
