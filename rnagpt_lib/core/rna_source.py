"""RNAs out of what somebody gives: a typed sequence, FASTA text, an upload or a file."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rnagpt_lib.chat.generate import read_sequence
from rnagpt_lib.core.fasta import Refused, stream_records

LISTED = 1000  # records of a source that one can choose from
PASTED = "pasted sequence"


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


def read(source: str | bytes | Path) -> tuple[list[Chosen], list[Refused]]:
    """The records of FASTA, or one bare sequence, and those that cannot be read.

    Text is never taken for a path. Behind the first `LISTED` records the rest is refused as one.
    Raises InputError for what is neither FASTA nor a sequence.
    """
    if isinstance(source, str) and ">" not in source:
        return [Chosen.of(PASTED, "", source)], []
    found: list[Chosen] = []
    refused: list[Refused] = []
    records = stream_records(source)
    for record in islice(records, LISTED):
        if isinstance(record, Refused):
            refused.append(record)
        else:
            written = record.sequence, record.dna, record.gaps
            found.append(Chosen.of(record.id, record.description, *written))
    if more := next(records, None):
        told = (
            f"only the first {LISTED:,} records can be chosen from; give this one, and those behind "
            "it, in a file of their own"
        )
        refused.append(Refused(more.id, more.line, told))
    return found, refused
