"""Answers to the test questions of an audit that need no language model.

The floors of the ablation, what the question's words alone tell, and what counting short words of
the sequence tells. All come from the training records, and never look at a reference.
"""

import re

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

from rnagpt_lib.core.files import progress
from rnagpt_lib.evaluate import kmer_models
from rnagpt_lib.evaluate import questions as floors

NAMES = {
    "floor.most_common": "most common answer to the same question",
    "floor.random": "random training answer to the same question",
    "floor.length": "answer of the training RNA nearest in length",
    "floor.nearest": "answer of the nearest training RNA (cosine of 5-mers)",
    "blind": "question alone, no RNA: answer to the most similar question",
    "kmers.nearest": "1-nearest neighbour over 1- to 4-mers and length",
    "kmers.logistic": "logistic regression over 1- to 4-mers and length",
}
CLASSES = 100  # answers that a regression chooses from at most: the most common ones
LEAST = 20  # training records with such answers that one needs
BLOCK = 1000  # questions that are compared with all training questions at a time
_CLOSED = re.compile(
    r"(is|are|was|were|does|do|did|has|have|had|can|could|will|would|should)\b", re.IGNORECASE
)


def answers(train: pd.DataFrame, test: pd.DataFrame, seed: int = 0) -> dict[str, list[str]]:
    """Baseline → its answer to every row of ``test``, in the order of `NAMES`.

    Both tables have the columns sequence, question and answer. ``blind`` takes the most common
    answer to the training question whose words are most like (TF-IDF). A regression is fitted for
    each question, over its `CLASSES` most common answers that were given twice or more; where
    fewer than `LEAST` records are left, the most common answer stands in.
    """
    rnas, pairs = _tables(train, test)
    asked = pairs[pairs.side == "test"].rename(columns={"answer": "reference"})
    known = pairs[pairs.side == "train"].reset_index(drop=True)
    found = floors.floor_answers(asked, rnas, pairs, seed)
    found["floor.most_common"] = _most_common(asked, known)
    found["blind"] = _blind(asked, known)
    found |= _by_kmers(asked, known, found["floor.most_common"], seed)
    return {name: list(map(str, found[name])) for name in NAMES}


def _tables(train: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """RNAs (the distinct sequences of a side) and pairs, in the form that floors read; ids are
    numbers of one width, so that their order is that of the records."""
    both = pd.concat([train.assign(side="train"), test.assign(side="test")], ignore_index=True)
    number = pd.factorize(both.side + both.sequence)[0]
    pairs = both.assign(
        pair_id=[f"P{i:09d}" for i in range(len(both))],
        rna_id=[f"R{i:09d}" for i in number],
        kind="",
        form=["closed" if _CLOSED.match(question) else "open" for question in both.question],
    )
    rnas = pairs.drop_duplicates("rna_id")[["rna_id", "sequence", "side"]]
    return rnas.rename(columns={"side": "split"}), pairs


def _most_common(asked: pd.DataFrame, known: pd.DataFrame) -> list[str]:
    """The best constant answer to each question: "none is known" too, where most records say so
    (the ablation's floor of this name takes what names something)."""
    slots, given, common = floors.Slots(known), known.answer.to_numpy(object), {}
    for row in asked.itertuples():
        key = slots.key_of(row)
        if key not in common:
            common[key] = pd.Series(given[slots.rows[key]]).mode().iloc[0]
    return [common[slots.key_of(row)] for row in asked.itertuples()]


def _blind(asked: pd.DataFrame, known: pd.DataFrame) -> list[str]:
    """By the words of the question alone."""
    theirs = known.groupby("question", sort=True).answer.agg(lambda given: given.mode().iloc[0])
    vectorizer = TfidfVectorizer(token_pattern=r"\S+")
    index = vectorizer.fit_transform(theirs.index).T.tocsc()
    questions = asked.question.drop_duplicates()
    new = questions[~questions.isin(theirs.index)].tolist()
    of = theirs.to_dict()
    for first in range(0, len(new), BLOCK):
        part = new[first : first + BLOCK]
        likest = np.asarray((vectorizer.transform(part) @ index).argmax(axis=1)).ravel()
        of |= dict(zip(part, theirs.iloc[likest], strict=True))
    return [of[question] for question in asked.question]


def _by_kmers(
    asked: pd.DataFrame, known: pd.DataFrame, most_common: list[str], seed: int
) -> dict[str, np.ndarray]:
    """Both models of k-mers, for each question among the records that asked the same."""
    slots = floors.Slots(known)
    x, new = (_features(side.sequence) for side in (known, asked))
    keys = pd.Series([slots.key_of(row) for row in asked.itertuples()], dtype=object)
    given = known.answer.to_numpy(object)
    near, likely = (np.array(most_common, dtype=object) for _ in range(2))
    for key, places in progress(keys.groupby(keys).indices.items(), desc="k-mers", unit="q"):
        rows = slots.rows[key]
        near[places] = kmer_models.nearest(x[rows], given[rows], new[places])
        counts = pd.Series(given[rows]).value_counts()
        classes = counts[counts > 1].index[:CLASSES]
        rows = rows[np.isin(given[rows].astype(str), classes.astype(str))]
        if len(rows) >= LEAST:
            likely[places] = kmer_models.logistic(x[rows], given[rows], new[places], seed)
    return {"kmers.nearest": near, "kmers.logistic": likely}


def _features(column: pd.Series) -> np.ndarray:
    """The features of each row, counted once for each distinct sequence."""
    number, distinct = pd.factorize(column)
    return kmer_models.features(list(distinct))[number]
