import pytest

from rnagpt_lib.evaluate import results
from tests.support import fake_results


@pytest.fixture
def found(own_runs) -> results.Results:
    """A finished 06, made from a seed."""
    fake_results.write("fake")
    return results.load("fake")
