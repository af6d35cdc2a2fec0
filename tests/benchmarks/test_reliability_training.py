"""The campaign of killed trainings, on a small scale."""

import subprocess
import sys

import pytest

from rnagpt_lib.core import paths

CAMPAIGN = """
import sys
from pathlib import Path
from benchmarks.reliability import training as campaign
world = campaign.World.made(Path(sys.argv[1]))
strikes = [(campaign.at_random, None), (campaign.in_a_save, campaign.flipped)]
rows = [campaign.killed(world, "killed", 2, *strike) for strike in strikes]
world.ends["stage 1"]["log"][70]["loss"] += 1e-9
print([row["survived"] for row in rows], campaign.killed(world, "another", 1, *strikes[0])["lost"])
"""


@pytest.mark.slow
def test_killed_trainings_end_as_the_whole_one_and_another_loss_is_seen(tmp_path):
    """One whose loss differs in the ninth digit is lost."""
    command = [sys.executable, "-c", CAMPAIGN, str(tmp_path)]
    done = subprocess.run(command, cwd=paths.root(), capture_output=True, text=True, check=True)
    assert done.stdout == "[2, 2] 1\n"
