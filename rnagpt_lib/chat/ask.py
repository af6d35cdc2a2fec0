"""Questions about every record of a FASTA file, answered into one file; a run that was killed goes on.

Rows are kept in ``OUT.partial``, chunk by chunk; OUT appears when all are there. Chunks are the same
whatever was there before, so that a run in pieces gives the file of an undisturbed one.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch

from rnagpt_lib.chat import answer_files
from rnagpt_lib.chat.decoding import check_room
from rnagpt_lib.chat.decoding_batch import GREEDY, Sampling
from rnagpt_lib.chat.generate import Chat, read_sequence
from rnagpt_lib.core import progress
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import Record, Refused, stream_records
from rnagpt_lib.core.files import digest, replacing, sha256, writing
from rnagpt_lib.core.paths import shown
from rnagpt_lib.runs.folder import acquire_lock, release_lock

CHUNK = 32  # records that are asked about, and kept, together

Evidence = Callable[[str, str, str, str], dict]  # id, sequence, question, answer -> retrieved


@dataclass(frozen=True)
class Asker:
    """Who answers: a model, what is retrieved beside its answers, or that alone.

    ``named``: all of it that decides an answer, and is no part of the model's files.
    """

    questions: tuple[str, ...]
    chat: Chat | None = None
    evidence: Evidence | None = None
    sampling: Sampling = GREEDY
    named: str = ""

    def key(self, fasta: Path) -> str:
        """Hash of everything that the answers depend on."""
        chat = self.chat
        model = [chat.name, chat.hash, chat.max_new_tokens, chat.device] if chat else []
        made_by = [model, asdict(self.sampling), self.named, torch.__version__]
        return digest([sha256(fasta), self.questions, *made_by, answer_files.VERSION])

    def rows(self, records: Sequence[Record | Refused]) -> list[dict]:
        """A row for each question about each record, and one for a record that is refused."""
        asked: list[tuple[Record, str, list[str]]] = []
        found: list[dict | None] = []
        for record in records:
            refused, rna, notes = self._read(record)
            if refused:
                found.append({"id": record.id, "line": record.line, "refused": refused})
                continue
            asked += [(record, rna, notes)] * len(self.questions)
            found += [None] * len(self.questions)
        answered = iter(self._answered(asked))
        return [row or next(answered) for row in found]

    def _read(self, record: Record | Refused) -> tuple[str, str, list[str]]:
        """Why a record is refused, or "", its RNA and notes on how it was read."""
        if isinstance(record, Refused):
            return record.reason, "", []
        try:
            rna, notes = read_sequence(record.sequence, record.dna, record.gaps)
            if self.chat:
                most = self.chat.max_new_tokens
                check_room(self.chat.model, [rna], self.questions, most)
        except InputError as error:
            return str(error), "", []
        return "", rna, notes

    def _answered(self, asked: Sequence[tuple[Record, str, list[str]]]) -> Iterator[dict]:
        questions = [self.questions[i % len(self.questions)] for i in range(len(asked))]
        answers = [None] * len(asked)
        if self.chat:
            sequences = [rna for _, rna, _ in asked]
            answers = self.chat.answers(sequences, questions, sampling=self.sampling)
        for (record, rna, notes), question, answer in zip(asked, questions, answers, strict=True):
            row = {"id": record.id, "line": record.line, "nt": len(rna), "question": question}
            if answer:
                row |= {"answer": answer.text, "stop_reason": answer.stop_reason}
                row |= {"model": self.chat.name, "model_hash": self.chat.hash[:12]}
                row |= {"sampling": asdict(self.sampling)} if self.sampling.temperature else {}
            if self.evidence:
                text = answer.text if answer else ""
                row |= {"retrieved": self.evidence(record.id, rna, question, text)}
            yield row | ({"notes": notes} if notes else {})


def check_out(out: Path, force: bool) -> None:
    """Raises InputError where ``out`` cannot be written, before any model is loaded."""
    answer_files.ending(out)
    if out.exists() and not force:
        raise InputError(f"{out} exists; --force replaces it, --out takes another name")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder; make it first")


def ask_file(asker: Asker, fasta: Path, out: Path, force: bool = False) -> dict[str, int]:
    """Write the rows of all records of ``fasta`` to ``out`` (.jsonl, .tsv or .md).

    Returns how many ``rows`` and ``refused`` records it holds, and how many rows were ``kept`` from
    an earlier attempt. Raises InputError for a file that is no FASTA, for an ``out`` that exists, or
    that an earlier attempt with another model, file or question has begun (unless ``force``).
    """
    check_out(out, force)
    _check_readable(fasta)
    lock = out.with_name(f".{out.name}.lock")
    with writing(out, "choose another --out, or make room"):
        acquire_lock(lock, str(out))
        try:
            check_out(out, force)  # another call may just have written it
            return _write(asker, fasta, out, force)
        finally:
            lock.unlink(missing_ok=True)
            release_lock(lock)


def _check_readable(fasta: Path) -> None:
    try:
        with fasta.open("rb"):
            if not fasta.is_file():
                raise InputError(f"{fasta} is no file; what comes out of a pipe goes to --fasta -")
    except OSError as error:
        raise InputError(f"{fasta} cannot be read: {error.strerror}; check the path") from None


def _write(asker: Asker, fasta: Path, out: Path, force: bool) -> dict[str, int]:
    partial = _Partial(out.with_name(out.name + ".partial"), asker.key(fasta), force)
    try:
        told = _fill(partial, asker, fasta)
    except InputError:
        partial.forget_if_empty()
        raise
    with replacing(out) as temporary:
        answer_files.write(partial.rows(), temporary, answer_files.ending(out))
    partial.path.unlink()
    return told


def _fill(partial: "_Partial", asker: Asker, fasta: Path) -> dict[str, int]:
    told = {"rows": 0, "refused": 0, "kept": 0}
    records = stream_records(fasta)
    chunks = iter(lambda: list(islice(records, CHUNK)), [])
    with progress.bar(desc="asking", unit=" records") as bar:
        for number, chunk in enumerate(chunks):
            rows = partial.chunk(number)
            told["kept"] += len(rows or ())
            if rows is None:
                rows = asker.rows(chunk)
                partial.add(rows)
            told["rows"] += len(rows)
            told["refused"] += sum("refused" in row for row in rows)
            bar.update(len(chunk))
    return told


class _Partial:
    """Finished chunks, one a line: ``[[row, …], …]`` behind a first line with the key."""

    def __init__(self, path: Path, key: str, force: bool):
        self.path = path
        self.ends: list[int] = []  # byte offset behind each line
        head = json.dumps({"key": key}).encode() + b"\n"
        if path.is_file():
            self._adopt(head, force)
        if not self.ends:
            path.write_bytes(head)
            self.ends = [len(head)]

    def _adopt(self, head: bytes, force: bool) -> None:
        """Keep whole lines; what a kill left of a line goes, and with ``force`` another call's."""
        with self.path.open("rb+") as file:
            first = file.readline()
            if first != head and (force or not file.readline().endswith(b"\n")):
                return  # no answer stands in it, or none that is wanted
            if first != head:
                raise InputError(
                    f"{shown(self.path)} is of a call with another model, file, question or "
                    "option; give that call again to finish it, or --force to drop its answers"
                )
            self.ends = [len(first)]
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.ends.append(self.ends[-1] + len(line))
            file.truncate(self.ends[-1])

    def forget_if_empty(self) -> None:
        """Leave nothing behind where nothing was answered."""
        if len(self.ends) == 1:
            self.path.unlink()

    def chunk(self, number: int) -> list[dict] | None:
        """A chunk that is there already, else None."""
        if number + 1 >= len(self.ends):
            return None
        with self.path.open("rb") as file:
            file.seek(self.ends[number])
            return json.loads(file.readline())

    def add(self, rows: list[dict]) -> None:
        """Keep the next chunk; it is on the disk when this returns."""
        line = json.dumps(rows, ensure_ascii=True).encode() + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.ends.append(self.ends[-1] + len(line))

    def rows(self) -> Iterator[dict]:
        """All rows, in the order of the records."""
        with self.path.open("rb") as file:
            next(file)
            for line in file:
                yield from json.loads(line)
