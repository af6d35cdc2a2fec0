"""Stage 00: what a few lines of pandas keep, little memory, no half files; the card of the set."""

import os
import random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import _synthetic as synthetic
from benchmarks.speed.filter_join import by_pandas
from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import sha256
from rnagpt_lib.core.params import Decompose, Filter
from rnagpt_lib.core.tables import frame
from rnagpt_lib.curate import filter
from rnagpt_lib.curate.questions import qa_rules
from rnagpt_lib.curate.sources.user_files import drop
from rnagpt_lib.curate.splits import split
from rnagpt_lib.miniature import world
from rnagpt_lib.runs import folder, stages
from rnagpt_lib.runs.run import Run
from tests.support.curated import curated, tables_of

TABLES = ("rnas", "links", "articles", "dropped")


def test_the_world_repeats_with_its_seed(tmp_path):
    data = curated(Filter(world_size=40), 2, tmp_path / "one")
    assert len(data.rnas) == 40 and data.dropped.empty
    again = curated(Filter(world_size=40), 2, tmp_path / "again")
    for table in ("rnas", "articles", "links", "dropped", "truth", "topics_truth"):
        assert getattr(data, table).equals(getattr(again, table))


def test_the_worlds_tables_are_its_own_in_its_order_and_nothing_vanishes(tmp_path, monkeypatch):
    monkeypatch.setattr(filter, "BATCH", 50)
    data, made = curated(Filter(world_size=60, max_length=100), 1, tmp_path), world.make(60, 1)
    kept = made.rnas[made.rnas["length"] <= 100]
    for table in ("links", "truth", "topics_truth"):
        own = getattr(made, table)
        own = own[own["rna_id"].isin(kept["rna_id"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(getattr(data, table), own, check_dtype=False)
    articles = made.articles[made.articles["article_id"].isin(data.links["article_id"])]
    for found, own in ((data.rnas, kept), (data.articles, articles)):
        pd.testing.assert_frame_equal(found, own.reset_index(drop=True), check_dtype=False)
    lost = set(made.rnas["rna_id"]) - set(kept["rna_id"])
    unread = set(made.articles["article_id"]) - set(articles["article_id"])
    assert lost and unread and set(data.dropped["record"]) == lost | unread
    assert 0 < len(kept) < 60
    assert {path.stem for path in tmp_path.iterdir()} == set(vars(data))


@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt])
def test_a_fault_amid_the_filter_leaves_what_was_there(tmp_path, monkeypatch, fault):
    (tmp_path / filter.RAW / "kept").mkdir(parents=True)
    (tmp_path / filter.RAW / "kept" / ".half.parquet").write_text("of a killed attempt")
    data = curated(Filter(world_size=40), 1, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == set(vars(data))
    before = {path.name: sha256(path) for path in tmp_path.iterdir()}
    for table in ("rnas", "links", "articles", "dropped"):

        def broken(path, name, batches, table=table):
            if name == table:
                raise fault
            return tables.write_batches(path, name, batches)

        monkeypatch.setattr(filter, "write_batches", broken)
        with pytest.raises(fault):
            filter.write_tables(Filter(world_size=60), 1, tmp_path)
        assert {path.name: sha256(path) for path in tmp_path.iterdir()} == before


def test_a_stage_that_refuses_its_files_leaves_the_finished_one(tmp_path):
    first = Run.open(stages.STAGES[0], world_size=40)
    filter.write_tables(first.params, first.seed, first.folder)
    first.finish()
    (tmp_path / "r.fasta").write_text(">a\nACGUA\n")
    again = Run.open(stages.STAGES[0], input="files", fasta=str(tmp_path / "r.fasta"))
    with pytest.raises(InputError, match="no RNA is left"):
        filter.write_tables(again.params, again.seed, again.folder)
    folder.withdraw("mini", stages.STAGES[0])
    assert stages.is_fresh("mini", stages.STAGES[0]) is None
    assert len(tables_of(first.folder).rnas) == 40


def test_the_world_ignores_no_file(tmp_path):
    for name in ("fasta", "table", "articles", "links"):
        with pytest.raises(InputError, match=f"{name.upper()} is mine.* INPUT"):
            filter.write_tables(Filter(**{name: "mine"}), 0, tmp_path)


# The rules, in batches.


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    synthetic.write_all(folder, 400)
    return folder


def draw(rng, folder, most):
    """Random tables in ``folder``, written in row groups of any size."""
    lengths = [rng.randint(1, 30) for _ in range(rng.randint(0, most))]
    rnas = [{"rna_id": f"R{n}", "length": length} for n, length in enumerate(lengths)]
    articles = [{"article_id": f"A{n}", "year": n} for n in range(rng.randint(0, most))]
    pairs = [(r["rna_id"], a["article_id"]) for r in rnas for a in articles]
    links = [
        {"rna_id": rna_id, "article_id": article_id}
        for rna_id, article_id in rng.sample(pairs, min(len(pairs), rng.randint(0, most)))
    ]
    dropped = [drop(f"D{n}", "earlier") for n in range(rng.randint(0, 3))]
    rows = {"rnas": rnas, "links": links, "articles": articles, "dropped": dropped}
    for name, made in rows.items():
        blank = dict.fromkeys(tables.COLUMNS[name], "")
        table = pa.Table.from_pylist([blank | row for row in made], tables.schema(name))
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=rng.randint(1, most))
    return tables_of(folder)


def naive(given, least, most):
    """The rules in memory: the four tables that have to come out."""
    rnas = given.rnas[given.rnas["length"].between(least, most)]
    links = given.links[given.links["rna_id"].isin(rnas["rna_id"])]
    articles = given.articles[given.articles["article_id"].isin(links["article_id"])]
    lost = [
        drop(row.rna_id, f"shorter than {least} nt ({row.length:,} nt)")
        if row.length < least
        else drop(row.rna_id, f"longer than {most} nt ({row.length:,} nt)")
        for row in given.rnas[~given.rnas["rna_id"].isin(rnas["rna_id"])].itertuples()
    ] + [
        drop(i, "article linked with no RNA that is kept")
        for i in given.articles["article_id"]
        if i not in set(articles["article_id"])
    ]
    dropped = pd.concat([given.dropped, tables.frame("dropped", lost)])
    made = {"rnas": rnas, "links": links, "articles": articles, "dropped": dropped}
    return {name: table.reset_index(drop=True) for name, table in made.items()}


def check(counts, folder, expected):
    assert {path.name for path in folder.iterdir()} == {f"{name}.parquet" for name in TABLES}
    found = tables_of(folder)
    for name, table in expected.items():
        pd.testing.assert_frame_equal(getattr(found, name), table, check_dtype=False)
        assert counts[name] == len(table)


def test_it_keeps_what_the_rules_in_memory_keep(tmp_path, monkeypatch):
    for seed in range(8):
        rng, folder = random.Random(seed), tmp_path / str(seed)
        (folder / "kept").mkdir(parents=True)
        given = draw(rng, folder, most=rng.choice([3, 20, 200]))
        monkeypatch.setattr(filter, "BATCH", rng.choice([1, 7, 4096]))
        monkeypatch.setattr(tables, "GROUP", rng.choice([1, 10, 1 << 15]))
        least, most = rng.choice([(1, 30), (10, 20), (20, 10), (15, 15), (40, 50)])
        counts = filter.apply_rules(folder, folder / "kept", least, most)
        check(counts, folder / "kept", naive(given, least, most))


def test_it_keeps_what_they_and_the_peer_of_the_benchmark_keep(source, tmp_path, monkeypatch):
    for batch, (least, most) in {7: (60, 150), 4096: (10, 1024)}.items():
        monkeypatch.setattr(filter, "BATCH", batch)
        folder = tmp_path / str(batch)
        folder.mkdir()
        counts = filter.apply_rules(source, folder, least, most)
        check(counts, folder, naive(tables_of(source), least, most))
        assert counts["rnas"] and counts["links"] and counts["articles"]
    by_pandas(source, tmp_path)
    ours, peer = tables_of(folder), tables_of(tmp_path)
    for name in ("rnas", "links", "articles"):
        pd.testing.assert_frame_equal(getattr(ours, name), getattr(peer, name))


def test_no_rna_left_is_for_the_caller_to_say(source, tmp_path):
    counts = filter.apply_rules(source, tmp_path, 5000, 6000)
    assert counts == {"rnas": 0, "links": 0, "articles": 0, "dropped": 400 + 1025}
    check(counts, tmp_path, naive(tables_of(source), 5000, 6000))


def test_row_groups_are_bounded(source, tmp_path, monkeypatch):
    monkeypatch.setattr(filter, "BATCH", 30)
    monkeypatch.setattr(tables, "GROUP", 100)
    filter.apply_rules(source, tmp_path, 60, 150)
    for name in TABLES:
        file = pq.ParquetFile(tmp_path / f"{name}.parquet").metadata
        groups = [file.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert max(groups) <= 100 and all(rows > 70 for rows in groups[:-1])


def test_what_was_read_is_not_held(source, tmp_path, monkeypatch):
    """Of 32 MB of texts no more than a megabyte is in Arrow's memory while they pass."""
    for name in ("rnas", "links", "dropped"):
        os.link(source / f"{name}.parquet", tmp_path / f"{name}.parquet")
    articles = pq.read_table(source / "articles.parquet").to_pylist()
    rng = random.Random(0)
    batches = [
        pa.RecordBatch.from_pylist(
            [row | {"abstract": rng.randbytes(16_000).hex()} for row in articles[first:][:10]],
            tables.schema("articles"),
        )
        for first in range(0, 1000, 10)
    ]
    monkeypatch.setattr(tables, "GROUP", 10)
    assert tables.write_batches(tmp_path / "articles.parquet", "articles", batches) == 1000
    del batches
    monkeypatch.setattr(filter, "BATCH", 10)
    monkeypatch.setattr(tables, "BUFFER", 1 << 14)
    before, held = pa.total_allocated_bytes(), []

    class Watched(pq.ParquetWriter):
        def write_table(self, *given, **more):
            held.append(pa.total_allocated_bytes() - before)
            super().write_table(*given, **more)

    monkeypatch.setattr(tables.pq, "ParquetWriter", Watched)
    (tmp_path / "kept").mkdir()
    assert filter.apply_rules(tmp_path, tmp_path / "kept", 10, 1024)["articles"] > 800
    assert len(held) > 100 and max(held) < 3_000_000, max(held)


def test_a_fault_in_the_middle_leaves_whole_tables_or_none(source, tmp_path, monkeypatch):
    """The disk is full at any row group of any table."""
    monkeypatch.setattr(filter, "BATCH", 200)
    monkeypatch.setattr(tables, "GROUP", 500)
    real, expected, survived = pq.ParquetWriter, naive(tables_of(source), 10, 1024), []
    for room in range(100):
        groups = iter(range(room))

        class Full(real):
            def write_table(self, *given, groups=groups, **more):
                super().write_table(*given, **more)
                if next(groups, None) is None:
                    raise OSError("disk full")

        monkeypatch.setattr(tables.pq, "ParquetWriter", Full)
        folder = tmp_path / str(room)
        folder.mkdir()
        try:
            check(filter.apply_rules(source, folder, 10, 1024), folder, expected)
        except OSError:
            whole = vars(tables_of(folder))
            assert {file.name for file in folder.iterdir()} == {f"{name}.parquet" for name in whole}
            for name, table in whole.items():
                pd.testing.assert_frame_equal(table, expected[name], check_dtype=False)
            survived.append(len(whole))
        else:
            break
    assert sorted(set(survived)) == [0, 1, 2, 3] and 5 < room < 99


# The card.


def test_card_counts_and_escapes(tmp_path):
    data = curated(Filter(world_size=60), 4, tmp_path)
    rnas = data.rnas.assign(unit=split.units(data.rnas, data.links))
    preset = rnas["split"].copy()
    rnas["split"] = split.split(rnas)
    pairs, *_ = qa_rules.pairs(
        rnas, frame("annotations", []), data.articles, data.links, Decompose()
    )
    dropped = pd.DataFrame({"stage": ["s"], "record": ["r"], "reason": ["a|b\nc"]})
    card = filter.data_card(rnas, pairs, dropped, Decompose(), 4, "a test", preset)
    assert "| s | a\\|b c | 1 |" in card and "Units on more than one side: 0" in card
    assert "fewer than 5, as their texts carry no more." in card
    why = [f"the model's pairs are missing (state {state})" for state in ("length", "malformed")]
    lost = pd.DataFrame({"stage": "s", "record": [*"abc"], "reason": [why[0], why[1], why[1]]})
    reasons = [
        f"dnc: {why[0]}",
        f"dnc: {why[0]}",
        f"single_pass: {why[0]}",
        "dnc: a sentence is old",
    ]
    earlier = pd.DataFrame({"stage": "t", "record": [*"ddef"], "reason": reasons})
    said = filter.data_card(rnas, pairs, lost, Decompose(), 4, "a test", preset, earlier)
    assert "of 4 RNAs the model gave none of use, here or in 02 (2 length, 2 malformed)" in said
    lost.loc[len(lost)] = ["s", pairs["rna_id"][0], why[0]]  # it has pairs all the same
    told = pairs.assign(kind="literature")
    card = filter.data_card(rnas, told, lost, Decompose(), 4, "a test", preset)
    assert "missing (next line) or their texts carry no more.\n- **Answers that are missing**: of 3 " \
        "RNAs the model gave none of use, here or in 02 (2 malformed, 1 length), so" in card  # fmt: skip
    assert "ASK_AGAIN` asks these calls again.\n- **Kinds**" in card
    asked = Decompose(provider="openai", model="m", base_url="http://127.0.0.1:9/v1")
    failed = pd.DataFrame({"stage": "s", "record": rnas["rna_id"], "reason": "a pair denies"})
    card = filter.data_card(rnas, pairs, failed, asked, 4, "a test", preset)
    assert "as no more pairs of the model passed the checks (Dropped).\n" in card
    assert "texts carry" not in card
    for side, own in rnas.groupby("split"):
        n = int(pairs["rna_id"].isin(own["rna_id"]).sum())
        assert f"| {side} | {len(own)} | {own['unit'].nunique()} | {n} |" in card


def test_card_of_a_set_without_pairs(tmp_path):
    rnas = curated(Filter(world_size=20), 4, tmp_path).rnas
    rnas = rnas.assign(unit="U1", split="train")
    nothing, dropped = frame("pairs", []), frame("dropped", [])
    assert "0 for 20 RNAs" in filter.data_card(rnas, nothing, dropped, Decompose(), 0, "a test")


def test_agreement_counts_every_item_of_a_list():
    pairs = pd.DataFrame({
        "rna_id": ["R1"],
        "question": ["Which protein does the RNA bind?"],
        "answer": ["The RNA binds HuR and La."],
    })  # fmt: skip
    truth = pd.DataFrame({"rna_id": ["R1"], "relation": ["partner"], "entity": ["HuR"]})
    assert filter.agreement(pairs, truth) == {"precision": 0.5, "recall": 1.0}
