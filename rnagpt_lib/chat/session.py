"""A conversation about one RNA: questions, answers that come piece by piece, and a memory.

The RNA is read once; every question goes on from a copy of what was read. The prompt holds as
many of the latest turns as fit into the LLM's context; the RNA stands before them and never goes.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rnagpt_lib.chat.decoding import drawn_for, prefix
from rnagpt_lib.chat.decoding_batch import GREEDY, Answer, Reply, Rows, Sampling, replies
from rnagpt_lib.chat.generate import Chat, read_sequence
from rnagpt_lib.core.errors import InputError

CANCELLED = "cancelled"
_BROKEN = "\ufffd"  # what a tokenizer writes for the beginning of a character of several bytes


@dataclass(frozen=True)
class Turn:
    """A question and its answer; ``stop_reason``: ``eos``, ``stop``, ``length``, ``cancelled``."""

    question: str
    answer: str
    n_tokens: int
    stop_reason: str


class Session:
    """One conversation; ``notes`` say how the sequence was read, ``turns`` what was said.

    >>> session = Session(load_model("reference"), "GGCUAGCUCAAUCGGUAGAGC")  # doctest: +SKIP
    >>> for piece in session.stream("What type of RNA is the RNA?"):         # doctest: +SKIP
    ...     print(piece, end="", flush=True)

    ``memory``: whether the model reads the earlier turns again before it answers. Stage 2 trains
    on single questions, so that a model may answer worse with it (`benchmarks`). Raises InputError
    for a sequence as ``read_sequence`` does.
    """

    def __init__(
        self, chat: Chat, sequence: str, *, sampling: Sampling = GREEDY, memory: bool = False
    ) -> None:
        self.chat, self.sampling, self.memory = chat, sampling, memory
        self.rna, self.notes = read_sequence(sequence)
        self.turns: list[Turn] = []
        self._stopping = threading.Event()

    def ask(self, question: str) -> Turn:
        """The whole answer at once; as `stream`."""
        for _ in self.stream(question):
            pass
        return self.turns[-1]

    def stream(self, question: str) -> Iterator[str]:
        """The pieces of an answer, which together are its text; then its turn stands in ``turns``.

        An answer that was stopped, or that nobody wanted to hear to its end, is kept as far as it
        came. Raises InputError for an empty question, and for one that does not fit into the LLM's
        context behind the RNA.
        """
        asked = self._asked(question)
        self._stopping.clear()
        return self._pieces(asked, question)

    def _pieces(self, asked: list[int], question: str) -> Iterator[str]:
        reply, shown = Reply(), ""
        try:
            for reply in self._replies(asked, question):
                text = self._certain(reply)
                if text.startswith(shown) and len(text) > len(shown):
                    piece, shown = text[len(shown) :], text
                    yield piece
                if self._stopping.is_set():
                    break
        except GeneratorExit:
            self._keep(question, reply)
            raise
        self._keep(question, reply)

    def stop(self) -> None:
        """End the answer in work after its next token; from any thread."""
        self._stopping.set()

    def _keep(self, question: str, reply: Reply) -> None:
        answer = self._answer(reply)
        reason = answer.stop_reason or CANCELLED
        self.turns.append(Turn(question, answer.text, answer.n_tokens, reason))

    def _answer(self, reply: Reply) -> Answer:
        return reply.answer(self.chat.model, self.chat.model.template.stop)

    def _replies(self, asked: list[int], question: str) -> Iterator[Reply]:
        model = self.chat.model
        key = drawn_for(self.rna, question, sum(turn.question == question for turn in self.turns))
        rows = self._prefix.copy()
        with torch.inference_mode():
            logits = rows.extend([model.embed(asked)])
        choose, stop = self.sampling.choose([key]), model.template.stop
        for [reply] in replies(rows, logits, self.chat.max_new_tokens, choose, stop):
            yield reply

    @cached_property
    def _prompt(self) -> Tensor:
        """The prompt up to and with the RNA, (P, H)."""
        with torch.inference_mode():
            return prefix(self.chat.model, self.chat.read([self.rna])[0])

    @cached_property
    def _prefix(self) -> Rows:
        with torch.inference_mode():
            return Rows.read(self.chat.model, [self._prompt])

    def _asked(self, question: str) -> list[int]:
        """The prompt behind the RNA: the latest turns that fit, and the question."""
        if not question.strip():
            raise InputError("the question is empty; ask something, as 'What type of RNA is it?'")
        most = self.chat.max_new_tokens
        room = self.chat.model.llm.config.max_position_embeddings - len(self._prompt) - most
        turns = self.turns if self.memory else []
        for first in range(len(turns) + 1):
            asked = self._ids(turns[first:], question)
            if len(asked) <= room:
                return asked
        raise InputError(
            f"the question takes {len(asked):,} tokens; beside an RNA of {len(self.rna):,} nt and "
            f"{most:,} tokens of answer the LLM has room for {max(room, 0):,}. Ask a shorter one, "
            "or take fewer new tokens or a shorter sequence"
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
        text = self._answer(reply).text
        if reply.reason:
            return text
        text, stop = text.rstrip(_BROKEN), self.chat.model.template.stop
        for length in range(len(stop) - 1, 0, -1):
            text = text.removesuffix(stop[:length])
        return text.rstrip()
