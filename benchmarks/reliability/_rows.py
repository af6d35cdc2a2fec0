"""Rows of all campaigns about chats, in one file: each campaign keeps its own."""

import json

import pandas as pd

from benchmarks._page import page_of, publish, results_of
from rnagpt_lib.core.files import write_json
from rnagpt_lib.report import readme

RESULTS = results_of("reliability_chat")
PAGE = page_of("reliability")


def keep(rows: list[dict]) -> None:
    """Put ``rows`` in place of those of the same names, and all of them on the page."""
    write_json(RESULTS, merged(json.loads(RESULTS.read_text("utf-8")), rows))
    publish(PAGE, "reliability_chat", render())


def merged(before: list[dict], rows: list[dict]) -> list[dict]:
    """Rows in their order; of one name the later one, where the first one was."""
    return [*{row["name"]: row for row in [*before, *rows]}.values()]


def render() -> str:
    """The block of the page, from the kept results alone."""
    rows = pd.DataFrame(json.loads(RESULTS.read_text("utf-8")))
    return readme.markdown(rows.astype(str).set_index("name"))
