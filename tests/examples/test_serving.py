"""A server of the merged LLM answers as the chat does, and keeps RNAs of equal length apart."""

import base64
import dataclasses
import io

import pytest
import torch

from examples.serve_vllm import serving
from rnagpt_lib.chat.generate import load_model
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.miniature import world
from rnagpt_lib.share import model as export_model
from tests.standin import Faults, faults, serve
from tests.standin.vllm import Vllm

QUESTIONS = ["What type of RNA is the RNA?", "Which disease is the RNA associated with?"]
RNA = "GGCUAGCUCAAUCGGUAGAGCGUGAGACUCUUAAUCUC"


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """The committed reference run, exported whole."""
    out = tmp_path_factory.mktemp("shipped") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RNAGPT_RUNS")
        export_model.export_model("reference", out, merged=True)
    return out


@pytest.fixture(scope="module")
def chat(merged):
    return load_model(model=str(merged), max_new_tokens=64)


@pytest.fixture(scope="module")
def remote(merged):
    return serving.load(merged, max_new_tokens=64)


@pytest.fixture
def app(merged, remote):
    return Vllm(merged / "llm", remote.name)


@pytest.fixture
def queue():
    return Faults()


@pytest.fixture
def url(app, queue, pauses):
    with serve(app, faults=queue) as base:
        yield f"{base}/v1"


def test_answers_are_the_chats_also_of_a_cache_that_hashes_no_embeddings(url, app, remote, chat):
    rnas = [rna.sequence[:60] for rna in world.entries(20, seed=2) if len(rna.sequence) >= 60]
    types = chat.answer_all(rnas, QUESTIONS[:1] * len(rnas))
    one, twin = rnas[0], next(r for r, a in zip(rnas, types, strict=True) if a != types[0])
    asked = [one, twin, twin, one], [QUESTIONS[0], QUESTIONS[0], *QUESTIONS]
    expected = chat.answer_all(*asked)
    assert remote.answers(url, *asked) == expected and expected[0] != expected[1]
    app.cache.clear()
    app.hashes_embeddings = False
    assert remote.answers(url, *asked) == expected and app.cache
    for most, reason in ((64, "eos"), (3, "length")):
        ours, theirs = (dataclasses.replace(one, max_new_tokens=most) for one in (remote, chat))
        answer = ours.ask(url, RNA.lower().replace("u", "t"), QUESTIONS[0])
        assert [answer] == theirs.answer_all([RNA], QUESTIONS[:1]) and answer.stop_reason == reason


def test_the_request_holds_the_prompt_and_leaves_nothing_to_the_server(remote, chat):
    vectors = chat.encoder.encode([RNA])[0]
    request = remote.request(remote.prompt(vectors, QUESTIONS[0]))
    raw = base64.b64decode(request["prompt_embeds"], validate=True)
    sent = torch.load(io.BytesIO(raw), weights_only=True)
    assert torch.equal(sent, chat.model.prompt(vectors, QUESTIONS[0]))
    assert request["temperature"] == 0 and request["max_tokens"] == 64
    assert request["stop"] == ["###"] and set(request["stop_token_ids"]) == remote.model.ends
    other = remote.request(remote.prompt(vectors, QUESTIONS[1]))
    assert request["cache_salt"] != other["cache_salt"]
    own = sum(p.numel() for p in remote.model.llm.parameters())
    assert own < sum(p.numel() for p in chat.model.llm.parameters()) / 4  # no layer of the LLM


def test_faults_are_sentences(url, app, remote, queue, merged, monkeypatch, tmp_path):
    def says(expected: str, rna: str = RNA, at: str = url) -> None:
        with pytest.raises(InputError, match=expected):
            remote.ask(at, rna, QUESTIONS[0])

    for bad, expected in (("MKVLE" * 5, "letter 'L'"), ("ACGU", "4 nt"), ("", "empty")):
        says(expected, bad)
    assert not queue.seen
    app.enable_prompt_embeds = False
    says("refuses .*enable-prompt-embeds")
    app.enable_prompt_embeds, app.name = True, "another"
    says(f"does not serve {remote.name}; vllm serve")
    app.name, app.key = remote.name, "secret"
    says("status 401")
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    assert remote.ask(url, RNA, QUESTIONS[0]).text
    queue.add(faults.changed(lambda answer: answer | {"usage": {"prompt_tokens": 3}}))
    says("takes no prompt embeddings")
    queue.add(faults.html, times=serving.PATIENCE.attempts)
    says("no known form")
    says("see that the server runs", at="http://127.0.0.1:9/v1")
    monkeypatch.delenv("RNAGPT_RUNS")
    export_model.export_model("reference", tmp_path / "apart")
    with pytest.raises(InputError, match="adapters apart .* --merged"):
        serving.load(tmp_path / "apart")
    card = (merged / "README.md").read_text()
    assert remote.command.replace(str(merged), "path/to/this/folder") in card
    assert "serving.load(" in card
