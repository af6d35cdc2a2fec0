"""The audit: files of every format are read, planted leaks are found, scores are what naive code
counts."""

import gzip
import json
import random
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.splits import relatives
from rnagpt_lib.evaluate import audit, baselines
from tests.curate.test_relatives import edited
from tests.evaluate.test_baselines import records


def leaking(rng):
    """Train, test: 6 test RNAs are in train as DNA in small letters, 5 have a relative there,
    3 of the copies have another answer."""
    train, test = records(60, rng), records(30, rng)
    copied = train.sequence[:6].str.lower().str.replace("u", "t")
    test.loc[:5, "sequence"] = copied
    test.loc[:5, "answer"] = train.answer[:6]
    test.loc[:2, "answer"] = "something else"
    test.loc[6:10, "sequence"] = [edited(s, len(s) // 10, rng) for s in train.sequence[10:15]]
    return train, test


def audited(folder, train, test):
    paths = [folder / f"{side}.parquet" for side in ("train", "test")]
    for path, rows in zip(paths, (train, test), strict=True):
        rows.to_parquet(path)
    return audit.audit(*paths)


def score(found, baseline, stratum="all", metric="exact"):
    rows = [row for row in found["scores"] if row["baseline"] == baseline]
    rows = [row for row in rows if (row["stratum"], row["metric"]) == (stratum, metric)]
    return rows[0] if rows else None


def letters(sequences: pd.Series) -> pd.Series:
    return sequences.str.upper().str.replace("T", "U")


def test_a_planted_leak_is_found_and_scores_are_shares_within_each_stratum(tmp_path):
    train, test = leaking(random.Random(0))
    found = audited(tmp_path, train, test)
    between = found["between"]
    assert (between["RNAs"], between["RNAs or relatives of them"]) == (6, 11)
    assert between["records about such RNAs"] == 11
    assert between["RNA, question and answer"] == 3
    assert between["RNA and question, with another answer only"] == 3

    ours, theirs = (sorted(set(letters(rows.sequence))) for rows in (test, train))
    near = {a for a in ours for b in theirs if relatives.similar(a, b)}  # of all pairs
    assert len(near) == 11
    for side, rnas in (("train", theirs), ("test", ours)):
        expected = sum(any(a != b and relatives.similar(a, b) for b in rnas) for a in rnas)
        assert found["within"][side]["RNAs with a relative on this side"] == expected
    listed = test.id[letters(test.sequence).isin(near)].tolist()
    assert found["overlapping"] == listed
    assert {example["test"] for example in found["examples"]} == set(listed)
    assert [e["identity end to end"] for e in found["examples"]][:6] == [1] * 6

    strata = {"all": range(30), "new": range(6, 30), "unrelated": range(11, 30)}
    sides = (rows.assign(sequence=letters(rows.sequence)) for rows in (train, test))
    for name, answers in baselines.audit_answers(*sides).items():
        right = [a == b for a, b in zip(answers, test.answer, strict=True)]
        for stratum, places in strata.items():
            row = score(found, name, stratum)
            assert row["value"] == pytest.approx(np.mean([right[i] for i in places]))
            assert row["low"] <= row["value"] <= row["high"] and row["records"] == len(places)
    assert score(found, "floor.nearest")["value"] >= 3 / 30


def test_counts_of_texts_and_repeats_are_what_loops_count(tmp_path):
    rng = random.Random(4)
    train, test = records(40, rng), records(30, rng)
    for rows in (train, test):
        rows["question"] = rng.choices(["What is it?", "Which type?", "what  IS it?"], k=len(rows))
        rows["answer"] = rng.choices(["tRNA", "a tRNA", "TRNA", "miRNA", "x", "y"], k=len(rows))
    train = pd.concat([train, train[:4], train[:7].assign(answer="z")], ignore_index=True)
    test = pd.concat([test, train[20:25]], ignore_index=True)
    found = audited(tmp_path, train, test)

    def plain(rows, *columns):
        return [
            tuple(" ".join(str(row[c]).casefold().split()) for c in columns)
            for row in rows.to_dict("records")
        ]

    for name, columns in {
        "questions": ["question"],
        "answers": ["answer"],
        "RNA, question and answer": ["sequence", "question", "answer"],
    }.items():
        known = set(plain(train, *columns))
        assert found["between"][name] == sum(key in known for key in plain(test, *columns)), name
    for side, rows in (("train", train), ("test", test)):
        keys = plain(rows, "sequence", "question", "answer")
        asked = plain(rows, "sequence", "question")
        within = found["within"][side]
        assert within["records that repeat an earlier one"] == len(keys) - len(set(keys))
        assert within["records whose RNA has another answer, too"] == sum(
            len({k[2] for k in keys if k[:2] == one}) > 1 for one in asked
        )


def test_copies_count_once_in_bounds_and_disjoint_sides_are_told_so(tmp_path):
    """Ten records about each test RNA: the same bounds as one, over as many groups."""
    train, test = records(60, random.Random(2)), records(30, random.Random(3))
    single = audited(tmp_path, train, test)
    tenfold = score(audited(tmp_path, train, pd.concat([test] * 10)), "kmers.nearest")
    once = score(single, "kmers.nearest")
    assert (once["groups"], tenfold["groups"]) == (30, 30) and tenfold["records"] == 300
    names = ("low", "value", "high")
    assert [tenfold[k] for k in names] == pytest.approx([once[k] for k in names])
    said = " ".join(single["findings"])
    assert "0 % of the test RNAs (0 of 30) are in train letter by letter, 0 % (0)" in said
    assert "What to do" not in said and single["overlapping"] == single["examples"] == []


def test_a_test_side_that_is_train_is_all_memory(tmp_path):
    train = records(40, random.Random(5))
    found = audited(tmp_path, train, train)
    assert score(found, "floor.nearest")["value"] == 1
    assert score(found, "floor.nearest", "new") is None
    said = " ".join(found["findings"])
    assert "100 % of the test RNAs (40 of 40) are in train letter by letter" in said
    assert "and – on RNAs without a relative" in said


def test_questions_that_give_answers_away_are_told(tmp_path):
    rng = random.Random(8)
    train, test = records(90, rng), records(90, rng)
    for rows in (train, test):
        rows["question"] = [f"What binds the {a} no. {i % 7}?" for i, a in enumerate(rows.answer)]
    test["question"] = test.question + " Tell me"  # nobody asked just that
    found = audited(tmp_path, train, test)
    assert score(found, "blind")["value"] == 1
    assert "the wording gives answers away" in " ".join(found["findings"])


def test_composition_is_found_by_a_regression_and_not_by_a_constant(tmp_path):
    found = audited(tmp_path, records(150, random.Random(10)), records(60, random.Random(11)))
    assert score(found, "kmers.logistic")["value"] > 0.9
    assert score(found, "floor.most_common")["value"] == pytest.approx(1 / 3)
    assert score(found, "floor.most_common", metric="balanced")["value"] == pytest.approx(1 / 3)


def test_answers_in_sentences_are_scored_by_rouge_too(tmp_path):
    rng = random.Random(12)
    sides = [records(40, rng) for _ in range(2)]
    for rows in sides:
        rows["answer"] = [f"The RNA was found in place {i} of the cell." for i in range(len(rows))]
    sides[1]["answer"] = sides[1].answer.str.replace("was found", "is made")
    found = audited(tmp_path, *sides)
    assert score(found, "floor.random")["value"] == 0
    assert 0.5 < score(found, "floor.random", metric="rougeL")["value"] < 1
    assert score(found, "floor.random", metric="balanced") is None


def test_real_rnas_of_two_families_are_relatives_as_all_pairs_say(shared, tmp_path):
    side = audit.read(shared / "nrc" / "dataset_Rfam_6320_13classes.fasta")
    rows = side.rows
    assert len(rows) == 6320 and rows.answer.nunique() == 13 and not side.left_out
    assert set("".join(rows.sequence)) > set("ACGUNRYKMSW")
    rows = rows[rows.id.str.startswith(("RF00001_", "RF00005_"))].groupby("answer").head(40)
    train, test = rows[::2].reset_index(drop=True), rows[1::2].reset_index(drop=True)
    found = audited(tmp_path, train, test)
    near = sum(any(relatives.similar(a, b) for b in train.sequence) for a in test.sequence)
    # the search loses a few at the border, and finds none that are not
    assert 0.9 * near <= found["between"]["RNAs or relatives of them"] <= near
    assert 0 < near < len(test)
    assert score(found, "floor.nearest")["value"] > 0.9 > score(found, "floor.random")["value"]


def test_shares_are_never_rounded_to_none_or_all():
    assert audit.percent(37, 100) == "37 %"
    assert audit.percent(1, 1000) == "0.1 %"
    assert audit.percent(999, 1000) == "99.9 %"


# Reading a side.

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


@pytest.mark.parametrize(
    ("kind", "place"), [(".tsv", "line 2"), (".jsonl", "line 1"), (".parquet", "row 1")]
)
def test_tables_are_read_alike(kind, place, tmp_path):
    dna = ROWS.assign(sequence=["acgtacgt", "ggccNRYA", "TTTT acgt"])
    side = audit.read(written(tmp_path, kind, dna))
    assert side.rows.to_dict("list") == ROWS.to_dict("list") and not side.left_out
    side = audit.read(written(tmp_path, kind, ROWS[["answer", "sequence"]]))
    assert set(side.rows.question) == {audit.QUESTION} and side.rows.id.iloc[0] == place


def test_fasta_headers_answer_and_what_cannot_be_used_is_left_out_and_told(tmp_path):
    path = tmp_path / "x.fa.gz"
    text = ">RF1_a 5S_rRNA\nACGTN\nACGT\n>URS00008314B2 tRNA from 13 species\nACGUA\n>b a long text"
    path.write_bytes(
        gzip.compress(f"{text}\nCC\n>b a long text\nCC\n>c tRNA\nMEEPQ\n>d\nA".encode())
    )
    side = audit.read(path)
    copy = ["a long text"] * 2  # stays, for the audit to find
    assert side.rows.answer.tolist() == ["5S_rRNA", "tRNA", *copy]
    assert side.rows.sequence.tolist() == ["ACGUNACGU", "ACGUA", "CC", "CC"]
    told = dict(side.left_out)
    assert "looks like a protein" in told["record 'c'"]
    assert "the answer is empty" in told["record 'd' (line 12)"]


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
        audit.read(path)
    assert re.search(words.replace("(line 1)", r"\(line 1\)"), str(error.value))
    assert str(path) in str(error.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="there is no such file; check the path"):
        audit.read(tmp_path / "x.tsv")


@pytest.mark.parametrize(
    ("answers", "read"),
    [
        (pd.Series([1, 2, None], dtype="Int64"), ["1", "2"]),
        (pd.Series([1.0, 2.0, float("nan")]), ["1", "2"]),
        (pd.Series([0.5, 2.25, None]), ["0.5", "2.25"]),
        (pd.Series([True, False, None], dtype="boolean"), ["True", "False"]),
        (pd.Series(["tRNA", "5S", None], dtype="category"), ["tRNA", "5S"]),
        (pd.Series(["tRNA", "5S", " "]), ["tRNA", "5S"]),
    ],
)
def test_labels_with_gaps_are_those_of_a_column_without(answers, read, tmp_path):
    side = audit.read(written(tmp_path, ".parquet", ROWS.assign(answer=answers)))
    assert side.rows.answer.tolist() == read and [where for where, _ in side.left_out] == ["row 3"]


@pytest.mark.parametrize("kind", [".tsv", ".jsonl", ".parquet", ".fa"])
@pytest.mark.parametrize(
    ("spellings", "label"),
    [
        (["1", "1.0", "1.00", "+1", "1e0", "1.0e+00"], "1"),
        (["0", "0.0", "-0.0", "0e+00"], "0"),
        (["0.5", "0.50", "5e-1"], "0.5"),
        (["10000000000000000", "1e+16", "1.0e16"], "10000000000000000"),
        (["007"], "007"),
        (["1.0.0"], "1.0.0"),
        (["1e999"], "1e999"),
        (["٣.0"], "٣.0"),
        (["1.0 kb"], "1.0 kb"),
    ],
)
def test_a_number_is_one_label_however_it_is_written(kind, spellings, label, tmp_path):
    path = tmp_path / f"x{kind}"
    rows = pd.DataFrame({"sequence": "ACGUACGUAC", "answer": spellings})
    if kind == ".fa":
        path.write_text("".join(f">r{i} {s}\nACGU\n" for i, s in enumerate(spellings)), "utf-8")
    elif kind == ".parquet":
        rows.to_parquet(path)
    elif kind == ".tsv":
        rows.to_csv(path, sep="\t", index=False)
    else:
        rows.to_json(path, orient="records", lines=True)
    assert set(audit.read(path).rows.answer) == {label}


def test_labels_of_two_programs_are_compared_as_the_same(tmp_path):
    train = records(20, random.Random(0))
    train.assign(answer=[i % 2 for i in range(20)]).to_csv(
        tmp_path / "a.tsv", sep="\t", index=False
    )
    train.assign(answer=[float(i % 2) for i in range(20)]).to_csv(
        tmp_path / "b.tsv", sep="\t", index=False
    )
    found = audit.audit(tmp_path / "a.tsv", tmp_path / "b.tsv")
    assert found["between"]["RNA, question and answer"] == 20
    assert score(found, "floor.nearest")["value"] == 1
    assert found["within"]["train"]["distinct answers"] == 2


def test_of_one_group_there_are_no_bounds(tmp_path):
    train, test = records(30, random.Random(0)), records(3, random.Random(1))
    found = audited(tmp_path, train, test.assign(sequence=test.sequence[0], answer=["a", "b", "c"]))
    for row in found["scores"]:
        assert (row["groups"], row["low"], row["high"]) == (1, None, None)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    said = " ".join(found["findings"])
    assert "[one group: no bounds]" in said and "nan" not in said and "None" not in said
    assert "The 3 test records are about 1 RNA in 1 group of similar ones" in said
    one = audited(tmp_path, train, train[:1])
    assert "The 1 test record is about 1 RNA in 1 group" in " ".join(one["findings"])
    assert "leave out the 1 test record that is listed" in one["findings"][-1]


@pytest.mark.slow
def test_a_small_file_that_unfolds_to_gigabytes_is_refused_unread(tmp_path):
    letters = pa.DictionaryArray.from_arrays(pa.array([0] * 8000, pa.int32()), ["A" * 2**20])
    packed = pa.table({"sequence": letters, "answer": pa.array(["tRNA"] * 8000)})
    pq.write_table(packed, tmp_path / "dictionary.parquet", compression="zstd")
    texts = ["ACGU" * 2**18 + str(i) for i in range(300)]
    plain = pa.table({"sequence": texts, "answer": ["a"] * 300})
    pq.write_table(plain, tmp_path / "plain.parquet", compression="zstd", use_dictionary=False)
    runs = pa.table(
        {"sequence": pa.array(["A"] * 9_000_000), "answer": pa.array(["a"] * 9_000_000)}
    )
    pq.write_table(runs, tmp_path / "runs.parquet", compression="zstd")
    for name in ("dictionary", "plain", "runs"):
        path = tmp_path / f"{name}.parquet"
        assert path.stat().st_size < 4_000_000
        with pytest.raises(InputError, match="unfolds to more than 268,435,456 bytes; give a part"):
            audit.read(path)
    wide = {"sequence": ["ACGU"], "answer": ["a"], "notes": pa.array([["A" * 9]])}
    pq.write_table(pa.table(wide), tmp_path / "wide.parquet")
    assert len(audit.read(tmp_path / "wide.parquet").rows) == 1


def test_a_file_of_too_many_records_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "MOST_RECORDS", 2)
    (tmp_path / "x.fa").write_text(">a x\nACGU\n>b x\nACGU\n")
    assert len(audit.read(tmp_path / "x.fa").rows) == 2
    (tmp_path / "x.fa").write_text(">a x\nACGU\n>b x\nACGU\n>c x\nACGU\n")
    with pytest.raises(InputError, match="x.fa holds more than 2 records"):
        audit.read(tmp_path / "x.fa")


def test_a_column_of_lists_is_refused(tmp_path):
    path = written(tmp_path, ".parquet", ROWS.assign(answer=[["a"], ["b"], []]))
    with pytest.raises(InputError, match="'answer' is no text but several; write a record"):
        audit.read(path)


def test_numbers_as_ids_stay_what_they_are(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"sequence": "ACGU", "answer": "a"} | given for given in ({"id": 0}, {}, {"id": 7})]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert audit.read(path).rows.id.tolist() == ["0", "line 2", "7"]


def test_half_a_character_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"sequence": "ACGU", "answer": "a\\ud83d\\ude00"}\n{"sequence": "ACGU", "answer": "\\ud800"}'
    )
    with pytest.raises(InputError, match=r"x.jsonl, line 2: half a character"):
        audit.read(path)


def test_each_fasta_record_that_is_left_out_counts(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(">a t\nACGU\n>p t\nMEF\n>p t\nMEL\n")
    assert len(audit.read(path).left_out) == 2
