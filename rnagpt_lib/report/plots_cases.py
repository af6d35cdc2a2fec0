"""The figure of notebook 07: what each model said about RNAs whose truth is known."""

import textwrap

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rnagpt_lib.evaluate.results import MODELS, Results
from rnagpt_lib.report.figure_style import STYLE, closed

HELD_OUT = "07_case_studies/held_out.parquet"
MOST = 24  # questions that are shown
FILLS = {1.0: ("#A6CEE9", "right"), 0.0: ("#F6C9A0", "wrong"), None: ("#EEEEEE", "cannot be told")}
MARKS = {1.0: "✓ ", 0.0: "✗ ", None: ""}  # a second sign beside the colour


def cases(results: Results) -> Figure:
    """Of a run's files."""
    return told(pd.read_parquet(results.folder.parent / HELD_OUT))


def told(held_out: pd.DataFrame) -> Figure:
    """A line for each question, a cell for each model: its answer, and whether it is right."""
    rows = held_out.head(MOST)
    columns = ["reference", *MODELS]
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(13.5, 0.8 + 0.33 * len(rows)))
        for y, row in enumerate(rows.to_dict("records")):
            for x, name in enumerate(columns):
                right = row.get(f"{name}_right")
                right = None if pd.isna(right) else right
                if x:
                    axis.add_patch(plt.Rectangle((x, y - 0.45), 0.98, 0.9, color=FILLS[right][0]))
                text = _fitted(row[name], 42)
                axis.text(x + 0.02, y, MARKS[right] + text, va="center", fontsize=7)
        axis.set(xlim=(0, len(columns)), ylim=(len(rows) - 0.4, -0.6))
        axis.set_xticks([x + 0.49 for x in range(len(columns))], ["what is true", *MODELS])
        axis.set_yticks(range(len(rows)), _labels(rows), fontsize=7)
        axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axis.spines[:].set_visible(False)
        _separate(axis, rows.rna_id.tolist())
        handles = [Patch(color=colour, label=label) for colour, label in FILLS.values()]
        figure.legend(handles=handles, loc="lower center", ncols=3)
        figure.tight_layout(rect=(0, 0.35 / figure.get_figheight(), 1, 1))
        return closed(figure)


def _fitted(text: str, most: int) -> str:
    """Cut in the middle, since what an answer claims is mostly its end."""
    if len(text) <= most:
        return text
    head = textwrap.shorten(text, most // 3, placeholder="")
    tail = textwrap.shorten(text[::-1], most - len(head) - 3, placeholder="")[::-1]
    return f"{head} … {tail}"


def _labels(rows: pd.DataFrame) -> list[str]:
    """The question, and before an RNA's first one its id and stratum."""
    first = ~rows.rna_id.duplicated()
    names = (rows.rna_id + ", " + rows.stratum + "   ").where(first, "")
    questions = rows.question.map(lambda text: textwrap.shorten(text, 46, placeholder="…"))
    return (names + questions).tolist()


def _separate(axis: plt.Axes, ids: list[str]) -> None:
    """A line above each RNA but the first."""
    for y in range(1, len(ids)):
        if ids[y] != ids[y - 1]:
            axis.axhline(y - 0.5, color="#999999", linewidth=0.6)
