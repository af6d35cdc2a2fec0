"""Runs beside each other: the paper's layout for each source, and what cannot be compared."""

import dataclasses
import json

import pandas as pd
import pytest

from benchmarks.science import sources as measurement
from rnagpt_lib.core import paper
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.questions.facts import facts_in
from rnagpt_lib.curate.text.sentences import split_sentences
from rnagpt_lib.evaluate import results
from rnagpt_lib.miniature import world
from rnagpt_lib.miniature.rules import BROKEN
from rnagpt_lib.report import readme, source_tables
from rnagpt_lib.runs.stages import stage_folder
from tests.support import fake_results


@pytest.fixture
def found(own_runs) -> results.Results:
    fake_results.write("fake")
    return results.load("fake")


def made(name: str, source: str, **columns) -> results.Results:
    """A second finished run of another source."""
    fake_results.write(name, seed=1)
    other = results.load(name)
    return dataclasses.replace(other, scores=other.scores.assign(source=source, **columns))


def change(name: str, **columns) -> None:
    """Other columns in a run's table of RNAs."""
    path = stage_folder(name, "03_decompose_qa") / "rnas.parquet"
    pd.read_parquet(path).assign(**columns).to_parquet(path)


def split(name: str, how: str) -> None:
    """How a run's RNAs were divided."""
    path = stage_folder(name, "03_decompose_qa") / "params.json"
    path.write_text(json.dumps({"params": {"split": how}}))


def test_each_source_has_its_set_with_its_own_values_of_the_paper(found):
    many = [made("single", "single_pass"), found, made("ai", "given")]
    sets = source_tables.table_sets(many)
    assert [(s.run, s.source) for s in sets] == [
        ("ai", "litsumm"), ("fake", "dnc"), ("single", "single_pass"),
    ]  # fmt: skip
    published = paper.scores().set_index(["table", "model", "metric"]).value
    for tables, number in zip(sets, (1, 3, 3), strict=True):
        beside = tables.rouge.loc["IT", "ROUGE-2 (paper)"]
        assert beside == f"{published[number + 1, 'IT', 'rouge2']:.4f}"
        triple = [f"{published[number, 'MA', f'S_Pub.{part}']:.4f}" for part in paper.PARTS]
        assert tables.semantic.loc["MA", "S_Pub (paper)"] == " / ".join(triple)
        assert f"Tables {number} and {number + 1}" in tables.beside
        assert "S_Pub" not in tables.semantic and "S_MiniLM" in tables.semantic
    assert "no table of a single pass" in sets[2].beside


def test_all_runs_in_one_table(found):
    other = made("ai", "given")
    lacking = dataclasses.replace(
        other, scores=other.scores[~other.scores.metric.str.startswith("S_")]
    )
    table = source_tables.side_by_side([found, lacking])
    assert list(table.index.get_level_values("source").unique()) == ["dnc", "litsumm"]
    for model in (*results.MODELS, "floor.nearest"):
        bounded = [found.value(model, "rougeL", column=c) for c in ("value", "low", "high")]
        assert table.loc[("fake", "dnc", model), "ROUGE-L"] == results.interval(*bounded)
    assert set(table.xs("ai")["S_MiniLM F1"]) == {"–"}
    assert set(table.questions) == {160} and set(table.RNAs) == {40}


def test_runs_about_the_same_rnas_compare(found):
    assert source_tables.notes(found, [made("ai", "given")]) == []
    assert source_tables.notes(found, []) == []


def test_other_test_rnas_are_said_and_counted(found):
    other = made("ai", "given")
    fewer = other.answers[other.answers.rna_id.isin(["R0", "R1", "R2"])]
    [said] = source_tables.notes(found, [dataclasses.replace(other, answers=fewer)])
    assert said.startswith("Run ai was asked about 3 RNAs and run fake about 40, of which 3 are")


def test_other_definitions_are_said(found):
    [said] = source_tables.notes(found, [made("old", "dnc", definition="fact-1")])
    assert ", fact.all, " in said and "as fact-1, run fake as fake" in said


def test_a_run_split_otherwise_may_ask_about_other_rnas(found):
    other = made("ai", "given")
    change("ai", rna_id=[f"X{i}" for i in range(40)])
    split("fake", "cluster")
    split("ai", "family")
    renamed = other.answers.rna_id.str.replace("R", "X")
    other = dataclasses.replace(other, answers=other.answers.assign(rna_id=renamed))
    [said] = source_tables.notes(found, [other])
    assert said.startswith("Run ai was split otherwise (SPLIT family) and asked about none of the")


@pytest.mark.parametrize(
    "columns, words",
    [
        ({"sequence": "GGGG"}, "R0 is another sequence there"),
        ({"rna_id": [f"X{i}" for i in range(40)]}, "no RNA in common"),
    ],
)
def test_runs_about_others_are_refused(found, columns, words):
    other = made("ai", "given")
    change("ai", **columns)
    split("fake", "cluster")
    split("ai", "cluster")
    ids = {f"R{i}": f"X{i}" for i in range(40)} if "rna_id" in columns else {}
    answers = other.answers.assign(rna_id=other.answers.rna_id.replace(ids))
    with pytest.raises(InputError, match=f"run ai cannot stand beside run fake: .*{words}"):
        source_tables.notes(found, [dataclasses.replace(other, answers=answers)])


def test_a_run_without_its_rnas_is_told_what_to_run(found):
    other = made("ai", "given")
    (stage_folder("ai", "03_decompose_qa") / "rnas.parquet").unlink()
    with pytest.raises(InputError, match="run ai has no 03_decompose_qa/rnas.parquet"):
        source_tables.notes(found, [other])


# --- the measurement


def test_given_texts_hold_what_the_world_knows_and_nothing_else(tmp_path):
    path = measurement.curated(tmp_path / "given.jsonl")
    texts = {row["rna_id"]: row["text"] for row in map(json.loads, path.open())}
    for rna in world.entries(40, seed=0):
        read, continues = [], False
        for sentence in split_sentences(texts.get(rna.id, "")):
            read += facts_in(sentence, continues)[0]
            continues = True
        known = {(f.relation, "none" if f.entity == BROKEN else f.entity) for f in rna.facts()}
        assert {(fact.relation, fact.entity) for fact in read} == known


def test_the_measurement_runs_each_source_and_says_what_their_files_say(
    own_runs, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(measurement.execute, "run_path", lambda *_, **of: asked.append(of))
    monkeypatch.setattr(measurement, "RESULTS", tmp_path / "sources.json")
    monkeypatch.setattr(measurement, "PAGE", tmp_path / "README.md")
    assert measurement.render() == "Not measured yet."
    measurement.PAGE.write_text("<!-- sources:start -->\n<!-- sources:end -->")
    for number, source in enumerate(measurement.SOURCES):
        fake_results.write(f"sources-{source}", seed=number)
        folder = stage_folder(f"sources-{source}", "06_ablations")
        for table in ("answers", "scores"):
            path = folder / f"{table}.parquet"
            pd.read_parquet(path).assign(source=source).to_parquet(path)
    measurement.main()
    *others, last = asked
    assert last["run"] == "sources-dnc" and last["parameters"]["SOURCE"] == "dnc"
    assert last["parameters"]["RUNS"] == ["sources-single_pass", "sources-given"]
    assert {one["parameters"]["SOURCE"] for one in others} == {"single_pass", "given"}
    assert len({one["parameters"]["GIVEN"] for one in asked}) == 1
    page = measurement.PAGE.read_text()
    for source in measurement.SOURCES:
        found = results.load(f"sources-{source}")
        assert readme.markdown(results.rouge_table(found)) in page
        local = [found.value("IT", "fact.local", column=c) for c in ("value", "low", "high")]
        assert results.interval(*local) in page
    assert page.index("**litsumm**") < page.index("**dnc**") < page.index("**single_pass**")
