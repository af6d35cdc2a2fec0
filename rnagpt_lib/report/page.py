"""Pieces of a page that is one file: no script, no request, and every text escaped."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

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
