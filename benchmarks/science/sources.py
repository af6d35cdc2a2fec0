"""Sources of annotations beside each other: the paper's Tables 1 to 4, on the miniature world.

``python -m benchmarks sources`` runs all notebooks up to 06 with ``SOURCE`` dnc, single_pass and
given, each as a run of its own (``runs/sources-SOURCE``), and 06 of dnc with the others in ``RUNS``.
The given texts, in the place of LitSumm's, are written from what the world knows of each RNA: what
a curator who overlooks nothing would write. What is finished is not run again.
"""

import json
import random
from pathlib import Path

import pandas as pd

from benchmarks._page import page_of, publish, results_of, where
from rnagpt_lib.core import params, paths
from rnagpt_lib.core.files import read_json, replacing, write_json
from rnagpt_lib.evaluate import results
from rnagpt_lib.miniature import world
from rnagpt_lib.miniature.literature import sentence
from rnagpt_lib.report import readme, tables
from rnagpt_lib.runs import notebooks
from rnagpt_lib.runs.stages import STAGES

RESULTS = results_of("sources")
PAGE = page_of("sources")
SOURCES = ("dnc", "single_pass", "given")
FACTS = ("fact.local", "fact.literature")  # the latter are what annotations decide
NOTE = "No number here is comparable with the paper's: the world is generated."


def main() -> None:
    """Run what is missing, write the results and the page."""
    given = curated(paths.runs() / "sources-given.jsonl")
    for source in reversed(SOURCES):
        beside = [name(other) for other in SOURCES if other != source]
        parameters = {"SOURCE": source, "GIVEN": str(given)}
        parameters |= {"RUNS": beside} if source == SOURCES[0] else {}
        notebooks.run_path(STAGES[:7], run=name(source), profile="mini", parameters=parameters)
    write_json(RESULTS, measured())
    publish(PAGE, "sources", render())


def name(source: str) -> str:
    """The run of a source."""
    return f"sources-{source}"


def curated(path: Path) -> Path:
    """Write the given texts: a line for each RNA of the profile's world that has facts."""
    size = params.load("mini").stage(STAGES[0]).world_size
    rng, lines = random.Random("sources"), []
    for rna in world.entries(size, seed=0):
        told = [sentence(fact, "this RNA", rng, lead="") for fact in rna.facts()]
        if told:
            lines.append(json.dumps({"rna_id": rna.id, "text": " ".join(told)}))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def measured() -> dict:
    """What the three runs scored, from their files; tables as texts, a row a list."""
    found = [results.load(name(source)) for source in SOURCES]
    sets = []
    for one in found:
        semantic, rouge = tables.paper_layout(one)
        about = {"source": one.source, "beside": rouge.note}
        sets.append(about | {"semantic": _rows(semantic.frame), "rouge": _rows(rouge.frame)})
    together = tables.side_by_side(found, *FACTS).reset_index().drop(columns="run")
    return {"where": where(), "all": _rows(together), "sets": sets}


def _rows(table: pd.DataFrame) -> list[dict]:
    flat = table.reset_index() if table.index.name else table
    return flat.astype(str).to_dict("records")


def render() -> str:
    """The block of the page, from the kept results alone."""
    kept = read_json(RESULTS)
    if not kept:
        return "Not measured yet."
    parts = [f"Measured on {kept['where']}.", _markdown(kept["all"], "source")]
    for one in kept["sets"]:
        parts.append(f"**{one['source']}**. {one['beside']} {NOTE}")
        parts += [_markdown(one[kind], "model") for kind in ("semantic", "rouge")]
    return "\n\n".join(parts)


def _markdown(rows: list[dict], index: str) -> str:
    return readme.markdown(pd.DataFrame(rows).set_index(index))
