"""Retrieval: the annotated RNAs of a run's training set that are nearest to the one asked about.

It reads the tables of 02 and 03.
Nothing of it goes into the model: it stands beside an answer, or in its place (`Retrieval.only`).
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa

from rnagpt_lib.chat.contradictions import NOUNS, Checker, Retrieved, nothing_near
from rnagpt_lib.chat.nearest import Nearest
from rnagpt_lib.chat.retrieved_evidence import Beside, Entry, Neighbour, Sentence, percent
from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest, read_json, sha256
from rnagpt_lib.curate.questions import facts, question_templates
from rnagpt_lib.curate.questions.question_templates import CATEGORICAL
from rnagpt_lib.miniature.world import WORLD_IDS
from rnagpt_lib.model.encoder import checked
from rnagpt_lib.runs import stages

SUMMARIES, DECOMPOSED = stages.STAGES[2:4]
K = 3


class Retrieval:
    """The tables of a run, ready to be looked up; ``Retrieval.of`` reads them.

    ``rnas``: rna_id, sequence, split and the categorical fields, of all sides; only the train side
    is searched, and of it only RNAs with an annotation or a field. ``row`` (n,): the place of
    each in ``nearest``, or -1.

    >>> retrieval = Retrieval.of("mini")
    >>> [(one.rna_type, one.identity) for one in retrieval.near("GGCUAGCUCAAUCGGUAGAGCGUG", k=1)]
    [('tRNA', 0.79)]
    """

    def __init__(
        self, rnas: pd.DataFrame, annotations: pa.Table, checker: Checker, nearest: Nearest
    ):
        self.rnas, self.checker, self.nearest = rnas, checker, nearest
        self._annotations = _Annotations(annotations)
        self._find = lru_cache(maxsize=4096)(nearest.find)  # many questions are about one RNA
        of_row = pd.Index(nearest.sequences).get_indexer(rnas["sequence"])
        of_row[(rnas["split"] != "train").to_numpy()] = -1
        self.row = of_row

    @classmethod
    def of(cls, run: str) -> "Retrieval":
        """Of a run whose stages 02 and 03 are finished. Raises InputError where a table is
        missing, with the command that makes it, and where no training RNA has an annotation or a
        field."""
        rnas = _table(run, DECOMPOSED, "rnas", ["rna_id", "sequence", "split", *CATEGORICAL])
        source = read_json(stages.stage_folder(run, DECOMPOSED) / stages.PARAMS)["params"]["source"]
        columns = ["rna_id", "sentence_no", "text", "article_ids"]
        annotations = _table(run, SUMMARIES, "annotations", columns, source=source)
        frame = rnas.to_pandas()
        told = frame["rna_id"].isin(annotations["rna_id"].unique().to_pylist())
        told |= (frame[[*CATEGORICAL]] != "").any(axis=1)
        sequences = frame["sequence"][told & (frame["split"] == "train")].unique().tolist()
        if not sequences:
            raise InputError(
                f"run {run} has no training RNA with an annotation or a field, so there is nothing "
                "to retrieve; give 00 RNAs with types, or 02 articles"
            )
        return cls(frame, annotations, Checker.of(frame, _named(run, frame)), Nearest(sequences))

    @staticmethod
    def tables_hash(run: str) -> str:
        """Of all that is retrieved from."""
        tables = [(SUMMARIES, "annotations"), (DECOMPOSED, "rnas"), (DECOMPOSED, "pairs")]
        files = [stages.stage_folder(run, s) / f"{name}.parquet" for s, name in tables]
        return digest([sha256(file) for file in files])

    def near(self, sequence: str, k: int = K) -> list[Neighbour]:
        """The k nearest, in the order of `nearest.Nearest.find`: by identity, less where lengths
        differ. Each sequence is there once, however many entries have it. Raises InputError for
        what is no RNA."""
        return list(self.retrieved(sequence, k).neighbours)

    def beside(
        self, sequence: str, question: str, answer: str, rna_id: str | None = None, k: int = K
    ) -> Beside:
        """The nearest RNAs, and what is to be said of the answer in view of them and of the RNA's
        own fields, where ``rna_id`` or the sequence is in the run's tables, on whatever side."""
        found = self.retrieved(sequence, k, rna_id)
        return Beside(
            tuple(_relevant_first(question, one) for one in found.neighbours),
            tuple(each.text for each in self.checker.statements(question, answer, found)),
        )

    def only(self, sequence: str, question: str, k: int = K) -> Beside:
        """An answer without a model: the field that the question asks for, and the sentences of the
        near RNAs that bear on it; of those whose identity chance does not reach alone."""
        found = self.retrieved(sequence, k)
        if not found.near:
            return Beside((), (f"{nothing_near(found)}, so nothing is retrieved.",))
        relation = question_templates.relation_of(question)
        if relation in CATEGORICAL:
            neighbours = tuple(replace(one, sentences=()) for one in found.near)
            return Beside(neighbours, tuple(_fields(relation, found.near)))
        about = [replace(one, sentences=_about(relation, one)) for one in found.near]
        if not any(one.sentences for one in about):
            return Beside(tuple(about), ("The annotations of the nearest RNAs do not say.",))
        return Beside(tuple(one for one in about if one.sentences), ())

    def retrieved(self, sequence: str, k: int = K, rna_id: str | None = None) -> Retrieved:
        """All that is known of and near a sequence; with ``rna_id`` its own fields are that entry's
        where it has this sequence, else those of all entries that have it."""
        sequence = checked(sequence)
        found = self._find(sequence, k)
        same = self.rnas[self.rnas["sequence"] == sequence]
        of_id = self.rnas["rna_id"] == rna_id
        own = same[of_id[same.index]] if rna_id in set(same["rna_id"]) else same
        another = rna_id if of_id.any() and rna_id not in set(same["rna_id"]) else ""
        neighbours = []
        for hit in found.hits:
            near = hit.score > found.chance or self.nearest.sequences[hit.row] == sequence
            entry = vars(self._entry(self.rnas[self.row == hit.row]))
            neighbours.append(Neighbour(**entry, identity=hit.identity, near=near))
        known, all_same = (self._entry(rows) if len(rows) else None for rows in (own, same))
        return Retrieved(known, all_same, another, neighbours)

    def _entry(self, rows: pd.DataFrame) -> Entry:
        told = {rna_id: self._annotations.of(rna_id) for rna_id in rows["rna_id"]}
        ids = sorted(told, key=lambda rna_id: (not told[rna_id], rna_id))
        by_text = {each.text: each for rna_id in reversed(ids) for each in reversed(told[rna_id])}
        values = {
            field: tuple(value for value in dict.fromkeys(rows[field]) if value)
            for field in CATEGORICAL
        }
        return Entry(tuple(ids), values, tuple(reversed(by_text.values())))


class _Annotations:
    """The sentences of each RNA, read out of Arrow's columns when they are asked for."""

    def __init__(self, table: pa.Table):
        self._table = table.sort_by([("rna_id", "ascending"), ("sentence_no", "ascending")])
        codes, ids = pd.factorize(self._table["rna_id"].to_pandas())
        self._place = pd.Index(ids)
        self._starts = np.searchsorted(codes, np.arange(len(ids) + 1))

    def of(self, rna_id: str) -> list[Sentence]:
        if rna_id not in self._place:
            return []
        place = self._place.get_loc(rna_id)
        start, stop = self._starts[place : place + 2].tolist()
        part = self._table.slice(start, stop - start)
        return [
            Sentence(text, tuple(ids))
            for text, ids in zip(
                part["text"].to_pylist(), part["article_ids"].to_pylist(), strict=True
            )
        ]


def _table(run: str, stage: str, table: str, columns: list[str], **equal: str) -> pa.Table:
    folder = stages.stage_folder(run, stage)
    if read_json(folder / stages.MANIFEST).get("status") != "finished":
        raise InputError(
            f"run {run} has no finished {stage}, whose table {table} retrieval reads; give the "
            f"command: {stages.command(run, stage)}"
        )
    return tables.read_part(folder / f"{table}.parquet", table, columns, **equal)


def _named(run: str, rnas: pd.DataFrame) -> pd.DataFrame | None:
    """The open questions and answers of the generated world, which name all its entities."""
    if not rnas["rna_id"].str.startswith(WORLD_IDS).all():
        return None
    columns = ["form", "question", "answer"]
    return _table(run, DECOMPOSED, "pairs", columns, form="open").to_pandas()


def _fields(relation: str, near: list[Neighbour]) -> list[str]:
    return [
        f"{one.rna_id} ({percent(one.identity)} identical) has the {NOUNS[relation]} "
        f"{getattr(one, relation)}."
        for one in near
        if one.values[relation]
    ] or [f"No {NOUNS[relation]} of the nearest RNAs is known."]


def _about(relation: str | None, entry: Entry) -> tuple[Sentence, ...]:
    """The sentences that state a fact of the relation; all of them for any other question."""
    return tuple(each for each in entry.sentences if relation is None or _states(relation, each))


def _states(relation: str | None, sentence: Sentence) -> bool:
    return any(fact.relation == relation for fact in facts.facts_in(sentence.text, True)[0])


def _relevant_first(question: str, one: Neighbour) -> Neighbour:
    relation = question_templates.relation_of(question)
    order = sorted(one.sentences, key=lambda sentence: not _states(relation, sentence))
    return replace(one, sentences=tuple(order))
