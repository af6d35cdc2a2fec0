"""The filter in batches: the same tables as the filter of stage 00, little memory, no half files."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks import _synthetic as synthetic
from benchmarks.filter_join import by_pandas
from rnagpt_lib import dataset, sieve, tables
from rnagpt_lib.errors import InputError
from rnagpt_lib.profiles import Filter


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    tables.write(folder / "rnas.parquet", "rnas", synthetic.rnas(400))
    tables.write(folder / "links.parquet", "links", synthetic.links(400, 1000))
    synthetic.write_articles(folder / "articles.parquet", 1000)
    return folder


def read(folder, name):
    return pd.read_parquet(folder / f"{name}.parquet")


@pytest.mark.parametrize("batch", [7, 4096])
def test_it_keeps_what_stage_00_keeps(source, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(sieve, "BATCH", batch)
    counts = sieve.sieve(source, tmp_path, 60, 150)
    given = [
        tables.read(source / f"{name}.parquet", name) for name in ("rnas", "articles", "links")
    ]
    nothing = tables.frame("dropped", [])
    params = Filter(min_length=60, max_length=150)
    kept = dataset._kept(dataset.Tables(*given, nothing), params)
    for name in ("rnas", "articles", "links"):
        found = tables.read(tmp_path / f"{name}.parquet", name)
        pd.testing.assert_frame_equal(found, getattr(kept, name), check_dtype=False)
        assert counts[name] == len(found) > 0
    dropped = tables.read(tmp_path / "dropped.parquet", "dropped")
    assert dropped["record"].tolist() == kept.dropped["record"].tolist()
    assert {"shorter than MIN_LENGTH", "longer than MAX_LENGTH"} <= set(dropped["reason"])


def test_it_keeps_what_pandas_keeps(source, tmp_path):
    (tmp_path / "ours").mkdir()
    sieve.sieve(source, tmp_path / "ours", 10, 1024)
    by_pandas(source, tmp_path)
    for name in ("rnas", "links", "articles"):
        pd.testing.assert_frame_equal(read(tmp_path / "ours", name), read(tmp_path, name))


def test_row_groups_are_bounded(source, tmp_path, monkeypatch):
    monkeypatch.setattr(sieve, "BATCH", 10)
    sieve.sieve(source, tmp_path, 10, 1024)
    file = pq.ParquetFile(tmp_path / "articles.parquet").metadata
    assert max(file.row_group(i).num_rows for i in range(file.num_row_groups)) <= 10 * sieve.GROUP


def test_a_missing_table_and_no_rna_left_are_told(source, tmp_path):
    with pytest.raises(InputError, match="rnas.parquet is missing"):
        sieve.sieve(tmp_path, tmp_path, 10, 1024)
    with pytest.raises(InputError, match="no RNA has 5000 to 6000 nt"):
        sieve.sieve(source, tmp_path, 5000, 6000)
    assert not list(tmp_path.iterdir())


def test_a_fault_in_the_middle_leaves_nothing(source, tmp_path, monkeypatch):
    real = sieve._batches

    def broken(data, name, which):
        yield from real(data, name, which)
        if name == "articles":
            raise OSError("disk full")

    monkeypatch.setattr(sieve, "_batches", broken)
    with pytest.raises(OSError, match="disk full"):
        sieve.sieve(source, tmp_path, 10, 1024)
    assert not [path for path in tmp_path.iterdir() if "articles" in path.name]
