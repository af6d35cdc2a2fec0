"""The journal: what is kept and what counts as spent, wherever the process dies."""

import json
import os
import shutil
import signal
import sqlite3
import threading
import zlib
from contextlib import suppress

import pytest

from benchmarks.reliability import curation
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.llm_api import journal, openai_transport
from rnagpt_lib.llm_api.journal import Asked, CapReached, Journal
from tests.standin import Faults, faults, serve
from tests.standin.openai_api import OpenAI
from tests.support import journal_rows, paid_loop


def asked(key, reserve=100):
    return Asked(key, f"about {key}", "v-1", "m", reserve)


def tries(kept, key):
    return kept.rows("SELECT count(*) FROM attempts WHERE key = ?", key)[0][0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


def test_a_call_from_intent_to_end(path):
    with Journal(path, cap=1000) as kept:
        (attempt,) = kept.reserve([asked("k")])
        assert kept.spent == 100 and kept.left == 900 and not kept.answered(["k"])
        body = kept.keep([attempt], '{"text": "ü\ud800"}')
        assert kept.spent == 100 and not kept.ended(["k"])
        assert kept.answered(["k"]) == {"k": [(attempt, body, None)]}
        kept.settle(attempt, 7, 3, 12)
        kept.finish(attempt, "ok")
        ended = kept.ended(["k", "other"])
        assert list(ended) == ["k"] and kept.spent == 12
        assert (ended["k"].state, ended["k"].microdollars) == ("ok", 12)
        assert kept.body(body) == kept.body(ended["k"].body) == '{"text": "ü\ud800"}'


def test_a_call_costs_all_its_attempts(path):
    with Journal(path) as kept:
        for billed in (True, False):
            kept.fail(kept.reserve([asked("k")]), billed)
        (attempt,) = kept.reserve([asked("k")])
        kept.keep([attempt], "{}")
        kept.settle(attempt, 7, 3, 12)
        kept.finish(attempt, "malformed")
        assert kept.ended(["k"])["k"].microdollars == 112 == kept.spent
        assert tries(kept, "k") == 3
    with Journal(path) as kept:
        assert kept.spent == 112


def test_the_cap_refuses_all_or_nothing(path):
    with Journal(path, cap=250) as kept:
        kept.reserve([asked("a"), asked("b")])
        with pytest.raises(
            CapReached, match=r"cost \$0.000100, and \$0.000200 of the cap of \$0.00"
        ):
            kept.reserve([asked("c")])
        assert kept.spent == 200 and tries(kept, "c") == 0
        kept.reserve([asked("c", 50)])
        assert kept.left == 0


def test_what_was_in_flight_at_a_crash_counts_as_spent_and_is_shown(path, capsys):
    with Journal(path) as kept:
        kept.reserve([asked("a"), asked("b")])
        kept.reserve([asked("c", 0)], batch="part")  # goes on without the process
    with Journal(path) as kept:
        assert kept.spent == 200 and kept.in_batches([*"abc"]) == {"c"}
    assert "2 calls were in flight when the last process ended" in capsys.readouterr().out
    with Journal(path) as kept:
        assert kept.spent == 200
    assert "in flight" not in capsys.readouterr().out


def test_one_body_for_many_calls(path):
    with Journal(path) as kept:
        ids = kept.reserve([asked(key) for key in "abc"])
        body = kept.keep(ids, "[1, 2, 3]")
        assert kept.sharing(body) == ids
        kept.finish(ids[2], "ok")
        assert set(kept.unread([*"abc"])) == {"a", "b"}
        assert kept.ended(["c"])["c"].position == 2 and kept.ended(["c"])["c"].body == body


def test_many_threads_and_many_keys(path):
    keys = [f"k{n}" for n in range(1200)]
    with Journal(path, cap=10**6) as kept, kept.together():
        for key in keys:
            (attempt,) = kept.reserve([asked(key)])
            kept.keep([attempt], "{}")
            kept.settle(attempt, 1, 1, 2)
            kept.finish(attempt, "ok")
    with Journal(path, cap=10**4) as kept:
        assert set(kept.ended(keys)) == set(keys) and kept.spent == 2400

        def work(n):
            for key in range(20):
                try:
                    kept.reserve([asked(f"{n} {key}")])
                except CapReached:
                    return

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert kept.spent == 10**4


def test_one_process_at_a_time(own_runs, monkeypatch):
    monkeypatch.setenv(openai_transport.KEY, "k")
    go, here = threading.Event(), threading.Event()
    queue = Faults()
    queue.add(faults.held(go, here))
    with serve(OpenAI(), faults=queue) as url:
        other = paid_loop.start(own_runs, ["a"], url)
        here.wait()
        with pytest.raises(InputError, match=f"journal.sqlite is in use by process {other.pid}"):
            paid_loop.ask(["b"], url)
        go.set()
        other.join()
        assert other.exitcode == 0 and paid_loop.ask(["a"], url)[0].cached


def test_files_that_cannot_be_opened_are_named_with_the_remedy(path):
    for content in (b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000):
        path.write_bytes(content)
        with pytest.raises(InputError, match="journal.sqlite is damaged .*; move it away"):
            Journal(path).__enter__()
    path.unlink()
    with Journal(path), pytest.raises(InputError, match="is open already; close the other"):
        Journal(path).__enter__()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="written by another version"):
        Journal(path).__enter__()


def test_a_transaction_that_fails_leaves_file_and_sum_as_they_were(path):
    with Journal(path) as kept:
        with pytest.raises(ZeroDivisionError), kept.together():
            kept.fail(kept.reserve([asked("b")]), billed=True)
            raise ZeroDivisionError
        assert kept.spent == 0 and tries(kept, "b") == 0
        kept._db.execute("PRAGMA max_page_count = 20")
        (attempt,) = kept.reserve([asked("a")])
        with pytest.raises(
            InputError, match="journal.sqlite cannot be used .database or disk is full"
        ):
            kept.keep([attempt], os.urandom(200_000).hex())
        kept.fail([attempt], billed=True)
        assert kept.spent == 100


def test_a_place_that_takes_no_journal_is_named(path):
    for place in (path / "no folder" / "j", path.with_name("x" * 300), path.with_name("loop")):
        path.touch()
        (path.parent / "loop").is_symlink() or (path.parent / "loop").symlink_to("loop")
        with pytest.raises(InputError, match="cannot be (written|used).*; "):
            Journal(place).__enter__()


def test_a_sum_that_another_process_raised_counts_before_the_next_call(path):
    with Journal(path, cap=1000) as kept, sqlite3.connect(path, isolation_level=None) as other:
        kept.reserve([asked("a")])
        other.execute("INSERT INTO attempts SELECT 9, key, '', 'lost', 0, 850, 0, 0, NULL, 0, '' "
                      "FROM calls")  # fmt: skip
        with pytest.raises(CapReached, match=r"\$0.000950 of the cap"):
            kept.reserve([asked("b")])
        kept.reserve([asked("b", 50)])
        assert kept.left == 0


def test_sums_that_no_number_holds_still_open(path):
    with Journal(path) as kept:
        (attempt,) = kept.reserve([asked("k")])
    with sqlite3.connect(path) as db:
        for cost in (2**62, 2**62, -(2**62), 1e300):
            db.execute("INSERT INTO attempts SELECT NULL, key, batch, state, 0, ?, 0, 0, NULL, 0, '' "
                       "FROM attempts WHERE id = ?", (cost, attempt))  # fmt: skip
    with Journal(path, cap=10**6) as kept, pytest.raises(CapReached):
        kept.reserve([asked("b")])


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-wal", ".journal.sqlite.lock"])
def test_a_file_that_is_gone_or_another_stops_before_the_next_call(path, name):
    for stand_in in (False, True):
        with Journal(path) as kept:
            kept.reserve([asked("a")])
            (path.parent / name).unlink()
            if stand_in:
                (path.parent / name).touch()
            with pytest.raises(InputError, match=f"{name} was deleted or replaced .*run it again"):
                kept.reserve([asked("b")])
        if name == path.name and stand_in:
            assert path.read_bytes() == b""  # somebody else's
        else:
            with Journal(path) as kept:
                assert kept.spent == 100 and tries(kept, "a") == 1
                assert kept.rows("PRAGMA integrity_check") == [("ok",)]
        for left in path.parent.iterdir():
            left.unlink()


def test_one_lock_for_one_file_by_whatever_name(path, tmp_path):
    (tmp_path / "other").mkdir()
    (link := tmp_path / "other" / "journal.sqlite").symlink_to(path)
    for one, two in ((path, link), (link, path)):
        with Journal(one) as kept, pytest.raises(InputError, match="is open already"):
            kept.reserve([asked("a")])
            Journal(two).__enter__()
    assert not link.with_name(".journal.sqlite.lock").exists()
    os.link(path, tmp_path / "other" / "hard.sqlite")
    with pytest.raises(InputError, match="a second name, a hard link; copy it, and move"):
        Journal(path).__enter__()


def test_after_every_end_the_file_alone_holds_all(path, tmp_path, monkeypatch):
    monkeypatch.setenv("RNAGPT_RUNS", str(path.parent))
    for number, end in enumerate((None, KeyboardInterrupt, InputError)):
        with suppress(KeyboardInterrupt, InputError), journal.Reader():
            with Journal(path) as kept:
                kept.keep(kept.reserve([asked(f"k{number}")]), "{}")
                if end:
                    raise end
        with sqlite3.connect(shutil.copy(path, tmp_path / "copy.sqlite")) as copy:
            assert copy.execute("SELECT count(*) FROM attempts").fetchone() == (number + 1,)
    with Journal(path) as kept:  # and if it is killed, all but the last few
        for number in range(200):
            kept.keep(kept.reserve([asked(f"more {number}")]), "{}")
        with sqlite3.connect(shutil.copy(path, tmp_path / "copy.sqlite")) as copy:
            assert copy.execute("SELECT count(*) FROM attempts").fetchone()[0] > 170
        (both := tmp_path / "both").mkdir()
        for file in (path, path.with_name("journal.sqlite-wal")):
            shutil.copy(file, both)
    with journal.Reader(both / path.name) as look:  # a look makes one file of both
        assert look.rows("SELECT count(*) FROM attempts") == [(203,)]
    assert [file.name for file in both.iterdir()] == [path.name]


def test_a_damaged_journal_is_told_in_a_sentence_wherever_the_damage_is(path, monkeypatch):
    monkeypatch.setenv("RNAGPT_RUNS", str(path.parent))
    requests = {one.key(paid_loop.settings("http://h")): one
                for one in (paid_loop.request(f"abstract {n}") for n in range(150))}  # fmt: skip
    with Journal(path) as kept, kept.together():
        for key, one in requests.items():
            (attempt,) = kept.reserve([Asked(key, one.about, one.version, "m", 100)])
            text = json.dumps({"text": os.urandom(100).hex()})
            kept.keep([attempt], json.dumps({"choices": [{"message": {"content": text}}]}))
            kept.settle(attempt, 1, 1, 2)
            kept.finish(attempt, "ok")
    whole, told = path.read_bytes(), 0

    def use():
        with journal.Reader() as look:
            look.mean_lengths("m"), look.unread(list(requests)), look.in_batches(list(requests))
            assert len(look.replies(requests)) <= len(requests)
        with Journal(path, cap=10**9) as kept:
            kept.reserve([asked("new")])
            kept.replies(requests)

    use()
    for start in range(0, len(whole), 4096):
        path.write_bytes(whole[:start] + b"\xa5" * 4096 + whole[start + 4096 :])
        try:
            use()
        except InputError as error:
            told += 1
            assert "journal.sqlite" in str(error) and "; " in str(error)
    assert told > 20
    monkeypatch.setattr(journal, "LARGEST", 10_000)
    bomb = zlib.compress(b" " * 10_001)
    for body in (None, 7, "text", b"", b"no zip", zlib.compress(b"\xff"), bomb,
                 *(zlib.compress(text) for text in (b"[" * 10**5, b"7", b"{}", b'{"choices": 1}'))):  # fmt: skip
        path.write_bytes(whole)
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE loose AS SELECT * FROM bodies")
            db.execute("DROP TABLE bodies")
            db.execute("ALTER TABLE loose RENAME TO bodies")
            db.execute("UPDATE bodies SET body = ? WHERE id = 1", (body,))
        with pytest.raises(InputError, match="is damaged .body 1.; move it away"):
            use()


@pytest.mark.parametrize("tried", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_two_clients_stay_under_one_cap_and_no_call_is_made_without_a_journal(tried):
    for campaign in (curation.shared, curation.deleted):
        row = campaign(tried)
        assert row["survived"] == tried and not row["lost"], row


# Killed anywhere.

TEXTS = [f"abstract {n}" for n in range(20)]
PLACES = [
    (f"rnagpt_lib.llm_api.{name}", when, 7)
    for name, when in (
        ("journal.Journal.keep", "after"), ("journal.Journal.keep", "before"),
        ("journal.Journal.reserve", "before"), ("openai_transport.Transport.post", "before"),
        ("journal.Journal.settle", "after"), ("journal.Journal.finish", "before"),
    )
]  # fmt: skip


@pytest.mark.parametrize(
    "place",
    [PLACES[0], *(pytest.param(place, marks=pytest.mark.slow) for place in [*PLACES[1:], None])],
    ids=lambda place: f"{place[1]} {place[0][12:]}" if place else "from outside",
)
def test_a_killed_loop_asks_again_only_for_what_was_in_flight(
    own_runs, place, capsys, monkeypatch, pauses
):
    monkeypatch.setenv(openai_transport.KEY, "k")
    app, seen = OpenAI(), threading.Semaphore(0)
    answer = app.answer
    app.answer = lambda *given: [seen.release(), answer(*given)][1]
    with serve(app) as url:
        process = paid_loop.start(own_runs, TEXTS, url, place, width=4)
        if not place:
            for _ in range(9):
                seen.acquire()
            process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        replies = paid_loop.ask(TEXTS, url)
    assert [reply.value.text for reply in replies] == TEXTS
    states = dict(journal_rows.rows("SELECT state, count(*) FROM attempts GROUP BY state"))
    lost = states.get("lost", 0)
    assert states["answered"] == len(TEXTS) and lost <= 4
    assert app.completions <= len(TEXTS) + lost and app.bill <= journal_rows.spent()
    assert journal_rows.integrity() == "ok"
    assert (f"{lost} calls were in flight" in capsys.readouterr().out) == bool(lost)


def test_what_was_paid_before_there_was_a_price_counts(path):
    with Journal(path) as kept:
        (attempt,) = kept.reserve([asked("k", 0)])
        kept.keep([attempt], "{}")
        kept.settle(attempt, 900, 100, 0)
        kept.finish(attempt, "ok")
        assert kept.spent == 0
    with Journal(path, cap=10**6) as kept:
        kept.price(lambda model, tokens_in, tokens_out, batch: tokens_in + 2 * tokens_out)
        assert kept.spent == 1100
        kept.price(lambda *_: 7)  # what has a cost keeps it
        assert kept.spent == 1100
    with Journal(path) as kept:
        assert kept.spent == 1100
