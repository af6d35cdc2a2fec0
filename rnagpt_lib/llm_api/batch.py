"""The Batch API: requests as files, at half the price, within a day.

A part (one file, one batch) is planned in the journal under a key made of its requests, which file
and batch carry: after a crash those that exist are found, so a part never becomes two batches.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from rnagpt_lib.core.errors import InputError, NotThere
from rnagpt_lib.core.files import digest
from rnagpt_lib.core.params import Calls
from rnagpt_lib.core.text import one_line
from rnagpt_lib.llm_api import cost, retries
from rnagpt_lib.llm_api.client import Client
from rnagpt_lib.llm_api.journal import now
from rnagpt_lib.llm_api.messages import Reply, Request, about_one
from rnagpt_lib.llm_api.openai_transport import LARGEST, PASSING
from rnagpt_lib.llm_api.retries import Again, persistently

ENDPOINT = "/v1/chat/completions"
LINES, BYTES = 50_000, 200_000_000  # of one file
TOGETHER = 500  # lines of results in one transaction
POLL = 30.0  # seconds between looks at the batches
LONG = 3600.0  # seconds for a file to go up or come down
PAGES = 10_000  # of a listing
ROUNDS = 6  # batches of one run that a request may be in
GONE, GONE_AFTER = "gone", timedelta(days=2)  # forgotten by the server; a batch ends within one day
ENDS = ("completed", "expired", "cancelled", "failed", GONE)
OURS = "rnagpt"  # the name of our key in a batch's metadata


class Part(NamedTuple):
    """An open part; ``id``: its batch's, None before it is sent; ``waiting``: request → attempt."""

    key: str
    id: str | None
    made: datetime
    waiting: dict[str, int]


class Item(BaseModel):
    """What we read of a batch object, or of a file object."""

    id: str = Field(pattern=r"^[\w.:-]{1,200}$")
    status: str | None = None
    filename: str | None = None
    metadata: dict[str, Any] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: Any = None


class Page(BaseModel):
    """Some of a listing of them."""

    data: list[Item]
    has_more: bool = False


def open_client(settings: Calls) -> Client:
    """The client that asks as ``settings.mode`` says, not yet entered."""
    return (BatchClient if settings.mode == "batch" else Client)(settings)


class BatchClient(Client):
    """A client whose requests go by batch; its embeddings do not."""

    def send(self, missing: Mapping[str, Request], end: Callable[[str, Reply], None]) -> None:
        """``end(key, reply)`` for all of ``missing``, as the batches bring them. Raises InputError
        as `Client`, for a part or a line that the server refuses, a batch that somebody cancelled,
        and requests without an answer after `ROUNDS` parts."""
        todo, rounds = dict(missing), Counter()
        print(f"{len(todo)} requests go by batch, within a day; run again, this goes on")
        while todo:
            parts = self._open_parts(todo)
            # the limit of the queue holds for all parts together
            while not (self.settings.batch_tokens and parts) and self._plan(todo, parts):
                parts = self._open_parts(todo)
            for part in (part for part in parts if not part.id):
                self._submit(part, missing)
            if not (parts := [part for part in self._open_parts(todo) if part.id]):
                continue
            part, batch = self._first_to_end(parts)
            hopeless = self._harvest(part, batch)
            for key in [key for key in part.waiting if key in todo]:
                rounds[key] += 1
                if not isinstance(step := self.step(key, todo[key]), dict):
                    del todo[key]
                    end(key, step)
                elif rounds[key] == ROUNDS:
                    what = self.transport.what(todo[key].about)
                    raise InputError(f"{what}: no answer in {ROUNDS} batches; run it again later")
            if hopeless:
                raise InputError(f"{self.transport.what(f'batch {batch.id}')} {hopeless}")

    def _open_parts(self, keys: Mapping[str, Request]) -> list[Part]:
        """The parts, sent or only planned, that hold any of ``keys``."""
        parts = []
        for key, *row in self.journal.rows(
            "SELECT key, id, made FROM batches WHERE state = 'open'"
        ):
            sql = "SELECT key, id FROM attempts WHERE batch = ? AND state = 'intent' ORDER BY id"
            waiting = dict(self.journal.rows(sql, key))
            if not keys.keys().isdisjoint(waiting):
                parts.append(Part(key, row[0], datetime.fromisoformat(row[1]), waiting))
        return parts

    def _plan(self, todo: Mapping[str, Request], parts: list[Part]) -> bool:
        """Whether there is a new part, in the journal with its reservations: of the requests that
        are in none of ``parts``, as many as the limits and the cap allow. Raises CapReached."""
        taken = {key for part in parts for key in part.waiting}
        asked, left, size, tokens = [], self.journal.left, 0, 0
        for key in (key for key in todo if key not in taken):
            body = self.step(key, todo[key])
            call = self.asked(key, todo[key], body, batch=True)
            left, size = left - call.reserve, size + len(_line(key, body))
            tokens += cost.likely_tokens_in(body)
            queued = tokens <= (self.settings.batch_tokens or tokens)
            if left < 0 or size > BYTES or not queued or len(asked) == LINES:
                # a request that fits nowhere goes alone: the cap, or the server, says why
                asked = asked or ([] if parts else [call])
                break
            asked.append(call)
        if asked:
            sql = "SELECT count(*) FROM attempts WHERE key = ?"
            tries = max(self.journal.rows(sql, call.key)[0][0] for call in asked)
            part = digest([sorted(call.key for call in asked), tries])
            with self.journal.together() as db:
                self.journal.reserve(asked, part)
                sql = "INSERT INTO batches (key, state, made) VALUES (?, 'open', ?)"
                db.execute(sql, (part, now()))
        return bool(asked)

    def _submit(self, part: Part, requests: Mapping[str, Request]) -> None:
        """Find the part's batch at the server, or make it, and note its id."""
        make = partial(self._adopt_or_make, part, requests)
        batch = persistently(make, self.transport.what("a batch"))
        with self.journal.together() as db:
            if batch:
                db.execute("UPDATE batches SET id = ? WHERE key = ?", (batch.id, part.key))
            else:  # planned by a run with other requests as well, and never sent
                self._close_part(part, "dropped", part.waiting, billed=False)

    def _close_part(self, part: Part, state: str, left: dict[str, int], billed: bool) -> None:
        """The part's batch has ended; ``left``: those that it brought nothing for."""
        with self.journal.together() as db:
            self.journal.fail(list(left.values()), billed)
            db.execute("UPDATE batches SET state = ? WHERE key = ?", (state, part.key))

    def _adopt_or_make(self, part: Part, requests: Mapping[str, Request]) -> Item | None:
        """Each step only where the server shows nothing of it: an answer may have got lost."""
        for batch in self._list("/batches"):
            if (batch.metadata or {}).get(OURS) == part.key:
                return batch
        if not requests.keys() >= part.waiting.keys():
            return None
        name = f"{OURS}-{part.key}.jsonl"
        named = (
            f for f in self._list("/files", purpose="batch", order="desc") if f.filename == name
        )
        if not (file := next(named, None)):
            lines = b"".join(_line(key, self.step(key, requests[key])) for key in part.waiting)
            sent = {"body": {"purpose": "batch"}, "files": [("file", (name, lines))]}
            form = {"timeout": LONG, "headers": {"content-type": "multipart/form-data"}}
            file = self.transport.call(Item, "/files", sent, **form)
        body = {"input_file_id": file.id, "endpoint": ENDPOINT, "metadata": {OURS: part.key}}
        body |= {"completion_window": "24h"}
        return self.transport.call(Item, "/batches", {"body": body})

    def _list(self, path: str, **query: Any) -> Iterator[Item]:
        """The items of a listing, newest first."""
        for _ in range(PAGES):
            page = self.transport.call(Page, path, params=query | {"limit": 100})
            yield from page.data
            if not (page.has_more and page.data):
                return
            query |= {"after": page.data[-1].id}
        raise InputError(f"{self.transport.what(path)}: a listing without end; check BASE_URL")

    def _first_to_end(self, parts: list[Part]) -> tuple[Part, Item]:
        """Look at the batches, again and again, until one has ended or is `GONE` for good."""
        while True:
            for part in parts:
                look = partial(self.transport.call, Item, f"/batches/{part.id}")
                try:
                    batch = persistently(look, self.transport.what(f"batch {part.id}"))
                except NotThere as error:
                    if datetime.now(UTC) - part.made <= GONE_AFTER:
                        where = f"is this the account, and the BASE_URL, of batch {part.id}?"
                        raise InputError(f"{error}; {where}") from None
                    batch = Item(id=part.id, status=GONE)
                if batch.status in ENDS:
                    return part, batch
            retries.pause(POLL)

    def _harvest(self, part: Part, batch: Item) -> str:
        """Keep every line that the part waits for, and close it; why the run cannot go on, or "".

        Lines that failed cost nothing, nor do those that a batch ended without; a line that a
        completed batch does not show, or one that is gone, may have been billed.
        """
        left, refused, kept = dict(part.waiting), [], 0
        for source in filter(None, (batch.output_file_id, batch.error_file_id)):
            what = self.transport.what(f"file {source}")
            lines = io.BytesIO(persistently(partial(self._results, source), what))
            while some := list(islice(lines, TOGETHER)):
                with self.journal.together():
                    kept += sum(self._take(line, left, refused) for line in some)
        self._close_part(part, batch.status, left, billed=batch.status in ("completed", GONE))
        if kept < len(part.waiting):
            print(f"batch {batch.id} is {batch.status}, with {kept} of {len(part.waiting)} answers")
        if refused:
            return f"holds {len(refused)} requests that the server refuses ({refused[0]})"
        if batch.status == "cancelled":
            return "was cancelled; what it answered is kept; run it again to go on"
        if batch.status == "failed":
            why = json.dumps(batch.errors)[:300]
            return f"was refused whole: {why}; set BATCH_TOKENS where it speaks of enqueued tokens"
        return ""

    def _results(self, source: str) -> bytes:
        """A file of results. Raises Again where it is none."""
        content = self.transport.get(f"/files/{source}/content", timeout=LONG)
        if content and b'"custom_id"' not in content:
            raise Again("it sent something else than a batch's results")
        return content

    def _take(self, line: bytes, left: dict[str, int], refused: list[str]) -> bool:
        """Record one line, and whether it is an answer that is waited for; ``refused`` gets why one
        will never be answered."""
        try:
            found = json.loads(self.transport.text(line[:LARGEST]))
            key, response = str(found["custom_id"]), found.get("response")
            status, body = (
                (response.get("status_code"), response["body"]) if response else (0, found)
            )
            error = body.get("error") if isinstance(body, dict) else None
            # some servers write it as a text, or leave it out
            status = int(status) if str(status).isdecimal() else 0 if error else 200
            code = one_line(str(error.get("code")))[:80] if isinstance(error, dict) else None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
        if key not in left:
            return False
        attempt = left.pop(key)
        if status == 200 or (status == 400 and about_one(error or body)):
            self.journal.keep([attempt], json.dumps(body))
            return True
        self.journal.fail([attempt], billed=False)
        if code == "insufficient_quota" or not (status in PASSING or status >= 500 or not status):
            refused.append(f"status {status}, {code}")
        return False


def _line(key: str, body: dict) -> bytes:
    line = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps(line).encode() + b"\n"
