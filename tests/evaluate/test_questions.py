"""Questions with their strata, and what the controls put in place of a sequence."""

import random

import pandas as pd
import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.sequences import kmers
from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.evaluate import fact_scores, questions
from tests.evaluate.small import DISEASE


def test_strata_follow_type_and_training_families(tables):
    rnas, _ = tables
    assert questions.strata(rnas).tolist() == ["seen"] * 4 + ["held_out", "decoy"]
    users = rnas.assign(rna_type="", family="", rna_id=[f"mine{i}" for i in range(6)])
    assert questions.strata(users).tolist() == ["seen"] * 6


def test_questions_hold_what_scoring_needs(tables):
    asked = questions.questions(*tables).set_index("pair_id")
    assert set(asked.rna_id) == {"R3", "R4"}
    assert asked.relation["P30"] == "rna_type" and asked.entity["P30"] == "tRNA"
    assert asked.entity["P31"] == "glioma" and asked.entity["P32"] == "yes"
    assert asked.decidable.to_dict() == {
        "P30": True, "P31": True, "P32": True, "P40": True, "P41": False, "P42": False,
    }  # fmt: skip


def test_answers_that_name_several_entities_or_fit_no_relation_are_no_facts(tables):
    rnas, pairs = tables
    several = DISEASE.say(["glioma", "sepsis"])
    pairs.loc[pairs.pair_id == "P31", "answer"] = several
    pairs.loc[pairs.pair_id == "P41", ["question", "answer"]] = ["What is it for?", "For growth."]
    asked = questions.questions(rnas, pairs)
    by_id = {row.pair_id: row for row in asked.itertuples()}
    assert by_id["P31"].entity is None and by_id["P41"].relation is None
    known = fact_scores.lexicon(pairs)
    assert all(fact_scores.fact(by_id[pair], several, known) is None for pair in ("P31", "P41"))


def test_whoever_knows_the_type_may_guess_the_species(tables):
    rnas, pairs = tables
    species = ["Minia prima", "Musella parva", "Musella parva", "Minia prima", "minia prima", ""]
    rnas = rnas.assign(species=species)
    said = RELATIONS["species"]
    asked_of = [3, 4]
    more = pd.DataFrame([
        {"pair_id": f"S{n}", "rna_id": f"R{n}", "source": "dnc", "kind": "species", "form": "open",
         "question": said.questions[0], "answer": said.say([species[n]])} for n in asked_of
    ])  # fmt: skip
    asked = questions.questions(rnas, pd.concat([pairs, more]))
    assert questions.species_by_type(asked, rnas) == 0.5  # the tRNA's; snRNAs are of M. parva
    unknown = rnas.assign(rna_type=rnas.rna_type.where(rnas.split == "train", "decoy"))
    assert (
        questions.species_by_type(questions.questions(unknown, pd.concat([pairs, more])), unknown)
        == 0
    )
    assert pd.isna(questions.species_by_type(questions.questions(rnas, pairs), rnas))


def test_a_side_without_questions_is_refused(tables):
    rnas, pairs = tables
    with pytest.raises(InputError, match="test side"):
        questions.questions(rnas.assign(split="train"), pairs)


def test_shuffled_keeps_dinucleotides_and_is_one_per_rna(tables):
    asked = questions.questions(*tables)
    changed = questions.shuffled(asked, seed=1)
    for before, after in zip(asked.sequence, changed, strict=True):
        assert sorted(kmers(before, 2)) == sorted(kmers(after, 2))
    assert len(set(changed)) == 2 and changed == questions.shuffled(asked, seed=1)


def test_swapped_is_a_test_rna_of_another_type(tables):
    asked = questions.questions(*tables)
    types = dict(zip(asked.sequence, asked.rna_type, strict=True))
    for row, other in zip(asked.itertuples(), questions.swapped(asked), strict=True):
        assert types[other] != row.rna_type
    alike = asked.assign(rna_type="tRNA")
    units = dict(zip(alike.sequence, alike.unit, strict=True))
    for row, other in zip(alike.itertuples(), questions.swapped(alike), strict=True):
        assert units[other] != row.unit


def test_a_control_of_an_rna_does_not_depend_on_the_other_rnas():
    rng = random.Random(0)
    asked = pd.DataFrame(
        {"rna_id": [f"R{i}" for i in range(5)], "rna_type": "x",
         "sequence": ["".join(rng.choices("ACGU", k=40)) for _ in range(5)]}
    )  # fmt: skip
    assert questions.shuffled(asked)[3] == questions.shuffled(asked.iloc[3:4])[0]


def test_sample_takes_whole_rnas(tables):
    asked = questions.questions(*tables)
    assert questions.sample(asked, 0) is asked
    few = questions.sample(asked, 4)
    assert few.groupby("rna_id").size().to_dict() in ({"R3": 3}, {"R4": 3})
    assert questions.sample(asked, 4).equals(few)


def test_how_many_facts_there_are_to_check_is_told():
    asked = [
        ("What does the RNA promote in glioma?", "It promotes angiogenesis."),
        ("What does the RNA promote in glioma?", "A lot."),
        (DISEASE.questions[0], "… glioma."),
    ]
    asked.append((DISEASE.questions[0], "The RNA is associated with glioma."))
    table = pd.DataFrame(asked, columns=["question", "reference"]).assign(form="open")
    about = [fact_scores.wanted(*one, "open") for one in asked]
    table["relation"], table["entity"] = zip(*about, strict=True)
    assert questions.describe_facts(table).startswith("2 of 4 open questions have a reference")
    assert "(1 in words of their own, by the dictionary)" in questions.describe_facts(table)
