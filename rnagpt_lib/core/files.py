"""Files written whole or not at all, and their hashes; a bar while it takes long."""

import hashlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from tqdm.auto import tqdm

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.paths import shown

MARKER, SUMS = "rnagpt_export.json", "SHA256SUMS"  # of an exported folder


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden path to write to; it takes the place of ``path`` when the block succeeds.

    What processes that were killed left of ``path`` is removed.
    """
    for left in path.parent.glob(f".*.{path.name}"):
        number = left.name.split(".")[1]
        if number.isdecimal() and not _lives(int(number)):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, remedy: str) -> Iterator[None]:
    """What the disk refuses within the block becomes an InputError that names ``path``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{shown(path)} cannot be written: {reason}; {remedy}") from error


def check_place(path: Path, endings: Iterable[str], force: bool) -> None:
    """Raises InputError where a command could not write ``path``, before it takes its hours."""
    if path.suffix.lower() not in endings:
        raise InputError(f"{path}: let its name end in {', '.join(endings)}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder; make it first, or name another with --out")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name another place with --out")
    if path.exists() and not force:
        raise InputError(f"{path} exists; --force replaces it, --out takes another name")


def database_fault(path: Path, error: sqlite3.Error, damaged: str) -> InputError:
    """What SQLite says of the file, with a remedy: ``damaged`` where it is no whole database, and
    nothing that costs its contents where the disk is full or the file somebody else's."""
    broken = getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
    kept = "make room, or see who may write it and has it open; nothing in it is lost"
    fault = "is damaged" if broken else "cannot be used"
    return InputError(f"{shown(path)} {fault} ({error}); {damaged if broken else kept}")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def write_json(path: Path, data: object) -> None:
    """Write ``data`` as indented JSON; NaN and infinities are refused (ValueError)."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")


def read_json(path: Path) -> dict:
    """The object in ``path``; empty when the file is missing. InputError when it is damaged, or
    JSON of another kind."""
    try:
        data = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError):
        raise InputError(f"{shown(path)} is damaged; delete {shown(path.parent)}") from None
    if not isinstance(data, dict):
        what = f"should hold an object, and holds a {type(data).__name__}"
        raise InputError(f"{shown(path)} is damaged: it {what}; delete {shown(path.parent)}")
    return data


def sha256(path: Path) -> str:
    """Hash of a file's bytes, or of a folder's names and bytes (hidden names left out)."""
    if path.is_dir():
        return digest({name: sha256(file) for name, file in visible(path).items()})
    stat = path.stat()
    if time.time_ns() - stat.st_mtime_ns < 2_000_000_000:
        return _hash(path)  # it could change again within one tick of the file system's clock
    return _remembered(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def visible(folder: Path) -> dict[str, Path]:
    """All files below ``folder`` by relative name, sorted, without hidden ones."""
    below = {file.relative_to(folder): file for file in folder.rglob("*") if file.is_file()}
    seen = (name for name in sorted(below) if not any(part[0] == "." for part in name.parts))
    return {name.as_posix(): below[name] for name in seen}


def read_marker(folder: Path) -> dict:
    """What made the export in a folder; empty when it holds none."""
    try:
        return read_json(folder / MARKER)
    except (OSError, InputError):
        return {}


def read_sums(folder: Path) -> dict[str, str]:
    """File → recorded hash, out of an export's ``SHA256SUMS``; empty without it."""
    file = folder / SUMS
    lines = file.read_text("utf-8", "replace").splitlines() if file.is_file() else []
    return {line[66:]: line[:64] for line in lines}


def digest(data: object) -> str:
    """Hash of anything JSON can hold, whatever the order of its keys."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=4096)
def _remembered(path: Path, inode: int, size: int, mtime_ns: int) -> str:
    return _hash(path)


def progress(iterable: Iterable | None = None, *, disable: bool = False, **options: object) -> tqdm:
    """A bar as tqdm makes it, which nothing is left of at its end."""
    return tqdm(iterable, leave=False, disable=disable or not is_watched(), **options)


def is_watched() -> bool:
    """Whether somebody may see a bar on stderr."""
    # of a notebook's streams none is a terminal, so tqdm's own disable=None would hide its bars
    ipython = sys.modules.get("IPython")
    return sys.stderr.isatty() or bool(ipython and ipython.get_ipython())
