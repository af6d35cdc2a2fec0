"""FASTA files, uploads and text: what is read, what is refused, and how much memory it takes."""

import gzip
import os
import re
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from rnagpt_lib.core import fasta, paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import Record, read_chosen, stream_records
from tests.support import fasta_ends, fasta_inputs

FASTA = ">a first one\nacgu\nACGT\n\n>b\r\nGG-GG\r\n"
SMALL = [c for cases in fasta_inputs.GROUPS.values() for c in cases if c not in fasta_inputs.LARGE]
RNA = fasta_inputs.rna()


def write(tmp_path, content: bytes, name="in.fasta"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_reads_text_plain_and_zipped_files_alike(tmp_path):
    expected = [("a", "first one", "ACGUACGU", 1), ("b", "", "GGGG", 5)]
    plain = write(tmp_path, FASTA.encode())
    zipped = write(tmp_path, gzip.compress(FASTA.encode()), "in.fasta.gz")
    marked = write(tmp_path, b"\xef\xbb\xbf" + FASTA.encode(), "bom.fasta")
    for source in (FASTA, FASTA.encode(), plain, zipped, marked):
        records = fasta.read_fasta(source)
        assert [(r.id, r.description, r.sequence, r.line) for r in records] == expected


def test_the_reader_streams(tmp_path):
    path = write(tmp_path, b">good\nACGU\n>bad\nAC!U\n")
    stream = fasta.stream_fasta(path)
    assert next(stream).id == "good"
    with pytest.raises(InputError, match="'bad'"):
        next(stream)


def test_faults_name_the_file_the_record_and_the_fault(tmp_path):
    for content, words in [
        (b"ACGU\n>a\nACGU\n", ["line 1", "header"]),
        (b"", ["empty"]),
        (b"\n \n", ["empty"]),
        (b">a\n>b\nACGU\n", ["'a'", "line 1", "empty"]),
        (b">\nACGU\n", ["line 1", "no id"]),
        (b">a\nACGU\n>a\nACGG\n", ["'a'", "line 3", "line 1"]),
        (b">a\nACXU\n", ["'a'", "'X'"]),
        (b">a\nMKVLAAGEF\n", ["'a'", "protein"]),
        (b"\x00\x01\x02\xff", ["binary"]),
        (b">a\nAC\xff\xfe\n", ["line 2", "binary"]),
        (gzip.compress(b">a\nACGU\n" * 99, mtime=0)[:-12], ["gzip"]),
        (b"\x1f\x8bnot gzip at all", ["gzip"]),
    ]:
        path = write(tmp_path, content)
        with pytest.raises(InputError) as error:
            fasta.read_fasta(path)
        assert all(word in str(error.value) for word in ["in.fasta", *words])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.fa"):
        fasta.read_fasta(tmp_path / "nowhere.fa")


def test_a_space_before_the_id_is_harmless():
    assert fasta.read_fasta("> a b\nACGU")[0].id == "a"


def test_equal_duplicates_are_read_once():
    assert len(fasta.read_fasta(">a\nACGU\n>a\nacgt\n>b\nACGU\n")) == 2


def by_name(case):
    return case.name


def test_the_inputs_are_a_hundred():
    cases = [case for cases in fasta_inputs.GROUPS.values() for case in cases]
    assert len(cases) == 100 == len({case.name for case in cases})


def test_every_input_ends_as_documented(tmp_path):
    for case in SMALL:
        folder = tmp_path / str(SMALL.index(case))
        folder.mkdir()
        tmp_path.chmod(0o755)
        assert fasta_ends.fault(case, fasta_ends.read(case.make(folder), case.as_nobody)) == ""


def weight(source) -> int:
    if isinstance(source, str | bytes):
        return len(source)
    try:
        return source.stat().st_size
    except (OSError, ValueError):
        return 0


@pytest.mark.parametrize("piece", [1, 7])
def test_the_size_of_the_pieces_changes_nothing(piece, tmp_path_factory, monkeypatch):
    sources = [case.make(tmp_path_factory.mktemp("case")) for case in SMALL]
    whole = [(source, fasta_ends.read(source)) for source in sources if weight(source) < 20_000]
    # what comes before damage, or before a byte that is no text, comes as far as its piece does
    exact = [(one, end) for one, end in whole if not re.search("binary|damaged|convert", end.error)]
    monkeypatch.setattr(fasta, "PIECE", piece)
    assert len(exact) > 60
    for source, end in exact:
        assert fasta_ends.read(source) == end


@pytest.mark.slow
@pytest.mark.parametrize("case", fasta_inputs.LARGE, ids=by_name)
def test_large_inputs_take_little_memory(case, tmp_path):
    assert fasta_ends.fault(case, fasta_ends.read_apart(case.make(tmp_path))) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="no limit of memory elsewhere")
def test_the_campaigns_limit_of_memory_holds():
    for size, ends in {30: 0, 70: 1}.items():
        code = f"from tests.support import fasta_ends; fasta_ends.limit_memory(50); bytearray({size} << 20)"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=paths.root(), stderr=subprocess.PIPE
        )
        assert done.returncode == ends and (b"MemoryError" in done.stderr) == bool(ends)


def test_a_process_without_a_result_is_told():
    assert "without a result: 1" in fasta_ends.read_apart(object()).error


def test_memory_stays_small_whatever_the_length(tmp_path):
    long = b"ACGU" * (1 << 18)
    path = write(
        tmp_path, gzip.compress(b">a\n" + long * 32 + b"\n>b " + long * 32 + b"\nACGUACGUAC")
    )
    tracemalloc.start()
    try:
        first, second = stream_records(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "more than 100,000" in first.reason and len(second.description) == fasta.MAX_DESCRIPTION
    assert peak < 2 << 20  # of 64 MB


def test_both_ways_read_the_same(tmp_path):
    for seed in range(20):
        source = write(tmp_path, fasta_inputs.formatted(seed).make(tmp_path))
        assert list(stream_records(source)) == fasta.read_fasta(source)


def test_what_reaches_a_terminal_prints():
    text = f">a\x1b[2J\tb\x9b31m\u202e\x07 c\n{RNA}\n>\x1b[0m\nXX"
    record, refused = stream_records(text)
    assert record == Record("a\ufffd[2J", "b\ufffd31m\ufffd\ufffd c", RNA)
    assert (refused.id, refused.line) == ("\ufffd[0m", 3)
    assert fasta.read_fasta(text.partition("\n>")[0]) == [record]


def test_typed_text_opens_no_file(tmp_path):
    path = write(tmp_path, fasta_inputs.good().encode(), "ACGUACGUACGU")
    with pytest.raises(InputError, match="the FASTA text, line 1"):
        list(stream_records(str(path)))


def test_a_pipe_is_read(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(FASTA.encode()),))
    writer.start()
    assert [one.id for one in stream_records(path)] == ["a", "b"]
    writer.join()


def test_records_come_before_the_file_is_read_to_its_end(tmp_path):
    path = write(tmp_path, fasta_inputs.good("a").encode() + b">b\nAC\xff\n")
    stream = stream_records(path)
    assert next(stream).id == "a"
    with pytest.raises(InputError, match="line 4"):
        next(stream)


def test_an_early_end_closes_the_file(tmp_path):
    path = write(tmp_path, gzip.compress(fasta_inputs.good("a").encode() * 2))
    stream = stream_records(path)
    next(stream)
    stream.close()
    assert not [f for f in Path("/proc/self/fd").glob("*") if f.resolve() == path.resolve()]


# What somebody pastes, uploads or names, to ask about.

GIVEN = "GGCUAGCUCAAUCGGUAGAGCGUGAGACUC"
THREE = f">one first\n{GIVEN}\n>two\n{GIVEN[::-1]}\n>three\nMKLV\n"


@pytest.mark.parametrize("kind", ["text", "bytes", "file"])
def test_fasta_is_read_whatever_it_comes_as(kind, tmp_path):
    path = tmp_path / "my.fa"
    path.write_text(THREE)
    found, refused = read_chosen({"text": THREE, "bytes": THREE.encode(), "file": path}[kind])
    assert [(one.id, one.sequence) for one in found] == [("one", GIVEN), ("two", GIVEN[::-1])]
    assert found[0].description == "first"
    assert [one.id for one in refused] == ["three"] and "protein" in refused[0].reason


def test_a_bare_sequence_is_read_with_notes():
    assert read_chosen("acgtacgt\nacgt") == ([Record.of("pasted sequence", "", "acgtacgtacgt")], [])
    ((one,), _) = read_chosen("acgtacgtacgt")
    assert one.sequence == "ACGUACGUACGU" and "DNA" in one.notes[0]
    ((long,), _) = read_chosen(GIVEN * 40)
    assert "overlapping windows" in long.notes[0]


def test_dna_is_noted_of_every_record_that_is_dna():
    found, _ = read_chosen(f">rna\n{GIVEN}\n>dna\nACGUACGUACGU\nacgtacgt\n>long\n{'ACGT' * 300}\n")
    assert [len(one.notes) for one in found] == [0, 1, 2]
    assert found[1].notes == read_chosen("ACGT" * 5)[0][0].notes


def test_gaps_that_were_left_out_are_noted_wherever_they_stood():
    found, _ = read_chosen(f">rna\n{GIVEN}\n>aligned\nACGU--ACGUACGU\n..ACGUA\n")
    assert [one.notes for one in found][0] == ()
    assert found[1].notes == ("4 of its characters are gaps (- or .), and were left out.",)
    assert read_chosen("ACGU--ACGUACGU..ACGUA")[0][0].notes == found[1].notes


def test_what_is_neither_is_refused():
    for wrong in ["ACGUA", "MKLVFFAEDVGSNK", "", b"\0\1\2", b"no header"]:
        with pytest.raises(InputError):
            read_chosen(wrong)


def test_text_is_never_a_path(tmp_path):
    path = tmp_path / "my.fa"
    path.write_text(THREE)
    with pytest.raises(InputError):
        read_chosen(str(path))


def test_a_long_file_is_read_as_far_as_one_can_choose(monkeypatch):
    monkeypatch.setattr(fasta, "LISTED", 2)
    found, refused = read_chosen(
        "".join(f">r{number}\n{GIVEN}{number * 'A'}\n" for number in range(5))
    )
    assert [one.id for one in found] == ["r0", "r1"]
    assert [one.id for one in refused] == ["r2"] and "first 2 records" in refused[0].reason


@pytest.mark.parametrize(
    ("begin", "what", "how"),
    [
        ("@read1\nACGU\n+\nIIII", "FASTQ", "'fastq'"),
        ("\n\n@read1\nACGU\n+\n>>>>", "FASTQ", "'fastq'"),
        ("CLUSTAL W (1.83) multiple sequence alignment\n\na ACGU", "a CLUSTAL alig", "'clustal'"),
        ("MUSCLE (3.8) multiple sequence alignment\n\na ACGU", "a CLUSTAL", "'clustal'"),
        ("# STOCKHOLM 1.0\na ACGU\n//", "a Stockholm alignment", "'stockholm'"),
        ("LOCUS       X 10 bp\nORIGIN\n", "GenBank", "'genbank'"),
        ("ID   X56734; SV 1; linear;\n", "EMBL", "'embl'"),
        ("#NEXUS\nbegin data;", "NEXUS", "'nexus'"),
        (" 5    42\nTurkey    AAGCT", "a PHYLIP alignment", "'phylip-relaxed'"),
        ("@HD\tVN:1.6\n@SQ\tSN:a\tLN:9", "SAM", "samtools fasta"),
    ],
)
def test_other_formats_are_named_with_what_makes_fasta_of_them(begin, what, how, tmp_path):
    path = tmp_path / "in.txt"
    path.write_text(begin)
    for source in (path, begin.encode(), begin + "\n>a\nACGU"):
        for read in (fasta.read_fasta, lambda source: [*stream_records(source)]):
            with pytest.raises(InputError, match=rf"line \d: this is {what}.*{how}"):
                read(source)


@pytest.mark.parametrize("begin", ["ID\tsequence\n", "LOCUS\tACGU\n", "5 apples\n", "ACGU 12 13\n"])
def test_other_texts_are_taken_for_no_format(begin):
    with pytest.raises(InputError, match="starts with a header line"):
        fasta.read_fasta(begin + ">a\nACGU")


def test_a_record_beyond_any_rna_is_refused_and_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(fasta, "LONGEST", 1000)
    path = write(tmp_path, b">a\n" + b"ACGU\n" * 250 + b">b\n" + b"ACGU\n" * 251 + b">c\nAC\n")
    refused = {}
    assert [r.id for r in fasta.read_fasta(path, refused)] == ["a", "c"]
    assert refused == {"b": "line 252: the sequence has more than 1,000 letters, which are the most "
                            "that are read; give a part of it"}  # fmt: skip
    with pytest.raises(InputError, match="record 'b'.*more than 1,000 letters"):
        fasta.read_fasta(path)


def test_what_is_held_and_what_is_refused_has_an_end(monkeypatch):
    monkeypatch.setattr(fasta, "MOST_HELD", 2000)
    with pytest.raises(InputError, match="the FASTA text holds more than memory should"):
        fasta.read_fasta("".join(f">r{i}\nACGU\n" for i in range(9)))
    monkeypatch.setattr(fasta, "MOST_REFUSED", 3)
    with pytest.raises(InputError, match="more than 3 records cannot be used, as 'r3': letter"):
        fasta.read_fasta("".join(f">r{i}\nXX\n" for i in range(9)), {})
