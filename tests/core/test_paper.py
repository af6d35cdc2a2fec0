"""The paper's values: complete, consistent with what the paper says of them, and labelled."""

import hashlib

import pandas as pd
import pytest

from rnagpt_lib.core import paper


def value(table, model, metric):
    scores = paper.scores()
    return scores[
        (scores.table == table) & (scores.model == model) & (scores.metric == metric)
    ].value.item()


def test_tables_are_complete_and_labelled():
    scores = paper.scores()
    assert scores.groupby("table").size().to_dict() == {1: 27, 2: 9, 3: 27, 4: 9}
    assert set(scores.label) == {"paper"}
    assert scores.value.between(0, 1).all()


@pytest.mark.parametrize("table", [1, 3])
def test_the_shape_that_the_paper_reports(table):
    scores = paper.scores()
    for metric in scores[scores.table == table].metric.unique():
        assert value(table, "IT", metric) > value(table, "vanilla", metric)
    for scorer in ("S_Pub", "S_GPT"):
        assert value(table, "MA", f"{scorer}.f1") > value(table, "vanilla", f"{scorer}.f1")
    assert value(table, "MA", "S_BERT.f1") < value(table, "vanilla", "S_BERT.f1")
    assert value(table, "MA", "S_BERT.recall") > value(table, "MA", "S_BERT.precision")
    assert value(table + 1, "MA", "rouge1") < value(table + 1, "vanilla", "rouge1")


def test_f1_lies_slightly_below_the_harmonic_mean():
    scores = paper.scores()
    for (_, model), rows in scores[scores.table.isin([1, 3])].groupby(["table", "model"]):
        by_metric = rows.set_index("metric").value
        for scorer in paper.SEMANTIC:
            p, r, f1 = (by_metric[f"{scorer}.{part}"] for part in paper.PARTS)
            assert -2e-4 <= 2 * p * r / (p + r) - f1 < 0.01, (model, scorer)


def test_case_studies_are_what_their_descriptions_say():
    lysine, valine, mirna = paper.CASE_STUDIES
    assert [len(case.sequence) for case in paper.CASE_STUDIES] == [65, 73, 81]
    assert all(set(case.sequence) == set("ACGU") for case in paper.CASE_STUDIES)
    assert "CUCUUAA" in lysine.sequence and "CUUACAC" in valine.sequence
    assert [len(case.exchanges) for case in paper.CASE_STUDIES] == [3, 2, 8]
    pairing = str.maketrans("ACGU", "UGCA")
    hairpin = mirna.sequence
    assert hairpin[:5].translate(pairing)[::-1] == hairpin[-5:]  # the two ends pair


def test_case_studies_as_a_table():
    table = paper.case_studies()
    assert len(table) == 13
    assert paper.LABEL in table.columns
    assert not table.isna().any().any()


def test_case_studies_are_the_sequences_of_the_files(shared):
    path = shared / "rnacentral" / "case_studies.tsv"
    table = pd.read_csv(path, sep="\t", index_col="urs_taxid")
    for case in paper.CASE_STUDIES:
        assert table.sequence[case.rna_id] == case.sequence
        md5 = hashlib.md5(case.sequence.replace("U", "T").encode()).hexdigest()
        assert table.md5_rnacentral[case.rna_id] == md5
