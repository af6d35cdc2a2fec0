"""EBI Search, the index behind RNAcentral and LitScan: one query, or many, page by page.

Deep paging: ``searchposition=0`` first, then the ``searchPosition`` of each answer, until it is
absent, repeats, or brings no entry. Pages are as long as the server likes.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel

from rnagpt_lib.core.errors import InputError, NotThere
from rnagpt_lib.core.files import digest, progress
from rnagpt_lib.curate.sources.http import Reply, Site
from rnagpt_lib.llm_api.retries import Again, persistently
from rnagpt_lib.runs.resume_store import Store

SIZE = 1000  # entries asked for at once; the server may send fewer


class Entry(Reply):
    """One entry: its id and its fields, every one a list of texts."""

    id: str
    fields: dict[str, list[str | None]] = {}

    def first(self, field: str) -> str:
        """The first value of ``field``, "" where there is none."""
        return (self.fields.get(field) or [""])[0] or ""

    def all(self, field: str) -> list[str]:
        """All values of ``field`` that are not empty."""
        return [value for value in self.fields.get(field, ()) if value]


class _Answer(Reply):
    hitCount: int
    entries: list[Entry]
    searchPosition: str | None = None


class _Info(Reply):
    name: str
    value: str | None = None


class _Domain(BaseModel):
    indexInfos: list[_Info] = []


class _About(BaseModel):
    domains: list[_Domain]


def about(site: Site, domain: str) -> dict[str, str]:
    """What the index says of itself, as release, date and number of entries; empty for nothing."""
    try:
        found = site.get(f"/{domain}", _About, format="json").domains
    except NotThere:
        return {}
    return {info.name.lower(): info.value or "" for one in found for info in one.indexInfos}


@dataclass
class Sweep:
    """All entries that match the ``queries``; ``said`` and ``came`` count once it has ended.

    Pages come from the ``store`` first. An id that stands on two pages is given twice.
    """

    site: Site
    store: Store
    domain: str
    queries: Sequence[str]
    fields: str
    said: int = 0  # hits that the server promised
    came: int = 0  # different ids that it sent
    short: int = 0  # hits of single queries that did not come (an entry may be a hit of several)
    _rows: Counter = field(default_factory=Counter)  # of each query, so far

    def __iter__(self) -> Iterator[list[Entry]]:
        ids, begins, one = array("q"), [], len(self.queries) == 1
        unit, total = (" entries", 1) if one else (" queries", len(self.queries))
        name = f"{self.domain} {digest([self.site.base, list(self.queries), self.fields])}"
        with progress(total=total, desc=self.domain, unit=unit) as bar:
            start = "0 0" if self.queries else None
            for number, said, rows in self.store.pages(name, self._fetch, start):
                if not self._rows[number]:
                    begins.append(len(ids))
                ids.extend(hash(row[0]) for row in rows)
                self.said += said
                self._rows[number] += len(rows)
                bar.total = self.said if one else bar.total
                bar.update(len(rows) if one else number + 1 - bar.n)
                if len(ids) > 2 * self.said + 10 * SIZE:
                    count = f"{len(ids):,} entries of {self.domain} for {self.said:,} hits"
                    raise InputError(f"{self.site.host} sends {count}, again and again; try later")
                yield [Entry(id=row[0], fields=row[1]) for row in rows]
        parts = np.split(np.frombuffer(ids, np.int64), begins)[1:]  # the ids of each query
        self.came = len(np.unique(np.concatenate(parts))) if parts else 0
        self.short = self.said - sum(len(np.unique(part)) for part in parts)

    def _fetch(self, cursor: str) -> tuple[tuple, str | None]:
        """The page at ``cursor`` ("number of the query, position") as number, hits, rows."""
        number, position = int(cursor.split(" ")[0]), cursor.split(" ", 1)[1]
        answer = self._page(number, position)
        rows, after = [(entry.id, entry.fields) for entry in answer.entries], answer.searchPosition
        page = number, answer.hitCount * (position == "0"), rows
        if rows and after not in (None, "", position):
            return page, f"{number} {after}"
        return page, f"{number + 1} 0" if number + 1 < len(self.queries) else None

    def _page(self, number: int, position: str) -> _Answer:
        """One page; an empty one before the end is asked for again. Where it stays empty, a few
        hits that the index counts and does not have are let go, and a whole page is a fault."""
        asked = {"query": self.queries[number], "fields": self.fields, "size": SIZE}
        asked |= {"sort": "id", "searchposition": position, "format": "json"}
        answer, missing = None, 0

        def ask() -> _Answer:
            nonlocal answer, missing
            answer = self.site.get(f"/{self.domain}", _Answer, **asked)
            missing = answer.hitCount - self._rows[number]
            if not answer.entries and missing > 0:
                raise Again(f"an empty page of {self.domain}, {missing:,} hits before the end")
            return answer

        try:
            return persistently(ask, self.site.host)
        except InputError:
            if answer is None or missing >= SIZE:
                raise
            return answer


def any_of(field: str, values: Sequence[str], size: int) -> Iterator[str]:
    """Clauses of at most ``size`` values each; no value ends the quotes that it stands in.

    >>> list(any_of("job_id", ["a", "b", "c"], 2))
    ['(job_id:"a" OR job_id:"b")', '(job_id:"c")']
    """
    quotes = str.maketrans('\\"', "  ")
    quoted = [f'{field}:"{value.translate(quotes)}"' for value in values]
    for start in range(0, len(quoted), size):
        yield "(" + " OR ".join(quoted[start : start + size]) + ")"
