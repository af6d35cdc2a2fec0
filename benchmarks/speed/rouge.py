"""Row 9: ROUGE with memoised stems and one count of each text, against rouge_score.

Two workloads of distinct pairs, so that nothing is won by equal ones: short answers of the
reference run, and annotations of its RNAs, on whose length the subsequence is the cost.
"""

import time
from itertools import islice

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from benchmarks.speed import _peers
from rnagpt_lib.core import paths, tables
from rnagpt_lib.evaluate import rouge

PAIRS, REPEATS = 2000, 5
TARGET = 3.0
MODELS = ("vanilla", "MA", "IT")


def main() -> None:
    """Time both sides in turn, assert the same scores, write the rows."""
    workloads = {"ROUGE, answers": answers(), "ROUGE, annotations": annotations()}
    _peers.keep_rows("rouge", [_row(name, pairs) for name, pairs in workloads.items()])


def answers() -> list[tuple[str, str]]:
    """Distinct answers of the three models with their references."""
    table = tables.read(_reference("06_ablations", "answers"), "answers")
    found = table[table.model.isin(MODELS)][["prediction", "reference"]].drop_duplicates()
    return list(found.head(PAIRS).itertuples(index=False, name=None))


def annotations() -> list[tuple[str, str]]:
    """An RNA's annotation with that of the next RNA."""
    texts = list(whole_annotations().values())
    return list(islice(dict.fromkeys(zip(texts, texts[1:], strict=False)), PAIRS))


def whole_annotations() -> dict[str, str]:
    """rna_id → its annotation of the reference run, all sentences."""
    table = tables.read(_reference("02_summarize", "annotations"), "annotations")
    own = table[table.source == "dnc"].sort_values(["rna_id", "sentence_no"])
    return own.groupby("rna_id").text.agg(" ".join).to_dict()


def _reference(stage: str, table: str):
    return paths.root() / "runs" / "reference" / stage / f"{table}.parquet"


def _row(name: str, pairs: list[tuple[str, str]]) -> dict:
    seconds = []
    predictions, references = map(list, zip(*pairs, strict=True))
    for _ in range(REPEATS):
        start = time.perf_counter()
        ours = rouge.score(predictions, references)
        middle = time.perf_counter()
        theirs = peer(predictions, references)
        seconds.append((middle - start, time.perf_counter() - middle))
        np.testing.assert_allclose(ours, theirs, atol=1e-12, rtol=0)
    words = np.mean([len(text.split()) for text in references])
    return _peers.row(
        name,
        [theirs / ours for ours, theirs in seconds],
        ours="each word stemmed once, each text counted once, subsequence bit by bit",
        peer="rouge_score, one RougeScorer with stemmer",
        workload=f"{len(pairs):,} distinct pairs of the reference run, {words:.0f} words on "
        "average; ROUGE-1, 2, L and Lsum, equal to 1e-12",
        target=f"≥ {TARGET:g}",
        limit="none near: the peer's table is in Python",
    )


def peer(predictions: list[str], references: list[str]) -> list[list[float]]:
    """What `rouge.score` gives, by rouge_score."""
    scorer = RougeScorer(list(rouge.METRICS), use_stemmer=True)
    found = [scorer.score(r, p) for p, r in zip(predictions, references, strict=True)]
    return [[scores[name].fmeasure for name in rouge.METRICS] for scores in found]
