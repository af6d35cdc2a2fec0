"""The examples of a training: tables → one tree for each RNA, tokenised when it is visited.

The full set has millions of pairs: their texts stay in the columns of their table (a few bytes a
letter) and the vectors where they are cached; ids exist for the RNAs of one step.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from accelerate import PartialState
from torch import Tensor

from rnagpt_lib.core.params import Reads, Stage1, Train
from rnagpt_lib.core.weights import llm_folder
from rnagpt_lib.curate.questions.question_templates import CATEGORICAL
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.packing import Branch, Tree
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.model.template import bos_ids, ids
from rnagpt_lib.model.vector_cache import encode_all
from rnagpt_lib.runs.run import Run
from rnagpt_lib.runs.stages import QA, STAGE1, SUMMARIES, stage_folder
from rnagpt_lib.train.ablation_trainings import Training

TEXTS = ("kind", "question", "answer")
VECTORS = ".embeddings"  # the vector cache, in a stage's folder
PATIENCE = timedelta(days=2)  # while one process encodes the RNAs, the others wait


def join_processes() -> PartialState:
    """This process among those that train together, started by ``accelerate launch``."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def prepare(
    run: Run | Training, params: Train, *, reads: Reads = "vectors", aligned: bool = True
) -> tuple[RnaGpt, dict[str, "Examples"]]:
    """A stage's model before its first step, and what it trains on and is validated on, by side.

    ``run``: an open stage or a training beside it; ``reads``, ``aligned``: as of its ``Variant``.
    Where several processes train, all of them call, and the first of them encodes the RNAs.
    """
    machine = join_processes()
    rnas, pairs = (run.read(QA, table) for table in ("rnas", "pairs"))
    encoder = Encoder.load(params.encoder)
    if isinstance(run, Run) and machine.is_main_process:
        run.use(params.encoder)
        run.use(llm_folder(params.llm))
    config = replace(Config.of(params, encoder), reads=reads)
    in_parts = (
        params.parallel == "fsdp" and machine.num_processes > 1
    )  # moved when they are cut out
    options = {"device": "cpu" if in_parts else None, "attention": params.attention}
    model = RnaGpt.build(config, seed=run.seed, **options)
    vectors: Mapping[str, Tensor] = {}
    if reads == "vectors":
        known = stage_folder(run.id, STAGE1) / VECTORS
        sequences = rnas.loc[rnas["split"] != "test", "sequence"].tolist()
        given = (model.encoder or encoder, sequences, run.folder / VECTORS, params.cache)
        with machine.main_process_first():
            vectors = encode_all(*given, known=known)
    first = isinstance(params, Stage1)
    if aligned and not first:
        checkpoint.load_projection(model, run.parent(STAGE1))
    elif reads == "vectors" and (params if first else run.stage1).whiten:
        train = rnas.loc[rnas["split"] == "train", "sequence"]
        model.projection.whiten(vectors[sequence] for sequence in train)
    sides = {side: rnas[rnas["split"] == side] for side in ("train", "val")}
    if not first:
        return model, {s: stage2_examples(model, r, pairs, vectors) for s, r in sides.items()}
    annotations = run.read(SUMMARIES, "annotations")
    own = annotations[annotations["source"] == pairs["source"].iloc[0]]
    texts = annotation_texts(own, pairs)
    return model, {s: stage1_examples(model, r, texts, vectors) for s, r in sides.items()}


def annotation_texts(annotations: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, str]:
    """What stage 1 is to write about each RNA: the sentences of its annotation, joined; without
    literature the open answers to its categorical questions: "The RNA is of the type tRNA. …"."""
    categorical = pairs["kind"].isin(CATEGORICAL) & (pairs["form"] == "open")
    answers = pairs[categorical].groupby("rna_id")["answer"].agg(" ".join)
    sentences = annotations.sort_values(["rna_id", "sentence_no"])
    return answers.to_dict() | sentences.groupby("rna_id")["text"].agg(" ".join).to_dict()


class Examples(Sequence[Tree]):
    """RNAs that have pairs, in their table's order; ``examples[i]`` makes a tree, a slice a
    selection.

    ``vectors``: sequence → (L, D) · ``before``: sequence → the ids before its vectors · ``branch``:
    a row of `TEXTS` → what follows the RNA.
    """

    def __init__(
        self,
        rnas: pd.DataFrame,
        pairs: pd.DataFrame,
        vectors: Mapping[str, Tensor],
        before: Callable[[str], list[int]],
        branch: Callable[[dict[str, str]], Branch],
    ):
        asked, known = (pa.array(table["rna_id"], pa.large_string()) for table in (pairs, rnas))
        place = pc.index_in(asked, known).fill_null(-1).to_numpy()  # −1: of another side
        counts = np.bincount(place[place >= 0], minlength=len(rnas))
        with_pairs = rnas[counts > 0]
        self.rna_ids = with_pairs["rna_id"].to_numpy()
        self.sequences = with_pairs["sequence"].to_numpy()
        # RNA i has the rows[starts[i]:starts[i + 1]] of the texts
        self.starts = np.concatenate([[0], np.cumsum(counts[counts > 0])])
        self.rows = np.argsort(place, kind="stable")[(place < 0).sum() :]
        self.texts = pa.table({n: pa.array(pairs[n], pa.large_string()) for n in TEXTS})
        self.vectors, self.before, self.branch = vectors, before, branch
        self.chosen = np.arange(len(with_pairs))  # those of a selection, by number

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, at: int | slice) -> "Tree | Examples":
        if isinstance(at, slice):
            selection = copy(self)
            selection.chosen = self.chosen[at].copy()
            return selection
        return self.tree(at, range(self.count(at)))

    def tree(self, number: int, pairs: Sequence[int]) -> Tree:
        """RNA ``number`` with some of its pairs, in the order given."""
        place, columns = self.chosen[number], {name: self.texts[name] for name in TEXTS}
        sequence = self.sequences[place]
        branches = [  # texts one by one: of a column in chunks, Arrow's take copies all of it
            self.branch({name: column[row].as_py() for name, column in columns.items()})
            for row in self._rows(number)[list(pairs)].tolist()
        ]
        return Tree(self.rna_ids[place], self.before(sequence), self.vectors[sequence], branches)

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
        return np.maximum.reduceat(sum(sizes)[self.rows], self.starts[:-1])[self.chosen]

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


def stage1_examples(
    model: RnaGpt, rnas: pd.DataFrame, texts: Mapping[str, str], vectors: Mapping[str, Tensor]
) -> Examples:
    """One tree for each RNA that has a text (`annotation_texts`): BOS, soft tokens → the text, EOS."""
    tokenizer, before = model.tokenizer, bos_ids(model.tokenizer)
    answers = pd.Series(texts, name="answer", dtype=str).rename_axis("rna_id").reset_index()

    def branch(row: dict[str, str]) -> Branch:
        return Branch([], model.template.annotation_ids(tokenizer, row["answer"]), row["kind"])

    pairs = answers.assign(kind="annotation", question="")
    return Examples(rnas, pairs, vectors, lambda sequence: before, branch)


def stage2_examples(
    model: RnaGpt, rnas: pd.DataFrame, pairs: pd.DataFrame, vectors: Mapping[str, Tensor]
) -> Examples:
    """One tree for each RNA with pairs: the prompt's prefix, and a branch for each pair. A model
    that reads letters, or nothing (``Config.reads``), asks for no vectors."""
    template, tokenizer, reads = model.template, model.tokenizer, model.config.reads
    prefix, nothing = template.prefix_ids(tokenizer), torch.zeros(0, model.config.encoder_dim)
    if reads != "vectors":
        vectors = dict.fromkeys(rnas["sequence"], nothing)

    def before(sequence: str) -> list[int]:
        return prefix + ids(tokenizer, sequence) if reads == "letters" else prefix

    def branch(row: dict[str, str]) -> Branch:
        prompt = template.question_ids(tokenizer, row["question"])
        return Branch(prompt, template.answer_ids(tokenizer, row["answer"]), row["kind"])

    return Examples(rnas, pairs, vectors, before, branch)


def _hash(column: np.ndarray | pa.ChunkedArray) -> str:
    """Of a column's texts and their lengths, however they lie in memory."""
    letters, lengths = hashlib.sha256(), hashlib.sha256()
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [pa.array(column)]
    for chunk in (chunk.cast(pa.large_string()) for chunk in chunks):
        offsets = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset :][: len(chunk) + 1]
        lengths.update(np.diff(offsets).tobytes())
        letters.update(chunk.buffers()[2][offsets[0] : offsets[-1]])
    return letters.hexdigest() + lengths.hexdigest()
