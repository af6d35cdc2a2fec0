"""The leakage tax: unpaired differences between splits, of runs and of the floor that copies."""

import json
import random

import numpy as np
import pandas as pd
import pytest

from benchmarks.science import leakage as measurement
from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.curate.splits.split import nearest_identity
from rnagpt_lib.evaluate import leakage, results
from rnagpt_lib.report import readme
from rnagpt_lib.runs import stages
from tests.support import fake_results

TYPE, DISEASE = RELATIONS["rna_type"], RELATIONS["disease"]


def samples(values, metric="rougeL", model="IT", prefix="U"):
    units = [f"{prefix}{i:04d}" for i in range(len(values))]
    return pd.DataFrame({"model": model, "unit": units, "metric": metric, "value": values})


def test_the_bounds_of_a_difference_are_welchs():
    """One value per unit: the spread is that of two independent means."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 300), rng.normal(0, 2, 500)
    found = leakage.compared({"random": samples(a), "cluster": samples(b)}, 4000)
    row = found[found.what == "random − cluster"].iloc[0]
    half = 1.96 * np.sqrt(a.var() / len(a) + b.var() / len(b))
    assert row.value == pytest.approx(a.mean() - b.mean()) and row.n == 300
    assert row.low == pytest.approx(row.value - half, abs=0.08 * half)
    assert row.high == pytest.approx(row.value + half, abs=0.08 * half)
    same = leakage.compared({"random": samples(a), "cluster": samples(a)}, 500)
    row = same[same.what == "random − cluster"].iloc[0]
    assert row.value == 0 and row.low < -0.05 and row.high > 0.05, "drawn apart all the same"


def test_all_facts_are_the_open_ones_that_a_sequence_can_answer():
    parts = [samples([1.0, 1.0], f"fact.{kind}") for kind in ("local", "family")]
    parts += [samples([0.0, 0.0], f"fact.{kind}") for kind in ("closed", "species")]
    found = leakage.compared({"family": pd.concat(parts)}).set_index(["metric", "what"])
    assert found.loc[("fact.all", "family"), ["value", "n"]].to_list() == [1, 4]
    assert set(found.index.get_level_values("metric")) == {"fact.all", "fact.local"}


def test_the_measurement_runs_each_split_and_says_what_their_files_say(
    own_runs, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(measurement.notebooks, "run_path", lambda *_, **of: asked.append(of))
    monkeypatch.setattr(measurement, "RESULTS", tmp_path / "leakage.json")
    monkeypatch.setattr(measurement, "PAGE", tmp_path / "README.md")
    measurement.PAGE.write_text("<!-- leakage:start -->\n<!-- leakage:end -->")
    for number, split in enumerate(leakage.SPLITS):
        fake_results.write(f"leakage-{split}")
        path = stages.stage_folder(f"leakage-{split}", "06_ablations") / "samples.parquet"
        own = tables.read(path, "samples")
        tables.write(path, "samples", own.assign(value=own.value * (1 - number / 4)))
    measurement.main()
    assert [one["parameters"]["SPLIT"] for one in asked] == list(leakage.SPLITS)
    assert [one["run"] for one in asked] == [f"leakage-{split}" for split in leakage.SPLITS]
    found = {split: results.load(f"leakage-{split}") for split in leakage.SPLITS}
    told = leakage.table(leakage.scored(found).round(4))
    assert readme.markdown(told) in measurement.PAGE.read_text()
    assert "random 40, cluster 40, family 40" in measurement.PAGE.read_text()


def test_a_missing_split_is_a_dash():
    found = {"cluster": samples([0.5, 0.7]), "family": samples([0.1, 0.3])}
    table = leakage.table(leakage.compared(found, 100))
    assert list(table.columns) == [*leakage.SPLITS, "random − cluster", "cluster − family"]
    row = table.loc[("IT", "rougeL")]
    assert row["random"] == row["random − cluster"] == "–"
    assert row["cluster"].startswith("0.60 [") and row["cluster − family"].startswith("+0.40 [")


def run_of(name: str, split: str, value: float, source: str = "dnc") -> results.Results:
    """A finished run of one sample, with a 03 that was given ``split``."""
    fake_results.write(name)
    about = stages.stage_folder(name, "03_decompose_qa") / "params.json"
    about.parent.mkdir(parents=True, exist_ok=True)
    about.write_text(json.dumps({"params": {"split": split}}))
    found = results.load(name)
    key = {"run": name, "source": source, "model": "IT", "seed": 0, "pair_id": "P", "rna_id": "R",
           "unit": "U", "kind": "local", "form": "open", "metric": "fact.local"}  # fmt: skip
    tables.write(
        found.folder / "samples.parquet", "samples", pd.DataFrame([key | {"value": value}])
    )
    found.scores["source"] = source
    return found


@pytest.mark.slow
def test_runs_are_told_apart_by_the_split_that_03_was_given(own_runs):
    many = [run_of("a", "cluster", 0.5), run_of("b", "random", 0.75),
            run_of("c", "random", 0.0), run_of("d", "family", 0.0, "single_pass")]  # fmt: skip
    found = leakage.of_runs(many)
    assert [(split, r.run) for split, r in found.items()] == [("random", "b"), ("cluster", "a")]
    tax = leakage.scored(found, 100)
    assert (
        leakage.table(tax).loc[("IT", "fact.all"), "random − cluster"] == "+0.25 [+0.25, +0.25] n=1"
    )
    path = found["random"].folder / "samples.parquet"  # of several seeds its own training counts
    own = tables.read(path, "samples")
    tables.write(path, "samples", pd.concat([own, own.assign(seed=1, value=0.0)]))
    pd.testing.assert_frame_equal(leakage.scored(found, 100), tax)
    (stages.stage_folder("b", "03_decompose_qa") / "params.json").unlink()
    with pytest.raises(InputError, match="b/03_decompose_qa/params.json says no split"):
        leakage.of_runs(many)


@pytest.fixture
def twins() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Twelve families of three units of five twins each; a disease belongs to a unit, a type to
    all units of a family, whose sequences are no nearer to each other than to others'."""
    rng, rnas, pairs = random.Random(0), [], []
    for unit in range(36):
        sequence = "".join(rng.choices("ACGU", k=60))
        kind = ("tRNA", "snRNA", "rRNA")[unit // 3 % 3]
        for twin in range(5):
            rna = f"R{unit:02d}{twin}"
            rnas.append({"rna_id": rna, "sequence": sequence[:twin] + "A" + sequence[twin + 1 :],
                         "rna_type": kind, "family": f"f{unit // 3}", "unit": f"U{unit}",
                         "split": "test"})  # fmt: skip
            for relation, entity, about in (
                (TYPE, kind, "rna_type"),
                (DISEASE, f"disease {unit}", "literature"),
            ):
                pairs.append({"pair_id": f"{rna}{about}", "rna_id": rna, "source": "dnc",
                              "kind": about, "form": "open", "question": relation.questions[0],
                              "answer": relation.say([entity])})  # fmt: skip
    return pd.DataFrame(rnas), pd.DataFrame(pairs)


def test_the_floor_that_copies_gains_what_a_split_leaks(twins):
    table = leakage.copied(*twins, n=200)
    pd.testing.assert_frame_equal(leakage.copied(*twins, n=200), table)
    found = table.set_index(["metric", "what"])
    assert set(found.model) == {"floor.nearest"}
    assert found.value["fact.all", "random"] > 0.95, "a twin was trained on"
    assert found.value["fact.all", "cluster"] < 0.5, "no relative was"
    tax = found.loc[("fact.all", "random − cluster")]
    assert tax.low > 0.3 and tax.low < tax.value < tax.high
    rnas, pairs = twins
    of_one = leakage.copied(rnas.assign(family="f", rna_type="tRNA"), pairs, n=20)
    assert set(of_one.what) == {"random", "cluster", "random − cluster"}


# Identity to the nearest training RNA.


def test_it_is_the_units_identity_to_training_alone():
    """Of a copy, one with a letter of ten changed, a piece, and a stranger."""
    rng = random.Random(0)
    *train, stranger = ("".join(rng.choices("ACGU", k=60)) for _ in range(6))
    spoilt = "".join("A" if i % 10 == 0 else c for i, c in enumerate(train[1].replace("A", "C")))
    test = [train[0], spoilt, train[2][10:40], stranger]
    rows = [(s, "train") for s in train] + [(s, "test") for s in test] + [(stranger, "val")]
    rnas = pd.DataFrame(rows, columns=["sequence", "split"])
    rnas = rnas.assign(rna_id=[f"R{i}" for i in range(len(rnas))])
    asked = pd.concat([rnas[rnas.split == "test"]] * 2)  # two questions each
    found = leakage.identity(asked, rnas)
    assert found.to_list() == nearest_identity(test, train).tolist()
    assert list(found.index) == ["R5", "R6", "R7", "R8"]
    assert found["R5"] == found["R7"] == 1 and found["R8"] < 0.8  # the copy of R8 is in val


@pytest.fixture
def scored() -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Four RNAs of a unit each, two facts each: the floor knows near ones, IT all, MA none."""
    asked = pd.DataFrame(
        {"pair_id": f"P{i}{kind}", "rna_id": f"R{i}", "unit": f"U{i}", "stratum": "seen",
         "reference": "x", "kind": kind, "form": "open"}
        for i in range(4) for kind in ("local", "rna_type")
    )  # fmt: skip
    near = pd.Series([0.3, 0.5, 0.7, 0.9], [f"R{i}" for i in range(4)])
    knows = {"IT": lambda i: 1, "MA": lambda i: 0, "floor.nearest": lambda i: i // 2, "x": int}
    samples = pd.DataFrame(
        {"run": "r", "source": "dnc", "model": model, "seed": 0, "pair_id": row.pair_id, "unit": row.unit,
         "kind": row.kind, "form": "open", "metric": metric,
         "value": float(right(int(row.rna_id[1])))}
        for model, right in knows.items() for row in asked.itertuples()
        for metric in (f"fact.{row.kind}", "rougeL")
    )  # fmt: skip
    return samples, asked, near


def test_facts_are_counted_by_bin(scored):
    table = leakage.by_identity(*scored, n=50, seed=0)
    value = table.set_index(["model", "metric", "bin"]).value.sort_index()
    assert "rougeL" not in set(table.metric) and table.rnas.eq(1).all()
    assert value["floor.nearest", "fact.all"].to_dict() == {0: 0, 1: 0, 2: 1, 3: 1}
    assert value["IT", "fact.local"].eq(1).all() and value["MA", "fact.rna_type"].eq(0).all()
    assert table[table.metric == "fact.all"].n.eq(2).all()
    labels = table.drop_duplicates("bin").set_index("bin").label
    assert labels.tolist() == ["< 40 %", "40–60 %", "60–80 %", "≥ 80 %"]


def test_where_an_edge_would_leave_a_bin_empty_quartiles_part_them(scored):
    samples, asked, near = scored
    for values, sizes in (
        ([0.61, 0.65, 0.7, 0.75], [1, 1, 1, 1]),
        ([0.7] * 4, [4]),
        ([1.0, 1.0, 1.0, 0.5], [1, 3]),
    ):
        table = leakage.by_identity(samples, asked, pd.Series(values, near.index), n=5, seed=0)
        bins = table.drop_duplicates("bin")
        assert bins.rnas.tolist() == sizes and bins.label.nunique() == len(sizes)
        assert bins.label.iloc[0].startswith(f"{100 * min(values):.1f}–")
