"""What is retrieved for an answer, from the tables of a finished run, and what it says against it."""

import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rnagpt_lib.chat import retrieval as module
from rnagpt_lib.chat.retrieval import Nearest, Retrieval, agree, describe, listed
from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.sequences import dinucleotide_shuffle
from rnagpt_lib.curate.splits import split
from tests.support import finished

TYPE, FAMILY = "What type of RNA is the RNA?", "What is the family of the RNA?"
SPECIES, PROCESS = "Which species is the RNA from?", "Which process does the RNA regulate?"
FIELDS = ["rna_type", "species", "family"]


def scored(one: str, other: str) -> float:
    short, long = sorted((len(one), len(other)))
    identity = float(split.nearest_identity([one], [other])[0])
    return round(identity * (short / long) ** module.POWER, 6)


# --- the nearest


def mutated(rng: random.Random, sequence: str) -> str:
    return "".join(rng.choice("ACGU") if rng.random() < 0.2 else c for c in sequence)


@pytest.fixture(scope="module")
def families() -> tuple[list[str], list[str]]:
    """Members of 20 families, and an RNA of each that is not among them."""
    rng = random.Random(0)
    parents = ["".join(rng.choices("ACGU", k=rng.randint(60, 120))) for _ in range(20)]
    members = [mutated(rng, parent) for parent in parents for _ in range(6)]
    return list(dict.fromkeys(members)), [mutated(rng, parent) for parent in parents]


@pytest.fixture(scope="module")
def index(families) -> Nearest:
    return Nearest(families[0])


def test_it_is_what_a_loop_over_all_finds(index, families):
    for sequence in [*families[1][:6], families[0][7], "GGCUAGCUCAAUCGG"]:
        hits, chance = index.find(sequence, 4)
        every = [(-scored(sequence, target), row) for row, target in enumerate(index.sequences)]
        assert [(-hit.score, hit.row) for hit in hits] == sorted(every)[:4]
        for hit in hits:
            [identity] = split.nearest_identity([sequence], [index.sequences[hit.row]])
            assert hit.identity == float(identity)
        rng = random.Random(sequence)
        strangers = [dinucleotide_shuffle(sequence, rng) for _ in range(module.DRAWS)]
        assert chance == max(scored(one, other) for one in strangers for other in index.sequences)
        assert index.find(sequence, 4) == (hits, chance)
    assert len(index.find(families[1][0], 10_000)[0]) == len(families[0])


def test_kin_is_nearer_than_chance_and_strangers_are_not(index, families):
    rng = random.Random(1)
    strangers = ["".join(rng.choices("ACGU", k=90)) for _ in range(20)]
    kin, none = ([index.find(each, 1) for each in some] for some in (families[1], strangers))
    assert all(hits[0].score > chance for hits, chance in kin)
    assert sum(hits[0].score > chance for hits, chance in none) <= 4  # 1 is expected
    [hit], chance = index.find("A" * 40, 1)
    assert chance == hit.score, "the simplest of letters are near to nothing"


def test_of_many_those_with_common_words_are_aligned(index, families, monkeypatch):
    aligned = []
    real = module.identity_of

    def counting(one, other, *least):
        aligned.append(other)
        return real(one, other, *least)

    monkeypatch.setattr(module, "ALIGNED", 12)
    monkeypatch.setattr(module, "identity_of", counting)
    for number, sequence in enumerate(families[1]):
        aligned.clear()
        assert index.find(sequence, 1)[0][0].row // 6 == number  # of its own family
        assert len(aligned) <= 12 + module.DRAWS * 12
    assert index._promising(90, np.tile([0.2, 0.7, 0.1], 40))[:3].tolist() == [1, 4, 7]
    monkeypatch.setattr(module, "ALIGNED", 1000)
    monkeypatch.setattr(module, "CELLS", 90 * 90 * 20.0)
    shared = np.random.default_rng(0).random(len(index.sequences))
    few, many = (index._promising(length, shared) for length in (5000, 90))
    assert len(few) == module.LEAST < len(many) < len(index.sequences)
    assert list(few) == list(np.argsort(-shared)[: len(few)])


# --- what an answer says against the fields of the RNA, or of those near it

ROWS = [
    ("pre_miRNA", "Homo sapiens", "mir-1", "train"),
    ("tRNA", "Mus musculus", "tRNA-M1", "train"),
    ("lncRNA", "Homo sapiens", "", "train"),
    ("C_D_box_snoRNA", "Mus musculus", "U3", "train"),
    ("rRNA", "Danio rerio", "5S", "test"),
]


@pytest.fixture(scope="module")
def world() -> Retrieval:
    rows = pd.DataFrame(ROWS, columns=[*FIELDS, "split"])
    rows["sequence"] = [letters * 5 for letters in ("GGA", "CCA", "GGU", "CCU", "GCA")]
    rows["rna_id"] = [f"MINI-R00000{i}" for i in range(5)]
    annotations = pa.Table.from_pandas(tables.frame("annotations", []))
    return Retrieval(rows, annotations, Nearest(list(rows.sequence[:4])))


def entry(rna_id="MINI-R000001", identity=1.0, **fields) -> dict:
    given = {name: fields.get(name, []) for name in FIELDS}
    values = {name: [one] if isinstance(one, str) else list(one) for name, one in given.items()}
    about = {"identity": identity, "near": identity > 0.6, "sentences": []}
    return {"rna_ids": [rna_id], **values, **about}


def near(identity=0.8, **fields) -> dict:
    return entry("MINI-R000009", identity, **fields)


OWN = entry(rna_type="pre_miRNA", family="mir-1", species="Homo sapiens")


def test_no_false_alarm(world):
    for question, answer in (
        (TYPE, "The RNA is of the type pre_miRNA."),
        (TYPE, "It is a PRE_MIRNA."),
        (TYPE, "It is not a tRNA but a pre_miRNA."),
        (TYPE, "The type of the RNA is unknown."),
        (TYPE, "Not sure. It could be a TRNA, though."),
        (TYPE, "I think it may be a tRNA fragment."),
        (TYPE, "It is a pre_miRNA, unlike a tRNA."),
        (TYPE, ""),
        ("Is the RNA of the type tRNA?", "No, the RNA is not of the type tRNA."),
        ("Is the RNA of the type tRNA?", "No."),
        ("Is the RNA of the type pre_miRNA?", "Yes."),
        ("Is the RNA of the type tRNA?", "Perhaps."),
        (FAMILY, "The RNA belongs to the family mir-1."),
        (PROCESS, "The RNA is charged by a tRNA synthetase, as a tRNA is."),
        ("Tell me more.", "It binds tRNA and rRNA."),
        ("Tell me more.", "The RNA is of the type pre_miRNA. It is found near tRNA genes."),
        ("Tell me more.", "The RNA is of the type of things that one likes."),
    ):
        assert not list(world.statements(question, answer, OWN, [near(rna_type="tRNA")])), answer


def test_contradictions_of_the_rnas_own_fields_are_found(world):
    for question, answer, says in (
        (TYPE, "It is a tRNA.", "the type pre_miRNA; the answer says tRNA."),
        (TYPE, "Not sure. It is a TRNA, though.", "says tRNA."),
        ("Is the RNA of the type tRNA?", "Yes.", "says tRNA."),
        ("Is the RNA of the type tRNA?", "yes, the RNA is of the type tRNA.", "says tRNA."),
        ("Is the RNA of the type pre_miRNA?", "No.", "the type pre_miRNA; the answer denies it."),
        ("Is the RNA of the type rRNA?", "No, it is a tRNA.", ""),
        (FAMILY, "The RNA belongs to the family tRNA-M1.", "the family mir-1; the answer says"),
        (SPECIES, "The RNA belongs to the species Danio rerio.", "the species Homo sapiens;"),
        ("Tell me more.", "The RNA is of the type tRNA. It regulates splicing.", "says tRNA."),
    ):
        said = list(world.statements(question, answer, OWN, [near()]))
        if says:
            assert len(said) == 1 and says in said[0], (answer, said)
            assert said[0].startswith("The generated world gives this RNA the ")
    for rna_id, owner in (("URS0000000001_9606", "RNAcentral"), ("URSULA", "The run's table")):
        [said] = world.statements(TYPE, "A tRNA.", entry(rna_id, rna_type="rRNA"), [near()])
        assert said.startswith(f"{owner} gives this RNA the type rRNA")


def test_near_ones_that_agree_speak_against_an_answer(world):
    two = [near(0.71, rna_type="tRNA"), near(0.84, rna_type="tRNA")]
    wrong = "The RNA is of the type pre_miRNA."
    assert list(world.statements(TYPE, wrong, None, two)) == [
        "The 2 nearest RNAs have the type tRNA (MINI-R000009 of a generated world is 84 % "
        "identical); the answer says pre_miRNA."
    ]
    assert not list(world.statements(TYPE, "The RNA is of the type tRNA.", None, two))
    [said] = world.statements("Is the RNA of the type tRNA?", "No, it is not.", None, two)
    assert said.endswith("the answer denies it.")
    for others in (
        [near(rna_type="tRNA"), near(rna_type="lncRNA")],  # they disagree
        [near(rna_type=("tRNA", "lncRNA"))],
        [near()],  # or do not know
        [near(species="Mus musculus")],  # or know what a sequence cannot tell
    ):
        assert not list(world.statements(TYPE, wrong, None, others))
        assert not list(world.statements(SPECIES, "From Homo sapiens.", None, others))
    of_test_side = "The RNA is of the type rRNA."  # no training RNA is one
    assert not list(world.statements(TYPE, of_test_side, None, two))


def test_nothing_near_is_said_and_what_is_known_is_no_guess(world):
    far = [near(0.52, rna_type="lncRNA")]
    nearest = "(the nearest one is 52 % identical, which chance reaches)"
    [said] = world.statements(TYPE, "A tRNA.", None, far)
    guess = "take the answer as a guess"
    assert said == f"No RNA of the training set is similar {nearest}; {guess}."
    [said] = world.statements(TYPE, "A pre_miRNA.", OWN, far)
    assert said == f"No RNA of the training set is similar {nearest}."


def test_which_values_exclude_each_other():
    for one, other, expected in (
        ("snoRNA", "C_D_box_snoRNA", True), ("lncRNA", "antisense_lncRNA", True),
        ("ribozyme", "RNase_P_RNA", True), ("ribozyme", "tRNA", False), ("misc_RNA", "tRNA", True),
        ("RNase_P_RNA", "RNase_MRP_RNA", False), ("tRNA", "rRNA", False),
        ("pre_miRNA", "precursor_RNA", True), ("mir-1", "mir-10", False),
        ("Minia tertia", "minia_TERTIA", True),
    ):  # fmt: skip
        assert agree(one, other) == agree(other, one) == expected, (one, other)


# --- the tables of a run


def with_a_copy(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A run's tables in which a training RNA is found in another species, too."""
    if name != "rnas":
        return frame
    one = frame[(frame.split == "train") & (frame.rna_type != "")].iloc[[0]]
    copy = one.assign(rna_id="MINI-R999999", species="Nova nova")
    return pd.concat([frame, copy], ignore_index=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a finished run, made once."""
    runs = tmp_path_factory.mktemp("retrieval")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RNAGPT_RUNS", str(runs))
        finished.made("mini", change=with_a_copy)
    return runs / "mini"


@pytest.fixture(scope="module")
def retrieval(whole) -> Retrieval:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RNAGPT_RUNS", str(whole.parent))
        return Retrieval.of("mini")


@pytest.fixture(scope="module")
def rnas(whole) -> pd.DataFrame:
    return tables.read(whole / finished.LAST / "rnas.parquet", "rnas")


@pytest.fixture
def run(whole, own_runs):
    """A copy, to do with as a test likes."""
    return Path(shutil.copytree(whole, own_runs / "mini"))


def annotations(run) -> pd.DataFrame:
    return tables.read(run / finished.SUMMARIES / "annotations.parquet", "annotations")


def change(run, stage: str, table: str, change) -> None:
    path = run / stage / f"{table}.parquet"
    tables.write(path, table, change(tables.read(path, table)))


def test_near_is_what_a_loop_over_the_tables_finds(whole, retrieval, rnas):
    notes = annotations(whole)
    notes = notes[notes.source == "dnc"].sort_values("sentence_no")
    told = rnas.rna_id.isin(notes.rna_id) | (rnas[FIELDS] != "").any(axis=1)
    train = rnas[told & (rnas.split == "train")].drop_duplicates("sequence")
    for query in rnas[rnas.split == "test"].sequence.head(5):
        score = [-scored(query, other) for other in train.sequence]
        best = sorted(range(len(train)), key=lambda place: (score[place], place))[:4]
        for one, place in zip(retrieval.near(query, 4), best, strict=True):
            same = train.iloc[place]
            assert same.rna_id in one["rna_ids"]
            assert (listed(one["rna_type"]), listed(one["family"])) == (same.rna_type, same.family)
            own = notes[notes.rna_id.isin(one["rna_ids"])]
            texts = [sentence["text"] for sentence in one["sentences"]]
            assert sorted(texts) == sorted(own.text.unique())
            cited = {article for s in one["sentences"] for article in s["article_ids"]}
            assert cited <= set().union(*own.article_ids, set())
    copy = rnas[rnas.rna_id == "MINI-R999999"].iloc[0]
    found = retrieval.near(copy.sequence.replace("U", "t"), 5)  # as DNA
    assert found[0]["identity"] == 1 and found[0]["near"]
    assert found[0]["rna_ids"][-1] == "MINI-R999999" and len(found[0]["rna_ids"]) == 2
    assert "Nova nova" in found[0]["species"] and len(found[0]["species"]) == 2
    for sequence in ("", "ACGU", "MKVLILACLVALALARE"):
        with pytest.raises(InputError):
            retrieval.near(sequence)


def test_only_training_rnas_that_tell_something(run, retrieval, rnas):
    everything = set(retrieval.nearest.sequences)
    assert everything == set(rnas[rnas.split == "train"].sequence)
    alone = rnas[(rnas.split == "train") & ~rnas.sequence.duplicated(keep=False)]
    told = alone[alone.rna_id.isin(annotations(run).rna_id)].rna_id
    silent, annotated, typed = told[:3], told[3:6], told[6:9]

    def without_fields(frame):
        frame.loc[frame.rna_id.isin([*silent, *annotated]), FIELDS] = ""
        return frame

    change(run, finished.LAST, "rnas", without_fields)
    without_texts = [*silent, *typed]
    change(run, finished.SUMMARIES, "annotations", lambda frame: frame[
        ~frame.rna_id.isin(without_texts)])  # fmt: skip
    fewer = set(Retrieval.of("mini").nearest.sequences)
    assert everything - fewer == set(alone[alone.rna_id.isin(silent)].sequence)
    change(run, finished.LAST, "rnas", lambda frame: frame.assign(**dict.fromkeys(FIELDS, "")))
    change(run, finished.SUMMARIES, "annotations", lambda frame: frame[:0])
    with pytest.raises(InputError, match="no training RNA with an annotation or a field"):
        Retrieval.of("mini")


def test_tables_that_are_missing_or_broken_are_named(run):
    path = run / finished.SUMMARIES / "annotations.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(InputError, match="annotations.parquet is no readable parquet"):
        Retrieval.of("mini")
    pd.DataFrame({"rna_id": ["R1"]}).to_parquet(path)
    with pytest.raises(InputError, match="annotations"):
        Retrieval.of("mini")
    path.unlink()
    with pytest.raises(InputError, match="annotations.parquet is missing"):
        Retrieval.of("mini")
    for stage in (finished.SUMMARIES, finished.LAST):
        (run / stage / "manifest.json").unlink()
        says = f"no finished {stage}.*rnagpt run {stage}.*--run mini"
        with pytest.raises(InputError, match=says):
            Retrieval.of("mini")
    with pytest.raises(InputError, match="run id"):
        Retrieval.of("../mini")


def test_sentences_are_of_the_runs_own_source(own_runs):
    finished.made("one", last={"source": "single_pass"})
    retrieval = Retrieval.of("one")
    notes = annotations(own_runs / "one")
    own = set(notes[notes.source == "single_pass"].text)
    test = retrieval.rnas[retrieval.rnas.split == "test"].sequence.head(6)
    found = [s["text"] for q in test for one in retrieval.near(q) for s in one["sentences"]]
    assert found and set(found) <= own


def test_an_rna_is_known_by_its_id_or_its_sequence(retrieval, rnas):
    known = rnas[(rnas.split == "test") & (rnas.rna_type != "")].iloc[0]
    wrong = next(t for t in rnas.rna_type if t not in ("", known.rna_type))
    claim = (
        f"The generated world gives this RNA the type {known.rna_type}; the answer says {wrong}."
    )
    asked = (TYPE, f"The RNA is of the type {wrong}.")
    for rna_id in (known.rna_id, None, "someone-else"):
        assert claim in retrieval.retrieve(known.sequence, *asked, rna_id)["statements"]
    other = rnas[rnas.sequence != known.sequence].rna_id.iloc[0]
    first, *rest = retrieval.retrieve(known.sequence, *asked, other)["statements"]
    assert first.startswith(f"{other} has another sequence") and claim in rest
    right = (TYPE, f"The RNA is of the type {known.rna_type}.")
    said = retrieval.retrieve(known.sequence, *right)["statements"]
    assert not any("the answer" in each and "guess" not in each for each in said)
    # of one sequence in two species an id tells which
    copy = rnas[rnas.rna_id == "MINI-R999999"].iloc[0]
    first = rnas[(rnas.sequence == copy.sequence) & (rnas.rna_id != copy.rna_id)].iloc[0]
    asked = (copy.sequence, SPECIES, f"The RNA belongs to the species {first.species}.")
    [said] = retrieval.retrieve(*asked, copy.rna_id)["statements"]
    assert said.startswith("The generated world gives this RNA the species Nova nova;")
    assert not retrieval.retrieve(*asked, first.rna_id)["statements"]
    assert not retrieval.retrieve(*asked)["statements"]


def test_a_stranger_is_told_to_be_one(retrieval):
    stranger = "".join(random.Random(5).choices("ACGU", k=60))
    found = retrieval.retrieve(stranger, TYPE, "The RNA is of the type tRNA.")
    assert "No RNA of the training set is similar" in found["statements"][-1]
    assert len(found["neighbours"]) == 3 and not any(one["near"] for one in found["neighbours"])
    assert "which chance reaches" in describe(found["neighbours"][0])[0]
    assert listed("abcde") == "a, b, c and 2 more" and listed(()) == ""


@pytest.mark.parametrize(
    "sequence",
    ["A" * 200, "GU" * 500, "AU" * 6, "CUG" * 40, "N" * 30, "GGA" + "A" * 300 + "UCC",
     "A" * 60 + "U" * 60, "A" * 100 + "GGCUAGCUCAAUCGGUAGAGC" + "A" * 100],
)  # fmt: skip
def test_low_complexity_is_said_and_has_no_neighbour(retrieval, sequence):
    for answer in ("The RNA is of the type tRNA.", "Nothing.", None):
        found = retrieval.retrieve(sequence, TYPE, answer)
        assert not found["neighbours"] and len(found["statements"]) == 1
        assert found["statements"][0].startswith("The sequence is of low complexity, and RNAs that")


def test_of_low_complexity_it_is_like_itself_alone(rnas):
    own, frame = "A" * 80, rnas.head(40).copy()
    frame.loc[frame.index[0], ["sequence", "split", "rna_type"]] = [own, "train", "tRNA"]
    annotations = pa.table({name: pa.array([], kind) for name, kind in (
        ("rna_id", pa.string()), ("sentence_no", pa.int64()), ("text", pa.string()),
        ("article_ids", pa.list_(pa.string())),
    )})  # fmt: skip
    train = frame[frame.split == "train"].sequence.unique().tolist()
    found = Retrieval(frame, annotations, Nearest(train))
    assert [(one["identity"], one["near"]) for one in found.near(own)] == [(1.0, True)]
    assert not found.near(own[:-1])


def test_sentences_that_bear_on_the_question_come_first_and_alone(whole, retrieval, rnas):
    train = rnas[(rnas.split == "train") & rnas.rna_id.isin(annotations(whole).rna_id)][:20]
    late = 0
    for one in train.itertuples():
        plainly = retrieval.near(one.sequence, 1)[0]["sentences"]
        [first] = retrieval.retrieve(one.sequence, PROCESS, "It regulates splicing.", k=1)[
            "neighbours"
        ]
        alone = retrieval.answer(one.sequence, PROCESS, k=1)["neighbours"]
        assert sorted(first["sentences"], key=str) == sorted(plainly, key=str)
        about = alone[0]["sentences"] if alone else []
        assert first["sentences"][: len(about)] == about
        late += first["sentences"] != plainly
    assert late  # some order was another


def test_an_answer_without_a_model(retrieval, rnas):
    one = rnas[(rnas.split == "train") & (rnas.rna_type != "")].iloc[1]
    typed = retrieval.answer(one.sequence, TYPE, k=1)
    assert typed["statements"][0].endswith(f"(100 % identical) has the type {one.rna_type}.")
    assert not typed["neighbours"][0]["sentences"]
    nobody = retrieval.retrieve("A" * 60, TYPE, None)  # no answer is to be commented
    assert not nobody["neighbours"] and "so nothing is retrieved" in nobody["statements"][0]
    free = retrieval.answer(one.sequence, "Tell me about it.", k=1)
    assert free["neighbours"] == retrieval.near(one.sequence, 1) and not free["statements"]
