"""The sources on literature: which ids count and whose they are, batches, cursors, summaries."""

import doctest
import re

import pytest

from rnagpt_lib.core.errors import InputError, NotThere
from rnagpt_lib.core.text import clean
from rnagpt_lib.curate.sources import literature
from rnagpt_lib.curate.sources.ebi_search import Entry
from rnagpt_lib.curate.sources.http import Site
from rnagpt_lib.curate.sources.literature import article_ids, blocked, in_an_image_alone
from rnagpt_lib.llm_api import retries
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.runs.resume_store import Store
from tests.standin import Faults, faults, serve
from tests.standin.ebi import Ebi, addresses, anywhere, has_html, pmcid, pmid

# LitScan.


def test_which_ids_are_refused():
    names = {
        "": "HOTAIR hsa-mir-21 URS0000001234 let-7a SNORD-M8-0 MIR155HG MIRLET7BHG mirt2",
        "3 characters": "H19 16S",
        "26 characters": "x" * 26,
        "a common word": "rRNA tRNA VAULT miRNA",
        "a microRNA's name": "MIR9-1 MIR21 mir-21",
    }
    for reason, some in names.items():
        for name in some.split():
            assert blocked(name).startswith(reason) and bool(blocked(name)) == bool(reason), name


def test_real_words_of_the_source_are_refused_with_its_file(shared):
    path = shared / "rnacentral" / "litscan_words_identified_by_corpus.txt"
    words = literature.words(str(path))
    assert words > literature.WORDS
    for word in path.read_text().split():
        assert blocked(word, words)


def entry(**fields):
    return Entry(id="x", fields={name: [value] for name, value in fields.items()})


def test_rows_that_name_an_id_in_an_image_alone():
    image = {"body_sentence": "X1 found in an image, table or supplementary material"}
    for fields in (image, image | {"abstract_value": "False", "title_value": "False"}):
        assert in_an_image_alone(entry(**fields))
    said = {"body_sentence": "We saw X1 in cells."}
    for fields in (image | {"abstract_value": "True"}, image | {"title_value": "True"}, said, {}):
        assert not in_an_image_alone(entry(**fields))


def test_only_well_formed_ids_are_ids():
    assert article_ids(entry(pmid="123", pmcid="PMC9")) == ["123", "PMC9"]
    assert article_ids(entry(pmcid="PMC9")) == ["PMC9"]
    for one, two in (("0", "PMC"), ("12 OR 1", "PMC9;x"), ("../x", "")):
        assert article_ids(entry(pmid=one, pmcid=two)) == []


def test_swept_or_asked_in_batches_the_jobs_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(literature, "IDS", 7)
    queue, ebi = Faults(), Ebi(size=30, page=50)
    numbers = {rna_id: n for n, rna_id in enumerate(ebi.ids.values())}
    with serve(ebi, faults=queue) as url, Store(tmp_path) as store:
        site = Site(addresses(url)["ebi_search"], Pace(1e9))
        swept, _ = literature.jobs(site, store, numbers, everything=True)
        few = len(queue.seen)
        asked, sweep = literature.jobs(site, store, numbers, everything=False)
    assert swept == asked and (few, len(queue.seen) - few) == (1, 5)
    assert sweep.said == len(ebi.jobs)
    bare = {rna_id.partition("_")[0].lower() for rna_id in numbers}
    assert set(swept) == bare | {job["job_id"].lower() for job in ebi.jobs}
    for job in ebi.jobs:
        assert swept[job["job_id"].lower()].rnas == [numbers[ebi.ids[job["of"]]]]


# Europe PMC.


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
        with serve(Ebi(size=60, **how), faults=queue) as url, Store(tmp_path) as store:
            site = Site(addresses(url)["europepmc"], Pace(1e9))
            return list(literature.records(site, store, ids))

    return fetched


def names(articles):
    return [pmid(a) or pmcid(a) for a in articles["article_id"]]


def test_every_article_comes_once(fetch, queue, world):
    articles = world.articles
    got = fetch(names(articles))
    assert len(got) == len(articles) and len(queue.seen) == -(-len(articles) // 100)
    text = {record.pmcid: clean(record.abstractText) for record in got}
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
    monkeypatch.setattr(literature._batch, "__defaults__", (7,))
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
            with Store(tmp_path) as store:
                ids = names(world.articles)[:150]
                fetched.append(list(literature.records(site, store, ids)))
    assert fetched[0] == fetched[1] and len(queue.seen) == 2


def test_nothing_wanted_asks_nothing(fetch, queue):
    assert fetch([]) == [] and not queue.seen


# LitSumm.


def test_a_list_of_summaries_that_became_shorter_keeps_what_came(tmp_path):
    row = {"primary_id": "URS0000000001_9606", "summary": "It binds HuR."}

    class Shrunk:
        base = "stub"

        def get(self, path, shape, *, page, **_):
            if page != "1":
                raise NotThere("Invalid page")
            return shape.model_validate({"next": "https://x/?page=2", "results": [row]})

    with Store(tmp_path) as store:
        found = list(literature.summaries(Shrunk(), store))
    assert [one.primary_id for one in found] == ["URS0000000001_9606"]


def test_examples_in_docstrings():
    result = doctest.testmod(literature)
    assert result.attempted and not result.failed
