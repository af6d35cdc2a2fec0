"""Statements about an answer: made where it contradicts, and not where it does not."""

import pandas as pd
import pytest

from rnagpt_lib.chat import contradictions
from rnagpt_lib.chat.contradictions import Checker, Retrieved, same, who
from rnagpt_lib.chat.retrieved_evidence import Entry, Neighbour, Sentence
from rnagpt_lib.core import tables
from rnagpt_lib.curate.questions import question_templates

TYPE, FAMILY = "What type of RNA is the RNA?", "What is the family of the RNA?"
SPECIES, PROCESS = "Which species is the RNA from?", "Which process does the RNA regulate?"
RNAS = pd.DataFrame(
    [
        ("pre_miRNA", "Homo sapiens", "mir-1", "train"),
        ("tRNA", "Mus musculus", "tRNA-M1", "train"),
        ("lncRNA", "Homo sapiens", "", "train"),
        ("C_D_box_snoRNA", "Mus musculus", "U3", "train"),
        ("rRNA", "Danio rerio", "5S", "test"),
    ],
    columns=["rna_type", "species", "family", "split"],
)
PAIRS = [
    {"form": "open", "question": PROCESS, "answer": f"The RNA regulates {process}."}
    for process in ("cell growth", "splicing", "apoptosis")
]


@pytest.fixture(scope="module")
def world() -> Checker:
    return Checker.of(RNAS, pd.DataFrame(PAIRS))


@pytest.fixture(scope="module")
def real() -> Checker:
    return Checker.of(RNAS, None)


def entry(*texts: str, rna_id="MINI-R000001", **fields) -> Entry:
    values = {
        name: tuple([given] if isinstance(given, str) else given)
        for name in question_templates.CATEGORICAL
        for given in [fields.get(name, ())]
    }
    return Entry((rna_id,), values, tuple(Sentence(text) for text in texts))


def near(*texts: str, identity=0.8, **fields) -> Neighbour:
    one = entry(*texts, rna_id="MINI-R000009", **fields)
    return Neighbour(**vars(one), identity=identity, cosine=0.9, near=identity > 0.6)


def found(known: Entry | None = None, *neighbours: Neighbour, same: Entry | None = None):
    return Retrieved(known, same or known, "", neighbours)


def kinds(checker: Checker, question: str, answer: str, given: Retrieved) -> list[str]:
    return [each.kind for each in checker.statements(question, answer, given)]


def said(checker: Checker, question: str, answer: str, given: Retrieved) -> str:
    return " ".join(each.text for each in checker.statements(question, answer, given))


PRE_MIRNA = found(entry(rna_type="pre_miRNA", family="mir-1"), near(rna_type="tRNA"))


def test_another_type_than_the_field_says(world):
    text = said(world, TYPE, "The RNA is of the type tRNA.", PRE_MIRNA)
    assert text == "The generated world gives this RNA the type pre_miRNA; the answer says tRNA."


@pytest.mark.parametrize(
    "question, answer",
    [
        (TYPE, "The RNA is of the type pre_miRNA."),
        (TYPE, "It is a PRE_MIRNA."),
        (TYPE, "It is not a tRNA."),
        (TYPE, "It is not a tRNA but a pre_miRNA."),
        (TYPE, "The type of the RNA is unknown."),
        (TYPE, "Not sure. It could be a TRNA, though."),
        (TYPE, "I think it may be a tRNA fragment."),
        (TYPE, "It is a pre_miRNA, unlike a tRNA."),
        (TYPE, ""),
        ("Is the RNA of the type tRNA?", "No, the RNA is not of the type tRNA."),
        ("Is the RNA of the type tRNA?", "No."),
        ("Is the RNA of the type pre_miRNA?", "Yes."),
        ("Is the RNA of the type tRNA?", "Perhaps."),
        (FAMILY, "The RNA belongs to the family mir-1."),
        (PROCESS, "The RNA is charged by a tRNA synthetase, as a tRNA is."),
        ("Tell me more.", "It binds tRNA and rRNA."),
        ("Tell me more.", "The RNA is of the type pre_miRNA. It is found near tRNA genes."),
        ("Tell me more.", "The RNA is of the type of things that one likes."),
    ],
)
def test_no_false_alarm(world, real, question, answer):
    for checker in (world, real):
        assert not set(kinds(checker, question, answer, PRE_MIRNA)) - {"unfound"}


@pytest.mark.parametrize(
    "question, answer",
    [
        (TYPE, "It is a tRNA."),
        (TYPE, "Not sure. It is a TRNA, though."),
        ("Is the RNA of the type tRNA?", "Yes."),
        ("Is the RNA of the type tRNA?", "yes, the RNA is of the type tRNA."),
        ("Is the RNA of the type pre_miRNA?", "No, the RNA is not of the type pre_miRNA."),
        ("Is the RNA of the type rRNA?", "No, it is a tRNA."),
        (FAMILY, "The RNA belongs to the family tRNA-M1."),
        ("Tell me more.", "The RNA is of the type tRNA. It regulates splicing."),
    ],
)
def test_contradictions_are_found(world, question, answer):
    assert kinds(world, question, answer, PRE_MIRNA)[0] == "field"


def test_real_texts_name_types_in_other_words(real):
    for answer in ("It is a transfer RNA.", "A long noncoding RNA (lncRNA)."):
        assert kinds(real, TYPE, answer, PRE_MIRNA) == ["field"]
    for answer in ("It is a microRNA precursor (pre-miRNA).", "A microRNA.", "A non-coding RNA."):
        assert not kinds(real, TYPE, answer, PRE_MIRNA)
    for own, answer in (
        ("piRNA", "A piwi-interacting RNA."), ("SRP_RNA", "It is the 7SL RNA."),
        ("tmRNA", "It is a transfer-messenger RNA."), ("guide_RNA", "A gRNA."),
        ("vault_RNA", "A vtRNA."), ("precursor_RNA", "It is a pre-miRNA."),
        ("RNase_P_RNA", "It is a ribozyme."),
        ("scaRNA", "It is a small nucleolar RNA."),
    ):  # fmt: skip
        assert not kinds(real, TYPE, answer, found(entry(rna_type=own), near())), own
    assert kinds(real, TYPE, "An mRNA.", found(entry(rna_type="tmRNA"), near())) == ["field"]
    snorna = found(entry(rna_type="C_D_box_snoRNA"), near())
    assert not kinds(real, TYPE, "It is a small nucleolar RNA.", snorna)


@pytest.mark.parametrize(
    "one, other, expected",
    [
        ("snoRNA", "C_D_box_snoRNA", True), ("lncRNA", "antisense_lncRNA", True),
        ("ribozyme", "RNase_P_RNA", True), ("ribozyme", "tRNA", False), ("piRNA", "piwi-interacting RNA", True),
        ("misc_RNA", "tRNA", True), ("RNase_P_RNA", "RNase_MRP_RNA", False),
        ("tRNA", "rRNA", False), ("mir-1", "mir-10", False), ("Minia tertia", "minia_TERTIA", True),
    ],
)  # fmt: skip
def test_which_values_exclude_each_other(one, other, expected):
    assert same(one, other) == same(other, one) == expected


def test_whose_fields_they_are():
    ids = ("MINI-R000001", "URS0000000001_9606", "URS0000000001", "my-rna", "URSULA")
    whose = [
        "The generated world",
        "RNAcentral",
        "RNAcentral",
        "The run's table",
        "The run's table",
    ]
    assert [who(rna_id) for rna_id in ids] == whose


def test_near_ones_that_agree_speak_against_an_answer(world):
    two = (near(rna_type="tRNA", identity=0.71), near(rna_type="tRNA", identity=0.84))
    text = said(world, TYPE, "The RNA is of the type pre_miRNA.", found(None, *two))
    assert text == (
        "The 2 nearest RNAs have the type tRNA (MINI-R000009 is 84 % identical); the answer says "
        "pre_miRNA."
    )
    assert not kinds(world, TYPE, "The RNA is of the type tRNA.", found(None, *two))
    denied = ("Is the RNA of the type tRNA?", "No, the RNA is not of the type tRNA.")
    assert "the answer denies it" in said(world, *denied, found(None, *two))


@pytest.mark.parametrize(
    "neighbours",
    [
        (near(rna_type="tRNA"), near(rna_type="lncRNA")),
        (near(rna_type=("tRNA", "lncRNA")),),
        (near(),),
    ],
)
def test_near_ones_that_disagree_or_do_not_know_say_nothing(world, neighbours):
    assert not kinds(world, TYPE, "The RNA is of the type pre_miRNA.", found(None, *neighbours))


def test_training_rnas_say_nothing_of_what_none_of_them_is(world):
    given = found(None, near(rna_type="tRNA"))
    assert not kinds(world, TYPE, "The RNA is of the type rRNA.", given)  # of the test side alone
    assert kinds(world, TYPE, "The RNA is of the type lncRNA.", given) == ["near"]


def test_nothing_near_is_said_with_the_numbers(world):
    text = said(world, TYPE, "A tRNA.", found(None, near(rna_type="lncRNA", identity=0.52)))
    assert text == (
        "No RNA of the training set is similar (the nearest one is 52 % identical, which chance "
        "reaches); take the answer as a guess."
    )


def test_what_is_known_is_no_guess(world):
    given = found(entry(rna_type="tRNA"), near(identity=0.52))
    [far] = world.statements(TYPE, "A tRNA.", given)
    assert far.kind == "far" and "guess" not in far.text


def test_the_sequence_cannot_tell_the_species(world):
    answer = "The RNA belongs to the species Mus musculus."
    several = near(species=("Danio rerio", "Homo sapiens"), identity=0.9)
    expected = (
        "The sequence cannot tell the species: RNAs at least 90 % identical are found in Danio "
        "rerio, Homo sapiens."
    )
    assert said(world, SPECIES, answer, found(None, several)) == expected
    assert not kinds(world, SPECIES, "It is unknown.", found(None, several))
    assert not kinds(world, SPECIES, answer, found(None, near(species="Mus musculus")))


def test_another_species_of_the_same_sequence(world):
    own, other = entry(species="Homo sapiens"), entry(species=("Homo sapiens", "Mus musculus"))
    answer = "The RNA belongs to the species Mus musculus."
    text = said(world, SPECIES, answer, found(own, near(identity=1.0), same=other))
    assert text == (
        "The generated world gives this RNA the species Homo sapiens; the answer says Mus musculus."
        " The sequence cannot tell: the same one is found in Homo sapiens, Mus musculus."
    )
    assert not kinds(world, SPECIES, answer, found(other, near()))  # asked without an id


def test_what_no_evidence_holds(world):
    own = entry("This RNA regulates splicing.", "This RNA does not regulate apoptosis.")
    kin = near("This RNA regulates cell growth.")
    answer = "The RNA regulates {}.".format
    assert not kinds(world, PROCESS, answer("splicing"), found(own, kin))
    text = said(world, PROCESS, answer("cell growth"), found(own, kin))
    assert text == "Not found in the evidence of this RNA: cell growth; RNAs near it have it."
    text = said(world, PROCESS, answer("apoptosis and splicing"), found(own, kin))
    assert text == "Not found in the evidence of this RNA: apoptosis."
    text = said(world, PROCESS, answer("Splicing"), found(None, kin))
    assert text == "Not found in the evidence of the nearest RNAs: splicing."
    assert not kinds(world, PROCESS, "The RNA does not regulate splicing.", found(None, kin))
    assert not kinds(world, PROCESS, answer("cell growth"), found(None, kin))
    chance = found(None, near("This RNA regulates cell growth.", identity=0.5))
    assert kinds(world, PROCESS, answer("splicing"), chance) == ["far"]


def test_a_bare_yes_names_what_was_asked(world):
    question, kin = "Does the RNA regulate splicing?", near("This RNA regulates cell growth.")
    assert kinds(world, question, "Yes.", found(None, kin)) == ["unfound"]
    assert not kinds(world, question, "No.", found(None, kin))


def test_the_annotation_against_a_yes_or_no(world):
    own = found(
        entry("This RNA regulates splicing.", "This RNA does not regulate apoptosis."), near()
    )
    text = said(world, "Does the RNA regulate apoptosis?", "Yes, the RNA regulates apoptosis.", own)
    assert text == (
        "The annotation of this RNA says “This RNA does not regulate apoptosis.”; the answer says "
        "yes."
    )
    no = ("Does the RNA regulate splicing?", "No, the RNA does not regulate splicing.")
    assert kinds(world, *no, own) == ["annotated"]
    assert not kinds(world, "Does the RNA regulate splicing?", "Yes.", own)
    assert not kinds(world, "Does the RNA regulate apoptosis?", "No.", own)
    both = found(
        entry("This RNA regulates splicing.", "This RNA does not regulate splicing."), near()
    )
    assert not kinds(world, *no, both)


def test_real_texts_by_the_dictionary(real):
    own = entry(
        "This RNA targets PTEN in colorectal carcinomas (CRC).", rna_id="URS0000000001_9606"
    )
    question = "Which disease is the RNA associated with?"
    assert not kinds(real, question, "It is associated with colorectal cancer.", found(own, near()))
    text = said(real, question, "It is associated with asthma.", found(own, near()))
    assert text == "Not found in the evidence of this RNA: asthma."
    assert not kinds(real, question, "This miRNA targets PTEN in CRC.", found(own, near()))


def test_an_id_of_another_sequence_is_told(world):
    given = Retrieved(None, None, "MINI-R000777", [near()])
    [told] = world.statements(TYPE, "Who knows?", given)
    assert told.kind == contradictions.OTHER and told.text.startswith("MINI-R000777 has another")


def test_references_of_a_run_are_hardly_spoken_against(own_runs, tmp_path):
    from tests.support import finished

    data = finished.made("mini", first={"world_size": 120})
    folder = own_runs / "mini" / "03_decompose_qa"
    rnas = tables.read(folder / "rnas.parquet", "rnas").set_index("rna_id", drop=False)
    pairs = tables.read(folder / "pairs.parquet", "pairs")
    notes = tables.read(own_runs / "mini" / "02_summarize" / "annotations.parquet", "annotations")
    texts = notes[notes.source == "dnc"].groupby("rna_id").text.agg(list)
    checker, alarms = Checker.of(rnas, pairs), []
    for pair in pairs.itertuples():
        row = rnas.loc[pair.rna_id]
        fields = {name: row[name] for name in question_templates.CATEGORICAL if row[name]}
        own = entry(*texts.get(pair.rna_id, []), rna_id=pair.rna_id, **fields)
        alarms += checker.statements(pair.question, pair.answer, found(own, near()))
    assert len(pairs) > 900 and len(data.rnas) == 120
    assert len(alarms) <= len(pairs) // 100, alarms
