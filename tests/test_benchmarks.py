"""What ``benchmarks/`` says is what its results say."""

import subprocess
import sys

from benchmarks import real_data
from rnagpt_lib import paths, report


def test_the_page_says_what_the_results_say():
    assert report.read_block(real_data.README, "real_data") == real_data.render().strip()


def test_an_unknown_measurement_is_refused():
    command = [sys.executable, "-m", "benchmarks", "nope"]
    done = subprocess.run(command, cwd=paths.root(), capture_output=True, text=True)
    assert done.returncode == 2 and "there is no nope; choose from" in done.stderr
    assert "real_data" in done.stderr and "synthetic" not in done.stderr
