"""RNAs out of typed sequences, FASTA texts, uploads and files."""

import pytest

from rnagpt_lib.core import fasta
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import Chosen, read_chosen

RNA = "GGCUAGCUCAAUCGGUAGAGCGUGAGACUC"
FASTA = f">one first\n{RNA}\n>two\n{RNA[::-1]}\n>three\nMKLV\n"


@pytest.mark.parametrize("kind", ["text", "bytes", "file"])
def test_fasta_is_read_whatever_it_comes_as(kind, tmp_path):
    path = tmp_path / "my.fa"
    path.write_text(FASTA)
    found, refused = read_chosen({"text": FASTA, "bytes": FASTA.encode(), "file": path}[kind])
    assert [(one.id, one.sequence) for one in found] == [("one", RNA), ("two", RNA[::-1])]
    assert found[0].description == "first"
    assert [one.id for one in refused] == ["three"] and "protein" in refused[0].reason


def test_a_bare_sequence_is_read_with_notes():
    assert read_chosen("acgtacgt\nacgt") == ([Chosen.of("pasted sequence", "", "acgtacgtacgt")], [])
    ((one,), _) = read_chosen("acgtacgtacgt")
    assert one.sequence == "ACGUACGUACGU" and "DNA" in one.notes[0]
    ((long,), _) = read_chosen(RNA * 40)
    assert "overlapping windows" in long.notes[0]


def test_dna_is_noted_of_every_record_that_is_dna():
    found, _ = read_chosen(f">rna\n{RNA}\n>dna\nACGUACGUACGU\nacgtacgt\n>long\n{'ACGT' * 300}\n")
    assert [len(one.notes) for one in found] == [0, 1, 2]
    assert found[1].notes == read_chosen("ACGT" * 5)[0][0].notes


def test_gaps_that_were_left_out_are_noted_wherever_they_stood():
    found, _ = read_chosen(f">rna\n{RNA}\n>aligned\nACGU--ACGUACGU\n..ACGUA\n")
    assert [one.notes for one in found][0] == ()
    assert found[1].notes == ("4 of its characters are gaps (- or .), and were left out.",)
    assert read_chosen("ACGU--ACGUACGU..ACGUA")[0][0].notes == found[1].notes


@pytest.mark.parametrize("wrong", ["ACGUA", "MKLVFFAEDVGSNK", "", b"\0\1\2", b"no header"])
def test_what_is_neither_is_refused(wrong):
    with pytest.raises(InputError):
        read_chosen(wrong)


def test_text_is_never_a_path(tmp_path):
    path = tmp_path / "my.fa"
    path.write_text(FASTA)
    with pytest.raises(InputError):
        read_chosen(str(path))


def test_a_long_file_is_read_as_far_as_one_can_choose(monkeypatch):
    monkeypatch.setattr(fasta, "LISTED", 2)
    found, refused = read_chosen(
        "".join(f">r{number}\n{RNA}{number * 'A'}\n" for number in range(5))
    )
    assert [one.id for one in found] == ["r0", "r1"]
    assert [one.id for one in refused] == ["r2"] and "first 2 records" in refused[0].reason
