"""Decoding: batched as one by one, the training prompt, stops from the tokenizer, draws, a cache."""

import random

import pandas as pd
import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache

from rnagpt_lib.chat import decoding
from rnagpt_lib.chat.decoding import Sampling, answer_all
from rnagpt_lib.chat.generate import Chat
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.train.training_examples import stage1_examples
from tests.support.tiny_chat import DIM, QUESTIONS, Letters, greedy, scripted, tiny, tokenizer
from tests.support.tiny_model import letters_prompt

__all__ = ["tiny"]


def requests() -> tuple[list, list[str]]:
    torch.manual_seed(1)
    soft = [torch.randn(length, DIM) for length in (4, 31, 11)]
    rnas = [soft[0], soft[1], soft[0], "GGCUA", soft[2], "GGCUAGGCAU", None, soft[1], None]
    return rnas, [QUESTIONS[i % 3] for i in range(len(rnas))]


def naive(model: RnaGpt, rna, question: str, n: int) -> list[int]:
    """The prompt read anew for every token: no cache, no padding, no batch."""
    if isinstance(rna, torch.Tensor):
        return greedy(model, model.prompt(rna, question), n)
    ids = letters_prompt(model, rna or "", question)
    return greedy(model, model.embed(ids), n)


def test_batched_answers_are_the_naive_ones(tiny):
    rnas, questions = requests()
    with torch.inference_mode():
        expected = [naive(tiny, rna, q, 7) for rna, q in zip(rnas, questions, strict=True)]
    for batch_size in (1, 4, 64):
        found = answer_all(tiny, rnas, questions, max_new_tokens=7, batch_size=batch_size)
        for answer, tokens in zip(found, expected, strict=True):
            text = tiny.tokenizer.decode(tokens, skip_special_tokens=True)
            assert answer.text == tiny.template.clean(text)
            assert answer.n_tokens <= len(tokens)
    assert len({answer.text for answer in found}) > 3  # the prompt matters


def test_a_question_asked_twice_is_answered_once_and_what_is_kept_is_not_made_again(tiny):
    rnas, questions = requests()
    seen = []

    def keep(batches, make):
        seen.extend(batches)
        first, *missing = batches
        yield [decoding.Answer("kept", 1, "eos")] * len(first)
        yield from make(missing)

    options = {"max_new_tokens": 3, "batch_size": 4}
    found = answer_all(tiny, rnas * 2, questions * 2, **options, keep=keep)
    assert found[: len(rnas)] == found[len(rnas) :]
    order = [i for batch in seen for i in batch]
    distinct = {(id(rna), question) for rna, question in zip(rnas, questions, strict=True)}
    assert {(id(rnas[i]), questions[i]) for i in order} == distinct and len(order) == len(distinct)
    lengths = [0 if rnas[i] is None else len(rnas[i]) for i in order]
    assert lengths == sorted(lengths)
    plain = answer_all(tiny, rnas, questions, **options)
    for i, answer in enumerate(plain):
        kept = any((id(rnas[i]), questions[i]) == (id(rnas[j]), questions[j]) for j in seen[0])
        assert found[i] == (decoding.Answer("kept", 1, "eos") if kept else answer)


def test_the_prompt_is_the_one_of_training(tiny):
    rna, question = torch.randn(5, DIM), QUESTIONS[0]
    seen = []
    hook = tiny.llm.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["inputs_embeds"][0]), with_kwargs=True
    )
    answer_all(tiny, [rna], [question], max_new_tokens=1)
    hook.remove()
    before = tiny.template.prefix_ids(tiny.tokenizer)
    after = tiny.template.question_ids(tiny.tokenizer, question)
    assert torch.equal(torch.cat(seen), tiny.splice(before, rna, after))


def test_annotations_are_the_naive_ones_behind_the_prompt_of_stage_1(tiny):
    sequences = ["ACGUACGU", "GG" * 16, "CCAACC", "ACGUUGCAACGU", "GGGG"]
    rnas = pd.DataFrame({"rna_id": [f"R{i}" for i in range(5)], "sequence": sequences})
    vectors = dict(zip(sequences, Letters().encode(sequences), strict=True))
    trees = stage1_examples(tiny, rnas, dict.fromkeys(rnas.rna_id, "Any."), vectors)
    expected = []
    with torch.inference_mode():
        for tree in trees:
            [branch] = tree.branches
            prompt = tiny.splice(tree.before, tree.embeddings, branch.prompt)
            expected.append(greedy(tiny, prompt, 9))
    chat = Chat("MA", tiny, Letters(), max_new_tokens=9)
    for batch_size in (1, 3, 64):
        found = chat.annotate_all(sequences, batch_size)
        for answer, tokens in zip(found, expected, strict=True):
            text = tiny.tokenizer.decode(tokens, skip_special_tokens=True)
            assert (answer.text, answer.n_tokens) == (text.strip(), len(tokens))
    assert len({answer.text for answer in found}) > 2  # the RNA matters


def say(tiny, monkeypatch, text: str, end: list[int], annotate: bool = False) -> decoding.Answer:
    scripted(tiny, monkeypatch, text, end, 2 - annotate)
    if annotate:
        monkeypatch.setattr(RnaGpt, "soft", lambda self, vectors: torch.zeros(len(vectors), 1))
        return decoding.annotate_all(tiny, [torch.zeros(4, DIM)], max_new_tokens=12)[0]
    return answer_all(tiny, ["ACGU"], ["Why?"], max_new_tokens=12)[0]


def test_where_an_answer_ends(tiny, monkeypatch):
    eos = tiny.tokenizer.eos_token_id
    answer = say(tiny, monkeypatch, " yes", [eos, 5, 6])
    assert (answer.text, answer.stop_reason) == ("yes", "eos")
    assert answer.n_tokens == len(tiny.tokenizer(" yes", add_special_tokens=False)["input_ids"]) + 1
    for text in (" no ###Human: and then", " no## # ### x", "#####", " no.###"):
        answer = say(tiny, monkeypatch, text, [7] * 30)
        assert (answer.stop_reason, answer.text) == ("stop", text.split("###")[0].strip())
    answer = say(tiny, monkeypatch, " a b c d e f g h i j k l m n o p q r", [])
    assert (answer.n_tokens, answer.stop_reason) == (12, "length")
    # in this vocabulary ``###`` is no token: ids alone could not stop there
    assert len(tokenizer(vocab=259)("###", add_special_tokens=False)["input_ids"]) == 3


def test_an_annotation_ends_by_eos_alone(tiny, monkeypatch):
    said = say(tiny, monkeypatch, " a ### b", [tiny.tokenizer.eos_token_id, 5], annotate=True)
    assert (said.text, said.stop_reason) == ("a ### b", "eos")
    cut = say(tiny, monkeypatch, " no end" * 20, [], annotate=True)
    assert (cut.n_tokens, cut.stop_reason) == (12, "length")


def test_what_does_not_fit_into_the_context_is_refused(tiny):
    room = tiny.llm.config.max_position_embeddings
    with pytest.raises(InputError, match=f"an RNA of {room:,} nt .* the LLM reads {room:,}"):
        answer_all(tiny, [torch.zeros(room, DIM)], ["Why?"], max_new_tokens=1)
    long = torch.zeros(room - 1, DIM)  # with BOS, no token is left to write
    with pytest.raises(InputError, match=f"with annotation takes {room + 1:,} tokens"):
        decoding.annotate_all(tiny, [long], max_new_tokens=1)


def test_draws_follow_the_probabilities_within_top_p():
    torch.manual_seed(0)
    logits, rng = torch.randn(1, 12), random.Random(0)
    for temperature, top_p in ((1.0, 1.0), (0.5, 0.8), (2.0, 0.5), (1.0, 1e-9)):
        sampling = Sampling(temperature, top_p)
        chances = (logits[0].double() / temperature).softmax(0)
        order = chances.argsort(descending=True).tolist()
        kept, mass = [], 0.0
        for token in order:
            if mass < top_p:
                kept.append(token)
            mass += float(chances[token])
        n = 4000
        at = torch.tensor([(i + rng.random()) / n for i in range(n)], dtype=torch.double)
        drawn = sampling.draw(logits.expand(n, -1), at).bincount(minlength=12).double() / n
        expected = torch.zeros(12, dtype=torch.double)
        expected[kept] = chances[kept] / chances[kept].sum()
        assert torch.allclose(drawn, expected, atol=2 / n)
    for bad in ({"temperature": -1}, {"temperature": float("nan")}, {"temperature": float("inf")},
                {"top_p": 0}, {"top_p": 1.1}):  # fmt: skip
        with pytest.raises(InputError, match="give"):
            Sampling(**bad)


def test_the_cache_with_room_holds_what_the_plain_one_holds(monkeypatch):
    monkeypatch.setattr(decoding, "ROOM", 3)
    roomy, plain = Cache(layer_class_to_replicate=decoding.RoomyLayer), DynamicCache()
    torch.manual_seed(2)
    for step, length in enumerate((5, 1, 1, 1, 1, 4, 1)):
        keys, values = torch.randn(2, 3 if step < 3 else 2, 4, length, 6)
        for layer in (0, 1):
            found = roomy.update(keys + layer, values, layer)
            expected = plain.update(keys + layer, values, layer)
            assert all(map(torch.equal, found, expected))
        if step == 2:
            roomy.batch_select_indices(torch.tensor([2, 0]))
            plain.batch_select_indices(torch.tensor([2, 0]))
    assert roomy.get_seq_length() == plain.get_seq_length() == 14
