"""What stands in the journal, read from outside of the library."""

import sqlite3
from contextlib import closing

from rnagpt_lib.llm_api import journal_file


def rows(sql: str) -> list[tuple]:
    with closing(sqlite3.connect(journal_file.file())) as db:
        return db.execute(sql).fetchall()


def spent() -> int:
    """Micro-dollars, with what is set aside."""
    return rows("SELECT coalesce(sum(cost), 0) FROM attempts")[0][0]
