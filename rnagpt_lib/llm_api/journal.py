"""The journal of paid calls: what was asked, what came back, what it cost. One SQLite file.

Every step of a call is a transaction: reserve its worst-case cost, send, keep the raw body, read
it, record how it ended. So a process may be killed anywhere: what was kept is never asked for
again, and what may have been billed counts as spent. It holds no key, no header and no text of a
request.
"""

import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import CapReached, InputError
from rnagpt_lib.core.files import database_fault, writing
from rnagpt_lib.llm_api.messages import Reply, Request, read
from rnagpt_lib.runs.folder import acquire_lock, holds_lock, release_lock

FORMAT = 1  # of the tables
CHUNK = 500  # keys in one query
LARGEST = 2**28  # bytes of a raw body
DAMAGED = "move it away to begin a new one, which knows nothing of what was paid"
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


class Asked(NamedTuple):
    """A call about to be made; ``reserve``: the most it can cost, in microdollars."""

    key: str
    about: str
    version: str
    model: str
    reserve: int


class Ended(NamedTuple):
    """A call that has ended; ``body``: number of the raw body that ended it."""

    state: str
    tokens_in: int
    tokens_out: int
    microdollars: int
    body: int
    position: int


Answered = tuple[int, int, str | None]  # an attempt, the number of its raw body, its batch


def path() -> Path:
    """Where the journal of all runs lies."""
    return paths.runs() / "journal.sqlite"


def now() -> str:
    """The time as the journal writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Reader:
    """What the journal says, read beside whoever has it open; where there is none, nothing."""

    def __init__(self, place: Path | None = None):
        self.path = Path(os.path.realpath(place or path()))  # links have one lock, beside the file
        self._lock = threading.RLock()

    def __enter__(self) -> "Reader":
        self._db = _connect(self.path if os.path.isfile(self.path) else Path(":memory:"))
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def rows(self, sql: str, *values: object, among: Sequence[str] | None = None) -> list[tuple]:
        """What a query finds; ``among``: keys that end it, as in ``WHERE key IN``."""
        with self._lock, _told(self.path):
            if among is None:
                return self._db.execute(sql, values).fetchall()
            chunks = (among[start : start + CHUNK] for start in range(0, len(among), CHUNK))
            marked = ((f"{sql} ({', '.join('?' * len(keys))})", keys) for keys in chunks)
            return [row for asked in marked for row in self._db.execute(*asked)]

    def damage(self, body: int) -> InputError:
        """What to raise for a raw body that is none."""
        return InputError(f"{paths.shown(self.path)} is damaged (body {body}); {DAMAGED}")

    def ended(self, keys: Sequence[str]) -> dict[str, Ended]:
        """Those of the calls that have ended."""
        sql = """
            SELECT key, state, tokens_in, tokens_out, microdollars, body, position
            FROM calls WHERE state IS NOT NULL AND key IN"""
        return {key: Ended(*row) for key, *row in self.rows(sql, among=keys)}

    def replies(self, requests: Mapping[str, Request], cached: bool = True) -> dict[str, Reply]:
        """By key, the replies to those of the requests that have ended."""
        found = {}
        for key, end in self.ended(list(requests)).items():
            said = read(self.body(end.body), requests[key].answer)
            if said.state is None:
                raise self.damage(end.body)
            counts = end.tokens_in, end.tokens_out, end.microdollars
            found[key] = Reply(said.state, said.value, said.text, *counts, cached)
        return found

    def answered(self, keys: Sequence[str]) -> dict[str, list[Answered]]:
        """The kept bodies of calls, in the order in which they were asked for."""
        sql = "SELECT key, id, body, batch FROM attempts WHERE state = 'answered' AND key IN"
        found: dict[str, list[Answered]] = {}
        for key, *row in sorted(self.rows(sql, among=keys), key=lambda row: row[1]):
            found.setdefault(key, []).append(tuple(row))
        return found

    def unread(self, keys: Sequence[str]) -> dict[str, list[Answered]]:
        """The kept bodies of calls that have not ended, as a killed process did not read them."""
        ended = self.ended(keys)
        return self.answered([key for key in keys if key not in ended])

    def in_batches(self, keys: Sequence[str]) -> set[str]:
        """Those of the calls that a batch under way holds."""
        sql = "SELECT key FROM attempts WHERE state = 'intent' AND batch IS NOT NULL AND key IN"
        return {key for (key,) in self.rows(sql, among=keys)}

    def mean_lengths(self, model: str) -> dict[str, float]:
        """Mean tokens of the model's answers so far, by prompt version."""
        sql = """
            SELECT version, avg(attempts.tokens_out) FROM attempts JOIN calls USING (key)
            WHERE attempts.state = 'answered' AND calls.state IS NOT NULL AND model = ?
            GROUP BY version"""
        return dict(self.rows(sql, model))

    def body(self, number: int) -> str:
        """A raw body as it came."""
        rows = self.rows("SELECT body FROM bodies WHERE id = ?", number)
        unpack = zlib.decompressobj()
        try:
            body = unpack.decompress(rows[0][0], LARGEST).decode("utf-8", "surrogatepass")
            if not unpack.eof:
                raise ValueError
        except (IndexError, TypeError, ValueError, zlib.error):
            raise self.damage(number) from None
        return body

    def sharing(self, body: int) -> list[int]:
        """The attempts that one body answers, in the order of its items."""
        sql = "SELECT id FROM attempts WHERE body = ? ORDER BY position"
        return [attempt for (attempt,) in self.rows(sql, body)]


class Journal(Reader):
    """An open journal; no other process can open it meanwhile. ``cap``: the most, in microdollars,
    that all its attempts together may cost, also of a process that came in as the lock was lost."""

    def __init__(self, place: Path, cap: int | None = None):
        super().__init__(place)
        self.cap, self.spent, self._version = cap, 0, None
        self._file = self.path.with_name(f".{self.path.name}.lock")

    def __enter__(self) -> "Journal":
        if holds_lock(self._file):
            raise InputError(f"{paths.shown(self.path)} is open already; close the other client")
        with writing(self.path, "name another place for runs in RNAGPT_RUNS"):
            acquire_lock(self._file, f"the journal {paths.shown(self.path)}")
        try:
            self._db = _connect(self.path)
            if self.path.stat().st_nlink > 1:  # each name would have a -wal of its own
                fault = f"{paths.shown(self.path)} has a second name, a hard link"
                raise InputError(f"{fault}; copy it, and move the copy to its place")
            with self.together() as db:  # what a process that died had in flight, batches apart
                sql = "UPDATE attempts SET state = 'lost' WHERE state = 'intent' AND batch IS NULL"
                lost = db.execute(sql).rowcount
        except BaseException:
            release_lock(self._file)
            raise
        self._files = {f: _identity(f) for f in (self.path, Path(f"{self.path}-wal"), self._file)}
        if lost:
            what = f"{lost} calls were in flight when the last process ended"
            print(f"{what}; their cost counts as spent, and they are asked again where needed")
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            with suppress(sqlite3.Error, OSError):  # the -wal keeps then what the file does not
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                if not self.path.exists():  # deleted, but we still read it
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    self._db.execute("VACUUM INTO ?", (str(self.path),))
            self._db.close()
            release_lock(self._file)

    @contextmanager
    def together(self) -> Iterator[sqlite3.Connection]:
        """One transaction; blocks inside a block belong to the outermost."""
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            before = self.spent
            try:
                with _told(self.path):
                    self._db.execute("BEGIN IMMEDIATE")
                    self._sum_up()
                    before = self.spent
                    yield self._db
                    self._db.execute("COMMIT")
            except BaseException:
                self.spent = before
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _sum_up(self) -> None:
        """What is spent, when another process has written since: once, where the lock holds."""
        version = self.rows("PRAGMA data_version")
        if version != self._version:
            sql = "SELECT CAST(total(max(cost, 0)) AS INTEGER) FROM attempts"
            self.spent, self._version = self.rows(sql)[0][0], version

    def _check_files(self) -> None:
        """Raises InputError where nothing would keep, or nothing guards, what is paid next."""
        for file, known in self._files.items():
            if _identity(file) != known:
                fault = f"{paths.shown(file)} was deleted or replaced while calls were under way"
                raise InputError(f"{fault}, so no more are made; run it again, it goes on here")

    @property
    def left(self) -> float:
        """What the cap leaves, in microdollars."""
        return float("inf") if self.cap is None else self.cap - self.spent

    def reserve(self, asked: Sequence[Asked], batch: str | None = None) -> list[int]:
        """Ids of new attempts, one for each call, their worst-case cost set aside.

        Raises CapReached, and reserves nothing, when the cap could be passed.
        """
        with self.together() as db:
            self._check_files()
            more = sum(call.reserve for call in asked)
            if more > self.left:
                money = f"${more / 1e6:.6f}, and ${self.spent / 1e6:.6f} of the cap of "
                money += f"${self.cap / 1e6:.6f} is spent or reserved in {paths.shown(self.path)}"
                raise CapReached(f"the next call could cost {money}; raise CAP_DOLLARS to go on")
            sql = "INSERT OR IGNORE INTO calls (key, about, version, model) VALUES (?, ?, ?, ?)"
            db.executemany(sql, [call[:4] for call in asked])
            sql = """
                INSERT INTO attempts (key, batch, state, reserved, cost, made)
                VALUES (?, ?, 'intent', ?, ?, ?)"""
            rows = [(call.key, batch, call.reserve, call.reserve, now()) for call in asked]
            self.spent += more
            return [db.execute(sql, row).lastrowid for row in rows]

    def keep(self, ids: Sequence[int], body: str) -> int:
        """Keep the raw body that answers these attempts, one item of it each; its number."""
        packed = zlib.compress(body.encode("utf-8", "surrogatepass"))
        with self.together() as db:
            row = db.execute("INSERT INTO bodies (body) VALUES (?)", (packed,)).lastrowid
            sql = "UPDATE attempts SET state = 'answered', body = ?, position = ? WHERE id = ?"
            db.executemany(sql, [(row, position, id) for position, id in enumerate(ids)])
            return row

    def settle(self, attempt: int, tokens_in: int, tokens_out: int, cost: int | None) -> None:
        """The real usage of an attempt; with no ``cost`` its reservation stays spent."""
        with self.together() as db:
            sql = "SELECT coalesce(?, reserved) - cost FROM attempts WHERE id = ?"
            self.spent += db.execute(sql, (cost, attempt)).fetchone()[0]
            sql = "UPDATE attempts SET tokens_in = ?, tokens_out = ?, cost = coalesce(?, reserved)"
            db.execute(f"{sql} WHERE id = ?", (tokens_in, tokens_out, cost, attempt))

    def price(self, cost: Callable[[str, int, int, bool], int]) -> None:
        """Count what was paid before its price was known: ``cost`` of model, tokens in and out,
        and whether by batch, of every attempt that has tokens and no cost yet."""
        sql = """
            SELECT a.id, a.tokens_in, a.tokens_out, c.model, a.batch IS NOT NULL
            FROM attempts AS a JOIN calls AS c ON c.key = a.key
            WHERE a.cost = 0 AND a.tokens_in + a.tokens_out > 0"""
        with self.together():
            for attempt, read, written, model, batch in self.rows(sql):
                self.settle(attempt, read, written, cost(model, read, written, batch))

    def finish(self, attempt: int, state: str) -> None:
        """The call that this answered attempt belongs to has ended in ``state``."""
        sql = """
            UPDATE calls SET state = ?, body = a.body, position = a.position,
                (tokens_in, tokens_out, microdollars) = (
                    SELECT sum(tokens_in), sum(tokens_out), sum(cost)
                    FROM attempts WHERE key = calls.key)
            FROM attempts AS a WHERE a.id = ? AND calls.key = a.key"""
        with self.together() as db:
            db.execute(sql, (state, attempt))

    def reopen(self, keys: Sequence[str]) -> None:
        """These calls have not ended; what they brought and cost so far stays in the journal."""
        with self.together() as db:
            sql = "UPDATE attempts SET state = 'lost' WHERE state = 'answered' AND key = ?"
            db.executemany(sql, [(key,) for key in keys])
            db.executemany("UPDATE calls SET state = NULL WHERE key = ?", [(key,) for key in keys])

    def fail(self, ids: Sequence[int], billed: bool) -> None:
        """These attempts brought no answer; ``billed``: they may cost their reservation."""
        with self.together() as db:
            sql = "UPDATE attempts SET state = ? WHERE id = ?"
            db.executemany(sql, [("lost" if billed else "failed", attempt) for attempt in ids])
            for attempt in () if billed else ids:
                self.settle(attempt, 0, 0, 0)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What SQLite says within the block, as an InputError."""
    try:
        yield
    except sqlite3.Error as error:
        raise database_fault(path, error, DAMAGED) from None


def _identity(file: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        return (found := file.stat()).st_dev, found.st_ino
    return None


def _connect(path: Path) -> sqlite3.Connection:
    """The database, made where there is none. Each commit is on disk before it returns."""
    with _told(path), ExitStack() as stack:
        db = sqlite3.connect(path, 60, check_same_thread=False, isolation_level=None)
        stack.callback(db.close)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 100")  # pages; after a kill the file has nearly all
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")
        if found not in (0, FORMAT):
            raise InputError(f"{paths.shown(path)} was written by another version of rnagpt_lib")
        stack.pop_all()
    return db
