"""``rnagpt ask`` and ``rnagpt chat``, on a run with a tiny model."""

import contextlib
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading

import pandas as pd
import pytest

from rnagpt_lib.chat import terminal
from rnagpt_lib.chat.generate import MINIATURE, load_model
from rnagpt_lib.chat.session import Turn
from rnagpt_lib.core import paths
from rnagpt_lib.core.text import plain
from tests.support.finished import made, trained

WHAT = "What type of RNA is the RNA?"
RNA = "GGCUAGCUCAAUCGGUAGAGCGUGAGACUC"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNAGPT_RUNS", str(folder / "runs"))
        made("w")
        trained("w", folder / "models")
    return folder / "runs" / "w"


@pytest.fixture
def run(finished) -> str:
    shutil.copytree(finished, paths.runs() / "w")
    return "w"


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "my.fa"
    path.write_text(f">a <b>one</b>\n{RNA}\n>p\nMKLVFFAEDVGS\n>d\nACGTACGTACGTAC\n")
    return path


def test_ask_writes_a_row_for_each_record_and_question(rnagpt, run, fasta, tmp_path):
    out = tmp_path / "answers.jsonl"
    asked = ["--question", WHAT, "--question", "Why?", "--max-new-tokens", "6"]
    code, said, _ = rnagpt("ask", "--run", run, "--fasta", fasta, *asked, "--out", out)
    assert code == 0 and "5 rows; 1 records refused" in said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    chat = load_model(run, "IT", 6)
    assert rows[0]["answer"] == chat.answer_all([RNA], [WHAT])[0].text
    assert rows[0]["retrieved"]["about"].endswith("not generated")
    assert rows[0]["retrieved"]["neighbours"] and "protein" in rows[2]["refused"]
    code, _, error = rnagpt("ask", "--run", run, "--fasta", fasta, *asked, "--out", out)
    assert code == 2 and "exists" in error and "Traceback" not in error


def test_every_file_says_what_made_it_and_that_it_knows_no_nature(rnagpt, run, fasta, tmp_path):
    llm = load_model(run, "IT", 6).model.config.llm
    for retrieval in ("off", "only"):
        warning = "the RNAs that are retrieved are of a generated world"
        said = {"run": "w", "warning": warning if retrieval == "only" else MINIATURE}
        said |= {} if retrieval == "only" else {"llm": llm, "model": "IT"}
        for form in (".jsonl", ".tsv", ".md"):
            out = tmp_path / f"{retrieval}{form}"
            asked = ["--question", WHAT, "--max-new-tokens", "3", "--retrieval", retrieval]
            code, _, error = rnagpt("ask", "--run", run, "--fasta", fasta, *asked, "--out", out)
            assert code == 0 and f"Note: {said['warning']}" in error
            text = out.read_text("utf-8")
            if form == ".jsonl":
                rows = [json.loads(line) for line in text.splitlines()]
                assert len(rows) == 3 and all(said.items() <= row.items() for row in rows)
            elif form == ".tsv":
                table = pd.read_csv(out, sep="\t", dtype=str, keep_default_na=False)
                assert all(set(table[name]) == {value} for name, value in said.items())
            else:
                assert text.count(said["warning"]) == 1
                assert all(plain(value) in text for value in said.values())


def test_ask_reads_questions_from_a_file_and_rnas_from_a_pipe(
    rnagpt, run, fasta, tmp_path, monkeypatch
):
    questions, out = tmp_path / "q.txt", tmp_path / "answers.tsv"
    questions.write_text(f"# mine\n{WHAT}\n\nWhy?\n{WHAT}\n")
    pipe = io.TextIOWrapper(io.BytesIO(fasta.read_bytes()))
    monkeypatch.setattr(sys, "stdin", pipe)
    code, _, _ = rnagpt(
        "ask", "--run", run, "--model", "vanilla", "--fasta", "-", "--questions", questions,
        "--retrieval", "off", "--max-new-tokens", 3, "--out", out,
    )  # fmt: skip
    table = pd.read_csv(out, sep="\t", dtype=str, keep_default_na=False)
    assert code == 0 and table.question.tolist() == [WHAT, "Why?", "", WHAT, "Why?"]
    assert set(table.model) == {"vanilla"} and set(table.nearest) == {""}


def test_without_out_answers_are_shown(rnagpt, run):
    code, said, _ = rnagpt("ask", "--run", run, "--sequence", RNA, "--question", WHAT)
    assert code == 0 and "IT: " in said and "retrieved, not generated" in said
    code, said, _ = rnagpt("ask", "--run", run, "--sequence", "ACGU", "--question", WHAT)
    assert code == 1 and "refused, the sequence has 4 nt" in said
    known = pd.read_parquet(paths.runs() / run / "03_decompose_qa" / "rnas.parquet").iloc[0]
    code, said, _ = rnagpt("ask", "--run", run, "--id", known.rna_id, "--question", WHAT,
                           "--retrieval", "only")  # fmt: skip
    assert code == 0 and known.rna_id in said and "IT: " not in said


def test_what_cannot_be_asked_is_one_sentence(rnagpt, run):
    for given, says in (
        (["--question", WHAT], "give the RNAs as one of"),
        (["--sequence", RNA], "give a question"),
        (["--sequence", RNA, "--id", "URS1", "--question", WHAT], "give the RNAs as one of"),
        (["--fasta", "none.fa", "--question", WHAT], "none.fa"),
        (["--sequence", RNA, "--question", WHAT, "--top-p", "2"], "top-p"),
        (["--sequence", RNA, "--question", WHAT, "--model", "GPT"], "vanilla, MA, IT"),
        (["--sequence", RNA, "--question", WHAT, "--run", "nosuch"], "no run nosuch; runs are w"),
    ):
        code, _, error = rnagpt("ask", "--run", run, *given)
        error = error.removeprefix(f"Note: {MINIATURE}\n")
        assert code == 2 and says in error and error.count("\n") == 1, error


def talk(monkeypatch, rnagpt, lines: list[str], *options: object) -> str:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
    code, said, error = rnagpt("chat", *options)
    assert code == 0 and not error, error
    return said


def test_a_chat_over_a_pipe(rnagpt, run, fasta, tmp_path, monkeypatch):
    told, kept = tmp_path / "said.md", tmp_path / "said.json"
    lines = [
        WHAT, f"/rna {fasta}", "/use 2", WHAT, "/use 9", "/model vanilla", "Why?", "/memory",
        "/new", "/nonsense", "/rna MKLVF", "/rna no/such.fa", "/rna NOBODY", "/model", "/help", f"/save {told}", f"/save {kept}",
        f"/save {kept}", "/save a.txt", "/quit", "never asked",
    ]  # fmt: skip
    said = talk(monkeypatch, rnagpt, lines, "--run", run, "--max-new-tokens", 5)
    for expected in (
        "there is no RNA yet", "protein", "DNA", "no/such.fa is no file and no id",
        "NOBODY is no file and no id", "name a model", "from 1 to 2", "asked of vanilla", "memory on",
        "no /nonsense", "/use N", "2 answers", "exists; take another name", "ends in .md or .json",
        "retrieved, not generated",
    ):  # fmt: skip
        assert expected in said, expected
    assert "never asked" not in told.read_text()
    conversations = json.loads(kept.read_text())["conversations"]
    answers = [
        (c["model"], turn["question"], turn["answer"]) for c in conversations for turn in c["turns"]
    ]
    dna = "ACGUACGUACGUAC"
    assert answers == [
        (name, question, load_model(run, name, 5).answer_all([dna], [question])[0].text)
        for name, question in (("IT", WHAT), ("vanilla", "Why?"))
    ]
    assert "".join(c for c in answers[0][2] if c in "\n\t" or c.isprintable()) in said


def test_a_note_is_told_once(rnagpt, run, tmp_path, monkeypatch):
    fasta, kept = tmp_path / "long.fa", tmp_path / "said.json"
    fasta.write_text(">d\n" + "ACGT" * 260 + "\n")
    options = ["--run", run, "--fasta", fasta, "--retrieval", "off", "--max-new-tokens", 2]
    said = talk(monkeypatch, rnagpt, [WHAT, f"/save {kept}"], *options)
    assert said.count("Note: ") == 3 and MINIATURE in said and "DNA" in said and "windows" in said
    [one] = json.loads(kept.read_text())["conversations"]
    assert len(one["notes"]) == 2


def test_what_a_model_or_a_header_says_never_reaches_the_terminal_raw(
    rnagpt, run, tmp_path, monkeypatch
):
    fasta = tmp_path / "x.fa"
    fasta.write_text(f">a\x1b[31mred \x1b]0;title\x07\n{RNA}\n>b\n{RNA[::-1]}\n")
    monkeypatch.setattr(
        terminal.Session, "stream", lambda self, question: self.turns.append(
            Turn(question, "x", 1, "eos")) or iter(["a\x1b[2Jb", "\x07c\n"])
    )  # fmt: skip
    said = talk(monkeypatch, rnagpt, ["Why\x1b[1m?", "/nonsense\x1b[1m"], "--run", run,
                "--fasta", fasta)  # fmt: skip
    assert "\x1b" not in said and "\x07" not in said and "a[2Jbc" in said


INTERRUPTED = """
import sys
from rnagpt_lib.chat import terminal
from rnagpt_lib.cli import main
from rnagpt_lib.chat.session import Session
stream = Session.stream
def slowly(self, question):
    pieces = stream(self, question)
    yield next(pieces)
    print("READY", flush=True)
    sys.stdin.readline()  # until the test has sent the signal
    yield from pieces
Session.stream = slowly
main()
"""


@pytest.mark.slow
def test_ctrl_c_stops_an_answer_and_not_the_chat(run):
    command = [sys.executable, "-c", INTERRUPTED, "chat", "--run", run, "--sequence", RNA,
               "--model", "MA", "--retrieval", "off", "--max-new-tokens", "200"]  # fmt: skip
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = subprocess.Popen(command, text=True, cwd=paths.root(), **pipes)
    guard = threading.Timer(120, child.kill)
    guard.start()
    child.stdin.write("Why is this so?\n")
    child.stdin.flush()
    seen = ""
    while "READY" not in seen:
        line = child.stdout.readline()
        assert line, child.stderr.read()
        seen += line
    child.send_signal(signal.SIGINT)
    said, error = child.communicate("\n/help\n/quit\n")
    guard.cancel()
    assert "[stopped]" in said and "Ctrl-C stops an answer" in said and "Traceback" not in error
    assert child.returncode == 0


def test_what_fails_behind_an_answer_ends_neither_the_chat_nor_the_transcript(
    rnagpt, run, tmp_path, monkeypatch
):
    kept, faults = tmp_path / "said.json", [KeyboardInterrupt(), RuntimeError("out of memory")]

    def beside(self, *asked):
        raise faults.pop(0)

    monkeypatch.setattr(terminal.Retrieval, "retrieve", beside)
    said = talk(monkeypatch, rnagpt, [WHAT, "Why?", f"/save {kept}"], "--run", run,
                "--sequence", RNA, "--max-new-tokens", 2)  # fmt: skip
    assert "[stopped]" in said and "! RuntimeError: out of memory" in said
    [one] = json.loads(kept.read_text())["conversations"]
    assert [turn["question"] for turn in one["turns"]] == [WHAT, "Why?"]


def test_a_line_in_another_encoding_is_a_line(monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO("Was für eine?\n/quit\n".encode("cp1252")), "utf-8")
    monkeypatch.setattr(sys, "stdin", pipe)
    assert list(terminal._lines()) == ["Was f\ufffdr eine?", "/quit"]


def test_a_question_of_broken_bytes_is_refused(rnagpt, run):
    code, _, said = rnagpt("ask", "--run", run, "--sequence", RNA, "--question", "What\udcff?")
    assert code == 2 and "no text in UTF-8" in said


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="another terminal")
def test_a_pasted_sequence_is_read_whole():
    """A terminal of its own cuts lines at 4,095 letters."""
    code = "from rnagpt_lib.chat import terminal; print('READ', len(next(terminal._lines())), flush=True)"
    main, side = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=side, stdout=side, stderr=side, cwd=paths.root()
    )
    guard = threading.Timer(120, child.kill)
    guard.start()
    os.close(side)
    seen = b""
    while b"> " not in seen:
        seen += os.read(main, 1024)
    writer = threading.Thread(target=os.write, args=(main, b"/rna " + b"ACGU" * 1500 + b"\n"))
    writer.start()
    with contextlib.suppress(OSError):  # the end of a terminal
        while piece := os.read(main, 4096):
            seen += piece
    guard.cancel()
    assert b"READ 6005" in seen
    writer.join()
    os.close(main)
