"""ROUGE of single answers: the values of rouge_score with its stemmer, in a fraction of the time.

Each distinct text is tokenised and counted once, each word stemmed once. The longest common
subsequence is counted bit by bit (Hyyrö 2004), a whole row of the table in one addition.
"""

import functools
import importlib.metadata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from rouge_score import rouge_scorer, scoring, tokenizers

METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
ID = f"rouge_score-{importlib.metadata.version('rouge-score')}-stem"
DEFINITION = {"package": f"rouge_score {importlib.metadata.version('rouge-score')}", "value": "F1"}


def score(predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
    """F1 of ROUGE-1, 2, L and Lsum per sample, as rouge_score gives them with its stemmer
    (Lsum splits at newlines). Equal pairs are scored once.

    >>> score(["The RNA is a tRNA."], ["The RNA is a snoRNA."]).rouge1.round(2).tolist()
    [0.8]
    """
    pairs = list(zip(predictions, references, strict=True))
    tokenizer = _Stems()
    by_line = rouge_scorer.RougeScorer(["rougeLsum"], tokenizer=tokenizer)
    read = {text: _Read.of(text, tokenizer) for pair in set(pairs) for text in pair}
    values = {}
    for prediction, reference in set(pairs):
        said, wanted = read[prediction], read[reference]
        longest = summary = _longest(said, wanted)
        if said.lines > 1 or wanted.lines > 1:  # else the union of subsequences is the one
            summary = by_line.score(reference, prediction)["rougeLsum"].fmeasure
        overlaps = _overlap(said.words, wanted.words), _overlap(said.twos, wanted.twos)
        values[prediction, reference] = (*overlaps, longest, summary)
    return pd.DataFrame([values[pair] for pair in pairs], columns=list(METRICS), dtype=float)


class _Stems(tokenizers.DefaultTokenizer):
    """rouge_score's own tokenizer; a word that was seen is not stemmed again, nor a text read."""

    def __init__(self):
        super().__init__(use_stemmer=True)
        self._stemmer.stem = functools.cache(self._stemmer.stem)
        self.tokenize = functools.cache(super().tokenize)


@dataclass(frozen=True)
class _Read:
    """What is counted in a text; ``places``: word → the bits of its positions."""

    tokens: list[str]
    words: Counter
    twos: Counter
    places: dict[str, int]
    lines: int

    @classmethod
    def of(cls, text: str, tokenizer: _Stems) -> "_Read":
        tokens = tokenizer.tokenize(text)
        places: dict[str, int] = {}
        for position, token in enumerate(tokens):
            places[token] = places.get(token, 0) | 1 << position
        twos = Counter(zip(tokens, tokens[1:], strict=False))
        lines = sum(map(bool, text.split("\n")))
        return cls(tokens, Counter(tokens), twos, places, lines)


def _overlap(said: Counter, wanted: Counter) -> float:
    """F1 of the n-grams that both have, each as often as in the one that has it less often."""
    small, large = (said, wanted) if len(said) < len(wanted) else (wanted, said)
    shared = sum(min(n, large[gram]) for gram, n in small.items() if gram in large)
    return scoring.fmeasure(shared / max(said.total(), 1), shared / max(wanted.total(), 1))


def _longest(said: _Read, wanted: _Read) -> float:
    """F1 of the longest common subsequence. A bit of ``row`` is 0 where the length of the
    subsequence grows; the carry of the addition moves a step to the next match."""
    if not said.tokens or not wanted.tokens:
        return 0.0
    whole = (1 << len(wanted.tokens)) - 1
    row = whole
    for token in said.tokens:
        if places := wanted.places.get(token):
            matched = row & places
            row = (row + matched | row - matched) & whole
    length = len(wanted.tokens) - row.bit_count()
    return scoring.fmeasure(length / len(said.tokens), length / len(wanted.tokens))
