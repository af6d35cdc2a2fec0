"""Where a measurement runs: its own runs and journal, so that it neither reads nor pays for the
user's; and the machine, in words."""

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import torch

from rnagpt_lib.llm_api import openai_transport


@contextmanager
def own_runs() -> Iterator[Path]:
    """An empty folder of runs, and a key that the stand-in takes."""
    with tempfile.TemporaryDirectory() as folder:
        with patch.dict(
            os.environ, {"RNAGPT_RUNS": folder, openai_transport.KEY: "sk-measurement"}
        ):
            yield Path(folder)


def where() -> str:
    """The machine, how many of its cores this process uses, and the day."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.machine()}, {min(cores, torch.get_num_threads())} of {os.cpu_count()} cores, "
        f"torch {torch.__version__.partition('+')[0]}, {datetime.now(UTC).date().isoformat()}"
    )
