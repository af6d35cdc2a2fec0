"""A server of the merged LLM answers as the chat does, and keeps RNAs of equal length apart."""

import base64
import dataclasses
import io
import re
import shlex
import shutil
from pathlib import Path

import httpx2
import pytest
import torch

from examples.serve_vllm import serving
from rnagpt_lib.chat.decoding import Sampling
from rnagpt_lib.chat.generate import load_model
from rnagpt_lib.core import weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json
from rnagpt_lib.llm_api import retries
from rnagpt_lib.miniature import world
from rnagpt_lib.model import checkpoint as checkpoints
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.runs import stages
from rnagpt_lib.share import model as export_model
from tests.standin import Faults, faults, serve
from tests.standin.vllm import BLOCK, Vllm
from tests.support import llama3
from tests.support.finished import TUNED, changed, made, trained
from tests.support.tiny_model import config_of

QUESTIONS = [
    "What type of RNA is the RNA?",
    "Which family does the RNA belong to?",
    "Which disease is the RNA associated with?",
]
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


def sent(request):
    """The tensor of a request, as a server reads it: no code can come with it."""
    raw = base64.b64decode(request["prompt_embeds"], validate=True)
    return torch.load(io.BytesIO(raw), weights_only=True)


def prompt(remote, rna, question=QUESTIONS[0]):
    return remote.prompt(remote.encoder.encode([rna])[0], question)


def completion(url, request, **changes):
    answer = httpx2.post(f"{url}/completions", json=request | changes)
    return answer.json()["choices"][0]["text"]


@pytest.fixture(scope="module")
def twins(chat):
    """Two RNAs of equal length whose types the chat tells apart."""
    rnas = [rna.sequence for rna in world.entries(60, seed=4)]
    answers = chat.answers(rnas, QUESTIONS[:1] * len(rnas))
    for i, one in enumerate(rnas):
        for j, other in enumerate(rnas[:i]):
            if len(one) == len(other) and answers[i].text != answers[j].text:
                return one, other
    raise AssertionError("no such pair; take more RNAs")


# --- it answers like the chat


def test_answers_are_the_chat_s_for_many_rnas_at_once(url, remote, chat, twins, queue):
    rnas = [rna.sequence for rna in world.entries(4, seed=3)] + [*twins, twins[0][:10]]
    sequences = [rna for rna in rnas for _ in QUESTIONS]
    asked = QUESTIONS * len(rnas)
    found = remote.answers(url, sequences, asked)
    assert found == chat.answers(sequences, asked) and len({answer.text for answer in found}) > 6
    assert remote.ask(url, sequences[4], asked[4]) == found[4]
    assert remote.answers(url, [], []) == []
    assert {seen.path for seen in queue.seen} == {"/v1/completions"}
    assert len(queue.seen) == len(asked) + 1


def test_dna_is_read_as_rna_and_what_is_neither_is_sent_nowhere(url, remote, queue):
    found = remote.ask(url, RNA.lower().replace("u", "t"), QUESTIONS[0])
    assert found == remote.ask(url, RNA, QUESTIONS[0]) and len(queue.seen) == 2
    for bad in ("MKVLE" * 5, "ACGU", "", "<script>"):
        with pytest.raises(InputError):
            remote.ask(url, bad, QUESTIONS[0])
    with pytest.raises(ValueError):
        remote.answers(url, [RNA, RNA], QUESTIONS[:1])
    assert len(queue.seen) == 2


@pytest.mark.parametrize(("stop", "most", "reason"), [("###", 64, "eos"), (" of", 64, "stop"),
                                                       ("###", 3, "length")])  # fmt: skip
def test_an_answer_ends_for_the_chat_s_reasons(url, remote, chat, monkeypatch, stop, most, reason):
    for model in (remote.model, chat.model):
        template = dataclasses.replace(model.template, stop=stop)
        monkeypatch.setattr(model, "template", template)
    ours, theirs = (dataclasses.replace(one, max_new_tokens=most) for one in (remote, chat))
    [answer] = theirs.answers([RNA], QUESTIONS[:1])
    assert ours.ask(url, RNA, QUESTIONS[0]) == answer and answer.stop_reason == reason


def test_layers_of_the_encoder_that_trained_come_along(tmp_path, own_runs, pauses):
    made("w", first={"world_size": 30})
    trained("w", tmp_path / "models", encoder_layers=1, cache="live")
    out, encoder = tmp_path / "out", str(tmp_path / "models/encoder")
    export_model.export_model("w", out, merged=True)
    remote = serving.load(out, 12, encoder=encoder)
    theirs = load_model("w", "IT", max_new_tokens=12)
    rnas = [rna.sequence for rna in world.entries(4, seed=3)]
    with serve(Vllm(out / "llm", remote.name)) as base:
        found = remote.answers(f"{base}/v1", rnas, QUESTIONS[:1] * 4)
    assert found == theirs.answers(rnas, QUESTIONS[:1] * 4)
    vectors = [one.encoder.encode(rnas[:1])[0] for one in (remote, theirs)]
    assert torch.equal(*vectors)


def test_ma_is_served_by_the_llm_that_it_left_as_it_was(tmp_path, monkeypatch, pauses):
    monkeypatch.delenv("RNAGPT_RUNS")
    export_model.export_model("reference", tmp_path / "out", model="MA")
    remote = serving.load(tmp_path / "out", 32)
    folder = weights.llm_folder("models/mini-llm")
    assert shlex.split(remote.command)[:3] == ["vllm", "serve", "models/mini-llm"]
    app = Vllm(folder, remote.name)
    app.llm.float()  # --dtype float32
    with serve(app) as base:
        found = remote.ask(f"{base}/v1", RNA, QUESTIONS[0])
    assert [found] == load_model("reference", "MA", 32).answers([RNA], QUESTIONS[:1])


# --- what is sent


def test_the_prompt_is_that_of_training_bit_by_bit(remote, monkeypatch):
    """Of the checkpoint itself, with all of its LLM."""
    monkeypatch.delenv("RNAGPT_RUNS")
    model = checkpoints.load(stages.stage_folder("reference", TUNED))
    vectors = checkpoints.load_encoder(model).encode([RNA])[0]
    for question in (*QUESTIONS, "", "###Human: <RNA></RNA> é\u2028 ###"):
        expected = model.prompt(vectors, question)
        request = remote.request(remote.prompt(vectors, question))
        assert torch.equal(sent(request), expected)
    head = remote.request(expected[:12])
    assert torch.equal(sent(head), expected[:12])
    assert len(head["prompt_embeds"]) < 1.4 * expected[:12].nbytes + 4096  # and nothing beside


def test_the_client_has_no_layer_of_the_llm(remote, chat):
    own = sum(p.numel() for p in remote.model.llm.parameters())
    embeddings = chat.model.causal.get_input_embeddings().weight
    assert own < 1.01 * embeddings.numel() < sum(p.numel() for p in chat.model.llm.parameters()) / 4
    assert torch.equal(remote.model.causal.get_input_embeddings().weight, embeddings)


def test_nothing_is_left_to_the_server_s_defaults(remote):
    request = remote.request(prompt(remote, RNA))
    assert request["temperature"] == 0 and request["max_tokens"] == 64
    assert request["stop"] == ["###"] and set(request["stop_token_ids"]) == remote.model.ends
    assert request["repetition_penalty"] == 1 and request["top_k"] == 0 == request["min_p"]
    drawn = remote.request(prompt(remote, RNA), Sampling(temperature=0.7, top_p=0.9, seed=5))
    assert drawn == request | {"temperature": 0.7, "top_p": 0.9, "seed": 5}


def test_half_precision_shards_and_both_stops_of_llama_3(tmp_path, capfd):
    config = config_of(llama3.write(tmp_path / "llm"), "lora")
    model = changed(RnaGpt.build(dataclasses.replace(config, precision="bf16")))
    checkpoint = checkpoints.save(model, tmp_path, 1, {}, val_loss=None)
    out = tmp_path / "out"
    export_model._copy(checkpoint, out)
    export_model._merge(checkpoint, out)
    capfd.readouterr()
    bare = checkpoints.assemble(out, llm=str(out / "llm"), prompts_only=True)
    assert capfd.readouterr() == ("", "")  # no report of layers that it did not want
    vectors = torch.randn(20, bare.config.encoder_dim)
    remote = serving.Remote("x", "y", bare, None)
    request = remote.request(remote.prompt(vectors, "Why?"))
    assert sent(request).dtype == torch.bfloat16
    assert torch.equal(sent(request), model.prompt(vectors, "Why?"))
    assert request["stop_token_ids"] == sorted(model.ends) and len(model.ends) == 2
    config = Config(**read_json(out / "config.json"))
    assert serving.serve_command("x", config).endswith("--dtype bfloat16")
    pinned = serving.serve_command("hf:meta-llama/Meta-Llama-3-8B-Instruct@5f0b02c", config)
    assert "vllm serve meta-llama/Meta-Llama-3-8B-Instruct --revision 5f0b02c" in pinned
    assert "--tokenizer-revision 5f0b02c" in pinned


# --- prompts are kept apart


def test_every_prompt_has_a_salt_of_its_own_and_keeps_it(remote, twins):
    other = RNA[:20] + ("A" if RNA[20] != "A" else "C") + RNA[21:]
    prompts = [(rna, question) for rna in (RNA, other, *twins) for question in QUESTIONS]
    requests_ = [remote.request(prompt(remote, *given)) for given in prompts]
    assert len({request["cache_salt"] for request in requests_}) == len(prompts)
    assert all(0 < len(request["cache_salt"]) <= 1024 for request in requests_)  # vLLM's bounds
    assert remote.request(prompt(remote, *prompts[0])) == requests_[0]


def test_a_cache_that_hashes_no_embeddings_takes_one_rna_for_another(url, app, remote, twins):
    app.hashes_embeddings = False
    first, second = (remote.request(prompt(remote, rna)) for rna in twins)
    alone = [completion(url, request) for request in (first, second)]
    assert alone[0] != alone[1]
    app.cache.clear()
    bare = [completion(url, request, cache_salt=None) for request in (first, second)]
    assert bare == [alone[0], alone[0]]  # the fault: the second is answered as if it were the first
    app.cache.clear()
    shared = [completion(url, request, cache_salt="one user") for request in (second, first)]
    assert shared == [alone[1], alone[1]]


@pytest.mark.parametrize("hashes", [True, False])
def test_two_rnas_of_equal_length_are_answered_apart(url, app, remote, chat, twins, hashes):
    app.hashes_embeddings = hashes
    sequences = [*twins, twins[1], twins[0]] * 3
    asked = [question for question in QUESTIONS for _ in range(4)]
    found = remote.answers(url, sequences, asked)
    assert found == chat.answers(sequences, asked)
    assert found[0] != found[1] and found[0] == found[3] and app.cache


def test_a_salt_of_the_rna_alone_would_take_one_question_for_another(url, app, remote):
    app.hashes_embeddings = False
    pair = "Which family does the RNA belong to?", "Which disease does the RNA cause of it?"
    ids = [remote.model.template.question_ids(remote.model.tokenizer, one) for one in pair]
    texts = [prompt(remote, RNA[:12], one) for one in pair]
    short = min(map(len, texts)) - 1
    assert ids[0] != ids[1] and short // BLOCK > (len(texts[0]) - len(ids[0])) // BLOCK
    bodies = [remote.request(text) for text in texts]
    app.cache.clear()
    for body, text in zip(bodies, texts, strict=True):
        assert torch.equal(app._cached(text, body["cache_salt"]), text)
    app.cache.clear()
    app._cached(texts[0], "the RNA")
    assert not torch.equal(app._cached(texts[1], "the RNA"), texts[1])


# --- a server that is none, or another


@pytest.fixture
def told(remote):
    """The sentence of the InputError with which one question ends."""

    def ask(url, rna=RNA, client=remote):
        with pytest.raises(InputError) as error:
            client.ask(url, rna, QUESTIONS[0])
        assert "\n" not in str(error.value) and str(error.value).isprintable()
        return str(error.value)

    return ask


def test_a_server_without_prompt_embeddings(url, app, told, remote, queue):
    app.enable_prompt_embeds = False
    said = told(url)
    assert "takes no prompt embeddings; start it with: vllm serve" in said
    assert said.endswith(remote.command) and "--enable-prompt-embeds" in remote.command
    assert len(queue.seen) == 1


def test_a_server_of_another_model(url, app, told, remote):
    app.name = "meta-llama/Meta-Llama-3-8B-Instruct"
    said = told(url)
    assert f"does not serve {remote.name} but 'meta-llama/Meta-Llama-3-8B-Instruct'" in said
    assert said.endswith(f"start one with: {remote.command}")


def test_a_server_of_an_llm_of_another_width_under_our_name(tmp_path, told, remote, pauses):
    folder = llama3.write(tmp_path / "llm")
    with serve(Vllm(folder, remote.name)) as base:
        said = told(f"{base}/v1")
    assert "hidden_size 192 does not match the model's hidden_size 64" in said


def test_an_address_that_is_no_server_s(url, told):
    assert "is no server of models (its URL often ends in /v1)" in told(url.removesuffix("/v1"))
    assert "see that the server runs, and that the URL" in told("http://127.0.0.1:9/v1")
    assert "is no http(s) address" in told("localhost:8000")


def test_a_key(url, app, told, remote, monkeypatch):
    app.key = "secret"
    assert "wants a key; put it into the environment as VLLM_API_KEY" in told(url)
    monkeypatch.setenv("VLLM_API_KEY", "wrong")
    assert "wrong" not in told(url)
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    assert remote.ask(url, RNA, QUESTIONS[0]).text


def test_an_rna_that_is_too_long_for_the_llm(url, told):
    assert "maximum context length is 4096 tokens" in told(url, "ACGUACGUAC" * 420)


def without(*path):
    def change(answer):
        *way, last = path
        inner = answer
        for name in way:
            inner = inner[name]
        del inner[last]
        return answer

    return change


def set_to(value, *path):
    def change(answer):
        *way, last = path
        inner = answer
        for name in way:
            inner = inner[name]
        inner[last] = value
        return answer

    return change


MALFORMED = {
    "no text": (without("choices", 0, "text"), "no known form .choices.0.text"),
    "no choice": (set_to([], "choices"), "no known form .choices"),
    "two choices": (lambda answer: answer | {"choices": answer["choices"] * 2}, "form .choices"),
    "no usage": (without("usage"), "no known form .usage"),
    "text of another kind": (set_to({"a": 1}, "choices", 0, "text"), "form .choices.0.text"),
    "fewer than no tokens": (set_to(-1, "usage", "completion_tokens"), "completion_tokens"),
    "an error with status 200": (lambda answer: {"error": {"message": "no"}}, "no known form"),
    "aborted": (set_to("abort", "choices", 0, "finish_reason"), "broke off an answer .'abort'"),
    "unfinished": (set_to(None, "choices", 0, "finish_reason"), "broke off an answer .None"),
    "embeddings ignored": (set_to(3, "usage", "prompt_tokens"), "read 3 tokens where .* were sent"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_answers_that_are_none(url, told, queue, name):
    change, expected = MALFORMED[name]
    queue.add(faults.changed(change), times=retries.ATTEMPTS)
    said = told(url)
    assert re.search(expected, said), said


FAULTS = {
    "500": (faults.status(500), "status 500"),
    "503 for long": (faults.status(503, retry_after="300"), "asks to come back in 300 s"),
    "reset": (faults.reset, "the connection broke"),
    "half": (faults.half_a_body, "the connection broke"),
    "a page": (faults.html, "no known form"),
    "hostile words": (
        faults.status(400, body={"error": {"message": "\x1b[31m</x>" + "y" * 999}}),
        "refuses: ",
    ),
    "another error": (faults.status(422, body={"detail": []}), "status 422"),
    "away": (faults.redirect("http://192.0.2.1/v1"), "sends us on to 192.0.2.1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_that_stay(url, told, queue, pauses, name):
    fault, expected = FAULTS[name]
    queue.add(fault, times=retries.ATTEMPTS)
    said = told(url)
    assert expected in said and len(said) < 600
    assert len(queue.seen) <= serving.PATIENCE.attempts


def test_faults_that_pass(url, remote, chat, queue):
    queue.add(faults.status(503), faults.reset_inside, faults.status(429, retry_after="2"))
    rnas = [rna.sequence for rna in world.entries(5, seed=6)]
    found = remote.answers(url, rnas, QUESTIONS[:1] * 5)
    assert found == chat.answers(rnas, QUESTIONS[:1] * 5) and queue.left == 0


def test_one_failure_ends_a_batch(url, told, remote, queue):
    queue.add(faults.status(400, body={"error": {"message": "no such luck"}}))
    with pytest.raises(InputError, match="refuses: no such luck"):
        remote.answers(url, [RNA] * 3, QUESTIONS)


# --- what it loads


def test_adapters_apart_are_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.delenv("RNAGPT_RUNS")
    export_model.export_model("reference", tmp_path / "out")
    with pytest.raises(InputError, match="has its adapters apart .* export the run with --merged"):
        serving.load(tmp_path / "out")


def test_a_damaged_or_foreign_folder_is_refused(merged, tmp_path):
    copy = Path(shutil.copytree(merged, tmp_path / "copy"))
    data = (copy / "llm/model.safetensors").read_bytes()
    (copy / "llm/model.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match="llm/model.safetensors is missing or damaged"):
        serving.load(copy)
    for nowhere in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="holds no exported model"):
            serving.load(nowhere)


def test_the_card_says_how_to_serve_it(merged, remote):
    card = (merged / "README.md").read_text()
    served = remote.command.replace(str(merged), "path/to/this/folder")
    assert served in card and "serving.load(" in card
    assert served.split()[2] == "path/to/this/folder/llm"
    llm = merged / "llm"
    assert read_json(llm / "config.json")["architectures"] == ["LlamaForCausalLM"]
    assert {"tokenizer.json", "tokenizer_config.json", "generation_config.json"} <= {
        file.name for file in llm.iterdir()
    }
