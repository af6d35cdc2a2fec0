"""Measurements against a peer: one file of rows each, one table of all."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

import pandas as pd

from benchmarks._page import page_of, publish, results_of
from rnagpt_lib.core.files import write_json
from rnagpt_lib.report import readme

PAGE = page_of("speed")
NAMES = (
    "training_steps", "processes", "curation_client", "embedding_cache", "encoding",
    "encoding_short", "encoding_full_size", "filter_join", "lda_pool",
    "chat",
)  # fmt: skip


def row(name: str, ratios: Sequence[float], **about: object) -> dict:
    """The row of one comparison (equality was asserted before).

    ``ratios``: the peer's seconds over ours, one for each repeat.
    """
    return about | {
        "name": name,
        "ratio_median": round(median(ratios), 2),
        "ratio_low": round(min(ratios), 2),
        "ratio_high": round(max(ratios), 2),
        "repeats": len(ratios),
        "equal": True,
        "machine": f"{platform.machine()}, {os.cpu_count()} threads, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def keep(name: str, ratios: Sequence[float], **about: object) -> None:
    """Write a measurement that is one row, `row`."""
    keep_rows(name, [row(name, ratios, **about)])


def keep_rows(name: str, rows: Sequence[dict]) -> None:
    """Write the rows of the measurement ``name`` and render the table anew."""
    write_json(results_of(name), list(rows))
    publish(PAGE, "peers", render())


def render() -> str:
    """The block of the page, from the kept results alone."""
    files = [results_of(name) for name in NAMES]
    rows = [row for file in files if file.is_file() for row in json.loads(file.read_text("utf-8"))]
    return readme.markdown(pd.DataFrame([_cells(row) for row in rows]).set_index("name"))


def _cells(row: dict) -> dict:
    ratio = f"{row['ratio_median']:.1f} [{row['ratio_low']:.1f}, {row['ratio_high']:.1f}]"
    if "memory_share" in row:
        ratio += f"; {row['memory_share']:.2f} of its memory"
    if "ratio_same_logits" in row:
        ratio += f"; {row['ratio_same_logits']:.1f} by packing alone"
    if "ratio_first_token" in row:
        ratio += f"; {row['ratio_first_token']:.1f} to the first token"
    texts = {name: row[name] for name in ("ours", "peer", "workload", "target", "limit")}
    return {
        "name": row["name"],
        "times as fast": ratio,
        **texts,
        "repeats": str(row["repeats"]),
        "measured": f"{row['machine']}, {row['date']}",
    }
