"""The chat box's HTML: only tags of our own, every text as it is."""

import pytest

from rnagpt_lib.chat import notebook_page
from rnagpt_lib.core.fasta import Refused
from rnagpt_lib.core.rna_source import Chosen
from tests.chat.test_transcript import said
from tests.support.payloads import PAYLOADS
from tests.support.rendered import Page, Tags

OURS = {"div", "span", "b", "a", "details", "summary", "ul", "li"}
ATTRIBUTES = {"class", "role", "data-number", "open", "href", "target", "rel", "download"}


def parts(text: str) -> list[str]:
    chosen = Chosen(text, text, "ACGUACGUAC", (text,))
    return [
        notebook_page.line(text, "error"),
        notebook_page.about(0, chosen),
        notebook_page.refusals([Refused(text, 3, text)]),
        notebook_page.part(text, chosen),
        notebook_page.answering(text, text, text),
        notebook_page.answered(text, said(text), text),
        notebook_page.links({f"{text}.json": text, f"{text}.md": text}),
    ]


@pytest.mark.parametrize("text", PAYLOADS)
def test_no_text_makes_a_tag_or_an_attribute(text):
    for made in parts(text):
        found = Tags(made)
        assert found.tags <= OURS
        assert {name for name, _ in found.attributes} <= ATTRIBUTES
        links = [value for name, value in found.attributes if name == "href"]
        assert all(link.startswith(("data:", "https://pubmed.ncbi.nlm.nih.gov/")) for link in links)


@pytest.mark.parametrize("text", PAYLOADS)
def test_every_text_is_shown_as_it_is_but_for_what_nobody_sees(text):
    seen = "".join(letter for letter in text if letter.isprintable())
    assert Page(notebook_page.shown(text)).text == seen
    assert all(seen in Page(made).text for made in parts(text)[:-1])


def test_a_long_text_is_cut():
    assert len(notebook_page.shown("x" * 20_000)) == notebook_page.LONGEST


def test_many_refusals_are_folded():
    few, many = (notebook_page.refusals([Refused("a", 1, "b")] * n) for n in (2, 20))
    assert "2 records are refused" in few and " open" in few
    assert "20 records are refused" in many and " open" not in many
    assert notebook_page.refusals([]) == ""
