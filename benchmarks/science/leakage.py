"""The leakage tax of trained models: the miniature world split in three ways.

``python -m benchmarks leakage`` runs all notebooks up to 06 with ``SPLIT`` random, cluster and
family, each as a run of its own (``runs/leakage-SPLIT``), and sets their scores side by side as
notebook 06 does. A quarter of an hour for each on one core; what is finished is not run again.
"""

import pandas as pd

from benchmarks._page import page_of, publish, results_of, where
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.evaluate import leakage, results
from rnagpt_lib.report import readme
from rnagpt_lib.runs import notebooks
from rnagpt_lib.runs.stages import STAGES

RESULTS = results_of("leakage")
PAGE = page_of("leakage")
SEED = 0


def main() -> None:
    """Run what is missing, write the results and the page."""
    for split in leakage.SPLITS:
        notebooks.run_path(
            STAGES[:7], run=f"leakage-{split}", profile="mini", parameters={"SPLIT": split}
        )
    write_json(RESULTS, measured())
    publish(PAGE, "leakage", render())


def measured() -> dict:
    """What the three runs scored, from their files."""
    found = {split: results.load(f"leakage-{split}") for split in leakage.SPLITS}
    return {
        "where": where(),
        "rnas": {split: int(of.answers.rna_id.nunique()) for split, of in found.items()},
        "rows": leakage.scored(found, seed=SEED).round(4).to_dict("records"),
    }


def render() -> str:
    """The block of the page, from the kept results alone."""
    found = read_json(RESULTS)
    if not found:
        return "Not measured yet."
    asked = ", ".join(f"{split} {count}" for split, count in found["rnas"].items())
    table = leakage.table(pd.DataFrame(found["rows"]))
    return (
        f"Measured on {found['where']}; test RNAs asked about: {asked}.\n\n{readme.markdown(table)}"
    )
