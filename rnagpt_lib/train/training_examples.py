"""The trees of a training: tables → one tree for each RNA, tokenised when it is visited.

The full set has millions of pairs. Their texts stay in the columns of their table (a few bytes
a letter) and the vectors where the embeddings are kept; ids exist for the RNAs of one step.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from rnagpt_lib.curate.questions.question_templates import CATEGORICAL
from rnagpt_lib.model.packing import Branch, Tree
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.model.template import bos_ids, ids

TEXTS = ("kind", "question", "answer")


def annotation_texts(annotations: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, str]:
    """What stage 1 is to write about each RNA: the sentences of its annotation, joined.

    ``annotations`` and ``pairs`` as in the tables, of one source. An RNA without literature gets
    the open answers to its categorical questions: "The RNA is of the type tRNA. …".
    """
    categorical = pairs["kind"].isin(CATEGORICAL) & (pairs["form"] == "open")
    answers = pairs[categorical].groupby("rna_id")["answer"].agg(" ".join)
    sentences = annotations.sort_values(["rna_id", "sentence_no"])
    return answers.to_dict() | sentences.groupby("rna_id")["text"].agg(" ".join).to_dict()


@dataclass(frozen=True, eq=False)
class Trees(Sequence[Tree]):
    """N RNAs, each with the rows of ``texts`` that are its own; ``trees[i]`` makes a tree.

    rna_ids, sequences (N,) str · starts (N + 1,): RNA i has rows[starts[i]:starts[i + 1]] of
    ``texts``, a table of kind, question and answer · rna: a sequence → the ids that stand before
    the branches, and the vectors (L, D) behind these · chosen: the RNAs of this selection, by
    number. A slice, and a list of numbers in ``only``, gives a selection.
    """

    rna_ids: np.ndarray
    sequences: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    texts: pa.Table
    rna: Callable[[str], tuple[list[int], Tensor]]
    branch: Callable[[dict[str, str]], Branch]
    chosen: np.ndarray

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, at: int) -> Tree: ...
    @overload
    def __getitem__(self, at: slice) -> "Trees": ...
    def __getitem__(self, at):
        if isinstance(at, slice):
            return self.only(range(len(self))[at])
        return self.tree(at, range(self.count(at)))

    def only(self, numbers: Sequence[int]) -> "Trees":
        """The RNAs of these numbers, as a selection of their own."""
        return replace(self, chosen=self.chosen[list(numbers)])

    def tree(self, number: int, pairs: Sequence[int]) -> Tree:
        """RNA ``number`` with some of its pairs, in the order given."""
        rows = self._rows(number)[list(pairs)].tolist()
        columns = {name: self.texts[name] for name in TEXTS}
        # one by one: of a column in chunks, Arrow's take copies all of it
        branches = [self.branch({n: c[row].as_py() for n, c in columns.items()}) for row in rows]
        place = self.chosen[number]
        return Tree(self.rna_ids[place], *self.rna(self.sequences[place]), branches)

    @property
    def pairs(self) -> np.ndarray:
        """Pairs of each RNA, (N,)."""
        return np.diff(self.starts)[self.chosen]

    def count(self, number: int) -> int:
        """Pairs of RNA ``number``."""
        return len(self._rows(number))

    def of_kinds(self, kinds: Sequence[str]) -> np.ndarray:
        """For each RNA, how many of its pairs are of one of ``kinds``, (N,)."""
        found = pc.is_in(self.texts["kind"], pa.array(kinds, pa.string())).to_numpy()[self.rows]
        return np.diff(np.concatenate([[0], np.cumsum(found)])[self.starts])[self.chosen]

    def kinds(self, number: int) -> list[str]:
        """The kind of each of its pairs."""
        column = self.texts["kind"]
        return [column[row].as_py() for row in self._rows(number).tolist()]

    def longest(self) -> np.ndarray:
        """Bytes of each RNA's longest question with answer, (N,): no text has more tokens."""
        sizes = [pc.binary_length(self.texts[name]).to_numpy() for name in ("question", "answer")]
        most = np.maximum.reduceat(sum(sizes)[self.rows], self.starts[:-1])
        return most[self.chosen]

    def hash(self) -> str:
        """Of all ids, sequences and texts, in their order."""
        total = hashlib.sha256()
        for numbers in (self.chosen, self.starts, self.rows):
            total.update(numbers)
        for column in (self.rna_ids, self.sequences, *(self.texts[name] for name in TEXTS)):
            total.update(_hash(column).encode())
        return total.hexdigest()

    def _rows(self, number: int) -> np.ndarray:
        place = self.chosen[number]
        return self.rows[self.starts[place] : self.starts[place + 1]]


def stage1_trees(
    model: RnaGpt, rnas: pd.DataFrame, texts: Mapping[str, str], embeddings: Mapping[str, Tensor]
) -> Trees:
    """One tree for each RNA that has a text: BOS, soft tokens → the text, EOS.

    ``texts`` maps an rna_id to its ``annotation_texts``, ``embeddings`` a sequence to its
    (L, D) tensor.
    """
    template, tokenizer = model.template, model.tokenizer
    answers = pd.Series(texts, name="answer", dtype=str).rename_axis("rna_id").reset_index()
    before = bos_ids(tokenizer)
    return _trees(
        rnas,
        answers.assign(kind="annotation", question=""),
        lambda sequence: (before, embeddings[sequence]),
        lambda row: Branch([], template.annotation_ids(tokenizer, row["answer"]), row["kind"]),
    )


def stage2_trees(
    model: RnaGpt, rnas: pd.DataFrame, pairs: pd.DataFrame, embeddings: Mapping[str, Tensor]
) -> Trees:
    """One tree for each RNA with pairs: the prompt's prefix, and a branch for each pair.

    Where the model reads letters, or nothing (``Config.reads``), no vectors are asked for.
    """
    template, tokenizer = model.template, model.tokenizer
    before, nothing = template.prefix_ids(tokenizer), torch.zeros(0, model.config.encoder_dim)

    def rna(sequence: str) -> tuple[list[int], Tensor]:
        if model.config.reads == "vectors":
            return before, embeddings[sequence]
        letters = ids(tokenizer, sequence) if model.config.reads == "letters" else []
        return before + letters, nothing

    def branch(row: dict[str, str]) -> Branch:
        prompt = template.question_ids(tokenizer, row["question"])
        return Branch(prompt, template.answer_ids(tokenizer, row["answer"]), row["kind"])

    return _trees(rnas, pairs, rna, branch)


def trained_on(rnas: pd.DataFrame) -> list[str]:
    """The sequences of the training side."""
    return rnas.loc[rnas["split"] == "train", "sequence"].tolist()


def stage1_sides(
    model: RnaGpt,
    rnas: pd.DataFrame,
    pairs: pd.DataFrame,
    annotations: pd.DataFrame,
    embeddings: Mapping[str, Tensor],
) -> dict[str, Trees]:
    """What stage 1 trains on and what it validates on, out of whole tables; the annotations are
    those of the pairs' source."""
    own = annotations[annotations["source"] == pairs["source"].iloc[0]]
    texts = annotation_texts(own, pairs)
    return {s: stage1_trees(model, rows, texts, embeddings) for s, rows in _sides(rnas)}


def stage2_sides(
    model: RnaGpt, rnas: pd.DataFrame, pairs: pd.DataFrame, embeddings: Mapping[str, Tensor]
) -> dict[str, Trees]:
    """The same of stage 2."""
    return {s: stage2_trees(model, rows, pairs, embeddings) for s, rows in _sides(rnas)}


def _sides(rnas: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(side, rnas[rnas["split"] == side]) for side in ("train", "val")]


def _trees(
    rnas: pd.DataFrame,
    pairs: pd.DataFrame,
    rna: Callable[[str], tuple[list[int], Tensor]],
    branch: Callable[[dict[str, str]], Branch],
) -> Trees:
    """RNAs in their table's order, without those that have no pair."""
    ids = [pa.array(table["rna_id"], pa.large_string()) for table in (pairs, rnas)]
    place = pc.index_in(*ids).fill_null(-1).to_numpy()  # −1: of another side
    counts = np.bincount(place[place >= 0], minlength=len(rnas))
    rows = np.argsort(place, kind="stable")[(place < 0).sum() :]
    with_pairs = rnas[counts > 0]
    starts = np.concatenate([[0], np.cumsum(counts[counts > 0])])
    columns = {name: pa.array(pairs[name], pa.large_string()) for name in TEXTS}
    return Trees(
        with_pairs["rna_id"].to_numpy(),
        with_pairs["sequence"].to_numpy(),
        starts,
        rows,
        pa.table(columns),
        rna,
        branch,
        np.arange(len(with_pairs)),
    )


def _hash(column: np.ndarray | pa.ChunkedArray) -> str:
    """Of a column's texts and their lengths, however they lie in memory."""
    letters, lengths = hashlib.sha256(), hashlib.sha256()
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [pa.array(column)]
    for chunk in (chunk.cast(pa.large_string()) for chunk in chunks):
        offsets = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset :][: len(chunk) + 1]
        lengths.update(np.diff(offsets).tobytes())
        letters.update(chunk.buffers()[2][offsets[0] : offsets[-1]])
    return letters.hexdigest() + lengths.hexdigest()
