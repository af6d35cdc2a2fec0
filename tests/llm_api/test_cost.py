"""Prices, bounds, and the estimate held against what a real server then charges."""

import re

import pytest

from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Calls, Price
from rnagpt_lib.llm_api import cost, journal, openai_transport, retries
from rnagpt_lib.llm_api.cost import estimate, microdollars, most_tokens_in
from rnagpt_lib.llm_api.journal import Asked, Journal
from rnagpt_lib.runs.stages import STAGES, stage_folder
from tests.standin import serve
from tests.standin.openai_api import OpenAI
from tests.support import paid_loop

TEXTS = [f"{n} " + "An abstract of some length about an RNA. " * 30 for n in range(20)]
REQUESTS = [paid_loop.request(text) for text in TEXTS]


def settings(**changes):
    known = {"model": "m", "prices": {"m": {"input": 0.15, "output": 0.6}}}
    return Calls(**(known | changes))


def test_prices_are_whole_micro_dollars_rounded_up_and_exact():
    for tokens, batch, wanted in [
        ((1000, 100), False, 210), ((1000, 100), True, 105), ((1, 0), False, 1), ((2, 1), True, 1),
        ((0, 0), False, 0), ((10**9, 10**9), False, 750_000_000),
    ]:  # fmt: skip
        assert microdollars(Price(input="0.15", output="0.6"), *tokens, batch) == wanted
    price = settings(prices={"m": {"input": 0.1, "output": 0.7}}).prices["m"]
    assert microdollars(price, 10, 0) == 1 and microdollars(price, 30, 10) == 10
    assert microdollars(None, 10**6, 10**6) == 0
    with pytest.raises(InputError, match="no price of model 'm'; write"):
        settings(prices={}, cap_dollars=1).price_of("m")
    found = estimate(REQUESTS, settings(prices={}))
    assert found["dollars"].isna().all() and (found["to ask"] == 20).all()


def test_no_request_has_more_tokens_than_the_bound():
    for text in ("plain", "ü" * 100, "漢字" * 50, '"\\\n' * 99, "🧬" * 40):
        body = paid_loop.request(text).body(settings())
        assert most_tokens_in(body) >= len(text.encode()) + 100


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv(openai_transport.KEY, "k")
    monkeypatch.setattr(retries, "pause", lambda seconds: None)
    app = OpenAI()
    with serve(app) as url:
        yield app, url


def test_the_estimate_bounds_the_bill_and_shrinks_as_the_journal_grows(server):
    app, url = server
    known = paid_loop.settings(url)
    before = estimate(iter(REQUESTS + REQUESTS[:3]), known)
    assert list(before.loc["sync", ["requests", "in the journal", "to ask"]]) == [20, 0, 20]
    assert before.loc["batch", "dollars"] == pytest.approx(before.loc["sync", "dollars"] / 2, 0.01)
    paid_loop.ask(TEXTS[:5], url)
    after = estimate(REQUESTS, known)
    assert list(after.loc["sync", ["in the journal", "to ask"]]) == [5, 15]
    (length,) = {reply.tokens_out for reply in paid_loop.ask(TEXTS[:5], url)}
    assert after.loc["sync", "tokens out"] == 15 * length < 15 * 60  # as long as those so far
    paid_loop.ask(TEXTS[5:], url)
    bill = app.bill / 1e6
    assert bill < before.loc["sync", "dollars at most"]
    assert bill == pytest.approx(before.loc["sync", "dollars"], rel=0.6)
    done = estimate(REQUESTS, known)
    assert done.loc["sync", "to ask"] == done.loc["sync", "dollars"] == 0
    assert (done["hours"] == 0).all()


def test_time_is_that_of_the_tightest_limit():
    free = estimate(REQUESTS, settings(width=1)).loc["sync", "hours"]
    assert free == pytest.approx((20 * 1 + 20 * 60 / 60) / 3600)
    assert estimate(REQUESTS, settings(width=4)).loc["sync", "hours"] == pytest.approx(free / 4)
    tight = estimate(REQUESTS, settings(requests_per_minute=1)).loc["sync", "hours"]
    assert tight == pytest.approx(20 / 60)
    found = estimate(REQUESTS, settings(tokens_per_minute=100)).loc["sync"]
    assert found["hours"] == pytest.approx((found["tokens in"] + 20 * 60) / 100 / 60)
    batch = estimate(REQUESTS, settings()).loc["batch"]  # a day for each filling of the queue
    small = settings(batch_tokens=int(batch["tokens in"]) // 3)
    assert batch["hours"] == 24 and estimate(REQUESTS, small).loc["batch", "hours"] == 24 * 4


def test_what_an_open_batch_holds_is_told():
    keys = [one.key(settings()) for one in REQUESTS]
    with Journal(journal.path()) as kept:
        kept.reserve([Asked(key, "", "v", "m", 1) for key in keys[:2]])
        assert "in an open batch" not in estimate(REQUESTS, settings())
        with kept.together() as db:
            db.execute("INSERT INTO batches (key, state, made) VALUES ('b', 'open', '')")
        attempts = kept.reserve([Asked(key, "", "v", "m", 1) for key in keys[1:4]], "b")
        assert (estimate(REQUESTS, settings())["in an open batch"] == 3).all()
        kept.fail(attempts[:1], billed=False)
        assert (estimate(REQUESTS, settings())["in an open batch"] == 2).all()


def test_a_million_requests_are_never_held_at_once():
    alive = []

    def stream():
        for n in range(3000):
            alive.append(n)
            yield paid_loop.request(str(n))

    chunks = cost._distinct(stream(), settings())
    next(chunks)
    assert len(alive) <= 500
    assert sum(map(len, chunks)) == 2500


# The command, on tables as a run has them.


@pytest.fixture
def run(own_runs):
    """Tables of a run of four RNAs, two of which have two topic groups."""
    ids = [f"R{n}" for n in range(4)]
    empty = dict.fromkeys(
        ("rna_type", "species", "taxid", "family", "description", "unit", "split"), ""
    )
    rows = [{"rna_id": i, "sequence": "ACGU" * 5, "length": 20} | empty for i in ids]
    articles = [
        {"article_id": f"A{n}", "title": f"On it {n}", "abstract": TEXTS[n], "year": 2000}
        for n in range(6)
    ]
    links = [{"rna_id": ids[n % 4], "article_id": f"A{n}"} for n in range(6)]
    topics = [{**link, "topic": n // 4, "weight": 1.0} for n, link in enumerate(links)]
    said = [
        {"rna_id": i, "source": "dnc", "sentence_no": 0, "text": f"This RNA binds {i}.",
         "article_ids": ["A0"]} for i in ids[:2]
    ]  # fmt: skip
    for stage, name, table in (
        (STAGES[0], "rnas", rows), (STAGES[0], "articles", articles),
        (STAGES[0], "links", links), (STAGES[1], "topics", topics),
        (STAGES[2], "annotations", said),
    ):  # fmt: skip
        folder = stage_folder("mine", stage)
        folder.mkdir(parents=True, exist_ok=True)
        tables.write(folder / f"{name}.parquet", name, tables.frame(name, table))
    return "mine"


def test_the_command_shows_requests_and_money_of_both_stages(run, rnagpt):
    prices = "{gpt-4o-mini: {input: 0.15, output: 0.6}}"
    code, out, _ = rnagpt("estimate", "02", "--run", run, "-p", "PRICES", prices, "-p", "SEED", 1)
    assert code == 0 and "model gpt-4o-mini" in out and "not known" not in out
    # two groups and a merge for each of two RNAs, which a single pass asks once more
    assert re.search(r"^requests +10 +10$", out, re.M)
    code, out, _ = rnagpt("estimate", "03", "--run", run)
    assert re.search(r"^requests +2 +2$", out, re.M)
    assert "has no price of 'gpt-4o-mini'" in out
    assert not journal.path().exists()


def test_before_02_has_run_03_is_a_guess_that_says_so(run, rnagpt):
    (stage_folder(run, STAGES[2]) / "annotations.parquet").unlink()
    code, out, _ = rnagpt("estimate", "03", "--run", run)
    assert code == 0 and out.startswith("A guess, as 02_summarize has not run yet: annotations of")
    assert re.search(r"^requests +4 +4$", out, re.M)


def test_what_cannot_be_estimated_is_one_sentence(run, rnagpt):
    for arguments, words in [
        (("04", "--run", "mine"), "04_train_stage1 asks no language model"),
        (("02", "--run", "nope"), "articles.parquet is missing"),
        (("02", "-p", "PRICES", "{a: ["), "PRICES is '{a: .*no YAML"),
        (("02", "-p", "PRISES", "1"), "there is no parameter PRISES"),
        (("02", "-p", "SEED", "x"), "SEED should be of the type int"),
        (("02", "-p", "BASE_URL", "http://u:p@h/v1"), "no name, password or key in it"),
    ]:
        code, out, err = rnagpt("estimate", *arguments)
        assert code == 2 and not out and len(err.splitlines()) == 1 and re.search(words, err)
        assert "u:p" not in err
