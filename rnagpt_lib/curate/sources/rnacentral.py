"""RNAcentral: entries of its index, and sequences of its API (in U)."""

import hashlib
import heapq
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from pydantic import BaseModel

from rnagpt_lib.core.errors import NotThere
from rnagpt_lib.core.files import digest, progress
from rnagpt_lib.core.text import fold
from rnagpt_lib.curate.sources.ebi_search import Sweep
from rnagpt_lib.curate.sources.http import Site
from rnagpt_lib.runs.resume_store import Store

DOMAIN = "rnacentral"
FIELDS = "rna_type,species,description,gene,gene_synonym,length"
AT_ONCE = 8  # requests of the API in flight; the pace is the site's
PAGE = 40  # sequences kept at once
NAMES = 12  # genes added to a description
_ID = re.compile(r"URS[0-9A-F]{10}_\d+")


class Entry(NamedTuple):
    """What the index says of one RNA; ``length`` is 0 where it says nothing."""

    rna_id: str
    rna_type: str
    species: str
    description: str
    length: int


def entries(sweep: Sweep, limit: int) -> list[Entry]:
    """The RNAs that ``sweep`` finds, or ``limit`` of them, sorted by id.

    Which ones is decided by a hash of the id: a larger limit keeps all of a smaller one's.
    """
    found = {}
    for entry in (entry for page in sweep for entry in page if _ID.fullmatch(entry.id)):
        length, text = entry.first("length"), " ".join(fold(entry.first("description")).split())
        # gene names that the description lacks: texts may use them for the RNA
        genes = dict.fromkeys(entry.all("gene") + entry.all("gene_synonym"))
        more = [gene for gene in genes if gene not in entry.first("description")]
        found[entry.id] = Entry(
            entry.id,
            sys.intern(entry.first("rna_type").replace(" ", "_")),
            sys.intern(entry.first("species")),
            f"{text} ({', '.join(more[:NAMES])})" if more else text,
            int(length) if length.isdigit() else 0,
        )
    lot = {rna_id: hashlib.sha256(rna_id.encode()).digest() for rna_id in found if limit}
    drawn = heapq.nsmallest(limit, lot, key=lot.get) if limit else found
    return [found[rna_id] for rna_id in sorted(drawn)]


class _Record(BaseModel):
    sequence: str


def sequences(site: Site, store: Store, rna_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(rna_id, sequence), with one request for each URS; "" where the API knows none."""
    of: dict[str, list[str]] = {}
    for rna_id in rna_ids:
        of.setdefault(rna_id.partition("_")[0], []).append(rna_id)
    urs = list(of)

    def one(name: str) -> tuple[str, str]:
        try:
            return name, site.get(f"/rna/{name}", _Record, format="json").sequence
        except NotThere:
            return name, ""

    def fetch(cursor: str) -> tuple[list, str | None]:
        start, end = int(cursor), int(cursor) + PAGE
        with ThreadPoolExecutor(AT_ONCE) as pool:
            page = list(pool.map(one, urs[start:end]))
        return page, str(end) if end < len(urs) else None

    name = f"sequences {digest([site.base, urs])}"
    with progress(total=len(urs), desc="sequences", unit=" RNAs") as bar:
        for page in store.pages(name, fetch, "0") if urs else ():
            bar.update(len(page))
            for known, sequence in page:
                yield from ((rna_id, sequence) for rna_id in of[known])
