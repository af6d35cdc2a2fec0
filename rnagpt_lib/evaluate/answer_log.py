"""A model's answers, kept batch by batch: an evaluation that was killed loses one batch at most.

They stand in the stage's `spool`, each batch committed before the next is begun. What is kept is
taken again only for the same library, model, RNAs, questions, batches and decoding on the same
kind of device, so that an evaluation in pieces gives, bit for bit, what one in a single go gives.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple

import torch

from rnagpt_lib.chat.decoding import Answer, Batch, Make
from rnagpt_lib.chat.generate import Chat
from rnagpt_lib.core.files import digest, progress
from rnagpt_lib.runs.resume_store import Store
from rnagpt_lib.runs.run import Run


class Asking:
    """A model that is asked in an open stage, with a bar over the questions.

    >>> ask = Asking(load_model("mini", "IT"), run)        # doctest: +SKIP
    >>> ask("control.none", [None], ["What is the RNA?"])  # doctest: +SKIP
    """

    def __init__(self, chat: Chat, run: Run):
        self.chat, self.run = chat, run

    def __call__(
        self, name: str, sequences: Sequence[str | None], questions: Sequence[str] | None = None
    ) -> list[Answer]:
        """``Chat.answers``, or without questions ``Chat.annotations``; ``name`` is what the bar,
        and a line about kept answers, call it."""
        requests = [list(column) for column in (sequences, questions) if column is not None]
        reply = self.chat.annotations if questions is None else self.chat.answers
        key = self._key(requests)
        with Store(self.run.folder) as spool:
            kept = _Kept(spool, key, name)

            def ask(tasks: Iterator) -> Iterator[list[tuple]]:
                """All answers, which spare the encoder its pass once they are complete."""
                for _ in tasks:
                    yield _plain(reply(*requests, self.run.params.batch_size, keep=kept))

            [found] = spool.results([("all answers", key)], ask)
        distinct = len(set(zip(*requests, strict=True)))
        if kept.made < distinct:
            print(f"{name}: {distinct - kept.made} answers kept from the earlier attempt")
        return _answers(found)

    def _key(self, requests: list[list]) -> str:
        """A hash of all that the answers depend on, but for the code, which the spool adds."""
        told = hashlib.sha256()
        for request in zip(*requests, strict=True):
            told.update(repr(request).encode("utf-8", "surrogatepass"))
        chat = self.chat
        made_by = [chat.name, chat.hash, chat.max_new_tokens, self.run.params.batch_size]
        return digest([*made_by, chat.device, torch.__version__, told.hexdigest()])


class _Kept:
    """``keep`` of ``decoding.answers``; ``made``: how many answers were not there yet."""

    def __init__(self, spool: Store, key: str, name: str):
        self.spool, self.key, self.name, self.made = spool, key, name, 0

    def __call__(self, batches: list[Batch], make: Make) -> Iterator[list[Answer]]:
        total = sum(map(len, batches))
        with progress(total=total, desc=self.name, unit="question") as bar:
            tasks = [(self.key, *batch) for batch in batches]
            for found in self.spool.results(tasks, lambda missing: self._ask(missing, make)):
                bar.update(len(found))
                yield _answers(found)

    def _ask(self, missing: Iterator[tuple], make: Make) -> Iterator[list[tuple]]:
        for replies in make(list(batch) for _, *batch in missing):
            self.made += len(replies)
            yield _plain(replies)


def _plain(answers: list[Answer]) -> list[tuple]:
    return [astuple(answer) for answer in answers]


def _answers(plain: list) -> list[Answer]:
    return [Answer(*one) for one in plain]
