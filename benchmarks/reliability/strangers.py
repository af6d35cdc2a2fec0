"""What strangers give: a hundred tries of each way in, damaged by a seed.

``tests/support/strangers.py`` makes and damages them, and says when a try survives. Rows: ``{name,
tried, survived, lost, note}``.
"""

import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd

from benchmarks._page import page_of, publish, results_of
from rnagpt_lib.core.files import progress, read_json, write_json
from rnagpt_lib.report import readme
from tests.support import strangers

TRIES = 100  # of each kind
RESULTS = results_of("reliability_strangers")
PAGE = page_of("reliability")


def main() -> None:
    """Make the tries, keep a row for each kind, and print why those were lost that were."""
    with tempfile.TemporaryDirectory() as folder:
        given = strangers.Given(Path(folder) / "given")
        rows = [row(kind, TRIES, Path(folder) / "tries", given) for kind in strangers.KINDS]
    write_json(RESULTS, {"rows": rows})
    publish(PAGE, "reliability_strangers", render())


def row(kind: str, tries: int, folder: Path, given: strangers.Given) -> dict:
    """How the tries of a kind ended."""
    ends: Counter[str] = Counter()
    for seed in progress(range(tries), desc=kind):
        end, why = strangers.attempt(kind, seed, folder, given)
        ends[end] += 1
        if why:
            print(f"{kind}, seed {seed}: {why}", file=sys.stderr)
        shutil.rmtree(folder)
    note = f"{ends['read']} read, {ends['refused']} refused with a sentence"
    survived = tries - ends["lost"]
    return {"name": kind, "tried": tries, "survived": survived, "lost": ends["lost"], "note": note}


def render() -> str:
    """The block of the page, from the kept results alone."""
    rows = pd.DataFrame(read_json(RESULTS)["rows"])
    return readme.markdown(rows.astype(str).set_index("name"))


if __name__ == "__main__":
    main()
