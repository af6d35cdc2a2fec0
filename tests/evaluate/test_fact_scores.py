"""Facts of single answers, at their edges."""

from types import SimpleNamespace

import pandas as pd
import pytest

from rnagpt_lib.curate.questions import question_templates
from rnagpt_lib.evaluate import entities, fact_scores

DISEASE = "Which disease is the RNA associated with?"
PARTNER = "Which protein does the RNA bind?"
SPECIES = "What species does this RNA belong to?"
SITE = "Which site does the RNA guide?"
FREE = "What does the RNA promote in glioma?"
GLIOMA = "The RNA is associated with glioma."
KNOWN = {
    "disease": ["glioma", "lymphoma", "Hodgkin lymphoma"],
    "site": ["A27", "A271", "U34"],
    "rna_type": ["tRNA", "C_D_box_snoRNA"],
}


def row(question, reference, entity, kind="literature", form="open", decidable=True, relation=None):
    return SimpleNamespace(
        question=question, reference=reference, entity=entity, kind=kind, form=form,
        decidable=decidable, relation=relation or question_templates.relation_of(question),
    )  # fmt: skip


def test_named_takes_whole_words_longest_first():
    for text, found in {
        "It is linked to GLIOMA.": {"glioma"},
        "Hodgkin lymphoma": {"hodgkin lymphoma"},
        "lymphoma, Hodgkin lymphoma": {"lymphoma", "hodgkin lymphoma"},
        "non-glioma tissue, glioma-like": set(),
        "gliomas": {"glioma"},
        "(glioma)": {"glioma"},
        "": set(),
    }.items():
        assert entities.named(text, KNOWN["disease"]) == found
    assert entities.named("The RNA guides A271.", KNOWN["site"]) == {"a271"}
    assert entities.named("any", []) == set()


def test_open_facts_want_the_entity_and_no_other():
    asked = row(DISEASE, GLIOMA, "glioma")
    for prediction, value in {
        GLIOMA: 1.0,
        "glioma": 1.0,
        "The RNA is associated with glioma and lymphoma.": 0.0,
        "The RNA is associated with lymphoma.": 0.0,
        "": 0.0,
    }.items():
        assert fact_scores.fact(asked, prediction, KNOWN) == ("fact.literature", value)
    assert fact_scores.fact(row(DISEASE, "… glioma and lymphoma.", None), "glioma", KNOWN) is None
    asked = row(SPECIES, "…", "Homo", "species", decidable=False)
    assert fact_scores.fact(asked, "The RNA belongs to the species Homo.", {})[0] == "fact.species"


def test_none_is_a_fact_of_its_own():
    nothing = question_templates.RELATIONS["site"].nothing
    asked = row(SITE, nothing, "none", kind="local")
    assert fact_scores.fact(asked, nothing, KNOWN) == ("fact.local", 1.0)
    wrong = "The RNA guides the modification of A27."
    assert fact_scores.fact(asked, wrong, KNOWN) == ("fact.local", 0.0)
    lost = row(SITE, wrong, "A27", kind="local")
    assert fact_scores.fact(lost, nothing, KNOWN) == ("fact.local", 0.0)


def test_abstention_is_scored_where_nothing_can_be_known():
    unknown = question_templates.RELATIONS["disease"].unknown
    for asked in (
        row(DISEASE, GLIOMA, "glioma", decidable=False),
        row(DISEASE, unknown, "unknown"),
    ):
        right = float(asked.entity == "glioma")  # to name what the reference names is no fault
        says = {unknown: 1.0, "glioma": right, "lymphoma": 0.0, "Not known, perhaps glioma.": 0.0}
        for said, value in says.items():
            assert fact_scores.fact(asked, said, KNOWN) == ("fact.abstention", value)
        assert fact_scores.fact(asked, "", KNOWN)[1] == 0.0


def test_closed_facts_are_yes_and_no():
    question = "Is the RNA associated with glioma?"
    asked = row(question, "Yes, the RNA is associated with glioma.", "yes", form="closed")
    for said, value in {"Yes.": 1.0, GLIOMA: 1.0, "No.": 0.0, "Perhaps.": 0.0}.items():
        assert fact_scores.fact(asked, said, KNOWN) == ("fact.closed", value)
    undecidable = row(question, "Yes.", "yes", form="closed", decidable=False)
    assert fact_scores.fact(undecidable, "Yes.", KNOWN) is None


def test_lexicon_holds_what_open_references_name():
    pairs = pd.DataFrame(
        [
            (DISEASE, "The RNA is associated with glioma and asthma.", "open"),
            ("What disease is the RNA linked to?", "The RNA is associated with sepsis.", "open"),
            (DISEASE, question_templates.RELATIONS["disease"].unknown, "open"),
            ("Is the RNA associated with anemia?", "No, …", "closed"),
            ("Why?", "Because.", "open"),
        ],
        columns=["question", "answer", "form"],
    )
    assert fact_scores.lexicon(pairs) == {"disease": ["asthma", "glioma", "sepsis"]}


def test_an_answer_that_denies_the_fact_is_not_right():
    for said, right in {
        "The RNA binds HuR.": True,
        "The RNA does not bind HuR.": False,
        "It never binds HuR; it is a tRNA.": False,
        "It is not a tRNA. It binds HuR.": True,
        "It does not bind HuR. HuR is its partner.": False,
        "It cannot be told": False,
        "It binds Not1 kinase.": False,
    }.items():
        assert fact_scores.is_right(PARTNER, said, "HuR", ["HuR", "La"]) == right
    # an entity may hold a negation, or a full stop
    assert fact_scores.is_right(PARTNER, "It binds never in mitosis A.", "never in mitosis A", [])
    species = "Bacillus sp. 7"
    assert fact_scores.is_right(SPECIES, f"It is from {species}.", species, [])
    assert not fact_scores.is_right(SPECIES, f"It is not from {species}.", species, [])


@pytest.mark.parametrize(
    ("question", "reference", "expected"),
    [
        (FREE, "In glioma it promotes angiogenesis.", ("dictionary.process", "angiogenesis")),
        (FREE, "It promotes angiogenesis and cell growth.", (None, None)),
        (FREE, "It does not promote angiogenesis.", (None, None)),
        (FREE, "What it promotes is not known.", ("dictionary.", "unknown")),
        ("Which gene does it silence?", "The RNA silences PTEN.", ("dictionary.molecule", "pten")),
        (DISEASE, GLIOMA, ("disease", "glioma")),
    ],
)
def test_questions_in_free_words_have_the_dictionarys_fact(question, reference, expected):
    assert fact_scores.wanted(question, reference, "open") == expected
    assert fact_scores.wanted("Does it promote angiogenesis?", "Yes, it does.", "closed")[1] is None


def test_facts_in_free_words_want_the_entity_and_no_other_of_its_kind():
    reference = "In glioma it promotes angiogenesis."
    relation, entity = fact_scores.wanted(FREE, reference, "open")
    asked = row(FREE, reference, entity, relation=relation)
    lost = row(FREE, reference, entity, relation=relation, decidable=False)
    for prediction, value in {
        "It promotes angiogenesis.": 1.0,
        "In glioma, Angiogenesis is promoted by PTEN.": 1.0,  # a claim of another kind
        "It promotes angiogenesis and apoptosis.": 0.0,
        "It does not promote angiogenesis.": 0.0,
        "It promotes glioma.": 0.0,
        "": 0.0,
    }.items():
        assert fact_scores.fact(asked, prediction, KNOWN) == ("fact.literature", value)
        assert fact_scores.fact(lost, prediction, KNOWN) == ("fact.abstention", value)
    assert fact_scores.fact(lost, "This is not known.", KNOWN) == ("fact.abstention", 1.0)
    assert fact_scores.fact(lost, "Not known, perhaps apoptosis.", KNOWN)[1] == 0.0


def test_spellings_of_hyphens_and_blanks_are_one_on_both_sides():
    """A model writes U+2011 where the reference has "-", or the other way round."""
    relation = "target"
    question = question_templates.RELATIONS[relation].questions[0]
    plain = question_templates.RELATIONS[relation].say(["IL-6"])
    pairs = pd.DataFrame({"question": [question], "answer": [plain], "form": ["open"]})
    for dash in ("\u2010", "\u2011", "\u2013", "\u00ad-", "\u2212"):
        other = plain.replace("-", dash).replace(" ", "\u00a0", 1)
        known = fact_scores.lexicon(pairs.assign(answer=other))
        assert known == {relation: ["IL-6"]}
        for said, wanted in ((plain, other), (other, plain), (other, other)):
            entity = fact_scores.wanted(question, wanted, "open")[1]
            asked = row(question, wanted, entity, relation=relation)
            assert fact_scores.fact(asked, said, known) == ("fact.literature", 1.0)
    assert entities.find("IL\u20116 in Crohn\u2019s disease") == entities.find(
        "IL-6 in Crohn's disease"
    )
    asked = row(question, "Unknown.", question_templates.UNKNOWN, relation=relation)
    said = fact_scores.fact(asked, "This is not\u00a0known.", known)
    assert said == ("fact.abstention", 1.0)
