"""Answers from the journal alone, so that code which asks a model can be followed for nothing."""

import sqlite3
from collections.abc import Sequence

from rnagpt_lib.core.params import Calls
from rnagpt_lib.llm_api import journal_file, response_parsing
from rnagpt_lib.llm_api.client import Reply, Request
from rnagpt_lib.llm_api.journal import Ended


class Unanswered(Exception):
    """The journal does not hold the answer to one of the requests."""


class Recall:
    """Stands in a `Client`'s place and sends nothing; ``asked`` are the requests so far.

    ``db``: a connection of `journal_file.beside`.
    """

    def __init__(self, settings: Calls, db: sqlite3.Connection):
        self.settings, self._db = settings, db
        self.asked: list[Request] = []

    def answers(self, requests: Sequence[Request], desc: str = "") -> list[Reply]:
        """The replies in the order of ``requests``. Raises Unanswered when one is missing."""
        self.asked += requests
        keys = [request.key(self.settings) for request in requests]
        known = {row[0]: row[1:] for row in journal_file.answers(self._db, set(keys))}
        if not known.keys() >= set(keys):
            raise Unanswered
        return [self._reply(r, *known[key]) for r, key in zip(requests, keys, strict=True)]

    def _reply(self, request: Request, body: str, *ended: str | int) -> Reply:
        return Reply.of(response_parsing.read(body, request.answer), Ended(*ended), cached=True)
