"""Divide and conquer by a chat model, against a real server with a model that follows rules."""

import json
import random

import pandas as pd
import pytest

from rnagpt_lib.core.params import Summarize
from rnagpt_lib.curate import prompts
from rnagpt_lib.curate.summaries import divide_and_conquer
from rnagpt_lib.curate.summaries.extract import Abstract, Subject
from rnagpt_lib.curate.summaries.summarize import requests, summarize
from rnagpt_lib.curate.text.names import names_of
from rnagpt_lib.llm_api import journal
from rnagpt_lib.llm_api.cost import estimate
from rnagpt_lib.runs.resume_store import Store
from tests.standin.answers import Model
from tests.support.planted import FACTS, tables

BOTH = ("hsa-mir-21", "hsa-mir-22")


class World:
    """A served model, and summaries by it."""

    def __init__(self, app, settings):
        self.app, self.settings = app, settings

    def summarize(self, made, arms=divide_and_conquer.ARMS[::3], spool=None, **params):
        return summarize(*made, Summarize(**(self.settings | params)), arms, 3, spool)

    def requests(self, made, compared=()):
        return list(requests(*made, Summarize(**self.settings), compared, 3))

    def to_ask(self, made):
        return estimate(
            self.requests(made, made[0].rna_id.tolist()), Summarize(**self.settings)
        ).loc["sync", "to ask"]


@pytest.fixture
def world(talker):
    return World(*talker)


def test_groups_are_summarised_and_merged_with_the_articles_own_ids(world):
    rnas, articles, links, topics = made = tables()
    annotations, dropped, usage = first = world.summarize(made)
    assert world.app.completions == 5 and dropped.empty  # three groups, their merge, single pass
    known = articles.set_index("article_id").abstract
    for _, lines in annotations.groupby("source"):
        said = {text.rstrip(".").split()[-1] for text in lines.text}
        assert said == set(" ".join(FACTS.values()).split())
        for row in lines.itertuples():
            assert row.text.startswith("This RNA ") and "21" not in row.text
            assert row.article_ids
            assert all(row.text.split()[-1] in known[i] for i in row.article_ids)
    of = usage.set_index("source")
    assert of.calls.to_dict() == {"dnc": 4, "single_pass": 1}
    assert (of.valid == of["first"]).all() and (of.microdollars > 0).all()
    assert of.parts["dnc"] == of.survived["dnc"] == 9
    again = world.summarize(tables())  # out of the journal, and what it cost once
    assert world.app.completions == 5 and again.usage.equals(usage)
    pd.testing.assert_frame_equal(first.annotations, again.annotations)


def test_what_became_of_finished_waves_needs_no_journal_and_no_text(world, monkeypatch, tmp_path):
    monkeypatch.setattr(divide_and_conquer, "WAVE", {"sync": 2})
    made = tables([f"hsa-mir-{n}" for n in range(21, 24)])
    with Store(tmp_path) as spool:
        kept = world.summarize(made, spool=spool)
        journal.path().unlink()
        before = world.app.completions
        rnas, articles, *others = made
        textless = rnas, articles.assign(title="", abstract=""), *others
        again = world.summarize(textless, spool=spool)
        assert world.app.completions == before
        for one, other in zip(kept, again, strict=True):
            pd.testing.assert_frame_equal(one, other)
        world.summarize(made, words=60, spool=spool)
        assert world.app.completions == 2 * before  # others are asked anew


def test_batches_give_the_same(world):
    made = tables()
    want = world.summarize(made).annotations
    in_batches = world.summarize(made, mode="batch", model="stand-in-2")
    assert in_batches.annotations.equals(want) and len(world.app.batches) == 2  # groups, merges
    assert (in_batches.usage["tokens_out"] > 0).all()


def test_one_group_is_asked_once_for_both_sources_and_no_abstract_costs_nothing(world):
    _, *others = tables(n_topics=1)
    rnas = pd.DataFrame({"rna_id": ["hsa-mir-21", "R9"]})
    annotations, dropped, usage = world.summarize((rnas, *others))
    assert world.app.completions == 1 and len(usage) == 2
    by_source = annotations.groupby("source").text.agg(list)
    assert by_source["dnc"] == by_source["single_pass"]
    assert dropped.record.tolist() == ["R9", "R9"]


def test_waves_bound_what_is_in_memory_and_change_nothing(world, monkeypatch):
    made = tables([f"hsa-mir-{n}" for n in range(30, 37)], n_topics=2)
    key = ["rna_id", "source", "sentence_no"]
    whole = world.summarize(made).annotations.sort_values(key, ignore_index=True)
    sizes, real = [], divide_and_conquer.annotate

    def counted(plans, *rest):
        sizes.append(len(plans))
        return real(plans, *rest)

    monkeypatch.setattr(divide_and_conquer, "WAVE", {"sync": 3})
    monkeypatch.setattr(divide_and_conquer, "annotate", counted)
    before = world.app.completions
    in_waves = world.summarize(made).annotations
    assert sizes == [6, 6, 2] and world.app.completions == before
    assert in_waves.sort_values(key, ignore_index=True).equals(whole)


def test_requests_are_those_that_are_sent(world):
    made = tables()
    foreseen = world.requests(made)
    assert world.app.completions == 0
    world.summarize(made)
    sent = [json.dumps(messages) for messages in world.app.answer.asked]
    assert len(foreseen) == world.app.completions == 5
    parts = [r for r in foreseen if r.version == prompts.SUMMARY_VERSION]
    assert {json.dumps(list(r.messages)) for r in parts} < set(sent)
    merges = [messages for messages in sent if "<summary>" in messages]
    (merge,) = (json.dumps(list(r.messages)) for r in foreseen if r not in parts)
    assert max(map(len, merges)) <= len(merge)


def test_after_all_is_answered_nothing_is_left_to_ask(world):
    world.app.answer = Model(invents=True, heals=True)
    made = tables(BOTH)
    assert world.to_ask(made) == 2 * (3 * 4 + 1)  # three ways with a merge, and a single pass
    world.summarize(made)
    assert world.to_ask(made) == 2 * 2 * 4  # of the sources not even a repair
    world.summarize(made, divide_and_conquer.ARMS)
    paid = world.app.completions
    assert world.to_ask(made) == 0 and world.app.completions == paid


def test_what_failed_for_good_is_not_asked_again(world):
    world.app.end = lambda said: "refusal" if "<summary>" in said or "glioma" in said else "stop"
    made = tables()
    world.summarize(made, divide_and_conquer.ARMS)
    assert world.to_ask(made) == 0


def test_the_journals_answers_lead_to_the_merge_itself(world, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    made = tables()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(divide_and_conquer, "merge_question", stop)
        world.summarize(made)
    (merge,) = (r for r in world.requests(made) if r.version == prompts.MERGE_VERSION)
    world.summarize(made)
    assert list(merge.messages) in world.app.answer.asked


def test_faults_are_repaired_or_the_sentence_is_dropped(world):
    rnas, articles, links, topics = tables()
    made = rnas, articles, links, topics.assign(topic=0)
    want = world.summarize(made, words=20).annotations
    for switch, reason in (
        ("invents", "cites an article that was not given"),
        ("inside", "holds an id or a bracket inside"),
        ("uncited", "cites no article"),
        ("wordy", "is beyond the 20 words"),
    ):
        world.app.answer = Model(**{switch: True, "heals": True})
        healed = world.summarize(made, words=20, model=f"healing {switch}")
        assert healed.annotations.equals(want) and healed.dropped.empty
        assert healed.usage.calls.tolist() == [2, 2]
        world.app.answer = Model(**{switch: True})
        stubborn = world.summarize(made, words=20, model=f"stubborn {switch}")
        assert stubborn.usage.calls.tolist() == [1 + divide_and_conquer.REPAIRS] * 2
        assert {r.split(" sentence ")[-1] for r in stubborn.dropped.reason} == {reason}
        assert set(stubborn.annotations.text) <= set(want.text)
        assert len(stubborn.annotations) == (len(want) if switch == "wordy" else 0)


def test_a_repair_names_what_is_wrong(world):
    world.app.answer = Model(invents=True, heals=True)
    world.summarize(tables(n_topics=1))
    first, repair = world.app.answer.asked
    assert repair[:2] == first and repair[2]["role"] == "assistant"
    assert "Sentence 1 cites an article that was not given." in repair[3]["content"]
    assert "The only ids are 1, 2, 3." in repair[3]["content"]


def test_names_of_the_rna_are_masked(world):
    want = world.summarize(tables()).annotations
    world.app.answer = Model(names_it=True)
    named = world.summarize(tables(), model="naming")
    assert named.annotations.equals(want)
    assert not named.annotations.text.str.contains("21").any()


def test_an_answer_that_never_comes_is_a_row_of_its_rna_and_the_others_go_on(world):
    made = tables(BOTH, n_topics=1)
    good, bad = Model(), Model(broken=True)
    for state in ("refusal", "length", "filter", "malformed"):
        end = {"filter": "content_filter", "malformed": "stop"}.get(state, state)
        world.app.end = lambda said, end=end: end if "mir-22" in said else "stop"
        if state == "malformed":
            world.app.answer = lambda m, s: (bad if "mir-22" in m[1]["content"] else good)(m, s)
        annotations, dropped, _ = world.summarize(made, model=f"gives {state}")
        assert set(annotations.rna_id) == {"hsa-mir-21"}
        reason = f"the model's answer is missing (state {state})"
        assert dropped.reason.tolist() == [f"{s}: {reason}" for s in ("dnc", "single_pass")]
        assert set(dropped.record) == {"hsa-mir-22"} and set(dropped.stage) == {"02_summarize"}


def test_without_the_merge_the_groups_summaries_stand(world):
    world.app.end = lambda said: "refusal" if "<summary>" in said else "stop"
    annotations, dropped, _ = world.summarize(tables())
    lines = annotations[annotations.source == "dnc"]
    assert len(lines) == 9 and lines.text.str.split().str.len().sum() <= 120
    assert dropped.reason.tolist() == [
        "dnc: the model's answer is missing (state refusal)",
        "dnc: the groups' summaries stand unmerged",
    ]


def test_a_prompt_has_a_limit_and_what_is_left_out_is_told(world, monkeypatch):
    monkeypatch.setattr(prompts, "MOST_PROMPT", 200)
    annotations, dropped, _ = world.summarize(tables(n_topics=1))
    assert dropped.reason[0] == "dnc: 1 abstracts are beyond what a prompt holds"
    assert {i for ids in annotations.article_ids for i in ids} == {"A000", "A001"}


# Groups.


def subject(sizes=(3, 5, 2)):
    rng = random.Random(1)
    topics = [t for t, n in enumerate(sizes) for _ in range(n)]
    rng.shuffle(topics)
    abstracts = tuple(
        Abstract(f"A{n}", "T", "text", topic, rng.randint(1990, 2020))
        for n, topic in enumerate(topics)
    )
    return Subject("R1", tuple(names_of({"rna_id": "R1"})), abstracts)


def test_arms_divide_the_same_abstracts_by_topic_at_random_by_year_or_not_at_all():
    one, divide = subject((10, 12, 9)), divide_and_conquer.divide
    for arm in divide_and_conquer.ARMS:
        groups = divide(one, arm, 0)
        ids = sorted(a.article_id for group in groups for a in group)
        assert ids == sorted(a.article_id for a in one.abstracts) and divide(one, arm, 0) == groups
        assert [len(g) for g in groups] == ([31] if arm == "single_pass" else [10, 12, 9])
    assert divide(one, "dnc.random_groups", 0) != divide(one, "dnc.random_groups", 1)
    years = [[a.year for a in group] for group in divide(one, "dnc.chronological", 0)]
    assert all(max(early) <= min(late) for early, late in zip(years, years[1:], strict=False))


def test_equal_ways_to_divide_are_one_plan():
    plan, arms = divide_and_conquer.plan, divide_and_conquer.ARMS
    assert [one.sources for one in plan(subject((4,)), arms, 0)] == [arms]
    assert len(plan(subject(), arms, 0)) == 4
    assert plan(Subject("R1", (), ()), arms, 0) == []
