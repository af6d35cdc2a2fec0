"""Writes a run's report, from its files alone: one page, and its tables as LaTeX.

Both may be written again at any time: they are no part of the stage's hash.
"""

from pathlib import Path

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, replacing, writing
from rnagpt_lib.evaluate.results import SCORES, STAGE, Results, load
from rnagpt_lib.report import (
    figures as plots,
)
from rnagpt_lib.report import (
    report_latex,
    report_page,
    source_tables,
)
from rnagpt_lib.report import (
    tables as report_tables,
)
from rnagpt_lib.runs.stages import PARAMS, REPORT, TABLES, stage_folder


def write(run: str) -> list[Path]:
    """Write ``report.html`` and ``tables/*.tex`` into the folder of the run's notebook 06; the same
    bytes for the same files. Loads no model. Raises InputError when the run is not finished.

    The runs that stand beside are those of RUNS.
    """
    found = load(run)
    others, notes = beside(found)
    tables = report_tables.tables(found, others)
    figures = {name: plots.png(draw(found)) for name, draw in plots.drawable(found).items()}
    path = found.folder / REPORT
    page = report_page.render(found, tables, figures, notes)
    with writing(path, "make the run's folder writable, or copy the run"):
        with replacing(path) as temporary:
            temporary.write_text(page, "utf-8")
        return [path, *report_latex.write(found.folder / TABLES, run, tables)]


def beside(found: Results) -> tuple[list[Results], list[str]]:
    """The runs of RUNS that can stand beside, and in sentences what keeps others from it."""
    names = read_json(found.folder / PARAMS).get("params", {}).get("runs", [])
    others, notes = [], []
    for name in dict.fromkeys(names):
        if name == found.run:
            continue
        if not (stage_folder(name, STAGE) / SCORES).is_file():
            notes.append(f"Run {name} is left out: its notebook 06 has left no scores.")
            continue
        other = load(name)
        try:
            notes += source_tables.notes(found, [other])
        except InputError as error:
            notes.append(f"Left out: {error}.")
        else:
            others.append(other)
    return others, notes


def say(run: str) -> None:
    """Write the report and print where it is."""
    page, *tables = write(run)
    print(f"{paths.shown(page)}: the report, one page that needs nothing else")
    print(f"{paths.shown(tables[0].parent)}/: {len(tables)} LaTeX files")
