"""RNAcentral's export service: all records of a query as one file, sequences included.

A job is submitted, watched and fetched; its file (JSON, gzip, T for U) may be larger than memory.
"""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError

from rnagpt_lib import progress, retries
from rnagpt_lib.ebisearch import SIZE
from rnagpt_lib.errors import InputError, NotThere
from rnagpt_lib.files import digest
from rnagpt_lib.paths import shown
from rnagpt_lib.rnacentral import DOMAIN
from rnagpt_lib.spool import Spool
from rnagpt_lib.web import Site

POLL = 10.0  # seconds between two looks at a job
POLLS = 4320


class _Task(BaseModel):
    task_id: str


class _Status(BaseModel):
    state: str
    progress_ids: float = 0


class Exported(BaseModel):
    """One record of an export, with what is used of it."""

    rnacentral_id: str
    taxid: int
    sequence: str

    @property
    def rna_id(self) -> str:
        """URS and taxid, as the index writes them."""
        return f"{self.rnacentral_id}_{self.taxid}"


def fetched(site: Site, spool: Spool, api_url: str, to: Path) -> Path:
    """Have the export service gather ``api_url`` (a query of EBI Search) and fetch its file.

    A job that was submitted before a kill is taken up again. Raises InputError when it fails.
    """
    name = f"export {digest([site.base, api_url])}"
    job = {"api_url": api_url, "data_type": "json"}
    for _ in range(2):
        if to.is_file():
            return to
        task = spool.once(name, lambda: site.post("/submit/", _Task, json=job).task_id)
        state = _end_of(site, task, to)
        if state == "SUCCESS":
            return to
        spool.forget(name)
        if state == "FAILURE":
            break
    raise InputError(
        f"{site.host} could not make the export ({state}); run it again later, or set SEQUENCES "
        "to api"
    )


def _end_of(site: Site, task: str, to: Path) -> str:
    """How the job ends: SUCCESS with its file in place, FAILURE, or LOST."""
    with progress.bar(total=100, desc="export", unit=" %") as bar:
        for _ in range(POLLS):
            try:
                status = site.get(f"/status/{task}", _Status)
                if status.state == "SUCCESS" and _downloaded(site, task, to):
                    return status.state
            except NotThere:
                return "LOST"  # the service clears its old jobs away
            bar.update(status.progress_ids - bar.n)
            if status.state == "FAILURE":
                return status.state
            retries.pause(POLL)
    raise InputError(f"{site.host} did not finish the export in time; run it again later")


def _downloaded(site: Site, task: str, to: Path) -> bool:
    """Whether the file has come; JSON in its place says that it is not ready yet."""
    part = to.with_name(f"{to.name}.part")
    site.download(f"/download/{task}/json", part)
    with part.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    if zipped:
        part.replace(to)
    part.unlink(missing_ok=True)
    return zipped


def url(base: str, query: str) -> str:
    """The address of a query, as the export service wants it."""
    asked = {"query": query, "size": SIZE, "sort": "id", "format": "json"}
    return f"{base}/{DOMAIN}?{urlencode(asked)}"


def records(path: Path) -> Iterator[Exported]:
    """The records of an export one by one; the file may be larger than memory."""
    decoder = json.JSONDecoder()
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            text, at = _to_results(file.read), 0
            while True:
                at = _skip(text, at)
                if text[at : at + 1] == "]":
                    return
                try:
                    record, at = decoder.raw_decode(text, at)
                except ValueError:
                    text, at = text[at:] + _more(file.read), 0
                    continue
                yield Exported.model_validate(record)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, ValidationError, StopIteration):
        raise InputError(f"{shown(path)} is no whole export; delete it to fetch it anew") from None


def _to_results(read: Callable[[int], str]) -> str:
    text = _more(read)
    while not (found := re.search(r'"results"\s*:\s*\[', text)):
        text += _more(read)
    return text[found.end() :]


def _more(read: Callable[[int], str]) -> str:
    piece = read(1 << 20)
    if not piece:
        raise EOFError
    return piece


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", ",", "\n", "\r", "\t"):
        at += 1
    return at
