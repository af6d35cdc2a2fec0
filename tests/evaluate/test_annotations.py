"""MA on its own task: targets as pairs, copies score 1, floors of the training side."""

from types import SimpleNamespace

import pandas as pd
import pytest

from rnagpt_lib.chat.decoding import Answer
from rnagpt_lib.core import bootstrap
from rnagpt_lib.core import tables as contracts
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Ablations
from rnagpt_lib.evaluate import ablation, evidence, questions, results
from rnagpt_lib.report.tables import annotations_table

TOLD = [  # the second sentence first: they are joined by their numbers
    ("R0", "dnc", 1, "This RNA is associated with glioma.", ["A0"]),
    ("R0", "dnc", 0, "This RNA binds HuR.", ["A1"]),
    ("R0", "given", 0, "Of another source.", ["A9"]),
    ("R1", "dnc", 0, "This RNA is associated with asthma.", []),
    ("R2", "dnc", 0, "This RNA is associated with asthma.", []),
    ("R3", "dnc", 0, "This RNA is associated with glioma.", ["A0", "A3"]),
]


@pytest.fixture
def world(tables):
    rnas, pairs = tables
    annotations = pd.DataFrame(TOLD, columns=list(contracts.COLUMNS["annotations"]))
    targets = ablation.annotation_targets(annotations, pairs)
    return SimpleNamespace(
        rnas=rnas.assign(species=""), pairs=pairs, annotations=annotations, targets=targets,
        asked=questions.questions(rnas, targets),
    )  # fmt: skip


class Writer:
    """In place of MA: knows what to write by heart."""

    name, hash, device, max_new_tokens = "MA", "0", "cpu", 9

    def __init__(self, known):
        self.known, self.asked = known, 0

    def annotate_all(self, sequences, batch_size, keep):
        def make(missing):
            for batch in missing:
                self.asked += len(batch)
                yield [Answer(self.known[sequences[i]], 3, "eos") for i in batch]

        [found] = keep([list(range(len(sequences)))], make)
        return found


@pytest.fixture
def written(world, tmp_path, monkeypatch):
    known = dict(zip(world.asked.sequence, world.asked.reference, strict=True))
    world.chat = Writer(known)
    monkeypatch.setattr(ablation, "load_model", lambda run, name, tokens: world.chat)
    world.run = SimpleNamespace(id="r", seed=0, params=Ablations(), folder=tmp_path)
    return ablation.write_annotations(world.run, world.asked, world.rnas, world.targets)


def test_targets_are_what_stage_1_learns_and_whence(world):
    rows = world.targets.set_index("rna_id")
    assert rows.answer["R0"] == "This RNA binds HuR. This RNA is associated with glioma."
    assert rows.article_ids["R0"] == ["A0", "A1"] and rows.article_ids["R1"] == []
    assert rows.answer["R4"] == "The RNA is of the type snRNA."  # no literature
    assert "R5" not in rows.index and rows.pair_id.is_unique and set(rows.question) == {""}


def test_every_rna_of_the_test_side_is_asked_once_and_no_fact_is_asked(world):
    assert list(world.asked.rna_id) == ["R3", "R4"]
    assert list(world.asked.stratum) == ["seen", "held_out"]
    assert world.asked.entity.isna().all() and world.asked.relation.isna().all()


def test_floors_write_annotations_of_the_training_side(world, written):
    texts = written.pivot(index="rna_id", columns="model", values="prediction")
    assert set(texts) == {"MA", *results.FLOORS}
    of_training = {text for _, _, _, text, _ in TOLD[3:5]} | {world.targets.answer[0]}
    assert set(texts[[*results.FLOORS]].to_numpy().ravel()) <= of_training
    assert set(texts["floor.most_common"]) == {"This RNA is associated with asthma."}
    assert texts.loc["R3", "floor.nearest"] == world.targets.answer[0]
    assert texts.loc["R4", "floor.nearest"] == "This RNA is associated with asthma."


def test_writing_that_was_stopped_goes_on(world, written, capsys):
    again = ablation.write_annotations(world.run, world.asked, world.rnas, world.targets)
    pd.testing.assert_frame_equal(again, written)
    assert world.chat.asked == len(world.asked) and "kept" in capsys.readouterr().out


def test_a_copy_of_the_reference_is_perfect_and_the_table_has_the_floors(world, written, tmp_path):
    entities = evidence.Entities.of(world.rnas, world.pairs)
    articles = contracts.frame("articles", [])
    told = evidence.gather(
        entities, world.asked, world.rnas, world.targets, world.annotations, articles
    )
    samples, ids, _ = ablation.score(written, world.asked, world.pairs, (), told)
    assert not samples.metric.str.startswith("fact").any()
    table = bootstrap.score_table(samples, world.asked, ids, 100, 0)
    contracts.write(tmp_path / "annotations_written.parquet", "answers", written)
    contracts.write(tmp_path / "annotations_scored.parquet", "scores", table)
    found = results.Results("r", tmp_path, written, table, pd.DataFrame(), {})
    shown = annotations_table(found)
    assert list(shown.index) == ["MA", *results.FLOORS]
    for column in ("ROUGE-1", "ROUGE-2", "ROUGE-L", "evidence.precision", "evidence.recall"):
        assert shown.loc["MA", column].startswith("1.00 [1.00, 1.00]")
    assert shown.loc["MA", "evidence.unsupported"] == "0.00 [0.00, 0.00] n=2"
    assert shown.loc["floor.most_common", "evidence.recall"].startswith("0.00")
    assert shown.words["floor.most_common"] == "6"


def test_a_run_without_annotations_says_so(tmp_path):
    found = results.Results("r", tmp_path, None, None, pd.DataFrame(), {})
    with pytest.raises(InputError, match="annotations_written.parquet is missing"):
        annotations_table(found)
