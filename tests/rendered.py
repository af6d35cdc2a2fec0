"""Markdown as a reader sees it: rendered by JupyterLab's own converter, raw HTML let through."""

import json
import subprocess
import sys
from html.parser import HTMLParser

CONVERT = """
import json, sys
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)
print(json.dumps([MarkdownWithMath(renderer).render(text) for text in json.load(sys.stdin)]))
"""


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


def pages(texts: list[str]) -> list[Page]:
    command = [sys.executable, "-c", CONVERT]
    given = json.dumps(texts)
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return [Page(html) for html in json.loads(done.stdout)]
