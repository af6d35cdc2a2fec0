"""The resume store: what it keeps is made once, through real kills of a real process."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from itertools import islice

import pytest
from werkzeug import Request, Response

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.runs.resume_store import NAME, Store
from tests.standin import Faults, faults, serve

LAST = 30


def numbered(calls, last=LAST):
    """A source of pages ``{"n": 0}`` … that notes which were asked for."""

    def fetch(cursor):
        calls.append(int(cursor))
        following = int(cursor) + 1
        return {"n": int(cursor), "text": "é\u2028"}, str(following) if following < last else None

    return fetch


def test_pages_come_in_order_and_a_second_time_from_the_spool(tmp_path):
    calls = []
    for _ in range(2):
        with Store(tmp_path) as spool:
            pages = list(spool.pages("source", numbered(calls), "0"))
            assert pages == [{"n": n, "text": "é\u2028"} for n in range(LAST)]
    assert calls == list(range(LAST))


def test_names_are_apart_and_may_be_read_within_each_other(tmp_path):
    calls = []
    with Store(tmp_path) as spool:
        for _ in spool.pages("outer", numbered(calls, 3), "0"):
            assert len(list(spool.pages("inner", numbered(calls, 2), "0"))) == 2
        assert calls == [0, 0, 1, 1, 2]
        assert spool.once("now", lambda: 1) == spool.once("now", lambda: 2) == 1
        spool.forget()
        assert spool.once("now", lambda: 2) == 2
        assert len(list(spool.pages("inner", numbered(calls, 1), "0"))) == 1


@pytest.mark.parametrize("stop", [0, 1, 17])
def test_it_goes_on_where_it_stopped(tmp_path, stop):
    calls = []

    def fetch(cursor):
        if int(cursor) == stop and not calls.count(stop):
            calls.append(stop)
            raise InputError("gone")
        return numbered(calls)(cursor)

    with Store(tmp_path) as spool, pytest.raises(InputError):
        list(spool.pages("source", fetch, "0"))
    with Store(tmp_path) as spool:
        assert [page["n"] for page in spool.pages("source", fetch, "0")] == list(range(LAST))
    assert sorted(calls) == sorted([*range(LAST), stop])


def test_what_is_anothers_is_left_as_it_is(tmp_path):
    target, path = tmp_path / "mine.db", tmp_path / "out.partial"
    with contextlib.closing(sqlite3.connect(target)) as db:
        db.executescript("create table thesis (text); insert into thesis values ('years')")
    before = target.read_bytes()
    (tmp_path / "elsewhere").mkdir()
    for make in (
        lambda: path.symlink_to(target), lambda: path.symlink_to(tmp_path / "nothing"),
        lambda: path.write_bytes(before), lambda: os.mkfifo(path),
    ):  # fmt: skip
        make()
        with pytest.raises(InputError, match="out.partial is in the way: .*; move it"):
            Store(path, about="x", replace=True)
        path.unlink()
    path.write_text("my notes")
    with pytest.raises(InputError, match="out.partial is damaged"):
        Store(path, about="x", replace=True)
    assert path.read_text() == "my notes" and target.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "mine.db", "out.partial"]


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / NAME).write_bytes(b"this is no database" * 100)
    with pytest.raises(InputError, match="spool.sqlite is damaged .*delete it"):
        Store(tmp_path)


def test_entries_are_kept_for_what_they_are_about(tmp_path):
    path = tmp_path / "answers.partial"
    with Store(path, ["model", 1]) as store:
        assert store.get("chunk 0") is None and not path.exists()
        store.put("chunk 0", b"\0 one")
        store.put("chunk 0", b"\0 two")
    with Store(path, ["model", 1]) as store:
        assert store.get("chunk 0") == b"\0 two" and store.get("about") is None
    with pytest.raises(InputError, match="answers.partial was begun with other input"):
        Store(path, ["model", 2])
    with Store(path, ["model", 2], replace=True) as store:
        assert store.get("chunk 0") is None
    with Store(path, ["model", 3]) as store:  # nothing was kept of the other
        store.put("chunk 1", b"")
        assert store.get("chunk 1") == b""
        store.remove()
    assert list(tmp_path.iterdir()) == []


class Book:
    """Pages 0 to LAST - 1 with the number of the next."""

    prefix = "/book"

    def __call__(self, environ, start_response):
        page = int(Request(environ).args["page"])
        following = page + 1 if page + 1 < LAST else None
        text = json.dumps({"page": page, "next": following})
        return Response(text, content_type="application/json")(environ, start_response)


READER = """
import sys
from pathlib import Path
from pydantic import BaseModel
from rnagpt_lib.runs.resume_store import Store
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.curate.sources.http import Site

class Page(BaseModel):
    page: int
    next: int | None

site = Site(sys.argv[1], Pace(1e9))

def fetch(cursor):
    got = site.get("/book", Page, page=cursor)
    return got.page, None if got.next is None else str(got.next)

with Store(Path(sys.argv[2])) as spool:
    print(*spool.pages("book", fetch, "0"))
"""


def test_killed_again_and_again_it_fetches_each_page_once(tmp_path):
    """SIGKILL with one request in flight, after 0, 1, … pages: that page alone comes twice."""
    queue = Faults()
    with serve(Book(), faults=queue) as url:
        command = [sys.executable, "-c", READER, url, str(tmp_path)]
        stored = 0
        for done in (0, 7):
            until, arrived = threading.Event(), threading.Event()
            queue.add(*[lambda app: app] * (done - stored), faults.held(until, arrived))
            stored = done
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            assert arrived.wait(60)
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
            until.set()
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stdout.split() == [str(n) for n in range(LAST)]
    asked = [int(request.query["page"]) for request in queue.seen]
    assert sorted(asked) == sorted([*range(LAST), 0, 7])
    database = sqlite3.connect(tmp_path / NAME)
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()


class Squares:
    """Tasks' results, drawn ``ahead`` of them; notes what it made, and can stop."""

    def __init__(self, ahead=1, stop=None):
        self.ahead, self.stop, self.made = ahead, stop, []

    def __call__(self, tasks):
        tasks = iter(tasks)
        while drawn := list(islice(tasks, self.ahead)):
            for task in drawn:
                if task == self.stop:
                    raise KeyboardInterrupt
                self.made.append(task)
                yield [task * task, "é\u2028\ud800"]


@pytest.mark.parametrize("ahead", [1, 3, 100])
@pytest.mark.parametrize("stop", [0, 4, 9])
def test_results_that_are_stored_are_not_made_again(tmp_path, ahead, stop):
    tasks, want = range(10), [[n * n, "é\u2028\ud800"] for n in range(10)]
    first, second, third = Squares(ahead, stop), Squares(ahead), Squares(ahead)
    with Store(tmp_path) as spool:
        with pytest.raises(KeyboardInterrupt):
            list(spool.results(tasks, first))
        assert first.made == list(range(stop))
        assert list(spool.results(tasks, second)) == want
        assert second.made == list(range(stop, 10))
        odd = [*range(1, 20, 2), 4]
        assert list(spool.results(odd, third)) == [[n * n, want[0][1]] for n in odd]
        assert third.made == list(range(11, 20, 2))
        assert list(spool.results([], Squares())) == []


def test_another_version_of_the_library_computes_anew(tmp_path, monkeypatch):
    for code in ("one", "one", "other"):
        monkeypatch.setattr("rnagpt_lib.runs.resume_store._code", lambda code=code: code)
        with Store(tmp_path) as spool:
            list(spool.results([3], squares := Squares()))
    assert squares.made == [3]


def test_where_nothing_is_kept_there_is_no_file(tmp_path):
    """A stage that refuses its input has written nothing then, and the finished one comes back."""
    with Store(tmp_path) as spool:
        spool.forget()
        with pytest.raises(KeyboardInterrupt):
            list(spool.results([1], Squares(stop=1)))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_damage(tmp_path):
    with Store(tmp_path) as spool:
        list(spool.pages("source", lambda cursor: ({"n": 1}, None), "0"))
    code = """
import resource, signal, sys
from pathlib import Path
from rnagpt_lib.runs import resume_store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with resume_store.Store(Path(sys.argv[1])) as pages:
        list(pages.pages("other", lambda cursor: ({"n": "x" * 9000}, None), "0"))
except Exception as error:
    print(type(error).__name__, error)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, cwd=paths.root()).stdout
    assert "InputError" in said and "cannot be used" in said and "nothing in it is lost" in said
    with Store(tmp_path) as spool:
        assert list(spool.pages("source", lambda cursor: 1 / 0, "0")) == [{"n": 1}]
