import json
import socket

import pytest

from rnagpt_lib import llm
from rnagpt_lib.errors import InputError
from rnagpt_lib.llm import Chat

pytest.importorskip("openai")
ASK = [{"role": "user", "content": "Say yes."}]
PATH = "/v1/chat/completions"


def completion(text="yes", reason="stop", **message):
    return {
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": reason,
                     "message": {"role": "assistant", "content": text, **message}}],
    }  # fmt: skip


@pytest.fixture
def chat(httpserver, monkeypatch, tmp_path):
    monkeypatch.setenv(llm.KEY, "secret-key-of-the-test")
    return Chat("m", httpserver.url_for("/v1"), tmp_path / "replies.jsonl", timeout=5)


def bodies(chat):
    return [json.loads(line)["body"] for line in chat.log.read_text().splitlines()]


def test_one_call_one_post(chat, httpserver):
    httpserver.expect_request(PATH, method="POST").respond_with_json(completion())
    assert chat.complete(ASK) == "yes"
    (request, _), *more = httpserver.log
    assert not more
    assert request.headers["Authorization"] == "Bearer secret-key-of-the-test"
    sent = request.get_json()
    assert (sent["model"], sent["messages"], sent["temperature"]) == ("m", ASK, 0)


def test_the_raw_body_is_kept_before_it_is_read(chat, httpserver):
    httpserver.expect_request(PATH).respond_with_data("{not json", content_type="application/json")
    with pytest.raises(InputError, match="no chat completion"):
        chat.complete(ASK)
    assert bodies(chat) == ["{not json"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (completion(reason="length"), "cut at the model's length limit"),
        (completion(reason="content_filter"), "content filter"),
        (completion(None, refusal="no"), "content filter"),
        (completion(""), "empty answer"),
        ({"choices": []}, "no chat completion"),
        ({"error": "x"}, "no chat completion"),
        ([], "no chat completion"),
    ],
)
def test_answers_that_cannot_be_used(chat, httpserver, body, words):
    httpserver.expect_request(PATH).respond_with_json(body)
    with pytest.raises(InputError, match=words):
        chat.complete(ASK)
    assert len(bodies(chat)) == 1


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "invalid_api_key", "refused the key in OPENAI_API_KEY"),
        (429, "insufficient_quota", "quota is used up"),
        (429, "rate_limit_exceeded", "slow down"),
        (500, None, "status 500"),
        (404, "model_not_found", "model_not_found"),
    ],
)
def test_refusals_are_one_sentence_without_the_key_and_without_retries(
    chat, httpserver, status, code, words
):
    error = {"error": {"message": "secret-key-of-the-test is bad", "code": code, "type": "t"}}
    httpserver.expect_request(PATH).respond_with_json(error, status=status)
    with pytest.raises(InputError, match=words) as caught:
        chat.complete(ASK)
    assert "secret-key" not in str(caught.value) and len(httpserver.log) == 1


def test_no_key(chat, httpserver, monkeypatch):
    monkeypatch.delenv(llm.KEY)
    with pytest.raises(InputError, match="OPENAI_API_KEY is not set"):
        chat.complete(ASK)
    assert not httpserver.log


def test_nobody_listens(monkeypatch):
    monkeypatch.setenv(llm.KEY, "k")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError, match="cannot be reached; check BASE_URL"):
        Chat("m", f"http://127.0.0.1:{port}/v1").complete(ASK)
