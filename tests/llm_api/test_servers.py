"""Servers as they are: slow, without structured output, with odd bodies; each in its documented
state (the table in ``docs/live_data.md``)."""

import json
import time

import pytest
from werkzeug import Response

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Calls
from rnagpt_lib.curate.summaries.citations import Summary
from rnagpt_lib.llm_api import client, cost, openai_transport, retries
from rnagpt_lib.llm_api.messages import Request, read, schema, words_of
from tests.standin import Faults, faults, serve
from tests.standin.openai_api import PRICE, OpenAI
from tests.support.journal_rows import rows, spent

GOOD = {"sentences": [{"text": "This RNA binds HuR.", "articles": ["1"]}]}
SAID, ONE = json.dumps(GOOD), GOOD["sentences"][0]
DRAFT = 'perhaps {"sentences": []}, or'
FITS = {
    "a fence in prose": f"Here:\n```json\n{SAID}\n```\nHope it helps {{}}.",
    "prose with brackets": f"As [1] and {{both}} say: {SAID}",
    "thoughts": f"<think>{DRAFT}</think>\n{SAID}",
    "thoughts whose beginning the template holds": f"{DRAFT}</think>{SAID}",
    "thoughts in channels": f"<|channel|>analysis<|message|>{DRAFT}<|channel|>final<|message|>{SAID}",
    "a key too many": json.dumps(GOOD | {"note": "x"}),
    "a key too many inside": json.dumps({"sentences": [ONE | {"sure": 0.9}]}),
    "an example first": f'E.g. {{"sentences": []}}, so {SAID}',
    "a wrapped object": json.dumps({"name": "Summary", "arguments": GOOD}),
    "the list alone": json.dumps([ONE]),
    "integer ids": json.dumps({"sentences": [ONE | {"articles": [1]}]}),
    "the schema, filled in": json.dumps({"type": "object", "properties": GOOD}),
    "the schema, then the answer": f"{json.dumps(schema(Summary))}\n{SAID}",
    "said twice": f"{SAID}\n\n{SAID}",
    "parts": [{"type": "thinking", "thinking": DRAFT}, {"type": "text", "text": SAID}],
}
FITS_NOT = {
    "prose": ("Certainly! I will.", "Invalid JSON"),
    "nothing": ("", "Invalid JSON"),
    "the schema": (json.dumps(schema(Summary)), "sentences: Field required"),
    "thoughts that never end": (f"<think>{DRAFT} {SAID}", "Invalid JSON"),
    "an answer that was cut": (SAID[:-9], "Invalid JSON"),
    "two different answers": (SAID + SAID.replace("HuR", "AGO2"), "2 different answers"),
    "a draft beside it": (
        json.dumps({"a": GOOD, "b": {"sentences": [ONE | {"text": "y"}]}}),
        "2 different",
    ),
    "an example before a cut": (f'E.g. {{"sentences": []}}. {SAID[:-9]}', "Invalid JSON"),
    "a sentence alone": (json.dumps({"text": "x", "articles": []}), "sentences: Field required"),
    "a fault in prose": ('So: {"sentences": [{"text": "x"}]}', "Invalid JSON"),
}


def body(content, **message):
    message = {"content": content} | message
    return json.dumps({"choices": [{"finish_reason": "stop", "message": message}]})


def test_an_answer_is_taken_out_of_what_is_around_it_and_only_where_there_is_one():
    for name, content in FITS.items():
        found = read(body(content), Summary)
        assert found.state == "ok" and found.value.model_dump() == GOOD, name
    assert read(body(None, reasoning_content=f"So: {SAID}"), Summary).state == "ok"
    assert read(body([{"type": "text", "text": 7}]), Summary).state is None
    for empty in ('{"sentences": []}', '<think>x</think>```json\n{"sentences": []}\n```'):
        assert read(body(empty), Summary).value == Summary(sentences=[])
    for name, (content, fault) in FITS_NOT.items():
        found = read(body(content), Summary)
        assert found.state == "malformed" and fault in found.fault, name


def test_no_answer_takes_long_to_read():
    start = time.process_time()
    for part in ("{", '{"a":', '{"a', "<think>", "</think>{", '[[{"', '[{"a": 1}, '):
        assert read(body(part * 30_000), Summary).state == "malformed"
    assert read(body(json.dumps([{"a": [{}]}] * 30_000)), Summary).state == "malformed"
    assert time.process_time() - start < 20


def test_a_servers_words_are_found_however_deep_and_in_one_line():
    deep = json.loads('{"detail": ' * 900 + '"x"' + "}" * 900)
    assert (
        words_of(deep) == words_of([[[[[["x"]]]]]]) == words_of(None) == words_of({"msg": 7}) == ""
    )
    assert words_of({"message": "", "error": ["a\n b", {"loc": 3, "msg": "c"}]}) == "a b; c"
    start = time.process_time()
    assert words_of("<script>" * 10_000) == "" and words_of("<" * 10**6)
    assert time.process_time() - start < 5


def request(number=0, **changes):
    system = {"role": "system", "content": "Summarise."}
    messages = system, {"role": "user", "content": f"abstract {number}"}
    return Request(messages, Summary, "t-1", 200, f"R{number}", **changes)


class World:
    def __init__(self, url, app, queue):
        self.url, self.app, self.queue = url, app, queue

    def settings(self, **settings):
        known = {"provider": "openai", "model": "m", "base_url": f"{self.url}/v1"}
        return Calls(**(known | settings))

    def ask(self, number, **settings):
        with client.Client(self.settings(**settings)) as asking:
            return asking.ask([request(n) for n in range(number)])

    @property
    def sent(self):
        return [json.loads(seen.body) for seen in self.queue.asked("/chat/completions")]


@pytest.fixture
def world(monkeypatch, pauses):
    monkeypatch.setenv(openai_transport.KEY, "sk-any")
    app, queue = OpenAI(lambda messages, schema: SAID), Faults()
    with serve(app, faults=queue) as url:
        yield World(url, app, queue)


def test_a_server_without_structured_output_is_told_in_words_or_left(world, capsys):
    world.app.answer = lambda messages, schema: (
        f"Sure: {SAID}" if "JSON schema" in str(messages) else "This RNA binds HuR."
    )
    assert {reply.state for reply in world.ask(6, width=1)} == {"ok"}
    assert len(world.sent) == 7  # the first is asked twice, the others are told at once
    world.app.answer = lambda messages, schema: "This RNA binds HuR."
    with pytest.raises(InputError, match=r"the first 3 calls .*\(3 malformed\); the server gives no "
                       "structured output.*ASK_AGAIN"):  # fmt: skip
        world.ask(100, width=1)
    assert len(world.sent) == 7 + 3 * 2
    world.app.end = lambda said: "length"
    before = len(world.sent)
    with pytest.raises(InputError, match=r"\(3 length\); answers are cut"):
        world.ask(100)  # eight at a time, were they of use
    assert len(world.sent) - before <= 1 + 3 + 3
    assert "3 malformed among the answers of the journal: ASK_AGAIN" in capsys.readouterr().out


def test_failed_calls_are_asked_again_where_one_says_so(world, capsys):
    world.app.end = lambda said: "refusal" if said.endswith(("0", "3")) else "stop"
    first = world.ask(5, prices={"m": PRICE})
    assert [reply.state for reply in first] == ["refusal", "ok", "ok", "refusal", "ok"]
    world.app.end = lambda said: "stop"
    assert [reply.cached for reply in world.ask(5)] == [True] * 5 and len(world.sent) == 5
    questions = [request(n) for n in range(6)]
    table = cost.estimate(questions, world.settings())
    assert (table[["in the journal", "of them failed", "to ask"]] == [5, 2, 1]).all(axis=None)
    assert "ASK_AGAIN" in cost.describe(table, world.settings())
    again = world.settings(ask_again=True)
    table = cost.estimate(questions, again)
    assert (table["to ask"] == 3).all() and "ASK_AGAIN" not in cost.describe(table, again)
    before = spent()
    found = world.ask(5, prices={"m": PRICE}, ask_again=True)
    assert [reply.state for reply in found] == ["ok"] * 5 and len(world.sent) == 7
    assert [reply.cached for reply in found] == [False, True, True, False, True]
    assert spent() > before and sum(reply.microdollars for reply in found) == spent()
    assert all(reply.cached for reply in world.ask(5, ask_again=True))
    assert rows("SELECT count(*) FROM bodies") == [(7,)]  # what was paid for stays


def test_what_fails_again_is_asked_once_in_a_process_for_each_server(world):
    world.app.end = lambda said: "refusal"
    for _ in range(3):
        world.ask(2, ask_again=True)
    assert len(world.sent) == 4


REFUSALS = (
    (400, {"detail": "response_format is not supported"}),
    (422, {"detail": [{"loc": ["body", "response_format", "type"], "msg": "Input should be 'text'"}]}),
    (400, {"error": {"message": "'json_schema' is unavailable now", "code": None}}),
    (500, {"error": {"code": 500, "message": "failed to parse grammar", "type": "server_error"}}),
)  # fmt: skip


@pytest.mark.parametrize(("status", "said"), REFUSALS, ids=lambda x: str(x)[:9])
def test_a_server_that_refuses_response_format_is_told_in_words(world, status, said):
    world.queue.add(faults.status(status, body=said))
    assert [reply.state for reply in world.ask(3, width=1)] == ["ok"] * 3
    assert ["response_format" in one for one in world.sent] == [True, False, False, False]
    assert all("JSON schema" in one["messages"][0]["content"] for one in world.sent[1:])
    world.queue.add(faults.status(status, body=said), times=2)
    with pytest.raises(InputError, match=words_of(said)[-9:]):  # in words, too
        world.ask(4)


def test_the_reason_is_told_in_whatever_form_it_comes(world):
    page = "<html><style>p {}</style><body><h1>Bad\nRequest</h1>nginx</body></html>"
    for said, words in (
        ({"detail": "Model is loading"}, "Model is loading"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too large"}]}, "body.n: too large"),
        ({"error": "no such thing"}, "no such thing"),
        ({"message": {"detail": "deep"}}, "deep"),
        (page, "Bad Request nginx"),
        ({"x": 1}, "it gave no reason"),
    ):
        world.queue.add(faults.status(400, body=said))
        before = len(world.sent)
        with pytest.raises(InputError, match=rf"status 400, \w+\): {words}$"):
            world.ask(1)
        assert len(world.sent) == before + 1
    world.queue.add(faults.status(503, body={"detail": "CUDA out of memory"}), times=9)
    with pytest.raises(InputError, match=r"status 503 \(CUDA out of memory\); run it again later"):
        world.ask(1)
    assert spent() == 0


def test_an_answer_that_is_none_is_told(world):
    for said in ({"detail": "no\nroute"}, {"error": "no\troute"}):
        world.queue.add(faults.status(200, body=said), times=9)
        with pytest.raises(
            InputError, match=r"else than an answer \(no route\); run it again later"
        ):
            world.ask(1)
        world.queue.clear()
    for start in ("", ": hello\n\n", "event: x\n"):
        world.queue.add(lambda app, start=start: Response(f"{start}data: {{}}\n\n"))
        with pytest.raises(
            InputError, match="sent a stream of events, though nobody asked for one"
        ):
            world.ask(1)
        assert len(world.queue.seen) == 1
        world.queue.clear()


def test_a_web_page_after_an_answer_may_pass(world):
    with client.Client(world.settings(width=1)) as asking:
        assert asking.ask([request(0)])[0].state == "ok"
        world.queue.add(faults.html)
        assert asking.ask([request(1)])[0].state == "ok"
    assert len(world.sent) == 3


def test_the_first_answers_time_sets_width_and_deadline(world, monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(retries, "clock", lambda: now[0])

    def slow(messages, schema):
        now[0] += 300
        return SAID

    for answer, given, width, deadline in (
        (slow, {}, 2, 1200), (lambda *_: SAID, {}, 8, 120),
        (slow, {"width": 5}, 5, 3000), (slow, {"deadline": 400}, 2, 400),
    ):  # fmt: skip
        world.app.answer = answer
        settings = world.settings(model=f"m{width} {deadline}", **given)
        with client.Client(settings) as asking:
            assert asking.width == given.get("width", 1)
            asking.ask([request(0)])
            assert (asking.width, asking.deadline) == (width, deadline)
        said = f"The first answer took 300 s: {width} calls at a time (WIDTH), of {deadline} s"
        assert (said in capsys.readouterr().out) == (deadline > 400)
    with client.Client(world.settings(base_url=None)) as asking:
        assert (asking.width, asking.deadline) == (8, 120)
    known = world.settings()
    assert "slow server" in cost.describe(cost.estimate([request(9)], known), known)
    assert spent() == 0  # as it has no price


def test_a_silent_server_stops_at_once_and_a_slow_one_gets_more_time(world, monkeypatch, capsys):
    monkeypatch.setattr(client, "FIRST", 0.2)
    world.queue.add(faults.trickle)
    with pytest.raises(InputError, match=r"no answer in 0\.2 s; .* longer DEADLINE, fewer WIDTH"):
        world.ask(1)
    assert len(world.sent) == 1
    monkeypatch.setattr(client, "DEADLINE", 0.2)
    with client.Client(world.settings()) as asking:
        asking.ask([request(0)])
        world.queue.add(faults.trickle, times=2)
        assert asking.ask([request(1)])[0].state == "ok" and asking.deadline == 0.8
    assert "No answer in 0.4 s; calls have 0.8 s now (DEADLINE)" in capsys.readouterr().out
    world.queue.add(faults.trickle, times=9)
    with pytest.raises(InputError, match=r"R2: no answer in 0\.1 s; a slow server needs a longer"):
        world.ask(3, deadline=0.1)


def test_a_server_that_ignores_max_tokens_is_left_at_the_first_answer(world, capsys):
    def long(answer):
        return answer | {"usage": answer["usage"] | {"completion_tokens": 5000}}

    world.queue.add(faults.changed(long), times=99)
    paid = {"prices": {"m": PRICE}, "cap_dollars": 1}
    with pytest.raises(InputError, match="R0: an answer of 5,000 tokens, where 200 are allowed; the "
                       "server ignores max_tokens, so no cap holds"):  # fmt: skip
        world.ask(50, **paid)
    assert len(world.sent) == 1
    assert world.ask(1, **paid)[0].cached is True  # it is kept
    assert len(world.ask(9)) == 9  # free
    assert capsys.readouterr().out.count("ignores max_tokens") == 1
    world.queue.clear()
    world.app.answer = lambda messages, schema: SAID + " " * 9000
    world.queue.add(faults.changed(lambda answer: {
        "choices": [{"finish_reason": "stop", "message": {"content": SAID + " x" * 9000}}]}))  # fmt: skip
    with pytest.raises(InputError, match="an answer of 2,"):  # nobody counts, so its length tells
        world.ask(20, **paid)
