"""Embeddings by a server, many texts in a request, each text journalled as a call of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest
from rnagpt_lib.core.params import Calls, Price
from rnagpt_lib.llm_api import cost, journal_file, response_parsing
from rnagpt_lib.llm_api.journal import Asked
from rnagpt_lib.llm_api.retries import persistently

if TYPE_CHECKING:
    from rnagpt_lib.llm_api.client import Client

PATH = "/embeddings"
TEXTS, BYTES = 64, 200_000  # in one request


def told(texts: Sequence[str], settings: Calls) -> str:
    """What embedding ``texts`` by ``settings.model`` will take, in a line; sends nothing.

    At most: a token for each byte, and what a server may add, which a cap has to allow.
    """
    wanted = {_key(settings.model, text): text for text in texts}
    known = journal_file.held(journal_file.file(), list(wanted))
    missing = [text for key, text in wanted.items() if key not in known]
    tokens = sum(len(text) // cost.CHARACTERS + 1 for text in missing)
    line = f"{len(wanted):,} texts and words, {len(known):,} of them in the journal; "
    line += f"to embed the others takes about {tokens:,} tokens"
    price = settings.prices.get(settings.model)
    if price is None:
        return f"{line} (the profile has no price of {settings.model!r})"
    likely = cost.microdollars(price, tokens, 0)
    most = sum(cost.microdollars(price, _most(text), 0) for text in missing)
    return f"{line}, ${likely / 1e6:.4f}, at most ${most / 1e6:.4f}"


def embed(client: Client, texts: Sequence[str], model: str) -> np.ndarray:
    """One vector for each text, (n, D). Raises InputError as `llm.Client` does, and for vectors
    of several lengths."""
    keys = [_key(model, text) for text in texts]
    wanted = dict(zip(keys, texts, strict=True))
    price = cost.price_of(client.settings, model)
    _finish_kept(client, price, list(wanted))
    known = client.journal.ended(list(wanted))
    client.totals.cached += len(known)
    missing = {key: text for key, text in wanted.items() if key not in known}
    groups = {keys: tuple(missing[key] for key in keys) for keys in _groups(missing)}
    with client.bar("embeddings", len(groups)) as step:
        ask = partial(_ask, client, price, model)
        client.concurrently(ask, groups, lambda *_: step())
    ended = client.journal.ended(list(wanted))
    read = {n: _read(client, n) for n in {end.body for end in ended.values()}}
    lengths = {rows.shape[1] for rows in read.values()}
    if len(lengths) > 1:
        raise InputError(
            f"{paths.shown(client.journal.path)} holds embeddings by {model!r} of "
            f"{' and '.join(map(str, sorted(lengths)))} numbers, so by several models of that "
            "name; set RNAGPT_RUNS to another folder to begin a journal for this one"
        )
    found = [read[ended[key].body][ended[key].position] for key in keys]
    return np.array(found, np.float32)


def _read(client: Client, body: int) -> np.ndarray:
    return np.array(response_parsing.vectors(client.journal.body(body)), np.float32)


def _key(model: str, text: str) -> str:
    return digest({"model": model, "embedding": text})


def _finish_kept(client: Client, price: Price | None, keys: list[str]) -> None:
    """Read the bodies that an earlier process kept and did not come to read."""
    known = client.journal.ended(keys)
    unread = client.journal.answered([key for key in keys if key not in known])
    for body in {answers[-1].body for answers in unread.values()}:
        _settled(client, price, client.journal.sharing(body), body)


def _ask(
    client: Client,
    price: Price | None,
    model: str,
    keys: Sequence[str],
    texts: Sequence[str],
) -> None:
    asked = [
        Asked(key, "embedding", "", model, cost.microdollars(price, _most(text), 0))
        for key, text in zip(keys, texts, strict=True)
    ]
    body = {"model": model, "input": list(texts), "encoding_format": "float"}
    settled = partial(_settled, client, price)
    send = partial(client.send, PATH, body, asked, cost.likely_tokens_in(body), settled)
    persistently(send, client.wire.what(f"{len(texts)} embeddings"))


def _settled(client: Client, price: Price | None, attempts: list[int], body: int) -> bool:
    """Whether the body holds a vector for each attempt; the first one carries the whole cost."""
    raw = client.journal.body(body)
    found = response_parsing.vectors(raw)
    if found is None or len(found) != len(attempts):
        client.journal.fail(attempts, billed=True)
        return False
    used = response_parsing.usage(raw)
    with client.journal.together():
        for position, attempt in enumerate(attempts):
            tokens = (used if position == 0 else (0, 0)) if used else None
            client.journal.settle(attempt, *(tokens or (0, 0)), cost.real(price, tokens))
            client.journal.finish(attempt, "ok")
    if used:
        client.totals.tokens_in += used[0]
        client.totals.microdollars += cost.microdollars(price, *used)
    return True


def _most(text: str) -> int:
    return len(text.encode()) + cost.OVERHEAD


def _groups(texts: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """The keys in runs of at most `TEXTS` texts and `BYTES` bytes (or one longer text)."""
    group, size = [], 0
    for key, text in texts.items():
        more = len(text.encode())
        if group and (len(group) == TEXTS or size + more > BYTES):
            yield tuple(group)
            group, size = [], 0
        group.append(key)
        size += more
    if group:
        yield tuple(group)
