"""The stand-in of the OpenAI API, read by OpenAI's own client: the shapes are the API's."""

import json

import openai
import pytest
from pydantic import BaseModel

from tests.standin import serve
from tests.standin.openai_api import PRICE, OpenAI


class Answer(BaseModel):
    text: str
    more: list[int]


@pytest.fixture
def api():
    app = OpenAI(key="sk-right")
    with serve(app) as url, openai.OpenAI(
        api_key="sk-right", base_url=f"{url}/v1", max_retries=0, _strict_response_validation=True
    ) as client:  # fmt: skip
        yield app, client


def ask(client, said="a question", **more):
    messages = [{"role": "user", "content": said}]
    given = {"model": "m", "messages": messages, "max_tokens": 100, "response_format": Answer}
    return client.chat.completions.parse(**(given | more))


def test_a_completion(api):
    app, client = api
    found = ask(client)
    assert found.choices[0].message.parsed == Answer(text="a question", more=[1])
    assert found.choices[0].finish_reason == "stop" and found.usage.total_tokens > 0
    used = found.usage
    assert app.bill == pytest.approx(
        PRICE["input"] * used.prompt_tokens + PRICE["output"] * used.completion_tokens
    )


def test_ends_and_refusals(api):
    app, client = api
    with pytest.raises(openai.LengthFinishReasonError):
        ask(client, "long " * 40, max_tokens=5)
    app.end = lambda said: "content_filter"
    with pytest.raises(openai.ContentFilterFinishReasonError):
        ask(client)
    app.end = lambda said: "refusal"
    assert ask(client).choices[0].message.refusal


def test_a_wrong_key_a_loose_schema_and_a_lost_path(api):
    _, client = api
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(client.with_options(api_key="sk-wrong"))
    assert caught.value.code == "invalid_api_key"
    loose = {"name": "A", "strict": True, "schema": {"type": "object", "properties": {"x": {}}}}
    with pytest.raises(openai.BadRequestError, match="Invalid schema"):
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], max_tokens=5,
            response_format={"type": "json_schema", "json_schema": loose},
        )  # fmt: skip
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")
    with pytest.raises(openai.NotFoundError):
        client.models.list()


def test_embeddings_are_unit_vectors_that_depend_on_the_text(api):
    _, client = api
    found = client.embeddings.create(model="e", input=["a", "b", "a"], encoding_format="float")
    a, b, again = (row.embedding for row in found.data)
    assert a == again != b and sum(x * x for x in a) == pytest.approx(1)


def test_a_file_and_a_batch(api):
    app, client = api
    form = {"type": "json_schema", "json_schema": {"name": "A", "strict": True, "schema": {
        "type": "object", "properties": {}, "required": [], "additionalProperties": False}}}  # fmt: skip
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}
    lines = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions",
         "body": body | {"response_format": form if name != "bad" else form | {"json_schema": {
             "name": "A", "strict": False}}}}
        for name in ("one", "bad")
    ]  # fmt: skip
    content = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("f.jsonl", content), purpose="batch")
    made = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h",
        metadata={"k": "v"},
    )  # fmt: skip
    seen = [made.status]
    while seen[-1] != "completed":
        batch = client.batches.retrieve(made.id)
        seen.append(batch.status)
    assert seen == ["validating", "in_progress", "completed"] and batch.metadata == {"k": "v"}
    good = json.loads(client.files.content(batch.output_file_id).text)
    bad = json.loads(client.files.content(batch.error_file_id).text)
    assert (good["custom_id"], good["response"]["status_code"]) == ("one", 200)
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("bad", 400)
    used = good["response"]["body"]["usage"]
    whole = PRICE["input"] * used["prompt_tokens"] + PRICE["output"] * used["completion_tokens"]
    assert app.bill == pytest.approx(whole / 2)


def test_listings_come_in_pages_newest_first(api):
    _, client = api
    made = [client.files.create(file=(f"{n}.jsonl", b"{}"), purpose="batch").id for n in range(5)]
    assert [file.id for file in client.files.list(limit=2, order="desc")] == made[::-1]
