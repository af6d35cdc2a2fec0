"""A side of anybody's data set, in every format, and what is wrong with some."""

import gzip
import json
import re

import pandas as pd
import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.evaluate import audit_files

ROWS = pd.DataFrame(
    {
        "id": ["a", "b", "c"],
        "sequence": ["ACGUACGU", "GGCCNRYA", "UUUUACGU"],
        "question": ["What is it?"] * 2 + ["Is it a tRNA?"],
        "answer": ["tRNA", "5S rRNA", "No."],
    }
)


def written(folder, kind, rows=ROWS):
    path = folder / f"rows{kind}"
    if kind == ".tsv":
        rows.to_csv(path, sep="\t", index=False)
    elif kind == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows.to_dict("records")))
    else:
        rows.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", [".tsv", ".jsonl", ".parquet"])
def test_tables_are_read_alike(kind, tmp_path):
    dna = ROWS.assign(sequence=["acgtacgt", "ggccNRYA", "TTTT acgt"])
    side = audit_files.read(written(tmp_path, kind, dna))
    assert side.rows.to_dict("list") == ROWS.to_dict("list") and not side.left_out


@pytest.mark.parametrize("kind", [".tsv", ".jsonl", ".parquet"])
def test_a_table_of_classes_has_one_question_and_names_its_places(kind, tmp_path):
    side = audit_files.read(written(tmp_path, kind, ROWS[["answer", "sequence"]]))
    assert set(side.rows.question) == {audit_files.QUESTION}
    assert audit_files.QUESTION in side.read_as
    assert side.rows.id.iloc[0] == {".tsv": "line 2", ".jsonl": "line 1", ".parquet": "row 1"}[kind]


def test_fasta_headers_answer_and_the_side_says_how(tmp_path):
    path = tmp_path / "x.fa.gz"
    text = ">RF1_a 5S_rRNA\nACGTN\nACGT\n>URS00008314B2 tRNA from 13 species\nACGUA\n>b a long text\nCC"
    path.write_bytes(gzip.compress(text.encode()))
    side = audit_files.read(path)
    assert side.rows.answer.tolist() == ["5S_rRNA", "tRNA", "a long text"]
    assert side.rows.sequence.tolist() == ["ACGUNACGU", "ACGUA", "CC"]
    assert "1 by the RNA type in an RNAcentral header, 2 by all of the header" in side.read_as


def test_copies_in_a_fasta_file_stay_for_the_audit_to_find(tmp_path):
    path = tmp_path / "x.fasta"
    path.write_text(">a tRNA\nACGU\n>a tRNA\nACGU\n")
    assert len(audit_files.read(path).rows) == 2


def test_records_that_cannot_be_used_are_left_out_and_told(tmp_path):
    path = tmp_path / "x.fasta"
    path.write_text(">a tRNA\nACGU\n>b tRNA\nMEEPQ\n>c\nACGU\n")
    side = audit_files.read(path)
    assert side.rows.id.tolist() == ["a"]
    told = dict(side.left_out)
    assert "looks like a protein" in told["record 'b'"]
    assert "the answer is empty" in told["record 'c' (line 5)"]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("x.csv", "a,b", "its ending says no format; name it .fasta"),
        ("x.TSV.gz", b"\x1f\x8b", "only FASTA is read; unpack it with gunzip first"),
        ("x.fasta", "ACGU", "x.fasta, line 1: a FASTA file starts with a header"),
        ("x.fasta", ">a\nACGU\n", "record 'a' (line 1): there is no answer in its header"),
        ("x.fasta", ">a b\nPQE\n", "no record that can be used; the first, record 'a'.*protein"),
        ("x.fasta", "", "x.fasta is empty"),
        ("x.fasta", b"\x00\x01", "line 1: this is binary"),
        ("x.tsv", "sequence\tlabel\nACGU\tx\n", "column 'answer' is missing; .* sequence, label"),
        ("x.tsv", "sequence\tanswer\nACGU\n", "x.tsv, line 2: 1 fields where the header has 2"),
        ("x.tsv", "sequence\tanswer\tanswer\nA\tb\tc\n", "'answer' stands twice"),
        ("x.tsv", "sequence\tanswer\n", "holds no record that can be used$"),
        ("x.tsv", " \n", "x.tsv is empty"),
        ("x.jsonl", '{"sequence": "A"}', "x.jsonl, line 1: 'answer' is missing"),
        ("x.jsonl", '{"sequence": "A", "answer": ["b"]}', "line 1: 'answer' is no text"),
        ("x.jsonl", "{", "x.jsonl, line 1: no valid JSON"),
        ("x.parquet", "PAR", "x.parquet is no readable parquet table"),
    ],
)
def test_faults_name_the_file_the_record_and_the_remedy(name, content, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        audit_files.read(path)
    assert re.search(words.replace("(line 1)", r"\(line 1\)"), str(error.value))
    assert str(path) in str(error.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="there is no such file; check the path"):
        audit_files.read(tmp_path / "x.tsv")


def test_missing_values_are_left_out(tmp_path):
    path = written(tmp_path, ".parquet", ROWS.assign(answer=["tRNA", None, " "]))
    side = audit_files.read(path)
    assert side.rows.id.tolist() == ["a"]
    assert [where for where, _ in side.left_out] == ["row 2", "row 3"]


def test_the_real_set_is_read_with_its_letters(shared):
    side = audit_files.read(shared / "nrc" / "dataset_Rfam_6320_13classes.fasta")
    assert len(side.rows) == 6320 and side.rows.answer.nunique() == 13 and not side.left_out
    assert set("".join(side.rows.sequence)) > set("ACGUNRYKMSW")


@pytest.mark.parametrize(
    ("answers", "read"),
    [
        (pd.Series([1, 2, None], dtype="Int64"), ["1", "2"]),
        (pd.Series([1.0, 2.0, float("nan")]), ["1", "2"]),
        (pd.Series([0.5, 2.25, None]), ["0.5", "2.25"]),
        (pd.Series([True, False, None], dtype="boolean"), ["true", "false"]),
        (pd.Series(["tRNA", "5S", None], dtype="category"), ["tRNA", "5S"]),
    ],
)
def test_labels_with_gaps_are_those_of_a_column_without(answers, read, tmp_path):
    side = audit_files.read(written(tmp_path, ".parquet", ROWS.assign(answer=answers)))
    assert side.rows.answer.tolist() == read and [where for where, _ in side.left_out] == ["row 3"]


def test_a_column_of_lists_is_refused(tmp_path):
    path = written(tmp_path, ".parquet", ROWS.assign(answer=[["a"], ["b"], []]))
    with pytest.raises(InputError, match="'answer' holds list.*one text in each row"):
        audit_files.read(path)


def test_numbers_as_ids_stay_what_they_are(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"sequence": "ACGU", "answer": "a"} | given for given in ({"id": 0}, {}, {"id": 7})]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert audit_files.read(path).rows.id.tolist() == ["0", "line 2", "7"]


def test_half_a_character_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"sequence": "ACGU", "answer": "a\\ud83d\\ude00"}\n{"sequence": "ACGU", "answer": "\\ud800"}'
    )
    with pytest.raises(InputError, match=r"x.jsonl, line 2: half a character"):
        audit_files.read(path)


def test_each_fasta_record_that_is_left_out_counts(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(">a t\nACGU\n>p t\nMEF\n>p t\nMEL\n")
    assert len(audit_files.read(path).left_out) == 2
