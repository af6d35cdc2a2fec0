"""LitScan: which ids count, whose they are, which rows are literature."""

import doctest
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from rnagpt_lib.core import tables
from rnagpt_lib.curate.sources import literature, litscan
from rnagpt_lib.curate.sources.ebi_search import Entry
from rnagpt_lib.curate.sources.europepmc import Record
from rnagpt_lib.curate.sources.http import Site
from rnagpt_lib.curate.sources.literature import Literature
from rnagpt_lib.curate.sources.litscan import Job, article_ids, blocked, in_an_image_alone
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.runs.resume_store import Store
from tests.standin import Faults, serve
from tests.standin.ebi import Ebi, addresses


@pytest.mark.parametrize(
    "name, word",
    [
        ("HOTAIR", ""), ("hsa-mir-21", ""), ("URS0000001234", ""), ("let-7a", ""), ("SNORD-M8-0", ""),
        ("H19", "3 characters"), ("x" * 26, "26 characters"), ("16S", "3 characters"),
        ("rRNA", "common word"), ("tRNA", "common word"), ("VAULT", "common word"),
        ("MIR155HG", ""), ("MIRLET7BHG", ""), ("mirt2", ""), ("MIR9-1", "microRNA's name"),
        ("MIR21", "microRNA's name"), ("mir-21", "microRNA's name"), ("miRNA", "common word"),
    ],
)  # fmt: skip
def test_which_ids_are_refused(name, word):
    assert (word in blocked(name)) if word else blocked(name) == ""


def test_real_words_of_the_source_are_refused_with_its_file(shared):
    path = shared / "rnacentral" / "litscan_words_identified_by_corpus.txt"
    words = litscan.words(str(path))
    assert words > litscan.WORDS
    for word in path.read_text().split():
        assert blocked(word, words)


def entry(**fields):
    return Entry(id="x", fields={name: [value] for name, value in fields.items()})


IMAGE = "X1 found in an image, table or supplementary material"


@pytest.mark.parametrize(
    "fields, alone",
    [
        ({"body_sentence": IMAGE, "abstract_value": "False", "title_value": "False"}, True),
        ({"body_sentence": IMAGE}, True),
        ({"body_sentence": IMAGE, "abstract_value": "True"}, False),
        ({"body_sentence": IMAGE, "title_value": "True"}, False),
        ({"body_sentence": "We saw X1 in cells."}, False),
        ({}, False),
    ],
)
def test_rows_that_name_an_id_in_an_image_alone(fields, alone):
    assert in_an_image_alone(entry(**fields)) is alone


@pytest.mark.parametrize(
    "fields, ids",
    [
        ({"pmid": "123", "pmcid": "PMC9"}, ["123", "PMC9"]),
        ({"pmcid": "PMC9"}, ["PMC9"]),
        ({"pmid": "0", "pmcid": "PMC"}, []),
        ({"pmid": "12 OR 1", "pmcid": "PMC9;x"}, []),
        ({"pmid": "../x"}, []),
    ],
)
def test_only_well_formed_ids_are_ids(fields, ids):
    assert list(article_ids(entry(**fields))) == ids


def test_swept_or_asked_in_batches_the_jobs_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(litscan, "BATCH", 7)
    queue, ebi = Faults(), Ebi(size=30, page=50)
    numbers = {rna_id: n for n, rna_id in enumerate(ebi.ids.values())}
    with serve(ebi, faults=queue) as url, Store(tmp_path) as spool:
        site = Site(addresses(url)["ebi_search"], Pace(1e9))
        swept, _ = litscan.jobs(site, spool, numbers, everything=True)
        few = len(queue.seen)
        asked, sweep = litscan.jobs(site, spool, numbers, everything=False)
    assert swept == asked and (few, len(queue.seen) - few) == (1, 5)
    assert sweep.said == len(ebi.jobs)
    bare = {rna_id.partition("_")[0].lower() for rna_id in numbers}
    assert set(swept) == bare | {job["job_id"].lower() for job in ebi.jobs}
    for job in ebi.jobs:
        assert swept[job["job_id"].lower()].rnas == [numbers[ebi.ids[job["of"]]]]


def row(pmcid="PMC1", pmid="", abstract="Text.", **more):
    fields = {"pmcid": pmcid, "pmid": pmid, "abstract": abstract, "title": "T", "year": "2020"}
    return entry(**fields | more)


def articles(folder):
    return tables.read(folder / "articles.parquet", "articles")


def linked(found, rna_ids):
    batches = found.link_batches(found.links(), rna_ids)
    return [list(link.values()) for batch in batches for link in batch.to_pylist()]


def test_an_article_of_many_ids_is_one(tmp_path):
    with Literature(tmp_path) as found:
        found.add(row(abstract=""), Job("a1", [0, 2]))
        assert found.untold() == ["PMC1"] and not len(found.links())
        found.add(row(pmid="7"), Job("b1", [2, 5]))
        found.add(row(pmid="7", pmcid=""), Job("c1", [0]))
    assert found.untold() == [] and found.links().tolist() == [[0, 0], [2, 0], [5, 0]]
    assert articles(tmp_path).values.tolist() == [["PMC1", "T", "Text.", 2020]]
    assert linked(found, [f"R{n}" for n in range(6)]) == [
        ["R0", "PMC1"],
        ["R2", "PMC1"],
        ["R5", "PMC1"],
    ]
    assert found.ids_of(["7", "PMC1", "PMC2"]) == ["PMC1", "PMC1"]


def test_missing_texts_come_from_the_records_and_nothing_is_overwritten(tmp_path):
    records = [
        Record(pmid="1", abstractText="One."), Record(pmid="2", abstractText="Other."),
        Record(pmcid="PMC3", abstractText="Three.", pubYear="soon"), Record(pmid="99"),
        Record(pmid="4", abstractText=""),
    ]  # fmt: skip
    with Literature(tmp_path) as found:
        for number, abstract in enumerate(["", "Whole.", "R <script>x", ""], start=1):
            found.add(row(f"PMC{number}", f"{number}", abstract), Job("a1", [0]))
        assert found.untold() == ["1", "3", "4"]
        found.fill(records)
        assert found.untold() == ["4"]
    table = articles(tmp_path).set_index("article_id")
    assert table["abstract"].to_dict() == {"2": "Whole.", "1": "One.", "3": "Three."}
    assert table["year"].to_dict() == {"2": 2020, "1": 0, "3": 0}


def test_an_empty_literature_has_empty_tables(tmp_path):
    with Literature(tmp_path) as found:
        found.add(row("", ""), Job("a1", [0]))
    assert found.nameless == 1 and found.links().shape == (0, 2)
    assert articles(tmp_path).empty and linked(found, ["R0"]) == []
    assert found.links().dtype == np.int32


def test_a_million_articles_fit(tmp_path, monkeypatch):
    """Half a kilobyte an article is held, whatever its text: 1,044,729 need about 0.6 GB."""
    monkeypatch.setattr(literature, "_BATCH", 100)
    count, texts, before = 4_000, "word " * 300, pa.total_allocated_bytes()
    with Literature(tmp_path) as found:
        tracemalloc.start()
        for n in range(1, count + 1):
            found.add(row(f"PMC{n}", f"{n + 10**7}", texts), Job("a1", [n, n + 1]))
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 600 * count + 100 * 3000  # and a batch of texts on its way to the file
        assert pa.total_allocated_bytes() - before < 200 * count
    table = articles(tmp_path)
    assert len(table) == count and set(table["abstract"]) == {texts.strip()}
    assert len(found.links()) == 2 * count
    monkeypatch.setattr(literature, "_BATCH", 7)
    ids = [f"R{n}" for n in range(count + 2)]
    expected = [[ids[r], f"{a + 1 + 10**7}"] for r, a in found.links().tolist()]
    assert linked(found, ids) == expected


def test_examples_in_docstrings():
    result = doctest.testmod(litscan)
    assert result.attempted and not result.failed
