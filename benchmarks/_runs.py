"""Where a measurement runs: its own runs and journal, so that it neither reads nor pays for the
user's."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from rnagpt_lib.llm_api import openai_transport


@contextmanager
def own_runs() -> Iterator[Path]:
    """An empty folder of runs, and a key that the stand-in takes."""
    with tempfile.TemporaryDirectory() as folder:
        with patch.dict(
            os.environ, {"RNAGPT_RUNS": folder, openai_transport.KEY: "sk-measurement"}
        ):
            yield Path(folder)
