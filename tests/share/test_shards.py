"""Shards: bounded, named as the Hub names them, and the same rows in the same order."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnagpt_lib.share import shards

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])
SIDES = ("train", "validation", "test")


def batches(n, size=7):
    """Rows 0 to n - 1; every tenth is validation's, and none is the test's."""
    for first in range(0, n, size):
        numbers = list(range(first, min(n, first + size)))
        sides = ["validation" if i % 10 == 0 else "train" for i in numbers]
        yield pa.table({"split": sides, "text": [str(i) * 40 for i in numbers], "n": numbers})


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(shards, "GROUP_ROWS", 10)
    monkeypatch.setattr(shards, "SHARD_BYTES", 4_000)


def test_all_rows_in_order_on_their_sides(tmp_path, small):
    assert shards.write(tmp_path / "x", SCHEMA, batches(500), SIDES) == {
        "train": 450, "validation": 50,
    }  # fmt: skip
    files = sorted((tmp_path / "x").iterdir())
    total = len([file for file in files if file.name.startswith("train")])
    assert total > 5 and files[0].name == f"train-00000-of-{total:05d}.parquet"
    for side, wanted in {"train": 450, "validation": 50}.items():
        own = [file for file in files if file.name.startswith(side)]
        names = [re.fullmatch(rf"{side}-(\d{{5}})-of-(\d{{5}}).parquet", f.name) for f in own]
        assert [(int(m[1]), int(m[2])) for m in names] == [(i, len(own)) for i in range(len(own))]
        rows = pa.concat_tables(pq.read_table(file) for file in own)
        assert rows.schema.equals(SCHEMA) and len(rows) == wanted
        assert rows["n"].to_pylist() == [
            i for i in range(500) if (i % 10 == 0) == (side != "train")
        ]


def test_row_groups_and_shards_are_bounded(tmp_path, small):
    shards.write(tmp_path / "x", SCHEMA, batches(500), SIDES)
    for file in (tmp_path / "x").iterdir():
        about = pq.ParquetFile(file).metadata
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        assert all(group.num_rows < 10 + 7 for group in groups)
        assert pq.read_table(file).nbytes < 4_000 + 17 * 150


def test_no_rows_make_no_file(tmp_path):
    assert shards.write(tmp_path / "x", SCHEMA, batches(0), SIDES) == {}
    assert not list((tmp_path / "x").iterdir())


def test_a_failing_flow_leaves_no_file_with_a_final_name(tmp_path, small):
    def flow():
        yield from batches(50)
        raise KeyError

    with pytest.raises(KeyError):
        shards.write(tmp_path / "x", SCHEMA, flow(), SIDES)
    assert not list((tmp_path / "x").glob("*.parquet"))
