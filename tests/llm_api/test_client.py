"""The client against a real server: what is kept and paid, how every fault ends."""

import json
import sqlite3
import threading
import zlib

import numpy as np
import pytest
from pydantic import BaseModel, Field

from rnagpt_lib.core import params
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.llm_api import cost, journal, openai_transport, retries
from rnagpt_lib.llm_api.client import Client, embed
from rnagpt_lib.llm_api.messages import Request
from tests.standin import Faults, faults, serve
from tests.standin.openai_api import PRICE, OpenAI, by_schema
from tests.support.fault_matrix import CASES, error
from tests.support.journal_rows import rows, spent

CANARY = "sk-canary-0123456789abcdef"
MODEL = "gpt-standin"


class Summary(BaseModel):
    text: str = Field(min_length=1)
    ids: list[str] = []


def request(text="an abstract", **changes):
    messages = ({"role": "system", "content": "Summarise."}, {"role": "user", "content": text})
    given = {"answer": Summary, "version": "t-1", "max_tokens": 200, "about": f"about {text}"}
    return Request(messages, **(given | changes))


class World:
    """A server, its faults, and clients of it."""

    def __init__(self, url, app, faults):
        self.url, self.app, self.faults = url, app, faults

    def client(self, **settings):
        known = {"provider": "openai", "model": MODEL, "base_url": f"{self.url}/v1", "deadline": 5}
        return Client(params.Calls(**(known | {"prices": {MODEL: PRICE}} | settings)))

    def ask(self, *texts, **settings):
        with self.client(**settings) as client:
            return client.ask([request(text) for text in texts])

    @property
    def asked(self):
        return len(self.faults.asked("/chat/completions"))

    @property
    def sent(self):
        return [json.loads(seen.body) for seen in self.faults.asked("/chat/completions")]


@pytest.fixture
def world(monkeypatch, pauses):
    monkeypatch.setenv(openai_transport.KEY, CANARY)
    app, queue = OpenAI(), Faults()
    with serve(app, faults=queue) as url:
        yield World(url, app, queue)


def test_answers_come_in_order_and_a_second_run_makes_no_call(world):
    """Equal requests are asked once, whatever they are about."""
    texts = [f"abstract {n}" for n in range(20)]
    with world.client() as client:
        first = client.ask([*map(request, texts), request(texts[0], about="other")])
    assert [reply.value.text for reply in first] == [*texts, texts[0]] and first[-1] is first[0]
    assert all(reply.state == "ok" and not reply.cached for reply in first)
    assert sum(reply.microdollars for reply in first[:-1]) == spent()
    again = world.ask(*texts)
    assert world.asked == 20 and all(reply.cached for reply in again)
    for name in ("value", "microdollars"):
        assert [getattr(r, name) for r in again] == [getattr(r, name) for r in first[:-1]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_fault_ends_in_its_documented_state(world, pauses, case):
    world.ask("paid before")
    before = spent()
    world.faults.add(case.fault, times=case.times)
    if case.stops:
        with pytest.raises(InputError, match=case.ends) as caught:
            world.ask("paid before", *"abc", width=1)
        assert CANARY not in str(caught.value) and "\n" not in str(caught.value)
    else:
        (reply,) = world.ask("a", deadline=0.5 if "slow" in case.name else 5)
        assert reply.state == case.ends and (reply.value is not None) == (case.ends == "ok")
        assert reply.microdollars == spent() - before
    assert tuple(state for (state,) in rows("SELECT state FROM attempts")[1:]) == case.attempts
    assert len(pauses) == sum(state in ("failed", "lost") for state in case.attempts[:-1])
    assert "retry" not in case.name or pauses == [7.0]
    assert world.asked == 1 + len(case.attempts) and spent() >= world.app.bill
    free = ("failed", "answered") if "400 about" in case.name else ("failed",)
    for state, paid in rows("SELECT state, cost FROM attempts")[1:]:
        assert (paid == 0) == (state in free)
    if case.name == "no usage":
        assert rows("SELECT cost - reserved FROM attempts")[-1] == (0,)
    again = world.ask("paid before", "a")  # what ended is never asked again
    assert [reply.cached for reply in again] == [True, not case.stops]


def test_no_key_goes_elsewhere_nobody_listens_and_there_is_none(world, monkeypatch):
    with serve(OpenAI(), faults=(other := Faults())) as elsewhere:
        world.faults.add(faults.redirect(f"{elsewhere}/v1/chat/completions"))
        with pytest.raises(InputError, match="redirects to '127.0.0.1'"):
            world.ask("a")
        assert not other.seen
    with pytest.raises(InputError, match="cannot be reached; is BASE_URL right"):
        world.ask("a", base_url=f"{elsewhere}/v1")
    assert spent() == 0
    monkeypatch.delenv(openai_transport.KEY)
    with pytest.raises(InputError, match="OPENAI_API_KEY is not set"):
        world.ask("a")


def test_malformed_text_is_shown_once_with_its_fault(world):
    world.app.answer = lambda messages, form: (
        by_schema(messages[:2], form)
        if "does not fit" in messages[-1]["content"]
        else '{"text": 1}'
    )
    (reply,) = world.ask("a")
    assert reply.state == "ok" and reply.value.text == "a" and world.asked == 2
    *_, shown, fault = world.sent[1]["messages"]
    assert shown == {"role": "assistant", "content": '{"text": 1}'}
    assert "text: Input should be a valid string" in fault["content"]
    assert reply.microdollars == spent() >= world.app.bill


def test_a_fatal_error_lets_the_others_in_flight_be_kept(world):
    go, here = threading.Event(), threading.Event()

    def held_then_refused(app):
        def application(environ, start_response):
            here.wait()  # the slow one is at the server
            go.set()
            return faults.status(401)(app)(environ, start_response)

        return application

    world.faults.add(faults.held(go, here), held_then_refused)
    with world.client(width=2) as client:
        with pytest.raises(InputError, match="refused the key"):
            client.ask([request(text) for text in "abcdefgh"])
        with pytest.raises(InputError, match="open a new one"):
            client.ask([request("z")])
    assert world.asked <= 3 and not rows("SELECT 1 FROM attempts WHERE state = 'intent'")
    assert "answered" in [state for (state,) in rows("SELECT state FROM attempts")]


def test_an_interrupt_keeps_what_was_in_flight_and_makes_no_new_call(world, monkeypatch):
    go, here = threading.Event(), threading.Event()
    world.faults.add(faults.held(go, here), times=2)

    def interrupted(*_, **__):
        here.wait()
        go.set()
        raise KeyboardInterrupt

    monkeypatch.setattr("rnagpt_lib.llm_api.client.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.ask(*"abcdefgh", width=2)
    states = [state for (state,) in rows("SELECT state FROM attempts")]
    assert set(states) == {"answered"} and len(states) == world.asked <= 2


@pytest.mark.parametrize("width", [1, 8])
def test_the_cap_holds_and_says_how_to_go_on(world, width):
    texts = [f"{n:>2} " * 600 for n in range(30)]
    whole = 30 * world.ask(texts[0])[0].microdollars
    with pytest.raises(InputError, match="of the cap of .* is spent or reserved .* raise CAP_DOLL"):
        world.ask(*texts, width=width, cap_dollars=0.37 * whole / 1e6)
    assert world.app.bill <= spent() <= 0.37 * whole and 4 < world.asked < 12
    paid = world.asked
    assert sum(reply.cached for reply in world.ask(*texts, width=width)) == paid
    assert world.asked == 30


def test_a_few_tokens_over_the_limit_do_not_pass_the_cap(world):
    over = {"prompt_tokens": 1, "completion_tokens": 200 + cost.OVER, "total_tokens": 1}
    world.faults.add(faults.changed(lambda body: body | {"usage": over}), times=99)
    for cap in (300, 700, 1111):
        with pytest.raises(InputError, match="raise CAP_DOLLARS"):
            world.ask(*(f"{cap} {n}" for n in range(9)), cap_dollars=cap / 1e6)
        assert spent() <= cap


def test_calls_in_flight_may_make_room_under_the_cap(world):
    """Four worst cases do not fit at once, though eight real costs do."""
    with world.client() as client:
        most = client.asked("k", request("a"), request("a").body(client.settings)).reserve
    replies = world.ask(*"abcdefgh", width=8, cap_dollars=(3.5 * most) / 1e6)
    assert all(reply.state == "ok" for reply in replies) and spent() < 3.5 * most


def test_a_cap_needs_a_price_and_no_cap_needs_none(world):
    with pytest.raises(InputError, match=f"no price of model '{MODEL}'; write .{MODEL}: .input"):
        world.ask("a", prices={}, cap_dollars=1)
    for dollars, cap in ((0.29, 290_000), (0.0000019, 1)):
        with world.client(cap_dollars=dollars) as client:
            assert client.journal.cap == cap
    (reply,) = world.ask("a", prices={})
    assert reply.state == "ok" and reply.microdollars == 0 and reply.tokens_out > 0


def test_the_tiers_limits_set_the_pace(world, pauses):
    world.ask(*"abcd", width=1, requests_per_minute=60, tokens_per_minute=10**9)
    assert len(pauses) >= 3 and max(pauses) <= 3
    pauses.clear()
    world.ask(*"efgh", width=1, tokens_per_minute=60)
    assert max(pauses) > 200  # four times the 200 tokens of an answer, at one a second


def test_the_key_is_in_no_file_message_or_log_whatever_the_server_repeats(
    world, own_runs, capfd, caplog, tmp_path, monkeypatch
):
    (tmp_path / ".netrc").write_text("default login me password other-secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    caplog.set_level("DEBUG")
    said = []

    def refused(text):
        with pytest.raises(InputError) as caught:
            world.ask(text)
        said.append(f"{caught.value}{caught.value!r}")
        world.faults.clear()

    world.app.key = "another"
    refused("a")
    world.app.key = None
    escaped = CANARY.replace("c", "\\u0063")
    for fault in (
        faults.status(400, body=error("bad", f"wrong {CANARY} thing")),
        faults.status(400, body=error(CANARY)),
        faults.headed("400 Bad", {}, f'{{"error": {{"code": "{escaped}"}}}}'.encode()),
        faults.headed("302 Found", {"location": f"http://{CANARY}/{CANARY}"}),
        faults.headed(f"403 {CANARY}", {"x-key": CANARY, "set-cookie": f"a={CANARY}"}),
    ):
        world.faults.add(fault)
        refused("a")
    assert "wrong *** thing" in said[1]
    world.faults.add(faults.status(400, body=error("context_length_exceeded", CANARY)))
    assert world.ask("long")[0].state == "context"
    for content in (f'{{"text": "{CANARY}"}}', f'{{"text": "{escaped}"}}', f"no JSON: {CANARY}"):
        world.app.answer = lambda *_, content=content: content
        (reply,) = world.ask(f"repeat {content[:20]}")
        assert CANARY[3:] not in f"{reply}" and "***" in reply.text
    written = [file.read_bytes() for file in own_runs.rglob("*") if file.is_file()]
    bodies = b"".join(zlib.decompress(body) for (body,) in rows("SELECT body FROM bodies"))
    written.append(bodies.replace(b"\\u0063", b"c"))
    assert bodies and not any(CANARY[3:].encode() in content for content in written)
    told = "".join([*capfd.readouterr(), caplog.text, *said])
    assert CANARY[3:] not in told and "abstract" not in str(written)
    keys = {seen.headers["authorization"] for seen in world.faults.seen}
    assert keys == {f"Bearer {CANARY}"}  # and never what a .netrc says


def test_what_is_never_sent_costs_nothing_and_says_why(world, monkeypatch):
    for key in ("sk-tést-12345", "sk test", "sk-a\nb"):
        monkeypatch.setenv(openai_transport.KEY, key)
        with pytest.raises(InputError, match="OPENAI_API_KEY holds a blank or a letter"):
            world.ask("a")
    monkeypatch.setenv(openai_transport.KEY, f" {CANARY}\n")
    assert world.ask("a")[0].state == "ok"
    paid = spent()
    for address in ("http://a..b/v1", "http://[::1/v1", f"http://127.0.0.1:9/{'x' * 70_000}"):
        with pytest.raises(InputError, match="was sent nothing: .*check BASE_URL"):
            world.ask("b", base_url=address)
    for name in ("ü", "a\nb"):
        with monkeypatch.context() as patched, pytest.raises(InputError, match="OPENAI_ORG_ID"):
            patched.setenv("OPENAI_ORG_ID", name)
            world.ask("b")
    for code, tries in ((407, 1), (502, 6)):
        world.faults.clear()
        world.faults.add(faults.status(code), times=tries)
        with monkeypatch.context() as patched:
            patched.setenv("HTTPS_PROXY", world.url)
            with pytest.raises(InputError, match=f"says {code} .*; check HTTPS_PROXY"):
                world.ask("b", base_url="https://example.invalid/v1")
        assert len(world.faults.seen) == tries
    for name, value, said in (
        ("ALL_PROXY", "socks://me:sesame@h:1", "ALL_PROXY is no proxy"),
        ("HTTP_PROXY", "gopher://me:sesame@h", "HTTP_PROXY is no proxy"),
        ("SSL_CERT_FILE", "/no/such.pem", "No such file.* let SSL_CERT_FILE and"),
    ):
        retries._roots.cache_clear()
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            with pytest.raises(InputError, match=said) as caught:
                world.ask("b")
            assert "sesame" not in str(caught.value)
    retries._roots.cache_clear()
    assert spent() == paid


@pytest.mark.parametrize("count", [2**63, 2**62, 10**400, -1, 1.5, "7", None, True])
def test_counts_that_cannot_be_are_counts_that_nobody_says(world, count):
    used = {"prompt_tokens": count, "completion_tokens": count, "total_tokens": count}
    world.faults.add(faults.changed(lambda body: body | {"usage": used}), times=4)
    with world.client(prices={MODEL: PRICE, "embed": PRICE}) as client:
        replies = client.ask([*map(request, "abc")])
        embed(client, ["a"], "embed")
    assert {(reply.state, reply.tokens_in) for reply in replies} == {("ok", 0)}
    assert rows("SELECT DISTINCT cost = reserved AND cost > 0 FROM attempts") == [(1,)]
    assert world.ask(*"abcd")[0].cached


def test_no_header_of_an_answer_ends_in_a_traceback(world, pauses):
    known = b'{"error": {"message": "caf\xc3\xa9", "code": "bad"}}'
    for charset in ("hex", "zlib", "undefined", "idna", "utf-16", "rot13", "base64", "no-such"):
        kind = {"content-type": f"application/json; charset={charset}"}
        world.faults.add(faults.headed("400 Bad Request", kind, known))
        with pytest.raises(InputError, match="status 400, bad.: café"):
            world.ask("a")
    for place in ("http://[::1", "http://h:99999999/", "//", "x" * 70_000, "http://\x80/", ""):
        world.faults.add(faults.headed("302 Found", {"location": place}))
        with pytest.raises(InputError, match="redirects to .*; set BASE_URL"):
            world.ask("a")
    for wish in ("Wed, 21 Oct 99999999999999 07:28:00 GMT", "nan", f"Wed, 21 Oct 2015 +{'9' * 20}"):
        world.faults.add(faults.headed("429 Slow", {"retry-after": wish}))
        assert world.ask(wish)[0].state == "ok"
    assert max(pauses) <= 1


def test_embeddings_are_asked_once_for_each_text_and_come_in_order(world):
    texts = [f"text {n % 150}" for n in range(300)]
    with world.client(prices={"embed": PRICE}) as client:
        first = embed(client, texts, "embed")
    assert len(world.faults.asked("/embeddings")) == 5 and len(first[0]) == 32
    assert (first[:150] == first[150:]).all() and len(np.unique(first, axis=0)) == 150
    with world.client(prices={"embed": PRICE}) as client:
        again = embed(client, [*texts, "new"], "embed")
    assert (again[:300] == first).all() and len(world.faults.asked("/embeddings")) == 6
    assert world.app.bill <= spent() <= world.app.bill + 6


def test_embeddings_whose_body_was_kept_and_not_read_are_not_asked_again(world):
    with world.client() as client:
        first = embed(client, ["a", "b", "c"], "embed")
    with sqlite3.connect(journal.path()) as db:
        db.execute("UPDATE calls SET state = NULL, body = NULL")
    with world.client() as client:
        assert (embed(client, ["b", "a"], "embed") == first[[1, 0]]).all()
    assert len(world.faults.asked("/embeddings")) == 1


def test_embeddings_that_are_none_are_asked_again_and_of_two_models_refused(world):
    def rows_as(change):
        return faults.changed(lambda body: body | {"data": change(body["data"])})

    short = rows_as(lambda rows: rows[:-1])
    no_number = rows_as(lambda rows: [row | {"embedding": [float("nan")]} for row in rows])
    ragged = rows_as(lambda rows: [row | {"embedding": [0.5] * (row["index"] + 1)} for row in rows])
    huge = rows_as(lambda rows: [row | {"embedding": [10**400]} for row in rows])
    of_eight = rows_as(lambda rows: [row | {"embedding": [0.5] * 8} for row in rows])
    world.faults.add(short, ragged, no_number, huge, faults.bad_json)
    with world.client() as client:
        assert embed(client, ["a", "b"], "embed").shape == (2, 32)
        assert len(world.faults.asked("/embeddings")) == 6
        world.faults.add(of_eight)
        assert embed(client, ["c"], "embed").shape == (1, 8)
        assert embed(client, [], "embed").size == 0
        with pytest.raises(InputError, match="by 'embed' of 8 and 32 numbers.*RNAGPT_RUNS"):
            embed(client, ["a", "c"], "embed")
