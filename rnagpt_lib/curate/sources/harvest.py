"""The tables of stage 00 from the live sources: RNAcentral, LitScan, Europe PMC, LitSumm.

Every page that comes is kept in the stage's folder: a harvest that is stopped goes on where it
was. What each source said of itself, and how much came, goes into ``sources.json``.
"""

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from rnagpt_lib.core import fasta, tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import replacing, write_json
from rnagpt_lib.core.params import Filter
from rnagpt_lib.core.paths import from_root
from rnagpt_lib.core.sequences import normalise
from rnagpt_lib.core.tables import COLUMNS, frame, schema
from rnagpt_lib.curate.sources import ebi_search, literature, rnacentral
from rnagpt_lib.curate.sources.ebi_search import Sweep
from rnagpt_lib.curate.sources.http import Site
from rnagpt_lib.curate.sources.literature import LITSCAN, Job, Record
from rnagpt_lib.curate.sources.rnacentral import DOMAIN, Entry
from rnagpt_lib.curate.sources.user_files import drop
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.runs.provenance import ENTRIES
from rnagpt_lib.runs.resume_store import Store

SOURCES = "sources.json"
PUBLISHERS = "abstracts: their publishers'"
BATCH = 4096  # rows written at once
Text = tuple[str, str, str, int]  # a row of the table articles


def write(params: Filter, folder: Path, raw: Path) -> None:
    """Harvest the tables rnas, links, articles and dropped into ``raw``.

    ``folder``, the stage's, keeps the pages and gets `SOURCES` and LitSumm's texts. Raises
    InputError when a source stays away or refuses; run again, it goes on from there.
    """
    with Store(folder) as store:
        _Harvest(params, folder, store).write(raw)


class _Harvest:
    def __init__(self, params: Filter, folder: Path, store: Store):
        self.params, self.folder, self.store = params, folder, store
        paces: dict[str, Pace] = defaultdict(lambda: Pace(params.requests_per_second))
        addresses = (params.ebi_search, params.europepmc, params.rnacentral_api)
        self.search, self.europepmc, self.api = (
            Site(address, paces[urlsplit(address).netloc]) for address in addresses
        )
        self.releases = {name: ebi_search.about(self.search, name) for name in (DOMAIN, LITSCAN)}
        self.articles = Articles()
        self.sources: list[dict] = []
        self.dropped: list[dict] = []

    def write(self, raw: Path) -> None:
        self._begin_anew_after_a_release()
        found = self._entries()
        texts = self._texts(self._jobs(found))
        tables.write_batches(raw / "articles.parquet", "articles", _batches("articles", texts))
        links = self.articles.links()
        rows = self._rows(found, set(np.unique(links[:, 0])))
        self._summaries({row["rna_id"] for row in rows.values()})
        write_json(self.folder / SOURCES, {"sources": self.sources})
        numbers = links[np.isin(links[:, 0], list(rows))]
        named = ((found[rna].rna_id, self.articles.ids[article]) for rna, article in numbers)
        tables.write_batches(raw / "links.parquet", "links", _batches("links", named))
        tables.write(raw / "dropped.parquet", "dropped", frame("dropped", self.dropped))
        tables.write(raw / "rnas.parquet", "rnas", frame("rnas", rows.values()))

    def _begin_anew_after_a_release(self) -> None:
        """Pages of two releases do not mix."""
        first = self.store.once("releases", lambda: self.releases)
        for domain, about in self.releases.items():
            old, new = (said.get("release", "") for said in (first[domain], about))
            if old != new:
                print(f"{domain} has a new release ({old} → {new}): everything is fetched anew")
                self.store.forget()
        self.store.once("releases", lambda: self.releases)

    # RNAs.

    def _entries(self) -> list[Entry]:
        params = self.params
        query = f"{params.query} AND length:[{params.min_length} TO {params.max_length}]"
        sweep = Sweep(self.search, self.store, DOMAIN, [query], rnacentral.FIELDS)
        found = rnacentral.entries(sweep, params.limit)
        self._count(ENTRIES, sweep, query)
        if not found:
            raise InputError(f"{self.search.host} has no RNA for the query {query}; change QUERY")
        return found

    def _rows(self, found: list[Entry], linked: set[int]) -> dict[int, dict]:
        """Number → row of ``rnas``, of those with literature and a sequence; others are dropped."""
        for number in sorted(set(range(len(found))) - linked):
            self._drop(found[number].rna_id, "no article is left after the rules")
        ids = {found[number].rna_id for number in linked}
        refused: dict[str, str] = {}  # records of a FASTA file, and why
        if self.params.fasta:
            records = fasta.stream_fasta(from_root(self.params.fasta), refused)
            came = {r.id: r.sequence for r in records if r.id in ids}
        else:
            came = dict(rnacentral.sequences(self.api, self.store, sorted(ids)))
        rows = {}
        for number, entry in ((number, found[number]) for number in sorted(linked)):
            sequence, nt = came.get(entry.rna_id, ""), entry.length
            try:
                if not sequence:
                    raise InputError("the source of sequences does not have it")
                if nt and len(sequence) != nt:
                    said = f"its sequence has {len(sequence):,} nt where the index says {nt:,}"
                    raise InputError(said)
                sequence = normalise(sequence)
            except InputError as error:
                self._drop(entry.rna_id, refused.get(entry.rna_id, str(error)))
                continue
            rows[number] = dict.fromkeys(COLUMNS["rnas"], "") | entry._asdict()
            rows[number] |= {"sequence": sequence, "length": len(sequence)}
            rows[number] |= {"taxid": entry.rna_id.partition("_")[2]}
        asked, records = f"{len(linked):,} RNAs", sum(map(bool, came.values()))
        where = self.params.fasta or self.api.base
        self._note("sequences", self.api, asked, len(linked), url=where, records=records)
        return rows

    # Literature.

    def _jobs(self, found: list[Entry]) -> dict[str, Job]:
        numbers = {entry.rna_id: number for number, entry in enumerate(found)}
        jobs, sweep = literature.jobs(self.search, self.store, numbers, not self.params.limit)
        self._count("LitScan ids", sweep, sweep.queries[0])
        refused = literature.words(self.params.blocked)
        for key in sorted(jobs):
            if reason := literature.blocked(key, refused):
                self._drop(jobs.pop(key).id, f"LitScan id: {reason}")
        return jobs

    def _texts(self, jobs: dict[str, Job]) -> Iterator[Text]:
        """The articles as their texts come, from LitScan and then from Europe PMC."""
        ids = [jobs[key].id for key in sorted(jobs)]
        some = ebi_search.any_of("job_id", ids, literature.IDS)
        queries = [f"entry_type:Publication AND {clause}" for clause in some]
        sweep = Sweep(self.search, self.store, LITSCAN, queries, literature.FIELDS)
        articles = self.articles
        for entry in (entry for page in sweep for entry in page):
            job = jobs.get(entry.first("job_id").lower())
            if text := job and articles.add(entry, job):
                yield text
        self._count("LitScan articles", sweep, f"{len(queries):,} queries for {len(ids):,} ids")
        for job_id, count in sorted(articles.images.items()):
            reason = f"{count} articles show it in an image, a table or a supplement alone"
            self._drop(job_id, f"LitScan id: {reason}")
        if articles.nameless:
            self._drop(LITSCAN, f"LitScan: {articles.nameless} rows without an id")
        wanted = articles.without_text()
        for record in literature.records(self.europepmc, self.store, wanted):
            if text := articles.fill(record):
                yield text
        lost = articles.without_text()
        for article_id in lost:
            reason = articles.faults.get(article_id, literature.NO_TEXT)
            at = " in LitScan and Europe PMC" if reason == literature.NO_TEXT else ""
            self._drop(article_id, reason + at)
        announced, came = len(wanted), len(wanted) - len(lost)
        self._note("Europe PMC", self.europepmc, f"{announced:,} ids", announced, records=came)

    def _summaries(self, kept: set[str]) -> None:
        """LitSumm's sentences on the RNAs that are kept, for notebook 02 to read (GIVEN)."""
        summaries = list(literature.summaries(self.api, self.store))
        with (
            replacing(self.folder / "litsumm.jsonl") as draft,
            draft.open("w", -1, "utf-8") as file,
        ):
            for summary in (summary for summary in summaries if summary.primary_id in kept):
                for line in literature.sentences_of(summary, self.articles.ids_of):
                    file.write(json.dumps(line) + "\n")
        self._note("LitSumm", self.api, "/litsumm/", len(summaries))

    # What the sources said.

    def _drop(self, record: str, reason: str) -> None:
        self.dropped.append(drop(record, reason))

    def _count(self, source: str, sweep: Sweep, query: str) -> None:
        announced, about = sweep.came + max(sweep.short, 0), self.releases[sweep.domain]
        more = {"records": sweep.came, "release": about.get("release", ""), "index": about}
        self._note(source, self.search, query, announced, **more)
        if sweep.short > 0:
            print(
                f"{source}: {announced:,} hits were announced and {sweep.came:,} came; "
                "sources.json says so too. Run 00 with ON_FINISHED archive on another day to ask again"
            )

    def _note(self, source: str, site: Site, query: str, said: int, **more: object) -> None:
        """A row of ``sources.json``."""
        day = self.store.once("day", lambda: datetime.now(UTC).date().isoformat())
        row = {"name": source, "url": site.base, "date": day, "query": query}
        licence = PUBLISHERS if source in ("LitScan articles", "Europe PMC") else "CC0"
        row |= {"release": "", "announced": said, "records": said, "licence": licence}
        self.sources.append(row | more)


def _batches(table: str, rows: Iterable[tuple]) -> Iterator[pa.RecordBatch]:
    """Rows, values in the order of the columns, as batches."""
    rows = iter(rows)
    while part := list(islice(rows, BATCH)):
        yield pa.record_batch(list(map(list, zip(*part, strict=True))), schema(table))


class Articles:
    """Articles and links, gathered row by row: RNAs are numbers, articles are known by PMID where
    there is one. Texts are given on as they come; ids and numbers are held, half a kilobyte each.
    """

    def __init__(self):
        self.ids: list[str] = []
        self._number: dict[str, int] = {}  # of PMIDs and PMCIDs
        self._has_text = bytearray()  # 1: the article's text has been given on
        self._rnas, self._articles = array("i"), array("i")
        self.images: Counter[str] = Counter()  # id → articles that show it in an image alone
        self.nameless = 0  # rows without a PMID or PMCID
        self.faults: dict[str, str] = {}  # articles that came with a text, and why it is left out

    def add(self, entry: ebi_search.Entry, job: Job) -> Text | None:
        """Take a row of LitScan, an id in an article; returns the article's text the first time."""
        ids = literature.article_ids(entry)
        if not ids:
            self.nameless += 1
            return None
        if literature.in_an_image_alone(entry):
            self.images[job.id] += 1
            return None
        number = next((self._number[i] for i in ids if i in self._number), len(self.ids))
        if number == len(self.ids):
            self.ids.append(ids[0])
            self._has_text.append(0)
        for article_id in ids:
            self._number.setdefault(article_id, number)
        self._rnas.extend(job.rnas)
        self._articles.extend([number] * len(job.rnas))
        return self._text(number, *map(entry.first, ("title", "abstract", "year")))

    def fill(self, record: Record) -> Text | None:
        """Take a record of Europe PMC; returns the text where it was missing."""
        number = self._number.get(record.pmid or "", self._number.get(record.pmcid or ""))
        text = record.title, record.abstractText, record.pubYear, record.pubTypeList
        return None if number is None else self._text(number, *text)

    def _text(
        self, number: int, title: str, abstract: str, year: str, types: object = ""
    ) -> Text | None:
        article_id, year = self.ids[number], int(year[:4]) if year[:4].isdecimal() else 0
        if self._has_text[number] or self.faults.get(article_id) == literature.RETRACTED:
            return None
        *row, fault = literature.Article.read(article_id, title, abstract, year, types)
        if fault:
            self.faults |= {article_id: fault} if fault != literature.NO_TEXT else {}
            return None
        self._has_text[number] = 1
        return tuple(row)

    def without_text(self) -> list[str]:
        """Ids of the articles whose abstract is missing, or is not plain text."""
        return [self.ids[number] for number, there in enumerate(self._has_text) if not there]

    def ids_of(self, names: Iterable[str]) -> list[str]:
        """The article ids of PMIDs and PMCIDs, without those that no article here has."""
        numbers = [self._number[name] for name in names if name in self._number]
        return [self.ids[number] for number in numbers if self._has_text[number]]

    def links(self) -> np.ndarray:
        """Pairs (number of the RNA, number of the article) with a text, sorted, (n, 2) int32."""
        rnas, articles = (np.frombuffer(a, np.int32) for a in (self._rnas, self._articles))
        kept = np.frombuffer(self._has_text, np.uint8)[articles] == 1
        pairs = np.unique((rnas[kept].astype(np.int64) << 32) | articles[kept])
        return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1).astype(np.int32)
