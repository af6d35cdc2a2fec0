"""Blocks of a page that are rendered from results, between their markers ``<!-- name:start -->``
and ``<!-- name:end -->``."""

import os
import re
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.evaluate import results
from rnagpt_lib.report import findings, tables
from rnagpt_lib.runs.stages import ABLATIONS

TEMPLATE = "results.md.j2"
NOTHING_YET = "There is no reference run in `runs/reference/` yet; `make reference` makes it."
SHORT = ["vanilla", "MA", "IT", "floor.most_common", "floor.nearest", "control.swapped"]
COLUMNS = ["rna_type", "family", "local", "literature", "all", "closed", "ROUGE-L"]


def markdown(table: pd.DataFrame) -> str:
    """A table as GitHub writes it; ``|`` in cells is escaped."""
    flat = table.reset_index() if table.index.names != [None] else table
    rows = [list(flat.columns), ["---"] * len(flat.columns), *flat.astype(str).to_numpy().tolist()]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows
    )


def render(run: str, path: Path) -> str:
    """All results of a run, as they stand in the page ``path``, from the run's files alone."""
    if not (paths.runs() / run / ABLATIONS / results.SCORES).is_file():
        return NOTHING_YET
    found = results.load(run)
    often, folder = tables.trainings(found), results.figure_folder(run)
    figures = {file.stem: os.path.relpath(file, path.parent) for file in folder.glob("*.png")}
    several = (
        f"trainings of IT: {often['IT']}; bounds cover units and, of what has several, trainings: "
        "two or three of these are few, so that such bounds come out narrow"
    )
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True
    )
    pages.filters["markdown"] = markdown
    text = pages.get_template(TEMPLATE).render(
        run=run, questions=found.answers.pair_id.nunique(), rnas=found.answers.rna_id.nunique(),
        units=found.answers.unit.nunique(), cosines=found.cosines, legend=findings.LEGEND,
        figures=figures, place=tables.PLACE, findings=findings.findings(found),
        facts=tables.facts_table(found), strata=tables.strata_table(found),
        rouge=tables.rouge_table(found), semantic=tables.semantic_table(found),
        variants=tables.variants(found) if len(often) > 1 else None, no_ma=tables.NO_MA in often,
        several="one seed each" if set(often.values()) == {1} else several,
        local_types=tables.local_types(found), minimal_pairs=tables.minimal_pairs(found),
    )  # fmt: skip
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def render_short(run: str) -> str:
    """Six rows and seven columns of facts, for the README; `render` has the rest."""
    if not (paths.runs() / run / ABLATIONS / results.SCORES).is_file():
        return NOTHING_YET
    facts = tables.facts_table(results.load(run))
    columns = [name for name in COLUMNS if name in facts.columns]
    return markdown(facts.loc[[model for model in SHORT if model in facts.index], columns])


def update() -> Path:
    """Render the reference run's results again, where they stand in ``docs/`` and the README."""
    page = paths.root() / "docs" / "results.md"
    write_block(paths.root() / "README.md", "short", render_short("reference"))
    return write_block(page, "results", render("reference", page))


def write_block(path: Path, name: str, text: str) -> Path:
    """Put ``text`` between a file's markers. Raises InputError when it lacks them."""
    start, end = (f"<!-- {name}:{place} -->" for place in ("start", "end"))
    before, _, rest = path.read_text("utf-8").partition(start)
    _, there, after = rest.partition(end)
    if not there:
        raise InputError(f"{paths.shown(path)} lacks the markers {start} and {end}; restore them")
    path.write_text(f"{before}{start}\n{text}\n{end}{after}", "utf-8")
    return path


def read_block(path: Path, name: str) -> str:
    """What stands between the markers of a file now."""
    text = path.read_text("utf-8").partition(f"<!-- {name}:start -->")[2]
    return text.partition(f"<!-- {name}:end -->")[0].strip()
