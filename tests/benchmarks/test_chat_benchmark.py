"""``python -m benchmarks speed.chat``, at a tiny size: every way gives the same answers."""

import pytest
from transformers import LlamaConfig

from benchmarks.speed import chat

TINY = LlamaConfig(
    vocab_size=2000, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=1, initializer_range=0.3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(chat, "CONFIG", TINY)
    for name, value in {"QUESTIONS": 3, "TOKENS": 5, "REPEATS": 1}.items():
        monkeypatch.setattr(chat, name, value)


def test_both_rows_are_measured_after_all_answers_were_the_same():
    kept, together = chat.rows()
    assert kept["equal"] and together["equal"]
    assert kept["ratio_median"] > 0 and kept["ratio_first_token"] > 0


def test_an_answer_that_differs_is_no_measurement():
    model, asked = chat.endless(), ["Why?", "What?", "Which one?"]
    ways = {"kept": chat.kept, "other": lambda *given: ["x", *chat.together(*given)[1:]]}
    with pytest.raises(AssertionError, match="answers differ"):
        chat.in_turn(model, asked, ways)
