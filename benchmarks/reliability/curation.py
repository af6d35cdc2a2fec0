"""Paid calls under kills, faults and a cap, against a stand-in server with a ledger of its own.

Real client processes, a real HTTP server, real SIGKILLs. What the server says it did and billed
is held against what the client's journal says. Rows: ``{name, tried, survived, lost, note}``;
``lost`` counts paid answers that the journal neither holds nor shows as in flight.
"""

import io
import json
import random
import shutil
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pandas as pd

from benchmarks._page import page_of, publish, results_of
from benchmarks._runs import own_runs
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import write_json
from rnagpt_lib.llm_api import journal, retries
from rnagpt_lib.report import readme
from tests.standin import Faults, serve
from tests.standin.openai_api import OpenAI, by_schema
from tests.support import injections, journal_rows, paid_loop
from tests.support.fault_matrix import CASES

RESULTS = results_of("reliability_curation")
PAGE = page_of("reliability")
WIDTH = 8
TEXTS = [f"abstract {number}" for number in range(60)]
LATENCY = 0.02  # seconds of one answer
CAP = 2500  # micro-dollars: the worst cases of those in flight and of one crash, and the answers
STEPS = [  # of a batch, and how often each is taken
    *((f"rnagpt_lib.llm_api.batch.BatchClient.{name}", 1)
      for name in ("_plan", "_adopt_or_make", "_submit", "_first_to_end")),
    ("rnagpt_lib.llm_api.batch.BatchClient._take", len(TEXTS)),
    ("rnagpt_lib.llm_api.journal.Journal.finish", len(TEXTS)),
]  # fmt: skip


def main() -> None:
    """Run all campaigns and write their rows."""
    retries.pause = lambda seconds: None
    rows = [killed_loops(100), killed_batches(60), shared(100), deleted(60), faults(),
            *map(capped, (1, 8, 32)), injected()]  # fmt: skip
    write_json(RESULTS, rows)
    publish(PAGE, "reliability_curation", render())


def render() -> str:
    """The block of the page, from the kept results alone."""
    rows = pd.DataFrame(json.loads(RESULTS.read_text("utf-8")))
    return readme.markdown(rows.astype(str).set_index("name"))


class Ledger(OpenAI):
    """A server that counts how often it answered each text, and says when a request arrives."""

    def __init__(self):
        self.answered, self.arrivals = Counter(), threading.Semaphore(0)
        self.seen, self.open = set(), threading.Event()
        self.open.set()
        super().__init__(answer=self._counted, wait=LATENCY)

    def _counted(self, messages: list, form: dict) -> str:
        said = messages[-1]["content"]
        self.seen.add(said)
        self.open.wait()
        self.answered[said] += 1
        self.arrivals.release()
        return by_schema(messages, form)


@contextmanager
def world(app: OpenAI, queue: Faults | None = None) -> Iterator[tuple[Path, str]]:
    """An empty folder of runs, and the URL of the server."""
    with own_runs() as folder, serve(app, faults=queue) as url:
        yield folder, url


def asked(url: str, texts: list[str] = TEXTS, **changes: object) -> tuple[list, str]:
    """The replies, and what was printed."""
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(io.StringIO()):
        return paid_loop.ask(texts, url, **changes), said.getvalue()


def attempts() -> tuple[Counter, int]:
    """How many attempts of each state the journal has, and what they cost."""
    with closing(sqlite3.connect(journal.path())) as db:
        rows = db.execute("SELECT state, cost FROM attempts").fetchall()
    return Counter(state for state, _ in rows), sum(cost for _, cost in rows)


def sound(app: OpenAI, replies: list) -> bool:
    """Every text has its answer, the journal counts all that was billed, and is whole."""
    texts = [reply.value and reply.value.text for reply in replies]
    whole = journal_rows.integrity() == "ok"
    return texts == TEXTS and app.bill <= attempts()[1] and whole


def killed_loops(tried: int) -> dict:
    """The paid loop, killed from outside: after a random arrival and a random wait."""
    draw, survived, lost, repeats, shown = random.Random(0), 0, 0, Counter(), Counter()
    for _ in range(tried):
        app = Ledger()
        with world(app) as (runs, url):
            while _killed_outside(app, runs, url, draw) != -signal.SIGKILL:
                pass  # it was through already
            replies, said = asked(url, width=WIDTH, cap_dollars=CAP / 1e6)
            states, spent = attempts()
            again = app.answered.total() - len(TEXTS)
            lost += max(0, again - states["lost"])
            told = f"{states['lost']} calls were in flight" in said or not states["lost"]
            few = again <= states["lost"] <= WIDTH
            survived += sound(app, replies) and few and told and app.bill <= spent <= CAP
            repeats[again] += 1
            shown[states["lost"]] += 1
    note = (
        f"{len(TEXTS)} calls at width {WIDTH}; at most {max(repeats)} answers repeated and "
        f"{max(shown)} calls shown as in flight after a kill; bill ≤ journal ≤ cap, integrity ok"
    )
    return _row("paid loop, SIGKILL at random moments", tried, survived, lost, note)


def _killed_outside(app: Ledger, runs: Path, url: str, draw: random.Random) -> int | None:
    process = paid_loop.start(runs, TEXTS, url, width=WIDTH, cap_dollars=CAP / 1e6)
    for _ in range(draw.randrange(1, len(TEXTS) - WIDTH)):
        app.arrivals.acquire()
    process.join(draw.random() * 0.03)
    process.kill()
    process.join()
    return process.exitcode


def killed_batches(tried: int) -> dict:
    """A batch's process, killed around a random step of it."""
    draw, survived, second = random.Random(1), 0, 0
    for _ in range(tried):
        app = Ledger()
        with world(app) as (runs, url):
            step, most = draw.choice(STEPS)
            die = (step, draw.choice(("before", "after")), draw.randint(1, most))
            process = paid_loop.start(runs, TEXTS, url, die, mode="batch")
            process.join()
            replies, _ = asked(url, mode="batch")
            uploads = [file for file in app.files.values() if file["purpose"] == "batch"]
            one = len(app.batches) == len(uploads) == 1 and app.answered.total() == len(TEXTS)
            second += len(app.batches) > 1
            survived += process.exitcode == -signal.SIGKILL and sound(app, replies) and one
    note = f"{len(STEPS)} steps from plan to last line; {second} second batches"
    return _row("batch, SIGKILL between its steps", tried, survived, second, note)


def shared(tried: int) -> dict:
    """Two clients at one journal, whose lock somebody deletes or which one reaches by a link, with
    clocks that differ, and one of which is killed, under a cap that both together would pass."""
    draw, survived, lost, most = random.Random(2), 0, 0, 0.0
    texts = [f"{number:>4} " * 400 for number in range(2 * len(TEXTS))]
    for number in range(tried):
        app = Ledger()
        with world(app) as (runs, url):
            cap = asked(url, texts[:1])[0][0].microdollars * len(texts) // 3
            options = {"width": WIDTH, "cap_dollars": cap / 1e6}
            first = paid_loop.start(runs, texts[: len(TEXTS)], url, **options)
            for _ in range(draw.randrange(1, 2 * WIDTH)):
                app.arrivals.acquire()
            app.open.clear()  # until both are there
            if number % 4 != 1:
                (runs / ".journal.sqlite.lock").unlink(missing_ok=True)
            if number % 4 != 0:
                (runs / "linked").mkdir()
                (runs / "linked" / "journal.sqlite").symlink_to(runs / "journal.sqlite")
                runs = runs / "linked"
            if number % 4 == 2:
                options |= {"job": paid_loop.ask_by_clock, "clock": "1970-01-01T00:00:00+00:00"}
            second = paid_loop.start(runs, texts[len(TEXTS) :], url, **options)
            while second.is_alive() and app.seen.isdisjoint(texts[len(TEXTS) :]):
                second.join(0.02)
            app.open.set()
            if number % 4 == 3:
                first.join(draw.random() * 0.2)
                first.kill()
            first.join()
            second.join()
            states, spent = attempts()
            lost += max(0, app.answered.total() - states["answered"] - states["lost"])
            survived += app.bill <= spent <= cap and journal_rows.integrity() == "ok"
            most = max(most, spent / cap)
    note = f"lock deleted, a symlink, a clock of 1970, SIGKILL; at most {most:.1%} of the cap spent"
    return _row("two clients at one journal, under a cap", tried, survived, lost, note)


def deleted(tried: int) -> dict:
    """The journal, its -wal or all of ``runs/`` deleted while calls are made: those in flight are
    the last."""
    draw, survived, lost, more = random.Random(3), 0, 0, Counter()
    for number in range(tried):
        app = Ledger()
        with world(app) as (runs, url):
            process = paid_loop.start(runs, TEXTS, url, width=WIDTH)
            for _ in range(draw.randrange(1, len(TEXTS) - 2 * WIDTH)):
                app.arrivals.acquire()
            match number % 3:
                case 0:
                    (runs / "journal.sqlite").unlink()
                case 1:
                    (runs / "journal.sqlite-wal").unlink()
                case 2:
                    shutil.rmtree(runs, ignore_errors=True)
            before = app.answered.total()
            process.join()
            after = app.answered.total() - before
            more[after] += 1
            survived += process.exitcode == 2 and after <= WIDTH
            lost += app.answered.total() - attempts()[0]["answered"]
            survived -= journal_rows.integrity() != "ok"
    note = (
        f"at most {max(more)} of width {WIDTH} answered after it; what was deleted is there again"
    )
    return _row("journal deleted while calls are made", tried, survived, lost, note)


def faults() -> dict:
    """Every case of the fault matrix ends in its documented state."""
    wrong = [case.name for case in CASES if not _ends_as_documented(case)]
    note = (
        "wrong: " + ", ".join(wrong)
        if wrong
        else f"{len(CASES)} cases, tests/support/fault_matrix.py"
    )
    return _row("fault matrix", len(CASES), len(CASES) - len(wrong), 0, note)


def _ends_as_documented(case) -> bool:
    app, queue = Ledger(), Faults()
    queue.add(case.fault, times=case.times)
    with world(app, queue) as (_, url):
        try:
            (reply,), _ = asked(url, ["a"], deadline=1)
            ended = reply.state
        except InputError as error:
            ended = case.ends if case.stops and case.ends in str(error) else str(error)
        states, spent = attempts()
        return ended == case.ends and states == Counter(case.attempts) and spent >= app.bill


def injected() -> dict:
    """Abstracts that give orders, and a model that obeys them: none of it is in the data set."""
    with own_runs():
        rows = pd.DataFrame(injections.rows())
    note = f"abstracts that give orders, a model that obeys; {', '.join(filter(None, rows.note))}"
    return _row(
        "injections", len(rows), int(rows.survived.sum()), int(rows.lost.sum()), note.rstrip("; ")
    )


def capped(width: int, calls: int = 1000, share: float = 0.37) -> dict:
    """A cap of 37 % of what 1,000 calls cost."""
    texts, app = [f"{number:>4} " * 400 for number in range(calls)], Ledger()
    with world(app) as (_, url):
        one = asked(url, texts[:1])[0][0].microdollars
        cap, stopped = int(share * calls * one), False
        try:
            asked(url, texts, width=width, cap_dollars=cap / 1e6)
        except InputError as error:
            stopped = "raise CAP_DOLLARS" in str(error)
        spent = attempts()[1]
        held = stopped and app.bill <= spent <= cap
        paid = sum(reply.cached for reply in asked(url, texts)[0])
        lost = app.answered.total() - calls
    note = f"stopped after {paid} calls with {spent / cap:.1%} of the cap spent; bill ≤ journal"
    return _row(f"cap at 37 % of 1,000 calls, width {width}", 1, int(held), lost, note)


def _row(name: str, tried: int, survived: int, lost: int, note: str) -> dict:
    return {"name": name, "tried": tried, "survived": survived, "lost": lost, "note": note}


if __name__ == "__main__":
    main()
