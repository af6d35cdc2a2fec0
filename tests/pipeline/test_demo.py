"""The README's first command as its user runs it, in a temporary ``runs/``, and its bars."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from rnagpt_lib.core import paths
from rnagpt_lib.runs import stages

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> dict:
    """Environment and output of one ``rnagpt demo``."""
    environment = os.environ | {"RNAGPT_RUNS": str(tmp_path_factory.mktemp("demo") / "runs")}
    return {"environment": environment, "printed": _demo(environment)}


def _demo(environment: dict) -> str:
    command = [sys.executable, "-m", "rnagpt_lib", "demo"]
    done = subprocess.run(command, cwd=paths.root(), env=environment, capture_output=True)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture
def scores(demo) -> pd.DataFrame:
    """Scores over all kinds, forms and strata, by model and metric."""
    folder = demo["environment"]["RNAGPT_RUNS"] + "/mini/06_ablations"
    table = pd.read_parquet(folder + "/scores.parquet")
    whole = table[(table[["kind", "form", "stratum"]] == "all").all(axis=1)]
    return whole.set_index(["model", "metric"])


def test_every_stage_runs_once(demo):
    for stage in stages.STAGES:
        assert stage in demo["printed"]
    again = _demo(demo["environment"])
    assert again.count("is up to date") == len(stages.STAGES)


def test_the_type_is_known(scores):
    assert scores.loc[("IT", "fact.rna_type"), "value"] >= 0.90


@pytest.mark.parametrize("floor", ["floor.most_common", "floor.random"])
def test_facts_are_known_beyond_the_floors(scores, floor):
    it, low = scores.loc[("IT", "fact.all")], scores.loc[(floor, "fact.all")]
    assert it["value"] >= 0.40
    assert it["value"] >= low["value"] + 0.15
    assert it["low"] > low["high"]


@pytest.mark.parametrize("model", ["vanilla", "MA"])
def test_tuning_brings_the_wording(scores, model):
    assert scores.loc[("IT", "rougeL"), "value"] > scores.loc[(model, "rougeL"), "value"]


def test_another_rna_loses_half_of_the_way(scores):
    it, swapped, floor = (
        scores.loc[(model, "fact.all"), "value"]
        for model in ("IT", "control.swapped", "floor.most_common")
    )
    assert it - swapped >= (it - floor) / 2
