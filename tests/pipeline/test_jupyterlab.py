"""The notebooks and the chat box in a real JupyterLab, by a real browser, without a network."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from rnagpt_lib.chat.retrieval import HEADING
from rnagpt_lib.core import paths
from rnagpt_lib.miniature import world
from rnagpt_lib.runs import stages
from tests.support import lab, payloads
from tests.support.chatting import FOREIGN, Box, printed

pytestmark = pytest.mark.slow

STAGES = stages.STAGES
FINISHED = paths.root() / "runs" / "reference"
LONG = 2000  # tokens; an answer that is drawn at random goes on up to here
NAMES = ("first", "second", "third")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """JupyterLab over the notebooks, with the finished reference run in place of ``mini``."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(FINISHED, folder / "runs" / "mini", ignore=shutil.ignore_patterns(".*"))
    with lab.served(folder / "lab", folder / "runs") as running:
        yield running


@pytest.fixture(scope="module")
def chromium():
    with lab.browser() as launched:
        yield launched


@pytest.fixture
def page(chromium):
    """A page that has done nothing wrong at the end of the test."""
    page = chromium.new_page(viewport={"width": 1300, "height": 1400})
    watch = lab.Watch()
    watch.look_at(page)
    yield page
    page.close()
    assert watch.errors == []
    assert watch.hosts <= {"127.0.0.1"}


@pytest.fixture(scope="module")
def spoilt(served):
    """A run whose tables hold payloads, and a notebook with its chat box, where the model says what
    it is asked."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RNAGPT_RUNS", str(served.runs))
        for stage in STAGES[:6]:
            shutil.copytree(FINISHED / stage, served.runs / "spoilt" / stage)
        payloads.spoil("spoilt")
    lab.write_notebook(served, "parrot", payloads.PARROT)


@pytest.fixture
def fasta(tmp_path) -> Path:
    """Three records, of DNA."""
    rnas = zip(NAMES, world.entries(3, seed=1), strict=True)
    path = tmp_path / "three.fasta"
    text = "".join(f">{name} of three\n{rna.sequence.replace('U', 'T')}\n" for name, rna in rnas)
    path.write_text(text)
    return path


def test_a_conversation_in_notebook_07(served, page, fasta, tmp_path):
    parameters(served, "07_case_studies", MAX_NEW_TOKENS=LONG, HELD_OUT=1)
    lab.opened(page, served, "07_case_studies.ipynb")
    lab.menu(page, "Run", "Run All Cells")
    box = Box(page)
    lab.idle(page)
    box.upload(fasta)
    assert box.choose(1).startswith("second of three (")
    assert "it is written as DNA" in box.box.inner_text()
    box.suggest("What type of RNA is the RNA?")
    box.ask()
    kind = box.answer(0)
    assert kind.startswith("The RNA is of the type ")
    written = box.seen(0)
    assert len(written) > 2 and all(kind.startswith(text.removesuffix(" …")) for text in written)
    assert HEADING in box.box.inner_text()
    stopped = ask_and_stop(box, "What do you know?", 1)
    box.temperature(0)
    box.ask("What type of RNA is the RNA?")
    assert box.answer(2) == kind
    saved = box.export()
    page.screenshot(path=tmp_path / "chat.png")
    check_export(saved, kind, stopped, served)


def ask_and_stop(box: Box, question: str, number: int) -> str:
    """Ask so that the answer would go on and on, and stop it as soon as it begins."""
    box.temperature(5)
    box.ask(question)
    box.written(number, 2)
    box.button("Stop").click()
    return box.answer(number)


def check_export(saved: dict[str, str], kind: str, stopped: str, served) -> None:
    assert set(saved) == {".json", ".md"}
    (conversation,) = json.loads(saved[".json"])["conversations"]
    assert conversation["rna_id"] == "second" and conversation["model"] == "IT"
    turns = conversation["turns"]
    assert [printed(turn["answer"]) for turn in turns] == [kind, stopped, kind]
    assert turns[1]["stop_reason"] == "cancelled" and 0 < turns[1]["n_tokens"] < LONG
    assert [turn["sampling"]["temperature"] for turn in turns] == [0, 5, 0]
    assert all(turn["retrieved"]["about"] == HEADING for turn in turns)
    assert kind in saved[".md"] and HEADING in saved[".md"]
    kept = sorted((served.runs / "mini" / "chats").iterdir())
    assert [path.read_text("utf-8") for path in kept] == [saved[".json"], saved[".md"]]


@pytest.mark.parametrize("stage", STAGES[::-1])  # a stage opened again makes later ones stale
def test_every_notebook_opens_and_starts(served, page, stage):
    cells = nbformat.read(paths.notebooks() / f"{stage}.ipynb", 4).cells
    last = next(number for number, cell in enumerate(cells) if "Run.open(" in cell.source)
    lab.opened(page, served, f"{stage}.ipynb")
    page.locator(".jp-Cell").nth(last).locator(".jp-InputArea-prompt").click()
    lab.menu(page, "Run", "Run All Above Selected Cell")
    lab.menu(page, "Run", "Run Selected Cell")
    shown = page.locator(".jp-Cell").nth(last)
    shown.get_by_text(re.compile(rf"{stage} · run mini")).first.wait_for()
    lab.idle(page)
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0


def parameters(served, stage: str, **values: object) -> None:
    """Write parameters into the lab's copy of a notebook."""
    path = served.folder / "notebooks" / f"{stage}.ipynb"
    notebook = nbformat.read(path, 4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    for name, value in values.items():
        cell.source, made = re.subn(rf"(?m)^({name}: \w+ = )\S+", rf"\g<1>{value!r}", cell.source)
        assert made == 1, name
    nbformat.write(notebook, path)


def test_no_text_acts_in_the_page_or_in_what_is_exported(served, spoilt, page, tmp_path):
    """Each payload as a FASTA header, a question and an answer; the run's tables hold them, too."""
    path = tmp_path / "payloads.fasta"
    path.write_text(payloads.fasta())
    lab.opened(page, served, "parrot.ipynb")
    lab.menu(page, "Run", "Run All Cells")
    box = Box(page)
    box.upload(path)
    for number, payload in enumerate(payloads.PAYLOADS):
        box.choose(number)
        box.ask(payload)
        assert box.answer(number) == printed(payload).strip()
        assert box.foreign() == []
    assert len(box.refused()) == len(payloads.PAYLOADS)
    for option in box.suggested():
        assert option in map(printed, payloads.PAYLOADS)
    pasted(box, payloads.PAYLOADS)
    page.mouse.move(600, 600)  # over what a payload may have put there
    saved = box.export()
    (served.folder / "exported.md").write_text(saved[".md"], "utf-8")
    assert page.evaluate("window.PWNED") is None
    page.screenshot(path=tmp_path / "payloads.png")
    lab.rendered(page, served, "exported.md")
    page.wait_for_load_state("networkidle")  # MathJax is there, if it was wanted
    shown = page.locator(".jp-MarkdownViewer")
    assert shown.locator(FOREIGN).count() == 0
    links = shown.locator("a").evaluate_all("all => all.map(a => a.href)")
    assert [link for link in links if not link.startswith(served.url)] == []
    assert page.evaluate("window.PWNED") is None
    said = [turn for one in json.loads(saved[".json"])["conversations"] for turn in one["turns"]]
    assert [turn["answer"] for turn in said] == list(payloads.PAYLOADS)


def pasted(box: Box, texts) -> None:
    """Each text alone in the box for sequences, where it is refused."""
    for text in texts:
        box.paste(payloads.SEQUENCE, ".rnagpt-chosen:has-text('pasted sequence')")
        box.paste(text, ".rnagpt-error")
        assert box.foreign() == []
