"""What stands in the journal, read from outside of the library."""

import sqlite3
from contextlib import closing

from rnagpt_lib.llm_api import journal


def rows(sql: str) -> list[tuple]:
    with closing(sqlite3.connect(journal.path())) as db:
        return db.execute(sql).fetchall()


def integrity() -> str:
    """What SQLite's own check says of the file; "ok" when all is well."""
    return rows("PRAGMA integrity_check")[0][0]


def spent() -> int:
    """Micro-dollars, with what is set aside."""
    return rows("SELECT coalesce(sum(cost), 0) FROM attempts")[0][0]
