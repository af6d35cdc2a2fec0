"""The ablation's glue: kept answers, controls, samples; copies come out as copies."""

from collections import Counter
from types import SimpleNamespace

import pandas as pd
import pytest

from rnagpt_lib.chat.decoding import Answer
from rnagpt_lib.core import bootstrap
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Ablations
from rnagpt_lib.curate.questions.question_templates import RELATIONS, relation_of
from rnagpt_lib.evaluate import ablation, case_studies, questions, results
from rnagpt_lib.evaluate.fact_scores import lexicon
from rnagpt_lib.report import tables as tables_of


class Parrot:
    """In place of a model: says of every sequence what ``facts`` hold, else that it is unknown."""

    hash, device, max_new_tokens, own = "0", "cpu", 9, None

    def __init__(self, name: str, facts: dict[str, dict[str, str]]):
        self.name, self.facts, self.asked = name, facts, 0

    def answer_all(self, sequences, questions, batch_size=64, keep=None):
        requests = list(zip(sequences, questions, strict=True))

        def make(missing):
            for batch in missing:
                self.asked += len(batch)
                yield [Answer(self._say(*requests[i]), 7, "eos") for i in batch]

        whole = [list(range(len(requests)))]
        [found] = keep(whole, make) if keep else make(whole)
        return found

    def in_own_template(self):
        return self.own if self.name == "vanilla" else None

    def ask(self, name, sequences, questions):
        return self.answer_all(sequences, questions)

    def _say(self, sequence: str | None, question: str) -> str:
        if sequence is None:
            return "The RNA is known."
        relation = RELATIONS[relation_of(question)]
        entity = self.facts.get(sequence, {}).get(relation.name)
        if question not in relation.questions:
            return relation.confirm("glioma", entity == "glioma")
        return relation.say([entity]) if entity else relation.unknown


@pytest.fixture
def world(tables, tmp_path, monkeypatch):
    rnas, pairs = tables
    asked = questions.questions(rnas, pairs)
    truth = {"R3": {"rna_type": "tRNA", "disease": "glioma"}, "R4": {"rna_type": "snRNA"}}
    facts = {row.sequence: truth.get(row.rna_id, {}) for row in rnas.itertuples()}
    chats = {name: Parrot(name, facts if name == "IT" else {}) for name in ablation.MODELS}
    monkeypatch.setattr(ablation, "load_model", lambda run, name, tokens: chats[name])
    run = SimpleNamespace(id="r", seed=0, params=Ablations(), folder=tmp_path)
    return SimpleNamespace(rnas=rnas, pairs=pairs, asked=asked, chats=chats, run=run, facts=facts)


def all_answers(world):
    return ablation.answer_all(world.run, world.asked, world.rnas, world.pairs)


def test_every_model_floor_and_control_answers_every_question_and_goes_on(world, capsys):
    answers = all_answers(world)
    assert set(answers.model) == {*ablation.MODELS, *ablation.CONTROLS, *results.FLOORS}
    assert (answers.groupby("model").size() == len(world.asked)).all()
    assert set(answers[answers.model.str.startswith("floor")].stop_reason) == {"floor"}
    asked = world.chats["vanilla"].asked
    pd.testing.assert_frame_equal(all_answers(world), answers)
    assert world.chats["vanilla"].asked == asked and "kept" in capsys.readouterr().out
    world.asked = world.asked.head(3)  # other questions: nothing is kept
    assert len(all_answers(world)) == 3 * 10


def test_vanilla_in_its_own_chat_template_stands_beside_it(world):
    before = all_answers(world)
    world.chats["vanilla"].own = Parrot("vanilla", world.facts)
    world.chats["vanilla"].own.hash = "1"
    answers = all_answers(world)
    assert set(answers.model) - set(before.model) == {results.CHAT}
    others = answers[answers.model != results.CHAT].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, before)
    samples, ids, _ = ablation.score(answers, world.asked, world.pairs, ())
    table = bootstrap.score_table(samples, world.asked, ids, 20, 0)
    found = results.Results("r", world.run.folder, answers, table, table[:0], {})
    assert list(tables_of.rouge_table(found).index) == ["vanilla", results.CHAT, "MA", "IT"]
    assert list(tables_of.facts_table(found).index)[:4] == ["vanilla", results.CHAT, "MA", "IT"]


def test_a_chat_template_of_no_use_is_left_out_and_said(world, monkeypatch, capsys):
    def refuse():
        raise InputError("it ends")

    before = all_answers(world)
    monkeypatch.setattr(world.chats["vanilla"], "in_own_template", refuse)
    pd.testing.assert_frame_equal(all_answers(world), before)
    [said] = [row for row in capsys.readouterr().out.splitlines() if results.CHAT in row]
    assert said.endswith("it ends") and "left out" in said


def test_models_controls_and_floors_come_out_as_what_they_are(world):
    answers = all_answers(world)
    samples, ids, definitions = ablation.score(answers, world.asked, world.pairs, ())
    table = bootstrap.score_table(samples, world.asked, ids, 20, 0)
    found = table[(table.kind == "all") & (table.form == "all") & (table.stratum == "all")]
    value = found.set_index(["model", "metric"]).value
    assert value["IT", "fact.all"] == 1 and value["vanilla", "fact.all"] == 0
    assert value["control.swapped", "fact.all"] == 0  # answers about the other RNA
    assert value["control.shuffled", "fact.all"] == value["control.none", "fact.all"] == 0
    assert value["IT", "fact.abstention"] == 1  # the disease of a held-out family
    nearest = answers[answers.model == "floor.nearest"].set_index("pair_id").prediction
    assert nearest["P30"] == RELATIONS["rna_type"].say(["tRNA"])
    assert set(table.definition) <= set(definitions)
    assert not any(metric.startswith("S_") for metric in ids)


def near(a: str, b: str) -> float:
    """Cosine of the 5-mer counts, letter by letter."""
    one, two = (Counter(s[i : i + 5] for i in range(len(s) - 4)) for s in (a, b))
    lengths = [sum(n * n for n in counts.values()) ** 0.5 for counts in (one, two)]
    return sum(one[word] * two[word] for word in one) / (lengths[0] * lengths[1] or 1)


def test_models_that_copy_score_what_their_floors_score(world):
    """One that always gives the commonest answer, and one that gives the nearest RNA's."""
    train = world.pairs.merge(world.rnas[world.rnas.split == "train"][["rna_id", "sequence"]])
    said = {"constant": [], "copyist": []}
    for row in world.asked.itertuples():
        same = RELATIONS[row.relation].questions if row.form == "open" else [row.question]
        known = train[train.question.isin(same)]
        naming = known[~known.answer.isin([r.unknown for r in RELATIONS.values()])]
        chosen = naming if row.form == "open" and len(naming) else known
        said["constant"].append(chosen.answer.value_counts().sort_index().idxmax())
        likeness = [round(near(row.sequence, s), 5) for s in known.sequence]
        said["copyist"].append(known.answer.iloc[likeness.index(max(likeness))])
    answers = [all_answers(world)]
    for name, texts in said.items():
        found = [Answer(text, 1, "eos") for text in texts]
        answers.append(ablation.frame(world.run, world.asked, name, found))
    samples, ids, _ = ablation.score(pd.concat(answers), world.asked, world.pairs, ())
    table = bootstrap.score_table(samples, world.asked, ids, 10, 0).drop(columns=["run", "source"])
    for model, floor in (("constant", "floor.most_common"), ("copyist", "floor.nearest")):
        one, other = (table[table.model == name].reset_index(drop=True) for name in (model, floor))
        pd.testing.assert_frame_equal(one.assign(model=""), other.assign(model=""))
        assert 0 < len(one) and len(set(one[one.metric.str.startswith("fact")].value)) > 1


def test_minimal_pairs_follow_or_flip(world):
    site = RELATIONS["site"]
    minimal = pd.DataFrame(
        [("a", "site", "AAAA", "A27", "AAAC", "G159", "AAAG"),
         ("b", "site", "CCCC", "A27", "CCCA", "none", "CCCG")],
        columns=["rna_id", "relation", "sequence", "entity", "mutant", "mutant_entity", "neutral"],
    ).assign(rna_type=["C_D_box_snoRNA", "H_ACA_box_snoRNA"])  # fmt: skip
    says = {"AAAA": "A27", "AAAC": "G159", "AAAG": "A27", "CCCC": "A27", "CCCG": "G159"}
    chat = Parrot("IT", {s: {"site": e} for s, e in says.items()})
    asked = ablation.probe_questions(minimal)
    assert asked.sequence.tolist() == ["AAAA", "AAAC", "AAAG", "CCCC", "CCCA", "CCCG"]
    assert asked.pair_id.is_unique and set(asked.question) == {site.questions[0]}
    said = chat.ask("minimal pairs", asked.sequence, asked.question)
    table = ablation.follow(minimal, said, {"site": ["A27", "G159"]})
    assert table.sequence_answer[0] == site.say(["A27"])
    assert table.followed.tolist() == [True, False] and table.flipped.tolist() == [False, True]
    shares = ablation.shares(table, n=100)
    assert (shares["n"], shares["followed"], shares["flipped"]) == (2, 0.5, 0.5)
    ends = [shares[f"{name}_{end}"] for name in ("followed", "flipped") for end in ("low", "high")]
    assert ends == [0, 1, 0, 1]  # two RNAs, one of each: a draw has both, or one of them twice
    assert shares["by_type"] == {"C_D_box_snoRNA": 1, "H_ACA_box_snoRNA": 0}
    assert ablation.shares(table.head(0)) == {}
    world.run.params = Ablations(minimal_pairs=5)  # its RNAs are not the generated world's
    assert len(ablation.minimal_pairs(world.run, world.rnas, world.pairs)) == 0


def test_case_studies_stand_beside_what_is_true(world):
    studies = case_studies.ask_paper({})
    assert list(studies) == ["rna_id", "question", "paper", "sequence_says"]
    chosen = case_studies.choose(world.asked, 2)
    assert set(chosen.rna_id) == {"R3", "R4"} and set(chosen.form) == {"open"}
    table = case_studies.ask_rnas(world.chats, chosen, lexicon(world.pairs))
    right = dict(zip(chosen.pair_id, table.IT_right, strict=True))
    assert right["P30"] == right["P31"] == 1 and pd.isna(right["P41"])
    assert table.vanilla_right.dropna().eq(0).all()
    assert len(case_studies.ask_rnas(world.chats, case_studies.choose(world.asked, 0), {})) == 0
