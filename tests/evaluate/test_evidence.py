"""Entities against the evidence: closed forms, what is denied, and the world's own truth."""

import math

import pandas as pd
import pytest

from rnagpt_lib.core import bootstrap
from rnagpt_lib.core import tables as contracts
from rnagpt_lib.evaluate import ablation, entities, evidence, questions
from rnagpt_lib.evaluate.evidence import Entities, Evidence, shares
from rnagpt_lib.evaluate.statements import claimed
from rnagpt_lib.runs.stages import stage_folder
from tests.support import finished

KNOWN = ["glioma", "asthma", "HuR", "nucleus", "tRNA"]
SAYS = {
    "The RNA is associated with glioma and asthma.": {"glioma", "asthma"},
    "No, the RNA is not associated with glioma.": set(),
    "It does not bind HuR. It is located in the nucleus.": {"nucleus"},
    "It never enters the nucleus; it binds HuR.": {"hur"},
    "HuR is bound, HuR is bound.": {"hur"},
    "Yes.": set(),
    "": set(),
}


def find(sentence: str) -> list[entities.Mention]:
    return entities.spots(sentence, KNOWN)


def test_claimed_is_named_in_a_sentence_that_denies_nothing():
    assert {text: claimed(text, find) for text in SAYS} == SAYS


def test_shares_are_the_closed_form():
    for said, wanted, there, values in [
        ("ab", "a", "ac", (0.5, 1.0, 1)),
        ("ab", "cd", "cd", (0.0, 0.0, 2)),
        ("abc", "ab", "abcd", (1.0, 1.0, 0)),
        ("a", "abcd", "abcd", (1.0, 0.25, 0)),
        ("", "a", "a", (math.nan, 0.0, 0)),  # an answer that names nothing claims nothing
        ("a", "", "", (0.0, math.nan, 1)),
        ("", "", "", (math.nan, math.nan, 0)),
    ]:
        assert shares(set(said), set(wanted), set(there)) == pytest.approx(values, nan_ok=True)


@pytest.fixture
def gathered(tables):
    """Test RNAs 3 and 4; the abstract of 4 tells more than its annotation does."""
    rnas, pairs = tables
    rnas = rnas.assign(species="Minia tertia")
    cites = [["A4"] if p in ("P41", "P42") else [] for p in pairs.pair_id]
    pairs = pairs.assign(article_ids=cites)
    asked = questions.questions(rnas, pairs)
    told = [
        ("R3", "dnc", "This RNA is associated with glioma."),
        ("R3", "dnc", "This RNA is not associated with asthma."),
        ("R3", "given", "This RNA is associated with sepsis."),
    ]
    annotations = pd.DataFrame(told, columns=["rna_id", "source", "text"])
    articles = pd.DataFrame(
        [("A4", "On sepsis", "R4 and asthma go together."), ("A5", "", "Glioma.")],
        columns=["article_id", "title", "abstract"],
    )
    return rnas, pairs, asked, annotations, articles


def gather(rnas, pairs, asked, annotations, articles) -> Evidence:
    known = Entities.of(rnas, pairs)
    return evidence.gather(known, asked, rnas, pairs, annotations, articles)


def test_evidence_is_fields_annotation_and_cited_articles(gathered):
    rnas, pairs, asked, annotations, articles = gathered
    of = gather(*gathered).of
    fields = {"minia tertia"}
    assert set(of) == set(asked.pair_id)
    assert of["P31"] == fields | {"trna", "f1", "glioma"}  # neither denied nor of another source
    assert of["P41"] == of["P42"] == fields | {"snrna", "f9", "sepsis", "asthma"}
    assert of["P40"] == fields | {"snrna", "f9"}  # this pair cites nothing
    without = gather(rnas, pairs, asked, annotations, articles[:0])
    assert without.of["P41"] == of["P40"]


@pytest.mark.parametrize("of_world", [True, False])
def test_the_worlds_entities_are_known_and_those_of_nature_are_looked_up(gathered, of_world):
    rnas, pairs, *_ = gathered
    rnas = rnas.assign(rna_id=("MINI-" if of_world else "") + rnas.rna_id.str[-2:])
    known = Entities.of(rnas, pairs)
    assert known.id == f"evidence-2-{'lexicon' if of_world else 'dictionary-1'}"
    # the references name glioma and the type snRNA, and never a protein
    found = {spot.name for spot in known.find("This snRNA binds TP53 in glioma.")}
    assert found == {"snrna", "glioma"} | (set() if of_world else {"tp53"})


def test_scores_are_absent_where_there_is_nothing_to_share(gathered):
    rnas, pairs, asked, annotations, articles = gathered
    told = gather(rnas, pairs, asked, annotations, articles)
    says = {
        "P31": "The RNA is associated with glioma, sepsis and asthma.",
        "P32": "Yes.",
        "P41": "It is a tRNA.",
        "P40": "This is an snRNA.",
    }
    answers = pd.DataFrame(
        [{"pair_id": p, "prediction": says[p],
          "reference": asked.set_index("pair_id").reference[p]} for p in says]
    )  # fmt: skip
    found = told.score(answers).to_numpy().tolist()
    expected = [(1 / 3, 1, 2), (math.nan, 0, 0), (0, 0, 1), (1, 1, 0)]
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, nan_ok=True)


def test_samples_have_a_definition_of_their_own_and_no_missing_values(gathered):
    rnas, pairs, asked, annotations, articles = gathered
    told = gather(rnas, pairs, asked, annotations, articles)
    answers = pd.concat(
        asked.assign(run="r", seed=0, model=model, prediction=text or asked.reference)
        for model, text in (("IT", None), ("vanilla", "Yes."))
    )
    samples, ids, definitions = ablation.score(answers, asked, pairs, (), told)
    assert samples.value.notna().all() and definitions[told.entities.id] == told.definition
    table = bootstrap.score_table(samples, asked, ids, 100, 0)
    overall = table[(table[["kind", "form", "stratum"]] == "all").all(axis=1)]
    value = overall.set_index(["model", "metric"]).value
    assert value["vanilla", "evidence.unsupported"] == 0
    assert ("vanilla", "evidence.precision") not in value.index
    without, ids, _ = ablation.score(answers, asked, pairs, ())
    assert not any(m.startswith("evidence") for m in (*without.metric.unique(), *ids))


def test_references_stand_in_evidence_that_is_true_of_the_world():
    data = finished.made("w", first={"world_size": 120})
    folders = {"annotations": finished.SUMMARIES, "rnas": finished.LAST, "pairs": finished.LAST}
    annotations, rnas, pairs = (
        contracts.read(stage_folder("w", stage) / f"{name}.parquet", name)
        for name, stage in folders.items()
    )
    asked = questions.questions(rnas, pairs)
    told = gather(rnas, pairs, asked, annotations, data.articles)
    values = told.score(asked.assign(prediction=asked.reference))
    assert (values["evidence.unsupported"] == 0).all()
    shared = values[["evidence.precision", "evidence.recall"]].dropna()
    assert (shared == 1).all(axis=None) and len(shared) > 50
    true = data.truth.entity.str.casefold().groupby(data.truth.rna_id).agg(set)
    names = rnas[["rna_type", "species", "family"]].apply(lambda column: column.str.casefold())
    fields = {i: set(row) for i, row in zip(rnas.rna_id, names.to_numpy(), strict=True)}
    beyond = [
        (len(told.of[row.pair_id] - fields[row.rna_id]),
         len(told.of[row.pair_id] - fields[row.rna_id] - true.get(row.rna_id, set())))
        for row in asked.itertuples()
    ]  # fmt: skip
    every, wrong = map(sum, zip(*beyond, strict=True))
    assert wrong < 0.1 * every  # an abstract may be about a second RNA
