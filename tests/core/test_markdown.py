"""Remote text in text: rendered by a real renderer, it shows as it was and does nothing."""

import doctest
import random

import pandas as pd
import pytest

import rnagpt_lib.core.text
from rnagpt_lib.core.text import fenced, markdown_table, plain
from tests.support.rendered import pages

HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[click](http://evil.example)",
    "![x](http://evil.example/p.png)", "https://evil.example", "www.evil.example", "a@evil.example",
    "`code`", "```", "**bold**", "_emphasis_", "__x__", "~~gone~~", "| a | b |", "\n---\n", "\n# title",
    "&lt;b&gt;", "&amp;", "\\", "\\[x](y)", "$$x$$", "<!-- -->", "[ref]: http://evil.example", "pre_miRNA",
    "<http://evil.example>", "\u202eabc", "a\x00b", "5' end: 3 (nt)",
]  # fmt: skip

BLOCKS = ["a", "```\n# out", "x ````` y", "~~~", "<b>"]


def shown(text):
    """What a reader should see of a text: one line without control characters."""
    return " ".join(text.split()).replace("\u202e", "").replace("\x00", "")


@pytest.fixture(scope="module")
def rendered():
    """Every text below, rendered in one process, which takes seconds to start."""
    rng = random.Random(0)
    joints = [rng.choice(["", " ", "x"]) for _ in range(400)]
    texts = [joint.join(rng.choices(HOSTILE, k=rng.randint(1, 4))) for joint in joints]
    table = markdown_table(pd.DataFrame({"<a>|b": HOSTILE, "n": range(len(HOSTILE))}))
    lines = [f"says {plain(text)} here" for text in texts]
    made = pages([table, *map(fenced, BLOCKS), *lines])
    blocks = made[1 : 1 + len(BLOCKS)]
    return {
        "table": made[0],
        "blocks": dict(zip(BLOCKS, blocks, strict=True)),
        "plain": dict(zip(texts, made[1 + len(BLOCKS) :], strict=True)),
    }


def test_plain_text_is_shown_and_never_acts(rendered):
    assert len(rendered["plain"]) > 300
    for text, page in rendered["plain"].items():
        assert page.tags == ["p"], text
        assert page.text.strip() == f"says {shown(text)} here", text


def test_a_cell_stays_a_cell(rendered):
    page = rendered["table"]
    assert page.tags.count("tr") == len(HOSTILE) + 1 and page.tags.count("td") == 2 * len(HOSTILE)
    assert set(page.tags) == {"table", "thead", "tbody", "tr", "th", "td"}


def test_a_code_block_cannot_be_left(rendered):
    for text, page in rendered["blocks"].items():
        assert page.tags[:1] == ["pre"] and not {"h1", "b"} & set(page.tags)
        assert page.text.strip() == text


def test_numbers_in_tables():
    data = pd.DataFrame({"n": [1234567, None], "share": [0.5, None]}).astype({"n": "Int64"})
    assert markdown_table(data).splitlines()[2:] == ["| 1,234,567 | 0.50 |", "| – | – |"]


def test_long_texts_are_cut():
    assert plain("a" * 500, longest=10) == "a" * 9 + "…"


def test_examples_in_docstrings():
    result = doctest.testmod(rnagpt_lib.core.text)
    assert result.attempted and not result.failed
