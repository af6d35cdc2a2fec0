"""The results of one batch: lines in any order, some missing, some double, some unknown."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from functools import partial
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from pydantic import BaseModel

from rnagpt_lib.llm_api.journal import Journal
from rnagpt_lib.llm_api.response_parsing import about_one
from rnagpt_lib.llm_api.retries import Again, persistently

if TYPE_CHECKING:
    from rnagpt_lib.llm_api.client import Client

LONG = 3600.0  # seconds for a file to come down
GONE = "gone"  # the status of a batch that the server no longer knows
TOGETHER = 500  # lines in one transaction
PASSING = (408, 409, 425, 429)  # status codes that may pass, as those from 500
REMEDIES = {"token_limit_exceeded": "; set BATCH_TOKENS to the account's limit of enqueued tokens"}


class Fault(BaseModel):
    """Why a batch was refused."""

    code: str | None = None
    message: str | None = None
    line: int | None = None


class Faults(BaseModel):
    """All that was found."""

    data: list[Fault] | None = None


class Batch(BaseModel):
    """What we read of a batch object."""

    id: str
    status: str
    created_at: int
    metadata: dict[str, Any] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: Faults | None = None


def harvest(client: Client, part: str, waiting: dict[str, int], batch: Batch) -> str:
    """Keep every line that ``waiting`` (request → attempt) waits for, and close the part.

    Lines that failed cost nothing, nor do those that a batch ended without; a line that a
    completed batch does not show, or one that is gone, may have been billed. Returns why the run cannot go on (the
    batch was refused or cancelled, or a line is refused for good), or "".
    """
    left, counts = dict(waiting), Counter()
    refused: list[str] = []
    for source in filter(None, (batch.output_file_id, batch.error_file_id)):
        with tempfile.TemporaryFile() as file:
            what = client.wire.what(f"file {source}")
            persistently(partial(_download, client, source, file), what)
            while lines := list(islice(file, TOGETHER)):
                with client.journal.together():
                    for line in lines:
                        counts[_take(client.journal, line, left, refused)] += 1
    with client.journal.together() as db:
        client.journal.fail(list(left.values()), billed=batch.status in ("completed", GONE))
        db.execute("UPDATE batches SET state = ? WHERE key = ?", (batch.status, part))
    counts["without a line"] = len(left)
    if +counts != {"kept": counts["kept"]}:
        told = ", ".join(f"{n} {what}" for what, n in sorted((+counts).items()))
        print(f"batch {batch.id} is {batch.status}; its lines: {told}")
    return _hopeless(batch, refused)


def _take(journal: Journal, line: bytes, left: dict[str, int], refused: list[str]) -> str:
    """Record one line, and say what it was; ``refused`` gets what will never be answered."""
    try:
        found = json.loads(line)
        key, response = str(found["custom_id"]), found.get("response")
        status, body = (response["status_code"], response["body"]) if response else (0, found)
        code = None if status == 200 else (body.get("error") or {}).get("code")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "unreadable"
    if key not in left:
        return "not waited for"
    attempt = left.pop(key)
    if status == 200 or (status == 400 and about_one(body.get("error") or body)):
        journal.keep([attempt], json.dumps(body))
        return "kept"
    journal.fail([attempt], billed=False)
    if code == "insufficient_quota" or not (status in PASSING or status >= 500 or not status):
        refused.append(f"status {status}, {code}")
    return "failed"


def _hopeless(batch: Batch, refused: list[str]) -> str:
    if refused:
        return f"holds {len(refused)} requests that the server refuses ({refused[0]})"
    if batch.status == "cancelled":
        return "was cancelled; what it answered is kept; run it again to go on"
    if batch.status == "failed":
        fault = next(iter((batch.errors and batch.errors.data) or ()), Fault())
        said = f"{fault.code}, {' '.join(str(fault.message).split())[:200]} (line {fault.line})"
        return f"was refused whole: {said}{REMEDIES.get(fault.code, '')}"
    return ""


def _download(client: Client, source: str, file: IO[bytes]) -> None:
    """The file's bytes. Raises Again where they are no results."""
    file.seek(0)
    file.truncate()
    with client.wire.faults():
        content = client.wire.sdk.files.with_streaming_response.content(source, timeout=LONG)
        with content as response:
            for chunk in response.iter_bytes():
                file.write(chunk)
    file.seek(0)
    if file.read(1) and not any(b'"custom_id"' in line for line in file):
        raise Again("it sent something else than a batch's results")
    file.seek(0)
