"""Europe PMC: batches, cursors, errors with status 200, and text out of HTML."""

import doctest
import json
import re

import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.sources import europepmc, markup
from rnagpt_lib.curate.sources.http import Site
from rnagpt_lib.curate.sources.markup import is_plain, plain
from rnagpt_lib.llm_api import retries
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.runs.resume_store import Store
from tests.standin import Faults, faults, serve
from tests.standin.ebi import Ebi, addresses, anywhere, has_html, pmcid, pmid


@pytest.fixture(scope="module")
def world():
    return Ebi(size=60).world


@pytest.fixture
def queue(monkeypatch):
    monkeypatch.setattr(retries, "pause", lambda seconds: None)
    return Faults()


@pytest.fixture
def fetch(queue, tmp_path):
    """``fetch(ids, **how the server is)`` → records."""

    def fetched(ids, **how):
        with serve(Ebi(size=60, **how), faults=queue) as url, Store(tmp_path) as spool:
            site = Site(addresses(url)["europepmc"], Pace(1e9))
            return list(europepmc.records(site, spool, ids))

    return fetched


def names(articles):
    return [pmid(a) or pmcid(a) for a in articles["article_id"]]


def test_every_article_comes_once_in_plain_text(fetch, queue, world):
    articles = world.articles
    got = fetch(names(articles))
    assert len(got) == len(articles) and len(queue.seen) == -(-len(articles) // 100)
    text = {record.pmcid: record.abstractText for record in got}
    for row in articles.to_dict("records"):
        came, whole = text[pmcid(row["article_id"])], row["abstract"]
        mark = "Background: " if has_html(row["article_id"]) else ""
        assert came == (mark + whole if anywhere(row["article_id"]) else "")
    form = [dict(part.split("=") for part in r.body.decode().split("&")) for r in queue.seen]
    assert {r.method for r in queue.seen} == {"POST"} and not any(r.query for r in queue.seen)
    for name, value in {"format": "json", "resultType": "core", "synonym": "false"}.items():
        assert {fields[name] for fields in form} == {value}


@pytest.mark.parametrize("echo", [False, True])
def test_the_last_page_has_no_cursor_or_repeats_it(fetch, queue, world, monkeypatch, echo):
    small = europepmc._form
    monkeypatch.setattr(europepmc, "_form", lambda *a: small(*a) | {"pageSize": "7"})
    ids = names(world.articles)[:30]
    assert len(fetch(ids, echo=echo)) == 30 and len(queue.seen) == 5


def test_an_empty_page_ends_a_batch(fetch, queue, world):
    def endless(answer):
        return answer | {"nextCursorMark": "more"}

    nothing = {
        "version": "6.9",
        "hitCount": 10,
        "nextCursorMark": "on",
        "resultList": {"result": []},
    }
    queue.add(faults.changed(endless), faults.status(200, body=nothing))
    assert len(fetch(names(world.articles)[:10])) == 10 and len(queue.seen) == 2


def test_a_batch_that_is_refused_is_halved(fetch, queue, world):
    ids = names(world.articles)
    assert len(fetch(ids, terms=30)) == len(ids)
    sizes = [len(re.findall(rb"EXT_ID|PMCID", r.body)) for r in queue.seen]
    assert sizes[:3] == [100, 50, 25] and set(sizes[3:-1]) == {25}


@pytest.mark.parametrize("code", [413, 414])
def test_so_it_is_for_a_status(fetch, queue, world, code):
    queue.add(faults.status(code))
    assert len(fetch(names(world.articles)[:60])) == 60


def test_a_service_that_refuses_single_ids_ends_it(fetch, queue):
    with pytest.raises(InputError, match=r"error 400 \(Too many clauses\) \(asked for 31000000\)"):
        fetch(["31000000", "31000001"], terms=0)


def test_a_second_time_asks_nothing(queue, world, tmp_path):
    with serve(Ebi(size=60), faults=queue) as url:
        site = Site(addresses(url)["europepmc"], Pace(1e9))
        fetched = []
        for _ in range(2):
            with Store(tmp_path) as spool:
                ids = names(world.articles)[:150]
                fetched.append(list(europepmc.records(site, spool, ids)))
    assert fetched[0] == fetched[1] and len(queue.seen) == 2


def test_nothing_wanted_asks_nothing(fetch, queue):
    assert fetch([]) == [] and not queue.seen


TEXTS = {
    "A <b>bold</b> claim": "A bold claim",
    "H<sub>2</sub>O, CO<SUB>2</SUB>": "H2O, CO2",
    "<h4>Aim</h4>To see.<h4>Results.</h4>Seen.": "Aim: To see. Results. Seen.",
    "p < .05 and n <1 or x<\u2009.001": "p < .05 and n <1 or x< .001",
    "we saw a <cat and dog> here": "we saw a <cat and dog> here",
    "&lt;i&gt;Mus&lt;/i&gt; &amp;amp; R &gt; S": "Mus & R > S",
    "one<br/>two<p>three</p>four": "one two three four",
    "no\n markup\tat  all": "no markup at all",
    "<!-- hidden -->seen": "seen",
    "": "",
}


@pytest.mark.parametrize("text", TEXTS)
def test_markup_leaves_and_signs_stay(text):
    assert plain(text) == TEXTS[text]


def test_a_script_is_no_markup_that_vanishes():
    for text in ("a <script>alert(1)</script> b", "a <script>alert(1) <b>b</b>", "a <style>b</i>"):
        assert plain(text)[-1] == "b" and not is_plain(plain(text))
    assert plain("a <script>alert(1)</script> b") == "a <script>alert(1)</script> b"


def test_real_abstracts_hold_no_markup_afterwards(shared):
    data = json.loads((shared / "europepmc" / "search_cancer_core.json").read_text())
    texts = [r["abstractText"] for r in data["resultList"]["result"] if "abstractText" in r]
    marked = [text for text in texts if not is_plain(text)]
    assert len(texts) == 21 and len(marked) == 16
    for text in texts:
        words = re.findall(r"\w+", re.sub("</?(h4|i|b|sub|sup)>", " ", text))
        assert is_plain(plain(text)) and "  " not in plain(text)
        assert "".join(re.findall(r"\w+", plain(text))) == "".join(words)


def test_examples_in_docstrings():
    result = doctest.testmod(markup)
    assert result.attempted and not result.failed
