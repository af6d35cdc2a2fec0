"""An executed notebook as one inert page: whatever outputs hold, nothing runs, nothing is loaded."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.report import page
from tests.support.rendered import Tags, shown

PAYLOAD = "<script>alert(1)</script><img src=x onerror=alert(2)><a href='http://evil/'>x</a>"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def notebook(*data: dict, source: str = "1 + 1") -> nbformat.NotebookNode:
    outputs = [new_output("display_data", own) for own in data]
    outputs.append(new_output("stream", name="stdout", text=f"told {PAYLOAD}\n"))
    outputs.append(new_output("stream", name="stderr", text="progress"))
    return new_notebook(
        cells=[new_markdown_cell("# Title"), new_code_cell(source, outputs=outputs)]
    )


@pytest.fixture
def written(tmp_path):
    """A function that writes a notebook's page: its path."""

    def write(made, **options):
        nbformat.write(made, tmp_path / "notebook.ipynb")
        return page.write(tmp_path / "notebook.ipynb", tmp_path / "p.html", PAYLOAD, **options)

    return write


def test_tables_and_pictures_are_there_and_nothing_acts(written):
    table = f"<style scoped>x {{}}</style><table><tr><td>cell</td><td>{PAYLOAD}</td></tr></table>"
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "Box()"}
    active = {"application/javascript": "alert(3)", "image/svg+xml": "<svg onload='alert(4)'/>"}
    path = written(notebook({"text/html": table}, {"image/png": PIXEL}, widget, active))
    text = path.read_text("utf-8")
    read = Tags(text)
    assert {"table", "td", "img", "details"} <= read.tags
    assert not read.tags & {"script", "svg", "link", "iframe", "object"}
    assert not [name for name, _ in read.attributes if name.startswith("on") or name == "href"]
    sources = [value for name, value in read.attributes if name == "src"]
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
    assert "default-src 'none'" in text and "alert(1)" in read.text and "cell" in read.text
    for gone in ("scoped", "Box()", "progress", "alert(3)", "alert(4)"):
        assert gone not in read.text
    assert page.render(path.with_name("notebook.ipynb"), PAYLOAD) == text


@pytest.mark.slow
def test_the_browser_shows_it(written):
    dom = shown(written(notebook({"text/html": f"<p>{PAYLOAD}</p>"})))
    assert "<script" not in dom and dom.count("<img ") == 0 and "told" in dom


def test_code_may_be_left_out(written):
    assert "secret" in written(notebook(source="secret = 1")).read_text()
    assert "secret" not in written(notebook(source="secret = 1"), code=False).read_text()


def test_the_report_is_the_executed_notebook(rnagpt, found, monkeypatch):
    nbformat.write(notebook(), found.folder / "notebook.ipynb")
    code, said, _ = rnagpt("report", "--run", "fake")
    path = found.folder / "report.html"
    assert code == 0 and f"{paths.shown(path)}: the report" in said and "LaTeX files" in said
    assert "Ablation of run fake" in path.read_text()
    assert not re.findall(r"(?:https?:)?//(?!evil)\w", path.read_text())
    (found.folder / "notebook.ipynb").unlink()
    with pytest.raises(InputError, match="notebook.ipynb is not there; run the notebook first"):
        page.write_report("fake")
    code, _, said = rnagpt("report", "--run", "absent")
    assert code == 2 and "there is no run absent; runs are fake" in said


def test_a_folder_that_cannot_be_written_is_one_sentence(rnagpt, found):
    (found.folder / "tables").write_text("in the way")
    code, _, said = rnagpt("report", "--run", "fake")
    assert code == 2 and "cannot be written" in said and "Traceback" not in said
