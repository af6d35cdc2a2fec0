"""Many records, many questions, one file: what a killed call writes, and what it never overwrites."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from rnagpt_lib.chat import ask
from rnagpt_lib.chat.ask import Asker, ask_file
from rnagpt_lib.chat.decoding import Sampling
from rnagpt_lib.chat.generate import Chat, load_model
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.runs.resume_store import Store
from tests.support.finished import made, trained
from tests.support.tiny_chat import QUESTIONS, Letters, tiny

__all__ = ["tiny"]
FASTA = """>a first
GGCUAGCUCAAUCGGUAGAGC
>protein
MKLVFFAEDVGSNKGAIIGL
>b
acgtacgtacgtacgt
>short
ACGU
>a again
GGGGGGGGGGCC
>=1+1
ACGGACUUGACAUGCAUG
"""
ASKED = tuple(QUESTIONS[:2])


@pytest.fixture
def chat(tiny) -> Chat:
    return Chat("IT", tiny, Letters(), max_new_tokens=5, hash="h")


@pytest.fixture
def fasta(tmp_path) -> Path:
    path = tmp_path / "my.fa"
    path.write_text(FASTA)
    return path


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_question_about_every_record(chat, fasta, tmp_path):
    out = tmp_path / "out.jsonl"
    told = ask_file(Asker(ASKED, chat), fasta, out)
    rows = lines(out)
    assert told == {"rows": len(rows), "refused": 3, "kept": 0}
    assert [(row["id"], row.get("question")) for row in rows] == [
        *[("a", q) for q in ASKED], ("protein", None), *[("b", q) for q in ASKED], ("short", None),
        ("a", None), *[("=1+1", q) for q in ASKED],
    ]  # fmt: skip
    answered = [row for row in rows if "question" in row]
    expected = chat.answer_all(
        ["GGCUAGCUCAAUCGGUAGAGC"] * 2 + ["ACGUACGUACGUACGU"] * 2 + ["ACGGACUUGACAUGCAUG"] * 2,
        list(ASKED) * 3,
    )
    assert [row["answer"] for row in answered] == [answer.text for answer in expected]
    assert len({row["answer"] for row in answered}) > 2
    reasons = {row["line"]: row["refused"] for row in rows if "refused" in row}
    assert "protein" in reasons[3] and "4 nt" in reasons[7] and "line 1" in reasons[9]
    assert any("DNA" in note for row in rows if row["id"] == "b" for note in row["notes"])
    assert not list(tmp_path.glob("*.partial"))


def test_an_rna_that_the_llm_cannot_read_is_refused_and_the_others_answered(
    chat, tmp_path, monkeypatch
):
    fasta, out = tmp_path / "long.fa", tmp_path / "out.jsonl"
    fasta.write_text(">long\n" + "ACGU" * 30 + "\n>b\nACGUACGUACGU\n")
    monkeypatch.setattr(chat.model.llm.config, "max_position_embeddings", 110)
    ask_file(Asker(ASKED, chat), fasta, out)
    refused, *answered = lines(out)
    assert "120 nt" in refused["refused"] and [row["id"] for row in answered] == ["b", "b"]


def begin(asker: Asker, fasta: Path, out: Path, chunks: int, *, rows=None) -> None:
    """What a killed call left: the first ``chunks``, each of `ask.CHUNK` records."""
    records = list(ask.stream_records(fasta))
    with Store(out.with_name(f"{out.name}.partial"), asker.key(fasta), replace=True) as store:
        for number in range(chunks):
            chunk = records[ask.CHUNK * number : ask.CHUNK * (number + 1)]
            store.put(str(number), json.dumps(rows or asker.rows(chunk)).encode())


def test_chunks_do_not_matter_nor_where_a_call_broke_off(chat, fasta, tmp_path, monkeypatch):
    for sampling, form in zip(
        (Sampling(), Sampling(1.2, 0.9, 4), Sampling()), ask.FORMS, strict=True
    ):
        asker = Asker(ASKED, chat, sampling=sampling)
        whole, pieces = tmp_path / f"whole{form}", tmp_path / f"pieces{form}"
        with monkeypatch.context() as patched:
            ask_file(asker, fasta, whole)
            patched.setattr(ask, "CHUNK", 2)
            for chunks in (0, 1, 2):
                begin(asker, fasta, pieces, chunks)
                told = ask_file(asker, fasta, pieces)
                assert pieces.read_bytes() == whole.read_bytes()
                assert (told["kept"] > 0) == (chunks > 0)
                pieces.unlink()
        assert not list(tmp_path.glob("*.partial*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from rnagpt_lib.chat import ask as asking
from rnagpt_lib.chat.generate import load_model
from tests.chat.test_ask import ASKED
asking.CHUNK = 2
made, limit = asking.Asker.rows, int(sys.argv[3])
def rows(self, records, n=[0]):
    n[0] += 1
    if n[0] > limit:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(self, records)
asking.Asker.rows = rows
asking.ask_file(asking.Asker(ASKED, load_model("w", "IT", 6)), Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_call_given_again_writes_the_same_file(tmp_path, fasta):
    made("w")
    trained("w", tmp_path / "models")
    undisturbed, out = tmp_path / "undisturbed.jsonl", tmp_path / "out.jsonl"
    ask_file(Asker(ASKED, load_model("w", "IT", 6)), fasta, undisturbed)
    command = [sys.executable, "-c", KILLED, fasta, out]
    done = subprocess.run([*command, "1"], cwd=paths.root())
    assert done.returncode == -signal.SIGKILL and not out.exists()
    assert subprocess.run([*command, "9"], cwd=paths.root()).returncode == 0
    assert out.read_bytes() == undisturbed.read_bytes()
    assert not {name for name in os.listdir(tmp_path) if "out.jsonl." in name or name[0] == "."}


def test_what_another_call_left_is_not_taken(chat, fasta, tmp_path):
    asker, out = Asker(ASKED, chat), tmp_path / "out.jsonl"
    for other in (
        replace(asker, questions=("Why?",)),
        replace(asker, sampling=Sampling(0.5)),
        replace(asker, chat=replace(asker.chat, hash="other")),
        replace(asker, named="only"),
    ):
        begin(asker, fasta, out, 1, rows=[{"id": "x"}])
        with pytest.raises(InputError, match="out.jsonl.partial was begun with other input"):
            ask_file(other, fasta, out)
        assert out.with_name("out.jsonl.partial").exists() and not out.exists()
        ask_file(other, fasta, out, force=True)
        assert all(row["id"] != "x" for row in lines(out))
        out.unlink()
    before = asker.key(fasta)
    fasta.write_text(FASTA.replace("acgt", "accc"))
    assert asker.key(fasta) != before


def test_nothing_is_overwritten_unasked(chat, fasta, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists; --force"):
        ask_file(Asker(ASKED, chat), fasta, out)
    assert out.read_text() == "mine"
    with pytest.raises(InputError, match=r"\.jsonl, \.tsv, \.md"):
        ask_file(Asker(ASKED, chat), fasta, tmp_path / "out.csv")
    with pytest.raises(InputError, match="no folder"):
        ask_file(Asker(ASKED, chat), fasta, tmp_path / "none" / "out.md")


def test_a_file_that_is_no_fasta_leaves_nothing(chat, tmp_path):
    path = tmp_path / "a.fa"
    path.write_bytes(b"\x00\x01\x02")
    with pytest.raises(InputError, match="binary"):
        ask_file(Asker(ASKED, chat), path, tmp_path / "out.md")
    assert not (tmp_path / "out.md").exists()


def test_a_file_that_cannot_be_read_is_named(chat, tmp_path):
    for path, why in ((tmp_path / "none.fa", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=f"^{path} cannot be read: {why}"):
            ask_file(Asker(ASKED, chat), path, tmp_path / "out.md")
    with pytest.raises(InputError, match="/dev/null is no file"):
        ask_file(Asker(ASKED, chat), Path("/dev/null"), tmp_path / "out.md")
    assert not os.listdir(tmp_path)


def test_two_calls_never_write_one_file(chat, fasta, tmp_path):
    out = tmp_path / "out.jsonl"
    with (tmp_path / ".out.jsonl.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="out.jsonl is in use by process"):
            ask_file(Asker(ASKED, chat), fasta, out)
        assert sorted(os.listdir(tmp_path)) == [".out.jsonl.lock", "my.fa"]
    ask_file(Asker(ASKED, chat), fasta, out)
    assert sorted(os.listdir(tmp_path)) == ["my.fa", "out.jsonl"]


def test_a_call_that_answered_nothing_is_in_nobodys_way(chat, fasta, tmp_path):
    out, empty = tmp_path / "out.jsonl", tmp_path / "empty.fa"
    empty.write_text("")
    with pytest.raises(InputError, match="is empty"):
        ask_file(Asker(ASKED, chat), empty, out)
    assert not list(tmp_path.glob("*.partial"))
    begin(Asker(("Another?",), chat), fasta, out, 0)
    assert ask_file(Asker(ASKED, chat), fasta, out)["rows"] == 9


HOSTILE = "<script>alert(1)</script> [x](javascript:y) \x1b[31m|\n# head\t=cmd()"


def test_rows_come_back_as_they_were_and_no_cell_is_a_formula(tmp_path):
    rows = [
        {"id": HOSTILE, "line": 1, "question": HOSTILE, "answer": HOSTILE, "stop_reason": "eos"},
        {"id": "=1+1", "line": 3, "refused": HOSTILE},
        {"id": '"c', "line": 5, "refused": "x"},
    ]
    for form in (".jsonl", ".tsv"):
        ask.write(rows, tmp_path / f"a{form}", form)
    assert lines(tmp_path / "a.jsonl") == rows
    table = pd.read_csv(tmp_path / "a.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert list(table.columns) == list(ask.COLUMNS) and len(table) == 3
    assert table.id.tolist()[1:] == ["'=1+1", "'\"c"]
    assert "\x1b" not in (tmp_path / "a.tsv").read_text()


def test_markdown_lists_the_same_neighbours_once(tmp_path):
    def row(question, *names):
        near = [{"rna_ids": [name], "identity": 0.5, "sentences": []} for name in names]
        return {
            "id": "one", "line": 1, "nt": 9, "question": question, "retrieved": {"neighbours": near},
        }  # fmt: skip

    rows = [row("a?", "X", "Y"), row("b?", "X", "Y"), row("c?", "Y"), row("d?"), row("e?", "Y")]
    other = {"id": "two", "line": 3, "refused": "a protein"}
    ask.write([*rows, other, row("f?") | {"id": "six"}], tmp_path / "a.md", ".md")
    text = (tmp_path / "a.md").read_text()
    assert "\n\n\n" not in text and text.count("\n\n## ") == 3
    _, *answers = text.partition("## two")[0].split("**")[::2]
    listed = [[line for line in each.splitlines() if line[:1] == "-"] for each in answers]
    assert [len(lines) for lines in listed] == [2, 1, 1, 0, 1]
    assert (
        listed[1] == ["- retrieved, not generated: the same as above"]
        and "Y" in listed[2][0]
        and "Y" in listed[4][0]
    )


def test_a_call_that_replaces_a_file_goes_on_too(chat, fasta, tmp_path, monkeypatch):
    monkeypatch.setattr(ask, "CHUNK", 2)
    out, asker = tmp_path / "out.jsonl", Asker(ASKED, chat)
    ask_file(asker, fasta, out)
    whole = out.read_bytes()
    out.write_text("an older one")
    begin(asker, fasta, out, 1)
    told = ask_file(asker, fasta, out, force=True)
    assert told["kept"] > 0 and out.read_bytes() == whole
    begin(replace(asker, named="another"), fasta, out, 1, rows=[{"id": "x"}])
    assert ask_file(asker, fasta, out, force=True)["kept"] == 0 and out.read_bytes() == whole
