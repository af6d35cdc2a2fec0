"""The one door for sequences: FASTA files, uploads and text boxes that nobody has vouched for.

Three ways in, over one reader: `read_fasta` and `stream_fasta` stop at the first fault (or note it)
and hold sequences of any length; `stream_records` goes on after it, within a fixed amount of
memory; `read_chosen` takes what somebody pastes to ask about, with notes on how it was read
(`read_sequence`). Ids and descriptions come without characters that do not print. Needs no torch.
"""

import codecs
import gzip
import io
import math
import re
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.sequences import MIN_LENGTH, WINDOW, compact, gaps, normalise
from rnagpt_lib.core.text import printable

# of one record, and of one source, in `stream_records`
MAX_LENGTH, MAX_ID, MAX_DESCRIPTION, MAX_RECORDS = 100_000, 200, 1_000, 2_000_000
PASTED = "pasted"  # the id of a sequence that came without a header
LISTED = 1000  # records of a source that one can choose from
Source = str | Path | bytes  # text, a file, an upload
PIECE = 1 << 16  # characters read at a time
MAX_HEADER = 1 << 16
_INDENT = " \t\r\f\v\xa0\ufeff"  # before a line's first letter; joined files keep their BOMs
_BLANK = _INDENT + "\n"
_MARKED = re.compile(f"\n[{_INDENT}]*+(?:>[^\n]*+|;[^\n]*+(?:\n[{_INDENT}]*+;[^\n]*+)*+)")
_BREAKS = re.compile("[\f\v\x1c-\x1e\x85\u2028\u2029]")  # what ends lines in pasted text
_BINARY = re.compile("[\0\ud800-\udfff]")  # surrogates are bytes that are no UTF-8
_FORMATS = {  # by their first bytes
    b"\x1f\x8b": "a gzip file that was zipped twice",
    b"PK\x03\x04": "a zip archive (or an office document)",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"%PDF": "a PDF",
}

_NO_ID = "the header has no id; write '>id' before it"


@dataclass(frozen=True)
class Record:
    """One FASTA entry; ``line`` is the number of its header line, counted from 1, ``dna`` says
    whether it was written with T, and ``gaps`` how many of an alignment's were left out."""

    id: str
    description: str
    sequence: str
    line: int
    dna: bool = field(default=False, compare=False)
    gaps: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Refused:
    """A record that cannot be used, and a sentence that says why; ``id`` is empty if it has none."""

    id: str
    line: int
    reason: str


def read_fasta(source: str | Path, refused: dict[str, str] | None = None) -> list[Record]:
    """All records of a FASTA file (plain or gzip) or of FASTA text (anything with a ``>``).

    A record that appears twice with the same sequence is kept once. With ``refused``, records
    that hold a foreign letter, and repeats, are noted there (id → reason) and left out. Raises
    InputError with the file, the line and the remedy for everything that is not FASTA of RNA.
    """
    records: dict[str, Record] = {}
    for record in stream_fasta(source, refused):
        known = records.setdefault(record.id, record)
        if known.sequence != record.sequence:
            raise InputError(
                f"{label(_given(source))}, line {record.line}: id {record.id!r} was used on line"
                f" {known.line} for another sequence; give each sequence an id of its own"
            )
        if known is not record and refused is not None:
            refused[record.id] = f"line {record.line}: the same record as on line {known.line}"
    return list(records.values())


def stream_fasta(source: str | Path, refused: dict[str, str] | None = None) -> Iterator[Record]:
    """The records one by one, with normalised sequences; holds one record in memory."""
    source = _given(source)
    where = label(source)
    for entry in _entries(source):
        name, description = entry.names
        if not name:
            raise InputError(f"{where}, line {entry.line}: {_NO_ID}")
        try:
            sequence = normalise("".join(entry.parts))
        except InputError as error:
            if refused is None:
                raise InputError(f"{where}, record {name!r} (line {entry.line}): {error}") from None
            key = name if name not in refused else f"{name} (line {entry.line})"
            refused[key] = f"line {entry.line}: {error}"
            continue
        yield Record(name, description, sequence, entry.line, entry.dna, entry.gaps)


def stream_records(source: Source) -> Iterator[Record | Refused]:
    """Every record as it is read, or why it is refused; holds one record, and hashes of ids.

    ``source``: a file (plain or gzip) by its Path, the bytes of an upload, or text. A str is
    never a path, as what is typed into a box must not open files; text that holds nucleotides
    alone is one record with the id ``pasted``. Refused are records with a foreign letter, without
    an id or a sequence, of under 10 or over 100,000 nt, and those whose id a record before has.
    Raises InputError with the source, the line and the remedy when nothing more can be read:
    binary, another encoding than UTF-8, no header first, empty, damaged, not there.

    >>> list(stream_records(">a x\\nacgtacgtac\\n>b\\nMKV"))
    [Record(id='a', description='x', sequence='ACGUACGUAC', line=1), Refused(id='b', line=3, ...)]
    """
    seen = _Seen()
    for count, entry in enumerate(_entries(source, MAX_LENGTH, bare=isinstance(source, str))):
        if count == MAX_RECORDS:
            raise InputError(
                f"{label(source)}, line {entry.line}: there are more than {MAX_RECORDS:,} records;"
                " give the file in parts"
            )
        name, description = entry.names
        try:
            sequence = _usable(entry, name)
            seen.add(name, sequence, entry.line)
        except _Unusable as error:
            yield Refused(_cut(name, MAX_ID), entry.line, str(error))
        else:
            about = _cut(description, MAX_DESCRIPTION)
            yield Record(name, about, sequence, entry.line, entry.dna, entry.gaps)


def check_sequence(text: str) -> str:
    """The sequence as it is encoded: normalised. Raises InputError for a foreign letter, and for
    under 10 nt."""
    rna = normalise(text)
    if len(rna) < MIN_LENGTH:
        raise InputError(
            f"the sequence has {len(rna)} nt; under {MIN_LENGTH} nt the encoder is unreliable, "
            "give a longer one"
        )
    return rna


def read_sequence(text: str, dna: bool = False, gapped: int = 0) -> tuple[str, list[str]]:
    """A typed sequence as RNA, with notes for the reader: ``"acgt…" → ("ACGU…", ["it is written as DNA …"])``.

    ``dna``, ``gapped``: it was written with T, or with so many gaps, which a FASTA reader has
    made U and left out.

    Raises InputError for anything that is no nucleotide sequence of at least 10 nt.
    """
    rna, notes = check_sequence(text), []
    if dna or "T" in text.upper():
        notes.append("it is written as DNA, with T; it was read as RNA, every T as U.")
    if gapped := gapped or gaps(text):
        notes.append(f"{gapped} of its characters are gaps (- or .), and were left out.")
    if len(rna) > WINDOW:
        notes.append(
            f"{len(rna):,} nt are more than the encoder's {WINDOW:,}; they were read in "
            "overlapping windows, averaged where these overlap."
        )
    return rna, notes


@dataclass(frozen=True)
class Chosen:
    """An RNA that can be asked about; ``notes`` say how it was read."""

    id: str
    description: str
    sequence: str
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, rna_id: str, description: str, text: str, *written: object) -> "Chosen":
        """``written``: ``dna`` and ``gaps`` of ``read_sequence``. Raises InputError as that does."""
        rna, notes = read_sequence(text, *written)
        return cls(rna_id, description, rna, tuple(notes))


def read_chosen(source: str | bytes | Path) -> tuple[list[Chosen], list[Refused]]:
    """The records of FASTA, or one bare sequence, and those that cannot be read.

    Text is never taken for a path. Behind the first `LISTED` records the rest is refused as one.
    Raises InputError for what is neither FASTA nor a sequence.
    """
    if isinstance(source, str) and ">" not in source:
        return [Chosen.of("pasted sequence", "", source)], []
    chosen: list[Chosen] = []
    refused: list[Refused] = []
    records = stream_records(source)
    for record in islice(records, LISTED):
        if isinstance(record, Refused):
            refused.append(record)
        else:
            written = record.sequence, record.dna, record.gaps
            chosen.append(Chosen.of(record.id, record.description, *written))
    if more := next(records, None):
        reason = f"only the first {LISTED:,} records can be chosen from; give the rest by itself"
        refused.append(Refused(more.id, more.line, reason))
    return chosen, refused


class _Unusable(ValueError):
    """Why one record is refused."""


def _usable(entry: "_Entry", name: str) -> str:
    """The record's sequence."""
    if not name:
        raise _Unusable(_NO_ID)
    if len(name) > MAX_ID:
        raise _Unusable(f"the id has more than {MAX_ID} characters; give it a shorter one")
    if entry.length > MAX_LENGTH:
        raise _Unusable(
            f"the sequence has more than {MAX_LENGTH:,} letters, which are the most that are read;"
            " give a part of it"
        )
    try:
        return check_sequence("".join(entry.parts))
    except InputError as error:
        raise _Unusable(str(error)) from None


class _Seen:
    """The ids so far, with line and sequence: 16 bytes for each, in short rows of hashes."""

    def __init__(self):
        self._rows = defaultdict(lambda: (array("Q"), array("Q")))

    def add(self, name: str, sequence: str, line: int) -> None:
        """Raises _Unusable when the id was there before."""
        key, mark = hash(name) & 0xFFFF_FFFF_FFFF_FFFF, hash(sequence) & 0xFF_FFFF
        keys, values = self._rows[key & 0xFFFF]
        if key in keys:
            first, known = divmod(values[keys.index(key)], 1 << 24)
            if known == mark:
                raise _Unusable(f"it is the same record as on line {first}")
            raise _Unusable(
                f"its id was used on line {first} for another sequence; give each sequence an id"
                " of its own"
            )
        keys.append(key)
        values.append(line << 24 | mark)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


# The reader. Whatever the source, one piece of it is held at a time.


@dataclass
class _Entry:
    """A record as it stands there; of a sequence longer than ``most`` nothing is held."""

    line: int
    header: str | None  # None: a sequence without one
    most: float
    parts: list[str] = field(default_factory=list)
    length: int = 0
    gaps: int = 0

    def add(self, text: str) -> None:
        if self.length <= self.most and (letters := compact(text)):
            self.length += len(letters)
            self.gaps += gaps(text)
            self.parts.append(letters)
        if self.length > self.most:
            self.parts.clear()

    @property
    def dna(self) -> bool:
        return any("T" in part or "t" in part for part in self.parts)

    @property
    def names(self) -> tuple[str, str]:
        """Id and description, up to and behind the first white space."""
        if self.header is None:
            return PASTED, ""
        name, _, description = printable(self.header).strip().partition(" ")
        return name, description.strip()


def _entries(source: Source, most: float = math.inf, bare: bool = False) -> Iterator[_Entry]:
    """All records; with ``bare``, a source of nucleotides alone is one without a header."""
    entry, kind = None, ""
    for line, begins, text in lines(source):
        kind = text[:1] if begins else kind
        if kind == ">":
            if begins:
                if entry is not None and entry.header is None:
                    raise _no_header(source, entry.line)
                if entry is not None:
                    yield entry
                entry, text = _Entry(line, "", most), text[1:]
            entry.header = (entry.header + text)[:MAX_HEADER]
        elif text and kind != ";":
            if entry is None and not bare:
                raise _no_header(source, line)
            entry = entry or _Entry(line, None, most)
            entry.add(text)
    if entry is None:
        raise InputError(f"{label(source)} is empty; give a FASTA file with at least one record")
    if entry.header is None:
        _all_nucleotides(entry, source)
    yield entry


def _no_header(source: Source, line: int) -> InputError:
    return InputError(
        f"{label(source)}, line {line}: a FASTA file starts with a header line such as"
        " '>my_rna', here a line without one comes first; add it"
    )


def _all_nucleotides(entry: _Entry, source: Source) -> None:
    try:
        normalise("".join(entry.parts) or "N")
    except InputError as error:
        raise InputError(
            f"{label(source)}, line {entry.line}: this is neither FASTA, which starts with a"
            f" header line such as '>my_rna', nor a sequence alone: {error}"
        ) from None


def _given(source: str | Path) -> str | Path:
    """A str of one line without ``>`` is a path."""
    is_text = isinstance(source, str) and (">" in source or "\n" in source)
    return source if is_text else Path(source)


def lines(source: Source) -> Iterator[tuple[int, bool, str]]:
    """(number, whether a line begins, text): a header, comments, or the lines between such.

    Lines that belong together come together, as ``2, True, "ACGU\\nACGU"``, a header by itself.
    Where a piece of the source ends, a line is cut in two, and its rest comes without a beginning.
    Lines begin with the first character that is not blank; blank ones are left out, but count.
    """
    number, ended = 0, "\n"  # the end of the line before, as if there were one before the first
    for chunk in _chunks(source):
        binary = _binary(chunk)
        text = ended + (chunk if binary is None else chunk[: chunk.rfind("\n", 0, binary) + 1])
        for part in _parts(text):
            begins = part.startswith("\n")
            body = part.lstrip(_BLANK) if begins else part
            if body:
                yield number + part[: len(part) - len(body)].count("\n"), begins, body
            number += part.count("\n")
        if binary is not None:
            raise InputError(
                f"{label(source)}, line {number}: this is binary, not text, or text that is not"
                " UTF-8; give a FASTA file, saved as plain text in UTF-8"
            )
        ended = "\n" if text.rstrip(_INDENT).endswith("\n") else ""
        number -= len(ended)


def _parts(text: str) -> Iterator[str]:
    """The rest of a line, then what `lines` tells apart, each with the line end before it."""
    place = 0 if text.startswith("\n") else text.find("\n") % (len(text) + 1)
    if place:
        yield text[:place]
    for mark in _MARKED.finditer(text, place) if ">" in text or ";" in text else ():
        if mark.start() > place:
            yield text[place : mark.start()]
        yield mark.group()
        place = mark.end()
    if place < len(text):
        yield text[place:]


def _binary(text: str) -> int | None:
    """Where the first character is that no text has."""
    if text.isascii():
        return text.index("\0") if "\0" in text else None
    found = _BINARY.search(text)
    return found and found.start()


def _chunks(source: Source) -> Iterator[str]:
    """The text in pieces, every line end as ``\\n``, bytes that are no UTF-8 as surrogates."""
    if isinstance(source, str):
        newlines = io.IncrementalNewlineDecoder(None, translate=True)
        for start in range(0, len(source), PIECE):
            last = start + PIECE >= len(source)
            yield _BREAKS.sub("\n", newlines.decode(source[start : start + PIECE], last))
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(_opened(source))
            if stream.peek(2)[:2] == b"\x1f\x8b":
                stream = stack.enter_context(gzip.open(stream, "rb"))
            _check_format(stream.peek(8), source)
            text = io.TextIOWrapper(stream, "utf-8", "surrogateescape")
            while chunk := text.read(PIECE):
                yield chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            message = f"{label(source)} is a damaged gzip file ({error}); fetch it again"
            raise InputError(message) from error
        except OSError as error:
            message = f"{label(source)} cannot be read: {error.strerror or error}; check the path"
            raise InputError(message) from error


def _opened(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BufferedReader(io.BytesIO(source))
    try:
        return source.open("rb")
    except (FileNotFoundError, ValueError):  # a path with NUL
        raise InputError(f"{label(source)}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{label(source)} is a folder; give a FASTA file") from None


def _check_format(head: bytes, source: Path | bytes) -> None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        raise InputError(f"{label(source)}, line 1: this is UTF-16 or UTF-32; save it as UTF-8")
    for magic, what in _FORMATS.items():
        if head.startswith(magic):
            raise InputError(
                f"{label(source)} is {what}; give the FASTA file itself, as plain text or .gz"
            )


def label(source: Source) -> str:
    """What messages call it."""
    if isinstance(source, str):
        return "the FASTA text"
    return "the upload" if isinstance(source, bytes) else printable(str(source))
