"""FASTA out of files, uploads and text boxes, none of which anybody has vouched for.

Two ways to read it, over one reader: `stream_fasta` and `read_fasta` stop at the first fault (or
note it) and hold sequences of any length; `stream_records` goes on after it, within a fixed amount
of memory. Ids and descriptions come without characters that do not print. Needs no torch.
"""

import math
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta_lines import PIECE, Source, label, lines, printable
from rnagpt_lib.core.sequences import MIN_LENGTH, compact, gaps, normalise

# of one record, and of one source, in `stream_records`
MAX_LENGTH, MAX_ID, MAX_DESCRIPTION, MAX_RECORDS = 100_000, 200, 1_000, 2_000_000
PASTED = "pasted"  # the id of a sequence that came without a header

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
        sequence = normalise("".join(entry.parts))
    except InputError as error:
        raise _Unusable(str(error)) from None
    if len(sequence) < MIN_LENGTH:
        raise _Unusable(
            f"the sequence has {len(sequence)} nt; under {MIN_LENGTH} nt the encoder is"
            " unreliable, give a longer one"
        )
    return sequence


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
            entry.header = (entry.header + text)[:PIECE]
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
