"""Paging through EBI Search: whatever the pages are like, every entry comes, and is counted."""

import doctest

import pytest

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.sources import ebi_search
from rnagpt_lib.curate.sources.ebi_search import Sweep, any_of
from rnagpt_lib.curate.sources.http import Site
from rnagpt_lib.llm_api import retries
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.runs.resume_store import Store
from tests.standin import Faults, faults, serve
from tests.standin.ebi import Ebi, addresses

QUERY = 'has_lit_scan:"True" AND entry_type:"Sequence"'


@pytest.fixture(scope="module")
def ebi():
    return Ebi(size=60, page=7)


@pytest.fixture
def queue(monkeypatch):
    monkeypatch.setattr(retries, "pause", lambda seconds: None)
    return Faults()


@pytest.fixture
def sweep(ebi, queue, tmp_path):
    """``sweep(queries, domain)`` over a server and a store of its own."""
    with serve(ebi, faults=queue) as url, Store(tmp_path) as store:
        site = Site(addresses(url)["ebi_search"], Pace(1e9))
        yield lambda queries=(QUERY,), domain="rnacentral": Sweep(
            site, store, domain, queries, "rna_type,species"
        )


def ids(found):
    return [entry.id for page in found for entry in page]


def test_short_pages_give_every_entry_once_and_a_second_sweep_asks_nothing(sweep, ebi, queue):
    found, again = sweep(), sweep()
    got = ids(found)
    assert got == [e["id"][0] for e in ebi.rnas if e["has_lit_scan"] == ["True"]]
    assert found.said == found.came == len(got) == 54
    assert len(queue.seen) == 8 and {r.query["size"] for r in queue.seen} == {"1000"}
    assert [r.query["searchposition"] for r in queue.seen][:3] == ["0", "7", "14"]
    assert ids(again) == got and len(queue.seen) == 8 and (again.said, again.came) == (54, 54)


def test_many_queries_are_one_sweep(sweep, ebi):
    names = [entry["id"][0] for entry in ebi.rnas]
    found = sweep([f"{QUERY} AND {clause}" for clause in any_of("id", names, 9)])
    assert len(ids(found)) == found.said == found.came == 54
    assert ids(sweep([])) == []


def fewer(answer):
    """A page whose entries came to nothing, though it has a next one."""
    return answer | {"entries": []}


def repeated(answer):
    """The page starts again where the one before it had ended."""
    return answer | {"searchPosition": answer["searchPosition"] - 3}


def test_an_empty_page_before_the_end_is_asked_for_again(sweep, queue):
    queue.add(lambda app: app, faults.changed(fewer))
    found = sweep()
    assert len(set(ids(found))) == found.came == 54 and found.short == 0


def test_a_whole_page_that_stays_away_stops_the_sweep_and_is_asked_for_again(
    sweep, queue, monkeypatch
):
    monkeypatch.setattr(ebi_search, "SIZE", 7)
    queue.add(lambda app: app, *[faults.changed(fewer)] * retries.ATTEMPTS)
    with pytest.raises(InputError, match="an empty page of rnacentral, 47 hits before the end"):
        ids(sweep())
    assert len(set(ids(sweep()))) == 54


def test_hits_of_several_queries_are_not_missing(sweep, ebi):
    names = [entry["id"][0] for entry in ebi.rnas]
    clauses = [*any_of("id", names, 40), *any_of("id", names[:20], 20)]
    found = sweep([f"{QUERY} AND {clause}" for clause in clauses])
    ids(found)
    assert found.said > found.came == 54 and found.short == 0


@pytest.mark.parametrize("change, came", [(fewer, 7), (repeated, 54)])
def test_what_came_is_counted_against_what_was_said(sweep, queue, change, came):
    queue.add(lambda app: app, *[faults.changed(change)] * (retries.ATTEMPTS if came < 54 else 1))
    found = sweep()
    got = ids(found)
    assert (found.said, found.came, len(set(got))) == (54, came, came)
    assert found.short == 54 - came
    assert len(got) == came + 3 * (change is repeated)


def test_a_cursor_that_is_echoed_ends_the_sweep(sweep, queue):
    def echo(answer):
        return answer | {"searchPosition": 14}

    queue.add(lambda app: app, lambda app: app, faults.changed(echo))
    found = sweep()
    assert (len(ids(found)), found.came) == (21, 21)


def test_a_server_that_goes_round_in_circles_is_stopped(sweep, queue, monkeypatch):
    monkeypatch.setattr(ebi_search, "SIZE", 7)
    positions = iter(range(1, 10**6))
    circle = faults.changed(lambda answer: answer | {"searchPosition": 7 + next(positions) % 2 / 2})

    def from_the_start(app):
        def application(environ, start_response):
            environ["QUERY_STRING"] = environ["QUERY_STRING"].replace("searchposition=7.", "start=")
            return circle(app)(environ, start_response)

        return application

    queue.add(from_the_start, times=200)
    with pytest.raises(InputError, match="again and again"):
        ids(sweep())


OTHER = [
    {"hitCount": "many", "entries": []}, {"hitCount": 1}, {"error": "no"}, [],
    {"hitCount": 1, "entries": [{"fields": {}}]},
    {"hitCount": 1, "entries": [{"id": "x", "fields": {"a": "b"}}]},
]  # fmt: skip


def test_answers_of_another_form_are_asked_for_again_and_then_told(sweep, queue):
    for answer in OTHER:
        other = faults.changed(lambda data, answer=answer: answer)
        queue.clear()
        queue.add(other)
        assert len(ids(sweep())) == 54, answer
        queue.clear()
        queue.add(other, times=retries.ATTEMPTS)
        with pytest.raises(InputError, match="no known form"):
            ids(sweep([f'{QUERY} AND active:"Active" AND length:[1 TO {1000 + len(str(answer))}]']))


def test_odd_values_of_fields():
    entry = ebi_search.Entry.model_validate_json('{"id": "x", "fields": {"a": [null, 3], "b": []}}')
    assert [entry.first(name) for name in "abc"] == ["", "", ""]
    assert [entry.all(name) for name in "abc"] == [["3"], [], []]


def test_the_index_says_what_it_holds(sweep, ebi):
    site = sweep().site
    about = ebi_search.about(site, "rnacentral")
    assert (about["release"], about["number of entries"]) == ("26", "60")


def test_examples_in_docstrings():
    result = doctest.testmod(ebi_search)
    assert result.attempted and not result.failed
