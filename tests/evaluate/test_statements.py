"""Attacks on the scores: denials in all forms, hedges, synonyms, closed answers, abstention."""

import random

import pytest

from rnagpt_lib.curate.questions.question_templates import NONE, RELATIONS, UNKNOWN
from rnagpt_lib.evaluate import fact_scores, statements
from rnagpt_lib.evaluate.entities import spots
from tests.evaluate.test_fact_scores import row

DISEASE = RELATIONS["disease"].questions[0]
TYPE = RELATIONS["rna_type"].questions[0]
KNOWN = {
    "disease": ["glioma", "asthma", "Hodgkin lymphoma", "lymphoma"],
    "rna_type": ["tRNA", "pre_miRNA", "miRNA", "C_D_box_snoRNA", "H_ACA_box_snoRNA", "rRNA"],
    "isotype": ["Phe", "Leu", "Glu"],
    "site": ["A27", "U34"],
    "ligand": ["guanine", "lysine"],
    "location": ["nucleolus", "Cajal body"],
    "partner": ["HuR", "La"],
    "process": ["cell growth", "apoptosis"],
}
DENIALS = (
    """
It isn't {}.|It is not {}.|The RNA doesn't have anything to do with {}.|It is anything but {}.
{} is excluded.|The RNA lacks {}.|There is no evidence for {}.|It is unlikely to be {}.|No {}.
It is never {}.|{} can be ruled out.|{} is ruled out.|The RNA fails to show {}.|{} does not apply.
It is not true that it is {}.|{} would be wrong.|It is false that it is {}.|By no means {}.
It is far from {}.|It has no link to {}.|The literature denies {}.|It is free of {}.|{}: no.
Neither asthma nor {}.|The RNA is unrelated to {}.|It is something other than {}.|{} isn't it.
{}, which it is not linked to.|I don't think it is {}.|Is it {}? No.|It is {}? Never.
Absence of {} was shown.|It is impossible that it is {}.|It wasn't {}.|It cannot be {}.
Without {}.|Instead of {}.|Everything but {}.|{}? Wrong.|It is hardly {}.|We exclude {}.
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
TAKEN_BACK = (
    "It is {0}. It is not {0}.|It is {0}. That is wrong.|It is {0}. Not!|It is {0}, no.|{0}. This is "
    "not true.|It isn't {0}. It is {0}.|It might possibly be {0}, or something else entirely.|It is "
    "{0} or not.|I do not know. My guess: {0}.|It is unknown. Perhaps {0}.|I don't know, {0}.|Whether "
    "it is {0} was not tested.|It is {0} or asthma.|It is {0} and asthma.|Not known, {0} or another."
).split("|")
AFFIRMED = (
    "It is {}.|{}|It is {}, although this is not certain.|It is {}, which does not occur in plants.|It"
    " is {} rather than asthma.|It is {}, not asthma.|It is not asthma, but {}.|It isn't asthma; it is"
    " {}.|Rather than asthma, it is {}.|It is not only {}.|No doubt, it is {}.|It is linked to {} and "
    "does not occur in plants.|It may be {}.|It is probably {}.|I am not sure, but it is {}.|It is {} "
    "(not asthma).|Unlike asthma, the RNA is {}.|It is {}; its function is unknown.|There is no doubt "
    "that it is {}.|It is linked to no disease other than {}.|It has nothing to do with asthma. It is "
    "{}.|It is {} and not asthma.|It is {} because it lacks a tail.|Not asthma. {}."
).split("|")  # fmt: skip


def open_fact(question, entity, said, kind="literature"):
    asked = row(question, "", entity, kind=kind)
    return fact_scores.fact(asked, said, KNOWN)[1]


@pytest.mark.parametrize("form", DENIALS + TAKEN_BACK)
@pytest.mark.parametrize("entity", ["glioma", "Hodgkin lymphoma"])
def test_a_denied_entity_is_not_right(form, entity):
    said = form.format(entity)
    assert open_fact(DISEASE, entity, said) == 0.0
    find = lambda part: spots(part, KNOWN["disease"])  # noqa: E731
    if form in DENIALS:
        assert entity.lower() not in statements.claimed(said, find)


@pytest.mark.parametrize("form", AFFIRMED)
@pytest.mark.parametrize("entity", ["glioma", "Hodgkin lymphoma"])
def test_an_affirmed_entity_is_right_whatever_else_is_denied(form, entity):
    assert open_fact(DISEASE, entity, form.format(entity)) == 1.0


@pytest.mark.parametrize(
    ("relation", "entity", "said"),
    [
        ("rna_type", "tRNA", "It is a transfer RNA."),
        ("rna_type", "tRNA", "These are transfer RNAs."),
        ("rna_type", "C_D_box_snoRNA", "It is a C/D box snoRNA."),
        ("rna_type", "C_D_box_snoRNA", "a box C/D small nucleolar RNA"),
        ("rna_type", "C_D_box_snoRNA", "C D box snoRNA"),
        ("rna_type", "H_ACA_box_snoRNA", "An H/ACA box snoRNA it is."),
        ("rna_type", "pre_miRNA", "a microRNA precursor"),
        ("rna_type", "pre_miRNA", "a pre-miRNA"),
        ("rna_type", "pre_miRNA", "a pre miRNA"),
        ("rna_type", "miRNA", "a microRNA"),
        ("rna_type", "rRNA", "ribosomal RNA"),
        ("isotype", "Phe", "It carries phenylalanine."),
        ("isotype", "Glu", "glutamic acid"),
        ("disease", "glioma", "gliomas"),
        ("location", "Cajal body", "It is in the Cajal body."),
        ("site", NONE, "The RNA guides no site."),
        ("site", NONE, "It does not guide the modification of any site."),
        ("site", NONE, RELATIONS["site"].nothing),
    ],
)
def test_another_name_of_the_entity_is_right(relation, entity, said):
    question = RELATIONS[relation].questions[0]
    assert open_fact(question, entity, said) == 1.0
    others = [name for name in KNOWN[relation] if name != entity]
    assert [open_fact(question, other, said) for other in others] == [0.0] * len(others)


@pytest.mark.parametrize("said", ["No site of the RNA is known.", "It guides no site but A27.", ""])
def test_none_is_said_of_the_relation_alone(said):
    assert open_fact(RELATIONS["site"].questions[0], NONE, said) == 0.0


YES = (
    "Yes.|yes|Yes, it is.|Correct.|Indeed it does.|The answer is yes.|That is right.|True.|Of course.|"
    "Yes, the RNA is associated with glioma.|Yes, without doubt.|Yes, no doubt.|The RNA is linked to "
    "glioma.|It is.|Certainly, glioma.|Yes, glioma rather than asthma.|Yes. It does not bind HuR."
).split("|")
NO = (
    "No.|no|No, it is not.|No, the RNA is not associated with glioma.|Incorrect.|That is wrong.|The "
    "answer is no.|It is not.|It isn't.|False.|Not at all.|Never.|By no means.|The RNA is not linked "
    "to glioma.|No, it is associated with asthma.|Not so.|No, but it is linked to asthma."
).split("|")
NEITHER = (
    "|Yes and no.|Yes, the RNA does not.|Yes. No, the contrary is true: no.|No, it is.|Yes or no.|Yes, "
    "it isn't.|No, the RNA is associated with glioma.|Yes, the RNA is not associated with glioma.|"
    "Perhaps.|The RNA is associated with asthma.|I do not know.|No. Yes.|Yes, no.|No, yes.|Yes? No!|"
    "Is it associated with glioma?"
).split("|")


@pytest.mark.parametrize(
    ("said", "side"),
    [(s, "yes") for s in YES] + [(s, "no") for s in NO] + [(s, None) for s in NEITHER],
)
def test_closed_answers_are_read_as_a_whole(said, side):
    question = RELATIONS["disease"].closed.format("glioma")
    assert fact_scores.yes_or_no(question, said) == side
    for reference in ("yes", "no"):
        truth = RELATIONS["disease"].confirm("glioma", reference == "yes")
        asked = row(question, truth, reference, form="closed")
        assert fact_scores.fact(asked, said, KNOWN) == ("fact.closed", float(side == reference))


ABSTAINING = (
    "I do not know.|I don't know.|The literature does not say.|Nothing is known about it.|I am not "
    "sure.|It is unknown.|This is not known.|No disease association of the RNA is known.|It cannot be "
    "told from the sequence.|Not reported.|There is no information.|The abstracts don't mention it.|"
    "It remains to be determined.|That is unclear.|I cannot say.|Unknown.|It has not been studied.|I "
    "can only answer questions about this RNA.|No data.|It is impossible to tell.|I have no idea."
).split("|")


@pytest.mark.parametrize("said", ABSTAINING)
def test_abstention_is_recognised_in_every_form(said):
    assert statements.abstains(said)
    assert open_fact(DISEASE, UNKNOWN, said) == 1.0
    assert open_fact(DISEASE, UNKNOWN, f"{said} Perhaps glioma.") == 0.0
    assert open_fact(DISEASE, "glioma", said) == 0.0
    assert open_fact(RELATIONS["site"].questions[0], NONE, said) == 0.0


@pytest.mark.parametrize(
    "said", ["It is glioma.", "", "Yes.", "It is no disease.", "glioma, surely"]
)
def test_what_does_not_abstain_is_no_abstention(said):
    assert not statements.abstains(said)
    assert open_fact(DISEASE, UNKNOWN, said) == 0.0


def test_an_oracle_is_right_everywhere_and_who_says_all_nowhere():
    """The reference of each relation, and answers that cover everything."""
    everything = " ".join(relation.answer.format(name) for name, relation in RELATIONS.items())
    for name, known in KNOWN.items():
        relation, question = RELATIONS[name], RELATIONS[name].questions[0]
        for entity in [*known, UNKNOWN, *([NONE] if relation.nothing else [])]:
            said = relation.say([entity])
            assert open_fact(question, entity, said, relation.kind) == 1.0
            listed = relation.say(known)
            for gamer in (everything, question, listed, f"{listed} I do not know.", ""):
                assert open_fact(question, entity, gamer, relation.kind) == 0.0
        undecidable = row(question, "", known[0], kind="literature", decidable=False)
        for said, value in ((relation.say(known[:1]), 1.0), (relation.unknown, 1.0)):
            assert fact_scores.fact(undecidable, said, KNOWN) == ("fact.abstention", value)
        assert fact_scores.fact(undecidable, relation.say(known[1:2]), KNOWN)[1] == 0.0


def test_no_order_of_clauses_makes_a_denial_right():
    """Random sentences of denying and affirming clauses: right where the last of them all agree."""
    rng = random.Random(0)
    yes, no = (
        ("it is glioma", "the RNA is linked to glioma"),
        ("it is not glioma", "it isn't glioma"),
    )
    for _ in range(200):
        turns = [rng.random() < 0.5 for _ in range(rng.randint(1, 4))]
        said = rng.choice((". ", "; ", ", but ", ", and "))
        text = said.join(rng.choice(yes if turn else no) for turn in turns) + "."
        assert open_fact(DISEASE, "glioma", text) == float(all(turns)), text


# --- as chat models write

RIGHT = [
    ("rna_type", "tRNA", "Based on the sequence, this RNA appears to be a transfer RNA (tRNA)."),
    (
        "rna_type",
        "tRNA",
        "This is a tRNA. tRNAs carry amino acids to the ribosome and do not encode proteins.",
    ),
    ("rna_type", "tRNA", "The RNA is a tRNA, not a pre-miRNA, since it lacks a long hairpin."),
    ("disease", "glioma", "The RNA has been implicated in glioma. No other disease is known."),
    (
        "disease",
        "glioma",
        "It is associated with glioma; there is no evidence of an association with asthma.",
    ),
    ("disease", "glioma", "While not linked to asthma, it is linked to glioma."),
    ("disease", "glioma", "Although nothing is certain, the RNA is linked to gliomas."),
    ("disease", "glioma", "Glioma, without question."),
    ("disease", "glioma", "It isn't asthma that the RNA is associated with, it's glioma."),
    ("disease", "glioma", "As far as I know, it is associated with glioma."),
    ("disease", "glioma", "The RNA is associated with glioma, if the sequence is right."),
    ("partner", "HuR", "The RNA binds HuR, which is not a kinase."),
    ("partner", "HuR", "No protein but HuR binds it."),
    ("partner", "HuR", "It does not only bind HuR."),
    ("process", "cell growth", "It regulates cell growth in cells that lack p53."),
    ("process", "cell growth", "The RNA promotes cell growth and is absent in the liver."),
    ("rna_type", "pre_miRNA", "The RNA is of the type pre miRNA."),
    ("rna_type", "miRNA", "It's a miRNA!"),
    ("rna_type", "tRNA", "**tRNA**"),
    ("rna_type", "tRNA", "Answer: tRNA"),
    ("rna_type", "tRNA", "The answer is: tRNA."),
    ("rna_type", "tRNA", "tRNA\n"),
    ("rna_type", "tRNA", "It is not known for certain, but the RNA is most likely a tRNA."),
]
WRONG = [
    ("rna_type", "tRNA", "It might be a tRNA, a rRNA or a miRNA."),
    ("rna_type", "tRNA", "Not tRNA"),
    ("rna_type", "tRNA", "non-tRNA"),
    ("rna_type", "tRNA", "It is no longer considered a tRNA."),
    ("rna_type", "tRNA", "The idea that it is a tRNA is wrong."),
    ("rna_type", "tRNA", "Nobody thinks that it is a tRNA."),
    ("rna_type", "tRNA", "tRNA is not what this is."),
    ("disease", "glioma", "It was once believed to be glioma, but it is not."),
    ("disease", "glioma", "Glioma can be excluded."),
    ("disease", "glioma", "It does not, in any way, relate to glioma."),
    ("disease", "glioma", "Little evidence links it to glioma."),
    ("disease", "glioma", "It is the opposite of glioma."),
    ("disease", "glioma", "There's nothing linking the RNA and glioma."),
    ("disease", "glioma", "glioma is a disease; this RNA is not associated with it."),
    ("disease", "glioma", "Is it glioma or asthma?"),
    ("disease", "glioma", "You might guess glioma. You would be wrong."),
    ("disease", "glioma", "Never mind glioma."),
    ("disease", "glioma", "any disease but glioma"),
    ("disease", "glioma", "all diseases except glioma"),
    ("disease", "glioma", "It protects from glioma? No idea."),
    ("disease", "glioma", "Ask me whether it is glioma."),
    ("disease", "glioma", "It ain't glioma."),
    ("disease", "glioma", "It is not the case that glioma is linked."),
    ("disease", "glioma", "glioma: false"),
    ("disease", "glioma", "Glioma? I doubt it."),
    ("disease", "glioma", "I doubt that it is glioma."),
    ("disease", "glioma", "It is glioma... not."),
]


@pytest.mark.parametrize(("relation", "entity", "said"), RIGHT)
def test_what_a_chat_model_affirms_is_right(relation, entity, said):
    known = [*KNOWN[relation], entity]
    assert fact_scores.is_right(RELATIONS[relation].questions[0], said, entity, known)


@pytest.mark.parametrize(("relation", "entity", "said"), WRONG)
def test_what_it_denies_in_its_own_words_is_not(relation, entity, said):
    assert open_fact(RELATIONS[relation].questions[0], entity, said) == 0.0
