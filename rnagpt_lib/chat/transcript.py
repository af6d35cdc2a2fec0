"""A conversation as it is handed on: JSON for programs, Markdown for readers.

Questions, answers and evidence may say anything: Markdown shows them and lets none of them act.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rnagpt_lib.chat import retrieved_evidence as beside
from rnagpt_lib.chat.decoding_batch import Sampling
from rnagpt_lib.chat.retrieved_evidence import Beside
from rnagpt_lib.chat.session import Session, Turn
from rnagpt_lib.core import paths
from rnagpt_lib.core.files import replacing, writing
from rnagpt_lib.core.markdown import fenced, plain

FORMAT = "rnagpt-chat-1"
FOLDER = "chats"  # of a run, beside its stages, whose hashes it must not change
RETRIEVED_ONLY = "retrieval only"  # the stop reason of a turn in which no model was asked
DOLLAR = "<span>&#36;</span>"  # JupyterLab typesets what stands between two, escaped or not
LONGEST = 10_000  # characters of a text in Markdown
HOW = {"length": "cut at its limit", "cancelled": "stopped by the reader"}


@dataclass(frozen=True)
class Said:
    """A turn, when it ended (UTC), how its tokens were chosen, and what was retrieved beside it."""

    turn: Turn
    at: str
    sampling: Sampling
    memory: bool
    beside: Beside | None = None


@dataclass
class Transcript:
    """What one model said about one RNA. ``model_hash``: of the files that it was loaded from."""

    run: str
    model: str
    model_hash: str
    rna_id: str
    sequence: str
    notes: list[str]
    said: list[Said] = field(default_factory=list)

    @classmethod
    def of(cls, session: Session, run: str, rna_id: str = "") -> "Transcript":
        """Of a session, so far without a turn; `add` takes them as they come."""
        chat = session.chat
        return cls(run, chat.name, chat.hash, rna_id, session.rna, list(session.notes))

    def add(self, session: Session, turn: Turn, found: Beside | None = None) -> Said:
        """Keep a turn that has just ended."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.said.append(Said(turn, now, session.sampling, session.memory, found))
        return self.said[-1]


def to_dict(transcripts: Sequence[Transcript]) -> dict:
    """All that there is: ``{"format", "conversations": [{run, model, …, turns}]}``."""
    return {"format": FORMAT, "conversations": [_conversation(one) for one in transcripts]}


def to_json(transcripts: Sequence[Transcript]) -> str:
    """`to_dict` as indented JSON; halves of characters, which no file can hold, are escaped."""
    text = json.dumps(to_dict(transcripts), indent=1, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def to_markdown(transcripts: Sequence[Transcript]) -> str:
    """The same for a reader."""
    parts = ["# Chat with an RNA"]
    for one in transcripts:
        parts += [f"## {_shown(one.rna_id or 'RNA')}", _about(one), fenced(one.sequence)]
        parts += [f"- {_shown(note)}" for note in one.notes]
        for said in one.said:
            parts += _said(one, said)
    text = "\n\n".join(parts) + "\n"
    return text.replace(r"\$", DOLLAR)


def files(transcripts: Sequence[Transcript]) -> dict[str, str]:
    """Both forms by the names of their files, which say when they were made."""
    stem = datetime.now(UTC).strftime("chat-%Y%m%dT%H%M%S%fZ")
    return {f"{stem}.json": to_json(transcripts), f"{stem}.md": to_markdown(transcripts)}


def keep(run: str, made: Mapping[str, str]) -> Path:
    """Write `files` into ``runs/<run>/chats/``, the folder that comes back.

    Raises InputError where nothing can be written.
    """
    folder = paths.runs() / run / FOLDER
    with writing(folder, "make room or give rights to write there, or save the links"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            with replacing(folder / name) as temporary:
                temporary.write_text(text, "utf-8")
    return folder


def _conversation(one: Transcript) -> dict:
    about = {name: value for name, value in vars(one).items() if name != "said"}
    return {**about, "turns": [_turn(said) for said in one.said]}


def _turn(said: Said) -> dict:
    return {
        **asdict(said.turn),
        "at": said.at,
        "sampling": asdict(said.sampling),
        "memory": said.memory,
        "retrieved": said.beside and beside.to_dict(said.beside),
    }


def _about(one: Transcript) -> str:
    model = f"Model {_shown(one.model)} of run {_shown(one.run)} (`{one.model_hash[:12]}`)"
    return f"{model}, {len(one.sequence):,} nt."


def _said(one: Transcript, said: Said) -> list[str]:
    parts = [f"**You** ({said.at}): {_shown(said.turn.question)}"]
    if said.turn.stop_reason != RETRIEVED_ONLY:
        parts.append(f"**{_shown(one.model)}**: {_shown(said.turn.answer)}")
        parts.append(f"*{how(said)}*")
    if said.beside is not None:
        parts.append(beside.to_markdown(said.beside).rstrip())
    return parts


def how(said: Said) -> str:
    """How an answer came about, in words: ``"12 tokens, greedy"``."""
    turn, sampling = said.turn, said.sampling
    drawn = f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, seed {sampling.seed}"
    parts = [f"{turn.n_tokens:,} tokens", HOW.get(turn.stop_reason, "")]
    parts += [drawn if sampling.temperature else "greedy", "with memory" if said.memory else ""]
    return ", ".join(part for part in parts if part)


def _shown(text: str) -> str:
    return plain(text, LONGEST)
