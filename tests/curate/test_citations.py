"""A model's sentences: which citations hold, what is asked to be repaired, what is dropped."""

import pytest
from pydantic import ValidationError

from rnagpt_lib.curate.summaries import citations
from rnagpt_lib.curate.summaries.citations import Cited, Summary
from rnagpt_lib.curate.text.names import names_of

NAMES = names_of({"rna_id": "hsa-mir-21"})
TEXTS = {"1": "miR-21 targets PTEN in glioma cells.", "2": "Apoptosis is inhibited by miR-21."}
ARTICLES = {"1": "A17", "2": "A4"}


def cited(text, *ids):
    return Cited(text=text, articles=list(ids))


SENTENCES = [
    (cited("This RNA targets PTEN.", "1"), ""),
    (cited("miR-21 targets PTEN.", "1"), ""),
    (cited("This RNA inhibits apoptosis in cells.", "[2]", "2"), ""),
    (cited("This RNA targets PTEN."), ""),
    (cited("This RNA targets PTEN in N(6)-free glioma cells (p < 0.05).", "1"), ""),
    (cited("This RNA targets PTEN.", "3"), "cites an article that was not given"),
    (cited("This RNA targets PTEN.", "1", "3"), "cites an article that was not given"),
    (cited("This RNA causes baldness.", "1"), "cites an article that says nothing of it"),
    (cited("This RNA targets PTEN.", "1", "2"), "cites an article that says nothing of it"),
    (cited("This RNA [1] targets PTEN.", "1"), "holds an id or a bracket inside"),
    (cited("This RNA targets PTEN (1, 2).", "1"), "holds an id or a bracket inside"),
    (cited("As Abstract 1 says, this RNA targets PTEN.", "1"),
         "holds an id or a bracket inside"),
    (cited("This RNA targets PTEN. This RNA inhibits apoptosis.", "1"),
         "is not one sentence"),
    (cited("PTEN is lost in glioma.", "1"), "does not speak of this RNA"),
    (cited("This RNA targets www.pten.org.", "1"), "holds a link"),
    (cited(" ", "1"), "does not speak of this RNA"),
]  # fmt: skip


def test_what_is_wrong_with_a_sentence():
    for sentence, fault in SENTENCES:
        assert citations.find_fault(sentence, TEXTS, NAMES) == fault, sentence


def checked(*sentences, words=50):
    return citations.check(Summary(sentences=list(sentences)), TEXTS, ARTICLES, NAMES, words)


def test_half_of_the_sentences_must_cite():
    good, bare = cited("This RNA targets PTEN.", "1"), cited("This RNA is old.")
    assert checked(good, bare)[:2] == (["", ""], [])
    assert checked(good, bare, bare).whole == ["only 1 of 3 sentences cite an article; each should"]


def test_the_budget_is_the_wholes_and_an_empty_answer_is_no_fault():
    good = cited("hsa-mir-21 targets PTEN.", "1")  # four words, its name masked
    assert checked(good, words=4)[:2] == ([""], [])
    assert "have 4 words together; at most 3" in checked(good, words=3).whole[0]
    assert checked() == ([], [], [], [])


def test_what_stands_is_masked_and_has_the_articles_own_ids():
    sentences = (
        cited("hsa-mir-21 targets PTEN", "[1]", "1"),
        cited("This RNA causes baldness.", "1"),
        cited("This RNA is old."),
        cited("This RNA inhibits apoptosis.", "2"),
    )
    said = checked(*sentences, words=9)
    assert [(line.text, line.article_ids) for line in said.lines] == [
        ("This RNA targets PTEN.", ("A17",)),
        ("This RNA inhibits apoptosis.", ("A4",)),
    ]
    assert said.lost == ["cites an article that says nothing of it", "cites no article"]
    assert checked(*sentences, words=5).lost[-1] == "is beyond the 5 words"


def test_the_schema_is_closed():
    for answer in (
        '{"sentences": [{"text": "This RNA.", "articles": ["1"], "admin": true}]}',
        '{"sentences": [], "note": "x"}',
        '{"sentences": [{"text": "This RNA.", "articles": "1"}]}',
        '{"sentences": [{"text": "This RNA."}]}',
    ):
        with pytest.raises(ValidationError):
            Summary.model_validate_json(answer)
