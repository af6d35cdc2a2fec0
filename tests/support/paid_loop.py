"""A process that pays for answers and can be killed anywhere, for tests and campaigns.

Processes come from a fork server that has imported the client, so each starts in milliseconds.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import wraps
from itertools import count
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
from pydantic import BaseModel

from rnagpt_lib.core import params
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.llm_api import batch, journal, openai_transport, retries
from rnagpt_lib.llm_api.batch import open_client
from rnagpt_lib.llm_api.client import embed as embed_texts
from rnagpt_lib.llm_api.messages import Reply, Request
from tests.standin.openai_api import PRICE

MODEL = "gpt-standin"
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.paid_loop"])


class Summary(BaseModel):
    text: str


def request(text: str) -> Request:
    """A request whose answer repeats ``text``."""
    messages = ({"role": "user", "content": text},)
    return Request(messages, Summary, "loop-1", 60, text)


def settings(url: str, **changes: object) -> params.Calls:
    """Of a client of the stand-in at ``url``."""
    known = {"provider": "openai", "model": MODEL, "base_url": f"{url}/v1", "deadline": 10}
    return params.Calls(**(known | {"prices": {MODEL: PRICE}} | changes))


def ask(texts: list[str], url: str, **changes: object) -> list[Reply]:
    """The replies to ``texts``."""
    with open_client(settings(url, **changes)) as client:
        return client.ask([request(text) for text in texts])


def ask_by_clock(texts: list[str], url: str, clock: str, **changes: object) -> list[Reply]:
    """The same on a machine whose clock stands."""
    journal.now = batch.now = lambda: clock
    return ask(texts, url, **changes)


def embed(texts: list[str], url: str, **changes: object) -> np.ndarray:
    """The vectors of ``texts``."""
    with open_client(settings(url, **changes)) as client:
        return embed_texts(client, texts, MODEL)


def start(
    runs: Path,
    texts: list[str],
    url: str,
    die: tuple[str, str, int] | None = None,
    job: Callable = ask,
    **changes: object,
) -> multiprocessing.Process:
    """A process that does ``job`` (`ask` or `embed`) with ``texts``; with ``die`` = (function, "before" or "after", n) it kills
    itself around the n-th call of that function."""
    given = (str(runs), texts, url, die, job, changes)
    process = _context.Process(target=_run, args=given, daemon=True)
    process.start()
    return process


def _run(
    runs: str, texts: list[str], url: str, die: tuple | None, job: Callable, changes: dict
) -> None:
    os.environ |= {"RNAGPT_RUNS": runs, openai_transport.KEY: "sk-loop"}
    retries.pause = lambda seconds: time.sleep(min(seconds, 0.01))
    if die:
        _arm(*die)
    try:
        job(texts, url, **changes)
    except InputError as error:
        os.write(2, f"{error}\n".encode())
        os._exit(2)


def _arm(name: str, when: str, number: int) -> None:
    place, _, attribute = name.rpartition(".")
    owner = resolve_name(place)
    real, calls = getattr(owner, attribute), count(1)

    @wraps(real)
    def deadly(*args, **kwargs):
        mine = next(calls)
        if when == "before" and mine == number:
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*args, **kwargs)
        if when == "after" and mine == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(owner, attribute, deadly)
