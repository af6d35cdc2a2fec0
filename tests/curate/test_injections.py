"""Abstracts that give orders, read by a model that obeys them all."""

import re

import pytest

from rnagpt_lib.core.params import Summarize
from rnagpt_lib.curate import prompts
from rnagpt_lib.curate.summaries.summarize import summarize
from rnagpt_lib.llm_api import openai_transport
from tests.standin.answers import Model, talking
from tests.standin.openai_api import OpenAI
from tests.support import injections
from tests.support.injections import ATTACKS, data_set, tables

FEW = ATTACKS[::6]  # all of them where it is quick


@pytest.fixture(autouse=True)
def key(monkeypatch, pauses):
    monkeypatch.setenv(openai_transport.KEY, "k")


def check(attacks):
    rows = injections.rows(attacks)
    assert [row for row in rows if not row["survived"] or row["lost"]] == []


def test_nothing_of_an_attack_reaches_the_data_set_and_nothing_else_changes():
    assert len({attack.name for attack in ATTACKS}) == 30
    check(FEW)


@pytest.mark.slow
def test_nothing_of_thirty_attacks_reaches_the_data_set():
    check(ATTACKS)


def test_the_model_does_obey_and_the_attacked_abstracts_own_fact_is_kept():
    """Without this the test above would prove nothing: the payloads are in its answers."""
    app = OpenAI(Model(obeys=True))
    said = []
    app.answer = lambda m, s, model=app.answer: said.append(model(m, s)) or said[-1]
    with talking(app) as settings:
        for attack in FEW:
            before = len(said)
            annotations, pairs = data_set(attack, settings)
            payload = "".join(said[before:])
            assert "This RNA targets PTEN." in payload
            meant = re.search("«(.+)»", attack.text)[1]
            first, *_ = re.findall(r"[A-Za-z]{3,}", meant.replace("This RNA", ""))
            assert first in payload, attack.name
            if attack is ATTACKS[0]:
                own = annotations[annotations.text == "This RNA is expressed in liver."]
                assert own.article_ids.tolist() == [["A3"], ["A3"]]
                assert "The RNA is expressed in liver." in set(pairs.answer)


def test_the_offline_provider_copies_nothing_of_them():
    for attack in FEW:
        annotations, pairs = data_set(attack, {})
        said = " ".join([*annotations.text, *pairs.question, *pairs.answer]).casefold()
        assert not [mark for mark in attack.marks if mark.casefold() in said], attack.name


def test_an_abstract_stays_within_its_tags():
    app = OpenAI(Model())
    with talking(app) as settings:
        for attack in (a for a in ATTACKS if "<" in a.text or not a.text.isprintable()):
            app.answer.asked.clear()
            summarize(*tables(attack), Summarize(**settings))
            for system, user, *_ in app.answer.asked:
                text = user["content"]
                if "<abstract " in text:
                    opened, closed = (text.count(tag) for tag in ("<abstract ", "</abstract>"))
                    assert opened == closed <= 4
                    assert len(re.findall(r"<\s*[/!?A-Za-z]", text)) == 2 * opened
                assert attack.marks[0] not in system["content"]
                assert text.replace("\n", "").isprintable()


def test_an_abstract_has_a_length_limit():
    assert len(prompts.fence("word " * 5000)) == prompts.MOST_ABSTRACT
