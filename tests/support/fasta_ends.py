"""An input that calls itself FASTA, what came of reading it, and whether that was to be."""

import multiprocessing
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import (
    MAX_DESCRIPTION,
    MAX_ID,
    MAX_LENGTH,
    Record,
    Refused,
    Source,
    stream_records,
)
from rnagpt_lib.core.sequences import AMBIGUOUS, LETTERS, MIN_LENGTH

Make = Callable[[Path], Source]
MB, LIMIT_MB, PATIENCE = 1 << 20, 100, 600  # seconds after which reading counts as endless
NOBODY = 65534  # a user without rights, where the tests have all

_context = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Case:
    """An input, and its end: the records (None: any number), and patterns of what is told.

    ``refused``: of each record that is refused, in their order (of each ``times`` times, if there
    is one). ``error``: of the InputError that ends the reading.
    """

    name: str
    make: Make
    parsed: int | None = 0
    refused: tuple[str, ...] = ()
    error: str = ""
    times: int = 1
    as_nobody: bool = False


@dataclass
class End:
    """What came of an input: counts, the first thousand refusals, the error, memory taken."""

    parsed: int = 0
    refused: int = 0
    reasons: tuple[str, ...] = ()
    error: str = ""
    peak_mb: float = 0


def read(source: Source, as_nobody: bool = False) -> End:
    """Read all of it; any other end than an InputError raises."""
    end = End()
    with _nobody() if as_nobody else nullcontext():
        try:
            for one in stream_records(source):
                _take(one, end)
        except InputError as error:
            end.error = str(error)
    return end


def _take(one: Record | Refused, end: End) -> None:
    """Count it; whatever the input, what is told of it prints, and what is read is an RNA."""
    if isinstance(one, Refused):
        end.refused += 1
        end.reasons += (f"line {one.line}: {one.reason}",) if end.refused <= 1000 else ()
        assert (one.id + one.reason).isprintable() and len(one.id) <= MAX_ID, one
        return
    end.parsed += 1
    assert (one.id + one.description).isprintable() and " " not in one.id, one
    assert 1 <= len(one.id) <= MAX_ID and len(one.description) <= MAX_DESCRIPTION, one
    assert MIN_LENGTH <= len(one.sequence) <= MAX_LENGTH, one
    assert set(one.sequence) <= set(LETTERS + AMBIGUOUS), one


def fault(case: Case, end: End) -> str:
    """How an end differs from the one that is documented; "" if it does not."""
    if case.parsed not in (None, end.parsed) or end.refused != len(case.refused) * case.times:
        return f"{end.parsed} records and {end.refused} refusals ({end.error})"
    for pattern, reason in zip(case.refused, end.reasons, strict=case.times == 1):
        if not re.search(pattern, reason):
            return f"{reason!r} is not {pattern!r}"
    if bool(case.error) != bool(end.error) or not re.search(case.error, end.error):
        return f"{end.error!r} is not {case.error!r}"
    return f"it took {end.peak_mb:.0f} MB" if end.peak_mb > LIMIT_MB else ""


@contextmanager
def _nobody() -> Iterator[None]:
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def read_apart(source: Source, as_nobody: bool = False) -> End:
    """`read` in a process of its own, which may take LIMIT_MB more than it has as it starts.

    InputErrors apart, an end without a result is an error that says how the process ended.
    """
    _context.set_forkserver_preload([__name__])
    receive, send = _context.Pipe(duplex=False)
    process = _context.Process(target=_read_limited, args=(send, source, as_nobody))
    process.start()
    send.close()
    end = None
    if receive.poll(PATIENCE):
        with suppress(EOFError):
            end = receive.recv()
    else:
        process.kill()
    process.join()
    return end or End(error=f"the process ended without a result: {process.exitcode}")


def _read_limited(send: Connection, source: Source, as_nobody: bool) -> None:
    before = _peak_mb()
    limit_memory(LIMIT_MB)
    end = read(source, as_nobody)
    end.peak_mb = _peak_mb() - before
    send.send(end)


def limit_memory(more_mb: int) -> None:
    """Let this process take so much more memory and no more; on Linux alone."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        limit = int(statm.read_text().split()[0]) * resource.getpagesize() + more_mb * MB
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _peak_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB
