"""The chat box as somebody at a browser uses it, and what the page shows of it."""

import re
from pathlib import Path

from tests.support.lab import WAIT

# Each distinct text that an answer has had while it was written, oldest first.
WATCH = """
box => {
  window.SEEN = [];
  const look = () => box.querySelectorAll('.rnagpt-said').forEach((one, number) => {
    const seen = (window.SEEN[number] ??= []);
    if (seen.at(-1) !== one.textContent) seen.push(one.textContent);
  });
  new MutationObserver(look).observe(box, {childList: true, subtree: true, characterData: true});
}
"""
FOREIGN = "script, img, iframe, svg, object, embed, form, style, base, link, math, video"


def printed(text: str) -> str:
    """What a page shows of a text: control characters and marks of direction are left out."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")


class Box:
    """The first chat box of a page, once it is there."""

    def __init__(self, page) -> None:
        self.page, self.box = page, page.locator(".rnagpt").first
        self.box.wait_for()
        self.question = self.box.get_by_placeholder("Ask about the RNA")
        self.box.evaluate(WATCH)

    def button(self, label: str):
        return self.box.get_by_role("button", name=label, exact=True)

    def select(self, label: str):
        """A dropdown by its description."""
        return self.box.get_by_label(label, exact=True)

    def upload(self, path: Path) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.box.locator("button.widget-upload").click()
        chooser.value.set_files(path)

    def choose(self, number: int) -> str:
        """Choose a record by its place, and wait until the box tells of it; its label."""
        records = self.select("Record")
        label = records.locator("option").nth(number).text_content().replace("\xa0", " ")
        records.select_option(index=number)
        self.box.locator(f".rnagpt-chosen[data-number='{number}']").wait_for()
        return label

    def paste(self, text: str, shows: str) -> None:
        """Into the box for sequences, and wait for ``shows``, a part of the page, to tell of it."""
        field = self.box.locator("textarea")
        field.fill(text)
        field.press("Tab")
        self.box.locator(shows).first.wait_for()

    def refused(self) -> list[str]:
        return self.box.locator(".rnagpt-refused li").all_text_contents()

    def suggested(self) -> list[str]:
        options = self.box.locator("select", has_text="Suggested questions").locator("option")
        return [text.replace("\xa0", " ") for text in options.all_text_contents()[1:]]

    def suggest(self, question: str) -> None:
        self.box.locator("select", has_text="Suggested questions").select_option(label=question)
        self.page.wait_for_function(
            "([e, text]) => e.value === text", arg=[self.question.element_handle(), question]
        )

    def temperature(self, value: float) -> None:
        """Set it under Options, which is opened for it."""
        field = self.select("Temperature")
        if not field.is_visible():
            self.box.get_by_text("Options", exact=True).click()
        field.fill(str(value))
        field.press("Tab")

    def ask(self, question: str | None = None) -> None:
        """Enter in the question's box, over another text where one is given."""
        if question is not None:
            self.question.fill(question)
        self.question.press("Enter")

    def asked(self) -> int:
        return self.box.locator(".rnagpt-asked").count()

    def answer(self, number: int) -> str:
        """The text of an answer, once it is whole and the box is ready again."""
        turn = self.box.locator(".rnagpt-turn").nth(number)
        turn.locator(".rnagpt-how").wait_for(timeout=WAIT)
        self.ready()
        return turn.locator(".rnagpt-said").text_content()

    def ready(self) -> None:
        self.box.locator("button:not([disabled])", has_text=re.compile("^Ask$")).wait_for()

    def seen(self, number: int) -> list[str]:
        """The distinct texts of an answer, from its beginning on."""
        return self.page.evaluate("number => window.SEEN[number] ?? []", number)

    def written(self, number: int, pieces: int) -> None:
        """Wait until an answer has had so many texts."""
        self.page.wait_for_function(
            "([n, most]) => (window.SEEN[n] ?? []).length > most", arg=[number, pieces]
        )

    def texts(self, part: str) -> list[str]:
        """The texts of all parts of a kind."""
        return self.box.locator(part).all_text_contents()

    def foreign(self) -> list[str]:
        """Elements that no text of ours makes, and links that lead anywhere."""
        return self.box.evaluate(
            "(box, foreign) => [...box.querySelectorAll(foreign)].filter("
            " one => !one.closest('.rnagpt-style') && !one.closest('button'))"
            ".concat([...box.querySelectorAll('a')].filter(a => !/^data:|^https:..pubmed\\.ncbi\\.nlm\\.nih\\.gov.\\d+.$/.test(a.href)))"
            ".map(one => one.outerHTML)",
            FOREIGN,
        )

    def export(self) -> dict[str, str]:
        """What the two links save, by file ending."""
        self.button("Export").click()
        self.box.locator(".rnagpt-links a").first.wait_for()
        found = {}
        for link in self.box.locator(".rnagpt-links a").all():
            with self.page.expect_download() as download:
                link.click()
            path = Path(download.value.suggested_filename)
            found[path.suffix] = Path(download.value.path()).read_text("utf-8")
        return found
