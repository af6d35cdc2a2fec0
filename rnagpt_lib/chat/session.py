"""A conversation about one RNA: questions, answers that come piece by piece, a memory, a transcript.

The RNA is read once; every question goes on from a copy of what was read. The prompt holds as
many of the latest turns as fit into the LLM's context; the RNA stands before them and never goes.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from rnagpt_lib.chat import rendering
from rnagpt_lib.chat.decoding import GREEDY, DecodingBatch, Reply, Sampling, drawn_for, prefix
from rnagpt_lib.chat.generate import Chat
from rnagpt_lib.chat.rendering import RETRIEVED_ONLY
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import Record
from rnagpt_lib.core.files import replacing, writing

CANCELLED = "cancelled"
FORMAT = "rnagpt-chat-1"
FOLDER = "chats"  # of a run, beside its stages, whose hashes it must not change
DOLLAR = "<span>&#36;</span>"  # JupyterLab typesets what stands between two, escaped or not
_ENDS = {"length": "cut at its limit", CANCELLED: "stopped by the reader"}
_BROKEN = "\ufffd"  # what a tokenizer writes for the beginning of a character of several bytes


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class Turn:
    """A question and its answer, when it ended (UTC), how its tokens were chosen, what was retrieved;
    ``stop_reason``: ``eos``, ``stop``, ``length``, ``cancelled`` or `RETRIEVED_ONLY`."""

    question: str
    answer: str
    n_tokens: int
    stop_reason: str
    at: str = field(default_factory=_now, compare=False)
    sampling: Sampling = GREEDY
    memory: bool = False
    retrieved: dict | None = field(default=None, compare=False)

    @property
    def how(self) -> str:
        """How the answer came about, in words: ``"12 tokens, greedy"``."""
        one = self.sampling
        drawn = f"temperature {one.temperature:g}, top-p {one.top_p:g}, seed {one.seed}"
        parts = [f"{self.n_tokens:,} tokens", _ENDS.get(self.stop_reason, "")]
        parts += [drawn if one.temperature else "greedy", "with memory" if self.memory else ""]
        return ", ".join(part for part in parts if part)


class Session:
    """One conversation; ``notes`` say how the sequence was read, ``turns`` what was said.

    >>> session = Session(load_model("reference"), "GGCUAGCUCAAUCGGUAGAGC")  # doctest: +SKIP
    >>> for piece in session.stream("What type of RNA is the RNA?"):         # doctest: +SKIP
    ...     print(piece, end="", flush=True)

    ``memory``: whether the model reads the earlier turns again before it answers. Stage 2 trains
    on single questions, so that a model may answer worse with it (`benchmarks`). ``run``: what the
    transcript calls it. Raises InputError for a sequence as `Record.of` does.
    """

    def __init__(
        self, chat: Chat, rna: str | Record, sampling: Sampling = GREEDY, memory: bool = False,
        run: str = "",
    ) -> None:  # fmt: skip
        chosen = rna if isinstance(rna, Record) else Record.of("", "", rna)
        self.chat, self.sampling, self.memory, self.run = chat, sampling, memory, run
        self.rna_id, self.rna, self.notes = chosen.id, chosen.sequence, list(chosen.notes)
        self.turns: list[Turn] = []
        self._stopping = threading.Event()

    def ask(self, question: str) -> Turn:
        """The whole answer at once; as `stream`."""
        for _ in self.stream(question):
            pass
        return self.turns[-1]

    def stream(self, question: str) -> Iterator[str]:
        """The pieces of an answer, which together are its text; then its turn stands in ``turns``,
        if it was stopped as far as it came. Raises InputError for an empty question, and for one
        that does not fit into the LLM's context behind the RNA."""
        asked = self._prompt_behind_rna(question)
        self._stopping.clear()
        return self._pieces(asked, question)

    def stop(self) -> None:
        """End the answer in work after its next token; from any thread."""
        self._stopping.set()

    def add_retrieved(self, question: str) -> Turn:
        """A turn in which no model is asked, and that none will read."""
        made_by = {"sampling": self.sampling, "memory": self.memory}
        self.turns.append(Turn(question, "", 0, RETRIEVED_ONLY, **made_by))
        return self.turns[-1]

    def release(self) -> None:
        """Free the cache; another question reads the RNA again."""
        self.__dict__.pop("_prefix", None)

    @property
    def _answered(self) -> list[Turn]:
        return [turn for turn in self.turns if turn.stop_reason != RETRIEVED_ONLY]

    def _pieces(self, asked: list[int], question: str) -> Iterator[str]:
        model, most, reply, shown = self.chat.model, self.chat.max_new_tokens, Reply(), ""
        kept = {"sampling": self.sampling, "memory": self.memory}
        before = [turn.question for turn in self._answered].count(question)
        choose = self.sampling.choose([drawn_for(self.rna, question, before)])
        with torch.inference_mode():
            texts = [model.embed(asked)]
        rows = self._prefix.copy()
        with suppress(GeneratorExit):  # nobody wants to hear more
            for [reply] in rows.replies(texts, most, choose, model.template.stop):
                text = self._certain(reply)
                if text.startswith(shown) and len(text) > len(shown):
                    piece, shown = text[len(shown) :], text
                    yield piece
                if self._stopping.is_set():
                    break
        answer = reply.answer(model, model.template.stop)
        reason = answer.stop_reason or CANCELLED
        self.turns.append(Turn(question, answer.text, answer.n_tokens, reason, **kept))

    @cached_property
    def _prompt(self) -> Tensor:
        """The prompt up to and with the RNA, (P, H)."""
        with torch.inference_mode():
            return prefix(self.chat.model, self.chat.read([self.rna])[0])

    @cached_property
    def _prefix(self) -> DecodingBatch:
        with torch.inference_mode():
            return DecodingBatch.read(self.chat.model, [self._prompt])

    def _prompt_behind_rna(self, question: str) -> list[int]:
        """The latest turns that fit, and the question, as token ids."""
        if not question.strip():
            raise InputError("the question is empty; ask something, as 'What type of RNA is it?'")
        most = self.chat.max_new_tokens
        room = self.chat.model.llm.config.max_position_embeddings - len(self._prompt) - most
        turns = self._answered if self.memory else []
        for first in range(len(turns) + 1):
            asked = self._ids(turns[first:], question)
            if len(asked) <= room:
                return asked
        raise InputError(
            f"the question takes {len(asked):,} tokens, and there is room for {max(room, 0):,}; ask "
            "a shorter one, or take fewer new tokens or a shorter sequence"
        )

    def _ids(self, turns: Sequence[Turn], question: str) -> list[int]:
        template, words = self.chat.model.template, self.chat.model.tokenizer
        said: list[int] = []
        ask = template.question_ids
        for turn in turns:
            said += ask(words, turn.question) + template.answer_ids(words, turn.answer)
            ask = template.later_ids
        return said + ask(words, question)

    def _certain(self, reply: Reply) -> str:
        """What no later token can change of an answer."""
        stop = self.chat.model.template.stop
        text = reply.answer(self.chat.model, stop).text
        if reply.reason:
            return text
        text = text.rstrip(_BROKEN)
        for length in range(len(stop) - 1, 0, -1):
            text = text.removesuffix(stop[:length])
        return text.rstrip()

    def to_dict(self) -> dict:
        """The whole conversation as JSON can hold it. ``model_hash``: of the model's files."""
        about = self.chat.about | {"run": self.run, "model_hash": self.chat.hash}
        about |= {"rna_id": self.rna_id, "sequence": self.rna, "notes": self.notes}
        return about | {"turns": [asdict(turn) for turn in self.turns]}


def to_json(sessions: Sequence[Session]) -> str:
    """``{"format", "conversations": [{run, model, …, turns}]}`` as indented JSON; halves of
    characters, which no file can hold, are escaped."""
    data = {"format": FORMAT, "conversations": [one.to_dict() for one in sessions]}
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def to_markdown(sessions: Sequence[Session]) -> str:
    """All conversations for a reader."""
    text = rendering.MARKDOWN.conversations(sessions, rendering.LONGEST)
    return text.rstrip().replace(r"\$", DOLLAR) + "\n"


FORMS = {".json": to_json, ".md": to_markdown}


def files(sessions: Sequence[Session]) -> dict[str, str]:
    """Both forms by the names of their files, which say when they were made."""
    stem = datetime.now(UTC).strftime("chat-%Y%m%dT%H%M%S%fZ")
    return {f"{stem}{ending}": write(sessions) for ending, write in FORMS.items()}


def keep(run: str, made: Mapping[str, str]) -> Path:
    """Write `files` into ``runs/<run>/chats/``, the folder that comes back, or raise InputError."""
    folder = paths.runs() / run / FOLDER
    with writing(folder, "make room or give rights to write there, or save the links"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            with replacing(folder / name) as temporary:
                temporary.write_text(text, "utf-8")
    return folder
