"""What the tests of the model share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tiny_model import llm  # noqa: F401


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter, as they may not enter pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)
