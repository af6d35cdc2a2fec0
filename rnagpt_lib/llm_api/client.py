"""The client for every call to a language model: asked once, then answered from the journal.

>>> with Client(params) as client:   # doctest: +SKIP
...     replies = client.answers(requests, "summaries")
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from pydantic import BaseModel

from rnagpt_lib.core import progress
from rnagpt_lib.core.errors import CapReached, InputError
from rnagpt_lib.core.params import Calls
from rnagpt_lib.llm_api import (
    batch as batches,
)
from rnagpt_lib.llm_api import (
    cost,
    embeddings,
    journal,
    journal_file,
    response_parsing,
)
from rnagpt_lib.llm_api.journal import Answered, Asked, Ended, MaybeBilled
from rnagpt_lib.llm_api.messages import Request
from rnagpt_lib.llm_api.rate_limit import Pace
from rnagpt_lib.llm_api.response_parsing import Read, State
from rnagpt_lib.llm_api.retries import Again, persistently

__all__ = ["Client", "Reply", "Request", "Totals"]

CHAT = "/chat/completions"


@dataclass(frozen=True)
class Reply:
    """How a request ended; ``value``: the validated answer when it is ok.

    Tokens and micro-dollars are those of all its attempts; ``cached``: the journal answered.
    """

    state: State
    value: BaseModel | None
    text: str
    tokens_in: int
    tokens_out: int
    microdollars: int
    cached: bool

    @classmethod
    def of(cls, found: Read, ended: Ended, cached: bool) -> "Reply":
        """The reply that a call's body and its row in the journal make."""
        counts = ended.tokens_in, ended.tokens_out, ended.microdollars
        return cls(found.state or ended.state, found.value, found.text, *counts, cached)

    @property
    def usage(self) -> dict[str, int]:
        """What it took, now or when it was first asked for."""
        counts = ("tokens_in", "tokens_out", "microdollars")
        return {"calls": 1} | {name: getattr(self, name) for name in counts}


@dataclass
class Totals:
    """What a client did so far; ``cached``: distinct requests that the journal answered."""

    calls: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    microdollars: int = 0


def check(settings: Calls) -> None:
    """Raises InputError for what a client lacks to begin: the SDK, a key, a price under a cap."""
    try:
        from rnagpt_lib.llm_api import openai_transport as wire
    except ImportError:
        raise InputError('the provider openai needs: pip install -e ".[openai]"') from None
    wire.key()
    cost.price_of(settings, settings.model)


class Client:
    """Asks a language model; a context manager, open only around calls.

    It has the journal for itself. Its methods raise InputError for a refused key, a used-up
    quota, a request that the server refuses, a server that stays away, and the cap; what was
    answered is in the journal then, and the client makes no more calls.
    """

    def __init__(self, settings: Calls):
        self.settings, self.totals = settings, Totals()
        self.price = cost.price_of(settings, settings.model)
        self._stopped, self._flying = False, 0
        self._changed = threading.Condition()  # guards the two above
        self._requests = _minutely(settings.requests_per_minute)
        self._tokens = _minutely(settings.tokens_per_minute)

    def __enter__(self) -> "Client":
        """Raises InputError as `check` does, and while another process has the journal."""
        check(self.settings)
        from rnagpt_lib.llm_api.openai_transport import Wire

        chosen = self.settings
        with ExitStack() as stack:
            wire = Wire(chosen.base_url, chosen.model, chosen.deadline, chosen.width)
            self.wire = stack.enter_context(wire)
            opened = journal.Journal(journal_file.file(), cost.cap_of(chosen))
            self.journal = stack.enter_context(opened)
            if self.journal.cap is not None:
                prices = chosen.prices
                self.journal.price(lambda m, *used: cost.microdollars(prices.get(m), *used))
            self._close = stack.pop_all().close
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def answers(self, requests: Sequence[Request], desc: str = "") -> list[Reply]:
        """The replies in the order of ``requests``; equal requests are asked once."""
        keys = [request.key(self.settings) for request in requests]
        wanted: dict[str, Request] = {}
        for key, request in zip(keys, requests, strict=True):
            wanted.setdefault(key, request)
        replies = {key: reply for key, reply in self._known(wanted)}
        self.totals.cached += len(replies)
        missing = {key: request for key, request in wanted.items() if key not in replies}
        with self.bar(desc, len(missing)) as step:

            def ended(key: str, reply: Reply) -> None:
                replies[key] = reply
                self.totals.tokens_in += reply.tokens_in
                self.totals.tokens_out += reply.tokens_out
                self.totals.microdollars += reply.microdollars
                step()

            if self.settings.mode == "batch" and missing:
                batches.ask(self, missing, ended)
            else:
                batches.refuse_open(self.journal, missing)
                self.concurrently(self._ask, missing, ended)
        return [replies[key] for key in keys]

    def embeddings(self, texts: Sequence[str], model: str) -> np.ndarray:
        """A vector for each text, in order, (n, D); equal texts are asked for once, never by
        batch."""
        return embeddings.embed(self, texts, model)

    def _known(self, wanted: Mapping[str, Request]) -> Iterator[tuple[str, Reply]]:
        """What the journal answers, also with bodies that a killed process kept and never read."""
        ended = self.journal.ended(list(wanted))
        for key in self.journal.answered([key for key in wanted if key not in ended]):
            self.step(key, wanted[key])
        for key, end in self.journal.ended(list(wanted)).items():
            found = response_parsing.read(self.journal.body(end.body), wanted[key].answer)
            yield key, Reply.of(found, end, cached=True)

    def _ask(self, key: str, request: Request) -> Reply:
        """Send until the call has ended: once, and once more after a malformed answer."""

        def settled(attempts: list[int], body: int) -> bool:
            return self._settled(Answered(attempts[0], body, 0, None), request).state is not None

        while not isinstance(body := self.step(key, request), Reply):
            asked = [self.asked(key, request, body)]
            tokens = cost.likely_tokens_in(body) + request.max_tokens
            attempt = partial(self.send, CHAT, body, asked, tokens, settled)
            persistently(attempt, self.wire.what(request.about))
        return body

    def asked(self, key: str, request: Request, body: dict, batch: bool = False) -> Asked:
        """The request as the journal records it, with the most that sending ``body`` can cost."""
        read = cost.most_tokens_in(body)
        most = cost.microdollars(self.price, read, request.max_tokens, batch)
        return Asked(key, request.about, request.version, self.settings.model, most)

    def step(self, key: str, request: Request) -> Reply | dict:
        """How the call ended, if the bodies kept so far say so; else the body to send next."""
        rejected = None
        for answer in self.journal.answered([key]).get(key, []):
            found = self._settled(answer, request)
            if found.state is None:
                continue
            if found.state != "malformed" or rejected:
                self.journal.finish(answer.id, found.state)
                return Reply.of(found, self.journal.ended([key])[key], cached=False)
            rejected = found
        return request.body(self.settings, rejected)

    def _settled(self, answer: Answered, request: Request) -> Read:
        """A kept body, read; what it cost is recorded, all of the reservation if nobody says."""
        body = self.journal.body(answer.body)
        found, used = response_parsing.read(body, request.answer), response_parsing.usage(body)
        if found.state is None:
            self.journal.fail([answer.id], billed=True)
        else:
            real = cost.real(self.price, used, answer.batch is not None)
            self.journal.settle(answer.id, *(used or (0, 0)), real)
        return found

    def send(
        self,
        path: str,
        body: dict,
        asked: Sequence[Asked],
        tokens: int,
        settled: Callable[[list[int], int], bool],
    ) -> None:
        """One attempt: reserve, send, keep, settle. Raises Again where it may be repeated.

        ``tokens``: of the account's limit; ``settled`` takes the attempts and the number of their
        body, records what it cost, and says whether it is an answer.
        """
        self._requests.take(1)
        self._tokens.take(tokens)
        with self._in_flight(asked) as attempts:
            try:
                raw = self.wire.post(path, body)
            except (Again, InputError) as fault:
                self.journal.fail(attempts, billed=isinstance(fault, MaybeBilled))
                raise
            if not settled(attempts, self.journal.keep(attempts, raw)):
                raise Again("it sent something else than an answer")

    @contextmanager
    def _in_flight(self, asked: Sequence[Asked]) -> Iterator[list[int]]:
        """Attempts, reserved; where the cap leaves no room, those in flight may make some."""
        with self._changed:
            while True:
                if self._stopped:
                    raise _Stopped
                try:
                    attempts = self.journal.reserve(asked)
                    break
                except CapReached:
                    if not self._flying:
                        raise
                    self._changed.wait()
            self._flying += 1
            self.totals.calls += 1
        try:
            yield attempts
        finally:
            with self._changed:
                self._flying -= 1
                self._changed.notify_all()

    def concurrently(
        self, ask: Callable, missing: Mapping[Any, Any], ended: Callable[[Any, Any], None]
    ) -> None:
        """``ended(key, ask(key, value))`` for all of ``missing``, ``width`` at a time."""
        if self._stopped:
            raise InputError("this client stopped at an error; open a new one")
        waiting, running = iter(missing.items()), {}
        pool = ThreadPoolExecutor(self.settings.width)
        try:
            while True:
                for key, value in islice(waiting, self.settings.width - len(running)):
                    running[pool.submit(ask, key, value)] = key
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    ended(running.pop(future), future.result())
        except BaseException:
            self._stop()
            raise
        finally:
            pool.shutdown(wait=False)  # those that wait for their turn or a retry give up then

    def _stop(self) -> None:
        """No new call; return when those in flight are in the journal."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._flying)

    @contextmanager
    def bar(self, desc: str, total: int) -> Iterator[Callable[[], None]]:
        """A progress bar with rate, time left and money; call the result at every step."""
        before = self.journal.spent
        with progress.bar(total=total, desc=desc, unit="call", disable=not total) as bar:

            def step() -> None:
                spent = self.journal.spent - before
                bar.set_postfix_str(f"${spent / 1e6:.4f} with {self._flying} in flight", False)
                bar.update()

            yield step


def _minutely(limit: int | None) -> Pace:
    return Pace(limit and limit / 60)


class _Stopped(Exception):
    """Another worker failed, or the user interrupted."""
