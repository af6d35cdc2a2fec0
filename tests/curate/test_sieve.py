"""The filter in batches: what a few lines of pandas keep, little memory, no half files."""

import os
import random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import _synthetic as synthetic
from benchmarks.speed.filter_join import by_pandas
from rnagpt_lib.core import tables
from rnagpt_lib.curate.sources import filter
from rnagpt_lib.curate.sources.user_files import drop
from tests.support.curated import tables_of

TABLES = ("rnas", "links", "articles", "dropped")


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


@pytest.mark.parametrize("seed", range(40))
def test_it_keeps_what_the_rules_in_memory_keep(tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    given = draw(rng, tmp_path, most=rng.choice([3, 20, 200]))
    monkeypatch.setattr(filter, "BATCH", rng.choice([1, 7, 4096]))
    monkeypatch.setattr(tables, "GROUP", rng.choice([1, 10, 1 << 15]))
    least, most = rng.choice([(1, 30), (10, 20), (20, 10), (15, 15), (40, 50)])
    (tmp_path / "kept").mkdir()
    counts = filter.sieve(tmp_path, tmp_path / "kept", least, most)
    check(counts, tmp_path / "kept", naive(given, least, most))


@pytest.mark.parametrize("batch", [7, 4096])
def test_it_keeps_what_they_keep_of_tables_like_rnacentrals(source, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(filter, "BATCH", batch)
    counts = filter.sieve(source, tmp_path, 60, 150)
    check(counts, tmp_path, naive(tables_of(source), 60, 150))
    assert all(counts.values())


def test_it_keeps_what_the_peer_of_the_benchmark_keeps(source, tmp_path):
    (tmp_path / "ours").mkdir()
    filter.sieve(source, tmp_path / "ours", 10, 1024)
    by_pandas(source, tmp_path)
    ours, peer = tables_of(tmp_path / "ours"), tables_of(tmp_path)
    for name in ("rnas", "links", "articles"):
        pd.testing.assert_frame_equal(getattr(ours, name), getattr(peer, name))


def test_no_rna_left_is_for_the_caller_to_say(source, tmp_path):
    counts = filter.sieve(source, tmp_path, 5000, 6000)
    assert counts == {"rnas": 0, "links": 0, "articles": 0, "dropped": 400 + 1025}
    check(counts, tmp_path, naive(tables_of(source), 5000, 6000))


def test_row_groups_are_bounded(source, tmp_path, monkeypatch):
    monkeypatch.setattr(filter, "BATCH", 30)
    monkeypatch.setattr(tables, "GROUP", 100)
    filter.sieve(source, tmp_path, 60, 150)
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
    before, held, real = pa.total_allocated_bytes(), [], tables._write_group

    def write_group(writer, group):
        held.append(pa.total_allocated_bytes() - before)
        real(writer, group)

    monkeypatch.setattr(tables, "_write_group", write_group)
    (tmp_path / "kept").mkdir()
    assert filter.sieve(tmp_path, tmp_path / "kept", 10, 1024)["articles"] > 800
    assert len(held) > 100 and max(held) < 3_000_000, max(held)


def test_a_fault_in_the_middle_leaves_whole_tables_or_none(source, tmp_path, monkeypatch):
    """The disk is full at any row group of any table."""
    monkeypatch.setattr(filter, "BATCH", 100)
    monkeypatch.setattr(tables, "GROUP", 300)
    real, expected, survived = tables._write_group, naive(tables_of(source), 10, 1024), []
    for room in range(100):
        groups = iter(range(room))

        def full(writer, held, groups=groups):
            real(writer, held)
            if next(groups, None) is None:
                raise OSError("disk full")

        monkeypatch.setattr(tables, "_write_group", full)
        folder = tmp_path / str(room)
        folder.mkdir()
        try:
            check(filter.sieve(source, folder, 10, 1024), folder, expected)
        except OSError:
            whole = vars(tables_of(folder))
            assert {file.name for file in folder.iterdir()} == {f"{name}.parquet" for name in whole}
            for name, table in whole.items():
                pd.testing.assert_frame_equal(table, expected[name], check_dtype=False)
            survived.append(len(whole))
        else:
            break
    assert sorted(set(survived)) == [0, 1, 2, 3] and 10 < room < 99
