"""What ``benchmarks/`` says is what its results say."""

import subprocess
import sys

import pytest

from benchmarks.reliability import _rows as _reliability_chat
from benchmarks.reliability import curation as reliability_curation
from benchmarks.reliability import strangers as reliability_strangers
from benchmarks.reliability import training as reliability_training
from benchmarks.scale import scale, scale_training, updates
from benchmarks.science import (
    _nrc_asking_page,
    dictionary,
    leakage,
    local_facts,
    neighbours,
    nrc,
    nrc_asking,
    real_data,
    sources,
    trajectories,
)
from benchmarks.speed import _peers, chat, gpu
from rnagpt_lib.core import paths
from rnagpt_lib.core.files import read_json
from rnagpt_lib.report import readme

MEASURED = [real_data, reliability_curation, reliability_training, _peers, updates, scale]
MEASURED += [_reliability_chat, scale_training, trajectories, gpu, nrc, nrc_asking, dictionary]
MEASURED += [chat, leakage, local_facts, neighbours, sources, reliability_strangers]

BLOCKS = {
    _peers: "peers",
    _reliability_chat: "reliability_chat",
    reliability_curation: "reliability_curation",
    reliability_strangers: "reliability_strangers",
    reliability_training: "reliability_training",
}


@pytest.mark.parametrize("measured", MEASURED)
def test_the_page_says_what_the_results_say(measured):
    name = BLOCKS.get(measured, measured.__name__.rpartition(".")[2])
    assert readme.read_block(measured.PAGE, name) == measured.render().strip()


def test_the_page_opens_with_what_nrc_gave():
    told = _nrc_asking_page.summary(read_json(nrc_asking.RESULTS), read_json(nrc.RESULTS))
    assert readme.read_block(nrc_asking.PAGE, "nrc_summary") == told


def test_an_unknown_measurement_is_refused():
    command = [sys.executable, "-m", "benchmarks", "nope"]
    done = subprocess.run(command, cwd=paths.root(), capture_output=True, text=True)
    assert done.returncode == 2 and "there is no nope; choose from" in done.stderr
    assert "real_data" in done.stderr and "synthetic" not in done.stderr


def test_a_campaign_leaves_the_rows_of_others_alone():
    before = [{"name": "a", "tried": 1}, {"name": "b", "tried": 1}]
    after = _reliability_chat.merged(before, [{"name": "b", "tried": 2}, {"name": "c", "tried": 3}])
    assert [(row["name"], row["tried"]) for row in after] == [("a", 1), ("b", 2), ("c", 3)]
