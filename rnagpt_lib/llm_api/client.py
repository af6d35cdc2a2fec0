"""The client for every call to a language model: asked once, then answered from the journal.

>>> with batch.open_client(params) as client:   # doctest: +SKIP
...     replies = client.ask(requests, "summaries")
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import CapReached, InputError
from rnagpt_lib.core.files import digest, progress
from rnagpt_lib.core.params import Calls, Price
from rnagpt_lib.llm_api import cost, journal, messages
from rnagpt_lib.llm_api.journal import Answered, Asked, Journal
from rnagpt_lib.llm_api.messages import Read, Reply, Request
from rnagpt_lib.llm_api.openai_transport import MaybeBilled, Transport
from rnagpt_lib.llm_api.retries import Again, Pace, persistently

Settle = Callable[[list[int], int], bool]
CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"
TEXTS = 36  # in one request for embeddings: of 8,191 tokens each, they are below OpenAI's 300,000


class Client:
    """Asks a language model; a context manager, open only around calls, with the journal for
    itself.

    Its methods raise InputError for a refused key or request, a used-up quota, a server that stays
    away, and the cap; what was answered is in the journal then, and the client makes no more calls.
    """

    def __init__(self, settings: Calls):
        self.settings = settings
        self._stopped, self._flying = False, 0
        self._changed = threading.Condition()  # guards the two above
        limits = settings.requests_per_minute, settings.tokens_per_minute
        self._requests, self._tokens = (Pace(limit and limit / 60) for limit in limits)

    def __enter__(self) -> "Client":
        """Raises InputError as `Calls.check` does, and while another process has the journal."""
        chosen, cap = self.settings, self.settings.cap_dollars
        chosen.check()
        self.price = chosen.price_of(chosen.model)
        cap = None if cap is None else math.floor(cap * 1_000_000)
        with ExitStack() as stack:
            self.transport = Transport(chosen)
            stack.callback(self.transport.close)
            self.journal = stack.enter_context(Journal(journal.path(), cap))
            if cap is not None:
                self.journal.price(lambda m, *used: cost.microdollars(chosen.prices.get(m), *used))
            self._close = stack.pop_all().close
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def ask(self, requests: Sequence[Request], desc: str = "") -> list[Reply]:
        """The replies in the order of ``requests``; equal requests are asked once."""
        keys = [request.key(self.settings) for request in requests]
        wanted = dict(zip(keys, requests, strict=True))
        for key in self.journal.unread(list(wanted)):
            self.step(key, wanted[key])
        replies = self.journal.replies(wanted)
        if missing := {key: one for key, one in wanted.items() if key not in replies}:
            replies |= self.with_bar(self.send, missing, desc)
        return [replies[key] for key in keys]

    def send(self, missing: Mapping[str, Request], end: Callable[[str, Reply], None]) -> None:
        """``end(key, reply)`` for each request, as the replies come. Raises InputError where a
        batch holds some of them, which will cost what it costs."""
        if held := self.journal.in_batches(list(missing)):
            there = f"batches under way hold {len(held)} of these requests"
            raise InputError(f"{there}; MODE batch waits for their results, or cancel them first")
        self.concurrently(self._ask, missing, end)

    def _ask(self, key: str, request: Request) -> Reply:
        """Send until the call has ended: once, and once more after a malformed answer."""

        def settle(attempts: list[int], body: int) -> bool:
            return self._settle((attempts[0], body, None), request).state is not None

        while not isinstance(body := self.step(key, request), Reply):
            self.post(CHAT, body, [self.asked(key, request, body)], request.max_tokens, settle)
        return body

    def asked(self, key: str, request: Request, body: dict, batch: bool = False) -> Asked:
        """The request as the journal records it, with the most that sending ``body`` can cost."""
        read = cost.most_tokens_in(body)
        most = cost.microdollars(self.price, read, request.max_tokens, batch)
        return Asked(key, request.about, request.version, self.settings.model, most)

    def step(self, key: str, request: Request) -> Reply | dict:
        """How the call ended, if the bodies kept so far say so; else the body to send next."""
        rejected = None
        for answered in self.journal.answered([key]).get(key, []):
            found = self._settle(answered, request)
            if found.state is None:
                continue
            if found.state != "malformed" or rejected:
                self.journal.finish(answered[0], found.state)
                return self.journal.replies({key: request}, cached=False)[key]
            rejected = found
        return request.body(self.settings, rejected)

    def _settle(self, answered: Answered, request: Request) -> Read:
        """A kept body, read; what it cost is recorded, all of the reservation if nobody says."""
        attempt, number, batch = answered
        body = self.journal.body(number)
        found, used = messages.read(body, request.answer), messages.usage(body)
        if found.state is None:
            self.journal.fail([attempt], billed=True)
        else:
            real = cost.real(self.price, used, batch is not None)
            self.journal.settle(attempt, *(used or (0, 0)), real)
        return found

    def post(
        self, path: str, body: dict, asked: list[Asked], tokens_out: int, settle: Settle
    ) -> None:
        """Wait for the turn, reserve, send, keep, settle: until an answer came, which ``settle``
        says of the attempts and the number of their body, after it recorded what that cost."""

        def attempt() -> None:
            self._requests.take(1)
            self._tokens.take(cost.likely_tokens_in(body) + tokens_out)
            attempts = self._reserve(asked)
            try:
                try:
                    raw = self.transport.post(path, body)
                except (Again, InputError) as fault:
                    self.journal.fail(attempts, billed=isinstance(fault, MaybeBilled))
                    raise
                if not settle(attempts, self.journal.keep(attempts, raw)):
                    raise Again("it sent something else than an answer")
            finally:
                with self._changed:
                    self._flying -= 1
                    self._changed.notify_all()

        persistently(attempt, self.transport.what(asked[0].about))

    def _reserve(self, asked: Sequence[Asked]) -> list[int]:
        """Attempts in flight; where the cap leaves no room, those before them may make some."""
        with self._changed:
            while not self._stopped:
                try:
                    attempts = self.journal.reserve(asked)
                    self._flying += 1
                    return attempts
                except CapReached:
                    if not self._flying:
                        raise
                    self._changed.wait()
            raise InputError("this client stopped at an error; open a new one")

    def concurrently(
        self, ask: Callable, missing: Mapping[Any, Any], end: Callable[[Any, Any], None]
    ) -> None:
        """``end(key, ask(key, value))`` for all of ``missing``, ``width`` at a time."""
        waiting, running = iter(missing.items()), {}
        pool = ThreadPoolExecutor(self.settings.width)
        try:
            while True:
                for key, value in islice(waiting, self.settings.width - len(running)):
                    running[pool.submit(ask, key, value)] = key
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    end(running.pop(future), future.result())
        except BaseException:
            with self._changed:  # no new call; those in flight come to the journal first
                self._stopped = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._flying)
            raise
        finally:
            pool.shutdown(wait=False)  # those that wait for their turn or a retry give up then

    def with_bar(self, send: Callable, missing: Mapping, desc: str) -> dict:
        """What ``send(missing, end)`` ends with, by key; a bar tells rate, time left and money."""
        before, found = self.journal.spent, {}
        with progress(total=len(missing), desc=desc, unit="call") as bar:

            def end(key: Any, answer: Any) -> None:
                found[key] = answer
                bar.set_postfix_str(f"${(self.journal.spent - before) / 1e6:.4f}", False)
                bar.update()

            send(missing, end)
        return found


# Embeddings: many texts in a request, each text journalled as a call of its own.


def embed(client: Client, texts: Sequence[str], model: str) -> np.ndarray:
    """A vector for each text, in order, (n, D); equal texts are asked for once, never by batch.

    Raises InputError as `Client` does, and for vectors of several lengths.
    """
    kept, price = client.journal, client.settings.price_of(model)
    keys = [_text_key(model, text) for text in texts]
    wanted = dict(zip(keys, texts, strict=True))

    def settle(attempts: list[int], body: int) -> bool:
        """Whether the body holds a vector for each attempt; the first carries the whole cost."""
        found, used = messages.vectors(kept.body(body)), messages.usage(kept.body(body))
        if found is None or len(found) != len(attempts):
            kept.fail(attempts, billed=True)
            return False
        with kept.together():
            for attempt in attempts:
                kept.settle(attempt, *(used or (0, 0)), cost.real(price, used))
                kept.finish(attempt, "ok")
                used = used and (0, 0)
        return True

    def ask(keys: tuple[str, ...], texts: list[str]) -> None:
        both = zip(keys, texts, strict=True)
        asked = [Asked(key, "embedding", "", model, _most(price, text)) for key, text in both]
        body = {"model": model, "input": texts, "encoding_format": "float"}
        client.post(EMBEDDINGS, body, asked, 0, settle)

    for body in {answers[-1][1] for answers in kept.unread(list(wanted)).values()}:
        settle(kept.sharing(body), body)
    ended = kept.ended(list(wanted))
    missing = [key for key in wanted if key not in ended]
    groups = [tuple(missing[at : at + TEXTS]) for at in range(0, len(missing), TEXTS)]
    asked = {keys: [wanted[key] for key in keys] for keys in groups}
    client.with_bar(partial(client.concurrently, ask), asked, "embeddings")
    ended = kept.ended(list(wanted))
    read = {n: messages.vectors(kept.body(n)) for n in {end.body for end in ended.values()}}
    lengths = " and ".join(map(str, sorted({rows.shape[1] for rows in read.values()})))
    if " " in lengths:
        raise InputError(
            f"{paths.shown(kept.path)} holds embeddings by {model!r} of {lengths} numbers, so by "
            "several models of that name; set RNAGPT_RUNS to another folder"
        )
    return np.array([read[ended[key].body][ended[key].position] for key in keys], np.float32)


def describe_embedding(texts: Sequence[str], settings: Calls) -> str:
    """What embedding ``texts`` by ``settings.model`` will take, in a line; sends nothing. At most:
    a token for each byte, and what a server may add, which a cap has to allow."""
    wanted = {_text_key(settings.model, text): text for text in texts}
    with journal.Reader() as look:
        known = look.ended(list(wanted))
    missing = [text for key, text in wanted.items() if key not in known]
    tokens = sum(len(text) // cost.CHARACTERS + 1 for text in missing)
    price = settings.prices.get(settings.model)
    likely = cost.microdollars(price, tokens, 0) / 1e6
    most = sum(_most(price, text) for text in missing) / 1e6
    money = f", ${likely:.4f}, at most ${most:.4f}" if price else " (without a price)"
    there = f"{len(wanted):,} texts and words, {len(known):,} of them in the journal"
    return f"{there}; to embed the others takes about {tokens:,} tokens{money}"


def _text_key(model: str, text: str) -> str:
    return digest({"model": model, "embedding": text})


def _most(price: Price | None, text: str) -> int:
    return cost.microdollars(price, len(text.encode()) + cost.OVERHEAD, 0)
