"""What a reader sees: markdown as JupyterLab's own converter renders it (raw HTML let through), a
page as chromium shows it, and what an executed notebook shows and should not."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from rnagpt_lib.core import paths


class Page(HTMLParser):
    """The tags of a page and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


class Tags(HTMLParser):
    """Which tags a page has, their attributes, and the text that a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def shown(page: Path) -> str:
    """What chromium makes of a page, without a network; the test is skipped without chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("chromium is not installed")
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-sync",
        f"--user-data-dir={page.parent}/user", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def pages(texts: list[str]) -> list[Page]:
    from nbconvert.filters.markdown_mistune import (  # takes seconds
        IPythonRenderer,
        MarkdownWithMath,
    )

    renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)
    return [Page(MarkdownWithMath(renderer).render(text)) for text in texts]


def unwanted(executed: Path) -> Iterator[str]:
    """Warnings (progress bars alone are welcome on stderr) and absolute paths into the project."""
    for cell in nbformat.read(executed, 4).cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                lines = (line for line in re.split(r"[\r\n]+", output.text) if line.strip())
                yield from (line for line in lines if "%|" not in line)
            elif str(paths.root()) in str(output.get("text", "")):
                yield str(output.text)
