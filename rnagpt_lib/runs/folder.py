"""A stage's folder: one process has it at a time, and what is opened again is moved, not lost."""

import ctypes
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import lock, read_json
from rnagpt_lib.core.paths import shown
from rnagpt_lib.core.text import printable
from rnagpt_lib.runs.stages import MANIFEST, NOTEBOOK, PARAMS, manifest_of, stage_folder

PREVIOUS = ".previous"
REMEDY = "make room, or name another place for runs in RNAGPT_RUNS"
_KEEP = ".gitkeep"
_held: dict[Path, int] = {}


def acquire_lock(path: Path, what: str) -> None:
    """Lock ``path``, until `release_lock` or the end of this process, however it ends.

    The process that holds it already may ask again (a re-run cell). Raises InputError naming
    ``what`` and the process that has it, OSError where nothing can be written.
    """
    if path in _held:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    held = lock(path)
    if held is None:
        holder = printable(path.read_bytes()[:100].decode("utf-8", "replace"))
        raise InputError(
            f"{what} is in use by process {holder or 'unknown'}; wait for it, or shut down its kernel"
        )
    _held[path] = held
    if "JPY_PARENT_PID" in os.environ:  # a kernel
        _end_with_parent()
    try:
        os.truncate(held, 0)
        os.write(held, f"{os.getpid()} of {gethostname()}".encode())
    except BaseException:
        release_lock(path)
        raise


def release_lock(path: Path) -> None:
    """Give ``path`` back; nothing happens when this process does not hold it."""
    if path in _held:
        os.close(_held.pop(path))


def _end_with_parent() -> None:
    """From now on this process ends when the one that started it does, even by SIGKILL and in the
    middle of a computation; elsewhere than on Linux ipykernel looks for it between statements."""
    set_death_signal = getattr(ctypes.CDLL(None), "prctl", None)
    if set_death_signal:
        set_death_signal(1, signal.SIGKILL)


def holds_lock(path: Path) -> bool:
    """Whether this process holds ``path``."""
    return path in _held


@contextmanager
def holding(place: Path, what: str) -> Iterator[None]:
    """Only this process writes ``place`` within the block; as `acquire_lock`, beside it."""
    own = place.with_name(f".{place.name}.lock")
    others = own.is_symlink() or (own.exists() and not own.is_file())
    if others or (own.exists() and not re.fullmatch(rb"(\d+ of .*)?", own.read_bytes()[:200])):
        raise InputError(f"{shown(own)} is in the way and no lock; move it")
    acquire_lock(own, what)
    try:
        yield
    finally:
        own.unlink(missing_ok=True)
        release_lock(own)


def lock_of(folder: Path) -> Path:
    """The file that is locked while a process has ``runs/<run>/<stage>``."""
    return folder.parent / ".locks" / folder.name


def archive(folder: Path) -> str | None:
    """Move a stage's files to ``.previous/`` of its run; a notebook that papermill is writing stays.

    Returns the name of their folder there, or None when there were none.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    old = [file for file in files if not _stays(file)]
    if not old:
        return None
    target = new_folder(folder.parent / PREVIOUS, folder.name)
    for file in sorted(old, key=lambda file: file.name != MANIFEST):
        os.rename(file, target / file.name)
    print(f"{folder.name}: earlier files moved to {shown(target)}")
    return target.name


def withdraw(run_id: str, stage: str) -> None:
    """Take back the opening of a stage that refused its input before it wrote anything.

    The files that the opening had moved aside stand in their places again; where there were none,
    the stage has not been run. Nothing happens to an attempt that has written, or that is another
    process's.
    """
    folder = stage_folder(run_id, stage)
    try:
        acquire_lock(lock_of(folder), stage)
    except InputError:
        return
    manifest = manifest_of(folder)
    written = {file.name for file in folder.iterdir()} - {MANIFEST, PARAMS, _KEEP}
    if manifest.get("status") == "running" and not written:
        bring_back(folder, manifest.get("replaces"))
    release_lock(lock_of(folder))


def bring_back(folder: Path, aside: str | None) -> None:
    """Undo a stage's opening: what `archive` moved to ``aside``, if anything, stands there again."""
    (folder / PARAMS).unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    if aside:
        kept = folder.parent / PREVIOUS / aside
        for file in sorted(kept.iterdir(), key=lambda file: file.name == MANIFEST):
            os.rename(file, folder / file.name)
        kept.rmdir()


def new_folder(parent: Path, stage: str) -> Path:
    """A folder of ``parent`` named after the stage and the time, for what is moved aside."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        folder = parent / (f"{stage}-{stamp}" if number == 1 else f"{stage}-{stamp}-{number}")
        if not folder.exists():
            folder.mkdir()
            return folder
    raise InputError(f"{shown(parent)} holds too many copies of {stage}; delete some")


def _stays(file: Path) -> bool:
    if file.name != NOTEBOOK:
        return file.name == _KEEP or file.name.endswith(f".{NOTEBOOK}")
    try:
        metadata = read_json(file)["metadata"]
    except (InputError, OSError, KeyError, TypeError):
        return True
    return metadata.get("papermill", {"end_time": ""}).get("end_time") is None
