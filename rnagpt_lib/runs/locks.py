"""One process per stage: locks that die with the process that holds them."""

import fcntl
import os
from pathlib import Path

from rnagpt_lib.core.errors import InputError

_held: dict[Path, int] = {}


def acquire(path: Path, what: str) -> None:
    """Lock ``path``; the process that holds it already may ask again (a re-run cell).

    Raises InputError naming ``what`` and the process that has it.
    """
    if path in _held:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode().strip() or "unknown"
        os.close(descriptor)
        raise InputError(
            f"{what} is in use by process {holder}; wait for it, or shut down its kernel"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    _held[path] = descriptor


def release(path: Path) -> None:
    """Give ``path`` back; nothing happens when this process does not hold it."""
    if path in _held:
        os.close(_held.pop(path))


def holds(path: Path) -> bool:
    """Whether this process holds ``path``."""
    return path in _held
