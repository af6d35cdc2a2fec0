"""Models by their names, and a chat over one: answers as in the batch, notes on the sequence."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from rnagpt_lib.chat import generate
from rnagpt_lib.chat.decoding import answer_all
from rnagpt_lib.chat.generate import MINIATURE, Chat
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.runs.stages import STAGE_OF
from tests.support.tiny_chat import QUESTIONS, Letters, tiny

__all__ = ["tiny"]


def test_chat_answers_as_the_batch_does_and_says_how_a_sequence_was_read(tiny, capsys):
    chat = Chat("IT", tiny, Letters(), max_new_tokens=6)
    sequences = ["ACGUACGUACGU", "GGGGGGGGGGCC", "ACGUACGUACGU"]
    found = [answer.text for answer in chat.answer_all(sequences, QUESTIONS)]
    assert [chat.ask(s, q) for s, q in zip(sequences, QUESTIONS, strict=True)] == found
    assert capsys.readouterr().out == ""
    assert chat.ask("acgtacgtacgt", QUESTIONS[0]) == found[0]
    assert "DNA" in capsys.readouterr().out
    vanilla = Chat("vanilla", tiny, Letters(), max_new_tokens=6)
    [expected] = answer_all(tiny, [sequences[0]], ["Why?"], max_new_tokens=6)
    assert vanilla.ask(sequences[0], "Why?") == expected.text
    with pytest.raises(InputError, match="protein"):
        chat.ask("MKLVFFAEDVGSNKGAIIGL", "Why?")


def test_missing_models_are_named():
    with pytest.raises(InputError, match="vanilla, MA, IT"):
        generate.load_model("mini", "GPT")
    with pytest.raises(InputError, match="did you mean IT"):
        generate.load_model("mini", "it")
    with pytest.raises(InputError, match="there is no run mini"):
        generate.load_model("mini", "MA")
    (paths.runs() / "mini").mkdir(parents=True)
    with pytest.raises(InputError, match="04_train_stage1.* take run reference"):
        generate.load_model("mini", "MA")


def test_all_models_are_two_sets_of_weights(tiny, monkeypatch):
    monkeypatch.setattr(generate, "load_model", lambda run, name, n: Chat(name, tiny, None, n))
    found = generate.load_models("mini", 7)
    assert [chat.name for chat in found.values()] == list(found) == list(STAGE_OF)
    assert STAGE_OF["vanilla"] == STAGE_OF["MA"], "the stage that made both"
    assert found["vanilla"].model is found["MA"].model and found["IT"].max_new_tokens == 7


MADE_OF = [  # encoder, LLM, of a generated world, what is said
    ("models/mini-encoder", "models/mini-llm", True, MINIATURE),
    ("models/mini-encoder", "models/mini-llm", None, MINIATURE),
    ("models/rna-fm", "hf:meta/llama", True, MINIATURE),
    ("models/mini-encoder", "hf:meta/llama", False, "this model's encoder is the miniature's"),
    ("models/rna-fm", "/a/mini-llm", False, "this model's LLM is the miniature's"),
    ("models/mini-encoder", "models/mini-llm", False, "encoder and LLM are the miniature's"),
    ("models/rna-fm", "hf:meta/llama", False, ""),
    ("models/rna-fm", "hf:meta/llama", None, ""),
]


@pytest.mark.parametrize("encoder, llm, generated, said", MADE_OF)
def test_what_is_of_the_miniature_is_named(tiny, encoder, llm, generated, said):
    made = SimpleNamespace(config=replace(tiny.config, encoder=encoder, llm=llm))
    chat = Chat("IT", made, Letters(), run="mine", generated=generated)
    assert said in chat.warning and bool(said) == bool(chat.warning)
    assert chat.about.get("warning", "") == chat.warning
    assert (chat.about["run"], chat.about["llm"]) == ("mine", llm)
    if said not in ("", MINIATURE):
        assert MINIATURE not in chat.warning
