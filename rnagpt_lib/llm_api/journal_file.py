"""The file of the journal: its tables, how it is opened, and a look into it from outside."""

import sqlite3
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import database_fault

FORMAT = 1  # of the tables
CHUNK = 500  # keys in one query
TABLES = """
CREATE TABLE calls (                 -- one row for each distinct request
    key TEXT PRIMARY KEY, about TEXT, version TEXT, model TEXT,
    state TEXT,                      -- how it ended; NULL: not yet
    tokens_in INTEGER, tokens_out INTEGER, microdollars INTEGER,
    body INTEGER, position INTEGER   -- the raw body that ended it, and which item of it
) WITHOUT ROWID;
CREATE TABLE attempts (              -- one row for each time it was sent
    id INTEGER PRIMARY KEY, key TEXT NOT NULL REFERENCES calls, batch TEXT REFERENCES batches,
    state TEXT NOT NULL,             -- intent, answered, failed (costs nothing), lost (may cost)
    reserved INTEGER NOT NULL, cost INTEGER NOT NULL,  -- microdollars; cost is what counts
    tokens_in INTEGER NOT NULL DEFAULT 0, tokens_out INTEGER NOT NULL DEFAULT 0,
    body INTEGER REFERENCES bodies, position INTEGER NOT NULL DEFAULT 0,
    made TEXT NOT NULL
);
CREATE INDEX attempts_of_key ON attempts (key);
CREATE INDEX attempts_of_body ON attempts (body);
CREATE INDEX attempts_open ON attempts (batch) WHERE state = 'intent';
CREATE TABLE bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE batches (
    key TEXT PRIMARY KEY, id TEXT,   -- ours, and the server's
    state TEXT NOT NULL,             -- open, dropped (never sent), or how it ended
    made TEXT NOT NULL
) WITHOUT ROWID;
"""


def file() -> Path:
    """Where the journal of all runs lies."""
    return paths.runs() / "journal.sqlite"


def integrity(path: Path) -> str:
    """What SQLite's own check says of the file; "ok" when all is well."""
    return _look(path, "PRAGMA integrity_check")[0][0]


def held(path: Path, keys: Sequence[str]) -> set[str]:
    """Those of the calls that have ended; another process may have the journal open."""
    found: set[str] = set()
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        marks = ", ".join("?" * len(chunk))
        sql = f"SELECT key FROM calls WHERE state IS NOT NULL AND key IN ({marks})"
        found.update(key for (key,) in _look(path, sql, chunk))
    return found


def in_batches(path: Path, keys: Sequence[str]) -> int:
    """How many of the calls are in a batch that is still open."""
    sql = f"""
        SELECT count(DISTINCT key) FROM attempts
        WHERE state = 'intent' AND batch IS NOT NULL AND key IN ({", ".join("?" * len(keys))})"""
    return _look(path, sql, keys)[0][0]


def lengths(path: Path, model: str) -> dict[str, float]:
    """Mean tokens of the model's answers so far, by prompt version."""
    sql = """
        SELECT version, avg(attempts.tokens_out) FROM attempts JOIN calls USING (key)
        WHERE attempts.state = 'answered' AND calls.state IS NOT NULL AND model = ?
        GROUP BY version"""
    return dict(_look(path, sql, [model]))


def answers(db: sqlite3.Connection, keys: Collection[str]) -> list[tuple]:
    """Of the calls that have ended: key, raw body, and the fields of `journal.Ended`."""
    sql = f"""
        SELECT key, bodies.body, state, tokens_in, tokens_out, microdollars, id, position
        FROM calls JOIN bodies ON id = calls.body
        WHERE state IS NOT NULL AND key IN ({", ".join("?" * len(keys))})"""
    return [(key, unpacked(body), *ended) for key, body, *ended in db.execute(sql, [*keys])]


def packed(body: str) -> bytes:
    """A raw body as the file holds it."""
    return zlib.compress(body.encode("utf-8", "surrogatepass"))


def unpacked(body: bytes) -> str:
    """A raw body as it came."""
    return zlib.decompress(body).decode("utf-8", "surrogatepass")


@contextmanager
def beside(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to look with beside whoever has the journal; without one, to an empty one."""
    there = path.is_file()
    with closing(sqlite3.connect(path if there else ":memory:")) as db:
        if not there:
            db.executescript(TABLES)
        yield db


def _look(path: Path, sql: str, values: Sequence = ()) -> list[tuple]:
    with beside(path) as db:
        return db.execute(sql, values).fetchall()


def connect(path: Path) -> sqlite3.Connection:
    """The database, made where there is none. Each commit is on disk before it returns."""
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")
    except sqlite3.Error as error:
        db.close()
        remedy = "move it away to begin a new one, which knows nothing of what was paid"
        raise database_fault(path, error, remedy) from None
    if found not in (0, FORMAT):
        db.close()
        raise InputError(f"{paths.shown(path)} was written by another version of rnagpt_lib")
    return db
