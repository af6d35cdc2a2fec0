r"""A run's tables as LaTeX, one file each, and a document that holds them all.

The tables need the package ``booktabs``; a manuscript reads one as ``\input{tables/facts}``. Every
text is escaped, and what pdfLaTeX's usual fonts lack stands as its code point.
"""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from rnagpt_lib.core.files import replacing
from rnagpt_lib.report.tables import Table

DOCUMENT = "all_tables.tex"
WIDEST = 90  # characters of a table that stands upright on a page
FLOATS = 8  # tables that LaTeX holds back at most; it can hold 18
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "–": r"\textendash{}", "—": r"\textemdash{}", "−": "$-$", "→": r"$\rightarrow$",
    "…": r"\dots{}",
    "≥": r"$\geq$", "≤": r"$\leq$", "×": r"$\times$", "±": r"$\pm$",
}  # fmt: skip
PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
"""


def write(folder: Path, run: str, tables: Mapping[str, Table]) -> list[Path]:
    """Write every table and the document into ``folder``, and remove tables of an earlier call."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{name}.tex": render(table) for name, table in tables.items()}
    texts[DOCUMENT] = _document(run, list(tables))
    for left in folder.glob("*.tex"):
        if left.name not in texts:
            left.unlink()
    for name, text in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, "utf-8")
    return [folder / name for name in texts]


def render(table: Table) -> str:
    """A table with its caption and label; a wide one is scaled to the width of the text."""
    frame = table.frame.astype(str)
    rows = [list(frame), *frame.to_numpy().tolist()]
    head, *lines = [" & ".join(map(escape, row)) + r" \\" for row in rows]
    columns = "l" * table.labels + "r" * (frame.shape[1] - table.labels)
    widths = [max(len(row[i]) for row in rows) + 2 for i in range(frame.shape[1])]
    made = [
        rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *lines,
        r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    if sum(widths) > WIDEST:
        made = [r"\resizebox{\textwidth}{!}{%", *made[:-1], made[-1] + "}"]
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering\small",
            rf"\caption{{{escape(table.title)}. {escape(table.caption)}}}",
            rf"\label{{tab:{table.name}}}",
            *made,
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    r"""Text that LaTeX sets as it is.

    >>> escape("50 % of_α")
    '50 \\% of\\_{\\ttfamily U+03B1}'
    """
    line = re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", " ".join(text.split()))
    line = "".join(map(_character, line))
    line = re.sub(r"([-,'])(?=\1)", r"\1{}", line)  # two would become a dash or a quotation mark
    return re.sub(r"^([\[*])", r"{\1}", line)  # at the start of a row these are options of its end


def _character(c: str) -> str:
    if c in SPECIAL:
        return SPECIAL[c]
    if c.isascii():
        return c if c.isprintable() else ""
    if unicodedata.category(c)[0] == "C":
        return ""
    base = unicodedata.normalize("NFD", c)
    latin = ord(c) < 0x180 and base[0].isascii() and base[0].isalpha()  # as in é: T1 has them
    return c if latin else rf"{{\ttfamily U+{ord(c):04X}}}"


def _document(run: str, names: list[str]) -> str:
    title = rf"\section*{{Tables of run {escape(run)}}}"
    inputs = [rf"\input{{{name}}}" for name in names]
    for place in range(len(inputs) // FLOATS * FLOATS, 0, -FLOATS):
        inputs.insert(place, r"\clearpage")
    return "\n".join([PREAMBLE + title, *inputs, r"\end{document}", ""])
