"""The client for every call to a language model: asked once, then answered from the journal.

>>> with batch.open_client(params) as client:   # doctest: +SKIP
...     replies = client.ask(requests, "summaries")
"""

import math
import re
import threading
from collections import Counter
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
from rnagpt_lib.core.params import DEADLINE, WIDTH, Calls, Price
from rnagpt_lib.core.text import one_line
from rnagpt_lib.llm_api import cost, journal, messages, retries
from rnagpt_lib.llm_api.journal import Answered, Asked, Journal
from rnagpt_lib.llm_api.messages import Form, Read, Reply, Request
from rnagpt_lib.llm_api.openai_transport import Late, MaybeBilled, NoForm, Transport
from rnagpt_lib.llm_api.retries import Again, Pace, persistently

Settle = Callable[[list[int], int], bool]
CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"
FIRST, LAST = 1800.0, 7200.0  # seconds for a server's first answer, and the longest deadline set
FEW = 3  # first calls of no use that are enough
AGAIN = "ASK_AGAIN (-p ASK_AGAIN true) asks failed calls again"
WHY = {
    "malformed": "the server gives no structured output, as vLLM, llama.cpp and Ollama do, MODEL is "
    "too small for it, or answers are cut",
    "length": "answers are cut: by a limit of the server, or as MODEL thinks before it speaks",
    "context": "the server's context is too short for the texts",
}
_STREAM = re.compile(r"(?:\s*:.*\n)*\s*(?:data|event|id|retry):")
REOPENED: set[tuple] = set()  # servers and keys that this process has asked again
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
        # a server of one's own may take minutes for an answer: the first one tells, and goes alone
        own = settings.base_url is not None
        self.width = settings.width or (1 if own else WIDTH)
        self.deadline = settings.deadline or (FIRST if own else DEADLINE)
        self._answered, self._over = not own, False
        self._ended, self._told = Counter(), "schema"
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
        replies = self._ask_again(self.journal.replies(wanted))
        if missing := {key: one for key, one in wanted.items() if key not in replies}:
            replies |= self.with_bar(self.send, missing, desc)
        return [replies[key] for key in keys]

    def _ask_again(self, known: dict[str, Reply]) -> dict[str, Reply]:
        """The replies that stay; failed calls are open again where ASK_AGAIN says so, once in a
        process, as all clients of a stage have the parameter."""
        failed = {key: reply.state for key, reply in known.items() if reply.state != "ok"}
        if failed and not self.settings.ask_again:
            print(f"{counted(Counter(failed.values()))} among the answers of the journal: {AGAIN}")
        here = {(self.settings.base_url, key) for key in failed if self.settings.ask_again}
        again = {key for _, key in here - REOPENED}
        self.journal.reopen(sorted(again))
        REOPENED.update(here)
        return {key: reply for key, reply in known.items() if key not in again}

    def _watch(self, reply: Reply) -> None:
        """Raises InputError where the first calls brought nothing of use: nor will the others."""
        self._ended[reply.state] += 1
        if self._ended.total() == FEW and not self._ended["ok"]:
            why = WHY.get(
                self._ended.most_common(1)[0][0], "MODEL refuses, or a filter holds them back"
            )
            first = f"the first {FEW} calls brought no answer of use ({counted(self._ended)})"
            raise InputError(f"{self.transport.what('')}: {first}; {why}; {AGAIN}")

    def send(self, missing: Mapping[str, Request], end: Callable[[str, Reply], None]) -> None:
        """``end(key, reply)`` for each request, as the replies come. Raises InputError where a
        batch holds some of them, which will cost what it costs."""
        if held := self.journal.in_batches(list(missing)):
            there = f"batches under way hold {len(held)} of these requests"
            raise InputError(f"{there}; MODE batch waits for their results, or cancel them first")
        self.concurrently(self._ask, missing, end)

    def _ask(self, key: str, request: Request) -> Reply:
        """Send until the call has ended: once, and once more after a malformed answer."""

        def settle(attempts: list[int], number: int) -> bool:
            found = self._settle((attempts[0], number, None), request)
            self._hold_to_limit(self.journal.body(number), found, request)
            return found.state is not None

        while not isinstance(body := self.step(key, request, self._told), Reply):
            try:
                asked = [self.asked(key, request, body)]
                self.post(CHAT, body, asked, request.max_tokens, settle)
            except NoForm:
                if "response_format" not in body:
                    raise
                self._told = "words"
        with self._changed:
            self._watch(body)
        return body

    def _hold_to_limit(self, body: str, found: Read, request: Request) -> None:
        """Raises InputError for an answer that is longer than it may be, where that costs."""
        used = messages.usage(body)
        written = used[1] if used else len(found.text) // (2 * cost.CHARACTERS)
        if written <= request.max_tokens + cost.OVER or self._over:
            return
        over = f"an answer of {written:,} tokens, where {request.max_tokens:,} are allowed"
        over = f"{self.transport.what(request.about)}: {over}; the server ignores max_tokens"
        if self.price and self.price.output:
            raise InputError(f"{over}, so no cap holds, and each answer may cost more")
        print(f"{over}, so answers may take long")
        self._over = True

    def asked(self, key: str, request: Request, body: dict, batch: bool = False) -> Asked:
        """The request as the journal records it, with the most that sending ``body`` can cost."""
        read = cost.most_tokens_in(body)
        most = cost.microdollars(self.price, read, request.max_tokens + cost.OVER, batch)
        return Asked(key, request.about, request.version, self.settings.model, most)

    def step(self, key: str, request: Request, told: Form = "schema") -> Reply | dict:
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
        if rejected and not self._ended["ok"] and self._told == "schema":
            self._told = "both"  # as it seems not to heed response_format
        return request.body(self.settings, rejected, told)

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
            began, seconds = retries.clock(), self.deadline
            try:
                try:
                    raw = self.transport.post(path, body, seconds)
                except (Again, InputError) as fault:
                    self.journal.fail(attempts, billed=isinstance(fault, MaybeBilled))
                    if isinstance(fault, Late):
                        self._give_time(seconds)  # raises, too
                    raise
                if not settle(attempts, self.journal.keep(attempts, raw)):
                    self._no_answer(raw)
                self._measure(retries.clock() - began)
            finally:
                with self._changed:
                    self._flying -= 1
                    self._changed.notify_all()

        persistently(attempt, self.transport.what(asked[0].about))

    def _measure(self, seconds: float) -> None:
        """Width and deadline by the first answer's time, where the parameters leave them open."""
        with self._changed:
            if self._answered:
                return
            self._answered = True
            width = max(2, min(WIDTH, int(DEADLINE / max(seconds, 1.0))))
            self.width = self.settings.width or width
            # a server with fewer slots lets calls wait for one another
            slow = min(LAST, max(DEADLINE, 2 * seconds * self.width))
            self.deadline = self.settings.deadline or slow
        if self.deadline > DEADLINE and not self.settings.deadline:
            print(f"The first answer took {seconds:.0f} s: {self.width} calls at a time (WIDTH), "
                  f"of {self.deadline:.0f} s at most (DEADLINE)")  # fmt: skip

    def _give_time(self, seconds: float) -> None:
        """After no answer in so many seconds the next ones get twice as many; raises InputError
        where none ever came, as the server may well hang."""
        said = f"no answer in {seconds:g} s; a slow server needs a longer DEADLINE, fewer WIDTH"
        with self._changed:
            if not (self._answered or self.settings.deadline):
                raise InputError(f"{self.transport.what('')}: {said}") from None
            if not self.settings.deadline and seconds == self.deadline < LAST:
                self.deadline = min(2 * seconds, LAST)
                print(f"No answer in {seconds:g} s; calls have {self.deadline:g} s now (DEADLINE)")
        raise Late(said) from None

    def _no_answer(self, raw: str) -> None:
        """Raises for what is no answer: InputError where another try gets the same."""
        stream, page = _STREAM.match(raw[:1000]), raw.lstrip().startswith("<")
        words = one_line(messages.words_of(messages.parse(raw)))[:300]
        if stream or (page and not self._answered):
            kind = "a stream of events, though nobody asked for one" if stream else "a web page"
            raise InputError(f"{self.transport.what('')} sent {kind}; check BASE_URL and its /v1")
        raise Again("it sent something else than an answer" + (f" ({words})" if words else ""))

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
        pool = ThreadPoolExecutor(self.settings.width or WIDTH)
        try:
            while True:
                room = min(self.width, FEW) if self._ended and not self._ended["ok"] else self.width
                for key, value in islice(waiting, max(0, room - len(running))):
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


def counted(states: Counter) -> str:
    """Of each state how many, in words."""
    return ", ".join(f"{number} {state}" for state, number in sorted(states.items()))


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
    for end in ended.values():
        if read[end.body] is None or not 0 <= end.position < len(read[end.body]):
            raise kept.damage(end.body)
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
