"""What people are shown: in the terminal, in Markdown and in the box no text of others acts."""

import re
from types import SimpleNamespace

from rnagpt_lib.chat import rendering, session
from rnagpt_lib.chat.rendering import MARKDOWN, PAGE, RETRIEVED_ONLY, TERMINAL
from rnagpt_lib.chat.retrieval import HEADING
from rnagpt_lib.chat.session import Turn
from rnagpt_lib.core.fasta import Record, Refused
from tests.support.payloads import PAYLOADS
from tests.support.rendered import Page, Tags, pages

MARKUP = (
    "![x](http://evil.example/p.png)", "[x](javascript:alert(1))", "# a heading", "1. a list",
    "- another", "> quoted", "```\ncode", "| a | b |", "---", "$x$", "\n\n# title\n\n- item",
    "https://evil.example", "<!-- -->", "**bold** _so_", "\u202eabc",
)  # fmt: skip
HEAD = "So. (81 % identical, which chance reaches)"


def evidence(text: str, *article_ids: str, **fields: list) -> dict:
    sentences = [{"text": text, "article_ids": list(article_ids)}] * 7
    about = dict.fromkeys(("rna_type", "species", "family"), [text]) | {"near": False} | fields
    neighbour = {"rna_ids": [text, text], **about, "identity": 0.8149, "sentences": sentences}
    return {"about": HEADING, "statements": [text], "neighbours": [neighbour]}


def row(text: str, **more: object) -> dict:
    asked = {"id": text, "line": 1, "nt": 9, "question": text, "answer": text, "model": "IT"}
    return asked | {"stop_reason": "eos", "retrieved": evidence(text, text), "notes": [text]} | more


def conversation(text: str, *turns: Turn) -> SimpleNamespace:
    chat = SimpleNamespace(name=text, hash="abc" * 20)
    return SimpleNamespace(
        chat=chat, run=text, rna_id=text, rna="ACGU", notes=["Read."], turns=turns
    )


def test_evidence_is_described():
    said = evidence("So.", "12345678", "MINI-A000001")
    link = "[PMID 12345678](https://pubmed.ncbi.nlm.nih.gov/12345678/)"
    sentence = f"  - “So.” {link}, MINI-A000001"
    first = f"- retrieved, not generated: {HEAD}, So., So., So."
    assert MARKDOWN.neighbours(said).splitlines() == [first, sentence, sentence]
    assert len(MARKDOWN.neighbours(said, 5).splitlines()) == 6
    assert MARKDOWN.statements(said) == "- Note: So.\n"
    sentence = "    So. [12345678, MINI-A000001]"
    first = f"  retrieved, not generated: {HEAD}, So., So., So."
    assert TERMINAL.evidence(said).splitlines() == ["  * So.", first, sentence, sentence]
    for odd in ("１２３", "12)](http://evil", "MINI-A1", "PMC12", "-1", "1 2", ""):
        text = MARKDOWN.neighbours(evidence("x", odd))
        assert "pubmed" not in text and "](" not in text.replace("\\](", ""), odd


def test_in_markdown_no_text_acts():
    texts = [*PAYLOADS, *MARKUP]
    alone = Turn("q", "", 0, RETRIEVED_ONLY)
    talks = [
        conversation(one, Turn(one, one, 3, "eos", retrieved=evidence(one, "12345", one)), alone)
        for one in texts
    ]
    answers = [MARKDOWN.answers(one, 1, [row(one), row("", refused=one)]) for one in texts]
    parts = [*answers, *(session.to_markdown([one]) for one in talks)]
    for text, page, markdown in zip(texts * 2, pages(parts), parts, strict=True):
        assert set(page.tags) <= {
            "h1", "h2", "p", "strong", "em", "code", "pre", "div", "span", "ul", "li", "a"
        }, text  # fmt: skip
        links = re.findall(r"(?<!\\)\]\((.*?)\)", markdown)
        assert set(links) <= {"https://pubmed.ncbi.nlm.nih.gov/12345/"}, text
        seen = " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())
        assert page.text.count(seen) >= 5, text
        assert page.tags.count("a") == (5 if HEADING in markdown else 0), text


def test_what_is_said_in_words():
    page = session.to_markdown([conversation("R", Turn("q", "$5", 3, "length"))])
    assert "Model R of run R (`abcabcabcabc`), 4 nt." in page and "5" in page and "$" not in page
    assert "*3 tokens, cut at its limit, greedy*" in page
    empty = Turn("q", "", 0, RETRIEVED_ONLY, retrieved={"statements": [], "neighbours": []})
    said = session.to_markdown([conversation("R", empty)])
    assert said.endswith(f"**{HEADING}**\n\nNo annotated RNA of the training set is near.\n")
    assert "(cut)" in MARKDOWN.answers("R", 1, [row("x", stop_reason="length")])
    assert "[cut]" in TERMINAL.answers([row("x", stop_reason="length")])
    assert TERMINAL.answers([{"id": "a", "line": 3, "refused": "no"}]) == "a, line 3: refused, no\n"


def test_in_a_terminal_no_text_acts():
    for text in (*PAYLOADS, *MARKUP):
        shown = TERMINAL.answers([row(text), row("", refused=text)])
        assert shown.replace("\n", "").isprintable() and len(shown.splitlines()) == 8


# --- the box's HTML: only tags of our own, every text as it is


def parts(text: str) -> list[str]:
    chosen = Record(text, text, "ACGUACGUAC", (text,))
    found = evidence(text, "A1", text, "12345")
    return [
        PAGE.title(text), PAGE.line(text, "error"), PAGE.about(0, chosen),
        PAGE.refusals([Refused(text, 3, text)]), PAGE.part(text, chosen),
        PAGE.turn(text, Turn(text, text, 0, "")),
        PAGE.turn(text, Turn(text, text, 3, "eos", retrieved=found), text),
        PAGE.links({f"{text}.json": text, f"{text}.md": text}),
    ]  # fmt: skip


def test_no_text_makes_a_tag_or_an_attribute():
    for text in PAYLOADS:
        seen = "".join(letter for letter in text if letter.isprintable())
        *made, links = (Tags(str(html)) for html in parts(text))
        assert all(seen in found.text for found in made)
        for found in (*made, links):
            assert found.tags <= {"h4", "div", "span", "b", "a", "details", "summary", "ul", "li"}
            assert {name for name, _ in found.attributes} <= {
                "class", "role", "data-number", "open", "href", "target", "rel", "download"
            }  # fmt: skip
            addresses = {value for name, value in found.attributes if name == "href"}
            pubmed = {"https://pubmed.ncbi.nlm.nih.gov/12345/"}
            assert all(re.fullmatch(r"data:[\w/;=,%.~-]+", one) for one in addresses - pubmed)


def test_long_texts_are_cut_and_many_refusals_folded():
    assert len(Page(PAGE.title("x" * 20_000)).text) == rendering.LONGEST
    few, many = (PAGE.refusals([Refused("a", 1, "b")] * n) for n in (2, 20))
    assert "2 records are refused" in few and " open" in few
    assert "20 records are refused" in many and " open" not in many
    assert "1 record is refused" in PAGE.refusals([Refused("a", 1, "b")])
    assert PAGE.refusals([]) == ""
