"""Rows of all campaigns about chats, in one file: each campaign keeps its own."""

import json
from pathlib import Path

import pandas as pd

from rnagpt_lib.core.files import write_json
from rnagpt_lib.report import readme

RESULTS = Path(__file__).parent / "results" / "reliability_chat.json"
README = Path(__file__).parent / "README.md"


def keep(rows: list[dict]) -> None:
    """Put ``rows`` in place of those of the same names, and all of them on the page."""
    write_json(RESULTS, merged(json.loads(RESULTS.read_text("utf-8")), rows))
    print(readme.write_block(README, "reliability_chat", render()))


def merged(before: list[dict], rows: list[dict]) -> list[dict]:
    """Rows in their order; of one name the later one, where the first one was."""
    return [*{row["name"]: row for row in [*before, *rows]}.values()]


def render() -> str:
    """The block of ``benchmarks/README.md``, from the kept results alone."""
    rows = pd.DataFrame(json.loads(RESULTS.read_text("utf-8")))
    return readme.markdown(rows.astype(str).set_index("name"))
