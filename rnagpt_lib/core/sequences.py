"""RNA sequences: the alphabet, windows, k-mers. Needs no torch.

Sequences are upper-case strings over the IUPAC RNA letters (DNA's T becomes U, as RNA-FM
reads every other letter as unknown without a word).
"""

import random
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np

from rnagpt_lib.core.errors import InputError

LETTERS = "ACGU"
AMBIGUOUS = "RYSWKMBDHVN"  # IUPAC codes for two or more nucleotides
WINDOW = 1022  # RNA-FM has 1,024 positions, two of them taken by <cls> and <eos>
MIN_LENGTH = 10  # nt; below it RNA-FM's vectors say little
_BLANKS = dict.fromkeys([*(c for c in range(0x3001) if chr(c).isspace()), *map(ord, "-.")])
_CAPITALS = str.maketrans(string.ascii_lowercase + "tT", string.ascii_uppercase + "UU") | _BLANKS
_COMPLEMENT = str.maketrans("ACGURYSWKMBDHVN", "UGCAYRSWMKVHDBN")
_ALLOWED = frozenset(LETTERS + AMBIGUOUS)
_FOREIGN = "it is not an RNA letter"


def compact(text: str) -> str:
    """``text`` without white space and alignment gaps: ``"AC-g ."`` → ``"ACg"``."""
    return text.translate(_BLANKS)


def gaps(text: str) -> int:
    """The gaps of an alignment in ``text``, which `compact` leaves out."""
    return text.count("-") + text.count(".")


def normalise(sequence: str) -> str:
    """Upper case, T as U, without white space and alignment gaps.

    >>> normalise("acg tN-a")
    'ACGUNA'

    Raises InputError that names the first letter that is no IUPAC RNA letter and its position
    (counted from 1, white space and gaps left out).
    """
    text = sequence.translate(_CAPITALS)  # upper() would make S out of ſ, and SS of ß
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
    if letter == "*":
        return "a star ends a protein's sequence; take it out if this is an RNA"
    if letter in "0123456789":
        return "numbers, as those before the lines of a GenBank file, have to be taken out"
    if letter.isascii() and letter.isprintable():
        return _FOREIGN
    return f"{_FOREIGN} but {unicodedata.name(letter, f'U+{ord(letter):04X}')}"


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


def is_repetitive(sequence: str) -> bool:
    """Whether an RNA is of low complexity: its words of three letters have less than half of the
    entropy that they could have.

    >>> is_repetitive("GU" * 500), is_repetitive("GGCUAGCUCAAUCGGUAGAGC")
    (True, False)
    """
    counts = np.array([*Counter(kmers(sequence, 3)).values()])
    share = counts / counts.sum()
    return bool(-(share * np.log2(share)).sum() < np.log2(min(64, counts.sum())) / 2)


def kmer_numbers(sequence: str, k: int) -> np.ndarray:
    """The k-mers in their order, as numbers of base 4, (n,) int64; those with other letters than
    A, C, G, U are left out."""
    code = np.full(256, -(4**k), dtype=np.int64)
    code[np.frombuffer(LETTERS.encode(), dtype=np.uint8)] = np.arange(4)
    digits = code[np.frombuffer(sequence.encode(), dtype=np.uint8)]
    if len(digits) < k:
        return digits[:0]
    words = sum(digits[j : len(digits) - k + 1 + j] * 4 ** (k - 1 - j) for j in range(k))
    return words[words >= 0]


def kmer_profile(sequences: Iterable[str], k: int = 5) -> np.ndarray:
    """Unit-length k-mer counts, (n, 4**k) float32; words with other letters count nothing."""
    sequences = list(sequences)
    profile = np.zeros((len(sequences), 4**k), dtype=np.float32)
    for row, sequence in enumerate(sequences):
        np.add.at(profile[row], kmer_numbers(sequence, k), 1)
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
