"""What each step visits: everything once an epoch, by seed and number of the step alone."""

import math

import pandas as pd
import pytest

from rnagpt_lib.core.params import Stage2
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.train.training_examples import Examples, stage2_examples
from rnagpt_lib.train.visit_order import Visit, epoch_length, epoch_steps, steps_per_epoch
from tests.support.tiny_model import config_of, make_examples, random_embeddings

PARAMS = Stage2(epochs=3, rnas_per_step=2)


@pytest.fixture(scope="module")
def model(llm) -> RnaGpt:
    return RnaGpt.build(config_of(llm))


@pytest.fixture(scope="module")
def examples(model) -> Examples:
    return make_examples(model, [12, 15, 20, 17, 13, 11, 16])


def visits_of(examples: Examples, params: Stage2, epoch: int = 0, **options) -> list[list[Visit]]:
    return [step.visits for step in epoch_steps(examples, params, 0, epoch, **options)]


def test_every_epoch_visits_all_pairs_once_in_its_own_order(examples):
    orders = []
    for epoch in range(2):
        steps = visits_of(examples, PARAMS, epoch)
        assert len(steps) == steps_per_epoch(examples, PARAMS) == math.ceil(len(examples) / 2)
        orders.append([visit.rna for step in steps for visit in step])
        assert sorted(orders[-1]) == list(range(len(examples)))
        for visit in (visit for step in steps for visit in step):
            assert list(visit.pairs) == list(range(examples.count(visit.rna)))
    assert orders[0] != orders[1]
    assert [visit.rna for step in visits_of(examples, PARAMS) for visit in step] == orders[0]


def test_paper_recipe_is_one_pair_a_step_and_process(examples):
    params, total = PARAMS.model_copy(update={"recipe": "paper"}), int(examples.pairs.sum())
    every = [(rna, pair) for rna in range(7) for pair in range(examples.count(rna))]
    for processes in (1, 2, 3):
        steps = visits_of(examples, params, processes=processes)
        wanted = steps_per_epoch(examples, params, processes)
        assert len(steps) == wanted == math.ceil(total / processes)
        assert {len(step) for step in steps[:-1]} == {processes}
        assert sorted((visit.rna, *visit.pairs) for step in steps for visit in step) == every


def test_skipped_steps_leave_the_rest_as_it_is(examples):
    for recipe, wanted in [("packed", 0), ("packed", 2), ("paper", 0)]:
        params = PARAMS.model_copy(update={"recipe": recipe, "pairs_per_visit": wanted})
        whole = list(epoch_steps(examples, params, 3, 1))
        for skip in range(len(whole) + 1):
            assert list(epoch_steps(examples, params, 3, 1, skip=skip)) == whole[skip:]
        length = epoch_length(examples, params)
        brought = [1 if recipe == "paper" else sum(len(v.pairs) for v in s.visits) for s in whole]
        before = [length + sum(brought[:number]) for number in range(len(whole))]
        assert [step.before for step in whole] == before and sum(brought) == length


def test_pairs_per_visit_are_drawn_anew_in_every_epoch(examples):
    params = PARAMS.model_copy(update={"pairs_per_visit": 2})
    epochs = [
        {visit.rna: visit.pairs for step in visits_of(examples, params, epoch) for visit in step}
        for epoch in range(6)
    ]
    assert {len(pairs) for visits in epochs for pairs in visits.values()} == {1, 2}
    three = next(number for number in range(len(examples)) if examples.count(number) == 3)
    assert any(visits[three] != epochs[0][three] for visits in epochs)


def test_no_visit_leaves_out_what_always_comes(model):
    kinds = ["local", "family", "family", "rna_type", "local", "species"]
    rnas = pd.DataFrame({"rna_id": ["R0"], "sequence": ["ACGUACGUACGU"]})
    pairs = pd.DataFrame({"rna_id": "R0", "kind": kinds, "question": kinds, "answer": "Yes."})
    examples = stage2_examples(model, rnas, pairs, random_embeddings(rnas))
    params = PARAMS.model_copy(update={"pairs_per_visit": 2, "always": ("local",)})
    assert epoch_length(examples, params) == 4
    drawn = set()
    for epoch in range(20):
        [[visit]] = visits_of(examples, params, epoch)
        assert visit.pairs == sorted(visit.pairs) and len(visit.pairs) == 4
        assert {0, 4} < set(visit.pairs)
        drawn |= set(visit.pairs)
    assert drawn == set(range(len(kinds)))
