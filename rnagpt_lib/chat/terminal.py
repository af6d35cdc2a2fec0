"""``rnagpt chat``: a conversation in a terminal, or over a pipe. Nothing foreign reaches it raw."""

import io
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import click

with suppress(ImportError):
    import readline  # noqa: F401  lines of over 4,095 letters, and arrow keys

from rnagpt_lib.chat import generate, lookup
from rnagpt_lib.chat.decoding import Sampling
from rnagpt_lib.chat.generate import Chat
from rnagpt_lib.chat.rendering import TERMINAL
from rnagpt_lib.chat.retrieval import Retrieval
from rnagpt_lib.chat.session import FORMS, Session, Turn
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import Record, Refused, read_chosen
from rnagpt_lib.core.files import replacing, writing
from rnagpt_lib.core.text import one_line

HELP = """\
/rna TEXT     another RNA: a sequence, the path of a FASTA file, or an id as URS000006DA05_9606
/use N        the N-th record of the FASTA given last
/model NAME   vanilla, MA or IT, or the folder of an exported model
/memory       let the model read its earlier answers again, or no longer
/new          begin anew with the same RNA
/save FILE    all that was said since the start as .md or .json
/quit         end, as Ctrl-D does
Anything else is a question. Ctrl-C stops an answer."""
NO_RNA = "there is no RNA yet; give one: /rna ACGU..., my.fa or URS..."
LISTED = 20  # records of a file that are shown
STATEMENT = "  * "  # before what is said of an answer


class Terminal:
    """One user, one RNA at a time, several models."""

    def __init__(
        self, run: str, model: str, retrieval: str, sampling: Sampling, memory: bool, most: int,
        llm: str | None = None,
    ) -> None:  # fmt: skip
        self.run, self.model, self.mode, self.llm = run, model, retrieval, llm
        self.sampling, self.memory, self.most = sampling, memory, most
        self.found: list[Record] = []
        self.rna: Record | None = None
        self.chats: dict[str, Chat] = {}
        self.sessions: list[Session] = []

    def talk(
        self, fasta: Path | None = None, sequence: str | None = None, rna_id: str | None = None
    ) -> None:
        """Until /quit or the end of the input. Raises InputError where there is nothing to begin
        with: no such model, or an RNA of the command line that cannot be read."""
        chat = self._load(self.model)
        self.retrieval = None if self.mode == "off" else Retrieval.of(self.run)
        if rna_id:
            self._choose_from([lookup.look_up(rna_id, run=self.run)])
        elif fasta or sequence:
            self._choose_from(*read_chosen(fasta or sequence))
        print(f"Model {self.model} of run {self.run}. /help lists commands; /quit ends.")
        if chat.warning:
            print(f"Note: {chat.warning}")
        if not self.rna:
            print("First give an RNA: /rna ACGU..., /rna my.fa or /rna URS...")
        for line in _lines():
            if line.split(" ")[0] in ("/quit", "/exit"):
                return
            try:
                self._do(line)
            except InputError as error:
                print(f"! {one_line(str(error))}")
            except KeyboardInterrupt:
                print("\n[stopped]")
            except Exception as error:  # what was said is worth more than a traceback
                print(f"! {type(error).__name__}: {one_line(str(error))}")

    def _do(self, line: str) -> None:
        name, _, given = line.partition(" ")
        if not line.startswith("/"):
            self._ask(line)
        elif command := COMMANDS.get(name):
            command(self, given.strip())
        else:
            raise InputError(f"there is no {name}; /help lists what there is")

    def _ask(self, question: str) -> None:
        if not self.rna:
            raise InputError(NO_RNA)
        session, only = self.sessions[-1], self.mode == "only"
        turn = session.add_retrieved(question) if only else self._answer(session, question)
        if self.retrieval:
            asked = (session.rna, question, None if only else turn.answer, session.rna_id)
            turn.retrieved = self.retrieval.retrieve(*asked)
        for line in TERMINAL.evidence(turn.retrieved or {}).splitlines():
            click.secho(line, fg="yellow" if line.startswith(STATEMENT) else None)

    def _answer(self, session: Session, question: str) -> Turn:
        """The session's answer, shown as it comes; Ctrl-C stops it, and not the program."""
        before = signal.signal(signal.SIGINT, lambda *_: session.stop())
        try:
            for piece in session.stream(question):
                shown = "".join(c for c in piece if c in "\n\t" or c.isprintable())
                print(shown, end="", flush=True)
        finally:
            signal.signal(signal.SIGINT, before)
        turn = session.turns[-1]
        print({"cancelled": " [stopped]", "length": " [cut]"}.get(turn.stop_reason, ""))
        return turn

    def _take(self, given: str) -> None:
        """Another RNA: a file where there is one of that name, an id, else a sequence."""
        if not given:
            raise InputError("give a sequence, a FASTA file or an id behind /rna")
        is_file = False
        with suppress(OSError, ValueError):  # too long for a name, as sequences are
            is_file = Path(given).is_file()
        if not is_file and "/" not in given and any(letter.isdigit() for letter in given):
            self._choose_from([lookup.look_up(given, run=self.run)])  # sequences have no digits
            return
        try:
            found = read_chosen(Path(given) if is_file else given)
        except InputError as error:
            if is_file:
                raise
            what = given if len(given) < 50 else f"{given[:49]}…"
            raise InputError(f"{what} is no file and no id, and no sequence: {error}") from None
        self._choose_from(*found)

    def _choose_from(self, found: list[Record], refused: Sequence[Refused] = ()) -> None:
        for one in refused:
            print(f"! {one_line(one.id)}, line {one.line}: {one_line(one.reason)}")
        if not found:
            raise InputError("no record of it can be read")
        self.found = found
        for number, one in enumerate(found[:LISTED] if len(found) > 1 else (), start=1):
            print(f"  {number}  {one_line(one.id)} {one_line(one.description)}"[:100])
        if len(found) > LISTED:
            print(f"  … {len(found):,} in all; /use N takes one")
        self._use("1")

    def _use(self, given: str) -> None:
        if not given.isdecimal() or not 1 <= int(given) <= len(self.found):
            raise InputError(f"/use takes a number from 1 to {len(self.found)}")
        self.rna = self.found[int(given) - 1]
        self._begin()

    def _switch(self, name: str) -> None:
        if not name:
            raise InputError("name a model behind /model: vanilla, MA, IT, or an exported folder")
        self._load(name)
        self.model = name
        if self.rna:
            self._begin()

    def _load(self, name: str) -> Chat:
        if name not in self.chats:
            self.chats[name] = generate.load_model(self.run, name, self.most, llm=self.llm)
        return self.chats[name]

    def _remember(self, given: str) -> None:
        self.memory = not self.memory
        for session in self.sessions[-1:]:
            session.memory = self.memory
        print(f"memory {'on' if self.memory else 'off'}")

    def _begin(self, given: str = "") -> None:
        if not self.rna:
            raise InputError(NO_RNA)
        for session in self.sessions[-1:]:
            session.release()
        options = {"sampling": self.sampling, "memory": self.memory, "run": self.run}
        self.sessions.append(Session(self.chats[self.model], self.rna, **options))
        print(f"{one_line(self.rna.id)}, {len(self.rna.sequence):,} nt, asked of {self.model}")
        for note in self.rna.notes:
            print(f"Note: {note}")

    def _save(self, given: str) -> None:
        out, said = Path(given), [one for one in self.sessions if one.turns]
        if not given or out.suffix not in FORMS:
            raise InputError("name a file that ends in .md or .json behind /save")
        if out.exists():
            raise InputError(f"{out} exists; take another name")
        with writing(out, "take another name"), replacing(out) as temporary:
            temporary.write_text(FORMS[out.suffix](said), "utf-8")
        print(f"{out}: {sum(len(one.turns) for one in said)} answers")


COMMANDS: dict[str, Callable[[Terminal, str], None]] = {
    "/help": lambda terminal, given: print(HELP), "/rna": Terminal._take, "/use": Terminal._use,
    "/model": Terminal._switch, "/memory": Terminal._remember, "/new": Terminal._begin,
    "/save": Terminal._save,
}  # fmt: skip


def _lines() -> Iterator[str]:
    """What is typed, line by line, without empty ones."""
    prompt = "> " if sys.stdin.isatty() else ""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a line in another encoding is a line
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            print("\n/quit or Ctrl-D ends")
            continue
        if line:
            yield line
