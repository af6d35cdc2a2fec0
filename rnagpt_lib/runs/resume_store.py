"""What took long, kept as it comes, so that a stage that was killed goes on where it was.

An SQLite file (WAL). Pages of remote sources: each is committed together with the cursor of the
next one before anybody sees it, so only the page in flight can be fetched twice. Results of
long tasks: each stands under a hash of its task and of the library that computed it.
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

from rnagpt_lib.core.files import database_fault

NAME = ".spool.sqlite"  # hidden: no output of its stage
_SCHEMA = """
create table if not exists pages (
    name text not null, number integer not null, body blob not null, next text,
    primary key (name, number)
) without rowid
"""
Fetch = Callable[[str], tuple[Any, str | None]]


class Spool:
    """The pages and results of one stage's folder; its file is made with the first of them.

    Raises InputError for a file that is no spool.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._db: sqlite3.Connection | None = None
        if self.path.exists():
            self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            self._db = sqlite3.connect(self.path)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute(_SCHEMA)
        except sqlite3.Error as error:
            raise database_fault(self.path, error, "delete it to fetch everything anew") from None
        return self._db

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        if self._db:
            self._db.close()

    def pages(self, name: str, fetch: Fetch, start: str) -> Iterator[Any]:
        """The stored pages of ``name``, then those that ``fetch`` brings.

        ``fetch(cursor)`` returns a page (anything JSON holds) and the cursor of the next one,
        None after the last; the first cursor is ``start``.
        """
        cursor: str | None = start
        number = 0
        while cursor is not None:
            stored = self._stored(name, number)
            if stored:
                page, cursor = json.loads(zlib.decompress(stored[0])), stored[1]
            else:
                page, cursor = fetch(cursor)
                self._store(name, number, page, cursor)
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
                order.append((name, self._stored(name, 0)))
                if order[-1][1] is None:
                    yield task

        for result in make(missing()):
            yield from self._known(order)
            self._store(order.popleft()[0], 0, result, None)
            yield result
        yield from self._known(order)

    def _known(self, order: deque) -> Iterator[Any]:
        """The stored results that stand first."""
        while order and order[0][1]:
            yield json.loads(zlib.decompress(order.popleft()[1][0]))

    def count(self, name: str) -> int:
        """How many pages of ``name`` are stored."""
        query = "select count(*) from pages where name = ?"
        return self._db.execute(query, (name,)).fetchone()[0] if self._db else 0

    def forget(self, name: str | None = None) -> None:
        """Drop the pages of ``name``, or all."""
        if self._db:
            with self._db as db:
                db.execute("delete from pages where name = ? or ? is null", (name, name))

    def _stored(self, name: str, number: int) -> tuple[bytes, str | None] | None:
        query = "select body, next from pages where name = ? and number = ?"
        return self._db.execute(query, (name, number)).fetchone() if self._db else None

    def _store(self, name: str, number: int, page: Any, cursor: str | None) -> None:
        body = zlib.compress(json.dumps(page, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        row = (name, number, body, cursor)
        try:
            with self._db or self._open() as db:
                db.execute("insert or replace into pages values (?, ?, ?, ?)", row)
        except sqlite3.OperationalError as error:
            raise database_fault(self.path, error, "delete it to fetch everything anew") from None


def _name(task: object) -> str:
    return hashlib.sha256(f"{_code()} {task!r}".encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    """A hash of the library: what another version computed is computed again."""
    code = (path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py")))
    return hashlib.sha256(b"".join(code)).hexdigest()
