"""The journal of paid calls: what was asked, what came back, what it cost. One SQLite file.

Every call takes the same steps, each one a transaction: reserve its worst-case cost and record
the intent, send, keep the raw body, read it, record how it ended. So a process may be killed
anywhere: an answer that was kept is never asked for again, and what the server may have billed
counts as spent. The file holds no key, no header and no text of a request.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import CapReached, InputError
from rnagpt_lib.llm_api.journal_file import CHUNK, connect, packed, unpacked
from rnagpt_lib.llm_api.retries import Again
from rnagpt_lib.runs import locks


class MaybeBilled(Again):
    """The server may have done the work, but its answer did not arrive."""


@dataclass(frozen=True)
class Asked:
    """A call about to be made; ``reserve``: the most it can cost, in microdollars."""

    key: str
    about: str
    version: str
    model: str
    reserve: int


@dataclass(frozen=True)
class Ended:
    """A call that has ended; ``body``: number of the raw body that ended it."""

    state: str
    tokens_in: int
    tokens_out: int
    microdollars: int
    body: int
    position: int


@dataclass(frozen=True)
class Answered:
    """An attempt whose raw body is kept under a number."""

    id: int
    body: int
    position: int
    batch: str | None


class Journal:
    """An open journal; no other process can open it meanwhile.

    ``cap``: the most, in microdollars, that all its attempts together may cost.
    """

    def __init__(self, path: Path, cap: int | None = None):
        self.path, self.cap = path, cap
        self._lock, self._depth = threading.RLock(), 0

    def __enter__(self) -> "Journal":
        if locks.holds(_lock(self.path)):
            raise InputError(f"{paths.shown(self.path)} is open already; close the other client")
        locks.acquire(_lock(self.path), f"the journal {paths.shown(self.path)}")
        try:
            self._db = connect(self.path)
            total = "SELECT coalesce(sum(cost), 0) FROM attempts"
            self.spent = self._db.execute(total).fetchone()[0]
            self._mark_lost()
        except BaseException:
            locks.release(_lock(self.path))
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._db.close()
            locks.release(_lock(self.path))

    @contextmanager
    def together(self) -> Iterator[sqlite3.Connection]:
        """One transaction; blocks inside a block belong to the outermost."""
        with self._lock:
            before, outermost = self.spent, self._depth == 0
            self._depth += 1
            try:
                if outermost:
                    self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                if outermost:
                    self._db.execute("COMMIT")
            except BaseException as error:
                self.spent = before
                if outermost and self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise InputError(f"{paths.shown(self.path)}: {error}") from None
                raise
            finally:
                self._depth -= 1

    def reserve(self, asked: Sequence[Asked], batch: str | None = None) -> list[int]:
        """Ids of new attempts, one for each call, their worst-case cost set aside.

        Raises InputError, and reserves nothing, when the cap could be passed.
        """
        with self.together() as db:
            self._within_cap(sum(call.reserve for call in asked))
            ids = []
            for call in asked:
                db.execute(
                    "INSERT OR IGNORE INTO calls (key, about, version, model) VALUES (?, ?, ?, ?)",
                    (call.key, call.about, call.version, call.model),
                )
                row = (call.key, batch, call.reserve, call.reserve, _now())
                sql = "INSERT INTO attempts (key, batch, state, reserved, cost, made) "
                ids.append(db.execute(f"{sql} VALUES (?, ?, 'intent', ?, ?, ?)", row).lastrowid)
                self.spent += call.reserve
            return ids

    def keep(self, ids: Sequence[int], body: str) -> int:
        """Keep the raw body that answers these attempts, one item of it each; its number."""
        with self.together() as db:
            row = db.execute("INSERT INTO bodies (body) VALUES (?)", (packed(body),)).lastrowid
            for position, attempt in enumerate(ids):
                sql = "UPDATE attempts SET state = 'answered', body = ?, position = ? WHERE id = ?"
                db.execute(sql, (row, position, attempt))
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
            SELECT a.id, c.model, a.tokens_in, a.tokens_out, a.batch IS NOT NULL
            FROM attempts AS a JOIN calls AS c ON c.key = a.key
            WHERE a.cost = 0 AND a.tokens_in + a.tokens_out > 0"""
        with self.together() as db:
            for attempt, model, tokens_in, tokens_out, batch in db.execute(sql).fetchall():
                self.settle(
                    attempt, tokens_in, tokens_out, cost(model, tokens_in, tokens_out, batch)
                )

    def finish(self, attempt: int, state: str) -> None:
        """The call that this answered attempt belongs to has ended in ``state``."""
        with self.together() as db:
            sql = """
                UPDATE calls SET state = ?, body = a.body, position = a.position,
                    tokens_in = (SELECT sum(tokens_in) FROM attempts WHERE key = calls.key),
                    tokens_out = (SELECT sum(tokens_out) FROM attempts WHERE key = calls.key),
                    microdollars = (SELECT sum(cost) FROM attempts WHERE key = calls.key)
                FROM attempts AS a WHERE a.id = ? AND calls.key = a.key"""
            db.execute(sql, (state, attempt))

    def fail(self, ids: Sequence[int], billed: bool) -> None:
        """These attempts brought no answer; ``billed``: they may cost their reservation."""
        with self.together() as db:
            for attempt in ids:
                state = "lost" if billed else "failed"
                db.execute("UPDATE attempts SET state = ? WHERE id = ?", (state, attempt))
                if not billed:
                    self.settle(attempt, 0, 0, 0)

    def ended(self, keys: Sequence[str]) -> dict[str, Ended]:
        """Those of the calls that have ended."""
        sql = """
            SELECT key, state, tokens_in, tokens_out, microdollars, body, position
            FROM calls WHERE state IS NOT NULL AND key IN"""
        return {row[0]: Ended(*row[1:]) for row in self._among(sql, keys)}

    def answered(self, keys: Sequence[str]) -> dict[str, list[Answered]]:
        """The kept bodies of calls, in the order in which they were asked for."""
        sql = """
            SELECT key, id, body, position, batch FROM attempts
            WHERE state = 'answered' AND key IN"""
        found: dict[str, list[Answered]] = {}
        for key, *row in sorted(self._among(sql, keys), key=lambda row: row[1]):
            found.setdefault(key, []).append(Answered(*row))
        return found

    def body(self, number: int) -> str:
        """A raw body as it came."""
        with self._lock:
            sql = "SELECT body FROM bodies WHERE id = ?"
            return unpacked(self._db.execute(sql, (number,)).fetchone()[0])

    def tries(self, key: str) -> int:
        """How many attempts a call has had."""
        with self._lock:
            sql = "SELECT count(*) FROM attempts WHERE key = ?"
            return self._db.execute(sql, (key,)).fetchone()[0]

    @property
    def left(self) -> float:
        """What the cap leaves, in microdollars."""
        return float("inf") if self.cap is None else self.cap - self.spent

    def sharing(self, body: int) -> list[int]:
        """The attempts that one body answers, in the order of its items."""
        with self._lock:
            sql = "SELECT id FROM attempts WHERE body = ? ORDER BY position"
            return [row[0] for row in self._db.execute(sql, (body,))]

    def _within_cap(self, more: int) -> None:
        if self.cap is not None and self.spent + more > self.cap:
            raise CapReached(
                f"the next call could cost ${more / 1e6:.6f}, and ${self.spent / 1e6:.6f} of the "
                f"cap of ${self.cap / 1e6:.6f} is spent or reserved in {paths.shown(self.path)}; "
                "raise CAP_DOLLARS to go on (what is paid is kept)"
            )

    def _mark_lost(self) -> None:
        """What a process that died had in flight; its batches go on without it."""
        with self.together() as db:
            sql = "UPDATE attempts SET state = 'lost' WHERE state = 'intent' AND batch IS NULL"
            lost = db.execute(sql).rowcount
        if lost:
            print(
                f"{lost} calls were in flight when the last process ended; they are asked again "
                "where they are needed, and their reserved cost counts as spent"
            )

    def _among(self, sql: str, keys: Sequence[str]) -> Iterator[tuple]:
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            with self._lock:
                marks = ", ".join("?" * len(chunk))
                rows = self._db.execute(f"{sql} ({marks})", chunk).fetchall()
            yield from rows


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
