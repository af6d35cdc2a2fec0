"""The Batch API: requests as files, at half the price, within a day.

A part (one file, one batch) is planned in the journal before anything is sent, under a key made
of its requests. File and batch carry that key, so after a crash anywhere the ones that exist are
found and used: a part never becomes two batches. What a batch does not answer goes into another
part.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from rnagpt_lib.core.errors import InputError, NotThere
from rnagpt_lib.core.files import digest
from rnagpt_lib.llm_api import cost, retries
from rnagpt_lib.llm_api.batch_results import GONE, Batch, harvest
from rnagpt_lib.llm_api.journal import Asked, Journal
from rnagpt_lib.llm_api.retries import persistently

if TYPE_CHECKING:
    from rnagpt_lib.llm_api.client import Client, Reply, Request

ENDPOINT = "/v1/chat/completions"
LINES, BYTES = 50_000, 200_000_000  # of one file
POLL = 30.0  # seconds between looks at the batches
LONG = 3600.0  # seconds for a file to go up
ROUNDS = 6  # batches of one run that a request may be in
GONE_AFTER = timedelta(days=2)  # a batch ends within one
OURS = "rnagpt"  # the name of our key in a batch's metadata
ENDS = ("completed", "expired", "cancelled", "failed", GONE)
SLACK = timedelta(days=1)  # between our clock and the server's


@dataclass(frozen=True)
class Part:
    """An open part; ``id``: its batch's, None before it is sent; ``waiting``: request → attempt."""

    key: str
    id: str | None
    made: datetime
    waiting: dict[str, int]


class File(BaseModel):
    """What we read of a file object."""

    id: str
    filename: str
    created_at: int


class Files(BaseModel):
    """A page of them."""

    data: list[File]
    has_more: bool = False


class Batches(BaseModel):
    """A page of batches."""

    data: list[Batch]
    has_more: bool = False


_Page = TypeVar("_Page", Files, Batches)


def ask(
    client: Client, missing: Mapping[str, Request], ended: Callable[[str, Reply], None]
) -> None:
    """``ended(key, reply)`` for all of ``missing``, as the batches bring them.

    Raises InputError for a part or a line that the server refuses, a batch that somebody
    cancelled, and requests without an answer after `ROUNDS` parts; else as `llm.Client`.
    """
    todo, rounds = dict.fromkeys(missing), Counter()

    def sort_out(keys: Iterable[str]) -> None:
        for key in keys:
            rounds[key] += 1
            if not isinstance(step := client.step(key, missing[key]), dict):
                del todo[key]
                ended(key, step)
            elif rounds[key] == ROUNDS:
                what = client.wire.what(missing[key].about)
                raise InputError(f"{what}: no answer in {ROUNDS} batches; run it again later")

    print(f"{len(todo)} requests go by batch, within a day; stopped and run again, this goes on")
    while todo:
        parts = open_parts(client.journal, todo)
        while _has_room(client, parts) and (part := _plan(client, todo, missing, parts)):
            parts.append(part)
            client.totals.calls += len(part.waiting)
        for part in parts:
            if not part.id:
                _submit(client, part, missing)
        if parts := [part for part in open_parts(client.journal, todo) if part.id]:
            part, batch = _first_to_end(client, parts)
            hopeless = harvest(client, part.key, part.waiting, batch)
            sort_out([key for key in part.waiting if key in todo])
            if hopeless:
                raise InputError(f"{client.wire.what(f'batch {batch.id}')} {hopeless}")


def open_parts(journal: Journal, keys: Mapping[str, Any]) -> list[Part]:
    """The parts, sent or only planned, that hold any of ``keys``."""
    parts = []
    with journal.together() as db:
        for key, id, made in db.execute("SELECT key, id, made FROM batches WHERE state = 'open'"):
            sql = "SELECT key, id FROM attempts WHERE batch = ? AND state = 'intent' ORDER BY id"
            waiting = dict(db.execute(sql, (key,)))
            if not keys.keys().isdisjoint(waiting):
                parts.append(Part(key, id, datetime.fromisoformat(made), waiting))
    return parts


def refuse_open(journal: Journal, keys: Mapping[str, Any]) -> None:
    """Raise InputError where a batch under way holds any of ``keys``: it will cost what it costs."""
    if parts := [part.id or "not sent yet" for part in open_parts(journal, keys)]:
        raise InputError(
            f"batches under way hold some of these requests ({', '.join(parts[:3])}); MODE batch "
            "waits for their results (cancel them first to have the rest asked at once)"
        )


def _has_room(client: Client, parts: list[Part]) -> bool:
    return not (client.settings.batch_tokens and parts)  # the queue's limit holds for all of them


def _plan(
    client: Client, todo: Iterable[str], requests: Mapping[str, Request], parts: list[Part]
) -> Part | None:
    """A new part: of the requests that are in none yet, as many as the limits and the cap allow.

    None when there are none, or while ``parts`` have taken all the money.
    """
    taken = {key for part in parts for key in part.waiting}
    asked: list[Asked] = []
    left, size, tokens, tries = client.journal.left, 0, 0, 0
    for key in todo:
        if key in taken:
            continue
        body = client.step(key, requests[key])
        call = client.asked(key, requests[key], body, batch=True)
        left, size = left - call.reserve, size + len(_line(key, body))
        tokens += cost.likely_tokens_in(body)
        queued = tokens <= (client.settings.batch_tokens or tokens)
        if left < 0 or size > BYTES or not queued or len(asked) == LINES:
            # a request that fits nowhere goes alone: the cap, or the server, says why
            asked = asked or ([] if parts else [call])
            break
        asked.append(call)
        tries = max(tries, client.journal.tries(key))
    return _record(client.journal, asked, tries) if asked else None


def _record(journal: Journal, asked: list[Asked], tries: int) -> Part:
    """The part, in the journal with its reservations. Raises CapReached."""
    part, now = digest([sorted(call.key for call in asked), tries]), datetime.now(UTC)
    with journal.together() as db:
        ids = journal.reserve(asked, part)
        row = (part, now.isoformat(timespec="seconds"))
        db.execute("INSERT INTO batches (key, state, made) VALUES (?, 'open', ?)", row)
    return Part(part, None, now, dict(zip([call.key for call in asked], ids, strict=True)))


def _submit(client: Client, part: Part, requests: Mapping[str, Request]) -> None:
    """Find or make the part's batch, and note its id."""
    what = client.wire.what("a batch")
    batch = persistently(lambda: _batch(client, part), what)
    if not batch and requests.keys() >= part.waiting.keys():
        source = persistently(lambda: _upload(client, part, requests), what)
        batch = persistently(lambda: _create(client, part, source), what)
    with client.journal.together() as db:
        if batch:
            db.execute("UPDATE batches SET id = ? WHERE key = ?", (batch.id, part.key))
        else:  # planned by a run with other requests as well, and never sent
            client.journal.fail(list(part.waiting.values()), billed=False)
            db.execute("UPDATE batches SET state = 'dropped' WHERE key = ?", (part.key,))


def _batch(client: Client, part: Part) -> Batch | None:
    """The part's batch at the server."""
    listed = _listed(client, Batches, "/batches", part)
    return next((batch for batch in listed if (batch.metadata or {}).get(OURS) == part.key), None)


def _create(client: Client, part: Part, source: str) -> Batch:
    if found := _batch(client, part):  # an attempt whose answer got lost made it
        return found
    made = {
        "input_file_id": source,
        "endpoint": ENDPOINT,
        "completion_window": "24h",
        "metadata": {OURS: part.key},
    }
    return client.wire.call(Batch, "post", "/batches", body=made)


def _upload(client: Client, part: Part, requests: Mapping[str, Request]) -> str:
    """The id of the part's file at the server, sent when it is not there yet."""
    name = f"{OURS}-{part.key}.jsonl"
    for found in _listed(client, Files, "/files", part, purpose="batch", order="desc"):
        if found.filename == name:
            return found.id
    with tempfile.TemporaryFile() as file:
        for key in part.waiting:
            file.write(_line(key, client.step(key, requests[key])))
        file.seek(0)
        sent = {"body": {"purpose": "batch"}, "files": [("file", (name, file))]}
        form = {"headers": {"Content-Type": "multipart/form-data"}, "timeout": LONG}
        return client.wire.call(File, "post", "/files", options=form, **sent).id


def _listed(client: Client, kind: type[_Page], path: str, part: Part, **query: Any) -> Iterator:
    """The items of a listing, newest first, that are no older than the part."""
    query |= {"limit": 100}
    while True:
        page = client.wire.call(kind, "get", path, options={"params": query})
        for item in page.data:
            if item.created_at < (part.made - SLACK).timestamp():
                return
            yield item
        if not page.has_more or not page.data:
            return
        query["after"] = page.data[-1].id


def _line(key: str, body: dict) -> bytes:
    line = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps(line).encode() + b"\n"


def _first_to_end(client: Client, parts: list[Part]) -> tuple[Part, Batch]:
    """Look at the batches, again and again, until one has ended."""
    while True:
        for part in parts:
            batch = _look(client, part)
            if batch.status in ENDS:
                return part, batch
        retries.pause(POLL)


def _look(client: Client, part: Part) -> Batch:
    """The batch as it is; one of the status `GONE` when the server has forgotten it for good."""
    look = partial(client.wire.call, Batch, "get", f"/batches/{part.id}")
    try:
        return persistently(look, client.wire.what(f"batch {part.id}"))
    except NotThere as error:
        if datetime.now(UTC) - part.made > GONE_AFTER:
            return Batch(id=part.id, status=GONE, created_at=0)
        raise InputError(
            f"{error}; is this the account, and the BASE_URL, that made batch {part.id}?"
        ) from None
