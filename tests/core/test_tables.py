"""Table contracts: what is written can be read back, and nothing else is written."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError

SAMPLES = {
    "text": "α-tRNA <b>",
    "whole": 7,
    "real": 0.25,
    "flag": True,
    "texts": ["A1", "A2"],
}


def row(table, **values):
    made = {
        name: "R1" if name.endswith("_id") else SAMPLES[kind]
        for name, kind in tables.COLUMNS[table].items()
    }
    return made | values


def annotations(**values):
    return tables.frame("annotations", [row("annotations", **values)])


def test_rows_come_back_as_they_were(tmp_path):
    for table in tables.COLUMNS:
        path = tables.write(tmp_path / "t.parquet", table, tables.frame(table, [row(table)]))
        back = tables.read(path, table)
        assert back.to_dict("records") == [row(table)]
        assert list(back) == list(tables.COLUMNS[table])
        again = tables.write(tmp_path / "again.parquet", table, back)
        assert again.read_bytes() == path.read_bytes()


def test_tables_without_rows_keep_their_columns_and_types(tmp_path):
    for table in tables.COLUMNS:
        path = tables.write(tmp_path / "t.parquet", table, tables.frame(table, []))
        assert len(tables.read(path, table)) == 0
        full = tables.write(tmp_path / "full.parquet", table, tables.frame(table, [row(table)]))
        assert pq.read_schema(path).types == pq.read_schema(full).types


def test_columns_are_put_in_order_and_the_index_is_dropped(tmp_path):
    frame = tables.frame("links", [row("links")])[["article_id", "rna_id"]].set_index([[9]])
    path = tables.write(tmp_path / "t.parquet", "links", frame)
    assert pq.read_schema(path).names == ["rna_id", "article_id"]


def test_what_breaks_the_contract_is_named_and_not_written(tmp_path):
    for frame, words in [
        (annotations().drop(columns="text"), r"columns missing: \['text'\]"),
        (annotations().assign(extra=1), r"unknown: \['extra'\]"),
        (annotations(text=None), "column text has no value in row 0"),
        (annotations(text=3), "column text should hold text"),
        (annotations(sentence_no=1.5), "column sentence_no should hold whole"),
        (annotations(sentence_no="1"), "column sentence_no should hold whole"),
        (annotations(article_ids="A1"), "column article_ids should hold texts"),
        (annotations(rna_id=""), "rna_id '' in row 0 is empty or holds spaces"),
        (annotations(rna_id="R 1"), "rna_id 'R 1' in row 0 is empty or holds spaces"),
        (pd.concat([annotations()] * 2), "1 repeated rows, the first is rna_id R1"),
    ]:
        path = tables.write(tmp_path / "t.parquet", "annotations", annotations())
        before = path.read_bytes()
        with pytest.raises(InputError, match=words):
            tables.write(path, "annotations", frame)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


def test_a_crash_while_writing_leaves_the_old_table(tmp_path, monkeypatch):
    path = tables.write(tmp_path / "t.parquet", "links", tables.frame("links", [row("links")]))

    def half(table, where, **how):
        where.write_bytes(b"PAR1 half")
        raise OSError("No space left on device")

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(OSError, match="No space"):
        tables.write(path, "links", tables.frame("links", []))
    assert len(tables.read(path, "links")) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"rna_id\tarticle_id\n", b"PAR1" + bytes(40)])
def test_files_that_are_no_parquet_are_named(tmp_path, content):
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"t\.parquet is no readable parquet table"):
        tables.read(tmp_path / "t.parquet", "links")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"t\.parquet is missing"):
        tables.read(tmp_path / "t.parquet", "links")


def test_reading_checks_the_contract_too(tmp_path):
    pd.DataFrame({"rna_id": ["R1"]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="columns missing"):
        tables.read(tmp_path / "t.parquet", "links")


def test_unknown_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match="table 'rna' is unknown; tables are rnas"):
        tables.frame("rna", [])


def test_batches_become_one_table_in_the_contracts_columns(tmp_path):
    turned = pa.RecordBatch.from_pylist([{"article_id": "A1", "rna_id": "R1"}])
    path = tmp_path / "links.parquet"
    assert tables.write_batches(path, "links", [turned, turned.slice(0, 0)] * 3) == 3
    assert pq.read_table(path).to_pylist() == [{"rna_id": "R1", "article_id": "A1"}] * 3
    assert tables.write_batches(path, "links", []) == 0
    assert tables.read(path, "links").empty
    odd = pa.RecordBatch.from_pylist([{"rna_id": "R1", "article_id": "A1", "year": "soon"}])
    with pytest.raises((KeyError, pa.ArrowInvalid)):
        tables.write_batches(path, "articles", [turned, odd])
    assert [file.name for file in tmp_path.iterdir()] == ["links.parquet"]


def test_a_part_is_what_the_whole_holds(tmp_path):
    rows = [
        {"rna_id": f"R{n // 3}", "source": "dnc" if n % 2 else "given", "sentence_no": n,
         "text": f"t{n}", "article_ids": [f"A{n}"] * (n % 3)} for n in range(12)
    ]  # fmt: skip
    path = tables.write(tmp_path / "a.parquet", "annotations", tables.frame("annotations", rows))
    part = tables.read_part(path, "annotations", ["text", "article_ids"], source="dnc")
    whole = tables.read(path, "annotations")
    assert part.column_names == ["text", "article_ids"]
    for name in part.column_names:
        assert part[name].to_pylist() == whole[whole.source == "dnc"][name].to_list()
    assert len(tables.read_part(path, "annotations", ["rna_id"])) == 12
    assert len(tables.read_part(path, "annotations", ["rna_id"], source="none")) == 0


def test_a_part_that_is_not_there_is_named(tmp_path):
    pq.write_table(pa.table({"rna_id": [1.5], "text": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="a.parquet"):
        tables.read_part(tmp_path / "a.parquet", "annotations", ["text", "sentence_no"])
    with pytest.raises(InputError, match="a.parquet"):
        tables.read_part(tmp_path / "a.parquet", "annotations", ["text"], source="dnc")
    with pytest.raises(InputError, match="b.parquet is missing"):
        tables.read_part(tmp_path / "b.parquet", "annotations", ["text"])
