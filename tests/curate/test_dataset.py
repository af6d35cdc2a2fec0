"""The data set's tables: the world, users' files with their faults, the filter, the card."""

import doctest
import gzip
import importlib
import random
import signal
import subprocess
import sys

import pandas as pd
import pytest

from benchmarks.science import real_data
from rnagpt_lib.core import paths, tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import sha256
from rnagpt_lib.core.params import Decompose, Filter
from rnagpt_lib.core.tables import COLUMNS, frame
from rnagpt_lib.curate import dataset
from rnagpt_lib.curate.questions import qa_rules
from rnagpt_lib.curate.sources import filter, user_files
from rnagpt_lib.curate.splits import split
from rnagpt_lib.miniature import world
from rnagpt_lib.runs import run
from rnagpt_lib.runs.run import Run
from tests.support.curated import curated, tables_of

FASTA = ">a first\nACGUACGUACGU\n>b second\nGGGGCCCCAAAAUUUU\n"
ARTICLE = '{"id": "A1", "title": "T", "abstract": "b binds HuR.", "year": 2020}\n'


@pytest.fixture
def load(tmp_path):
    """Load files made of texts: ``load(fasta=…, table=…, articles=…, links=…)``."""

    def loaded(**texts):
        names = {"fasta": "r.fasta", "table": "r.tsv", "articles": "a.jsonl", "links": "l.jsonl"}
        given = {}
        for part, text in texts.items():
            given[part] = str(tmp_path / names[part])
            data = text if isinstance(text, bytes) else text.encode()
            (tmp_path / names[part]).write_bytes(data)
        return curated(Filter(input="files", **given), 0, tmp_path / "made")

    return loaded


def test_the_world_repeats_with_its_seed(tmp_path):
    data = curated(Filter(world_size=40), 2, tmp_path / "one")
    assert len(data.rnas) == 40 and data.dropped.empty
    again = curated(Filter(world_size=40), 2, tmp_path / "again")
    for table in ("rnas", "articles", "links", "dropped", "truth", "topics_truth"):
        assert getattr(data, table).equals(getattr(again, table))


def test_nothing_vanishes_without_a_row(tmp_path):
    whole = curated(Filter(world_size=60), 1, tmp_path / "whole")
    data = curated(Filter(world_size=60, max_length=80), 1, tmp_path / "part")
    lost = set(whole.rnas["rna_id"]) - set(data.rnas["rna_id"])
    unread = set(whole.articles["article_id"]) - set(data.articles["article_id"])
    assert lost and unread and set(data.dropped["record"]) == lost | unread
    assert data.rnas["length"].max() <= 80
    assert set(data.truth["rna_id"]) <= set(data.rnas["rna_id"])
    assert set(data.links["article_id"]) == set(data.articles["article_id"])


def test_the_worlds_tables_are_its_own_in_its_order(tmp_path, monkeypatch):
    monkeypatch.setattr(filter, "BATCH", 50)
    data, made = curated(Filter(world_size=60, max_length=150), 1, tmp_path), world.make(60, 1)
    kept = made.rnas[made.rnas["length"] <= 150]
    for table in ("links", "truth", "topics_truth"):
        own = getattr(made, table)
        own = own[own["rna_id"].isin(kept["rna_id"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(getattr(data, table), own, check_dtype=False)
    articles = made.articles[made.articles["article_id"].isin(data.links["article_id"])]
    for found, own in ((data.rnas, kept), (data.articles, articles)):
        pd.testing.assert_frame_equal(found, own.reset_index(drop=True), check_dtype=False)
    assert 0 < len(kept) < 60
    assert {path.stem for path in tmp_path.iterdir()} == set(vars(data))


@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt])
def test_a_fault_amid_the_filter_leaves_what_was_there(tmp_path, monkeypatch, fault):
    curated(Filter(world_size=40), 1, tmp_path)
    before = {path.name: sha256(path) for path in tmp_path.iterdir()}
    for table in ("rnas", "links", "articles", "dropped"):

        def broken(path, name, batches, table=table):
            if name == table:
                raise fault
            return tables.write_batches(path, name, batches)

        monkeypatch.setattr(filter, "write_batches", broken)
        with pytest.raises(fault):
            dataset.curate(Filter(world_size=60), 1, tmp_path)
        assert {path.name: sha256(path) for path in tmp_path.iterdir()} == before


KILLED = """
import os, signal, sys
from pathlib import Path
from rnagpt_lib import dataset, sieve
from rnagpt_lib.core.params import Filter
def kill(path, name, batches):
    path.with_name(".half.parquet").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
sieve.write_batches = kill
dataset.curate(Filter(world_size=40), 1, Path(sys.argv[1]))
"""


def test_what_a_killed_attempt_left_is_gone_after_the_next(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, cwd=paths.root()).returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [dataset.RAW]
    assert (tmp_path / dataset.RAW / "kept" / ".half.parquet").exists()
    data = curated(Filter(world_size=40), 1, tmp_path)
    assert len(data.rnas) == 40
    assert {path.stem for path in tmp_path.iterdir()} == set(vars(data))


def test_a_stage_that_refuses_its_files_leaves_the_finished_one(tmp_path):
    first = Run.open(run.STAGES[0], world_size=40)
    dataset.curate(first.params, first.seed, first.folder)
    first.finish()
    (tmp_path / "r.fasta").write_text(">a\nACGUA\n")
    again = Run.open(run.STAGES[0], input="files", fasta=str(tmp_path / "r.fasta"))
    with pytest.raises(InputError, match="no RNA is left"):
        dataset.curate(again.params, again.seed, again.folder)
    run.withdraw("mini", run.STAGES[0])
    assert run.is_fresh("mini", run.STAGES[0]) is None
    assert len(tables_of(first.folder).rnas) == 40


def test_fasta_alone_is_enough(load):
    data = load(fasta=FASTA.lower().replace("u", "t"))
    assert data.rnas["sequence"].tolist() == ["ACGUACGUACGU", "GGGGCCCCAAAAUUUU"]
    assert list(data.rnas.columns) == list(COLUMNS["rnas"])
    assert data.rnas["rna_type"].tolist() == ["", ""] and "truth" not in vars(data)
    assert len(load(fasta=gzip.compress(FASTA.encode())).rnas) == 2


def test_all_files_together(load):
    data = load(
        fasta=FASTA,
        table="rna_id\trna_type\tspecies\tsplit\nb\ttRNA\tMinia tertia\ttest\nz\trRNA\t\t\n",
        articles=ARTICLE + ARTICLE.replace("A1", "A2"),
        links='{"rna_id": "b", "article_ids": ["A1", "A1"]}\n\n',
    )
    b = data.rnas.set_index("rna_id").loc["b"]
    assert (b["rna_type"], b["species"], b["split"], b["description"]) == (
        "tRNA", "Minia tertia", "test", "second",
    )  # fmt: skip
    assert data.links.values.tolist() == [["b", "A1"]]
    assert data.dropped[["record", "reason"]].values.tolist() == [
        ["z", "in r.tsv but not in the FASTA file"],
        ["A2", "article linked with no RNA that is kept"],
    ]


def test_unfit_records_are_dropped_not_fatal(load):
    rng = random.Random(0)
    long = "".join(rng.choices("ACGU", k=3000))
    text = f"{FASTA}>tiny\nACGUA\n>long\n{long}\n>odd\nACGUXACGUACGU\n>a again\nacguacguacgu\n"
    data = load(fasta=text, links='{"rna_id": "long", "article_ids": []}')
    assert data.rnas["rna_id"].tolist() == ["a", "b"]
    reasons = data.dropped.set_index("record")["reason"]
    assert reasons["tiny"] == "shorter than 10 nt (5 nt)"
    assert reasons["long"] == "longer than 1024 nt (3,000 nt)"
    assert "'X' at position 5" in reasons["odd"] and reasons["odd"].startswith("line 9")
    assert reasons["a"] == "line 11: the same record as on line 1"


def test_line_separators_of_unicode_within_a_text_are_no_ends_of_lines(load):
    article = '{"id": "A1", "title": "t", "abstract": "one\u2028two", "year": 2020}'
    links = '{"rna_id": "a", "article_ids": ["A1"]}'
    data = load(fasta=FASTA, articles=article, links=links)
    assert data.articles["abstract"].tolist() == ["one\u2028two"]


FAULTS = {
    "no header": ({"fasta": "ACGU\n>a\nACGU"}, "r.fasta, line 1: .*header line"),
    "binary": ({"fasta": b"\x00\xff\xfe>a"}, "r.fasta, line 1: .*binary"),
    "empty": ({"fasta": ""}, "r.fasta is empty"),
    "one id, two sequences": (
        {"fasta": FASTA + ">a\nCCCCCCCCCCCCC"}, "r.fasta, line 5: id 'a' was used on line 1",
    ),
    "nothing left": ({"fasta": ">a\nACGUA"}, "r.fasta: no RNA is left .*10 to 1024 nt.*a, shorter"),
    "only X": ({"fasta": ">a\nXXXXXXXXXXXX"}, "no RNA is left .*'X' at position 1"),
    "unknown column": ({"table": "rna_id\tcolour\na\tred"}, "r.tsv, line 1: column 'colour'"),
    "no rna_id": ({"table": "rna_type\ntRNA"}, "r.tsv, line 1: the column rna_id is missing"),
    "ragged row": ({"table": "rna_id\trna_type\na"}, "r.tsv, line 2: 1 fields .* has 2"),
    "row twice": ({"table": "rna_id\trna_type\na\tx\na\ty"}, "r.tsv, line 3: rna_id 'a'.*twice"),
    "row twice, after a gap": (
        {"table": "rna_id\trna_type\n\na\tx\n\na\ty"},
        "r.tsv, line 5: rna_id 'a'.*twice",
    ),
    "other sequence": ({"table": "rna_id\tsequence\na\tCCCC"}, "r.tsv, line 2: the sequence of 'a'"),
    "odd side": ({"table": "rna_id\tsplit\na\tdev"}, "r.tsv, line 2: split 'dev'.*train, val, test"),
    "empty table": ({"table": "\n"}, "r.tsv is empty"),
    "binary table": ({"table": b"\xff\xfe\x00"}, "r.tsv is binary"),
    "bad JSON": ({"articles": ARTICLE + "{oops"}, "a.jsonl, line 2: no valid JSON"),
    "no abstract": ({"articles": '{"id": "A", "title": "t"}'}, "a.jsonl, line 1: 'abstract' is missing"),
    "not an object": ({"articles": "[1]"}, "a.jsonl, line 1: 'id' is missing"),
    "article twice": ({"articles": ARTICLE * 2}, "a.jsonl, line 2: id 'A1' stands there twice"),
    "odd year": ({"articles": ARTICLE.replace("2020", '"soon"')}, "a.jsonl, line 1: year 'soon'"),
    "unknown RNA": ({"links": '{"rna_id": "q", "article_ids": []}'}, "l.jsonl, line 1: rna_id 'q'"),
    "unknown article": (
        {"links": '{"rna_id": "a", "article_ids": ["A9"]}'}, "l.jsonl, line 1: article 'A9'",
    ),
    "ids no list": ({"links": '{"rna_id": "a", "article_ids": "A1"}'}, "line 1: article_ids is no list"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_file_line_and_remedy(load, fault, tmp_path):
    texts, message = FAULTS[fault]
    with pytest.raises(InputError, match=message) as error:
        load(**({"fasta": FASTA} | texts))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "made").iterdir())


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match="set FASTA"):
        dataset.curate(Filter(input="files"), 0, tmp_path)
    with pytest.raises(InputError, match="none.fasta: there is no such file"):
        dataset.curate(Filter(input="files", fasta=str(tmp_path / "none.fasta")), 0, tmp_path)


@pytest.mark.parametrize(
    ("rna_id", "description", "expected"),
    [
        ("URS00008314B2", "tRNA from 13 species", ("tRNA", "", "")),
        ("URS000006DA05_9606", "Homo sapiens (human) pre_miRNA hsa-mir-876", ("pre_miRNA", "Homo sapiens", "9606")),
        ("URS00008314B2", "autocatalytically_spliced_intron from 2 species", ("autocatalytically_spliced_intron", "", "")),
        ("URS00008314B2_562", "Escherichia coli uncharacterized sequence", ("", "Escherichia coli", "562")),
        ("mine", "tRNA from 13 species", ("", "", "")),
        ("URS00008314B2", "", ("", "", "")),
    ],
)  # fmt: skip
def test_types_are_read_from_rnacentral_headers_alone(rna_id, description, expected):
    assert tuple(user_files.parse_description(rna_id, description).values()) == expected


def test_card_counts_and_escapes(tmp_path):
    data = curated(Filter(world_size=60), 4, tmp_path)
    rnas = data.rnas.assign(unit=split.units(data.rnas, data.links))
    preset = rnas["split"].copy()
    rnas["split"] = split.split(rnas)
    pairs, *_ = qa_rules.pairs(
        rnas, frame("annotations", []), data.articles, data.links, Decompose()
    )
    dropped = pd.DataFrame({"stage": ["s"], "record": ["r"], "reason": ["a|b\nc"]})
    card = dataset.data_card(rnas, pairs, dropped, Decompose(), 4, "a test", preset)
    assert "| s | a\\|b c | 1 |" in card and "Units on more than one side: 0" in card
    for side, own in rnas.groupby("split"):
        n = int(pairs["rna_id"].isin(own["rna_id"]).sum())
        assert f"| {side} | {len(own)} | {own['unit'].nunique()} | {n} |" in card


def test_card_of_a_set_without_pairs(tmp_path):
    rnas = curated(Filter(world_size=20), 4, tmp_path).rnas
    rnas = rnas.assign(unit="U1", split="train")
    nothing, dropped = frame("pairs", []), frame("dropped", [])
    assert "0 for 20 RNAs" in dataset.data_card(rnas, nothing, dropped, Decompose(), 0, "a test")


def test_agreement_counts_every_item_of_a_list():
    pairs = pd.DataFrame({
        "rna_id": ["R1"],
        "question": ["Which protein does the RNA bind?"],
        "answer": ["The RNA binds HuR and La."],
    })  # fmt: skip
    truth = pd.DataFrame({"rna_id": ["R1"], "relation": ["partner"], "entity": ["HuR"]})
    assert dataset.agreement(pairs, truth) == {"precision": 0.5, "recall": 1.0}


@pytest.mark.parametrize("module", ["facts", "kinds", "relations", "relatives", "user_files"])
def test_examples_in_docstrings(module):
    found = importlib.import_module(f"rnagpt_lib.{module}")
    result = doctest.testmod(found, optionflags=doctest.ELLIPSIS)
    assert result.attempted and not result.failed


def test_real_precursors_with_their_abstracts(shared, tmp_path):
    given = {name.lower(): path for name, path in real_data.precursors(tmp_path).items()}
    data = curated(Filter(input="files", **given), 0, tmp_path / "made")
    assert (len(data.rnas), len(data.articles)) == (117, 606) and data.dropped.empty
    assert set(data.rnas["rna_type"]) == {"pre_miRNA"} and set(data.rnas["taxid"]) == {"9606"}


def test_real_rnacentral_headers_give_28_types(shared, tmp_path):
    fasta = real_data.rnacentral(shared)["FASTA"]
    data = curated(Filter(input="files", fasta=fasta), 0, tmp_path)
    assert data.rnas["rna_type"].value_counts().to_dict() == dict.fromkeys(
        data.rnas["rna_type"].unique(), 50
    )
    assert data.rnas["rna_type"].nunique() == 28 and len(data.rnas) + len(data.dropped) == 1400
    pairs, *_ = qa_rules.pairs(
        data.rnas, frame("annotations", []), data.articles, data.links, Decompose()
    )
    assert (pairs["form"] == "open").sum() == len(data.rnas)


@pytest.mark.parametrize("name", ["fasta", "table", "articles", "links"])
def test_the_world_ignores_no_file(name, tmp_path):
    with pytest.raises(InputError, match=f"{name.upper()} is mine.* INPUT"):
        dataset.curate(Filter(**{name: "mine"}), 0, tmp_path)
