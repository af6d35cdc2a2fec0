"""Blocks of a page that are rendered from results, between their markers.

The markers of the block ``name`` are ``<!-- name:start -->`` and ``<!-- name:end -->``.
"""

from pathlib import Path

import pandas as pd

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError


def markdown(table: pd.DataFrame) -> str:
    """A table as GitHub writes it; ``|`` in cells is escaped."""
    flat = table.reset_index() if table.index.names != [None] else table
    rows = [list(flat.columns), ["---"] * len(flat.columns), *flat.astype(str).to_numpy().tolist()]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows
    )


def write_block(path: Path, name: str, text: str) -> Path:
    """Put ``text`` between a file's markers. Raises InputError when it lacks them."""
    start, end = _markers(name)
    before, _, rest = path.read_text("utf-8").partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise InputError(f"{paths.shown(path)} lacks the markers {start} and {end}; restore them")
    path.write_text(f"{before}{start}\n{text}\n{end}{after}", "utf-8")
    return path


def read_block(path: Path, name: str) -> str:
    """What stands between the markers of a file now."""
    start, end = _markers(name)
    return path.read_text("utf-8").partition(start)[2].partition(end)[0].strip()


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}:start -->", f"<!-- {name}:end -->"
