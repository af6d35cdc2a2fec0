"""What is retrieved beside an answer, from the tables of a finished run."""

import subprocess

import pandas as pd
import pytest

from rnagpt_lib.chat import nearest
from rnagpt_lib.chat.retrieval import FOLDER, Retrieval
from rnagpt_lib.chat.retrieved_evidence import to_dict, to_markdown
from rnagpt_lib.core import paths, tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.splits import split
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.runs import stages
from tests.support import finished
from tests.support.tiny_model import TINY

TYPE, PROCESS = "What type of RNA is the RNA?", "Which process does the RNA regulate?"
FIELDS = ["rna_type", "species", "family"]


def encoder(seed: int = 0) -> Encoder:
    return Encoder.fresh(TINY, seed)


def copied(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A run's tables in which a training RNA is found in another species, too."""
    if name != "rnas":
        return frame
    one = frame[(frame.split == "train") & (frame.rna_type != "")].iloc[[0]]
    return pd.concat(
        [frame, one.assign(rna_id="MINI-R999999", species="Nova nova")], ignore_index=True
    )


@pytest.fixture
def run(own_runs):
    finished.made("mini", change=copied)
    return own_runs / "mini"


@pytest.fixture
def rnas(run) -> pd.DataFrame:
    return tables.read(run / finished.LAST / "rnas.parquet", "rnas")


def annotations(run) -> pd.DataFrame:
    return tables.read(run / finished.SUMMARIES / "annotations.parquet", "annotations")


def changed(run, stage: str, table: str, change) -> None:
    path = run / stage / f"{table}.parquet"
    tables.write(path, table, change(tables.read(path, table)))


def scored(one: str, other: str, identity: float) -> float:
    short, long = sorted((len(one), len(other)))
    return round(identity * (short / long) ** nearest.POWER, 6)


def test_near_is_what_a_loop_over_the_tables_finds(run, rnas):
    retrieval, notes = Retrieval.of("mini", encoder()), annotations(run)
    notes = notes[notes.source == "dnc"].sort_values("sentence_no")
    told = rnas.rna_id.isin(notes.rna_id) | (rnas[FIELDS] != "").any(axis=1)
    train = rnas[told & (rnas.split == "train")].drop_duplicates("sequence")
    for query in rnas[rnas.split == "test"].sequence.head(5):
        identity = [float(split.nearest_identity([query], [s])[0]) for s in train.sequence]
        score = [-scored(query, s, i) for s, i in zip(train.sequence, identity, strict=True)]
        best = sorted(range(len(train)), key=lambda place: (score[place], place))[:4]
        found = retrieval.near(query, 4)
        assert [one.identity for one in found] == [identity[place] for place in best]
        for one, place in zip(found, best, strict=True):
            same = train.iloc[place]
            assert same.rna_id in one.rna_ids
            assert (one.rna_type, one.family) == (same.rna_type, same.family)
            texts = list(dict.fromkeys(notes[notes.rna_id.isin(one.rna_ids)].text))
            assert sorted(each.text for each in one.sentences) == sorted(texts)
            cited = set().union(*notes[notes.rna_id.isin(one.rna_ids)].article_ids, set())
            assert {a for each in one.sentences for a in each.article_ids} <= cited


def test_one_sequence_is_one_neighbour_with_all_its_entries(run, rnas):
    copy = rnas[rnas.rna_id == "MINI-R999999"].iloc[0]
    found = Retrieval.of("mini", encoder()).near(copy.sequence, 5)
    first = found[0]
    assert first.identity == 1 and first.near and first.cosine == pytest.approx(1, abs=2e-3)
    assert first.rna_ids[-1] == "MINI-R999999" and len(first.rna_ids) == 2  # annotated ones first
    assert "Nova nova" in first.species.split(", ") and len(first.values["species"]) == 2
    assert len({one.rna_ids for one in found}) == 5


def test_only_training_rnas_that_tell_something(run, rnas):
    everything = set(Retrieval.of("mini", encoder()).nearest.sequences)
    assert everything == set(rnas[rnas.split == "train"].sequence)
    alone = rnas[(rnas.split == "train") & ~rnas.sequence.duplicated(keep=False)]
    told = alone[alone.rna_id.isin(annotations(run).rna_id)].rna_id
    silent, annotated, typed = told[:3], told[3:6], told[6:9]

    def without_fields(frame):
        frame.loc[frame.rna_id.isin([*silent, *annotated]), FIELDS] = ""
        return frame

    def without_texts(frame):
        return frame[~frame.rna_id.isin([*silent, *typed])]

    changed(run, finished.LAST, "rnas", without_fields)
    changed(run, finished.SUMMARIES, "annotations", without_texts)
    fewer = set(Retrieval.of("mini", encoder()).nearest.sequences)
    assert everything - fewer == set(alone[alone.rna_id.isin(silent)].sequence)


def test_the_second_start_reads_what_the_first_made(run, monkeypatch):
    first = Retrieval.of("mini", encoder())
    [file] = (run / FOLDER).iterdir()
    monkeypatch.setattr(Encoder, "in_batches", None)
    again = Retrieval.of("mini", encoder())
    assert again.nearest.vectors.vectors.equal(first.nearest.vectors.vectors)
    assert stages.is_fresh("mini", finished.LAST) is None  # it is no output of a stage
    inside = paths.root() / "runs" / "mini" / FOLDER / file.name
    command = ["git", "-C", str(paths.root()), "check-ignore", "-q", str(inside)]
    assert subprocess.run(command).returncode == 0


def test_a_damaged_index_is_made_again(run, rnas, capsys):
    query = rnas[rnas.split == "test"].sequence.iloc[0]
    before = Retrieval.of("mini", encoder()).near(query)
    [file] = (run / FOLDER).iterdir()
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert Retrieval.of("mini", encoder()).near(query) == before
    assert "is damaged" in capsys.readouterr().out


def test_a_model_over_another_encoder_has_an_index_of_its_own(run, rnas):
    query = rnas[rnas.split == "test"].sequence.iloc[0]
    one = Retrieval.of("mini", encoder())
    wider = Encoder.fresh({**TINY, "embed_dim": 32}, seed=5)
    other = Retrieval.of("mini", wider)
    assert len(list((run / FOLDER).iterdir())) == 2
    assert other.nearest.vectors.vectors.shape[1] == 32
    assert one.near(query, 1)[0].cosine != other.near(query, 1)[0].cosine


@pytest.mark.parametrize("stage", [finished.SUMMARIES, finished.LAST])
def test_a_stage_that_is_missing_is_named_with_its_command(run, stage):
    (run / stage / "manifest.json").unlink()
    with pytest.raises(InputError, match=f"no finished {stage}.*rnagpt run {stage}.*--run mini"):
        Retrieval.of("mini", encoder())


def test_tables_that_are_missing_or_broken_are_named(run):
    path = run / finished.SUMMARIES / "annotations.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(InputError, match="annotations.parquet is no readable parquet"):
        Retrieval.of("mini", encoder())
    pd.DataFrame({"rna_id": ["R1"]}).to_parquet(path)
    with pytest.raises(InputError, match="annotations"):
        Retrieval.of("mini", encoder())
    path.unlink()
    with pytest.raises(InputError, match="annotations.parquet is missing"):
        Retrieval.of("mini", encoder())
    with pytest.raises(InputError, match="run id"):
        Retrieval.of("../mini", encoder())


def test_a_run_with_nothing_to_tell_is_refused(run):
    changed(
        run, finished.LAST, "rnas", lambda frame: frame.assign(rna_type="", family="", species="")
    )
    changed(run, finished.SUMMARIES, "annotations", lambda frame: frame[:0])
    with pytest.raises(InputError, match="no training RNA with an annotation or a field"):
        Retrieval.of("mini", encoder())


def test_sentences_are_of_the_runs_own_source(own_runs):
    finished.made("one", last={"source": "single_pass"})
    retrieval = Retrieval.of("one", encoder())
    notes = annotations(own_runs / "one")
    own = set(notes[notes.source == "single_pass"].text)
    rnas = retrieval.rnas[retrieval.rnas.split == "test"]
    found = [
        s.text for q in rnas.sequence.head(6) for one in retrieval.near(q) for s in one.sentences
    ]
    assert found and set(found) <= own


def test_beside_knows_an_rna_by_its_id_or_its_sequence(run, rnas):
    retrieval = Retrieval.of("mini", encoder())
    known = rnas[(rnas.split == "test") & (rnas.rna_type != "")].iloc[0]
    wrong = next(t for t in rnas.rna_type if t not in ("", known.rna_type))
    claim = (
        f"The generated world gives this RNA the type {known.rna_type}; the answer says {wrong}."
    )
    answer = f"The RNA is of the type {wrong}."
    for rna_id in (known.rna_id, None, "someone-else"):
        assert claim in retrieval.beside(known.sequence, TYPE, answer, rna_id).statements
    dna = known.sequence.replace("U", "t")
    assert claim in retrieval.beside(dna, TYPE, answer).statements
    other = rnas[rnas.sequence != known.sequence].rna_id.iloc[0]
    first, *rest = retrieval.beside(known.sequence, TYPE, answer, other).statements
    assert first.startswith(f"{other} has another sequence") and claim in rest
    right = retrieval.beside(known.sequence, TYPE, f"The RNA is of the type {known.rna_type}.")
    assert not any("the answer" in each and "guess" not in each for each in right.statements)


def test_of_one_sequence_in_two_species_an_id_tells_which(run, rnas):
    retrieval = Retrieval.of("mini", encoder())
    copy = rnas[rnas.rna_id == "MINI-R999999"].iloc[0]
    first = rnas[(rnas.sequence == copy.sequence) & (rnas.rna_id != copy.rna_id)].iloc[0]
    asked = (copy.sequence, "Which species is the RNA from?")
    answer = f"The RNA belongs to the species {first.species}."
    [said] = retrieval.beside(*asked, answer, copy.rna_id).statements
    assert said.startswith("The generated world gives this RNA the species Nova nova;")
    assert "cannot tell" in said and first.species in said
    assert not retrieval.beside(*asked, answer, first.rna_id).statements
    assert not retrieval.beside(*asked, answer).statements


def test_a_stranger_is_told_to_be_one(run):
    beside = Retrieval.of("mini", encoder()).beside("A" * 60, TYPE, "The RNA is of the type tRNA.")
    assert "No RNA of the training set is similar" in beside.statements[-1]
    assert len(beside.neighbours) == 3 and not any(one.near for one in beside.neighbours)
    assert "which chance reaches" in to_markdown(beside)


@pytest.mark.parametrize("sequence", ["", "ACGU", "MKVLILACLVALALARE"])
def test_what_is_no_rna_is_refused(run, sequence):
    with pytest.raises(InputError):
        Retrieval.of("mini", encoder()).near(sequence)


def test_sentences_that_bear_on_the_question_come_first(run, rnas):
    retrieval = Retrieval.of("mini", encoder())
    train = rnas[(rnas.split == "train") & rnas.rna_id.isin(annotations(run).rna_id)]
    late = 0
    for one in train.itertuples():
        plainly = retrieval.near(one.sequence, 1)[0].sentences
        shown = retrieval.beside(one.sequence, PROCESS, "It regulates splicing.", k=1).neighbours[0]
        only = retrieval.only(one.sequence, PROCESS, k=1).neighbours
        assert sorted(shown.sentences, key=str) == sorted(plainly, key=str)
        about = only[0].sentences if only and len(only[0].sentences) < len(plainly) else ()
        assert shown.sentences[: len(about)] == about
        late += shown.sentences != plainly
    assert late  # some order was another


def test_an_answer_by_retrieval_alone(run, rnas):
    retrieval = Retrieval.of("mini", encoder())
    one = rnas[(rnas.split == "train") & (rnas.rna_type != "")].iloc[1]
    typed = retrieval.only(one.sequence, TYPE, k=1)
    assert typed.statements[0].endswith(f"(100 % identical) has the type {one.rna_type}.")
    assert not typed.neighbours[0].sentences
    nobody = retrieval.only("A" * 60, TYPE)
    assert not nobody.neighbours and "so nothing is retrieved" in nobody.statements[0]
    free = retrieval.only(one.sequence, "Tell me about it.", k=1)
    assert free.neighbours == tuple(retrieval.near(one.sequence, 1)) and not free.statements


def test_hostile_annotations_stay_text(run, rnas):
    evil = "<script>alert(1)</script> [x](http://evil) ![i](http://evil/i.png) **b**"
    changed(run, finished.SUMMARIES, "annotations", lambda frame: frame.assign(
        text=evil, article_ids=[["1)](http://evil", "12345"]] * len(frame)))  # fmt: skip
    told = annotations(run).rna_id
    query = rnas[(rnas.split == "train") & rnas.rna_id.isin(told)].sequence.iloc[0]
    beside = Retrieval.of("mini", encoder()).beside(query, PROCESS, "It regulates <b>all</b>.")
    text = to_markdown(beside)
    assert "<script" not in text and "<b>" not in text and "\\[x\\](http\\://evil)" in text
    assert text.count("](") == text.count("[PMID 12345](https://pubmed") + text.count("\\](")
    assert to_dict(beside)["neighbours"][0]["sentences"][0]["text"] == evil
