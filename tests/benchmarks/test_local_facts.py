"""``benchmarks/local_facts.py``: new RNAs and their questions, a training that goes on, its points."""

import pytest

from benchmarks.science import local_facts
from rnagpt_lib.core.files import read_json
from rnagpt_lib.curate.questions.question_templates import RELATIONS, entity
from rnagpt_lib.miniature import world
from rnagpt_lib.miniature.rules import RULES, read_local
from tests.support.tiny_model import interrupted_after


@pytest.fixture
def small(monkeypatch):
    for name, value in {"EACH": 4, "WATCHED": 1, "MINIMAL": 4, "POINTS": 2}.items():
        monkeypatch.setattr(local_facts, name, value)
    monkeypatch.setattr(local_facts, "OWN", local_facts.OWN | {"rnas_per_step": 5, "keep": 2})


def test_every_type_has_as_many_rnas_whose_fact_the_sequence_tells():
    rnas = local_facts.rnas_of_types(40, "train")
    assert (rnas.rna_type.value_counts() == 40).all() and set(rnas.rna_type) == set(RULES)
    assert rnas.sequence.is_unique and rnas.rna_id.is_unique
    assert [read_local(r.sequence, r.rna_type) for r in rnas.itertuples()] == list(rnas.entity)
    others = local_facts.rnas_of_types(40, "val").sequence
    asked = world.minimal_pairs(40)
    for known in (others, asked.sequence, asked.mutant, asked.neutral):
        assert not set(rnas.sequence) & set(known)


def test_a_question_is_answered_by_its_fact_in_both_wordings():
    for number, rna in enumerate(local_facts.rnas_of_types(4, "train").itertuples()):
        _, kind, question, answer = local_facts._pair(rna, number)
        assert kind == "local" and entity(question, answer) == rna.entity
        assert question == RELATIONS[RULES[rna.rna_type].relation].questions[number % 2]


@pytest.mark.slow
def test_a_campaign_that_was_killed_ends_with_the_same_points(small, tmp_path):
    whole = local_facts.measure(tmp_path / "one")
    assert [point["asked"] for point in whole["points"]] == [0, 2, 4]
    assert whole["points"][0] != whole["points"][-1] and whole["points"][0]["n"] == 4
    with interrupted_after(3):
        local_facts.measure(tmp_path / "two")
    again = local_facts.measure(tmp_path / "two")
    for one, other in zip(whole["points"], again["points"], strict=True):
        assert one | {"minutes": 0} == other | {"minutes": 0}


def test_the_settings_are_those_of_it_but_for_its_own():
    own = read_json(local_facts.START / "params.json")["params"]
    given = local_facts.settings().model_dump(mode="json")
    assert {name for name in own if given[name] != own[name]} <= set(local_facts.OWN)
    assert (given["epochs"], given["learning_rate"]) == (1, own["learning_rate"])


def test_a_kind_is_reached_from_where_it_stays_there():
    def said(*shares):
        points = [{"asked": 100 * n, "by_type": {"tRNA": s}} for n, s in enumerate(shares)]
        return local_facts._reached(points, "tRNA")

    assert said(0.2, 0.96, 0.9, 0.95, 1.0).startswith("tRNA: at or above 95% from 300 questions")
    assert said(0.96, 0.97) == "tRNA: at or above 95% from the start, 97% at the end."
    assert said(0.96, 0.2) == "tRNA: below 95% at the end, 20%."
