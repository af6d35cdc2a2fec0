"""Decoding: batched as one by one, the training prompt, stops from the tokenizer, sequences."""

import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rnagpt_lib.chat import decoding, generate, kvcache
from rnagpt_lib.chat.decoding import answers
from rnagpt_lib.chat.generate import Chat, read_sequence
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.train.training_examples import stage1_examples

DIM = 6
TEXTS = ["###Human: <RNA></RNA> What type of RNA is the RNA? ###Assistant: The RNA is a tRNA."]
QUESTIONS = ["What type of RNA is it?", "Why?", "What is this RNA associated with, please?"]
CONFIG = Config("encoder", "e", DIM, "llm", "l")


def tokenizer(vocab: int = 300) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


@pytest.fixture(scope="module")
def tiny() -> RnaGpt:
    torch.manual_seed(0)
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.4,
    )
    return RnaGpt(LlamaForCausalLM(config), words, CONFIG).eval()


def requests() -> tuple[list, list[str]]:
    torch.manual_seed(1)
    soft = [torch.randn(length, DIM) for length in (4, 31, 11)]
    rnas = [soft[0], soft[1], soft[0], "GGCUA", soft[2], "GGCUAGGCAU", None, soft[1], None]
    return rnas, [QUESTIONS[i % 3] for i in range(len(rnas))]


def naive(model: RnaGpt, rna, question: str, n: int) -> list[int]:
    """The prompt read anew for every token: no cache, no padding, no batch."""
    if isinstance(rna, torch.Tensor):
        inputs = model.prompt(rna, question)
    else:
        ids = model.template.vanilla_ids(model.tokenizer, rna or "", question)
        inputs = model.embed(ids)
    return greedy(model, inputs, n)


def greedy(model: RnaGpt, inputs: torch.Tensor, n: int) -> list[int]:
    """Token by token behind a prompt (T, H)."""
    found: list[int] = []
    for _ in range(n):
        logits = model.llm(inputs_embeds=inputs[None]).logits[0, -1]
        found.append(int(logits.argmax()))
        if found[-1] == model.tokenizer.eos_token_id:
            break
        inputs = torch.cat([inputs, model.embed([found[-1]])])
    return found


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batched_answers_are_the_naive_ones(tiny, batch_size):
    rnas, questions = requests()
    found = answers(tiny, rnas, questions, max_new_tokens=7, batch_size=batch_size)
    with torch.inference_mode():
        expected = [naive(tiny, rna, q, 7) for rna, q in zip(rnas, questions, strict=True)]
    for answer, tokens in zip(found, expected, strict=True):
        text = tiny.tokenizer.decode(tokens, skip_special_tokens=True)
        assert answer.text == tiny.template.clean(text)
        assert answer.n_tokens <= len(tokens)
    assert len({answer.text for answer in found}) > 3  # the prompt matters


def test_a_question_asked_twice_is_answered_once(tiny):
    rnas, questions = requests()
    twice = [*zip(rnas, questions, strict=True)] * 2
    order = [i for batch in decoding._batches(
        [rna for rna, _ in twice], [(id(rna), q) for rna, q in twice], 4
    ) for i in batch]  # fmt: skip
    assert len(order) == len({(id(rna), q) for rna, q in twice})
    found = answers(tiny, *map(list, zip(*twice, strict=True)), max_new_tokens=3)
    assert found[: len(rnas)] == found[len(rnas) :]


def test_the_prompt_is_the_one_of_training(tiny):
    rna, question = torch.randn(5, DIM), QUESTIONS[0]
    seen = []
    hook = tiny.llm.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["inputs_embeds"][0]), with_kwargs=True
    )
    answers(tiny, [rna], [question], max_new_tokens=1)
    hook.remove()
    before = tiny.template.prefix_ids(tiny.tokenizer)
    after = tiny.template.question_ids(tiny.tokenizer, question)
    assert torch.equal(torch.cat(seen), tiny.splice(before, rna, after))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_annotations_are_the_naive_ones_behind_the_prompt_of_stage_1(tiny, batch_size):
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
    found = chat.annotations(sequences, batch_size)
    for answer, tokens in zip(found, expected, strict=True):
        assert answer.text == tiny.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        assert answer.n_tokens == len(tokens)
    assert len({answer.text for answer in found}) > 2  # the RNA matters
    assert found == chat.annotations(sequences, 2)


def test_an_annotation_ends_by_eos_alone(tiny, monkeypatch):
    said = say(tiny, monkeypatch, " a ### b", [tiny.tokenizer.eos_token_id, 5], annotate=True)
    assert (said.text, said.stop_reason) == ("a ### b", "eos")
    cut = say(tiny, monkeypatch, " no end" * 20, [], annotate=True)
    assert (cut.n_tokens, cut.stop_reason) == (12, "length")


class Script:
    """In place of an LLM: says the given tokens, whatever it reads; the prompt comes in pieces."""

    def __init__(self, model: RnaGpt, tokens: list[int], pieces: int):
        self.size, self.tokens, self.said = len(model.tokenizer), tokens, -pieces
        self.config = model.llm.config

    def __call__(self, *, inputs_embeds, past_key_values, **options):
        rows, length = inputs_embeds.shape[:2]
        blank = torch.zeros(rows, 1, length, 1)
        past_key_values.update(blank, blank, 0)
        self.said += 1
        logits = torch.zeros(rows, 1, self.size)
        logits[:, :, self.tokens[max(self.said, 0)]] = 1
        return type("Out", (), {"logits": logits})


def scripted(tiny, monkeypatch, text: str, end: list[int], pieces: int = 2) -> None:
    """The model says ``text`` from now on, whatever it is asked."""
    tokens = tiny.tokenizer(text, add_special_tokens=False)["input_ids"] + end
    monkeypatch.setitem(tiny._modules, "llm", Script(tiny, tokens, pieces))
    monkeypatch.setattr(
        RnaGpt, "embed", lambda self, ids: torch.zeros(*torch.as_tensor(ids).shape, 1)
    )


def say(tiny, monkeypatch, text: str, end: list[int], annotate: bool = False) -> generate.Answer:
    scripted(tiny, monkeypatch, text, end, 2 - annotate)
    if annotate:
        monkeypatch.setattr(RnaGpt, "soft", lambda self, vectors: torch.zeros(len(vectors), 1))
        return decoding.annotations(tiny, [torch.zeros(4, DIM)], max_new_tokens=12)[0]
    return answers(tiny, ["ACGU"], ["Why?"], max_new_tokens=12)[0]


def test_stops_at_eos_and_counts_it(tiny, monkeypatch):
    answer = say(tiny, monkeypatch, " yes", [tiny.tokenizer.eos_token_id, 5, 6])
    assert (answer.text, answer.stop_reason) == ("yes", "eos")
    assert answer.n_tokens == len(tiny.tokenizer(" yes", add_special_tokens=False)["input_ids"]) + 1


@pytest.mark.parametrize("text", [" no ###Human: and then", " no## # ### x", "#####", " no.###"])
def test_stops_at_the_stop_string_in_whatever_tokens_it_comes(tiny, monkeypatch, text):
    answer = say(tiny, monkeypatch, text, [7] * 30)
    assert answer.stop_reason == "stop"
    assert answer.text == text.split("###")[0].strip()


def test_stop_string_of_several_tokens():
    """In this vocabulary ``###`` is no token: ids alone could not stop there."""
    plain = tokenizer(vocab=259)
    assert len(plain("###", add_special_tokens=False)["input_ids"]) == 3


def test_what_does_not_fit_into_the_context_is_refused(tiny):
    room = tiny.llm.config.max_position_embeddings
    with pytest.raises(InputError, match=f"an RNA of {room:,} nt .* the LLM reads {room:,}"):
        answers(tiny, [torch.zeros(room, DIM)], ["Why?"], max_new_tokens=1)
    long = torch.zeros(room - 1, DIM)  # with BOS, no token is left to write
    with pytest.raises(InputError, match=f"with annotation takes {room + 1:,} tokens"):
        decoding.annotations(tiny, [long], max_new_tokens=1)


def test_stops_at_the_limit(tiny, monkeypatch):
    answer = say(tiny, monkeypatch, " a b c d e f g h i j k l m n o p q r", [])
    assert (answer.n_tokens, answer.stop_reason) == (12, "length")


class Letters:
    """An encoder of a few numbers per letter."""

    def encode(self, sequences):
        code = torch.eye(4, DIM)
        return [code[["ACGU".index(letter) for letter in s]] for s in sequences]


def test_chat_answers_as_the_batch_does(tiny):
    chat = Chat("IT", tiny, Letters(), max_new_tokens=6)
    sequences = ["ACGUACGUACGU", "GGGGGGGGGGCC", "ACGUACGUACGU"]
    found = [answer.text for answer in chat.answers(sequences, QUESTIONS)]
    assert [chat.ask(s, q) for s, q in zip(sequences, QUESTIONS, strict=True)] == found
    vanilla = Chat("vanilla", tiny, Letters(), max_new_tokens=6)
    assert (
        vanilla.ask(sequences[0], "Why?")
        == answers(tiny, [sequences[0]], ["Why?"], max_new_tokens=6)[0].text
    )


def test_chat_says_how_a_sequence_was_read(tiny, capsys):
    chat = Chat("IT", tiny, Letters(), max_new_tokens=2)
    assert chat.ask("acgtacgtacgt", "Why?") == chat.ask("ACGUACGUACGU", "Why?")
    assert "DNA" in capsys.readouterr().out


def test_sequences_are_read_or_refused_with_a_reason():
    assert read_sequence(" ggcua gcuca\n") == ("GGCUAGCUCA", [])
    rna, notes = read_sequence("ACGT" * 300)
    assert rna == "ACGU" * 300 and len(notes) == 2 and "windows" in notes[1]
    with pytest.raises(InputError, match="9 nt"):
        read_sequence("ACGUACGUA")
    with pytest.raises(InputError, match="protein"):
        read_sequence("MKLVFFAEDVGSNKGAIIGL")


def test_missing_models_are_named():
    with pytest.raises(InputError, match="vanilla, MA, IT"):
        generate.load_model("mini", "GPT")
    with pytest.raises(InputError, match="there is no run mini"):
        generate.load_model("mini", "MA")
    (paths.runs() / "mini").mkdir(parents=True)
    with pytest.raises(InputError, match="04_train_stage1.* take run reference"):
        generate.load_model("mini", "MA")


def test_all_models_are_two_sets_of_weights(tiny, monkeypatch):
    monkeypatch.setattr(generate, "load_model", lambda run, name, n: Chat(name, tiny, None, n))
    found = generate.load_models("mini", 7)
    assert [chat.name for chat in found.values()] == list(found) == list(generate.MODELS)
    assert generate.MODELS["vanilla"] == generate.MODELS["MA"], "the stage that made both"
    assert found["vanilla"].model is found["MA"].model and found["IT"].max_new_tokens == 7


def test_the_cache_with_room_holds_what_the_plain_one_holds(monkeypatch):
    monkeypatch.setattr(kvcache, "ROOM", 3)
    roomy, plain = kvcache.roomy_cache(), DynamicCache()
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
