"""The report: an inert page and LaTeX tables, out of a run's files, the same for the same files."""

import json
import re
import subprocess
import sys

import pandas as pd
import pytest

from rnagpt_lib.core import paths
from rnagpt_lib.evaluate import results
from rnagpt_lib.report import (
    figures,
    findings,
    report_files,
    report_latex,
)
from rnagpt_lib.report import (
    tables as report_tables,
)
from rnagpt_lib.runs import stages
from rnagpt_lib.runs.stages import stage_folder
from tests.support import fake_results
from tests.support.rendered import Tags, shown

PAYLOAD = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&$\\frac{x$"
STAGES = ("00_filter_rnacentral", "06_ablations")


def manifests(run: str, **more) -> None:
    for number, stage in enumerate(STAGES):
        folder = stage_folder(run, stage)
        folder.mkdir(parents=True, exist_ok=True)
        about = {"status": "finished", "key": {"seed": 7, "params": {"input": "world"}},
                 "hash": f"{number}" * 64, "git": "0123456789abcdef", "device": "cpu",
                 "finished": "2026-01-01T00:00:00+00:00", "parents": {}, "inputs": {},
                 "versions": {"python": "3.11"}, "outputs": stages.outputs(folder)}  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps(about | more))


@pytest.fixture
def fake(own_runs, monkeypatch):
    """A finished run, whose figures are two small ones."""
    fake_results.write("fake")
    chosen = {name: figures.FIGURES[name] for name in ("rouge", "confusion")}
    monkeypatch.setattr(figures, "FIGURES", chosen)
    return stage_folder("fake", "06_ablations")


def test_the_report_is_the_same_bytes_twice_and_no_part_of_the_stage(fake):
    manifests("fake")
    before = stages.outputs(fake)
    written = report_files.write("fake")
    first = {path: path.read_bytes() for path in written}
    assert {path.relative_to(fake).as_posix() for path in written} == {
        "report.html", *(f"tables/{name}.tex" for name in (
            "facts", "strata", "place", "differences", "identity", "identity_local", "variants", "local_types", "rouge", "semantic", "confusion",
            "minimal_pairs", "minimal_pairs_trainings", "leakage", "leakage_tax", "all_tables")),
    }  # fmt: skip
    assert {path: path.read_bytes() for path in report_files.write("fake")} == first
    assert stages.outputs(fake) == before and stages.is_fresh("fake", "06_ablations") is None


def test_the_page_says_what_the_files_say(fake):
    manifests("fake")
    (fake / "definitions.json").write_text(json.dumps({"fact-2": {"fact.all": "a <mean>"}}))
    page = Tags(report_files.write("fake")[0].read_text("utf-8"))
    found = results.load("fake")
    for sentence in findings.findings(found):
        assert sentence in page.text
    told = ["160 test questions about 40 RNAs", "the generated miniature world", "a <mean>",
            f"{found.value('IT', 'rougeL'):.4f}", "ROUGE-1 (paper)", "0" * 64, "1" * 64,
            "0.93 [0.84, 1.00]", "What type of RNA is the RNA?", "of 3 trainings", "The RNA is | a tRNA.", "isotype", "python 3.11",
            results.bounded(found, "IT", "fact.all", "held_out")]  # fmt: skip
    for words in told:
        assert words in page.text, words
    assert page.text.count("–") < 200 and "nan" not in page.text


def test_all_figures_and_sections_of_a_whole_run(own_runs):
    fake_results.write("fake")
    page = Tags(report_files.write("fake")[0].read_text("utf-8"))
    pictures = [value for name, value in page.attributes if name == "src"]
    assert len(pictures) == len(figures.FIGURES)
    for title in ("Which metric notices a wrong answer", "Length of answers", "Training"):
        assert title in page.text
    assert "Rank correlation of an answer's words" in page.text and "negated" in page.text.lower()


def hostile(fake) -> None:
    """Answers, references, questions, types, definitions and manifests bring a payload."""
    typed = fake_results.TYPED.format(f"tRNA{PAYLOAD}")
    answers = pd.read_parquet(fake / "answers.parquet")
    answers["prediction"] = PAYLOAD + answers.prediction + " very" * 1000
    answers.loc[answers.kind == "rna_type", "reference"] = typed
    answers.to_parquet(fake / "answers.parquet")
    path = stage_folder("fake", "03_decompose_qa") / "pairs.parquet"
    pairs = pd.read_parquet(path)
    pairs.loc[pairs.kind == "rna_type", "answer"] = typed
    pairs.loc[pairs.kind == "local", "question"] = PAYLOAD
    pairs.to_parquet(path)
    (fake / "definitions.json").write_text(json.dumps({PAYLOAD: {PAYLOAD: PAYLOAD}}))
    manifests("fake", git=PAYLOAD, versions={PAYLOAD: PAYLOAD})


def test_what_a_run_brings_is_shown_and_never_acts(fake):
    hostile(fake)
    path, *tables = report_files.write("fake")
    text = path.read_text("utf-8")
    page = Tags(text)
    known = (
        "html head meta title style body h1 h2 h3 p ul li div table thead tbody tr th td img i code"
    )
    assert page.tags <= set(known.split())
    names = {name for name, _ in page.attributes}
    assert not any(name.startswith("on") for name in names) and "href" not in names
    assert all(v.startswith("data:image/png;base64,") for k, v in page.attributes if k == "src")
    assert "default-src 'none'" in text
    assert not re.search(r"(?:https?:)?//", re.sub(r'src="data:[^"]*"', "", text))
    assert PAYLOAD in page.text and "very " * 70 not in page.text
    dom = shown(path)
    assert dom.count("<img ") == 2 and "<script" not in dom
    confusion = next(t for t in tables if t.name == "confusion.tex").read_text("utf-8")
    assert (
        r"\textless{}script\textgreater{}" in confusion
        and r"\$\textbackslash{}frac\{x\$" in confusion
    )
    lines_up(confusion)


def lines_up(text: str) -> None:
    """Braces close, environments nest, and rows have the cells that the columns promise."""
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    depths = [bare[:i].count("{") - bare[:i].count("}") for i in range(len(bare) + 1)]
    assert depths[-1] == 0 and min(depths) >= 0
    assert bare.count("$") % 2 == 0 and not set(bare) & set("#^~<>|`")
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        assert opened.pop() == name if kind == "end" else not opened.append(name)
    assert not opened
    columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1])
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert rows and all(len(re.findall(r"(?<!\\)&", row)) == columns - 1 for row in rows)


def test_latex_tables_line_up_and_the_document_reads_them_all(fake):
    _, *tables = report_files.write("fake")
    *tables, document = tables
    for path in tables:
        lines_up(path.read_text("utf-8"))
    text = document.read_text("utf-8")
    assert re.findall(r"\\input\{(\w+)\}", text) == [path.stem for path in tables]
    assert text.startswith(r"\documentclass") and text.endswith("\\end{document}\n")
    for package in ("booktabs", "graphicx", "textcomp"):
        assert rf"\usepackage{{{package}}}" in text
    found = report_tables.tables(results.load("fake"))
    assert (fake / "tables" / "facts.tex").read_text() == report_latex.render(found["facts"])


@pytest.mark.parametrize(
    "text, latex",
    [
        ("a_b & 50 % of #1", r"a\_b \& 50 \% of \#1"),
        ("\\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("$x^2$ ~", r"\$x\textasciicircum{}2\$ \textasciitilde{}"),
        ("-0.1 [-0.2, +0.3]", "$-$0.1 [$-$0.2, +0.3]"),
        ("pre-miR-21 a---b ''x'' ,,", "pre-miR-21 a-{}-{}-b '{}'x'{}' ,{},"),
        ("[0, 1]", "{[}0, 1]"),
        ("*new", "{*}new"),
        ("–", r"\textendash{}"),
        ("café β\x00\n\u202ec", "café {\\ttfamily U+03B2} c"),
        ("", ""),
    ],
)
def test_escape(text, latex):
    assert report_latex.escape(text) == latex


def test_runs_beside_stand_in_the_report_and_others_are_told(fake):
    for name in ("ai", "other"):
        fake_results.write(name, seed=1)
    path = stage_folder("ai", "06_ablations") / "scores.parquet"
    pd.read_parquet(path).assign(source="given").to_parquet(path)
    path = stage_folder("other", "03_decompose_qa") / "rnas.parquet"
    pd.read_parquet(path).assign(sequence="GGGG").to_parquet(path)
    named = {"params": {"runs": ["fake", "ai", "absent", "other", "ai"]}}
    (fake / "params.json").write_text(json.dumps(named))
    page = Tags(report_files.write("fake")[0].read_text("utf-8"))
    assert "Semantic scores: litsumm, run ai" in page.text and "Tables 1 and 2 (AIS)" in page.text
    assert "Run absent is left out: its notebook 06 has left no scores." in page.text
    assert "run other cannot stand beside run fake: R0 is another sequence" in page.text
    stems = {path.stem for path in (fake / "tables").glob("*.tex")}
    assert {"sources", "source_ai_rouge", "source_fake_semantic"} <= stems
    assert "source_other_rouge" not in stems
    (fake / "params.json").write_text("{}")
    report_files.write("fake")
    assert not list((fake / "tables").glob("source*"))


def test_a_run_of_an_older_version_has_its_report(fake):
    for path in (fake / "ladder.parquet", fake / "minimal_pairs.parquet", fake / "metrics.json"):
        path.unlink()
    (stage_folder("fake", "03_decompose_qa") / "pairs.parquet").unlink()
    page = Tags(report_files.write("fake")[0].read_text("utf-8"))
    assert "Minimal pairs" not in page.text and "RNA types" not in page.text
    assert "Facts" in page.text and "Where it comes from" not in page.text


def test_the_command_says_where_the_report_is(rnagpt, fake):
    code, said, _ = rnagpt("report", "--run", "fake")
    assert code == 0 and f"{paths.shown(fake / 'report.html')}: the report" in said
    assert "tables/: 16 LaTeX files" in said
    code, _, said = rnagpt("report", "--run", "absent")
    assert code == 2 and "there is no run absent; runs are fake" in said
    (fake / "scores.parquet").unlink()
    code, _, said = rnagpt("report", "--run", "fake")
    assert code == 2 and "has no scores" in said and "run: rnagpt run 06_ablations" in said


def test_the_report_needs_no_torch():
    code = "import sys, rnagpt_lib.report.report_files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_that_cannot_be_written_is_one_sentence(rnagpt, fake):
    (fake / "tables").write_text("in the way")
    code, _, said = rnagpt("report", "--run", "fake")
    assert code == 2 and "cannot be written" in said and "Traceback" not in said
