"""What took long, kept as it comes, so that whatever was killed goes on where it was.

One SQLite file (WAL), key → bytes; each entry is on the disk before anybody sees it.

>>> with Store(out.with_name("answers.partial"), about=[model, questions]) as store:
...     for number, chunk in enumerate(chunks):
...         if store.get(f"chunk {number}") is None:
...             store.put(f"chunk {number}", answer(chunk))  # bytes
...     store.remove()  # done: the file goes
"""

import hashlib
import json
import sqlite3
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import database_fault
from rnagpt_lib.core.paths import shown

NAME = ".spool.sqlite"  # in a stage's folder; hidden: no output of its stage
_SCHEMA = """
create table if not exists pages (
    name text not null, number integer not null, body blob not null, next text,
    primary key (name, number)
) without rowid
"""
_ABOUT = ("about", -1)  # name and number under which it stands
Fetch = Callable[[str], tuple[Any, str | None]]


class Store:
    """The entries of one file, which is made with the first of them.

    ``path``: a file, or a stage's folder for the hidden one in it. ``about``: all that the entries
    depend on, anything with one `repr` (parameters, hashes of inputs); the library's code counts,
    too. Entries about something else are dropped with ``replace``, and are an InputError without.
    So is a file that is no store. Without ``about`` keys have to say what they depend on.
    """

    def __init__(self, path: Path, about: object = None, *, replace: bool = False):
        self.path = path / NAME if path.is_dir() else path
        self._about = None if about is None else _name(about).encode()
        self._db: sqlite3.Connection | None = None
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            raise InputError(f"{shown(self.path)} is in the way: no file, or a link; move it")
        if not self.path.exists():
            return
        self._open()
        if self._about and self._row(*_ABOUT) != (self._about, None):
            kept = self._db.execute("select 1 from pages where number >= 0").fetchone()
            if kept and not replace:
                self._db.close()
                raise InputError(
                    f"{shown(self.path)} was begun with other input, options or another version; "
                    "give those again to finish it, or delete it"
                )
            self.forget()
            self._write(*_ABOUT, self._about, None)

    def _open(self) -> None:
        try:
            self._db = sqlite3.connect(self.path)
            made = dict(self._db.execute("select name, sql from sqlite_master"))
            if made and (made.keys() != {"pages"} or "body blob" not in made["pages"]):
                self._db.close()
                raise InputError(f"{shown(self.path)} is in the way: another's database; move it")
            self._db.execute("pragma journal_mode = wal")
            self._db.execute(_SCHEMA)
        except sqlite3.Error as error:
            raise database_fault(self.path, error, "delete it to begin anew") from None

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        if self._db:
            self._db.close()
            self._db = None

    def remove(self) -> None:
        """Delete the file: what it was kept for is done."""
        self.__exit__()
        for ending in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)

    def get(self, key: str) -> bytes | None:
        """What was put under ``key``, or None."""
        row = self._row(key, 0)
        return zlib.decompress(row[0]) if row else None

    def put(self, key: str, value: bytes) -> None:
        """Keep ``value``, also in place of an earlier one. Raises InputError for a full disk."""
        self._put(key, 0, value, None)

    def pages(self, name: str, fetch: Fetch, start: str) -> Iterator[Any]:
        """The stored pages of ``name``, then those that ``fetch`` brings.

        ``fetch(cursor)`` returns a page (anything JSON holds) and the cursor of the next one, None
        after the last; the first cursor is ``start``. A page is committed together with the next
        cursor, so that only the page in flight can be fetched twice.
        """
        number, cursor = 0, start
        while cursor is not None:
            if stored := self._row(name, number):
                page, cursor = _load(stored[0]), stored[1]
            else:
                page, cursor = fetch(cursor)
                self._put(name, number, _dump(page), cursor)
            number += 1
            yield page

    def once(self, name: str, call: Callable[[], Any]) -> Any:
        """What ``call`` returned the first time."""
        return next(self.pages(name, lambda _: (call(), None), ""))

    def results(self, tasks: Iterable, make: Callable[[Iterator], Iterable]) -> Iterator[Any]:
        """The results of ``tasks`` in their order; those that are stored are not made again.

        ``make`` turns a stream of tasks into the stream of their results, anything JSON holds,
        and may draw tasks ahead. Equal tasks have one `repr`; it and the code are the name. A
        task holds ids and settings, no texts: a stage goes on in its folder where its parents
        are the same ones, so what the ids stand for is, and nobody reads it for a stored result.
        """
        order: deque[tuple[str, tuple | None]] = deque()

        def missing() -> Iterator:
            for task in tasks:
                name = _name(task)
                order.append((name, self._row(name, 0)))
                if order[-1][1] is None:
                    yield task

        def stored() -> Iterator:
            while order and order[0][1]:
                yield _load(order.popleft()[1][0])

        for result in make(missing()):
            yield from stored()
            self._put(order.popleft()[0], 0, _dump(result), None)
            yield result
        yield from stored()

    def forget(self) -> None:
        """Drop all entries."""
        if self._db:
            with self._db as db:
                db.execute("delete from pages")

    def _row(self, name: str, number: int) -> tuple[bytes, str | None] | None:
        query = "select body, next from pages where name = ? and number = ?"
        return self._db.execute(query, (name, number)).fetchone() if self._db else None

    def _put(self, name: str, number: int, value: bytes, cursor: str | None) -> None:
        if not self._db:
            self._open()
            if self._about:
                self._write(*_ABOUT, self._about, None)
        self._write(name, number, zlib.compress(value), cursor)

    def _write(self, *row: object) -> None:
        try:
            with self._db as db:
                db.execute("insert or replace into pages values (?, ?, ?, ?)", row)
        except sqlite3.OperationalError as error:
            raise database_fault(self.path, error, "delete it to begin anew") from None


def _dump(data: object) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _load(body: bytes) -> Any:
    return json.loads(zlib.decompress(body))


def _name(task: object) -> str:
    return hashlib.sha256(f"{_code()} {task!r}".encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    """A hash of the library and its word lists: what another version computed is computed again."""
    files = sorted(Path(__file__).parents[1].rglob("*"))
    code = (path.read_bytes() for path in files if path.suffix in (".py", ".tsv", ".yaml"))
    return hashlib.sha256(b"".join(code)).hexdigest()
