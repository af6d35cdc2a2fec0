"""The benchmark of neighbours, on a run of a hundred RNAs."""

import pytest

from benchmarks.science import neighbours
from rnagpt_lib.core import tables
from rnagpt_lib.core.files import write_json
from rnagpt_lib.curate.questions import question_templates
from rnagpt_lib.evaluate import questions
from tests.support import finished


@pytest.fixture
def folder(own_runs, monkeypatch):
    finished.made("mini", first={"world_size": 100})
    monkeypatch.setattr(neighbours, "RUN", "mini")
    return own_runs / "mini" / finished.LAST


def test_wrong_answers_are_wrong(folder):
    rnas, pairs = (tables.read(folder / f"{name}.parquet", name) for name in ("rnas", "pairs"))
    asked = questions.questions(rnas, pairs)
    wrong = neighbours.wrong_answers(asked)
    own: dict = {}
    for row in asked[asked.form == "open"].itertuples():
        named = question_templates.entities(row.question, row.reference)
        own.setdefault((row.rna_id, row.relation), set()).update(named)
    assert set(asked.loc[wrong.index].form) == {"open", "closed"}
    for row in asked.loc[wrong.index].itertuples():
        answer = wrong[row.Index]
        if row.form == "closed":
            assert {answer[:2], row.reference[:2]} == {"Ye", "No"}
            assert question_templates.asked_entity(row.question) in answer
        else:
            named = set(question_templates.entities(row.question, answer))
            assert named and not named & own[row.rna_id, row.relation]


def test_figures_are_counted_from_the_runs_tables(folder, tmp_path, monkeypatch):
    rnas = tables.read(folder / "rnas.parquet", "rnas")
    monkeypatch.setattr(neighbours, "rnacentral", lambda: (
        neighbours.Retrieval.of("mini").nearest, rnas))  # fmt: skip
    measured = neighbours.measure()
    found, same = measured["sets"].values()
    assert found["top"] == same["top"] and found["near"] == same["near"]
    sides = rnas[rnas.split != "train"].drop_duplicates("sequence")
    assert sum(row["RNAs"] for row in found["near"]) == len(sides)
    val = {row["way"]: row for row in found["top"] if row["split"] == "val"}
    whole = val[f"identity × ratio^{neighbours.POWER:g}"]  # so few are all aligned
    looked = val[neighbours.RULE]
    assert (whole["rna_type"], whole["family"]) == (looked["rna_type"], looked["family"])
    known = [r for r in measured["statements"] if r["what"] == neighbours.KNOWN]
    assert {(r["kind"], r["form"]) for r in known} >= {("rna_type", "open"), ("rna_type", "closed")}
    for row in known:
        if row["kind"] in question_templates.CATEGORICAL:
            assert row["false"] == 0 and row["detected"] == row["answers"]
    monkeypatch.setattr(neighbours, "RESULTS", tmp_path / "found.json")
    write_json(tmp_path / "found.json", measured)
    assert neighbours.RULE in neighbours.render() and neighbours.NEW in neighbours.render()
