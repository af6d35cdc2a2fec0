"""Europe PMC: titles and abstracts by id, in batches (``searchPOST``).

An error may come with status 200 and an ``errCode``; a batch that is refused is asked for in
halves. The last page of a batch has no cursor, or repeats it, or is empty.
"""

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict

from rnagpt_lib.core import progress
from rnagpt_lib.core.errors import InputError, Refused
from rnagpt_lib.core.files import digest
from rnagpt_lib.curate.sources.http import Site
from rnagpt_lib.curate.sources.markup import plain
from rnagpt_lib.runs.resume_store import Store

BATCH = 100  # ids in a query; halved when the server refuses


class Record(BaseModel):
    """One article, its texts still as they came."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    pmid: str | None = None
    pmcid: str | None = None
    title: str = ""
    abstractText: str = ""
    pubYear: str = ""


class _Results(BaseModel):
    result: list[Record] = []


class _Reply(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    hitCount: int = 0
    nextCursorMark: str | None = None
    resultList: _Results = _Results()
    errCode: str | None = None
    errMsg: str | None = None


def records(site: Site, spool: Store, ids: Sequence[str]) -> Iterator[Record]:
    """The records of PMIDs and PMCIDs that Europe PMC has, in plain text.

    Raises InputError when it refuses even a single id.
    """

    def fetch(cursor: str) -> tuple[tuple[int, list[dict]], str | None]:
        start, size = map(int, cursor.split())
        try:
            found = [record.model_dump() for record in _batch(site, ids[start : start + size])]
        except Refused as error:
            if size == 1:
                raise InputError(f"{error} (asked for {ids[start]})") from None
            return (0, []), f"{start} {size // 2}"
        end = min(start + size, len(ids))
        return (end - start, found), f"{end} {size}" if end < len(ids) else None

    name = f"europepmc {digest([site.base, list(ids)])}"
    with progress.bar(total=len(ids), desc="europepmc", unit=" articles") as bar:
        for asked, found in spool.pages(name, fetch, f"0 {BATCH}") if ids else ():
            bar.update(asked)
            yield from (_in_plain_text(Record(**row)) for row in found)


def _batch(site: Site, ids: Sequence[str]) -> Iterator[Record]:
    """Every page of one query."""
    cursor = "*"
    while True:
        reply = site.post("/searchPOST", _Reply, form=_form(ids, cursor))
        if reply.errCode:
            said = " ".join((reply.errMsg or "").split())[:200]
            raise Refused(f"{site.host} answers with error {reply.errCode} ({said})")
        yield from reply.resultList.result
        after = reply.nextCursorMark
        if not after or after == cursor or not reply.resultList.result:
            return
        cursor = after


def _form(ids: Sequence[str], cursor: str) -> dict[str, str]:
    terms = [f"PMCID:{i}" if i.startswith("PMC") else f"(EXT_ID:{i} AND SRC:MED)" for i in ids]
    return {
        "query": " OR ".join(terms),
        "format": "json",
        "resultType": "core",
        "synonym": "false",
        "pageSize": "1000",
        "cursorMark": cursor,
    }


def _in_plain_text(record: Record) -> Record:
    texts = {"title": plain(record.title), "abstractText": plain(record.abstractText)}
    return record.model_copy(update=texts)
