import random
import re
import sys

import pytest

from rnagpt_lib.curate.text.names import mask_names, may_hold, names_of, pattern, tidy

MIR21 = names_of(
    {"rna_id": "URS000039ED8D_9606", "description": "Homo sapiens microRNA hsa-mir-21"}
)


@pytest.mark.parametrize(
    "text",
    [
        "hsa-mir-21", "mir-21", "miR-21", "MIR21", "miR21", "miR 21", "miR-21-5p", "miR-21-3p",
        "hsa-miR-21-5p", "miRNA-21", "microRNA-21", "MicroRNA-21", "micro RNA-21", "miR-21*",
        "URS000039ED8D", "URS000039ED8D_9606", "miR\u201121",
    ],
)  # fmt: skip
def test_every_spelling_of_a_microrna_is_masked(text):
    assert mask_names(f"Here {text} binds AGO2.", MIR21) == "Here this RNA binds AGO2."


@pytest.mark.parametrize(
    "text",
    [
        "miR-210", "miR-21a", "miR-121", "miR-21-92", "let-7a", "CMIR-21X", "21", "AGO2",
        "miR-2", "hsa-mir-212",
    ],
)  # fmt: skip
def test_names_of_others_stay(text):
    assert mask_names(f"Here {text} binds AGO2.", MIR21) == f"Here {text} binds AGO2."


@pytest.mark.parametrize(
    "text",
    [
        "GAS5-AS1", "GAS5-as2", "GAS5 AS1", "GAS5-AS1_4", "GAS5-OS", "GAS5-NAT1",
        "GAS5-IT1", "GAS5-DT", "GAS5-OT1", "GAS5 antisense RNA 1", "circ-GAS5",
        "circRNA-GAS5", "circGAS5", "GAS5-201", "GAS5P1",
    ],
)  # fmt: skip
def test_what_is_derived_of_a_gene_is_another_rna(text):
    names = names_of({"rna_id": "GAS5"})
    assert mask_names(f"Here {text} binds AGO2.", names) == f"Here {text} binds AGO2."
    assert mask_names(f"{text} binds GAS5-mRNA.", [text]) == "This RNA binds GAS5-mRNA."


@pytest.mark.parametrize(
    "text", ["lncRNA-GAS5", "GAS5-mediated", "GAS5-ASO", "GAS5", "GAS5/miR-21"]
)
def test_what_is_done_with_a_gene_is_of_it(text):
    assert "this RNA" in mask_names(f"Here {text} acts.", names_of({"rna_id": "GAS5"}))


def test_copies_and_arms_are_of_a_precursor_and_other_copies_are_not():
    names = names_of({"rna_id": "hsa-mir-101a-2"})
    for own in (
        "MiR-101a-2-3p", "hsa-miR-101a-2-5p", "miR-101a-2*", "miR-101a-2", "miR-101a", "miR-101a-3p",
        "microRNA-101a-2-3p", "mir101a-2-3p",
    ):  # fmt: skip
        assert mask_names(f"Here {own} acts.", names) == "Here this RNA acts."
    for other in ("miR-101a-1", "miR-101a-1-3p", "miR-101b-2-3p", "miR-101a-22", "miR-101a-2-92"):
        assert mask_names(f"Here {other} acts.", names) == f"Here {other} acts."
    assert names_of({"rna_id": "hsa-mir-101a"})[:3] == ["hsa-mir-101a", "mir-101a", "mir-101a-3p"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"rna_id": "URS1_1", "description": "Aus bus tRNA-Lys (CUU)"}, "tRNA-Lys"),
        ({"rna_id": "URS1_1", "description": "Aus bus tRNA-Lys (CUU)"}, "tRNALys"),
        ({"rna_id": "URS1_1", "description": "Aus bus tRNA-Lys (CUU)"}, "tRNA(Lys)"),
        ({"rna_id": "URS1_1", "description": "Aus bus C/D box 14A (SNORD14A)"}, "SNORD14A"),
        ({"rna_id": "URS1_1", "description": "Aus bus antisense RNA HOTAIR"}, "HOTAIR"),
        ({"rna_id": "R1", "description": "let-7a-1 precursor"}, "let-7a"),
        ({"rna_id": "R1", "description": "Aus bus mir-M3-17", "family": "mir-M3"}, "mir-M3"),
    ],
)
def test_names_come_out_of_the_fields(row, text):
    assert pattern(names_of(row)).fullmatch(text)


@pytest.mark.parametrize(
    "row",
    [
        {"rna_id": "R1", "description": "Aus bus 5S ribosomal RNA", "family": "5S_rRNA"},
        {"rna_id": "R1", "description": "Aus bus transfer RNA", "family": None},
        {"rna_id": "R1", "description": "Minia prima (MINI-T03) SRP RNA", "taxid": "MINI-T03"},
    ],
)
def test_types_and_taxa_are_nobodys_name(row):
    assert names_of(row) == ["R1"]


def test_ids_of_users_are_names_as_a_whole():
    assert names_of({"rna_id": "human_12"}) == ["human_12"]
    assert names_of({"rna_id": "URS0000000001_9606"}) == ["URS0000000001_9606", "URS0000000001"]


def test_the_cheap_test_never_misses_what_the_expression_finds():
    rng, known = (
        random.Random(0),
        [*MIR21, "HOTAIR", "U6", "tRNA-Lys(CUU)", "SNORD14A", "R\u00e9-1"],
    )
    marks = ["-", "", " ", "\u2010", "\u2014", "_", "--"]
    found = 0
    for _ in range(5_000):
        name = rng.choice(known)
        loose = "".join(rng.choice(marks) if c == "-" and rng.random() < 0.8 else c for c in name)
        cased = "".join(rng.choice((c, c.upper(), c.lower())) for c in loose)
        text = f"a {cased}{rng.choice(['', '.', '-3', '0', 'x', ' b'])}"
        if pattern([name]).search(text):
            found += 1
            assert may_hold(text, [name]), text
    assert 1_200 < found < 4_500
    assert not may_hold("This RNA binds miR-155.", MIR21)


def test_letters_that_are_one_for_an_expression_are_one_for_the_cheap_test():
    letters = [c for c in map(chr, range(sys.maxunicode)) if c != c.lower() or c != c.upper()]
    every = "".join(letters)
    for letter in letters:
        for other in re.findall(f"(?i){re.escape(letter)}", every):
            assert may_hold(other, [letter]), (letter, other)


def test_short_symbols_match_only_as_written():
    names = names_of({"rna_id": "R1", "description": "U6 spliceosomal RNA"})
    assert mask_names("U6 and u6", names) == "This RNA and u6"


def test_names_are_taken_literally():
    assert mask_names("a.b axb a.b*", ["a.b"]) == "this RNA axb this RNA*".replace("t", "T", 1)
    assert mask_names("Nothing here.", []) == "Nothing here."


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("this RNA (this RNA) binds", "This RNA binds"),
        ("The microRNA this RNA binds", "This RNA binds"),
        ("and the this RNA gene", "and this RNA gene"),
        ("this RNA, also known as this RNA, binds", "This RNA, binds"),
    ],
)
def test_what_masking_doubles_is_joined(text, tidied):
    assert tidy(text) == tidied


@pytest.mark.parametrize(
    ("description", "named", "others"),
    [
        ("TP53 target 1 (TP53TG1)", ["TP53TG1"], ["TP53"]),
        ("CDKN2B antisense RNA 1 (CDKN2B-AS1), long non-coding RNA", ["CDKN2B-AS1"], ["CDKN2B"]),
        ("inactive X specific transcripts (Xist), long non-coding RNA", ["Xist"], ["RNA"]),
        ("str. K-12 substr. MG1655 sRNA RyhB (ryhB)", ["RyhB", "ryhB"], ["K-12", "MG1655"]),
        ("MIR155 host gene (MIR155HG)", ["MIR155HG"], ["MIR155", "mir-155"]),
        ("H19 imprinted maternally expressed transcript (H19)", ["H19"], []),
    ],
)
def test_an_rna_is_not_called_after_its_gene_or_strain(description, named, others):
    row = {"description": f"Homo sapiens (human) {description}", "species": "Homo sapiens"}
    found = names_of(row | {"rna_id": "URS0000000000_9606"})
    assert set(named) <= set(found) and not set(found) & {*others, "human"}
