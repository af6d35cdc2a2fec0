"""What stands beside an answer, shown: foreign text is seen and does nothing."""

import json

import pytest

from rnagpt_lib.chat.retrieved_evidence import (
    HEADING,
    Beside,
    Neighbour,
    Sentence,
    listed,
    to_dict,
    to_markdown,
)
from tests.support.rendered import pages

VALUES = {"rna_type": ("tRNA",), "species": ("Homo sapiens", "Mus musculus"), "family": ()}
HOSTILE = [
    "<script>alert(1)</script>", "![x](http://evil.example/p.png)", "[x](javascript:alert(1))",
    "# a heading", "1. a list", "- another", "> quoted", "```\ncode", "| a | b |", "---", "$x$",
    "\n\n# title\n\n- item", "https://evil.example", "<!-- -->", "**bold** _so_", "\u202eabc",
]  # fmt: skip


def neighbour(text: str = "This RNA binds La.", ids=("12345678", "MINI-A000001"), **more):
    given = {"rna_ids": ("URS0000000001_9606",), "values": VALUES, "identity": 0.8149,
             "cosine": 0.931, "near": True, "sentences": (Sentence(text, tuple(ids)),)}  # fmt: skip
    return Neighbour(**given | more)


def test_a_neighbour_is_shown_with_all_that_is_known():
    text = to_markdown(Beside((neighbour(rna_ids=("R1", "R2", "R3")),), ("It is so.",)))
    assert text == (
        f"**{HEADING}**\n\n- It is so.\n\n"
        "1. **R1** (and 2 more with this very sequence): type tRNA; species Homo sapiens, Mus "
        "musculus. 81 % identical\n"
        "   - “This RNA binds La.” [PMID 12345678](https://pubmed.ncbi.nlm.nih.gov/12345678/), "
        "MINI-A000001\n"
    )


def test_chance_is_said_and_long_lists_are_cut():
    many = tuple(Sentence(f"Sentence {n}.") for n in range(7))
    text = to_markdown(Beside((neighbour(near=False, sentences=many),), ()))
    assert "81 % identical, which chance reaches" in text
    assert "“Sentence 4.”" in text and "“Sentence 5.”" not in text and "and 2 more" in text


def test_nobody_near_is_said():
    assert "No annotated RNA of the training set is near." in to_markdown(Beside((), ("So.",)))


@pytest.mark.parametrize(
    "article", ["１２３", "12)](http://evil", "MINI-A1", "PMC12", "-1", "1 2", ""]
)
def test_only_digits_become_a_link(article):
    text = to_markdown(Beside((neighbour(ids=(article,)),), ()))
    assert "pubmed" not in text and "](" not in text.replace("\\](", "")


def test_hostile_texts_are_shown_and_never_act():
    besides = []
    for evil in HOSTILE:
        values = {"rna_type": (evil,), "species": (evil,), "family": (evil,)}
        one = neighbour(evil, (evil,), values=values, rna_ids=(evil, evil))
        besides.append(Beside((one, one), (evil, f"The answer says {evil}.")))
    for evil, page in zip(HOSTILE, pages([to_markdown(each) for each in besides]), strict=True):
        assert set(page.tags) <= {"p", "strong", "ul", "ol", "li"}, evil
        assert page.tags.count("li") == 2 + 2 * 2, evil
        seen = " ".join(evil.split()).replace("\u202e", "")
        assert f"“{seen}”" in page.text and page.text.count(seen) >= 12


def test_a_dict_holds_everything_and_can_be_json():
    one = neighbour(rna_ids=("R1", "R2"))
    found = to_dict(Beside((one,), ("So.",)))
    assert json.loads(json.dumps(found)) == found
    assert found["about"] == HEADING and found["statements"] == ["So."]
    assert found["neighbours"] == [
        {"rna_ids": ["R1", "R2"], "rna_type": ["tRNA"], "family": [],
         "species": ["Homo sapiens", "Mus musculus"], "identity": 0.8149,
         "near": True, "sentences": [{"text": "This RNA binds La.",
                                      "article_ids": ["12345678", "MINI-A000001"]}]}
    ]  # fmt: skip


def test_fields_are_read_as_text():
    one = neighbour()
    assert (one.rna_id, one.rna_type, one.family) == ("URS0000000001_9606", "tRNA", "")
    assert one.species == "Homo sapiens, Mus musculus"
    assert listed(tuple("abcde")) == "a, b, c and 2 more" and listed(()) == ""
