"""Questions and answers: what the rules read, what they refuse, and what the pairs promise."""

import hashlib
import json
import re
from functools import partial
from itertools import permutations
from timeit import timeit

import numpy as np
import pandas as pd
import pytest

from rnagpt_lib.core import paths
from rnagpt_lib.core.params import Decompose, Summarize
from rnagpt_lib.core.tables import COLUMNS, frame, write
from rnagpt_lib.curate.filter import agreement
from rnagpt_lib.curate.questions import qa_rules
from rnagpt_lib.curate.questions.question_templates import (
    CATEGORICAL,
    NONE,
    RELATIONS,
    UNKNOWN,
    asked_entity,
    entities,
    entity,
    relation_of,
)
from rnagpt_lib.curate.summaries.summarize import summarize
from rnagpt_lib.curate.text import names, sentences
from rnagpt_lib.miniature import world


def test_every_wording_is_read_back_and_belongs_to_one_relation():
    special = {"isotype": "Phe", "site": "A27", "target": "PTEN", "species": "Minia tertia"}
    for name, relation in RELATIONS.items():
        one = special.get(name, "cell growth")
        for question in relation.questions:
            assert relation_of(question) == name and asked_entity(question) is None
            for said in [one, UNKNOWN] + [NONE] * bool(relation.nothing):
                assert entity(question, relation.say([said])) == said
            assert entity(question, relation.say([one]).upper()) == one.upper()
            assert entity(question, "I do not know.") is None
            if name not in CATEGORICAL:
                listed = ["HuR", "La", "FUS"]
                assert entities(question, relation.say(listed)) == listed
                assert entity(question, relation.say(listed)) is None
        closed = relation.closed.format(one)
        assert relation_of(closed) == name and asked_entity(closed) == one
        assert entity(closed, relation.confirm(one, True)) == "yes"
        assert entity(closed, relation.confirm(one, False)) == "no"
    assert relation_of("How are you?") is None and entities("How are you?", "Well.") == []


def rna(rna_id="R1", rna_type="tRNA", **fields):
    base = {"rna_id": rna_id, "sequence": "ACGU" * 5, "length": 20, "rna_type": rna_type}
    base |= {"species": "Minia tertia", "taxid": "", "family": "", "description": ""}
    return base | {"unit": "", "split": ""} | fields


def annotation(texts, rna_id="R1", source="dnc"):
    return [
        {"rna_id": rna_id, "source": source, "sentence_no": n, "text": text, "article_ids": ids}
        for n, (text, ids) in enumerate(texts)
    ]


def decompose(rnas, rows, abstracts=(), **params):
    """``abstracts``: (rna_id, text), one article each."""
    read = [(f"T{n}", "", text, 2000) for n, (_, text) in enumerate(abstracts)]
    articles = pd.DataFrame(read, columns=list(COLUMNS["articles"]))
    links = [(rna_id, f"T{n}") for n, (rna_id, _) in enumerate(abstracts)]
    links = pd.DataFrame(links, columns=list(COLUMNS["links"]))
    tables = frame("rnas", rnas), frame("annotations", rows), articles, links
    return qa_rules.pairs(*tables, Decompose(**params))[:2]


def answers(pairs, kind, form="open"):
    return pairs[(pairs["kind"] == kind) & (pairs["form"] == form)]["answer"].tolist()


def test_a_fact_said_twice_has_the_ids_of_both():
    rows = annotation([
        ("This RNA targets PTEN.", ["A2"]),
        ("Moreover, this RNA directly targets Pten.", ["A1", "A2"]),
        ("This RNA may target MYC.", ["A3"]),
    ])  # fmt: skip
    pairs, dropped = decompose([rna()], rows)
    local = pairs[pairs["kind"] == "local"].iloc[0]
    assert local["answer"] == "The RNA targets PTEN." and local["article_ids"] == ["A1", "A2"]
    assert dropped[["record", "reason"]].values.tolist() == [
        ["R1 sentence 2", "hedged or only asked"]
    ]


def test_unknown_is_an_answer_and_a_fact_wins_over_it():
    rows = annotation([("No disease association of this RNA is known.", ["A1"])])
    pairs, _ = decompose([rna()], rows)
    assert answers(pairs, "literature") == ["No disease association of the RNA is known."]
    assert answers(pairs, "literature", "closed") == []
    rows += annotation([("This RNA is linked to glioma.", ["A2"])])
    rows[1]["sentence_no"] = 1
    pairs, _ = decompose([rna()], rows)
    assert answers(pairs, "literature") == ["The RNA is associated with glioma."]


def test_a_denial_gives_a_closed_no_with_its_evidence():
    rows = annotation([("This RNA is not associated with glioma.", ["A1"])])
    rows += annotation([("This RNA is associated with asthma.", ["A2"])], "R2")
    pairs, _ = decompose([rna(), rna("R2")], rows)
    denied = pairs[(pairs["rna_id"] == "R1") & (pairs["form"] == "closed")].iloc[0]
    assert denied["question"] == "Is the RNA associated with glioma?"
    assert denied["answer"] == "No, the RNA is not associated with glioma."
    assert denied["article_ids"] == ["A1"]


def test_what_is_said_and_denied_of_one_rna_gives_no_pair():
    rows = annotation([
        ("This RNA is associated with glioma and asthma.", ["A1"]),
        ("This RNA is not associated with Glioma.", ["A2"]),
    ])  # fmt: skip
    rows += annotation([("This RNA is associated with lupus.", ["A3"])], "R2")
    pairs, dropped = decompose([rna(), rna("R2")], rows)
    own = pairs[(pairs["rna_id"] == "R1") & (pairs["kind"] == "literature")]
    assert answers(own, "literature") == ["The RNA is associated with asthma."]
    assert not own["question"].str.contains("glioma", case=False).any()
    contrary = dropped[dropped["reason"].str.startswith("contradictory")]
    assert contrary["record"].tolist() == ["R1"]
    assert contrary["reason"].tolist() == ["contradictory: a disease is both said and denied"]


def two_diseases(abstracts):
    """The closed answers on diseases of R1, whose abstracts are given, and of R2."""
    rows = annotation([("This RNA is associated with glioma.", ["A1"])])
    rows += annotation([("This RNA is associated with acute lung injury.", ["A2"])], "R2")
    pairs, _ = decompose([rna(), rna("R2")], rows, abstracts)
    closed = pairs[(pairs["form"] == "closed") & (pairs["kind"] == "literature")]
    return closed["answer"].str.split(",").str[0].tolist(), closed["question"].tolist()


def test_a_made_up_no_is_named_in_no_abstract_of_the_rna():
    for texts in (
        ("Acute lung injury and GLIOMA.",) * 2,
        ("In acute  lung injuries and gliomas.", "See acute-lung-injury, glioma."),
        ("(Acute lung injury)", "glioma/asthma"),
        ("Injury, acute, of a lung or kidney.", "Gliomas."),
    ):
        said, _ = two_diseases(list(zip(("R1", "R2"), texts, strict=True)))
        assert said == ["Yes", "Yes"]
    silent, questions = two_diseases([("R1", "Of acute injury."), ("R2", "Of gliomatosis.")])
    assert sorted(silent) == ["No", "Yes"] and len(set(questions)) == 1


def test_an_entity_is_named_where_a_sentence_holds_its_words_in_whatever_spelling():
    for said, text in (
        ("PI3K signalling", "By PI3K/AKT/Wnt signaling."),
        ("TGF-β1 secretion", "The secretion of TGF-beta 1."),
        ("IL-6", "IL6 rises."),
        ("tumour growth", "Growth of the tumor."),
        ("oesophageal cancers", "Cancer, esophageal."),
        ("hypoxia of the brain", "In brains with hypoxia."),
    ):
        own = {"R": [text]}
        named = qa_rules.naming(frame("articles", []), frame("links", []), [said], own)
        assert named("R", said) and not named("R2", said), said
    rows = [{"article_id": "A", "title": "PI3K", "abstract": "Growth. Of AKT. It is 6."}]
    links = pd.DataFrame({"rna_id": ["R"], "article_id": ["A"]})
    entities = ["PI3K growth", "IL-6", "AKT growth", "the", "-"]
    named = qa_rules.naming(frame("articles", [row | {"year": 0} for row in rows]), links, entities)
    assert not any(named("R", one) for one in entities)


SPELLINGS = """TGFβ, TGF-β, TGF-beta, TGFbeta, TGF beta, TGFB, TGF-b
TNFα, TNF-α, TNFA, TNF alpha
IFNγ, IFN-γ, IFNG, IFN gamma
NFκB, NF-κB, NF-kB, NFKB, NF-kappa B, NF-kappaB, NFkappaB
PPARγ, PPARG, PPAR-gamma
IL-1β, IL1B, IL-1 beta
λ phage, lambda phage
K-Ras, KRAS, kRas
c-Myc, cMyc, C-MYC
HIF-1α, HIF1A, HIF1alpha
metastasis, metastases
cell analysis, analyses of cells
virus, viruses
nucleus, nuclei
process, processes
neuropathy, neuropathies
Alzheimer's disease, Alzheimer disease, Alzheimer’s diseases, Alzheimers disease
Parkinson's disease, Parkinson disease
PI3K/AKT signaling, PI3K/Akt pathway, PI3K/AKT signaling pathway, PI3K-Akt signalling, Pi3k/Akt
type 2 diabetes, type II diabetes
wild-type growth, wildtype growth, growth of the wild type
tumour signalling by oestrogen, estrogen signaling by tumors"""


def named_in(entity, text):
    tables = frame("articles", []), frame("links", [])
    return qa_rules.naming(*tables, [entity], {"R": [text]})("R", entity)


@pytest.mark.parametrize("same", SPELLINGS.splitlines())
def test_no_entity_is_denied_that_a_text_holds_in_another_spelling(same):
    for one, other in permutations(same.split(", "), 2):
        assert named_in(one, f"We saw {other} here."), (one, other)


def test_other_entities_than_those_of_a_text_may_be_denied():
    for one, other in (
        ("IL-6", "IL-8"),
        ("TGF-β", "TGF-α"),
        ("KRAS", "NRAS"),
        ("hepatitis B", "hepatitis D"),
        ("sepsis", "sepia"),
        ("PTEN", "PTENP"),
        ("MYC", "mycosis"),
        ("type 2 diabetes", "type I diabetes"),
        ("PI3K/AKT pathway", "Wnt pathway"),
    ):
        assert not named_in(one, f"We saw {other} here.")
    assert named_in("signaling", "A signalling one.") and not named_in("pathway", "Signalling.")


def test_a_long_text_is_read_in_the_time_of_its_letters():
    for piece in ("β", "1a", "ab-", "s", "ies ", "e", "lambda "):
        text = piece * (48_000 // len(piece))
        took = [
            timeit(partial(named_in, "KRAS", part), number=1)
            for part in (text[: len(text) // 8], text)
        ]
        assert took[1] < 1 + 40 * took[0]


def test_other_sources_are_not_read():
    rows = annotation([("This RNA targets PTEN.", ["A1"])], source="single_pass")
    assert answers(decompose([rna()], rows)[0], "local") == []
    assert answers(decompose([rna()], rows, source="single_pass")[0], "local")


def test_one_type_alone_gives_no_closed_question():
    pairs, _ = decompose([rna("R1"), rna("R2")], [])
    assert (pairs["form"] == "open").all()
    pairs, _ = decompose([rna("R1"), rna("R2", "rRNA")], [])
    assert sorted(a[:3] for a in answers(pairs, "rna_type", "closed")) == ["No,", "Yes"]


def test_pairs_never_name_the_rna():
    rows = annotation([("This RNA targets ABC21HG.", ["A1"])], "hsa-mir-21")
    named = rna("hsa-mir-21", "pre_miRNA", family="mir-21", description="ABC21HG transcript")
    pairs, dropped = decompose([named], rows)
    assert set(pairs["kind"]) == {"rna_type", "species"}
    assert dropped["reason"].tolist() == ["the pair names the RNA"] * 2
    pairs, _ = decompose([rna("R9", "RNase_P_RNA", description="RNase_P_RNA from 2 species")], [])
    assert answers(pairs, "rna_type") == ["The RNA is of the type RNase_P_RNA."]


def test_at_most_max_pairs_and_what_was_cut_is_told():
    rows = annotation([("This RNA targets PTEN and regulates apoptosis.", ["A1"])])
    pairs, dropped = decompose([rna()], rows, max_pairs=2)
    assert sorted(pairs["kind"]) == ["rna_type", "species"]
    assert dropped["reason"].tolist() == ["pairs beyond the first 2"]


def test_an_rna_without_anything_is_told():
    pairs, dropped = decompose([rna(rna_type="", species="")], [])
    assert pairs.empty and dropped["record"].tolist() == ["R1"]


def annotated(data):
    """Every sentence about an RNA as its annotation: no summary between text and rules."""
    text = data.articles.set_index("article_id")
    rows = []
    for row in data.rnas.to_dict("records"):
        ids = data.links["article_id"][data.links["rna_id"] == row["rna_id"]]
        own = names.names_of(row)
        found = [s for i in ids for s in sentences.about(i, text.title[i], text.abstract[i], own)]
        rows += annotation([(s.text, [s.article_id]) for s in found], row["rna_id"])
    return frame("annotations", rows)


@pytest.fixture(scope="module")
def small():
    data = world.make(80, seed=5)
    rows = annotated(data)
    return data, qa_rules.pairs(data.rnas, rows, data.articles, data.links, Decompose())[:2], rows


def test_agrees_with_the_worlds_truth_and_rests_on_the_rnas_own_articles(small):
    data, (pairs, _), _ = small
    made = pairs[(pairs["form"] == "open") & pairs["kind"].isin(["literature", "local"])]
    found = agreement(made, data.truth)
    assert found["precision"] >= 0.99 and found["recall"] >= 0.95
    per_rna = pairs.groupby("rna_id").size()
    assert per_rna.max() <= 14 and (per_rna >= 5).mean() > 0.8
    linked = data.links.groupby("rna_id")["article_id"].agg(set)
    for row in pairs.itertuples():
        assert set(row.article_ids) <= linked.get(row.rna_id, set())
    assert made["article_ids"].str.len().all()


def test_names_are_found_as_by_an_expression_for_every_rna(small, monkeypatch):
    data, (pairs, _), _ = small
    made = pairs.to_dict("records")
    for number, one in enumerate(data.rnas.to_dict("records")[::3]):
        name = names.names_of(one)[-1 - number % 2].swapcase()
        pair = dict.fromkeys(COLUMNS["pairs"], "") | {"rna_id": one["rna_id"], "kind": "literature"}
        made.insert(number * 7, pair | {"answer": f"It is {name}."})
    made = frame("pairs", made)
    own = {}
    for one in data.rnas.to_dict("records"):
        named = names.names_of(one | {"family": ""})
        own[one["rna_id"]] = names.pattern(name for name in named if name != one["rna_type"])
    bad = [bool(own[p.rna_id].search(f"{p.question} {p.answer}")) for p in made.itertuples()]
    compiled, real = [], names.pattern
    monkeypatch.setattr(names, "pattern", lambda own: compiled.append(own) or real(own))
    kept, dropped = qa_rules._without_names(data.rnas, made)
    assert kept.equals(made[~np.array(bad)])
    assert [row["record"] for row in dropped] == (made.rna_id + " " + made.kind)[bad].tolist()
    assert 10 < len(dropped) and len(compiled) < len(data.rnas) / 2


def test_every_entity_is_recovered_and_every_table_fits(small, tmp_path):
    _, (pairs, dropped), _ = small
    write(tmp_path / "pairs.parquet", "pairs", pairs)
    write(tmp_path / "dropped.parquet", "dropped", dropped)
    for row in pairs.itertuples():
        text = "\t".join([row.rna_id, row.source, row.question])  # the contract of ids
        assert row.pair_id == hashlib.sha256(text.encode()).hexdigest()[:16]
        relation, found = RELATIONS[relation_of(row.question)], entities(row.question, row.answer)
        assert relation.kind == row.kind and found
        if row.form == "open":
            assert relation.say(found) == row.answer
        else:
            assert relation.confirm(asked_entity(row.question), found == ["yes"]) == row.answer


def test_closed_answers_are_balanced_and_a_made_no_is_false(small):
    data, (pairs, _), _ = small
    closed = pairs[pairs["form"] == "closed"]
    relation, yes = closed["question"].map(relation_of), closed["answer"].str.startswith("Yes")
    for _, own in yes.groupby(relation):
        assert abs(own.mean() - 0.5) <= 0.15 or len(own) < 8
    truth = {*data.truth[["rna_id", "relation", "entity"]].itertuples(index=False, name=None)}
    for row, name, true in zip(closed.itertuples(), relation, yes, strict=True):
        if row.kind != "rna_type":
            assert ((row.rna_id, name, asked_entity(row.question)) in truth) == true


def test_open_pairs_are_the_same_in_any_order_and_without_abstracts(small):
    data, (pairs, _), rows = small
    turned, loosely = data.rnas[::-1].reset_index(drop=True), Decompose(no_by_abstracts=False)
    loose = qa_rules.pairs(turned, rows, data.articles, data.links, loosely).pairs
    one, again = (t[t["form"] == "open"].reset_index(drop=True) for t in (pairs, loose))
    assert one.equals(again) and not pairs.equals(loose)  # more may be denied


def test_support_on_real_abstracts_is_on_record():
    rows = json.loads((paths.root() / "benchmarks/results/qa_support.json").read_text("utf-8"))
    for row in rows:
        assert set(row) == {"name", "tried", "supported", "note"}
        assert 0 <= row["supported"] <= row["tried"]
    final = rows[-1]
    assert final["tried"] == 50 and final["supported"] >= 45


def test_no_made_up_no_is_named_in_a_real_abstract(shared):
    rnas, articles, links = precursors(shared, 15)
    made = summarize(rnas, articles, links, links.assign(topic=0, weight=1.0), Summarize())
    pairs, *_ = qa_rules.pairs(rnas, made.annotations, articles, links, Decompose())
    closed = pairs[(pairs["form"] == "closed") & (pairs["kind"] != "rna_type")]
    made_up = closed[closed["answer"].str.startswith("No") & (closed["article_ids"].str.len() == 0)]
    texts = links.merge(articles, on="article_id")
    texts = (texts["title"] + " " + texts["abstract"]).groupby(texts["rna_id"]).agg(" ".join)
    for row in made_up.itertuples():
        named = re.escape(asked_entity(row.question))
        assert not re.search(rf"(?i)\b{named}\b", texts[row.rna_id])
    assert len(made_up) >= 8


def precursors(shared, number):
    """The first real precursors with their abstracts: rnas, articles, links."""
    lines = pd.read_json(shared / "articles/mirna_articles.jsonl", lines=True, dtype=str)
    articles = lines.rename(columns={"pmid": "article_id"}).assign(year=2000)
    known = pd.read_json(shared / "articles/mirna_precursor_pmids.jsonl", lines=True).head(number)
    rnas = [rna(r["name"], "pre_miRNA", species=r["species"]) for r in known.to_dict("records")]
    links = known[["name", "pmids"]].explode("pmids").astype(str)
    links.columns = ["rna_id", "article_id"]
    linked = links[links["article_id"].isin(articles["article_id"])].reset_index(drop=True)
    return frame("rnas", rnas), articles, linked
