"""The client against a real server: what is asked, what is kept, how every fault ends."""

import pytest
from pydantic import BaseModel, Field

from rnagpt_lib import profiles, retries, wire
from rnagpt_lib.llm import Client, Request
from tests.standin import Faults, serve
from tests.standin.openai_api import PRICE, OpenAI

CANARY = "sk-canary-0123456789abcdef"
MODEL = "gpt-standin"


class Summary(BaseModel):
    text: str = Field(min_length=1)
    ids: list[str]


def request(text="an abstract", **changes):
    messages = ({"role": "system", "content": "Summarise."}, {"role": "user", "content": text})
    given = {"answer": Summary, "version": "t-1", "max_tokens": 200, "about": text}
    return Request(messages, **(given | changes))


class World:
    """A server, its faults, and clients of it."""

    def __init__(self, url, app, faults):
        self.url, self.app, self.faults = url, app, faults

    def client(self, **settings):
        known = {"provider": "openai", "model": MODEL, "base_url": f"{self.url}/v1", "deadline": 5}
        return Client(profiles.Calls(**(known | {"prices": {MODEL: PRICE}} | settings)))

    def ask(self, *texts, **settings):
        with self.client(**settings) as client:
            return client.answers([request(text) for text in texts])

    @property
    def asked(self):
        return len(self.faults.asked("/chat/completions"))


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setenv(wire.KEY, CANARY)
    monkeypatch.setattr(retries, "pause", lambda seconds: None)
    app, queue = OpenAI(), Faults()
    with serve(app, faults=queue) as url:
        yield World(url, app, queue)


def test_answers_come_in_order_and_a_second_run_makes_no_call(world):
    texts = [f"abstract {n}" for n in range(20)]
    first = world.ask(*texts)
    assert [reply.value.text for reply in first] == texts
    assert all(reply.state == "ok" and not reply.cached for reply in first)
    again = world.ask(*texts)
    assert world.asked == 20 and all(reply.cached for reply in again)
    assert [reply.value for reply in again] == [reply.value for reply in first]
