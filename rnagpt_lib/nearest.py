"""The nearest of many RNAs, by alignment and by what the encoder makes of them.

The two see different things: an alignment tells members of a family, down to where chance aligns
as well, and the encoder's vectors tell the type of RNAs that no alignment reaches, but hardly the
family (`benchmarks/README.md`, neighbours). So RNAs are ranked by identity + `WEIGHT` × cosine,
which was chosen on RNAs of the val side.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from rnagpt_lib import units
from rnagpt_lib.sequences import dinucleotide_shuffle, kmer_profile
from rnagpt_lib.vector_index import VectorIndex

WEIGHT = 0.2  # of the cosine beside the identity
DRAWS = 19  # shuffles: an RNA without relatives passes for near once in 20
ALIGNED, LEAST = 1000, 10  # RNAs aligned with a query: those that share most words
CELLS = 2e8  # letters by letters of these alignments at most, beyond the least number of RNAs
VECTORS = 50  # RNAs aligned besides, since their vectors are the nearest
BLOCK = 4096  # RNAs whose words are counted at a time


class Hit(NamedTuple):
    """An RNA of the index by its row; identity 0 to 1, cosine -1 to 1."""

    row: int
    identity: float
    cosine: float


class Found(NamedTuple):
    """``hits``, the best first; ``highest``, the highest identity among all that were aligned;
    ``chance``, the highest that the query's letters reach in any other order."""

    hits: list[Hit]
    highest: float
    chance: float


class Nearest:
    """Finds the nearest of distinct ``sequences``, which are those of ``vectors`` in their order."""

    def __init__(self, sequences: Sequence[str], vectors: VectorIndex):
        self.sequences, self.vectors = sequences, vectors
        starts = range(0, len(sequences), BLOCK)
        profiles = (kmer_profile(sequences[start : start + BLOCK]) for start in starts)
        self._words = sparse.vstack([sparse.csr_array(each) for each in profiles], "csr")
        self._lengths = np.array([len(sequence) for sequence in sequences])

    def find(self, sequence: str, k: int) -> Found:
        """The k best of identity + `WEIGHT` × cosine; equals in the order of the index.

        Identity is that of `units.nearest_identity`. Up to `ALIGNED` RNAs all are aligned; of more
        those that share most words of five letters with the query, with the nearest by cosine.
        ``chance`` is the highest identity of `DRAWS` shuffles of the query with its dinucleotides
        kept, each compared in the same way: as long and as simple as the query, and no relative.
        """
        strangers = shuffles(sequence)
        shared = self._words @ kmer_profile([sequence, *strangers]).T  # (n, 1 + DRAWS)
        cosine = self.vectors.cosines(sequence)
        rows = np.union1d(self._worth(len(sequence), shared[:, 0]), _top(cosine, VECTORS))
        identity = np.array([self._highest(sequence, [row]) for row in rows])
        order = np.argsort(-np.round(identity + WEIGHT * cosine[rows], 6), kind="stable")[:k]
        hits = [Hit(int(rows[i]), float(identity[i]), float(cosine[rows[i]])) for i in order]
        chance = max(
            self._highest(stranger, self._worth(len(sequence), shared[:, 1 + draw]))
            for draw, stranger in enumerate(strangers)
        )
        return Found(hits, float(identity.max()), chance)

    def _worth(self, length: int, shared: np.ndarray) -> np.ndarray:
        """Rows that are worth an alignment with a sequence of ``length``, the best first."""
        rows = _top(shared, ALIGNED)
        within = np.searchsorted(np.cumsum(self._lengths[rows] * float(length)), CELLS, "right")
        return rows[: max(LEAST, within)]

    def _highest(self, sequence: str, rows: Sequence[int]) -> float:
        return float(units.nearest_identity([sequence], [self.sequences[i] for i in rows])[0])


def shuffles(sequence: str) -> list[str]:
    """`DRAWS` random sequences with the same dinucleotides, the same for the same sequence."""
    rng = random.Random(sequence)
    return [dinucleotide_shuffle(sequence, rng) for _ in range(DRAWS)]


def _top(values: np.ndarray, number: int) -> np.ndarray:
    """Places of the highest values, the highest first; the first of equals first."""
    values = np.round(values, 5)  # the same on any machine
    if number < len(values):
        least = np.partition(values, -number)[-number]
        places = np.flatnonzero(values >= least)
    else:
        places = np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")][:number]
