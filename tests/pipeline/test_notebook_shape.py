"""Every numbered notebook keeps the shape that ``_template.ipynb`` shows."""

import ast
import re
import subprocess
import sys

import nbformat
import pytest

from rnagpt_lib.core import params, paths
from rnagpt_lib.runs import notebooks
from rnagpt_lib.runs.stages import STAGES

NUMBERED = sorted(paths.notebooks().glob("[0-9]*.ipynb")) + [paths.notebooks() / "_template.ipynb"]
ALL = sorted(paths.notebooks().glob("*.ipynb"))
each_numbered = pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)
each = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)


def cells_of(path, kind=None):
    cells = nbformat.read(path, 4).cells
    return [cell for cell in cells if kind in (None, cell.cell_type)]


def parameters_cell(path):
    [cell] = [c for c in cells_of(path, "code") if c.metadata.get("tags") == ["parameters"]]
    return cell


@each
def test_is_valid_and_committed_without_outputs(path):
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert "papermill" not in notebook.metadata and "widgets" not in notebook.metadata
    for cell in cells_of(path, "code"):
        assert not cell.outputs and cell.execution_count is None


@each
def test_first_cell_is_the_title(path):
    first = cells_of(path)[0]
    number = path.stem[:2] if path.stem[:2].isdigit() else r"\S+"
    assert first.cell_type == "markdown"
    assert re.match(rf"# {number} · \S", first.source) or path.stem.startswith("appendix")
    assert [cell for cell in cells_of(path, "markdown") if cell.source.startswith("# ")] == [first]


@each
def test_code_cells_are_short(path):
    """But for derivations, which show a whole step where it is taught."""
    for cell in cells_of(path, "code"):
        whole = cell.metadata.get("tags") == ["derivation"]
        assert 1 <= len(cell.source.splitlines()) <= (30 if whole else 20), cell.source[:80]


@each_numbered
def test_parameters_are_typed_literals_with_help(path):
    cell = parameters_cell(path)
    names = []
    for statement, line in zip(ast.parse(cell.source).body, cell.source.splitlines(), strict=True):
        assert isinstance(statement, ast.AnnAssign), line
        ast.literal_eval(statement.value)
        names.append(statement.target.id)
        assert names[-1].isupper() and re.search(r"  # \S", line), line
    assert names[:3] == ["PROFILE", "RUN", "SEED"] and len(names) <= 8
    seen = notebooks.list_parameters(path)
    stated = list(seen)[: len(names)]
    assert stated == names, "papermill cannot read it; write NAME: int = None, not int | None"
    assert all(about["help"] for about in seen.values())


@each_numbered
def test_imports_stand_in_one_cell_after_the_parameters(path):
    code = cells_of(path, "code")
    importing = [
        cell
        for cell in code
        if any(
            isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(cell.source).body
        )
    ]
    assert len(importing) == 1
    assert code.index(importing[0]) > code.index(parameters_cell(path))


@each_numbered
def test_opens_and_finishes_its_own_stage(path):
    code = "\n".join(cell.source for cell in cells_of(path, "code"))
    stage = path.stem if path.stem in STAGES else STAGES[0]
    assert code.count("Run.open(") == code.count(f'Run.open("{stage}", globals())') == 1
    later = code.replace(parameters_cell(path).source, "")
    taken = params.describe(stage)
    for name in notebooks.list_parameters(path):
        assert name in taken or re.search(rf"\b{name}\b", later), f"{name} has no effect"
    assigned = re.findall(r"^([A-Z_]+)\b.* = ", later, re.M)
    assert taken.keys().isdisjoint(assigned), "globals() would give it to the stage"
    assert "run.show()" in code and code.count("run.finish()") == 1


@each_numbered
def test_ends_with_summary_limits_and_exercises(path):
    last = cells_of(path)[-1]
    assert last.cell_type == "markdown"
    for part in ("Summary", "Limits", "Exercises", "Next"):
        assert part in last.source, part


@each
def test_talks_between_its_code(path):
    kinds = [cell.cell_type for cell in cells_of(path)]
    assert kinds.count("markdown") * 2 >= kinds.count("code")
    assert not re.search(r"^\s*[!%]", "\n".join(c.source for c in cells_of(path, "code")), re.M)


@each_numbered
def test_tells_what_it_needs_takes_and_writes(path):
    start = "\n".join(cell.source for cell in cells_of(path)[:3])
    for word in ("needs", "minutes", "writes", "You will"):
        assert word in start, word


def test_ruff_is_content_with_notebooks():
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", str(paths.notebooks())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=paths.root())
    assert done.returncode == 0, done.stdout


def test_only_known_notebooks_are_there():
    known = {*STAGES, "appendix_audit", "appendix_metrics", "appendix_miniature_world", "_template"}
    assert {path.stem for path in ALL} <= known
