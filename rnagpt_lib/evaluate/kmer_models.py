"""What counting short words tells about an RNA: the baselines that any model has to beat.

A 1-nearest neighbour and a logistic regression (scikit-learn) over the same features: how often
each word of one to four letters stands in the sequence, and its length.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rnagpt_lib.core.sequences import kmer_profile

LONGEST = 4  # letters of a word
PENALTY = 0.1  # scikit-learn's C; on scaled features the default of 1 overfits some thousand RNAs
STEPS = 2000  # of the solver at most
FITTED = 20_000  # rows that a regression is fitted to at most, drawn by the seed


def features(sequences: Sequence[str]) -> np.ndarray:
    """(n, 341) float32: unit-length counts of the words of 1, 2, 3 and 4 plain letters, and the
    logarithm of the length. Words with another IUPAC letter count nothing."""
    lengths = np.log([[len(sequence)] for sequence in sequences]).reshape(-1, 1)
    profiles = (kmer_profile(sequences, k) for k in range(1, LONGEST + 1))
    return np.hstack([*profiles, lengths]).astype(np.float32)


def nearest(x: np.ndarray, y: Sequence, new: np.ndarray) -> np.ndarray:
    """The label of the row of ``x`` that is nearest, each feature scaled by its spread; (n,)."""
    scaler = StandardScaler().fit(x)
    index = NearestNeighbors(n_neighbors=1).fit(scaler.transform(x))
    return np.asarray(y, dtype=object)[index.kneighbors(scaler.transform(new))[1].ravel()]


def logistic(
    x: np.ndarray,
    y: Sequence,
    new: np.ndarray,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """The likeliest label by a logistic regression; (n,). Of more rows than `FITTED` so many are
    drawn; where all labels are one, it is that. ``weights`` (len(x),): of the rows, if not equal.
    """
    y = np.asarray(y, dtype=object)
    if len(x) > FITTED:
        drawn = np.random.default_rng(seed).choice(len(x), FITTED, replace=False)
        x, y = x[drawn], y[drawn]
        weights = None if weights is None else weights[drawn]
    labels, numbers = np.unique(y.astype(str), return_inverse=True)
    if len(labels) == 1:
        return np.repeat(y[:1], len(new))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=STEPS))
    if weights is not None:
        weights = weights / weights.mean()  # as strong together as rows without weights
    model.fit(x, numbers, logisticregression__sample_weight=weights)
    return labels.astype(object)[model.predict(new)]
