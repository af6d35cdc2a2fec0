"""What a request sends, the key it is journalled under, and what raw bodies say."""

import json
import random

import pytest
from pydantic import BaseModel

from rnagpt_lib.core import params
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.llm_api.messages import Request, about_one, read, schema, usage, vectors


class Summary(BaseModel):
    text: str
    ids: list[str] = []


class Other(BaseModel):
    text: str


def request(**changes):
    messages = ({"role": "system", "content": "Summarise."}, {"role": "user", "content": "a"})
    given = {"answer": Summary, "version": "t-1", "max_tokens": 200, "about": "about a"}
    return Request(messages, **(given | changes))


def test_what_is_sent():
    here = params.Calls(model="m", base_url="http://127.0.0.1/v1")
    sent = request().body(here)
    assert sent["model"] == "m" and sent["temperature"] == 0 and sent["max_tokens"] == 200
    form = sent["response_format"]["json_schema"]
    assert form["strict"] and form["schema"]["required"] == ["text", "ids"]
    there = params.Calls(model="m")  # OpenAI itself gets the newer name, under the same key
    assert request().body(there)["max_completion_tokens"] == 200
    assert request().key(there) == request().key(here)
    assert "temperature" not in request().body(params.Calls(temperature=None))


def test_the_key_holds_what_can_change_the_answer_and_has_not_changed_since_it_was_first_written():
    settings = params.Calls()
    key = request().key(settings)
    assert key == "b33721f16e6c1263e07f9c54d493fafd5678ea4dfd23b33e6ebe2d23594ab955"
    changes = {"version": "t-2"}, {"max_tokens": 9}, {"answer": Other}
    others = [request(**change).key(settings) for change in changes]
    others += [request().key(one) for one in (params.Calls(model="x"), params.Calls(temperature=1))]
    assert len({key, *others}) == 6 and request(about="x").key(settings) == key


def test_schemas_are_strict_also_inside_and_for_fields_with_odd_names():
    class Inner(BaseModel):
        default: int = 1
        properties: str

    class Outer(BaseModel):
        many: list[Inner]
        one: Inner | None = None

    found = schema(Outer)
    assert found["required"] == ["many", "one"] and found["additionalProperties"] is False
    inner = found["$defs"]["Inner"]
    assert inner["required"] == ["default", "properties"]
    assert inner["properties"]["default"]["type"] == "integer"


def test_a_base_url_holds_no_secret():
    for url in ("http://user:pass@host/v1", "https://host/v1?key=abc", "ftp://host", "host/v1"):
        with pytest.raises(InputError, match="BASE_URL"):
            params.load("mini").stage("02_summarize", base_url=url)


def test_an_error_about_one_text_is_known_by_any_servers_words():
    for error in (
        {"code": "context_length_exceeded", "message": "too long"},
        {"code": 400, "message": "This model's maximum context length is 8192 tokens."},
        {"type": "exceed_context_size_error", "message": "the request exceeds the context"},
        {
            "message": "The decoder prompt (length 900) is longer than the maximum model length of 99."
        },
        {
            "message": "The input (900 tokens) is longer than the model's context length (99 tokens)."
        },
    ):
        assert about_one(error) == "context"
    assert about_one({"message": "bad key"}) is None and about_one("text") is None


def test_no_body_raises_whatever_it_holds():
    good = {"choices": [{"message": {"content": '```json\n{"text": "a"}\n```'}}]}
    found = read(json.dumps(good), Summary)
    assert (found.state, found.value.text) == ("ok", "a")
    draw, whole = random.Random(0), json.dumps(good | {"usage": {"prompt_tokens": 1}, "data": []})
    odd = ["", "7", "null", "[" * 10**5, '{"choices": 7}', '{"choices": [{"message": "x"}]}',
           '{"error": "no object"}', '{"usage": 1, "data": [{"index": null}]}',
           '{"usage": {"prompt_tokens": -1}, "data": [{"index": 0, "embedding": ["x"]}]}']  # fmt: skip
    odd += [whole[: draw.randrange(len(whole))] for _ in range(20)]
    for body in odd:
        assert read(body, Summary).state in (None, "malformed")
        assert usage(body) is None and vectors(body) is None
