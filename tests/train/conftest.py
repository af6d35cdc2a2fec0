"""What the tests of trainings share."""

from tests.model.conftest import open_folder  # noqa: F401
from tests.support.tiny_model import llm  # noqa: F401
