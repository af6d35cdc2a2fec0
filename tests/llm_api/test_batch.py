"""Batches against a real server: whatever comes back, and wherever the process is killed."""

import json
import signal
import zlib
from datetime import UTC, datetime, timedelta

import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.llm_api import batch, openai_transport, retries
from tests.standin import Faults, faults, serve
from tests.standin.openai_api import OpenAI, by_schema, completed
from tests.support import journal_rows, paid_loop
from tests.support.journal_rows import rows, spent

TEXTS = [f"abstract {n}" for n in range(12)]


class World:
    def __init__(self, url, app, faults):
        self.url, self.app, self.faults = url, app, faults

    def ask(self, texts=TEXTS, **changes):
        return paid_loop.ask(texts, self.url, **({"mode": "batch"} | changes))

    def uploads(self):
        return [file for file in self.app.files.values() if file["purpose"] == "batch"]


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setenv(openai_transport.KEY, "sk-batch")
    monkeypatch.setattr(retries, "pause", lambda seconds: None)
    app, queue = OpenAI(), Faults()
    with serve(app, faults=queue) as url:
        yield World(url, app, queue)


def good(replies, texts=TEXTS):
    return [reply.value and reply.value.text for reply in replies] == list(texts)


def test_one_batch_at_half_the_price_and_a_second_run_asks_nothing(world):
    assert good(world.ask()) and len(world.app.batches) == 1
    assert world.app.bill <= spent() <= world.app.bill + len(TEXTS)
    ((part, id),) = rows("SELECT key, id FROM batches")  # file and batch carry the part's key
    assert world.app.batches[id]["metadata"] == {"rnagpt": part}
    assert world.uploads()[0]["filename"] == f"rnagpt-{part}.jsonl"
    lines = [json.loads(x) for x in world.app.contents[world.uploads()[0]["id"]].splitlines()]
    assert {(line["custom_id"],) for line in lines} == {*rows("SELECT key FROM calls")}
    whole = sum(reply.microdollars for reply in paid_loop.ask(["abstract x"], world.url))
    assert world.ask()[0].microdollars <= whole / 2 + 1
    requests = len(world.faults.seen)
    assert all(reply.cached for reply in world.ask()) and len(world.faults.seen) == requests


def test_parts_keep_the_limits_of_lines_and_bytes(world, monkeypatch):
    monkeypatch.setattr(batch, "LINES", 5)
    assert good(world.ask())
    assert sorted(b["request_counts"]["total"] for b in world.app.batches.values()) == [2, 5, 5]
    monkeypatch.setattr(batch, "BYTES", 1500)
    more = [f"another {n}" for n in range(5)]
    assert good(world.ask(more), more)
    assert all(file["bytes"] <= 1500 for file in world.uploads()[3:])


def test_a_limit_of_enqueued_tokens_makes_small_parts_one_after_another(world):
    assert good(world.ask(batch_tokens=500))
    assert len(world.app.batches) > 2
    paths = [(seen.method, seen.path) for seen in world.faults.seen]
    creates = [n for n, call in enumerate(paths) if call == ("POST", "/v1/batches")]
    contents = [n for n, (_, path) in enumerate(paths) if path.endswith("/content")]
    assert all(any(a < c < b for c in contents) for a, b in zip(creates, creates[1:], strict=False))


def test_under_a_cap_parts_take_what_money_is_left_and_go_on_when_it_comes_back(world):
    with batch.open_client(paid_loop.settings(world.url, mode="batch")) as client:
        one = paid_loop.request(TEXTS[0])
        most = client.asked("k", one, one.body(client.settings), batch=True).reserve
    assert good(world.ask(cap_dollars=4.5 * most / 1e6)) and len(world.app.batches) > 1
    assert spent() <= 4.5 * most
    with pytest.raises(InputError, match="raise CAP_DOLLARS"):
        world.ask(["too much"], cap_dollars=(spent() + most / 2) / 1e6)


def part_of(status, keep):
    """A batch that ended in ``status`` with only some of its lines done."""

    def fate(lines):
        late = {"code": "batch_expired", "message": "This request could not be executed."}
        rest = [line | {"response": None, "error": late} for line in lines[keep:]]
        return status, lines[:keep], rest

    return fate


FATES = {
    "any order": lambda lines: completed(lines[::-1]),
    "double and unknown lines": lambda lines: completed(
        [*lines, *lines[:4], lines[0] | {"custom_id": "who"}]
    ),
    "missing lines": lambda lines: completed(lines[3:]),
    "expired": part_of("expired", 5),
    "only an error file": lambda lines: (
        "completed", [], [line | {"response": {"status_code": 500, "request_id": "r", "body": {
            "error": {"message": "m", "type": "server_error", "code": None}}}} for line in lines]
    ),
    "no file at all": lambda lines: ("completed", [], []),
    "odd lines": lambda lines: completed(
        [*lines[3:], {"custom_id": None, "response": {"status_code": 200, "body": 7}},
         lines[2] | {"response": lines[2]["response"] | {"body": {"choices": []}}}]
    ),
}  # fmt: skip


@pytest.mark.parametrize("fate", FATES)
def test_whatever_the_batch_brings_every_request_gets_its_answer(world, fate):
    world.app.fates = [FATES[fate]]
    assert good(world.ask()) and spent() >= world.app.bill
    whole = fate in ("any order", "double and unknown lines")
    assert len(world.app.batches) == (1 if whole else 2)
    # those that it did not do cost nothing; those that a completed one lacks may have been billed
    states = rows("SELECT state, count(*), sum(cost) > 0 FROM attempts GROUP BY state")
    if fate in ("expired", "missing lines"):
        assert {"expired": ("failed", 7, 0), "missing lines": ("lost", 3, 1)}[fate] in states
    assert all(reply.cached for reply in world.ask())


def test_a_request_that_no_batch_answers_ends_the_run(world):
    world.app.fates = [lambda lines: ("completed", [], [])] * 10
    with pytest.raises(InputError, match="abstract 0: no answer in 6 batches"):
        world.ask()
    assert len(world.app.batches) == batch.ROUNDS
    world.app.fates = []
    assert good(world.ask())  # another day, another try


def test_a_batch_or_a_line_refused_for_good_stops_and_says_why(world, monkeypatch):
    def refused(lines):
        body = {"error": {"message": "m", "type": "t", "code": "unsupported_value"}}
        lines[0]["response"] = {"status_code": 400, "request_id": "r", "body": body}
        return completed(lines)

    with monkeypatch.context() as patch:
        line = batch._line
        patch.setattr(batch, "_line", lambda *a: line(*a).replace(b"/v1/chat", b"/v1/cat"))
        with pytest.raises(InputError, match='refused whole: .*mismatched_endpoint.*"line": 1'):
            world.ask()
    assert spent() == 0
    world.app.fates = [refused]
    with pytest.raises(InputError, match="1 requests .* refuses .status 400, unsupported_value"):
        world.ask()
    assert rows("SELECT count(*) FROM attempts WHERE state = 'answered'") == [(11,)]


def test_a_status_as_text_or_left_out_is_read_all_the_same(world):
    fault = {"error": {"message": "m", "type": "server_error", "code": ["x"]}}

    def odd(lines):
        for line, status in zip(lines, ["200", None, "no", True, 200.0, [], {}], strict=False):
            line["response"]["status_code"] = status
        for line, status in zip(lines[9:], (None, "503", "429"), strict=True):
            line["response"] = {"status_code": status, "body": fault}
        return "completed", lines, []

    world.app.fates = [odd]
    assert good(world.ask()) and world.app.completions == len(TEXTS) + 3
    assert [batch["request_counts"]["total"] for batch in world.app.batches.values()] == [12, 3]


def test_no_file_of_the_server_brings_the_key_into_ours(world, own_runs, monkeypatch, capfd):
    key = "sk-canary-0123456789"
    monkeypatch.setenv(openai_transport.KEY, key)
    world.app.answer = lambda *_: json.dumps({"text": f"a {key}"})

    def repeated(lines):
        body = {"error": {"message": key, "type": key, "code": key}}
        lines[0]["response"] = {"status_code": 400, "request_id": key, "body": body}
        return completed(lines)

    world.app.fates = [repeated]
    with pytest.raises(InputError, match=r"1 requests .*status 400, \*\*\*") as caught:
        world.ask()
    world.app.batches.clear()
    said = [str(caught.value), *capfd.readouterr(), f"{world.ask(TEXTS[1:])}"]
    said += [zlib.decompress(body).decode() for (body,) in rows("SELECT body FROM bodies")]
    assert len(said) == 4 + 11 and not any(key[3:] in text for text in said)
    assert not any(key.encode() in file.read_bytes() for file in own_runs.iterdir())


def test_a_listing_without_end_stops(world, monkeypatch):
    monkeypatch.setattr(batch, "PAGES", 5)
    page = faults.headed("200 OK", {}, b'{"data": [{"id": "b"}], "has_more": true}')
    world.faults.add(page, where="/v1/batches", times=9)
    with pytest.raises(InputError, match="a listing without end"):
        world.ask()


@pytest.mark.slow
def test_a_clock_that_was_days_off_makes_no_second_batch(world, own_runs, monkeypatch):
    for days in (-3, 3, -30_000):
        texts = [f"{days} {n}" for n in range(3)]
        wrong = (datetime.now(UTC) + timedelta(days)).isoformat(timespec="seconds")
        die = ("rnagpt_lib.llm_api.batch.BatchClient._adopt_or_make", "after", 1)
        options = {"mode": "batch", "job": paid_loop.ask_by_clock, "clock": wrong}
        before = len(world.app.batches)
        killed(paid_loop.start(own_runs, texts, world.url, die, **options))
        assert rows("SELECT id, made FROM batches WHERE state = 'open'") == [(None, wrong)]
        assert good(world.ask(texts), texts) and len(world.app.batches) == before + 1


def test_a_cancelled_batch_keeps_what_it_finished_and_stops(world):
    world.app.fates = [part_of("cancelled", 5)]
    with pytest.raises(InputError, match="was cancelled; what it answered is kept"):
        world.ask()
    assert sum(reply.cached for reply in world.ask()) == 5 and len(world.app.batches) == 2


def test_lines_end_their_own_calls_alone(world):
    def too_long(lines):
        body = {"error": {"message": "m", "type": "t", "code": "context_length_exceeded"}}
        lines[4]["response"] = {"status_code": 400, "request_id": "r", "body": body}
        return completed(lines)

    ends = {TEXTS[0]: "refusal", TEXTS[1]: "length", TEXTS[2]: "content_filter"}
    world.app.end = lambda said: ends.get(said, "stop")
    world.app.fates = [too_long]
    states = [reply.state for reply in world.ask()]
    assert states == ["refusal", "length", "filter", "ok", "context", *["ok"] * 7]


def test_malformed_answers_are_asked_again_in_a_second_batch(world):
    world.app.answer = lambda messages, form: (
        by_schema(messages[:1], form) if "does not fit" in messages[-1]["content"] else "{}"
    )
    assert good(world.ask()) and len(world.app.batches) == 2


@pytest.mark.parametrize("where", ["files", "batches"])
def test_a_broken_connection_makes_no_second_file_and_no_second_batch(world, where):
    for fault in (faults.reset, faults.after_the_work, faults.half_a_body, faults.html):
        world.faults.add(fault, where=f"/v1/{where}")
    world.faults.add(faults.bad_json, where=f"/v1/{where}")
    assert good(world.ask())
    assert len(world.app.batches) == 1 and len(world.uploads()) == 1


def test_sync_mode_does_not_pay_for_what_a_batch_is_about(world, own_runs):
    die = ("rnagpt_lib.llm_api.batch.BatchClient._first_to_end", "before", 1)
    killed(paid_loop.start(own_runs, TEXTS, world.url, die, mode="batch"))
    with pytest.raises(InputError, match="batches under way hold 12 .* MODE batch waits"):
        world.ask(mode="sync")
    assert paid_loop.ask(["another"], world.url)[0].state == "ok"
    assert good(world.ask()) and len(world.app.batches) == 1


def test_a_batch_that_is_gone_is_asked_again_only_when_it_cannot_come_back(
    world, own_runs, monkeypatch
):
    die = ("rnagpt_lib.llm_api.batch.BatchClient._first_to_end", "before", 1)
    killed(paid_loop.start(own_runs, TEXTS, world.url, die, mode="batch"))
    world.app.batches.clear()
    with pytest.raises(InputError, match="is this the account, and the BASE_URL, of batch"):
        world.ask()
    monkeypatch.setattr(batch, "GONE_AFTER", timedelta(0))
    assert good(world.ask())
    states = rows("SELECT state, count(*), min(cost) > 0 FROM attempts GROUP BY state")
    assert states == [("answered", 12, 1), ("lost", 12, 1)]


# Killed anywhere.

PLACES = [
    (f"rnagpt_lib.llm_api.{name}", when, times)
    for name, when, times in (
        ("batch.BatchClient._adopt_or_make", "after", 1),
        ("batch.BatchClient._plan", "after", 1),
        ("batch.BatchClient._first_to_end", "after", 1),
        ("openai_transport.Transport.call", "after", 3),  # a file, and no batch yet
        ("batch.BatchClient._take", "after", 5),
        ("batch.BatchClient._harvest", "after", 1),
    )
]


def killed(process):
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    "place",
    [PLACES[0], *(pytest.param(place, marks=pytest.mark.slow) for place in PLACES[1:])],
    ids=lambda place: f"{place[1]} {place[0][12:]}",
)
def test_a_killed_process_makes_no_second_batch(world, own_runs, place, monkeypatch):
    monkeypatch.setattr("rnagpt_lib.llm_api.batch.TOGETHER", 3)
    killed(paid_loop.start(own_runs, TEXTS, world.url, place, mode="batch"))
    assert good(world.ask())
    assert len(world.app.batches) == 1 and len(world.uploads()) == 1
    assert world.app.completions == len(TEXTS)
    assert world.app.bill <= spent() <= world.app.bill + len(TEXTS)
    assert journal_rows.integrity() == "ok"


def test_a_part_that_was_planned_with_other_requests_and_never_sent_is_dropped(world, own_runs):
    place = ("rnagpt_lib.llm_api.batch.BatchClient._plan", "after", 1)
    killed(paid_loop.start(own_runs, TEXTS, world.url, place, mode="batch"))
    assert good(world.ask(TEXTS[:3]), TEXTS[:3])
    assert rows("SELECT state FROM batches ORDER BY state") == [("completed",), ("dropped",)]
    assert world.app.bill <= spent() <= world.app.bill + 3
