"""A chat with an RNA as a box in JupyterLab.

Answers are made in a thread of their own, so that the kernel goes on listening: the button that
stops an answer works while it is written. One answer is made at a time.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial

import ipywidgets as w

from rnagpt_lib.chat import generate, notebook_page, transcript
from rnagpt_lib.chat.generate import Chat
from rnagpt_lib.chat.notebook_controls import RETRIEVAL, Options, Said, button
from rnagpt_lib.chat.retrieval import Retrieval
from rnagpt_lib.chat.retrieved_evidence import Beside
from rnagpt_lib.chat.rna_picker import RnaPicker
from rnagpt_lib.chat.session import Session, Turn
from rnagpt_lib.chat.transcript import RETRIEVED_ONLY, Transcript
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.paths import shown
from rnagpt_lib.core.rna_source import Chosen
from rnagpt_lib.core.tables import read as read_table
from rnagpt_lib.curate.questions.question_templates import RELATIONS, relation_of
from rnagpt_lib.runs.stages import stage_folder

ENTER = 0.3  # seconds in which a browser that sent "Enter" sends the text, too, if it has changed
BUSY = "One thing at a time: stop what is in work, or wait for its end."
READY = "Give an RNA, then ask. Enter asks."


def chat_box(
    run: str = "mini",
    model: str = "IT",
    retrieval: str = "beside",
    chats: Mapping[str, Chat] | None = None,
) -> "ChatBox":
    """A box to talk to an RNA in: the last expression of a notebook's cell shows it.

    ``retrieval``: what stands under an answer, ``beside`` (what is known of the nearest training
    RNAs), ``only`` (that and no answer) or ``off``. ``chats``: models that are loaded already;
    others of the run are loaded when they are first asked.
    """
    if retrieval not in RETRIEVAL:
        raise InputError(f"retrieval is {retrieval!r}; it can be {', '.join(RETRIEVAL)}")
    return ChatBox(run, model, retrieval, chats or {})


def suggestions(run: str) -> list[str]:
    """A question of each kind, as the pairs of a run ask it most; without pairs, as worded here."""
    try:
        pairs = read_table(stage_folder(run, "03_decompose_qa") / "pairs.parquet", "pairs")
    except InputError:
        return [relation.questions[0] for relation in RELATIONS.values()]
    counted = pairs[pairs.form == "open"].question.value_counts()
    kinds = {relation_of(question) or question: question for question in reversed(counted.index)}
    return [question for question in counted.index if question in kinds.values()][:12]


class ChatBox(w.VBox):
    """The box itself; `chat_box` makes it."""

    def __init__(self, run: str, model: str, retrieval: str, chats: Mapping[str, Chat]) -> None:
        self.run, self.chats = run, dict(chats)
        self.transcripts: list[Transcript] = []
        self._session: Session | None = None
        self._about: tuple[Chosen, str] | None = None  # what the session is about, and with
        # by the hash of a model, whose encoder may be its own
        self._retrievals: dict[str, Retrieval] = {}
        self._working, self._stopping = threading.Lock(), threading.Event()
        self._entered = threading.Timer(0, self._attempt, (self._ask,))
        self._make_controls(model, retrieval)
        self._wire()
        super().__init__(self._rows())
        self.add_class("rnagpt")
        self._rest(False)
        self._say(READY)

    def __repr__(self) -> str:
        """What is shown where there are no widgets, as in an executed copy."""
        return f"A box to talk to an RNA in (run {self.run}): run this cell in JupyterLab."

    # What stands in the box.

    def _make_controls(self, model: str, retrieval: str) -> None:
        self.picker = RnaPicker(self.run, self._attempt, self._in_background)
        models = list(dict.fromkeys([*generate.MODELS, *self.chats, model]))
        self.model = w.Dropdown(description="Model", options=models, value=model)
        self.memory = w.Checkbox(description="The model reads earlier turns again", indent=False)
        self.options, self.said = Options(retrieval), Said()
        asks = [(notebook_page.printable(one), one) for one in suggestions(self.run)]
        asks = [("Suggested questions …", ""), *asks]
        self.suggested = w.Dropdown(options=asks, layout=w.Layout(width="20rem"))
        rest = w.Layout(flex="1 1 auto", width="auto")
        self.question = w.Text(
            placeholder="Ask about the RNA", continuous_update=False, layout=rest
        )
        self.ask = button("Ask", "Ask the question (Enter)", "primary")
        self.stop = button("Stop", "End the answer, and keep it as far as it came", "warning")
        self.new = button("New conversation", "Forget what was said, and clear the page")
        self.export = button("Export", "Write the conversation as JSON and Markdown")
        self.status, self.files = w.HTML(), w.HTML()

    def _wire(self) -> None:
        actions = {self.ask: self._ask, self.stop: self._stop, self.new: self._clear}
        for pressed, action in {**actions, self.export: self._export}.items():
            pressed.on_click(lambda pressed, action=action: self._attempt(action))
        self.question.on_msg(self._told)
        self.question.observe(lambda change: self._attempt(self._entered_with), "value")
        self.suggested.observe(lambda change: self._attempt(self._suggest), "value")

    def _rows(self) -> list[w.Widget]:
        head = notebook_page.title(f"Talk to an RNA · run {self.run}")
        return [
            w.HTML(notebook_page.STYLE + head),
            self.picker,
            w.HBox([self.model, self.memory]),
            self.options,
            self.said,
            self.suggested,
            w.HBox([self.question, self.ask, self.stop]),
            self.status,
            w.HBox([self.new, self.export]),
            self.files,
        ]

    # What happens.

    def _told(self, widget: w.Widget, content: dict, buffers: list) -> None:
        """Enter: the browser sends it before the text, and the text only where it has changed."""
        if content.get("event") == "submit":
            self._entered.cancel()
            self._entered = threading.Timer(ENTER, self._attempt, (self._ask,))
            self._entered.start()

    def _entered_with(self) -> None:
        if self._entered.is_alive():
            self._entered.cancel()
            self._ask()

    def _suggest(self) -> None:
        if self.suggested.value:
            self.question.value, self.suggested.value = self.suggested.value, ""
            self.question.focus()

    def _ask(self) -> None:
        question, chosen = self.question.value.strip(), self.picker.chosen
        if self._working.locked():
            self._say(BUSY)
        elif chosen is None:
            self._say("There is no RNA yet: paste a sequence, or upload FASTA.", "error")
        elif not question:
            self._say("There is no question yet: type one, or choose a suggested one.", "error")
        else:
            self.question.value = self.files.value = ""  # links to what was said so far are old
            self._in_background(partial(self._turn, question, chosen), "")

    def _turn(self, question: str, chosen: Chosen) -> None:
        name, line = self.model.value, None
        try:
            session = self._session_about(chosen, name)
            session.sampling, session.memory = self.options.sampling, self.memory.value
            line = self.said.add(notebook_page.answering(name, question, ""))
            turn = self._answer(session, question, line)
            beside, fault = self._beside(session, turn, chosen)
        except Exception:
            self.said.remove(line)
            self.question.value = self.question.value or question
            raise
        found = self.transcripts[-1].add(session, turn, beside)
        line.value = notebook_page.answered(name, found, fault)

    def _session_about(self, chosen: Chosen, name: str) -> Session:
        """The conversation with this RNA and model, which goes on until one of them changes."""
        if self._session and self._about == (chosen, name):
            return self._session
        self._session, self._about = Session(self._loaded(name), chosen.sequence), (chosen, name)
        found = Transcript.of(self._session, self.run, chosen.id)
        found.notes = list(chosen.notes)
        self.transcripts.append(found)
        self.said.add(notebook_page.part(name, chosen))
        return self._session

    def _loaded(self, name: str) -> Chat:
        if name not in self.chats:
            self._say(f"Loading {name} of run {self.run} …")
            self.chats[name] = generate.load_model(self.run, name)
        return self.chats[name]

    def _answer(self, session: Session, question: str, line: w.HTML) -> Turn:
        if self.options.retrieval.value == "only":
            return Turn(question, "", 0, RETRIEVED_ONLY)
        name, text = self.model.value, ""
        self._say("Answering …")
        pieces = session.stream(question)
        if self._stopping.is_set():  # while the model was loaded
            session.stop()
        for piece in pieces:
            text += piece
            line.value = notebook_page.answering(name, question, text)
        return session.turns[-1]

    def _beside(self, session: Session, turn: Turn, chosen: Chosen) -> tuple[Beside | None, str]:
        """What is retrieved beside an answer, or why nothing is."""
        if self.options.retrieval.value == "off":
            return None, ""
        self._say("Looking at what is known of the nearest training RNAs …")
        try:
            chat = session.chat
            if chat.hash not in self._retrievals:
                self._retrievals[chat.hash] = Retrieval.of(self.run)
            found = self._retrievals[chat.hash]
            if turn.stop_reason == RETRIEVED_ONLY:
                return found.only(session.rna, turn.question), ""
            return found.beside(session.rna, turn.question, turn.answer, chosen.id), ""
        except InputError as error:
            return None, f"Nothing was retrieved: {error}"

    def _stop(self) -> None:
        self._stopping.set()
        if self._session:
            self._session.stop()
        self._say("Stopping …")

    def _clear(self) -> None:
        self._session, self.transcripts, self.files.value = None, [], ""
        self.said.clear()
        self._say(READY)

    def _export(self) -> None:
        if not any(one.said for one in self.transcripts):
            self._say("There is nothing to export yet: ask something first.", "error")
            return
        files = transcript.files(self.transcripts)
        self.files.value = notebook_page.links(files)
        self._say("The links below hold the conversation.")
        folder = transcript.keep(self.run, files)
        self._say(f"Written to {shown(folder)}: {', '.join(files)}")

    # Work apart from the kernel's own thread.

    def _in_background(self, job: Callable[[], None], saying: str) -> None:
        """Run a job in a thread; whatever becomes of it, the box can be used again afterwards."""
        if not self._working.acquire(blocking=False):
            self._say(BUSY)
            return
        self._stopping.clear()
        self._rest(True)
        self._say(saying)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()

    def _run(self, job: Callable[[], None]) -> None:
        try:
            self._attempt(job, "")
        finally:
            self._working.release()
            self._rest(False)

    def _attempt(self, job: Callable[[], None], done: str | None = None) -> None:
        """Whatever goes wrong is a sentence in the box; ``done`` is said where nothing does."""
        try:
            job()
        except InputError as error:
            self._say(str(error), "error")
        except Exception as error:
            self._say(f"This failed ({type(error).__name__}: {error}); you can go on.", "error")
        else:
            if done is not None:
                self._say(done)

    def _rest(self, working: bool) -> None:
        """While something is in work, all rests but what stops it and the next question's text."""
        own = [self.model, self.memory, self.ask, self.new, self.export]
        for one in (*self.picker.controls(), *self.options.fields, *own):
            one.disabled = working
        self.stop.disabled = not working

    def _say(self, text: str, kind: str = "small") -> None:
        self.status.value = notebook_page.line(text, kind)
