"""A table of six RNAs and their pairs, small enough to read."""

import pandas as pd
import pytest

from tests.evaluate.small import RNAS, pairs_of


@pytest.fixture
def tables():
    """rnas, pairs: three training RNAs, two of the test side, a decoy."""
    return pd.DataFrame(RNAS), pairs_of()
