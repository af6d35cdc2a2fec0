"""What calls cost, in integer micro-dollars: at most, in fact, and a whole stage beforehand."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import pandas as pd

from rnagpt_lib.core.params import WIDTH, Calls, Price, Summarize
from rnagpt_lib.llm_api.journal import CHUNK, Reader
from rnagpt_lib.llm_api.messages import Reply, Request

BATCH_PRICE = 2  # the Batch API costs one half
CHARACTERS = 4  # of a token, in English text and JSON
OVERHEAD, OVER = 256, 16  # tokens that a server's template may add, and an answer over its limit
FIRST_TOKEN, TOKENS_PER_SECOND = 1.0, 60.0  # of one answer: seconds of waiting, then its speed
BATCH_HOURS = 24  # in which a batch ends


def microdollars(price: Price | None, tokens_in: int, tokens_out: int, batch: bool = False) -> int:
    """The price of a call, rounded up; 0 when no price is known.

    >>> microdollars(Price(input="0.15", output="0.6"), 1000, 100)
    210
    """
    if price is None:
        return 0
    exact = price.input * tokens_in + price.output * tokens_out
    return math.ceil(exact / BATCH_PRICE if batch else exact)


def real(price: Price | None, used: tuple[int, int] | None, batch: bool = False) -> int | None:
    """What a call cost by its usage; None, so that its reservation stays, when nobody knows."""
    return microdollars(price, *used, batch) if price and used else None


def most_tokens_in(body: dict) -> int:
    """A bound on a request's input tokens: no token is shorter than a byte of its text."""
    return len(json.dumps(body, ensure_ascii=False).encode()) + OVERHEAD


def likely_tokens_in(body: dict) -> int:
    """About how many input tokens a request has, at `CHARACTERS` a token."""
    return len(json.dumps(body, ensure_ascii=False)) // CHARACTERS


class Unanswered(Exception):
    """The journal does not hold the answer to one of the requests."""


class Replay:
    """Stands in a client's place and sends nothing; ``asked`` are the requests so far."""

    def __init__(self, settings: Calls, journal: Reader):
        self.settings, self._journal = settings, journal
        self.asked: list[Request] = []

    def ask(self, requests: Sequence[Request], desc: str = "") -> list[Reply]:
        """The replies in the order of ``requests``. Raises Unanswered when one is missing."""
        self.asked += requests
        keyed = {request.key(self.settings): request for request in requests}
        known = self._journal.replies(keyed)
        if self.settings.ask_again:
            known = {key: reply for key, reply in known.items() if reply.state == "ok"}
        if len(known) < len(keyed):
            raise Unanswered
        return [known[request.key(self.settings)] for request in requests]


def estimate(requests: Iterable[Request], settings: Calls) -> pd.DataFrame:
    """What ``requests`` will take, a row each for ``sync`` and ``batch``; sends nothing.

    Output is as long as the journal's answers of this model and prompt version, else
    ``max_tokens``. ``dollars at most``: what a cap has to allow; ``hours``: of batches, the longest
    they may take.
    """
    count, longest, spoken = Counter(), Counter(), Counter()
    with Reader() as journal:
        for chunk in _distinct(requests, settings):
            known = journal.ended(list(chunk))
            other = {key: chunk[key] for key, end in known.items() if end.state != "ok"}
            replies = journal.replies(other)  # what another version could not read may be one
            failed = {key for key, reply in replies.items() if reply.state != "ok"}
            count["requests"] += len(chunk)
            count["in the journal"] += len(known)
            count["of them failed"] += len(failed)
            count["in an open batch"] += len(journal.in_batches(list(chunk)))
            for key in chunk.keys() - known.keys() | (failed if settings.ask_again else set()):
                request = chunk[key]
                body = request.body(settings)
                count["tokens in"] += likely_tokens_in(body)
                count["bound"] += most_tokens_in(body)
                spoken[request.version] += 1
                longest[request.version] += request.max_tokens
        mean = journal.mean_lengths(settings.model)
    count |= {"to ask": spoken.total(), "most": longest.total()}
    count["limit"] = count["most"] + OVER * count["to ask"]
    count["tokens out"] = round(sum(mean.get(v, longest[v] / n) * n for v, n in spoken.items()))
    rare = ("of them failed", "in an open batch")
    names = ["requests", "in the journal", rare[0], "to ask", rare[1], "tokens in", "tokens out"]
    names = [name for name in names if count[name] or name not in rare]
    rows, price = {}, settings.prices.get(settings.model)
    for mode in ("sync", "batch"):
        rows[mode] = {name: count[name] for name in names}
        ends = {"dollars": ("tokens in", "tokens out"), "dollars at most": ("bound", "limit")}
        for name, (read, written) in ends.items():
            paid = microdollars(price, count[read], count[written], mode == "batch") / 1e6
            rows[mode][name] = paid if price else math.nan
        rows[mode]["hours"] = _hours(count, settings, mode == "batch")
    return pd.DataFrame.from_dict(rows, orient="index")


def _distinct(requests: Iterable[Request], settings: Calls) -> Iterator[dict[str, Request]]:
    """The distinct requests by key, a few at a time."""
    seen: set[str] = set()
    stream = iter(requests)
    while part := list(islice(stream, CHUNK)):
        chunk = {request.key(settings): request for request in part}
        yield {key: request for key, request in chunk.items() if key not in seen}
        seen.update(chunk)


def _hours(count: Counter, settings: Calls, batch: bool) -> float:
    """Of batches, a day for each filling of the queue; else the longest of the answers
    themselves, requests a minute, tokens a minute."""
    if batch:
        fillings = count["tokens in"] / (settings.batch_tokens or count["tokens in"] or 1)
        return float(BATCH_HOURS * math.ceil(fillings)) if count["to ask"] else 0.0
    speaking = count["to ask"] * FIRST_TOKEN + count["tokens out"] / TOKENS_PER_SECOND
    asking = count["to ask"] / (settings.requests_per_minute or math.inf)
    reading = (count["tokens in"] + count["most"]) / (settings.tokens_per_minute or math.inf)
    return max(speaking / (settings.width or WIDTH) / 60, asking, reading) / 60


def describe(table: pd.DataFrame, settings: Calls) -> str:
    """An estimate as text, with what it rests on."""
    shown = table.T.map(lambda number: f"{number:,.2f}" if number % 1 else f"{number:,.0f}")
    for name in ("dollars", "dollars at most"):
        known = (f"{dollars:,.4f}" for dollars in table[name])
        shown.loc[name] = list(known) if settings.model in settings.prices else "not known"
    text = shown.to_string()
    if settings.model not in settings.prices:
        text += f"\nThe profile (prices: in its file) has no price of {settings.model!r}."
    if isinstance(settings, Summarize):
        text += "\nRepairs of answers that are still to come are not among them."
    if "of them failed" in table and not settings.ask_again:
        text += "\n-p ASK_AGAIN true asks those that failed again."
    if settings.base_url and not (settings.width and settings.deadline):
        text += "\nThe first answer's time sets WIDTH and DEADLINE, which you may set yourself: a "
        text += "slow server takes far more hours than these."
    return (
        f"{text}\nInput at {CHARACTERS} characters a token; output as in the journal so far, or "
        f"its limit; {settings.width or WIDTH} calls at a time, {TOKENS_PER_SECOND:g} tokens a "
        "second each."
    )


def sum_usage(usage: pd.DataFrame, settings: Calls) -> dict[str, object]:
    """``usage`` (a row for what each RNA took) in all, as metrics; empty without a model."""
    if not len(usage):
        return {}
    own = usage[usage["shared"] == 0] if "shared" in usage else usage
    counts = {name: int(own[name].sum()) for name in ("calls", "tokens_in", "tokens_out")}
    dollars = {"dollars": float(own["microdollars"].sum()) / 1e6}
    dollars = dollars if settings.model in settings.prices else {}
    return {"model": settings.model} | counts | dollars
