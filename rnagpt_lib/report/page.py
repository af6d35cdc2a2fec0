"""An executed notebook as a page to hand on: one file that loads nothing and runs nothing. Outputs
may hold what models, files and servers said: markup in them that is no table is shown as text, and
the page's own policy forbids scripts and requests."""

import re
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
        return super().sanitize_html_tags(
            re.sub(r"<style(?:(?!<style).)*?</style>\s*", "", html_str, flags=re.S)
        )


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
