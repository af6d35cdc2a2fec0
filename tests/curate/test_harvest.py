"""The live path whole, against the stand-in world: right, complete, resumable, frugal."""

import json
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Filter
from rnagpt_lib.curate.sources import harvest, literature
from rnagpt_lib.curate.sources.ebi_search import Entry
from rnagpt_lib.curate.sources.harvest import Articles
from rnagpt_lib.curate.sources.literature import RETRACTED, Job, Record
from rnagpt_lib.curate.sources.rnacentral import PAGE
from rnagpt_lib.curate.summaries import summarize
from rnagpt_lib.llm_api import retries
from tests.standin import Faults, faults, serve
from tests.standin.ebi import Ebi, addresses, anywhere, has_html, pmcid, pmid
from tests.support.curated import curated, tables_of

TABLES = ("rnas", "articles", "links", "dropped")


SIZE = 30
FASTA = "/ebi/ftp/current_release/sequences/rnacentral_species_specific_ids.fasta.gz"


@pytest.fixture(scope="module")
def ebi():
    return Ebi(size=SIZE, page=25)


@pytest.fixture(scope="module")
def server(ebi):
    queue = Faults()
    with serve(ebi, faults=queue) as base:
        yield base, queue


@pytest.fixture
def url(server):
    return server[0]


@pytest.fixture
def queue(server, monkeypatch):
    monkeypatch.setattr(retries, "pause", lambda seconds: None)
    server[1].clear()
    return server[1]


def harvested(url, folder, **given):
    params = {"input": "rnacentral", "requests_per_second": 1e6, **addresses(url)} | given
    return curated(Filter(**params), 0, folder)


@pytest.fixture
def load(url, queue, tmp_path):
    """``load(folder, **parameters)`` → tables."""
    return lambda folder="one", **given: harvested(url, tmp_path / folder, **given)


@pytest.fixture(scope="module")
def first(server, tmp_path_factory):
    """The folder and the tables of one harvest without faults, and what it asked for."""
    folder = tmp_path_factory.mktemp("first")
    server[1].clear()
    return folder, harvested(server[0], folder), list(server[1].seen)


@pytest.fixture
def whole(first):
    return first[1]


def article(article_id):
    return pmid(article_id) or pmcid(article_id)


def expected_links(ebi):
    """What the jobs of the world say, by a rule of its own: names, aliases, no images, no words."""
    return {
        (ebi.ids[job["of"]], article(a))
        for job in ebi.jobs
        for a in job["articles"]
        if anywhere(a) and job["job_id"] != "Vault" and not job["job_id"].startswith("img-")
    }


def same(one, other):
    for table in TABLES:
        pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table))


def test_the_tables_say_what_the_world_says(whole, ebi):
    data = whole
    assert set(data.links.itertuples(index=False, name=None)) == expected_links(ebi)
    rows = ebi.world.rnas.assign(rna_id=ebi.world.rnas["rna_id"].map(ebi.ids)).set_index("rna_id")
    assert len(data.rnas) == data.links["rna_id"].nunique() > 25
    for row in data.rnas.to_dict("records"):
        whole = rows.loc[row["rna_id"]]
        for name in ("sequence", "length", "rna_type", "species", "description"):
            assert row[name] == whole[name], name
        assert row["taxid"] == row["rna_id"].partition("_")[2]
    texts = data.articles.set_index("article_id")
    for row in ebi.world.articles.to_dict("records"):
        if article(row["article_id"]) in texts.index:
            got = texts.loc[article(row["article_id"])]
            mark = "Background: " if has_html(row["article_id"]) else ""
            assert got["abstract"] == mark + row["abstract"]
            assert (got["title"], got["year"]) == (row["title"], row["year"])


def test_nothing_vanishes_without_a_row(whole, ebi):
    data = whole
    dropped = data.dropped.groupby("reason")["record"].agg(set)
    drawn = {e["id"][0] for e in ebi.rnas if e["has_lit_scan"] == ["True"]}
    assert drawn == set(data.rnas["rna_id"]) | dropped.get(
        "no article is left after the rules", set()
    )
    assert dropped["LitScan id: a common word"] == {"Vault"}
    images = {
        record for reason in dropped.index if "in an image" in reason for record in dropped[reason]
    }
    assert images == {j["job_id"] for j in ebi.jobs if j["job_id"].startswith("img-")}
    lost = dropped["article without an abstract in LitScan and Europe PMC"]
    named = {a for job in ebi.jobs for a in job["articles"]}
    assert lost and lost == {article(a) for a in named if not anywhere(a)}


def test_articles_are_fetched_once_and_abstracts_only_where_they_are_missing(first, ebi):
    (asked,) = (r for r in first[2] if r.path.endswith("/searchPOST"))
    wanted = {article(a) for job in ebi.jobs for a in job["articles"]}
    assert asked.body.count(b"EXT_ID") < len(wanted) / 5
    swept = [r.query for r in first[2] if r.path.endswith("rnacentral-litscan")]
    begun = [query.get("query") for query in swept if query.get("searchposition") == "0"]
    assert begun and len(begun) == len(set(begun))


def test_its_folder_holds_the_tables_the_sources_and_the_pages(first):
    folder, data, _ = first
    assert {path.name for path in folder.iterdir()} == {
        *(f"{table}.parquet" for table in TABLES),
        "sources.json", "litsumm.jsonl", ".spool.sqlite",
    }  # fmt: skip
    assert set(vars(data)) == set(TABLES)


def test_a_harvest_that_stops_leaves_its_pages_alone(load, queue, tmp_path):
    queue.add(faults.status(403), where="/litsumm/")
    with pytest.raises(InputError, match="refuses"):
        load("one")
    assert {path.name for path in (tmp_path / "one").iterdir()} == {".spool.sqlite"}


def test_sequences_of_a_fasta_file_are_the_same(load, whole, url, queue, tmp_path):
    (tmp_path / "all.fasta.gz").write_bytes(urlopen(f"{url}{FASTA}").read())
    same(whole, load(fasta=str(tmp_path / "all.fasta.gz")))
    assert not queue.asked("/api/v1/rna/")


def test_a_limit_draws_by_id_and_a_larger_one_keeps_all(load, whole):
    drawn = [load(f"l{limit}", limit=limit) for limit in (4, 18)]
    for fewer, more in zip(drawn, drawn[1:], strict=False):
        assert set(fewer.rnas["rna_id"]) < set(more.rnas["rna_id"])
    for data in drawn:
        assert data.rnas.merge(whole.rnas).equals(data.rnas)
        own = whole.links[whole.links["rna_id"].isin(data.rnas["rna_id"])]
        assert set(map(tuple, own.values)) == set(map(tuple, data.links.values))
    assert 3 <= len(drawn[0].rnas) <= 4


def test_a_second_time_only_the_releases_are_asked_and_a_new_one_is_fetched_anew(
    load, queue, ebi, monkeypatch, capsys
):
    first = load()
    asked = len(queue.seen)
    queue.seen.clear()
    same(first, load())
    assert [r.query for r in queue.seen] == [{"format": "json"}] * 2
    queue.seen.clear()
    monkeypatch.setattr(ebi, "release", "27")
    same(first, load())
    said = capsys.readouterr().out
    assert len(queue.seen) == asked and "(26 → 27): everything is fetched anew" in said


def test_sources_tell_release_date_query_and_counts(first):
    rows = json.loads((first[0] / harvest.SOURCES).read_text())["sources"]
    by_name = {row["name"]: row for row in rows}
    entries = by_name["RNAcentral entries"]
    assert (entries["release"], entries["announced"], entries["records"]) == ("26", 27, 27)
    assert entries["query"].endswith("AND length:[10 TO 1024]") and len(entries["date"]) == 10
    assert by_name["Europe PMC"]["announced"] > by_name["Europe PMC"]["records"]
    assert set(by_name) == {
        "RNAcentral entries", "LitScan ids", "LitScan articles", "Europe PMC", "sequences", "LitSumm",
    }  # fmt: skip


def test_fewer_hits_than_announced_are_told(load, queue, capsys):
    queue.add(lambda app: app, lambda app: app, faults.changed(lambda a: a | {"hitCount": 99}))
    load()
    assert "RNAcentral entries: 99 hits were announced and 27 came" in capsys.readouterr().out


def test_litsumm_comes_with_the_articles_it_cites(first):
    data = first[1]
    lines = (first[0] / "litsumm.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    known = set(data.articles["article_id"])
    assert rows and not any("PMC" in row["text"] or "WARNING" in row["text"] for row in rows)
    assert {i for row in rows for i in row["article_ids"]} <= known
    assert sum(len(row["article_ids"]) for row in rows) > len(rows) / 2
    assert {row["rna_id"] for row in rows} <= set(data.rnas["rna_id"])
    annotations, _ = summarize.read_given(
        first[0] / "litsumm.jsonl", data.rnas
    )  # notebook 02's GIVEN
    assert [row["article_ids"] for row in annotations] == [row["article_ids"] for row in rows]


PASSING = [
    faults.status(429, retry_after="1"), faults.status(429), faults.status(500), faults.status(503),
    faults.reset, faults.after_the_work, faults.reset_inside, faults.half_a_body, faults.html,
    faults.bad_json,
]  # fmt: skip


def test_faults_that_pass_change_nothing(load, whole, queue):
    rng = random.Random(0)
    for _ in range(60):
        queue.add(rng.choice(PASSING) if rng.random() < 0.3 else lambda app: app)
    same(whole, load())
    assert queue.left < 40


HARVEST = """
import json, sys
from pathlib import Path
from rnagpt_lib.curate import filter
from rnagpt_lib.core.params import Filter
folder = Path(sys.argv[1])
filter.write_tables(Filter(**json.loads(sys.argv[2])), 0, folder)
"""


@pytest.mark.slow
def test_killed_at_any_request_it_goes_on_there(load, url, queue, tmp_path):
    """SIGKILL with a request in flight: in the end every page was asked for once, but that one.
    (A page of sequences is of many requests: while one waits, the others may all have come.)
    """
    first = load("one")
    whole, page = len(queue.seen), len(queue.asked("/api/v1/rna/"))
    assert 0 < page <= PAGE
    queue.clear()
    (tmp_path / "other").mkdir()
    params = {"input": "rnacentral", "requests_per_second": 1e6, **addresses(url)}
    command = [sys.executable, "-c", HARVEST, str(tmp_path / "other"), json.dumps(params)]
    kills = {"litscan": 2, "/searchPOST": 0, "/api/v1/rna/": 3}
    for where, before in kills.items():
        until, arrived = threading.Event(), threading.Event()
        queue.add(*[lambda app: app] * before, faults.held(until, arrived), where=where)
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        assert arrived.wait(100)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        until.set()
    subprocess.run(command, check=True, capture_output=True)
    same(tables_of(tmp_path / "other"), first)
    again = len(queue.seen) - whole - 2 * len(kills)
    assert len(kills) <= again <= 2 + page


def test_the_key_leaves_out_where_and_how_fast():
    here = Filter(input="rnacentral")
    there = Filter(input="rnacentral", **addresses("http://127.0.0.1:1"), requests_per_second=1)
    assert here.key() == there.key() != Filter(input="rnacentral", limit=5).key()


@pytest.mark.parametrize(
    "given, words",
    [
        ({"query": 'active:"Obsolete"'}, "has no RNA for the query active"),
        ({"blocked": "no/such/file"}, "BLOCKED. is missing"),
        ({"fasta": "no/such/file"}, "there is no such file"),
        ({"europepmc": "http://127.0.0.1:9"}, "127.0.0.1:9: the connection"),
        ({"articles": "mine"}, "ARTICLES is mine but INPUT is 'rnacentral'"),
    ],
)
def test_bad_input_is_named(load, given, words):
    with pytest.raises(InputError, match=words):
        load("one", **given)


def test_a_users_words_are_blocked_too(load, ebi, tmp_path):
    name = ebi.names["MINI-R000001"]
    (tmp_path / "words.txt").write_text(f"\n{name.upper()} \n")
    data = load("one", blocked=str(tmp_path / "words.txt"))
    assert name.lower() in literature.words(str(tmp_path / "words.txt"))
    assert name in set(data.dropped["record"])


# The articles that it gathers.


def row(pmcid="PMC1", pmid="", abstract="Text."):
    fields = {"pmcid": pmcid, "pmid": pmid, "abstract": abstract, "title": "T", "year": "2020"}
    return Entry(id="x", fields={name: [value] for name, value in fields.items()})


def test_an_article_of_many_ids_is_one():
    found = Articles()
    assert found.add(row(abstract=""), Job("a1", [0, 2])) is None
    assert found.without_text() == ["PMC1"] and not len(found.links())
    assert found.add(row(pmid="7"), Job("b1", [2, 5])) == ("PMC1", "T", "Text.", 2020)
    assert found.add(row(pmid="7", pmcid=""), Job("c1", [0])) is None
    assert found.without_text() == [] and found.links().tolist() == [[0, 0], [2, 0], [5, 0]]
    assert found.ids == ["PMC1"] and found.ids_of(["7", "PMC1", "PMC2"]) == ["PMC1", "PMC1"]


def test_missing_texts_come_from_the_records_and_nothing_is_overwritten():
    records = [
        Record(pmid="1", abstractText="One."), Record(pmid="2", abstractText="Other."),
        Record(pmcid="PMC3", abstractText="Three.", pubYear="soon"), Record(pmid="99"),
        Record(pmid="4", abstractText=""),
    ]  # fmt: skip
    found = Articles()
    for number, abstract in enumerate(["", "Whole.", "R <script>x", ""], start=1):
        found.add(row(f"PMC{number}", f"{number}", abstract), Job("a1", [0]))
    assert found.without_text() == ["1", "3", "4"] and "markup" in found.faults["3"]
    texts = [found.fill(record) for record in records]
    assert texts == [("1", "", "One.", 0), None, ("3", "", "Three.", 0), None, None]
    assert found.without_text() == ["4"]


def test_a_retracted_article_is_left_out_whoever_says_so():
    found, of = Articles(), Job("a1", [0])
    titled = row("PMC1", "1").model_copy(deep=True)
    titled.fields["title"] = ["<b>RETRACTED ARTICLE</b>: T"]
    for entry in (titled, row("PMC2", "2", ""), row("PMC3", "3", ""), row("PMC4", "4", "")):
        found.add(entry, of)
    types = {"pubType": ["Journal Article", "Retracted Publication"]}
    told = [
        Record(pmid="1", title="T", abstractText="The same without its mark."),
        Record(pmid="2", title="T", abstractText="One.", pubTypeList=types),
        Record(pmid="3", title="[Retracted] T", abstractText="One."),
        Record(pmid="4", title="T", abstractText="One.", pubTypeList={"pubType": ["Review"]}),
    ]
    assert [bool(found.fill(record)) for record in told] == [False, False, False, True]
    assert found.without_text() == ["1", "2", "3"]
    assert set(found.faults.values()) == {RETRACTED} and len(found.links()) == 1


def test_an_empty_literature_has_no_links():
    found = Articles()
    assert found.add(row("", ""), Job("a1", [0])) is None and found.nameless == 1
    assert found.links().shape == (0, 2) and found.links().dtype == np.int32


def test_a_million_articles_fit(tmp_path, monkeypatch):
    """Half a kilobyte an article is held, whatever its text: 1,044,729 need about 0.6 GB."""
    monkeypatch.setattr(harvest, "BATCH", 100)
    count, texts, found = 1_500, "word " * 300, Articles()
    rows = (
        found.add(row(f"PMC{n}", f"{n + 10**7}", texts), Job("a1", [n, n + 1]))
        for n in range(1, count + 1)
    )
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    path = tmp_path / "articles.parquet"
    assert tables.write_batches(path, "articles", harvest._batches("articles", rows)) == count
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 600 * count and pa.total_allocated_bytes() - before < 200 * count
    assert set(tables.read(path, "articles")["abstract"]) == {texts.strip()}
    assert len(found.links()) == 2 * count
