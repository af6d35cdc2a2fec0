"""The nearest of many RNAs, by alignment.

`units.nearest_identity` fits the shorter RNA into the longer one, so by identity alone the longest
RNAs are near to everything short. RNAs are ranked by identity × (shorter / longer)^`POWER`, which
was chosen on RNAs of the val side, of the reference run and of RNAcentral (`benchmarks/README.md`,
neighbours).
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import edlib
import numpy as np
from scipy import sparse

from rnagpt_lib.core.sequences import LETTERS, dinucleotide_shuffle, kmer_profile

POWER = 0.25  # of the lengths' ratio beside the identity
DRAWS = 19  # shuffles: an RNA without relatives passes for near once in 20
ALIGNED, LEAST = 1000, 10  # RNAs aligned with a query: those that share most words
CELLS = 2e8  # letters by letters of these alignments at most, beyond the least number of RNAs
BLOCK = 4096  # RNAs whose words are counted at a time
K = 5  # letters of a word
WORDS = 4**K


class Hit(NamedTuple):
    """An RNA of the index by its row; identity and score 0 to 1."""

    row: int
    identity: float
    score: float


class Found(NamedTuple):
    """``hits``, the best first; ``chance``, the highest score of the query's letters in any other
    order."""

    hits: list[Hit]
    chance: float


class Nearest:
    """Finds the nearest of distinct ``sequences``."""

    def __init__(self, sequences: Sequence[str]):
        self.sequences = sequences
        starts = range(0, len(sequences), BLOCK)
        self._words = sparse.vstack([_profile(sequences[i : i + BLOCK]) for i in starts], "csr")
        self._lengths = np.array([len(sequence) for sequence in sequences])

    def find(self, sequence: str, k: int) -> Found:
        """The k of the highest score; equals in the order of the index.

        Up to `ALIGNED` RNAs all are aligned; of more those that share most words of five letters
        with the query. ``chance`` is the highest score of `DRAWS`
        shuffles of the query with its dinucleotides kept, each compared with the RNAs that share
        most words with it: as long and as simple as the query, and no relative.
        """
        strangers = shuffles(sequence)
        shared = self._words @ kmer_profile([sequence, *strangers], K).T  # (n, 1 + DRAWS)
        rows = np.sort(self._worth(len(sequence), shared[:, 0]))
        identity = np.array([identity_of(sequence, self.sequences[row]) for row in rows])
        score = np.round(identity * self._ratio(len(sequence), rows), 6)
        best = np.argsort(-score, kind="stable")[:k]
        hits = [Hit(*(each[i].item() for each in (rows, identity, score))) for i in best]
        chance = max(
            self._highest(stranger, self._worth(len(sequence), shared[:, 1 + draw]))
            for draw, stranger in enumerate(strangers)
        )
        return Found(hits, round(chance, 6))

    def _ratio(self, length: int, rows: np.ndarray) -> np.ndarray:
        longer, shorter = (
            np.maximum(self._lengths[rows], length),
            np.minimum(self._lengths[rows], length),
        )
        return (shorter / longer) ** POWER

    def _highest(self, sequence: str, rows: np.ndarray) -> float:
        """The highest score with any of the rows."""
        best = 0.0
        for row, ratio in zip(
            rows.tolist(), self._ratio(len(sequence), rows).tolist(), strict=True
        ):
            least = best / ratio  # an identity below it would bring nothing
            if least < 1:
                best = max(best, ratio * identity_of(sequence, self.sequences[row], least))
        return best

    def _worth(self, length: int, shared: np.ndarray) -> np.ndarray:
        """Rows that are worth an alignment with a sequence of ``length``, the best first."""
        rows = _top(shared, ALIGNED)
        within = np.searchsorted(np.cumsum(self._lengths[rows] * float(length)), CELLS, "right")
        return rows[: max(LEAST, within)]


def identity_of(one: str, other: str, least: float = 0.0) -> float:
    """As `units.nearest_identity` measures it, of two RNAs; 0 where it is below ``least``.

    >>> identity_of("ACGUACGU", "GGACGUACCUGG")
    0.875
    """
    short, long = sorted((one, other), key=len)
    most = int((1 - least) * len(short))
    edits = edlib.align(short, long, mode="HW", k=most)["editDistance"]
    return 1 - edits / len(short) if edits >= 0 else 0.0


def shuffles(sequence: str) -> list[str]:
    """`DRAWS` random sequences with the same dinucleotides, the same for the same sequence."""
    rng = random.Random(sequence)
    return [dinucleotide_shuffle(sequence, rng) for _ in range(DRAWS)]


def _profile(sequences: Sequence[str]) -> sparse.csr_array:
    """`kmer_profile` of many sequences at a time, without its zeros, (n, `WORDS`)."""
    text = np.frombuffer("\n".join(sequences).encode(), np.uint8)
    code = np.full(256, -WORDS)
    code[np.frombuffer(LETTERS.encode(), np.uint8)] = np.arange(4)
    digits = code[text]
    words = sum(digits[i : len(text) - K + 1 + i] * 4 ** (K - 1 - i) for i in range(K))
    row = np.cumsum(text == ord("\n"))[: len(words)]
    found, counts = np.unique((row * WORDS + words)[words >= 0], return_counts=True)
    shape = (len(sequences), WORDS)
    table = sparse.csr_array((counts.astype(np.float32), divmod(found, WORDS)), shape)
    norms = np.sqrt(np.add.reduceat(np.append(table.data**2, 0), table.indptr[:-1]))
    table.data /= np.repeat(norms, np.diff(table.indptr))
    return table


def _top(values: np.ndarray, number: int) -> np.ndarray:
    """Places of the highest values, the highest first; the first of equals first."""
    values = np.round(values, 5)  # the same on any machine
    if number < len(values):
        least = np.partition(values, -number)[-number]
        places = np.flatnonzero(values >= least)
    else:
        places = np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")][:number]
