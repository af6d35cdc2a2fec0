"""The ways to summarise side by side: what is measured, and how sure the differences are."""

import json

import numpy as np
import pandas as pd
import pytest

from rnagpt_lib.core.params import Summarize
from rnagpt_lib.core.tables import frame, read, write
from rnagpt_lib.curate.summaries import summary_strategies
from rnagpt_lib.curate.summaries.divide_and_conquer import ARMS
from rnagpt_lib.curate.summaries.summarize import draw_compared, summarize
from rnagpt_lib.llm_api import cost
from rnagpt_lib.runs.run import merge_metrics
from tests.standin.answers import Model
from tests.support.journal_rows import spent

TOPICS = {0: "glioma asthma lupus", 1: "PTEN TP53 KRAS"}
VERBS = {0: "is associated with", 1: "targets"}


def tables(number=6):
    """RNAs with six abstracts in two topics, each with a planted fact, and one RNA with one."""
    rows, linked, facts = [], [], []
    for n in range(number):
        for topic, words in TOPICS.items():
            for i, word in enumerate(words.split()):
                text = f"We studied RX-{n}. Thus RX-{n} {VERBS[topic]} {word}{n}."
                rows.append((f"A{n}{topic}{i}", "A paper", text, 2000 + i))
                linked.append((f"RX-{n}", f"A{n}{topic}{i}", topic, 1.0))
                facts.append((f"RX-{n}", f"{word}{n}"))
    rows.append(("B1", "A paper", "RX-99 targets MYC.", 2000))
    linked.append(("RX-99", "B1", 0, 1.0))
    facts += [("RX-99", "MYC"), ("RX-0", "unknown")]
    rnas = pd.DataFrame({"rna_id": [f"RX-{n}" for n in range(number)] + ["RX-99"]})
    articles = pd.DataFrame(rows, columns=["article_id", "title", "abstract", "year"])
    topics = pd.DataFrame(linked, columns=["rna_id", "article_id", "topic", "weight"])
    truth = pd.DataFrame(facts, columns=["rna_id", "entity"])
    return rnas, articles, topics[["rna_id", "article_id"]], topics, truth


def measured(params=None, chosen=None, **others):
    rnas, articles, links, topics, truth = tables()
    chosen = draw_compared(topics, 99, 0) if chosen is None else chosen
    given = {"params": params or Summarize(), "seed": 0, "truth": truth} | others
    return summary_strategies.measure(chosen, rnas, articles, links, topics, **given)[0]


def given(path, *texts):
    """All measures, and those of given texts that RNAs target PTEN: (number, article ids)."""
    rows = [
        {"rna_id": f"RX-{n}", "text": f"RX-{n} targets PTEN{n}.", "article_ids": cited}
        for n, cited in texts
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    table = measured(Summarize(given=str(path)))
    return table, table[table["arm"] == "litsumm"].set_index("rna_id")


def test_what_there_is_to_divide_and_to_compare(tmp_path):
    _, articles, _, topics, _ = tables()
    assert draw_compared(topics, 99, 0) == [f"RX-{n}" for n in range(6)]  # with several topics
    assert len(draw_compared(topics, 3, 0)) == 3 and draw_compared(topics, 0, 0) == []
    assert draw_compared(topics, 3, 0) == draw_compared(topics, 3, 0)
    table = summary_strategies.describe_division(articles, topics)
    assert table["RNAs"].to_dict() == {"1-3": 1, "4-7": 6, "all": 7}
    assert table["RNAs divided"].round(3)["all"] == round(6 / 7, 3)
    assert table["RNAs divided"]["1-3"] == 0 and table["words divided"]["4-7"] == 1
    for name in ("articles", "topics"):
        write(tmp_path / name, name, frame(name, []))
    nothing = (read(tmp_path / name, name) for name in ("articles", "topics"))
    assert summary_strategies.describe_division(*nothing).empty


def test_every_way_keeps_every_fact_with_room_and_loses_some_without():
    table = measured()
    assert set(table["arm"]) == set(ARMS) and len(table) == 24
    means = summary_strategies.average(table)
    assert (means[["facts kept", "topics covered", "citations valid"]] == 1).all(axis=None)
    assert "tokens" not in means
    assert (abs(table["facts per 100 words"] - 600 / table["words"]) < 1e-9).all()
    gaps = summary_strategies.differences(table)
    assert (gaps["low"] <= gaps["value"]).all() and (gaps["value"] <= gaps["high"]).all()
    assert set(gaps["articles"]) == {"all", "4-7"} and set(gaps["RNAs"]) == {6}
    tight = measured(Summarize(words=20))
    assert (tight["words"] <= 20).all()
    assert tight["facts kept"].mean() < table["facts kept"].mean()
    assert tight.groupby("arm")["topics covered"].mean()["dnc"] == 0.5  # 20 words serve one topic


def test_given_texts_stand_as_litsumm_and_their_citations_are_valid_or_not(tmp_path):
    path = tmp_path / "given.jsonl"
    _, own = given(path, (1, ["A110"]), (2, ["A110"]))
    assert own["facts kept"]["RX-1"] == pytest.approx(1 / 6) and own["facts kept"]["RX-3"] == 0
    assert own["topics covered"]["RX-1"] == 0.5 and own["words"]["RX-3"] == 0
    assert own["citations valid"][["RX-1", "RX-2"]].tolist() == [1, 0]
    table, _ = given(path, (1, []))
    means = summary_strategies.average(table)
    assert np.isnan(means["citations valid"]["litsumm"])
    said = summary_strategies.as_metrics(means)
    assert set(said["litsumm"]) == set(said["dnc"]) - {"citations valid"}
    assert said["dnc"]["citations valid"] == 1
    merge_metrics({}, said)  # finite


def test_without_truth_or_rnas_there_is_still_a_table():
    table = measured(truth=None)
    assert "facts kept" not in table and "topics covered" in summary_strategies.average(table)
    nothing = measured(chosen=[])
    assert summary_strategies.average(nothing).empty
    assert summary_strategies.differences(nothing).empty


def test_the_difference_is_paired_and_has_the_sign_of_dnc():
    arms = ("dnc", "single_pass")
    rows = [(f"R{n}", arm, float(n + (arm == "dnc")), "4-7") for n in range(9) for arm in arms]
    table = pd.DataFrame(rows, columns=["rna_id", "arm", "words", "articles"])
    gaps = summary_strategies.differences(table)
    assert gaps[["value", "low", "high"]].drop_duplicates().values.tolist() == [[1, 1, 1]]


def test_sources_are_compared_by_size_articles_and_facts():
    rnas, articles, links, topics, truth = tables(1)
    annotations = summarize(rnas, articles, links, topics, Summarize()).annotations
    truth = pd.concat([truth, pd.DataFrame({"rna_id": ["RX-0"], "entity": ["nowhere"]})])
    table = summary_strategies.compare(annotations, links, truth)
    assert table["articles cited"].tolist() == [1, 1]
    assert table["facts kept"].tolist() == [0.875, 0.875]  # seven of eight
    assert (abs(table["facts per 100 words"] - 700 / (2 * table["words per RNA"])) < 0.01).all()
    assert "facts kept" not in summary_strategies.compare(annotations, links)


def test_it_says_whose_summaries_it_is_evidence_about():
    say, none = summary_strategies.describe_evidence, "no evidence about summaries by language"
    assert none in say(Summarize())
    stand_in = say(Summarize(provider="openai", model="stand-in"))
    assert "'stand-in' is a stand-in" in stand_in and none in stand_in
    real = say(Summarize(provider="openai", model="gpt-4o-mini"))
    assert "'gpt-4o-mini'" in real and "no evidence" not in real


def test_a_model_is_measured_with_its_tokens_and_the_sources_come_out_of_the_journal(talker):
    app, settings = talker
    app.answer = Model(invents=True, heals=True)
    params = Summarize(**settings)
    *parts, truth = tables(3)
    usage, before = summarize(*parts, params).usage, app.completions
    chosen = draw_compared(parts[-1], 99, 0)
    table, extra = summary_strategies.measure(chosen, *parts, params, 0, truth)
    # two more arms: two groups and a merge, each repaired once
    assert app.completions - before == 3 * 2 * 3 * 2
    paid = cost.sum_usage(pd.concat([usage, extra]), params)
    assert paid["calls"] == app.completions and paid["dollars"] == spent() / 1e6
    means = summary_strategies.average(table)
    assert (means["tokens"] > 0).all() and (means["micro-dollars"] > 0).all()
    assert (means["citations valid"] < 1).all() and (means["facts kept"] == 1).all()
    assert means["tokens"]["single_pass"] < means["tokens"]["dnc"]
