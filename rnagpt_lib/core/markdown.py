"""Markdown that holds remote text: whatever a cell says, it is shown and never acts.

>>> plain("<b>a_b</b>\\n| [x](y)")
'&lt;b&gt;a_b&lt;/b&gt; \\\\| \\\\[x\\\\](y)'
"""

import re
import unicodedata

import pandas as pd

# Punctuation that can start markup within a line, "@" and "://" which become links; "_" only at
# the edge of a word, so that names stay readable in the source.
_MARKUP = re.compile(
    r"([\\`*\[\]|~$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=/)|(?<=www)\.)", re.IGNORECASE
)
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def plain(text: object, longest: int = 300) -> str:
    """One line that any renderer shows as it is: no markup, HTML, links or control characters.

    ``longest``: characters kept of the text; what is cut ends in "…".
    """
    line = " ".join(str(text).split())
    line = "".join(c for c in line if unicodedata.category(c)[0] != "C")
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    return _MARKUP.sub(r"\\\1", line).translate(_ENTITIES)


def table(data: pd.DataFrame) -> str:
    """A GitHub table without the index; whole numbers get thousands separators, and NaN "–"."""
    rows = [[_cell(name) for name in data.columns]]
    rows += [["---:" if _is_number(data[name]) else "---" for name in data.columns]]
    rows += [[_cell(value) for value in row] for row in data.astype(object).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in ``text``."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _cell(value: object) -> str:
    if pd.isna(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) else plain(value)


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column)
