"""The one door for sequences: FASTA files, uploads and text boxes that nobody has vouched for.

`read_fasta` and `stream_fasta` stop at the first fault (or note it) and hold sequences of up to ten
million letters; `stream_records` goes on after it, within a fixed amount of memory; `read_chosen`
takes what somebody pastes to ask about. Ids and descriptions come without characters that do not
print.
"""

import codecs
import gzip
import io
import re
import zlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.sequences import MIN_LENGTH, WINDOW, compact, gaps, normalise
from rnagpt_lib.core.text import cut, printable

# of one record, and of one source, in `stream_records`
MAX_LENGTH, MAX_ID, MAX_DESCRIPTION, MAX_RECORDS = 100_000, 200, 1_000, 2_000_000
LONGEST = 10_000_000  # letters of a record in `stream_fasta`
MOST_HELD, RECORD = 800_000_000, 400  # bytes that `read_fasta` holds; of a record beside letters
MOST_REFUSED = 500_000
LISTED = 1000  # records of a source that one can choose from
# a text is never a path: what is typed into a box opens no file; bytes are an upload
Source = str | Path | bytes
PIECE = 1 << 16  # characters read at a time
MAX_HEADER = 1 << 16
_INDENT = " \t\r\f\v\xa0\ufeff"  # before a line's first letter; joined files keep their BOMs
_MARKED = re.compile(f"(\n[{_INDENT}]*+[>;][^\n]*)")  # a header or a comment
_BREAKS = re.compile("[\f\v\x1c-\x1e\x85\u2028\u2029]")  # what ends lines in pasted text
_BINARY = re.compile("[\0\ud800-\udfff]")  # surrogates are bytes that are no UTF-8
_WIDE = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE
_OTHERS = {  # what else begins so, and its name in Biopython
    r"@(HD|SQ|RG|PG|CO)\t": ("SAM", "sam"),
    "@": ("FASTQ", "fastq"),
    "CLUSTAL|MUSCLE|PROBCONS": ("a CLUSTAL alignment", "clustal"),
    "# STOCKHOLM": ("a Stockholm alignment", "stockholm"),
    "LOCUS {2}": ("GenBank", "genbank"),
    "ID {3}": ("EMBL", "embl"),
    "#NEXUS": ("NEXUS", "nexus"),
    r"\d+\s+\d+\s*$": ("a PHYLIP alignment", "phylip-relaxed"),
}
_FORMATS = {  # by their first bytes
    b"\x1f\x8b": "a gzip file that was zipped twice",
    b"PK\x03\x04": "a zip archive (or an office document)",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"%PDF": "a PDF",
}


@dataclass(frozen=True, slots=True)
class Record:
    """An RNA: ``notes`` say how its sequence was read, ``line`` is that of its header, from 1."""

    id: str
    description: str
    sequence: str
    notes: tuple[str, ...] = ()
    line: int = 1

    @classmethod
    def of(cls, rna_id: str, description: str, text: str) -> "Record":
        """A sequence as somebody wrote it. Raises InputError as `check_sequence` does."""
        rna = check_sequence(text)
        return cls(rna_id, description, rna, _notes(text, rna, gaps(text)))


@dataclass(frozen=True)
class Refused:
    """A record that cannot be used, and a sentence that says why; ``id`` is empty if it has none."""

    id: str
    line: int
    reason: str


def read_fasta(source: Source, refused: dict[str, str] | None = None) -> list[Record]:
    """All records of a FASTA file (plain or gzip), of an upload or of FASTA text.

    A record that appears twice with the same sequence is kept once. With ``refused``, records
    that hold a foreign letter, and repeats, are noted there (id → reason) and left out. Raises
    InputError with the file, the line and the remedy for everything that is not FASTA of RNA.
    """
    records: dict[str, Record] = {}
    held = 0
    for record in stream_fasta(source, refused):
        held += RECORD + len(record.sequence)
        if held > MOST_HELD:
            raise InputError(f"{label(source)} holds more than memory should; give it in parts")
        known = records.setdefault(record.id, record)
        if known.sequence != record.sequence:
            raise InputError(
                f"{label(source)}, line {record.line}: id {record.id!r} was used on line"
                f" {known.line} for another sequence; give each sequence an id of its own"
            )
        if known is not record and refused is not None:
            refused[record.id] = f"line {record.line}: the same record as on line {known.line}"
    return list(records.values())


def stream_fasta(source: Source, refused: dict[str, str] | None = None) -> Iterator[Record]:
    """The records one by one, with normalised sequences; holds one record in memory."""
    for one in _records(source, normalise, LONGEST):
        if isinstance(one, Record):
            yield one
        elif refused is None or not one.id:
            where = f"{label(source)}, record {one.id!r} (line {one.line})"
            raise InputError(f"{where}: {one.reason}")
        elif len(refused) >= MOST_REFUSED:
            said = f"more than {MOST_REFUSED:,} records cannot be used, as {one.id!r}: {one.reason}"
            raise InputError(f"{label(source)}: {said}")
        else:
            key = one.id if one.id not in refused else f"{one.id} (line {one.line})"
            refused[key] = f"line {one.line}: {one.reason}"


def stream_records(source: Source) -> Iterator[Record | Refused]:
    """Every record as it is read, or why it is refused; holds one record, and hashes of ids.

    Refused are records with a foreign letter, without an id or a sequence, of under 10 or over
    100,000 nt, and those whose id a record before has. Raises InputError with the source, the line
    and the remedy when nothing more can be read: binary, another encoding than UTF-8, no header
    first, empty, damaged, not there.

    >>> list(stream_records(">a x\\nacguacguac\\n>b\\nMKV"))
    [Record(id='a', description='x', sequence='ACGUACGUAC', notes=(), line=1), Refused(id='b', ...)]
    """
    seen = _Seen()
    for count, one in enumerate(_records(source, check_sequence, MAX_LENGTH)):
        if count == MAX_RECORDS:
            raise InputError(
                f"{label(source)}, line {one.line}: there are more than {MAX_RECORDS:,} records;"
                " give the file in parts"
            )
        if len(one.id) > MAX_ID:
            reason = f"the id has more than {MAX_ID} characters; give it a shorter one"
            yield Refused(cut(one.id, MAX_ID), one.line, reason)
        elif isinstance(one, Record) and (reason := seen.fault(one)):
            yield Refused(one.id, one.line, reason)
        elif isinstance(one, Record) and len(one.description) > MAX_DESCRIPTION:
            yield replace(one, description=cut(one.description, MAX_DESCRIPTION))
        else:
            yield one


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


def read_chosen(source: Source) -> tuple[list[Record], list[Refused]]:
    """The records of FASTA, or one bare sequence, and those that cannot be read.

    Behind the first `LISTED` records the rest is refused as one. Raises InputError for what is
    neither FASTA nor a sequence.
    """
    if isinstance(source, str) and ">" not in source:
        return [Record.of("pasted sequence", "", source)], []
    records = stream_records(source)
    listed = list(islice(records, LISTED))
    if more := next(records, None):
        reason = f"only the first {LISTED:,} records can be chosen from; give the rest by itself"
        listed.append(Refused(more.id, more.line, reason))
    chosen = [one for one in listed if isinstance(one, Record)]
    return chosen, [one for one in listed if isinstance(one, Refused)]


def label(source: Source) -> str:
    """What messages call it."""
    if isinstance(source, str):
        return "the FASTA text"
    return "the upload" if isinstance(source, bytes) else printable(str(source))


def _notes(text: str, rna: str, gapped: int) -> tuple[str, ...]:
    """How ``text``, with so many gaps, was read as ``rna``."""
    notes = []
    if "T" in text or "t" in text:
        notes.append("it is written as DNA, with T; it was read as RNA, every T as U.")
    if gapped:
        notes.append(f"{gapped} of its characters are gaps (- or .), and were left out.")
    if len(rna) > WINDOW:
        notes.append(
            f"{len(rna):,} nt are more than the encoder's {WINDOW:,}; they were read in "
            "overlapping windows, averaged where these overlap."
        )
    return tuple(notes)


class _Seen:
    """The ids so far, with line and sequence: 16 bytes for each, in short rows of hashes."""

    def __init__(self):
        self._rows = defaultdict(lambda: (array("Q"), array("Q")))

    def fault(self, record: Record) -> str:
        """Why a record's id cannot be used again; "" for a new one, which is known from now on."""
        key, mark = hash(record.id) & 0xFFFF_FFFF_FFFF_FFFF, hash(record.sequence) & 0xFF_FFFF
        keys, values = self._rows[key & 0xFFFF]
        if key not in keys:
            keys.append(key)
            values.append(record.line << 24 | mark)
            return ""
        first, known = divmod(values[keys.index(key)], 1 << 24)
        if known == mark:
            return f"it is the same record as on line {first}"
        return (
            f"its id was used on line {first} for another sequence; give each sequence an id of its"
            " own"
        )


# The reader. Whatever the source, one piece of it is held at a time.


@dataclass
class _Entry:
    """A record as it stands there; of a sequence longer than ``most`` nothing is held."""

    line: int
    most: float
    header: str = ""
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

    def read(self, check: Callable[[str], str]) -> Record | Refused:
        name, _, description = printable(self.header).strip().partition(" ")
        letters = "".join(self.parts)
        try:
            if not name:
                raise InputError("the header has no id; write '>id' before it")
            if self.length > self.most:
                raise InputError(
                    f"the sequence has more than {self.most:,} letters, which are the most that are"
                    " read; give a part of it"
                )
            rna = check(letters)
        except InputError as error:
            return Refused(name, self.line, str(error))
        notes = _notes(letters, rna, self.gaps)
        return Record(name, description.strip(), rna, notes, self.line)


def _records(
    source: Source, check: Callable[[str], str], most: float
) -> Iterator[Record | Refused]:
    """All records, their sequences checked by ``check``, which may raise InputError."""
    entry, kind = None, ""
    for line, begins, text in _lines(source):
        kind = text[0] if begins else kind
        if kind == ">":
            if begins and entry is not None:
                yield entry.read(check)
            if begins:
                entry, text = _Entry(line, most), text[1:]
            entry.header = (entry.header + text)[:MAX_HEADER]
        elif kind != ";":
            if entry is None:
                raise InputError(f"{label(source)}, line {line}: {_headless(text)}")
            entry.add(text)
    if entry is None:
        raise InputError(f"{label(source)} is empty; give a FASTA file with at least one record")
    yield entry.read(check)


def _headless(text: str) -> str:
    """What is wrong with a file that begins so, and what to do."""
    for begin, (what, name) in _OTHERS.items():
        if re.match(begin, text, re.MULTILINE):
            by = f"Biopython: SeqIO.convert('FILE', '{name}', 'my.fasta', 'fasta')"
            by = "'samtools fasta FILE > my.fasta'" if name == "sam" else by
            return f"this is {what}, and FASTA is read; convert it with {by}"
    return (
        "a FASTA file starts with a header line such as '>my_rna', here a line without one comes "
        "first; add it"
    )


def _lines(source: Source) -> Iterator[tuple[int, bool, str]]:
    """(number, whether a line begins, text): a header, a comment, or the lines between such.

    A line longer than a piece comes in parts, the later of them without a beginning. Lines begin
    with the first character that is not blank; blank ones are left out, but count.
    """
    number, ended = 0, "\n"  # the end of the line before, as if there were one before the first
    for chunk in _chunks(source):
        plain = chunk.isascii() and "\0" not in chunk
        binary = None if plain else _BINARY.search(chunk)
        text = ended + (chunk[: chunk.rfind("\n", 0, binary.start()) + 1] if binary else chunk)
        first = 0 if ended else text.find("\n") % (len(text) + 1)
        for part in filter(None, [text[:first], *_MARKED.split(text[first:])]):
            begins = part.startswith("\n")
            body = part.lstrip(_INDENT + "\n") if begins else part
            if body:
                yield number + part.count("\n", 0, len(part) - len(body)), begins, body
            number += part.count("\n")
        if binary:
            raise InputError(
                f"{label(source)}, line {number}: this is binary, not text, or text that is not"
                " UTF-8; give a FASTA file, saved as plain text in UTF-8"
            )
        ended = "\n" if text.rstrip(_INDENT).endswith("\n") else ""
        number -= len(ended)


def _chunks(source: Source) -> Iterator[str]:
    """The text in pieces that end with a line where it is short enough, every line end as ``\\n``,
    bytes that are no UTF-8 as surrogates."""
    with ExitStack() as stack:
        try:
            if isinstance(source, str):
                text = io.StringIO(_BREAKS.sub("\n", source), newline=None)
            else:
                text = io.TextIOWrapper(_opened(source, stack), "utf-8", "surrogateescape")
            while chunk := text.read(PIECE) + text.readline(PIECE):
                yield chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            message = f"{label(source)} is a damaged gzip file ({error}); fetch it again"
            raise InputError(message) from error
        except OSError as error:
            message = f"{label(source)} cannot be read: {error.strerror or error}; check the path"
            raise InputError(message) from error


def _opened(source: Path | bytes, stack: ExitStack) -> io.BufferedIOBase:
    """The bytes, unzipped. Raises InputError for a format that is none of text."""
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    except (FileNotFoundError, ValueError):  # a path with NUL
        raise InputError(f"{label(source)}: there is no such file; check the path") from None
    stream = stack.enter_context(io.BufferedReader(file) if isinstance(source, bytes) else file)
    if stream.peek(2)[:2] == b"\x1f\x8b":
        stream = stack.enter_context(gzip.open(stream, "rb"))
    head = stream.peek(8)
    if head.startswith(_WIDE):
        raise InputError(f"{label(source)}, line 1: this is UTF-16 or UTF-32; save it as UTF-8")
    for magic, what in _FORMATS.items():
        if head.startswith(magic):
            plain = "give the FASTA file itself, as plain text or .gz"
            raise InputError(f"{label(source)} is {what}; {plain}")
    return stream
