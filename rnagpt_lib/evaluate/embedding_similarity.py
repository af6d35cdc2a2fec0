"""S_GPT and its kin: cosines of whole texts, and greedy matching of words.

An embedding model gives a text one vector, so the paper's precision and recall need a reading:
here each word is embedded on its own, and every word takes the best cosine on the other side.
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from rouge_score.scoring import fmeasure

from rnagpt_lib.evaluate.bertscore import PARTS
from rnagpt_lib.evaluate.embedders import Embedder

WORD = re.compile(r"\w+(?:[-'’./]\w+)*")
COSINE = "cosine of the whole texts"
WORDS = (
    "precision: mean over the answer's words of the best cosine with a word of the reference; "
    "recall: the other way round; F1 of each sample. Words are runs of letters and digits, joined "
    "by - ' . or / inside, in lower case, each embedded on its own"
)


def words_of(text: str) -> list[str]:
    """The words that are matched, in lower case, as often as they stand there.

    >>> words_of("miR-21's target is PTEN (5'-UTR).")
    ["mir-21's", 'target', 'is', 'pten', '5', 'utr']
    """
    return WORD.findall(text.lower())


def greedy(said: np.ndarray, wanted: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F1 of unit vectors (n, D) and (m, D); 0 where a side has none.

    >>> greedy(np.eye(2)[[0, 0]], np.eye(2))
    (1.0, 0.5, 0.6666666666666666)
    """
    if not len(said) or not len(wanted):
        return 0.0, 0.0, 0.0
    cosines = said @ wanted.T
    precision, recall = float(cosines.max(1).mean()), float(cosines.max(0).mean())
    return precision, recall, fmeasure(precision, recall)


class Cosine:
    """``S_<name>.cos`` and ``S_<name>.words.*`` by an embedding model, under its own name.

    ``definition`` says how the values came about, with counts of the latest call's empty and
    cut texts.
    """

    def __init__(self, embedder: Embedder):
        self.embedder = embedder
        name = f"S_{embedder.name}"
        self.columns = [f"{name}.cos", *(f"{name}.words.{part}" for part in PARTS)]
        self.id = f"{name}-cos-1-{embedder.id}"
        self.definition = {
            "cos": COSINE,
            "words": WORDS,
            **embedder.about,
        }

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
        """Cosine, and precision, recall and F1 over words, per sample; 0 where a text is empty.
        Give the answers of all models together: every distinct text or word is embedded once."""
        pairs = list(zip(predictions, references, strict=True))
        words = {text: words_of(text) for pair in set(pairs) for text in pair}
        texts = [text for text in words if text.strip()]
        self._count(pairs, texts)
        wanted = sorted({*texts, *(word for found in words.values() for word in found)})
        vectors = _unit(self.embedder.vectors(wanted)) if wanted else np.zeros((0, 1))
        row = {text: number for number, text in enumerate(wanted)}

        def of_pair(said: str, to: str) -> tuple[float, ...]:
            whole = 0.0
            if said in row and to in row:
                whole = float(vectors[row[said]] @ vectors[row[to]])
            return whole, *greedy(*(vectors[[row[w] for w in words[text]]] for text in (said, to)))

        values = {pair: of_pair(*pair) for pair in set(pairs)}
        return pd.DataFrame([values[pair] for pair in pairs], columns=self.columns, dtype=float)

    def _count(self, pairs: Sequence[tuple[str, str]], texts: Sequence[str]) -> None:
        cut = self.embedder.cut(texts)
        self.definition |= {"empty_texts": 0, "cut_texts": 0}
        for text in (text for pair in pairs for text in pair):
            self.definition["empty_texts"] += not text.strip()
            self.definition["cut_texts"] += text in cut


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
