"""A hundred inputs that call themselves FASTA, each read in a process of limited memory.

``tests/fasta_inputs.py`` makes them and says how each has to end. Rows, among those of all
campaigns about chats: ``{name, tried, survived, lost, note}``; ``lost`` counts inputs that end in
a traceback, over the limit of memory, or with other records, refusals or words than documented.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.reliability import _rows as _reliability_chat
from tests.support.fasta_ends import LIMIT_MB, Case, End, fault, read_apart
from tests.support.fasta_inputs import GROUPS


def main() -> None:
    """Read them all and keep a row for each group."""
    _reliability_chat.keep([row(name, cases) for name, cases in GROUPS.items()])


def row(name: str, cases: list[Case]) -> dict:
    """How the inputs of a group ended."""
    ends = [_end(case) for case in cases]
    wrong = [case.name for case, end in zip(cases, ends, strict=True) if _told(case, end)]
    most, at = max((end.peak_mb, case.name) for case, end in zip(cases, ends, strict=True))
    parsed, refused = sum(end.parsed for end in ends), sum(end.refused for end in ends)
    note = (
        f"{parsed:,} records read, {refused:,} refused, {sum(bool(end.error) for end in ends)}"
        f" sources given up with a sentence; at most {most:.0f} MB more than before ({at}), limit"
        f" {LIMIT_MB} MB" + "".join(f"; wrong: {name}" for name in wrong)
    )
    survived = len(cases) - len(wrong)
    return {
        "name": name, "tried": len(cases), "survived": survived, "lost": len(wrong), "note": note,
    }  # fmt: skip


def _end(case: Case) -> End:
    with tempfile.TemporaryDirectory() as folder:
        return read_apart(case.make(Path(folder)), case.as_nobody)


def _told(case: Case, end: End) -> str:
    why = fault(case, end)
    if why:
        print(f"{case.name}: {why}", file=sys.stderr)
    return why


if __name__ == "__main__":
    main()
