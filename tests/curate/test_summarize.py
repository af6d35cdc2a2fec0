import json

import pandas as pd
import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Summarize
from rnagpt_lib.core.tables import write
from rnagpt_lib.curate.summaries.extract import says, shares
from rnagpt_lib.curate.summaries.summarize import summarize
from rnagpt_lib.curate.text.names import names_of
from rnagpt_lib.curate.text.sentences import about, split_sentences, worth
from tests.support.planted import FACTS, tables

MIR21 = names_of({"rna_id": "hsa-mir-21"})


ENDS = [
    ("It binds X. miR-21 is low.", ["It binds X.", "miR-21 is low."]),
    ("Smith et al. The end.", ["Smith et al. The end."]),
    ("In E. coli K12, i.e. Bacteria, it grows.", ["In E. coli K12, i.e. Bacteria, it grows."]),
    ("We added 0.5 mM. Then P = .05 was met.", ["We added 0.5 mM.", "Then P = .05 was met."]),
    ("RESULTS: It rose. CONCLUSION: It fell.", ["It rose.", "It fell."]),
    ("It needs vitamin C. The end.", ["It needs vitamin C.", "The end."]),
    ("Is it so? (Yes.) Really!", ["Is it so?", "(Yes.)", "Really!"]),
    ("See Fig. 2 and S. Typhimurium.", ["See Fig. 2 and S. Typhimurium."]),
    ("", []),
]


def test_sentences_end_where_readers_end_them():
    for text, sentences in ENDS:
        assert split_sentences(text) == sentences


def texts_about(abstract, title="A study", names=MIR21, others=frozenset()):
    return [sentence.text for sentence in about("A1", title, abstract, names, others)]


ABOUT = [
    ("miR-21 targets PTEN. Cells grew.", ["This RNA targets PTEN."]),
    ("miR-21 is high. It binds AGO2.", ["This RNA is high.", "This RNA binds AGO2."]),
    ("miR-21 is high. Cells grew. It rained.", ["This RNA is high."]),
    ("miR-21 is high. It is known that cells grow.", ["This RNA is high."]),
    ("miR-21 is high. Cells grew. This miRNA binds X.",
     ["This RNA is high.", "This RNA binds X."]),
    ("miR-21 is high. miR-155 is low. This miRNA binds X.", ["This RNA is high."]),
    ("We found that miR-21 targets PTEN.", ["This RNA targets PTEN."]),
    ("miR-21 was elevated (P < 0.05) in serum.", ["This RNA was elevated in serum."]),
    ("Two rose (miR-21, miR-9; P < 0.05).", ["Two rose (this RNA, miR-9; P < 0.05)."]),
    ("miR-21 is high. The miRNA panel is new.", ["This RNA is high."]),
    ("miR-210 targets EFNA3.", []),
    ("miR-21 is new. No disease of it is known.",
     ["This RNA is new.", "No disease of this RNA is known."]),
]  # fmt: skip


def test_which_sentences_are_about_the_rna():
    for abstract, kept in ABOUT:
        assert texts_about(abstract) == kept, abstract


def test_other_entries_end_the_reference_and_titles_that_are_clauses_count():
    abstract = "RS-1 senses adenine. TX-9 senses guanine. This RNA is old."
    assert len(texts_about(abstract, names=["RS-1"], others=frozenset({"tx-9"}))) == 1
    assert len(texts_about(abstract, names=["TX-9"], others=frozenset({"rs-1"}))) == 2
    assert texts_about("", "miR-21 targets PTEN in liver.") == ["This RNA targets PTEN in liver."]
    assert texts_about("", "A review of miR-21") == []


def test_facts_are_worth_more_than_methods():
    fact = worth("This RNA is associated with glioma.")
    passive = worth("Apoptosis is inhibited by this RNA.")
    method = worth("The expression of this RNA was measured by PCR.")
    listing = worth("Then miR-1, miR-2, miR-3, miR-4 and this RNA were found.")
    assert fact > passive > method and passive > listing


def test_facts_are_kept_with_their_articles_and_without_names(tmp_path):
    rnas, articles, links, topics = tables()
    facts = " ".join(FACTS.values()).split()
    annotations, dropped, _ = summarize(rnas, articles, links, topics, Summarize())
    assert set(annotations.source) == {"dnc", "single_pass"} and dropped.empty
    write(tmp_path / "a.parquet", "annotations", annotations)
    known = articles.set_index("article_id").abstract
    for row in annotations.itertuples():
        fact = row.text.rstrip(".").split()[-1]
        assert fact in facts and "21" not in row.text and row.text.startswith("This RNA")
        assert row.article_ids and all(fact in known[i] for i in row.article_ids)
    assert {text.rstrip(".").split()[-1] for text in annotations.text} == set(facts)


def test_the_word_budget_holds_and_divide_and_conquer_covers_the_groups():
    rnas, articles, links, topics = tables()
    for words in (20, 30, 50):
        annotations = summarize(rnas, articles, links, topics, Summarize(words=words)).annotations
        for _, lines in annotations.groupby("source"):
            assert lines.text.str.split().str.len().sum() <= words
        dnc = annotations[annotations.source == "dnc"]
        groups = {article_id[2] for ids in dnc.article_ids for article_id in ids}
        assert len(groups) >= min(3, words // 20)


def test_near_equal_sentences_are_one_with_all_their_articles_and_links_are_left_out():
    rnas, articles, links, topics = tables(n_topics=1)
    articles["abstract"] = [
        "miR-21 targets PTEN. miR-21 targets KRAS, see www.evil.example.",
        "Moreover, microRNA-21 targets PTEN.",
        "miR-21 targets KRAS. miR-21 targets <b>TP53</b> in glioma.",
    ]
    annotations = summarize(rnas, articles, links, topics, Summarize()).annotations
    lines = annotations[annotations.source == "dnc"].set_index("text").article_ids
    assert lines.to_dict() == {
        "This RNA targets PTEN.": ["A000", "A001"], "This RNA targets KRAS.": ["A002"],
    }  # fmt: skip


def test_a_denial_is_not_its_claim():
    claim = "This RNA is associated with glioma."
    assert says("This RNA is strongly associated with glioma in men.", claim, {})
    assert not says("This RNA is not associated with glioma.", claim, {})
    assert not says("This RNA is associated with asthma.", claim, {})


def test_nothing_vanishes_silently():
    rnas, articles, links, topics = tables(n_topics=1)
    rnas = pd.DataFrame([{"rna_id": "R1", "description": "mir-99"}, {"rna_id": "R2"}])
    links, topics = links.assign(rna_id="R1"), topics.assign(rna_id="R1")
    annotations, dropped, _ = summarize(rnas, articles, links, topics, Summarize())
    assert annotations.empty
    reasons = dropped.groupby("record").reason.agg(list).to_dict()
    assert [reason.split(":")[0] for reason in reasons["R1"]] == ["dnc", "single_pass"]
    assert "no usable sentence in its 3 abstracts" in reasons["R1"][0]
    assert "no abstract is linked" in reasons["R2"][0]
    assert set(dropped.stage) == {"02_summarize"}


def test_shares_give_small_groups_more_than_their_part():
    groups = {0: ["s"] * 81, 1: ["s"] * 9, 2: ["s"] * 9}
    split = shares(groups, 120)
    assert sum(split.values()) <= 120 and split[0] > split[1] > 120 * 9 / 99
    assert list(shares(groups, 25)) == [0]


def test_given_texts(tmp_path):
    rnas, articles, links, topics = tables()
    path = tmp_path / "given.jsonl"
    entry = {"rna_id": "hsa-mir-21", "text": "miR-21 binds X. It is old.", "article_ids": ["A1"]}
    path.write_text(json.dumps(entry) + "\n\n" + '{"rna_id": "R7", "text": "Lost."}\n')
    params = Summarize(given=str(path))
    annotations, dropped, _ = summarize(rnas, articles, links, topics, params)
    lines = annotations[annotations.source == "given"]
    assert lines.text.tolist() == ["This RNA binds X.", "It is old."]
    assert lines.article_ids.tolist() == [["A1"], ["A1"]]
    assert dropped.record.tolist() == ["R7"] and "line 3" in dropped.reason[0]


def test_bad_given_lines_and_files_are_named(tmp_path):
    path = tmp_path / "given.jsonl"
    for line, fault in (
        ("{", "no valid JSON"),
        ("[]", "'rna_id' is missing"),
        ('{"rna_id": "R1"}', "'text' is missing"),
        ('{"rna_id": "R1", "text": "x", "article_ids": "A1"}', "article_ids is no list"),
    ):
        path.write_text('{"rna_id": "R1", "text": "Fine."}\n' + line)
        with pytest.raises(InputError, match=rf"given\.jsonl, line 2: {fault}"):
            summarize(*tables(), Summarize(given=str(path)))
    with pytest.raises(InputError, match=r"none\.jsonl: there is no such file"):
        summarize(*tables(), Summarize(given=str(tmp_path / "none.jsonl")))


def test_real_abstracts_give_sentences_about_the_rna(shared):
    lines = pd.read_json(shared / "articles/mirna_articles.jsonl", lines=True, dtype=str)
    articles = lines.rename(columns={"pmid": "article_id"}).assign(year=2000).head(40)
    links = pd.DataFrame({"rna_id": "hsa-mir-21", "article_id": articles.article_id})
    rnas = pd.DataFrame([{"rna_id": "hsa-mir-21"}])
    topics = links.assign(topic=0, weight=1.0)
    annotations = summarize(rnas, articles, links, topics, Summarize()).annotations
    assert annotations.text.str.contains("this RNA", case=False).all()
    assert not annotations.text.str.contains(r"(?i)mi(?:cro)?R(?:NA)?-?21\b").any()
    assert set(annotations.explode("article_ids").article_ids) <= set(articles.article_id)
