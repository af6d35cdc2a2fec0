"""Facts: what the rules read in a sentence, and what they refuse."""

import pandas as pd

from rnagpt_lib.core.text import clean
from rnagpt_lib.curate.questions import question_templates
from rnagpt_lib.curate.questions.facts import facts_in
from rnagpt_lib.curate.questions.question_templates import NONE, UNKNOWN
from rnagpt_lib.curate.text import names, sentences

STATED = {
    "This RNA is associated with glioma.": [("disease", "glioma")],
    "We show that this RNA was closely linked to asthma in mice.": [("disease", "asthma")],
    "This RNA has been implicated in type 2 diabetes": [("disease", "type 2 diabetes")],
    "This RNA was significantly down-regulated in gastric cancer tissues compared with controls.": [
        ("disease", "gastric cancer")
    ],
    "Expression of this RNA is correlated with hepatitis.": [("disease", "hepatitis")],
    "This RNA plays an important role in liver fibrosis.": [("disease", "liver fibrosis")],
    "This RNA regulates DNA repair.": [("process", "DNA repair")],
    "Overexpression of this RNA inhibited proliferation, migration and invasion of tumor cells.": [
        ("process", "proliferation"),
        ("process", "migration"),
        ("process", "invasion of tumor cells"),
    ],
    "This RNA inhibits cell growth by directly targeting PTEN.": [
        ("process", "cell growth"),
        ("target", "PTEN"),
    ],
    "This RNA binds the protein HuR and promotes splicing.": [
        ("partner", "HuR"),
        ("process", "splicing"),
    ],
    "This RNA interacts with fibrillarin.": [("partner", "fibrillarin")],
    "This RNA is mainly expressed in brain and kidney.": [
        ("tissue", "brain"),
        ("tissue", "kidney"),
    ],
    "This RNA localizes to the Cajal body.": [("location", "Cajal body")],
    "This RNA is charged with Phe.": [("isotype", "Phe")],
    "This RNA accepts the amino acid lysine.": [("isotype", "lysine")],
    "This RNA silences SOX2 and MYC in stem cells.": [("target", "SOX2"), ("target", "MYC")],
    "This RNA binds to the 3'-UTR of CHD5 mRNA.": [("target", "CHD5")],
    "PIK3R3 was identified as a direct target of this RNA.": [("target", "PIK3R3")],
    "Cyclin-dependent kinase 1 (CDK1) was a direct target of this RNA.": [("target", "CDK1")],
    "MYC is repressed by this RNA.": [("target", "MYC")],
    "Apoptosis is regulated by this RNA.": [("process", "apoptosis")],
    "This RNA guides pseudouridylation of U1045 in 18S rRNA.": [("site", "U1045 in 18S rRNA")],
    "This RNA responds to preQ1, and this held in every replicate.": [("ligand", "preQ1")],
    "No disease association of this RNA is known.": [("disease", UNKNOWN)],
    "The tissue that expresses this RNA is unknown.": [("tissue", UNKNOWN)],
    "No protein has been found to bind this RNA.": [("partner", UNKNOWN)],
    "This RNA has lost its box and does not guide any modification.": [("site", NONE)],
    "HOTAIR binds EZH2, whereas this RNA targets KRAS.": [("target", "KRAS")],
}
REFUSED = (
    "This RNA may be associated with asthma.",
    "This RNA could regulate apoptosis by targeting PTEN.",
    "This RNA is a potential biomarker for glioma.",
    "KRAS is a predicted target of this RNA.",
    "We investigated whether this RNA targets PTEN.",
    "It was not tested whether this RNA regulates apoptosis.",
    "Does this RNA regulate apoptosis?",
    "In contrast, mir-7 targets PTEN.",
    "PTEN inhibits apoptosis.",
    "Target genes of this RNA regulate apoptosis.",
    "HOTAIR regulates apoptosis by sponging this RNA.",
    "HOTAIR inhibits this RNA.",
    "This RNA is regulated by MYC.",
    "This RNA is associated with poor prognosis.",
    "This RNA was measured in 84 patients.",
    "The interaction between HuR and this RNA regulates apoptosis.",
    "The role of this RNA in glioma remains unclear.",
    "There is no evidence that this RNA binds HuR.",
    "No study has shown that this RNA regulates apoptosis.",
    "It is unlikely that this RNA is associated with sepsis.",
    "It is not true that this RNA is associated with sepsis.",
    "PTEN was excluded as a target of this RNA.",
    "This RNA binds HuR " + "and " * 100 + "is associated with sepsis.",
    "is " * 5000 + "targeted by this RNA.",
)


def read(text, continues=False):
    return [(fact.relation, fact.entity) for fact in facts_in(text, continues)[0] if fact.true]


def test_reads_what_is_stated():
    assert {text: read(text) for text in STATED} == STATED


def test_refuses_what_is_not_stated_of_the_rna():
    for text in REFUSED:
        facts, reason = facts_in(text)
        assert facts == [] and reason, text


def test_denials_are_kept_as_such():
    facts, _ = facts_in("This RNA is not associated with asthma but binds HuR.")
    assert [(f.relation, f.entity, f.true) for f in facts] == [
        ("disease", "asthma", False),
        ("partner", "HuR", True),
    ]


def test_it_is_the_rna_only_right_after_it():
    assert read("It targets MYC.") == [] and read("It targets MYC.", True) == [("target", "MYC")]
    assert read("PTEN was lost, and it targets MYC.", True) == []


def test_real_abstracts_give_pairs_of_the_right_kind(shared):
    texts = pd.read_json(shared / "articles/mirna_articles.jsonl", lines=True, dtype={"pmid": str})
    found = {"target": 0, "process": 0, "disease": 0}
    for row in texts.head(80).itertuples():
        for text in sentences.split_sentences(row.abstract):
            masked = names.mask_names(text, names.names_of({"rna_id": "hsa-mir-21"}))
            for fact in facts_in(masked)[0]:
                found[fact.relation] = found.get(fact.relation, 0) + 1
                assert 1 <= len(fact.entity.split()) <= 6
    assert min(found["target"], found["process"], found["disease"]) >= 5


def told(names, abstract, title="T"):
    return [s.text for s in sentences.about("A", title, abstract, names)]


def test_labels_of_sections_are_no_part_of_a_sentence():
    for label in (
        "BACKGROUND", "RESULTS AND DISCUSSION", "METHODOLOGY/PRINCIPAL FINDINGS", "AIM", "Findings",
        "Interpretation", "Materials and Methods", "Patients and methods", "Main outcome measures",
        "Design, setting, and patients", "Conclusions/Significance", "Key findings", "Importance",
    ):  # fmt: skip
        for blank in (" ", ""):
            text = f"We saw it. {label}:{blank}X1 targets STAT3."
            assert told(["X1"], text) == ["This RNA targets STAT3."], label
    assert told(["X1"], "It was seen.RESULTS:X1 targets STAT3.") == ["This RNA targets STAT3."]
    for text in ("X1: a target of STAT3.", "Results of X1 in mice: none.", "Aims were met by X1."):
        assert told(["X1"], text)[0] == sentences.capital(text.replace("X1", "this RNA"))


def test_it_is_not_the_rna_after_a_derived_one():
    text = "GAS5-AS1 is increased in glioma. It inhibits apoptosis. This lncRNA binds HuR."
    assert told(["GAS5"], text) == told(["GAS5"], text, "GAS5 in glioma") == []
    assert told(["GAS5-AS1"], text)[1:] == ["This RNA inhibits apoptosis.", "This RNA binds HuR."]
    assert (
        told(["GAS5"], "GAS5 is low. It inhibits apoptosis.")[1] == "This RNA inhibits apoptosis."
    )


def test_a_sentence_without_an_end_is_left_out():
    endless = "X1 binds HuR and " + "significantly " * 90 + "y."
    assert told(["X1"], f"{endless} It binds AGO2. X1 targets PTEN.") == ["This RNA targets PTEN."]
    assert facts_in("This RNA binds " + "A" * 1_000 + ".")[0] == []


def test_words_over_and_over_come_to_an_end():
    """Each of them once took time that doubled with every word more, or grew with its square."""
    for word in (
        "is highly ", "highly ", "significantly ", "not only ", "In agreement with ", "it is by ",
        "we conclude that ", "no a ", "the it ", "metastasis of ", "<a ", "a", "1", " ", "(<", "among ",
    ):  # fmt: skip
        for text in (f"X1 is {word * 32}x.", f"X1 binds {word * 4_000} x. X1 targets PTEN."):
            for sentence in [*told(["X1"], text, text), f"This RNA is {word * 32}by it."]:
                facts_in(sentence, True)
            assert "\ufffd" not in clean(text)
            question_templates.entities("Is the RNA associated with glioma?" + word * 3_000, text)
