"""A chat with an RNA as a box in JupyterLab.

Answers are made in a thread of their own, so that the kernel goes on listening: the button that
stops an answer works while it is written. One answer is made at a time. JupyterLab puts the value
of an HTML widget into its page as it is, and scripts in it run: so all of it is rendered by one
template (`rendering.PAGE`) that escapes every text.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial

import ipywidgets as w

from rnagpt_lib.chat import generate, lookup, session
from rnagpt_lib.chat.decoding import Sampling
from rnagpt_lib.chat.generate import Chat
from rnagpt_lib.chat.rendering import PAGE, RETRIEVED_ONLY, seen
from rnagpt_lib.chat.retrieval import Retrieval
from rnagpt_lib.chat.session import Session, Turn
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import Record, Refused, read_chosen
from rnagpt_lib.core.paths import shown
from rnagpt_lib.core.tables import read as read_table
from rnagpt_lib.curate.questions.question_templates import RELATIONS, relation_of
from rnagpt_lib.runs.stages import MODELS, QA, stage_folder

RETRIEVAL = {"beside": "beside the answer", "only": "alone, no model", "off": "off"}
ENTER = 0.3  # seconds in which a browser that sent "Enter" sends the text, too, if it has changed
BUSY = "One thing at a time: stop what is in work, or wait for its end."
READY = "Give an RNA, then ask. Enter asks."


def chat_box(
    run: str = "mini", model: str = "IT", retrieval: str = "beside",
    chats: Mapping[str, Chat] | None = None,
) -> "ChatBox":  # fmt: skip
    """A box to talk to an RNA in: the last expression of a notebook's cell shows it.

    ``retrieval``: what stands under an answer, ``beside`` (what is known of the nearest training
    RNAs), ``only`` (that and no answer) or ``off``. ``chats``: models that are loaded already;
    others of the run are loaded when they are first asked.
    """
    if retrieval not in RETRIEVAL:
        raise InputError(f"retrieval is {retrieval!r}; it can be {', '.join(RETRIEVAL)}")
    return ChatBox(run, model, retrieval, chats or {})


def suggest_questions(run: str) -> list[str]:
    """A question of each kind, as the pairs of a run ask it most; without pairs, as worded here."""
    try:
        pairs = read_table(stage_folder(run, QA) / "pairs.parquet", "pairs")
    except InputError:
        return [relation.questions[0] for relation in RELATIONS.values()]
    counted = pairs[pairs.form == "open"].question.value_counts()
    kinds = {relation_of(question) or question: question for question in reversed(counted.index)}
    return [question for question in counted.index if question in kinds.values()][:12]


def _wide(kind: type[w.Widget], width: str = "auto", **options: object) -> w.Widget:
    """A control of a width, whose description is never cut."""
    if "description" in options and not issubclass(kind, w.Button | w.FileUpload):
        options["style"] = {"description_width": "initial"}
    return kind(layout=w.Layout(width=width), **options)


def _button(label: str, tooltip: str, action: Callable[[], None], style: str = "") -> w.Button:
    made = _wide(w.Button, description=label, tooltip=tooltip, button_style=style)
    made.on_click(lambda pressed: action())
    return made


class RnaPicker(w.VBox):
    """Takes an RNA: pasted, from a FASTA file, or by its id; ``chosen`` is the RNA, or None.

    ``attempt(job)`` says in the box what goes wrong; ``in_background(job, saying)`` does, too, in a
    thread, for what may take long.
    """

    def __init__(self, run: str, attempt: Callable, in_background: Callable) -> None:
        self.run, self.in_background = run, in_background
        self.found: list[Record] = []
        self.chosen: Record | None = None
        hint = "Paste a sequence, RNA or DNA, or FASTA. It is read when you leave this box."
        once = {"continuous_update": False}
        tip = "A sequence or FASTA text"
        self.paste = _wide(w.Textarea, placeholder=hint, tooltip=tip, rows=4, **once)
        tip = "A FASTA file, plain or gzip"
        self.upload = _wide(w.FileUpload, description="Upload FASTA", tooltip=tip)
        self.rna_id = _wide(w.Text, "18rem", placeholder="or an id, as URS000006DA05_9606", **once)
        tip = "Look the id up in this run, else at RNAcentral"
        self.find = _button("Look up", tip, partial(attempt, self._look_up))
        self.records = _wide(w.Dropdown, description="Record", options=[])
        self.about, self.refused = w.HTML(), w.HTML()
        self.records.layout.display = "none"
        self.paste.observe(lambda change: attempt(self._pasted), "value")
        self.upload.observe(lambda change: attempt(self._uploaded), "value")
        self.records.observe(lambda change: attempt(self._choose), "index")
        row = w.HBox([self.upload, self.rna_id, self.find])
        super().__init__([self.paste, row, self.records, self.about, self.refused])
        self.controls = [self.paste, *row.children, self.records]

    def take(self, source: str | bytes) -> None:
        """Read records and choose the first; a fault is told in the box."""
        try:
            self._show(*read_chosen(source))
        except InputError as error:
            self._show([], [])
            self.about.value = PAGE.line(str(error), "error")

    def _pasted(self) -> None:
        if self.paste.value.strip():
            self.take(self.paste.value)

    def _uploaded(self) -> None:
        if self.upload.value:
            self.take(bytes(self.upload.value[0]["content"]))
            self.upload.value = ()  # so that the same file, changed, can come again

    def _look_up(self) -> None:
        wanted = self.rna_id.value.strip()
        job = lambda: self._show([lookup.look_up(wanted, run=self.run)], [])  # noqa: E731
        self.in_background(job, f"Looking up {wanted} …")

    def _show(self, found: list[Record], refused: list[Refused]) -> None:
        self.found, options = found, []
        for number, one in enumerate(found):
            text = " ".join(seen(f"{one.id} {one.description}").split())
            text = text if len(text) <= 80 else f"{text[:80]}…"
            options.append((f"{text} ({len(one.sequence):,} nt)", number))
        self.records.options = options
        self.records.index = 0 if found else None
        self.records.layout.display = "" if len(found) > 1 else "none"
        self.refused.value = PAGE.refusals(refused)
        self._choose()

    def _choose(self) -> None:
        number = self.records.index
        known = number is not None and number < len(self.found)
        self.chosen = self.found[number] if known else None
        self.about.value = PAGE.about(number, self.chosen) if known else ""


class ChatBox(w.VBox):
    """The box itself; `chat_box` makes it."""

    def __init__(self, run: str, model: str, retrieval: str, chats: Mapping[str, Chat]) -> None:
        self.run, self.chats = run, dict(chats)
        self.sessions: list[Session] = []
        self._about: tuple[Record, str] | None = None  # RNA and model of the session that goes on
        self._working, self._stopping = threading.Lock(), threading.Event()
        self._entered = threading.Timer(0, self._attempt, (self._ask,))
        self._retrieval: Retrieval | None = None
        super().__init__(self._make_controls(model, retrieval))
        self.add_class("rnagpt")
        self._rest(False)
        self._say(READY)

    def __repr__(self) -> str:
        """What is shown where there are no widgets, as in an executed copy."""
        return f"A box to talk to an RNA in (run {self.run}): run this cell in JupyterLab."

    def _make_controls(self, model: str, retrieval: str) -> list[w.Widget]:
        self.picker = RnaPicker(self.run, self._attempt, self._in_background)
        models = list(dict.fromkeys([*MODELS, *self.chats, model]))
        self.model = w.Dropdown(description="Model", options=models, value=model)
        self.memory = w.Checkbox(description="The model reads earlier turns again", indent=False)
        about = {"value": 0, "min": 0, "max": 5, "step": 0.1, "description": "Temperature"}
        self.temperature = _wide(w.BoundedFloatText, "11rem", **about)
        about = {"value": 1, "min": 0.01, "max": 1, "step": 0.05, "description": "Top-p"}
        self.top_p = _wide(w.BoundedFloatText, "11rem", **about)
        about = {"value": 0, "min": 0, "max": 2**31 - 1, "description": "Seed"}
        self.seed = _wide(w.BoundedIntText, "11rem", **about)
        ways = [(label, name) for name, label in RETRIEVAL.items()]
        self.retrieval = _wide(w.Dropdown, options=ways, value=retrieval, description="Evidence")
        fields = [self.temperature, self.top_p, self.seed, self.retrieval]
        self.options = w.HBox(fields, layout=w.Layout(flex_flow="row wrap"))
        self.lines = w.VBox(layout=w.Layout(flex="0 0 auto", width="100%"))
        # turned round, a box stays scrolled to its end
        turned = w.Layout(flex_flow="column-reverse", overflow="auto", max_height="28rem")
        log = w.Box([self.lines], layout=turned)
        log.add_class("rnagpt-log")
        asks = [("Suggested questions …", "")]
        asks += [(seen(one), one) for one in suggest_questions(self.run)]
        self.suggested = _wide(w.Dropdown, "20rem", options=asks)
        self.question = _wide(w.Text, placeholder="Ask about the RNA", continuous_update=False)
        self.question.layout.flex = "1 1 auto"
        act = partial(partial, self._attempt)
        self.ask = _button("Ask", "Ask the question (Enter)", act(self._ask), "primary")
        tip = "End the answer, and keep it as far as it came"
        self.stop = _button("Stop", tip, act(self._stop), "warning")
        tip = "Forget what was said, and clear the page"
        self.new = _button("New conversation", tip, act(self._clear))
        tip = "Write the conversation as JSON and Markdown"
        self.export = _button("Export", tip, act(self._export))
        self.status, self.files = w.HTML(), w.HTML()
        self.question.on_msg(self._on_enter)
        self.question.observe(lambda change: self._attempt(self._on_text), "value")
        self.suggested.observe(lambda change: self._attempt(self._suggest), "value")
        return [
            w.HTML(PAGE.style() + PAGE.title(f"Talk to an RNA · run {self.run}")), self.picker,
            w.HBox([self.model, self.memory]),
            w.Accordion([self.options], titles=["Options"], selected_index=None),
            log, self.suggested, w.HBox([self.question, self.ask, self.stop]), self.status,
            w.HBox([self.new, self.export]), self.files,
        ]  # fmt: skip

    def _on_enter(self, widget: w.Widget, content: dict, buffers: list) -> None:
        """The browser sends "Enter" before the text, and the text only where it has changed."""
        if content.get("event") == "submit":
            self._entered.cancel()
            self._entered = threading.Timer(ENTER, self._attempt, (self._ask,))
            self._entered.start()

    def _on_text(self) -> None:
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

    def _turn(self, question: str, chosen: Record) -> None:
        name, only, line, fault = self.model.value, self.retrieval.value == "only", None, ""
        try:
            talk = self._session_about(chosen, name)
            talk.sampling = Sampling(self.temperature.value, self.top_p.value, self.seed.value)
            talk.memory = self.memory.value
            begun = Turn(question, "", 0, RETRIEVED_ONLY) if only else Turn(question, " …", 0, "")
            line = self._add_line(PAGE.turn(name, begun))
            turn = talk.add_retrieved(question) if only else self._stream(talk, question, line)
            try:
                if self.retrieval.value != "off":
                    said = None if only else turn.answer
                    turn.retrieved = self._evidence().retrieve(talk.rna, question, said, chosen.id)
            except InputError as error:
                fault = f"Nothing was retrieved: {error}"
        except Exception:
            self.lines.children = tuple(one for one in self.lines.children if one is not line)
            self.question.value = self.question.value or question
            raise
        line.value = PAGE.turn(name, turn, fault)

    def _stream(self, talk: Session, question: str, line: w.HTML) -> Turn:
        text, pieces = "", talk.stream(question)
        self._say("Answering …")
        if self._stopping.is_set():  # while the model was loaded
            talk.stop()
        for piece in pieces:
            text += piece
            line.value = PAGE.turn(talk.chat.name, Turn(question, f"{text} …", 0, ""))
        return talk.turns[-1]

    def _session_about(self, chosen: Record, name: str) -> Session:
        """The conversation with this RNA and model, which goes on until one of them changes."""
        if self._about != (chosen, name):
            if name not in self.chats:
                self._say(f"Loading {name} of run {self.run} …")
                self.chats[name] = generate.load_model(self.run, name)
            for before in self.sessions[-1:]:
                before.release()
            self.sessions.append(Session(self.chats[name], chosen, run=self.run))
            self._about = (chosen, name)
            self._add_line(PAGE.part(name, chosen))
        return self.sessions[-1]

    def _evidence(self) -> Retrieval:
        self._say("Looking at what is known of the nearest training RNAs …")
        self._retrieval = self._retrieval or Retrieval.of(self.run)
        return self._retrieval

    def _add_line(self, html: str) -> w.HTML:
        self.lines.children += (w.HTML(html),)
        return self.lines.children[-1]

    def _stop(self) -> None:
        self._stopping.set()
        for talk in self.sessions[-1:]:
            talk.stop()
        self._say("Stopping …")

    def _clear(self) -> None:
        self._about, self.sessions, self.files.value, self.lines.children = None, [], "", ()
        self._say(READY)

    def _export(self) -> None:
        said = [one for one in self.sessions if one.turns]
        if not said:
            self._say("There is nothing to export yet: ask something first.", "error")
            return
        files = session.files(said)
        self.files.value = PAGE.links(files)
        self._say("The links below hold the conversation.")
        folder = session.keep(self.run, files)
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

        def work() -> None:
            try:
                self._attempt(job, "")
            finally:
                self._working.release()
                self._rest(False)

        threading.Thread(target=work, daemon=True).start()

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
        for one in (*self.picker.controls, *self.options.children, *own):
            one.disabled = working
        self.stop.disabled = not working

    def _say(self, text: str, kind: str = "small") -> None:
        self.status.value = PAGE.line(text, kind)
