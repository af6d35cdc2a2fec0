"""Strata, floors and controls on a table small enough to read."""

import random

import pandas as pd
import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.sequences import kmers
from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.evaluate import fact_scores, questions

TYPE, DISEASE = RELATIONS["rna_type"], RELATIONS["disease"]


def rna(number, sequence, rna_type, family, split):
    return {
        "rna_id": f"R{number}",
        "sequence": sequence,
        "rna_type": rna_type,
        "family": family,
        "unit": f"U{number}",
        "split": split,
    }


def two_pairs(number, rna_type, disease, wording=0):
    """Open questions in one of two wordings, and a closed one."""
    entries = [
        ("rna_type", "open", TYPE.questions[wording], TYPE.say([rna_type])),
        ("literature", "open", DISEASE.questions[wording], DISEASE.say([disease])),
        ("literature", "closed", DISEASE.closed.format("glioma"),
         DISEASE.confirm("glioma", disease == "glioma")),
    ]  # fmt: skip
    return [
        {"pair_id": f"P{number}{i}", "rna_id": f"R{number}", "source": "dnc", "kind": kind,
         "form": form, "question": question, "answer": answer}
        for i, (kind, form, question, answer) in enumerate(entries)
    ]  # fmt: skip


A, C = "AAGAAAGAAAAGAAAGAA", "CCUCCCUCCCUCCCCUCCCCUCCCUCCCCU"


@pytest.fixture
def tables():
    rnas = pd.DataFrame(
        [
            rna(0, A, "tRNA", "f1", "train"),
            rna(1, C, "snRNA", "f2", "train"),
            rna(2, C[:29], "snRNA", "f2", "train"),
            rna(3, A[1:] + "AAAGAAAAGAAAG", "tRNA", "f1", "test"),  # like R0, as long as R1
            rna(4, C[3:] + "CU", "snRNA", "f9", "test"),
            rna(5, "GUGUGAGUGUGUGACGUGU", "", "", "test") | {"rna_id": "MINI-R000005"},
        ]
    )
    facts = [("tRNA", "glioma", 1), ("snRNA", "asthma", 0), ("snRNA", "asthma", 0),
             ("tRNA", "glioma", 0), ("snRNA", "sepsis", 1)]  # fmt: skip
    pairs = pd.DataFrame([row for n, fact in enumerate(facts) for row in two_pairs(n, *fact)])
    return rnas, pairs


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


def test_floors_answer_from_training_pairs_alone(tables):
    rnas, pairs = tables
    asked = questions.questions(rnas, pairs)
    found = questions.floor_answers(asked, rnas, pairs)
    train = set(pairs[pairs.rna_id.isin(["R0", "R1", "R2"])].answer)
    assert all(set(answers) <= train for answers in found.values())
    by_floor = {
        name: dict(zip(asked.pair_id, answers, strict=True)) for name, answers in found.items()
    }
    assert by_floor["floor.most_common"]["P30"] == TYPE.say(["snRNA"])
    assert by_floor["floor.most_common"]["P31"] == DISEASE.say(["asthma"])
    assert by_floor["floor.nearest"]["P30"] == TYPE.say(["tRNA"])  # whatever the wording
    assert by_floor["floor.nearest"]["P31"] == DISEASE.say(["glioma"])
    assert by_floor["floor.nearest"]["P32"] == DISEASE.confirm("glioma", True)
    assert by_floor["floor.length"]["P30"] == TYPE.say(["snRNA"])


def test_the_most_common_answer_names_something(tables):
    rnas, pairs = tables
    extra = [rna(n, A, "tRNA", "f1", "train") for n in range(10, 15)]
    unknown = [row for n in range(10, 15) for row in two_pairs(n, "tRNA", "?")]
    for row in unknown:
        if row["kind"] == "literature" and row["form"] == "open":
            row["answer"] = DISEASE.unknown
    rnas = pd.concat([rnas, pd.DataFrame(extra)], ignore_index=True)
    pairs = pd.concat([pairs, pd.DataFrame(unknown)], ignore_index=True)
    asked = questions.questions(rnas, pairs)
    found = questions.floor_answers(asked, rnas, pairs)["floor.most_common"]
    assert dict(zip(asked.pair_id, found, strict=True))["P31"] == DISEASE.say(["asthma"])


def test_floors_do_not_look_at_references(tables):
    rnas, pairs = tables
    asked = questions.questions(rnas, pairs)
    found = questions.floor_answers(asked, rnas, pairs, seed=3)
    hidden = pairs.assign(answer=pairs.answer.where(~pairs.rna_id.isin(["R3", "R4"]), "?"))
    assert questions.floor_answers(asked.assign(reference="?"), rnas, hidden, seed=3) == found


def test_random_floor_is_seeded_and_varies(tables):
    rnas, pairs = tables
    asked = questions.questions(rnas, pairs)
    drawn = {
        tuple(questions.floor_answers(asked, rnas, pairs, seed=s)["floor.random"]) for s in range(9)
    }
    assert len(drawn) > 1
    assert tuple(questions.floor_answers(asked, rnas, pairs, seed=5)["floor.random"]) in drawn


def test_a_question_that_nobody_asked_falls_back_on_kind_and_form(tables):
    rnas, pairs = tables
    strange = pairs[pairs.pair_id == "P31"].assign(question="What else is known?", pair_id="P39")
    pairs = pd.concat([pairs, strange], ignore_index=True)
    asked = questions.questions(rnas, pairs)
    found = questions.floor_answers(asked, rnas, pairs)["floor.most_common"]
    assert found[list(asked.pair_id).index("P39")] == DISEASE.say(["asthma"])


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
