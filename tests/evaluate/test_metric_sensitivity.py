"""The ladder: every rung spoils what it says it spoils; AUROC is scikit-learn's."""

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from rnagpt_lib.curate.questions.question_templates import RELATIONS, entities, entity
from rnagpt_lib.evaluate import ablation, metric_sensitivity, questions, text_scores
from rnagpt_lib.evaluate.entities import named
from rnagpt_lib.evaluate.metric_sensitivity import PARAPHRASE, RUNGS, climb, noticed


@pytest.fixture(scope="module")
def asked():
    """Three questions about each of twelve RNAs in six units."""
    said = [("disease", ["glioma", "asthma", "gout"]), ("partner", ["HuR", "La"]),
            ("isotype", ["lysine", "valine", "serine", "glycine"])]  # fmt: skip
    rows = []
    for i in range(12):
        for relation, known in said:
            one = known[i % len(known)]
            rows.append({
                "pair_id": f"P{i}{relation}", "rna_id": f"R{i}", "unit": f"U{i // 2}",
                "sequence": "ACGU" * 5, "rna_type": "tRNA", "stratum": "seen", "source": "dnc",
                "kind": RELATIONS[relation].kind, "form": "open",
                "question": RELATIONS[relation].questions[0],
                "reference": RELATIONS[relation].say([one]), "relation": relation, "entity": one,
                "decidable": True,
            })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def pairs(asked):
    return asked.rename(columns={"reference": "answer"})[["question", "answer", "form"]]


@pytest.fixture(scope="module")
def climbed(asked, pairs):
    return climb(asked, pairs)


def of(climbed, rung):
    return climbed[climbed["model"] == rung]


def test_every_question_climbs_every_rung_and_a_rung_spoils_what_it_says(asked, pairs, climbed):
    assert list(climbed["model"].unique()) == list(RUNGS)
    assert (climbed.groupby("model").size() == len(asked)).all()
    assert set(metric_sensitivity.WORDS.index) == set(RELATIONS)
    by_id = asked.set_index("pair_id")
    for row in climbed.itertuples():
        about = by_id.loc[row.pair_id]
        keeps = named(row.prediction, [about.entity]) == {about.entity.casefold()}
        assert row.prediction != about.reference
        assert keeps == (row.model in ("synonym", PARAPHRASE, "negated")), row
        read = entities(about.question, row.prediction)
        if row.model in ("entity swapped", "another RNA's"):
            assert len(read) == 1 and read != [about.entity]
        if row.model == "another RNA's":
            assert set(asked[asked["reference"] == row.prediction]["unit"]) - {row.unit}
        if row.model == "random":
            assert read == [] and entity(about.question, row.prediction) is None
        if row.model == "negated":
            assert " not " in row.prediction
    pd.testing.assert_frame_equal(climb(asked, pairs), climbed)
    assert not climb(asked, pairs, seed=1)["prediction"].equals(climbed["prediction"])


def test_what_names_nothing_or_several_is_left_out(asked, pairs):
    for odd in (
        asked.assign(entity=[None, "unknown", "none"] * 12),
        asked.assign(relation="dictionary.disease"),
        asked.assign(form="closed"),
    ):
        nothing = climb(odd, pairs)
        samples, _, definitions = ablation.score(nothing, asked, pairs, ())
        assert len(nothing) == len(samples) == 0 and definitions == {}
        assert noticed(samples).empty
    alone = asked[asked["relation"] == "partner"].head(1)
    rungs = set(climb(alone, pairs[pairs["question"] == alone["question"].iloc[0]])["model"])
    assert rungs == {"synonym", PARAPHRASE, "entity swapped", "negated"}


def test_auroc_is_that_of_scikit_learn_with_ties(climbed):
    samples = climbed.assign(metric="m", value=[(7 * i % 11) / 4 // 1 for i in range(len(climbed))])
    table = noticed(samples, n=50).set_index("rung")
    fair = of(samples, PARAPHRASE)["value"].tolist()
    for rung in RUNGS:
        if rung == PARAPHRASE:
            assert rung not in table.index
            continue
        spoilt = of(samples, rung)["value"].tolist()
        wanted = roc_auc_score([1] * len(fair) + [0] * len(spoilt), fair + spoilt)
        assert table.loc[rung, "value"] == pytest.approx(wanted, abs=1e-12)
        assert table.loc[rung, "low"] <= wanted <= table.loc[rung, "high"]
        assert table.loc[rung, "n"] == len(spoilt)


def test_bounds_are_those_of_drawing_units_one_by_one(climbed):
    """A draw that takes a unit twice takes each of its answers twice, on both sides."""
    samples = climbed.assign(metric="m", value=[(5 * i % 13) / 13 for i in range(len(climbed))])
    draws = metric_sensitivity.Bootstrap(samples["unit"], 40, 3)
    fair, spoilt = of(samples, PARAPHRASE), of(samples, "negated")
    found = []
    for counts in draws.counts.astype(int):
        weight = dict(zip(draws.units, counts, strict=True))
        sides = [
            [v for v, u in zip(side["value"], side["unit"], strict=True) for _ in range(weight[u])]
            for side in (fair, spoilt)
        ]
        found.append(roc_auc_score([1] * len(sides[0]) + [0] * len(sides[1]), sum(sides, [])))
    low, high = pd.Series(found).quantile([0.025, 0.975])
    row = noticed(samples, n=40, seed=3).set_index("rung").loc["negated"]
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))


def test_a_perfect_and_a_blind_metric(climbed):
    right = climbed["model"].isin(["synonym", PARAPHRASE]).astype(float)
    samples = pd.concat([
        climbed.assign(metric="perfect", value=right), climbed.assign(metric="blind", value=0.5)
    ])  # fmt: skip
    table = noticed(samples, n=100).set_index(["metric", "rung"])["value"]
    assert (table["blind"] == 0.5).all() and table["perfect", "synonym"] == 0.5
    assert (table["perfect"].drop("synonym") == 1).all()


def test_all_metrics_are_compared_over_the_same_questions(climbed):
    few = climbed[climbed["pair_id"].str.endswith("disease")]
    value = {"evidence.unsupported": [float(i % 3) for i in range(len(climbed))]}
    value["rougeL"] = [-v for v in value["evidence.unsupported"]]
    samples = [climbed.assign(metric=name, value=values) for name, values in value.items()]
    right = few["model"].isin(["synonym", PARAPHRASE]).astype(float)
    samples += [few.assign(metric="fact.literature", value=right)]
    samples += [few.head(1).assign(metric="evidence.precision", value=1.0)]
    table = noticed(pd.concat(samples), n=20).set_index(["metric", "rung"])
    assert set(table.index.levels[0]) == {"rougeL", "fact.all", "evidence.unsupported"}
    assert (table["n"] == 12).all()  # one disease for each RNA
    names = ["value", "low", "high"]
    unsupported, overlap = (table[names].xs(name) for name in ("evidence.unsupported", "rougeL"))
    pd.testing.assert_frame_equal(unsupported, overlap)  # the fewer claims, the better


def test_whatever_scores_models_scores_rungs(tables):
    rnas, pairs = tables
    asked = questions.questions(rnas, pairs)
    climbed = climb(asked, pairs).assign(run="r")
    samples, _, _ = ablation.score(climbed, asked, pairs, semantic=())
    table = noticed(samples, n=100)
    assert set(table["metric"]) == {*text_scores.ROUGE, "fact.all"}
    assert table["value"].between(0, 1).all()
    found = table.set_index(["metric", "rung"])["value"]
    for rung in ("entity swapped", "negated"):
        assert found["fact.all", rung] == 1 > 0.5 > found["rougeL", rung]
