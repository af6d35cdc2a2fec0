"""What ``benchmarks/`` says is what its results say."""

import subprocess
import sys

import pytest

from benchmarks import (
    _peers,
    dictionary,
    gpu,
    neighbours,
    nrc,
    nrc_asking,
    real_data,
    reliability_curation,
    reliability_training,
    scale,
    scale_training,
    trajectories,
    updates,
)
from rnagpt_lib import blocks, paths

MEASURED = [real_data, reliability_curation, reliability_training, _peers, updates, scale]
MEASURED += [scale_training, trajectories, gpu, nrc, nrc_asking, dictionary, neighbours]


@pytest.mark.parametrize("measured", MEASURED)
def test_the_page_says_what_the_results_say(measured):
    name = measured.__name__.rpartition(".")[2].strip("_")
    assert blocks.read_block(measured.README, name) == measured.render().strip()


def test_an_unknown_measurement_is_refused():
    command = [sys.executable, "-m", "benchmarks", "nope"]
    done = subprocess.run(command, cwd=paths.root(), capture_output=True, text=True)
    assert done.returncode == 2 and "there is no nope; choose from" in done.stderr
    assert "real_data" in done.stderr and "synthetic" not in done.stderr
