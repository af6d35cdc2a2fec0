"""The part of the chat box that takes an RNA: pasted, from a FASTA file, or by its id."""

from collections.abc import Callable

import ipywidgets as w
import traitlets

from rnagpt_lib.chat import lookup, notebook_page
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import Refused
from rnagpt_lib.core.rna_source import Chosen, read


class RnaPicker(w.VBox):
    """``chosen`` is the RNA, or None. ``attempt(job)`` tells what goes wrong in the box;
    ``in_background(job, saying)`` does, too, in a thread, for what may take long."""

    chosen = traitlets.Instance(Chosen, allow_none=True)

    def __init__(self, run: str, attempt: Callable, in_background: Callable) -> None:
        self.run, self.in_background = run, in_background
        self.found: list[Chosen] = []
        self.paste = w.Textarea(
            placeholder="Paste a sequence, RNA or DNA, or FASTA. It is read when you leave this box.",
            continuous_update=False,
            rows=4,
            layout=w.Layout(width="auto"),
            tooltip="A sequence or FASTA text",
        )
        self.upload = w.FileUpload(
            description="Upload FASTA",
            tooltip="A FASTA file, plain or gzip",
            layout=w.Layout(width="auto"),
        )
        self.rna_id = w.Text(
            placeholder="or an id, as URS000006DA05_9606",
            continuous_update=False,
            layout=w.Layout(width="18rem"),
        )
        self.find = w.Button(
            description="Look up",
            tooltip="Look the id up in this run, else at RNAcentral",
            layout=w.Layout(width="auto"),
        )
        self.records = w.Dropdown(description="Record", options=[], layout=w.Layout(width="auto"))
        self.about, self.refused = w.HTML(), w.HTML()
        self.records.layout.display = "none"
        self.paste.observe(lambda change: attempt(self._pasted), "value")
        self.upload.observe(lambda change: attempt(self._uploaded), "value")
        self.records.observe(lambda change: attempt(self._choose), "index")
        self.find.on_click(lambda button: attempt(self._look_up))
        row = w.HBox([self.upload, self.rna_id, self.find])
        super().__init__([self.paste, row, self.records, self.about, self.refused])

    def controls(self) -> list[w.DOMWidget]:
        """What must rest while an answer is in work."""
        return [self.paste, self.upload, self.rna_id, self.find, self.records]

    def take(self, source: str | bytes) -> None:
        """Read records and choose the first; a fault is told in the box."""
        try:
            self._show(*read(source))
        except InputError as error:
            self._show([], [])
            self.about.value = notebook_page.line(str(error), "error")

    def _pasted(self) -> None:
        if self.paste.value.strip():
            self.take(self.paste.value)

    def _uploaded(self) -> None:
        if self.upload.value:
            self.take(bytes(self.upload.value[0]["content"]))
            self.upload.value = ()  # so that the same file, changed, can come again

    def _look_up(self) -> None:
        wanted = self.rna_id.value.strip()

        def job() -> None:
            found = lookup.look_up(wanted, run=self.run)
            self._show([Chosen.of(found.rna_id, _told(found), found.sequence)], [])

        self.in_background(job, f"Looking up {wanted} …")

    def _show(self, found: list[Chosen], refused: list[Refused]) -> None:
        self.found = found
        self.records.options = [(_label(one), number) for number, one in enumerate(found)]
        self.records.index = 0 if found else None
        self.records.layout.display = "" if len(found) > 1 else "none"
        self.refused.value = notebook_page.refusals(refused)
        self._choose()

    def _choose(self) -> None:
        number = self.records.index
        known = number is not None and number < len(self.found)
        self.chosen = self.found[number] if known else None
        self.about.value = notebook_page.about(number, self.chosen) if known else ""


def _told(found: lookup.Found) -> str:
    return f"{found.description or found.rna_type} ({found.where})".strip()


def _label(one: Chosen) -> str:
    text = " ".join(notebook_page.printable(f"{one.id} {one.description}").split())
    return f"{text[:80]}{'…' if len(text) > 80 else ''} ({len(one.sequence):,} nt)"
