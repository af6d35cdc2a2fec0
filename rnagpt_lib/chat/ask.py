"""Questions about every record of a FASTA file, answered into one file; a run that was killed goes on.

Rows are kept in ``OUT.partial``, chunk by chunk; OUT appears when all are there. Chunks are the same
whatever was there before, so that a run in pieces gives the file of an undisturbed one. OUT is JSON
lines, a table with tabs, or Markdown: foreign text acts in none of them.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path

import torch

from rnagpt_lib.chat.decoding import GREEDY, Answer, Sampling, check_room
from rnagpt_lib.chat.generate import Chat
from rnagpt_lib.chat.rendering import MARKDOWN
from rnagpt_lib.chat.retrieval import Retrieval
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import Record, Refused, stream_records
from rnagpt_lib.core.files import check_place, digest, progress, replacing, sha256, writing
from rnagpt_lib.core.text import one_line
from rnagpt_lib.runs.folder import holding
from rnagpt_lib.runs.resume_store import Store

CHUNK = 32  # records that are asked about, and kept, together
VERSION = 4  # of what a row holds
COLUMNS = (
    "id", "line", "nt", "question", "answer", "stop_reason", "model", "statements", "nearest",
    "identity", "notes", "refused", "run", "llm", "warning",
)  # fmt: skip
FORMULA = tuple("=+-@＝＋－＠\t\r\n")  # with these a spreadsheet begins a formula, or a cell anew


@dataclass(frozen=True)
class Asker:
    """Who answers: a model, what is retrieved beside its answers, or that alone. ``named``: all that
    decides an answer and is no part of the model's files."""

    questions: tuple[str, ...]
    chat: Chat | None = None
    retrieval: Retrieval | None = None
    sampling: Sampling = GREEDY
    named: str = ""

    @property
    def about(self) -> dict[str, str]:
        """By what all rows are: model, run and LLM, and what is to be known of them."""
        if self.chat:
            return self.chat.about
        made = {"run": self.retrieval.run, "warning": self.retrieval.warning}
        return {name: value for name, value in made.items() if value}

    def key(self, fasta: Path) -> str:
        """Hash of everything that the rows depend on."""
        chat = self.chat
        model = [chat.hash, chat.max_new_tokens, chat.device, self.about] if chat else [self.about]
        made_by = [model, asdict(self.sampling), self.named, torch.__version__]
        return digest([sha256(fasta), self.questions, *made_by, VERSION])

    def rows(self, records: Sequence[Record | Refused]) -> list[dict]:
        """A row for each question about each record, and one for a record that is refused."""
        asked: list[tuple[Record, str]] = []
        found: list[dict | None] = []  # None: the next one of those that are asked
        for record in records:
            try:
                if isinstance(record, Refused):
                    raise InputError(record.reason)
                if self.chat:
                    rna, most = [record.sequence], self.chat.max_new_tokens
                    check_room(self.chat.model, rna, self.questions, most)
            except InputError as error:
                found.append({"id": record.id, "line": record.line, "refused": str(error)})
                continue
            asked += [(record, question) for question in self.questions]
            found += [None] * len(self.questions)
        answers = [None] * len(asked)
        if self.chat:
            rnas, questions = [rna.sequence for rna, _ in asked], [one for _, one in asked]
            answers = self.chat.answer_all(rnas, questions, sampling=self.sampling)
        answered = iter(map(self._row, asked, answers))
        return [(row or next(answered)) | self.about for row in found]

    def _row(self, asked: tuple[Record, str], answer: Answer | None) -> dict:
        record, question = asked
        rna = record.sequence
        row = {"id": record.id, "line": record.line, "nt": len(rna), "question": question}
        if answer:
            row |= {"answer": answer.text, "stop_reason": answer.stop_reason}
            row |= {"sampling": asdict(self.sampling)} if self.sampling.temperature else {}
        if self.retrieval:
            text = answer.text if answer else None
            row |= {"retrieved": self.retrieval.retrieve(rna, question, text, record.id)}
        return row | ({"notes": [*record.notes]} if record.notes else {})


def ask_file(asker: Asker, fasta: Path, out: Path, force: bool = False) -> dict[str, int]:
    """Write the rows of all records of ``fasta`` to ``out`` (.jsonl, .tsv or .md).

    Returns how many ``rows`` and ``refused`` records it holds, and how many rows were ``kept`` from
    an earlier attempt. Raises InputError for a file that is no FASTA, for an ``out`` that exists, or
    that an earlier attempt with another model, file or question has begun (unless ``force``).
    """
    check_place(out, FORMS, force)
    try:
        with fasta.open("rb"):
            if not fasta.is_file():
                raise InputError(f"{fasta} is no file; what comes out of a pipe goes to --fasta -")
    except OSError as error:
        raise InputError(f"{fasta} cannot be read: {error.strerror}; check the path") from None
    partial = out.with_name(f"{out.name}.partial")
    counts = {"rows": 0, "refused": 0, "kept": 0}
    with writing(out, "choose another --out, or make room"), holding(out, str(out)):
        check_place(out, FORMS, force)  # another call may just have written it
        with Store(partial, about=asker.key(fasta), replace=force) as store:
            with replacing(out) as temporary:
                write(_kept_rows(asker, fasta, store, counts), temporary, out.suffix)
            store.remove()
    return counts


def _kept_rows(asker: Asker, fasta: Path, store: Store, counts: dict[str, int]) -> Iterator[dict]:
    """All rows, in the order of the records; each chunk is in the store before it is given out."""
    records = stream_records(fasta)
    chunks = iter(lambda: list(islice(records, CHUNK)), [])
    with progress(desc="asking", unit=" records") as bar:
        for number, chunk in enumerate(chunks):
            if kept := store.get(str(number)):
                rows = json.loads(kept)
                counts["kept"] += len(rows)
            else:
                rows = asker.rows(chunk)
                store.put(str(number), json.dumps(rows).encode())
            counts["rows"] += len(rows)
            counts["refused"] += sum("refused" in row for row in rows)
            yield from rows
            bar.update(len(chunk))


# --- rows as a file


def write(rows: Iterable[dict], path: Path, form: str) -> None:
    """Write rows in one pass; ``form``: an ending of `FORMS`."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(FORMS[form](rows))


def _jsonl(rows: Iterable[dict]) -> Iterator[str]:
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _tsv(rows: Iterable[dict]) -> Iterator[str]:
    yield "\t".join(COLUMNS) + "\n"
    for row in rows:
        found = row.get("retrieved", {})
        near = next(iter(found.get("neighbours", [])), {})
        row = row | {
            "statements": " ".join(found.get("statements", [])),
            "nearest": next(iter(near.get("rna_ids", [])), ""),
            "identity": near.get("identity", ""),
            "notes": " ".join(row.get("notes", [])),
        }
        yield "\t".join(_cell(row.get(name, "")) for name in COLUMNS) + "\n"


def _cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula, and no reader for the start of a quotation."""
    text = one_line(str(value))
    risky = text.startswith(('"', *FORMULA)) or text.lstrip().startswith(FORMULA)
    return f"'{text}" if risky else text


def _markdown(rows: Iterable[dict]) -> Iterator[str]:
    yield "# Answers\n\n"
    for number, ((name, line), about) in enumerate(groupby(rows, lambda r: (r["id"], r["line"]))):
        own = list(about)
        if not number:
            yield MARKDOWN.made_by(own[0])
        yield MARKDOWN.answers(name, line, own)


FORMS = {".jsonl": _jsonl, ".tsv": _tsv, ".md": _markdown}
