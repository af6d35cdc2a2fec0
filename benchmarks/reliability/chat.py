"""The chat box of notebook 07 in a real JupyterLab, used by a real browser again and again.

Rows, among those of all campaigns about chats: ``{name, tried, survived, lost, note}``. Payloads
survive when the page shows them letter by letter and no script of theirs has run; answers when they
are those of the model asked without a page, and have grown before the reader's eyes; stops when the
answer ends early, is kept, and the next one is right; exports when both files say what was said.
"""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from unittest.mock import patch

from benchmarks.reliability import _rows as _reliability_chat
from rnagpt_lib.chat import generate
from rnagpt_lib.chat.decoding import Sampling
from rnagpt_lib.chat.session import Session
from rnagpt_lib.core import paths
from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.miniature import world
from rnagpt_lib.runs import stages
from tests.support import lab, payloads
from tests.support.chatting import Box, printed

RNAS, QUESTIONS, STOPS = 10, 8, 30
LONG = 2000  # tokens up to which a drawn answer goes on
HOT, MANY = 5, 200  # the temperature that makes it do so, and pieces that are long enough
RUN = "mini"
BOX = (
    "from rnagpt_lib.chat import generate\nfrom rnagpt_lib.chat.notebook_box import chat_box",
    f"chats = {{'IT': generate.load_model('{RUN}', 'IT', {LONG})}}",
    f"chat_box('{RUN}', 'IT', chats=chats)",
)


def main() -> None:
    """Use the box, and keep a row for each kind of use."""
    with tempfile.TemporaryDirectory() as name, _served(Path(name)) as served:
        for campaign in (harmed, talked, stopped):
            _reliability_chat.keep(campaign(served))


@dataclass
class Served:
    """A JupyterLab with the reference run, a browser, and what its pages did."""

    lab: lab.Lab
    page: object
    watch: lab.Watch
    folder: Path

    def open(self, notebook: str, cells: tuple[str, ...]) -> Box:
        """A notebook of these cells, run; its box."""
        lab.write_notebook(self.lab, notebook, cells)
        lab.opened(self.page, self.lab, f"{notebook}.ipynb")
        lab.menu(self.page, "Run", "Run All Cells")
        return Box(self.page)

    @property
    def quiet(self) -> bool:
        """Whether no script failed, none of a payload ran, and nothing left the machine."""
        ran = self.page.evaluate("window.PWNED !== undefined")
        return not ran and not self.watch.errors and self.watch.hosts <= {"127.0.0.1"}


@contextmanager
def _served(folder: Path) -> Iterator[Served]:
    runs = folder / "runs"
    finished = paths.root() / "runs" / "reference"
    shutil.copytree(finished, runs / RUN, ignore=shutil.ignore_patterns(".*"))
    with (
        patch.dict(os.environ, {"RNAGPT_RUNS": str(runs)}),
        lab.served(folder / "lab", runs) as running,
        lab.browser() as browser,
    ):
        page, watch = browser.new_page(viewport={"width": 1300, "height": 1400}), lab.Watch()
        watch.look_at(page)
        yield Served(running, page, watch, folder)


# Texts that would run a script.


def harmed(served: Served) -> list[dict]:
    """Each payload in each place where foreign text stands."""
    for stage in stages.STAGES[:6]:
        shutil.copytree(served.lab.runs / RUN / stage, served.lab.runs / "spoilt" / stage)
    payloads.spoil("spoilt")
    box = served.open("parrot", payloads.PARROT)
    (served.folder / "payloads.fasta").write_text(payloads.fasta())
    box.upload(served.folder / "payloads.fasta")
    found = {place: 0 for place in ("header", "question", "answer", "evidence", "sequence")}
    for number, payload in enumerate(payloads.PAYLOADS):
        found["header"] += _shown(served, box, payload, box.choose(number))
        box.ask(payload)
        said = box.answer(number)
        found["question"] += _shown(served, box, payload, box.texts(".rnagpt-asked")[number])
        found["answer"] += _shown(served, box, payload, said)
        evidence = box.texts(".rnagpt-beside")[number]
        found["evidence"] += served.quiet and not box.foreign() and "PWNED" in evidence
    suggested = box.suggested()
    found["suggestion"] = sum(
        served.quiet and any(_same(payload, one) for payload in payloads.PAYLOADS)
        for one in suggested
    )
    for payload in payloads.PAYLOADS:
        box.paste(payloads.SEQUENCE, ".rnagpt-chosen:has-text('pasted sequence')")
        box.paste(payload, ".rnagpt-error")
        found["sequence"] += served.quiet and not box.foreign()
    saved = box.export()
    (served.lab.folder / "exported.md").write_text(saved[".md"], "utf-8")
    text = lab.rendered(served.page, served.lab, "exported.md")
    found["Markdown"] = sum(
        served.quiet and " ".join(printed(payload).split()) in " ".join(text.split())
        for payload in payloads.PAYLOADS
    )
    note = "; ".join(f"{place} {count}" for place, count in found.items())
    tried = (len(found) - 1) * len(payloads.PAYLOADS) + len(suggested)
    return [_row("chat box, payloads in all places", tried, sum(found.values()), note)]


def _shown(served: Served, box: Box, payload: str, text: str) -> bool:
    return served.quiet and not box.foreign() and _same(payload, text)


def _same(payload: str, text: str) -> bool:
    """Whether a text of the page holds the payload, but for spaces, the marks that FASTA has for
    what does not print, and the end of a long label."""
    said, shown = ("".join(printed(one).split()).replace("\ufffd", "") for one in (payload, text))
    return said in shown or said[:30] in shown and "…" in shown


# Conversations.


def talked(served: Served) -> list[dict]:
    """Questions in the page, and an export after each RNA."""
    rnas, box, chat = _boxed(served, "talked")
    questions = [one.questions[0] for one in RELATIONS.values()][:QUESTIONS]
    asked, exported, states, said = 0, 0, [], []
    for number, rna in enumerate(rnas):
        box.choose(number)
        session = Session(chat, rna)
        for question in questions:
            box.ask(question)
            said.append(box.answer(len(said)))
            states.append(len(box.seen(len(said) - 1)))
            right = said[-1] == session.ask(question).answer
            asked += right and states[-1] > 2 and served.quiet
        exported += _exported(box.export(), said)
    grew = f"{RNAS} RNAs; each text grew over {min(states)} to {max(states)} states"
    return [
        _row("chat box, questions", len(said), asked, grew),
        _row("chat box, exports", RNAS, exported, "both files by their links, and in the run"),
    ]


def _boxed(served: Served, name: str) -> tuple[list[str], Box, generate.Chat]:
    """RNAs of another world, a new box that has them, and its model."""
    rnas = [entry.sequence for entry in world.entries(RNAS, seed=1)]
    path = served.folder / "rnas.fasta"
    path.write_text("".join(f">rna{number}\n{rna}\n" for number, rna in enumerate(rnas)))
    box = served.open(name, BOX)
    box.upload(path)
    return rnas, box, generate.load_model(RUN, "IT", LONG)


def _exported(saved: dict[str, str], said: list[str]) -> bool:
    """Whether both forms hold all that was said, as the files in the run do."""
    told = [turn for one in json.loads(saved[".json"])["conversations"] for turn in one["turns"]]
    newest = sorted((paths.runs() / RUN / "chats").iterdir())[-2:]
    kept = [path.read_text("utf-8") for path in newest] == [saved[".json"], saved[".md"]]
    return kept and [turn["answer"] for turn in told] == said and len(told) == len(said)


def stopped(served: Served) -> list[dict]:
    """Answers without an end, stopped after a random number of pieces, and a question after each."""
    rnas, box, chat = _boxed(served, "stopped")
    box.choose(1)
    draw, ended, again, pieces = random.Random("stops"), 0, 0, []
    question = next(iter(RELATIONS.values())).questions[0]
    right = Session(chat, rnas[1]).ask(question).answer
    for number, endless in enumerate(islice(_endless(chat, rnas[1]), STOPS)):
        box.temperature(HOT)
        box.ask(endless)
        box.written(2 * number, draw.randrange(2, 40))
        box.button("Stop").click()
        text = box.answer(2 * number)
        pieces.append(len(box.seen(2 * number)))
        how = box.texts(".rnagpt-how")[2 * number]
        ended += "stopped by the reader" in how and bool(text) and served.quiet
        box.temperature(0)
        box.ask(question)
        again += box.answer(2 * number + 1) == right and served.quiet
    note = f"after {min(pieces)} to {max(pieces)} states of the text, of up to {LONG:,} tokens"
    return [
        _row("chat box, stops", STOPS, ended, note),
        _row("chat box, the question after a stop", STOPS, again, "answered as ever"),
    ]


def _endless(chat: generate.Chat, rna: str) -> Iterator[str]:
    """Questions whose drawn answer goes on and on."""
    for number in count(1):
        question = f"What do you know, for the {number}. time?"
        pieces = Session(chat, rna, sampling=Sampling(HOT)).stream(question)
        if len(list(islice(pieces, MANY))) == MANY:
            yield question


def _row(name: str, tried: int, survived: int, note: str) -> dict:
    lost = tried - survived
    return {"name": name, "tried": tried, "survived": survived, "lost": lost, "note": note}


if __name__ == "__main__":
    main()
