"""Plain text out of titles and abstracts with HTML in them, as Europe PMC and LitScan send them."""

import re
from html.parser import HTMLParser

_BLOCKS = {"p", "div", "br", "li", "ul", "ol", "sec", "title", "list", "list-item"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_INLINE = {
    "i",
    "b",
    "u",
    "em",
    "strong",
    "sub",
    "sup",
    "sc",
    "span",
    "a",
    "italic",
    "bold",
    "small",
}
_LEFT = re.compile(r"</?[a-z][a-z0-9:-]*/?>|&#?\w{2,8};", re.IGNORECASE)


class _Reader(HTMLParser):
    """Collects the text; a tag that is none of HTML's, as in ``p <a and b>``, is text."""

    def __init__(self):
        super().__init__()
        self.parts: list[str] = []

    def set_cdata_mode(self, elem, **kwargs):
        """Without it, all after ``<script>`` would be lost."""

    def handle_data(self, data):
        self.parts.append(data)

    def handle_starttag(self, tag, attrs):
        if tag in _BLOCKS | _HEADINGS:
            self.parts.append(" ")
        elif tag not in _INLINE or any(value is None for _, value in attrs):
            # attributes without a value are words: ``a <b and c>``
            self.parts.append(self.get_starttag_text())

    def handle_endtag(self, tag):
        if tag in _HEADINGS:
            self.parts.append(": ")
        elif tag in _BLOCKS:
            self.parts.append(" ")
        elif tag not in _INLINE:
            self.parts.append(f"</{tag}>")


def plain(text: str) -> str:
    """``text`` without tags and entities, on one line.

    >>> plain("<h4>Aim</h4>H<sub>2</sub>S &amp; p < .05, n <5.&lt;br/&gt;Done")
    'Aim: H2S & p < .05, n <5. Done'
    """
    for _ in range(2):  # some texts were escaped once too often
        if "<" in text or "&" in text:
            reader = _Reader()
            reader.feed(text)
            reader.close()
            text = "".join(reader.parts)
    return re.sub(r"([.:?!]): ", r"\1 ", " ".join(text.split()))


def is_plain(text: str) -> bool:
    """Whether nothing that looks like markup is left."""
    return not _LEFT.search(text)
