"""Files written whole or not at all, and their hashes; a bar while it takes long."""

import fcntl
import hashlib
import json
import os
import re
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.paths import runs, shown

MARKER, SUMS = "rnagpt_export.json", "SHA256SUMS"  # of an exported folder
LARGEST = 1 << 26  # bytes of a JSON file: unfolded they are a gigabyte and a half at most
_TOKEN = 12  # hexadecimal digits of a hidden name
_HALF = re.compile(r"(?i)\\ud[89a-f]|[\ud800-\udfff]")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden, empty file to write to; it takes the place of ``path`` when the block succeeds.

    What processes that were killed left of ``path`` is removed: what nobody has locked. (Their
    numbers tell nothing, as two containers on one folder have the same ones.)
    """
    for left in path.parent.glob(f".{'[0-9a-f]' * _TOKEN}.{escape(path.name)}"):
        with suppress(OSError, InputError):
            if held := lock(left):
                left.unlink(missing_ok=True)
                os.close(held)
    temporary = path.with_name(f".{secrets.token_hex(_TOKEN // 2)}.{path.name}")
    held = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with suppress(OSError):  # a file system without locks: nobody clears up there
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield temporary
        os.replace(temporary, path)
    finally:
        os.close(held)
        temporary.unlink(missing_ok=True)


def lock(path: Path) -> int | None:
    """The descriptor of ``path``, made where it is not there, which no other process has meanwhile;
    None while one does. It is free again when it is closed, or this process ends, however.

    Raises InputError where the file system has no locks, OSError where nothing can be written.
    """
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    except OSError as error:
        os.close(held)
        raise InputError(
            f"{shown(path.parent)} lies on a file system ({_file_system(path)}) that has no locks "
            f"({error.strerror}), so two processes could write one file there; name a folder on "
            "another disk, for runs in the variable RNAGPT_RUNS"
        ) from None
    if os.fstat(held).st_nlink:
        return held
    os.close(held)  # who had it took the file away
    return lock(path)


def _file_system(path: Path) -> str:
    """The kind of the file system that a path lies on, as ``nfs4``."""
    try:
        mounts = (line.split() for line in Path("/proc/mounts").read_text("utf-8").splitlines())
        above = [m for m in mounts if path.resolve().is_relative_to(m[1])]
        return max(above, key=lambda mount: len(mount[1]))[2]
    except (OSError, ValueError, IndexError):
        return "unknown"


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


def write_json(path: Path, data: object) -> None:
    """Write ``data`` as indented JSON; NaN and infinities are refused (ValueError)."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")


def read_json(path: Path, kind: object = dict) -> dict:
    """The object in ``path``, of a ``kind`` that pydantic can tell; empty when there is no file.

    Raises InputError for what is damaged, of another kind or larger than `LARGEST`.
    """
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"it has more than {LARGEST:,} bytes")
        found = parse_json(path.read_bytes())
        _adapter(kind).validate_python(found)
        return found
    except (OSError, InputError) as error:
        fault = str(error)
    except ValueError as error:  # pydantic's
        first = error.errors()[0]
        fault = ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))
    again = f", or delete {shown(path.parent)} and run that again"
    again = again if path.is_relative_to(runs()) else ""
    raise InputError(f"{shown(path)} is damaged ({fault}); restore it{again}")


@lru_cache
def _adapter(kind: object) -> Any:
    from pydantic import TypeAdapter  # here: a bare GPU machine measures without it

    return TypeAdapter(kind)


def parse_json(data: str | bytes) -> object:
    """What JSON of anybody's holds. Raises InputError, a few words, for what is no such text in
    UTF-8, or deeper than Python reads."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        found = json.loads(text)
        if _HALF.search(text):
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except UnicodeEncodeError:
        fault = "half a character, as \\ud800, is no text; write the character itself"
    except RecursionError:
        fault = "it is nested too deeply"
    except ValueError as error:  # one for a number of too many digits has no msg
        fault = f"no valid JSON ({getattr(error, 'msg', str(error).partition(';')[0])})"
    raise InputError(fault)


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
    except InputError:
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
