"""RNA sequences: the alphabet, FASTA files, windows, k-mers. Needs no torch.

Sequences are upper-case strings over the IUPAC RNA letters (DNA's T becomes U, as RNA-FM
reads every other letter as unknown without a word).
"""

import gzip
import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnagpt_lib.errors import InputError

LETTERS = "ACGU"
AMBIGUOUS = "RYSWKMBDHVN"  # IUPAC codes for two or more nucleotides
WINDOW = 1022  # RNA-FM has 1,024 positions, two of them taken by <cls> and <eos>
_COMPLEMENT = str.maketrans("ACGURYSWKMBDHVN", "UGCAYRSWMKVHDBN")
_ALLOWED = frozenset(LETTERS + AMBIGUOUS)
_FOREIGN = "it is not an RNA letter"


@dataclass(frozen=True)
class Record:
    """One FASTA entry; ``line`` is the number of its header line, counted from 1."""

    id: str
    description: str
    sequence: str
    line: int


def normalise(sequence: str) -> str:
    """Upper case, T as U, without white space and alignment gaps.

    >>> normalise("acg tN-a")
    'ACGUNA'

    Raises InputError that names the first letter that is no IUPAC RNA letter and its position
    (counted from 1, white space and gaps left out).
    """
    text = "".join(sequence.split()).replace("-", "").replace(".", "").upper().replace("T", "U")
    if not text:
        raise InputError("the sequence is empty; give at least one nucleotide")
    if not _ALLOWED.issuperset(text):  # all letters at once, as every visit of an RNA comes by here
        position, letter = next((p, x) for p, x in enumerate(text, start=1) if x not in _ALLOWED)
        raise InputError(
            f"letter {letter!r} at position {position}: {_why(letter)}; use A, C, G, U"
            " (or T) and the IUPAC codes of ambiguous nucleotides, N for an unknown one"
        )
    return text


def _why(letter: str) -> str:
    if letter == "X":
        return "X is not an IUPAC nucleotide code"
    if letter in "EFIJLOPQZ":
        return f"{_FOREIGN}, the sequence looks like a protein"
    return _FOREIGN


def read_fasta(source: str | Path, refused: dict[str, str] | None = None) -> list[Record]:
    """All records of a FASTA file (plain or gzip) or of FASTA text (anything with a ``>``).

    A record that appears twice with the same sequence is kept once. With ``refused``, records
    that hold a foreign letter, and repeats, are noted there (id → reason) and left out. Raises InputError with
    the file, the line and the remedy for everything that is not FASTA of RNA.
    """
    records: dict[str, Record] = {}
    for record in stream_fasta(source, refused):
        known = records.setdefault(record.id, record)
        if known.sequence != record.sequence:
            raise InputError(
                f"{_label(source)}, line {record.line}: id {record.id!r} was used on line"
                f" {known.line} for another sequence; give each sequence an id of its own"
            )
        if known is not record and refused is not None:
            refused[record.id] = f"line {record.line}: the same record as on line {known.line}"
    return list(records.values())


def stream_fasta(source: str | Path, refused: dict[str, str] | None = None) -> Iterator[Record]:
    """The records one by one, with normalised sequences; holds one record in memory."""
    label, header, line, parts = _label(source), None, 0, []
    for number, text in _lines(source):
        if text.startswith(">"):
            if header is not None:
                yield from _record(label, header, line, parts, refused)
            header, line, parts = text[1:].strip(), number, []
        elif text and header is None:
            raise InputError(
                f"{label}, line {number}: a FASTA file starts with a header line such as"
                " '>my_rna', here a line without one comes first; add it"
            )
        elif text and not text.startswith(";"):
            parts.append(text)
    if header is None:
        raise InputError(f"{label} is empty; give a FASTA file with at least one record")
    yield from _record(label, header, line, parts, refused)


def _record(
    label: str, header: str, line: int, parts: list[str], refused: dict[str, str] | None
) -> Iterator[Record]:
    name, _, description = header.partition(" ")
    if not name:
        raise InputError(f"{label}, line {line}: the header has no id; write '>id' before it")
    try:
        sequence = normalise("".join(parts))
    except InputError as error:
        if refused is None:
            raise InputError(f"{label}, record {name!r} (line {line}): {error}") from None
        refused[name] = f"line {line}: {error}"
        return
    yield Record(name, description.strip(), sequence, line)


def _is_text(source: str | Path) -> bool:
    return isinstance(source, str) and (">" in source or "\n" in source)


def _label(source: str | Path) -> str:
    return "the FASTA text" if _is_text(source) else str(source)


def _lines(source: str | Path) -> Iterator[tuple[int, str]]:
    if _is_text(source):
        yield from ((n, line.strip()) for n, line in enumerate(str(source).splitlines(), 1))
        return
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    try:
        with path.open("rb") as head:
            zipped = head.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield number, _decode(raw, path, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); fetch it again") from error


def _decode(raw: bytes, path: Path, number: int) -> str:
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(f"{path}, line {number}: this is binary, not text; give a FASTA file")
    return text.strip()


def windows(length: int, size: int = WINDOW) -> list[tuple[int, int]]:
    """Half-open windows of at most ``size`` nt that cover ``length`` nt, the same stride apart.

    >>> windows(1024)
    [(0, 1022), (2, 1024)]

    Neighbours overlap by at least a quarter of ``size`` once more than two are needed.
    """
    if length <= size:
        return [(0, length)]
    count = 2 if length <= 2 * size - size // 4 else -(-(length - size // 4) // (size - size // 4))
    starts = np.linspace(0, length - size, count).round().astype(int)
    return [(int(start), int(start) + size) for start in starts]


def reverse_complement(sequence: str) -> str:
    """The opposite strand, read 5' to 3': ``GGAC`` → ``GUCC``."""
    return sequence.translate(_COMPLEMENT)[::-1]


def kmers(sequence: str, k: int) -> list[str]:
    """All overlapping words of ``k`` letters: ``("GGAC", 3)`` → ``["GGA", "GAC"]``."""
    return [sequence[i : i + k] for i in range(len(sequence) - k + 1)]


def kmer_profile(sequences: Iterable[str], k: int = 5) -> np.ndarray:
    """Unit-length k-mer counts, (n, 4**k) float32; words with other letters count nothing."""
    sequences = list(sequences)
    profile = np.zeros((len(sequences), 4**k), dtype=np.float32)
    code = np.full(256, -(4**k), dtype=np.int64)
    code[np.frombuffer(LETTERS.encode(), dtype=np.uint8)] = np.arange(4)
    for row, sequence in enumerate(sequences):
        digits = code[np.frombuffer(sequence.encode(), dtype=np.uint8)]
        if len(digits) >= k:
            words = sum(digits[j : len(digits) - k + 1 + j] * 4 ** (k - 1 - j) for j in range(k))
            np.add.at(profile[row], words[words >= 0], 1)
    norms = np.linalg.norm(profile, axis=1, keepdims=True)
    return profile / np.where(norms == 0, 1, norms)


def nearest(queries: Iterable[str], targets: Iterable[str], k: int = 5) -> np.ndarray:
    """For each query the index of the target with the highest k-mer cosine, (n_queries,) int.

    The first of equals wins, so the answer is one for any machine.
    """
    rows, columns = kmer_profile(queries, k), kmer_profile(targets, k)
    if not len(columns):
        raise InputError("there is no target sequence to compare with; give at least one")
    parts = np.array_split(rows, max(1, len(rows) // 1000))
    return np.concatenate([np.round(part @ columns.T, 5).argmax(axis=1) for part in parts])


def dinucleotide_shuffle(sequence: str, rng: random.Random) -> str:
    """A random sequence with exactly the same dinucleotide counts, first and last letter.

    Altschul and Erickson (1985): a random Eulerian path through the graph whose edges are the
    dinucleotides. A random last edge out of each letter must lead to the final letter.
    """
    if len(sequence) < 3:
        return sequence
    follow: dict[str, list[str]] = {letter: [] for letter in sequence}
    for first, second in zip(sequence, sequence[1:], strict=False):
        follow[first].append(second)
    last = _last_edges(follow, sequence[-1], rng)
    for letter, ends in follow.items():
        if letter in last:
            ends.remove(last[letter])
        rng.shuffle(ends)
        if letter in last:
            ends.append(last[letter])
    path = [sequence[0]]
    for _ in range(len(sequence) - 1):
        path.append(follow[path[-1]].pop(0))
    return "".join(path)


def _last_edges(follow: dict[str, list[str]], end: str, rng: random.Random) -> dict[str, str]:
    while True:
        last = {letter: rng.choice(ends) for letter, ends in follow.items() if letter != end}
        if all(_reaches(letter, end, last) for letter in last):
            return last


def _reaches(letter: str, end: str, last: dict[str, str]) -> bool:
    for _ in range(len(last) + 1):
        if letter == end:
            return True
        letter = last[letter]
    return letter == end
