"""Answers that need no language model, from training pairs alone: what a score is worth without
one. They look at the question, at another RNA's sequence, at a length or at the words that an RNA holds.
`floor_answers` are those of notebook 06; `audit_answers` serve data sets of any form. Words are
strong: which words of seven letters an RNA holds tells classes of RNA as well as many a network."""

import random
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.svm import LinearSVC

from rnagpt_lib.core.files import progress
from rnagpt_lib.core.sequences import kmer_numbers, kmer_profile
from rnagpt_lib.curate.questions import question_templates
from rnagpt_lib.evaluate.results import FLOORS

AUDITED = {  # the answers of `audit_answers`, and what they look at
    "floor.most_common": "most common answer to the same question",
    "floor.random": "random training answer to the same question",
    "floor.length": "answer of the training RNA nearest in length",
    "floor.nearest": "answer of the nearest training RNA (cosine of 5-mers)",
    "blind": "question alone, no RNA: answer to the most similar question",
    "kmers.nearest": "answer of the training RNA that shares most k-mers",
    "kmers.logistic": "logistic regression on which k-mers occur",
    "kmers.svm": "linear SVM on which 3- to 8-mers occur",
}
BLOCK = 256  # RNAs, or questions, that are compared with all training ones at a time
LENGTHS = (5, 6, 7, 8)  # k of the k-mers: the one that is best within train
ALL_LENGTHS = (3, 4, 5, 6, 7, 8)
INNER = 5  # a fifth of train chooses
PENALTY = 0.1  # scikit-learn's C for vectors; scaled, the default of 1 overfits some thousand RNAs
STEPS = 2000  # of the solver at most
FITTED = 20_000  # rows that a model is fitted to at most, drawn by the seed
CLASSES = 100  # answers that a model chooses from at most: the most common ones
LEAST = 20  # training records with such answers that a model needs
_CLOSED = re.compile(
    r"(is|are|was|were|does|do|did|has|have|had|can|could|will|would|should)\b", re.IGNORECASE
)


def floor_answers(
    asked: pd.DataFrame, rnas: pd.DataFrame, pairs: pd.DataFrame, seed: int = 0
) -> dict[str, list[str]]:
    """Floor → its answer to every row of ``asked`` (`questions.questions`), one of training pairs
    that asked the same (`Slots`): the ``most_common`` that names one entity (for closed ones of
    all), the best that a constant can do; a ``random`` one; that of the training RNA ``nearest`` by
    5-mer cosine, and of the one nearest in ``length``."""
    train = pairs.merge(rnas[rnas.split == "train"][["rna_id"]], on="rna_id")
    train = train.sort_values(["rna_id", "pair_id"], ignore_index=True)
    slots, given = Slots(train), train.answer.to_numpy(object)
    rng = random.Random(seed)
    answers: dict[str, list[str]] = {name: [] for name in FLOORS}
    for row in asked.itertuples():
        key = slots.key_of(row)
        answers["floor.most_common"].append(slots.most_common(row, key))
        answers["floor.random"].append(given[rng.choice(slots.rows[key])])
    for name, rows in _closest(asked, rnas, train, slots).items():
        answers[name] = given[rows].tolist()
    return answers


class Slots:
    """Which training pairs asked the same as a question: the same relation, for closed questions
    the same words, or where nobody did, the same kind and form. ``rows``: their places in ``train``
    by `key_of` a question; both have the columns question, kind and form."""

    def __init__(self, train: pd.DataFrame):
        places: dict[tuple, list[int]] = {}
        for place, row in enumerate(train.itertuples()):
            for key in self._keys(row):
                places.setdefault(key, []).append(place)
        self.rows = {key: np.array(own) for key, own in places.items()}
        self._given, self._common = train.answer.to_numpy(object), {}

    def key_of(self, row) -> tuple:
        """The narrowest of the row's slots that training fills."""
        return next(key for key in self._keys(row) if key in self.rows)

    def most_common(self, row, key: tuple) -> str:
        """The best constant answer to the question, counted once for all that it serves."""
        naming = row.form != "closed" and question_templates.relation_of(row.question) is not None
        asked = (key, row.form, row.question if naming else None)
        if asked not in self._common:
            texts, counts = np.unique(self._given[self.rows[key]].astype(str), return_counts=True)
            ordered = [str(text) for text in texts[np.argsort(-counts, kind="stable")]]
            nothing = (None, question_templates.UNKNOWN)
            answers = ordered if row.form == "closed" else (
                t for t in ordered if question_templates.entity(row.question, t) not in nothing
            )  # fmt: skip
            self._common[asked] = next(iter(answers), ordered[0])
        return self._common[asked]

    @staticmethod
    def _keys(row) -> list[tuple]:
        relation = None if row.form == "closed" else question_templates.relation_of(row.question)
        same = ("asked", relation or row.question)
        return [same, ("kind", row.kind, row.form), ("form", row.form), ("any",)]


def _closest(
    asked: pd.DataFrame, rnas: pd.DataFrame, train: pd.DataFrame, slots: Slots
) -> dict[str, np.ndarray]:
    """Floor → for every question the training pair that asked the same about the closest RNA, by
    5-mers and by length; a block of RNAs at a time, since all with all would be gigabytes."""
    by_id = rnas.set_index("rna_id").sequence
    ids, owner = np.unique(train.rna_id, return_inverse=True)
    theirs = kmer_profile(by_id[ids]).T
    lengths = by_id[ids].str.len().to_numpy()
    places = {name: np.zeros(len(asked), dtype=int) for name in ("floor.nearest", "floor.length")}
    ours, rna = np.unique(asked.rna_id, return_inverse=True)
    order = np.argsort(rna, kind="stable")
    for first in range(0, len(ours), BLOCK):
        sequences = by_id[ours[first : first + BLOCK]]
        cosine = np.round(kmer_profile(sequences) @ theirs, 5)
        closer = -np.abs(lengths - sequences.str.len().to_numpy()[:, None])
        part = order[slice(*np.searchsorted(rna[order], [first, first + BLOCK]))]
        for place, row in zip(part, asked.iloc[part].itertuples(), strict=True):
            rows = slots.rows[slots.key_of(row)]
            for name, affinity in (("floor.nearest", cosine), ("floor.length", closer)):
                places[name][place] = rows[affinity[rna[place] - first][owner[rows]].argmax()]
    return places


def kmer_presence(sequences: Sequence[str], lengths: Sequence[int]) -> sparse.csr_array:
    """Which words of these ``lengths`` each sequence holds: (n, sum of 4^k) of 0 and 1, float32.
    Words with another letter than A, C, G, U count nothing."""
    starts = np.cumsum([0, *(4**k for k in lengths)])
    rows = [
        np.concatenate(
            [np.unique(kmer_numbers(s, k)) + at for k, at in zip(lengths, starts[:-1], strict=True)]
        )
        for s in sequences
    ]
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int32)  # int32: what scikit-learn takes
    words = np.concatenate(rows).astype(np.int32)
    ones = np.ones(len(words), dtype=np.float32)
    return sparse.csr_array((ones, words, ends), shape=(len(rows), starts[-1]))


def choose_length(sequences: Sequence[str], labels: Sequence, seed: int = 0) -> int:
    """The k of `LENGTHS` whose k-mers find the neighbour with the same label most often, for a
    fifth of these RNAs among the others; the shortest of equals."""
    y = np.asarray(labels, dtype=object)
    inner = np.random.default_rng(seed).permutation(len(y)) % INNER == 0
    if inner.all() or not inner.any():
        return LENGTHS[0]
    shares = []
    for k in LENGTHS:
        words = kmer_presence(sequences, (k,))
        given = nearest_label(words[~inner], y[~inner], words[inner])
        shares.append(float(np.mean(given == y[inner])))
    return LENGTHS[int(np.argmax(np.round(shares, 6)))]


def nearest_label(x: sparse.csr_array, y: Sequence, new: sparse.csr_array) -> np.ndarray:
    """The label of the row of ``x`` with the highest cosine, the first of equals; (n,)."""
    theirs, ours = normalize(x).T.tocsc(), normalize(new)
    best = [
        np.round((ours[i : i + BLOCK] @ theirs).toarray(), 5).argmax(axis=1)
        for i in range(0, ours.shape[0], BLOCK)
    ]
    return np.asarray(y, dtype=object)[np.concatenate(best)]


def logistic_label(
    x: np.ndarray | sparse.csr_array, y: Sequence, new: np.ndarray | sparse.csr_array, seed: int = 0
) -> np.ndarray:
    """The likeliest label by a logistic regression on vectors, or on which words occur; (n,)."""
    if sparse.issparse(x):
        return _fitted(LogisticRegression(max_iter=STEPS), x, y, new, seed)
    scaled = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=STEPS))
    return _fitted(scaled, x, y, new, seed)


def svm_label(x: sparse.csr_array, y: Sequence, new: sparse.csr_array, seed: int = 0) -> np.ndarray:
    """The label by a linear support vector machine on which words occur, rows of length 1; (n,)."""
    return _fitted(LinearSVC(random_state=seed), normalize(x), y, normalize(new), seed)


def _fitted(model, x, y: Sequence, new, seed: int) -> np.ndarray:
    """What ``model`` says of ``new``, fitted to `FITTED` rows at most, which the seed draws; where
    all labels are one, it is that."""
    y = np.asarray(y, dtype=object)
    if x.shape[0] > FITTED:
        drawn = np.sort(np.random.default_rng(seed).choice(x.shape[0], FITTED, replace=False))
        x, y = x[drawn], y[drawn]
    labels, numbers = np.unique(y.astype(str), return_inverse=True)
    if len(labels) == 1:
        return np.repeat(y[:1], new.shape[0])
    return labels.astype(object)[model.fit(x, numbers).predict(new)]


def audit_answers(train: pd.DataFrame, test: pd.DataFrame, seed: int = 0) -> dict[str, list[str]]:
    """Baseline → its answer to every row of ``test``, in the order of `AUDITED`; both tables have
    the columns sequence, question and answer. ``blind`` takes the most common answer to the
    training question whose words are most like (TF-IDF); models of k-mers are fitted for each
    question."""
    both = pd.concat([train.assign(split="train"), test.assign(split="test")], ignore_index=True)
    number = pd.factorize(both.split + both.sequence)[0]
    pairs = both.assign(  # ids of one width, so that their order is that of the records
        pair_id=[f"P{i:09d}" for i in range(len(both))],
        rna_id=[f"R{i:09d}" for i in number],
        kind="",
        form=["closed" if _CLOSED.match(question) else "open" for question in both.question],
    )
    rnas = pairs.drop_duplicates("rna_id")[["rna_id", "sequence", "split"]]
    asked = pairs[pairs.split == "test"].rename(columns={"answer": "reference"})
    known = pairs[pairs.split == "train"].reset_index(drop=True)
    answers = floor_answers(asked, rnas, pairs, seed)
    answers |= _by_question(asked, known, seed) | {"blind": _by_words(asked, known)}
    return {name: list(map(str, answers[name])) for name in AUDITED}


def _by_question(asked: pd.DataFrame, known: pd.DataFrame, seed: int) -> dict[str, np.ndarray]:
    """What is fitted to the records that asked the same: their most common answer ("none is known"
    too, which is no answer of the floor of this name in 06), and the three models of k-mers, the
    last two over the `CLASSES` commonest answers that were given twice or more. The question that
    test asks most chooses k, by its training records."""
    slots, given = Slots(known), known.answer.to_numpy(object)
    keys = pd.Series([slots.key_of(row) for row in asked.itertuples()], dtype=object)
    groups = keys.groupby(keys).indices
    largest = slots.rows[max(groups, key=lambda key: len(groups[key]))]
    chosen = known.iloc[largest[:FITTED]]
    k = choose_length(chosen.sequence.tolist(), chosen.answer, seed)
    words = {
        lengths: [_of_all(side.sequence, lengths) for side in (known, asked)]
        for lengths in ((k,), ALL_LENGTHS)
    }
    common, near, likely, margin = (np.empty(len(asked), dtype=object) for _ in range(4))
    for key, places in progress(groups.items(), desc="k-mers", unit="q"):
        rows = slots.rows[key]
        common[places] = likely[places] = margin[places] = pd.Series(given[rows]).mode().iloc[0]
        (x, new), (all_x, all_new) = words[k,], words[ALL_LENGTHS]
        near[places] = nearest_label(x[rows], given[rows], new[places])
        counts = pd.Series(given[rows]).value_counts()
        classes = counts[counts > 1].index[:CLASSES]
        rows = rows[np.isin(given[rows].astype(str), classes.astype(str))]
        if len(rows) >= LEAST:
            likely[places] = logistic_label(x[rows], given[rows], new[places], seed)
            margin[places] = svm_label(all_x[rows], given[rows], all_new[places], seed)
    names = ("floor.most_common", "kmers.nearest", "kmers.logistic", "kmers.svm")
    return dict(zip(names, (common, near, likely, margin), strict=True))


def _of_all(sequences: pd.Series, lengths: Sequence[int]) -> sparse.csr_array:
    """`kmer_presence` of each record; an RNA that is asked about often is counted once."""
    number, distinct = pd.factorize(sequences)
    return kmer_presence(list(distinct), lengths)[number]


def _by_words(asked: pd.DataFrame, known: pd.DataFrame) -> list[str]:
    """By the words of the question alone."""
    theirs = known.groupby("question", sort=True).answer.agg(lambda given: given.mode().iloc[0])
    vectorizer = TfidfVectorizer(token_pattern=r"\S+")
    index = vectorizer.fit_transform(theirs.index).T.tocsc()
    questions = asked.question.drop_duplicates()
    new = questions[~questions.isin(theirs.index)].tolist()
    answers = theirs.to_dict()
    for first in range(0, len(new), BLOCK):
        part = new[first : first + BLOCK]
        likest = np.asarray((vectorizer.transform(part) @ index).argmax(axis=1)).ravel()
        answers |= dict(zip(part, theirs.iloc[likest], strict=True))
    return [answers[question] for question in asked.question]
