"""An executed notebook as a page to hand on: one file that loads nothing and runs nothing.

Outputs may hold what models, files and servers said. Markup in them that is no table is shown as
text, and the page's own policy forbids scripts and requests.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from nbconvert import HTMLExporter
from nbconvert.preprocessors.sanitize import SanitizeHTML
from traitlets.config import Config

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import replacing, writing
from rnagpt_lib.evaluate import results
from rnagpt_lib.runs.stages import NOTEBOOK, REPORT

TEMPLATE = Path(__file__).with_name("page.html.j2")
TAGS = "a b br code div em h1 h2 h3 h4 i li ol p pre span strong table tbody td th thead tr ul"
ATTRIBUTES = {"th": ["colspan", "rowspan", "scope"], "td": ["colspan", "rowspan"]}
WIDGET = "application/vnd.jupyter.widget-view+json"
SHOWN = {"metadata", "text/plain", "image/png", "image/jpeg"}  # of outputs, as they are


class Inert(SanitizeHTML):
    """Leaves of HTML what a table needs; pandas' style sheets go without a trace, as do widgets,
    which nothing moves without a kernel."""

    def sanitize_code_outputs(self, outputs: list) -> list:
        """The outputs that a page can show."""
        shown = [output for output in outputs if WIDGET not in output.get("data", {})]
        return super().sanitize_code_outputs(shown)

    def sanitize_html_tags(self, html_str: str) -> str:
        """The text with all other markup escaped."""
        return super().sanitize_html_tags(re.sub(r"<style.*?</style>\s*", "", html_str, flags=re.S))


def render(notebook: Path, title: str, code: bool = True) -> str:
    """The page of an executed notebook: the same text for the same file.

    ``code``: its cells may be unfolded; without, only texts and outputs are there.
    """
    inert = {"tags": TAGS.split(), "attributes": ATTRIBUTES, "enabled": True,
             "safe_output_keys": SHOWN, "sanitized_output_types": {"text/html"}}  # fmt: skip
    exporter = HTMLExporter(
        config=Config({"Inert": inert}),
        template_name="basic",
        template_file=str(TEMPLATE),
        preprocessors=[Inert],
        exclude_input=not code,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    return exporter.from_filename(str(notebook), resources={"title": title})[0]


def write_report(run: str) -> Path:
    """Write ``report.html``, the executed notebook 06 of a run, beside it; returns the page."""
    folder = results.load(run).folder
    return write(folder / NOTEBOOK, folder / REPORT, f"Ablation of run {run}")


def write(notebook: Path, page: Path, title: str, code: bool = True) -> Path:
    """Write ``page``, whole or not at all; returns it. Raises InputError where the notebook has
    not been executed, and where the page cannot be written."""
    if not notebook.is_file():
        raise InputError(f"{paths.shown(notebook)} is not there; run the notebook first")
    text = render(notebook, title, code)
    with writing(page, "choose another place"), replacing(page) as temporary:
        temporary.write_text(text, "utf-8")
    return page


# --- pieces of the audit's page, until that is a notebook, too


LONGEST = 300  # characters of a cell
NUMBER = ' class="n"'
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: .9rem; margin: .8rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .7rem; text-align: left;
         vertical-align: top; }
td { overflow-wrap: anywhere; } td:first-child { min-width: 11rem; }
td.n { white-space: nowrap; } td.n, th.n { text-align: right; }
.findings li { margin: .5rem 0; } .small { color: #555; font-size: .9rem; }
img { max-width: 100%; height: auto; } .wide { overflow-x: auto; }
"""


def document(title: str, body: Iterable[str], css: str = "") -> str:
    """The page; ``title`` is plain text, ``body`` are parts whose texts are escaped already."""
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}{css}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(
        [*body, "</body></html>\n"]
    )


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Iterable[int] | None = None,
    whole: bool = False,
) -> str:
    """A table of texts, all escaped; columns of ``numbers`` stand to the right (None: all but the
    first). Long texts are cut, unless they are wanted ``whole``."""
    right = set(range(1, len(header)) if numbers is None else numbers)

    def line(cells: Sequence[str], tag: str) -> str:
        made = (
            f"<{tag}{NUMBER if i in right else ''}>{escape(cell if whole else _cut(cell))}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        f'<div class="wide"><table><thead>{line(header, "th")}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def findings(sentences: Iterable[str]) -> str:
    """Sentences as a list."""
    return f'<ul class="findings">{"".join(f"<li>{escape(said)}</li>" for said in sentences)}</ul>'


def image(data: bytes, kind: str, alt: str, width: int | None = None) -> str:
    """A picture within the page; ``kind`` as in ``image/png``, ``width`` in pixels of the page."""
    encoded = base64.b64encode(data).decode()
    wide = f' width="{width}"' if width else ""
    return f'<p><img alt="{escape(alt)}"{wide} src="data:image/{kind};base64,{encoded}"></p>'


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
