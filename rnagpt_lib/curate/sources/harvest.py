"""The tables of stage 00 from the live sources: RNAcentral, LitScan, Europe PMC, LitSumm.

Every page that comes is kept in the stage's folder: a harvest that is stopped goes on where it
was. What each source said of itself, and how much came, goes into ``sources.json``.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rnagpt_lib.core import fasta, tables
from rnagpt_lib.core.errors import InputError, NotThere
from rnagpt_lib.core.files import write_json
from rnagpt_lib.core.params import Filter
from rnagpt_lib.core.paths import from_root
from rnagpt_lib.core.sequences import normalise
from rnagpt_lib.core.tables import COLUMNS, frame, schema
from rnagpt_lib.curate.sources import ebi_search, literature, rnacentral
from rnagpt_lib.curate.sources.ebi_search import Sweep
from rnagpt_lib.curate.sources.http import Site, is_plain, plain
from rnagpt_lib.curate.sources.literature import LITSCAN, Job, Record
from rnagpt_lib.curate.sources.rnacentral import Entry
from rnagpt_lib.curate.sources.user_files import drop
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.runs.provenance import ENTRIES
from rnagpt_lib.runs.resume_store import Store

SOURCES = "sources.json"
PUBLISHERS = "abstracts: their publishers'"
FETCHED = ".fetched-"  # hidden: copies of remote files are no outputs
BATCH = 4096  # rows written at once


def write(params: Filter, folder: Path, raw: Path) -> None:
    """Harvest the tables rnas, links, articles and dropped into ``raw``.

    ``folder``, the stage's, keeps the pages and gets `SOURCES` and LitSumm's texts. Raises
    InputError when a source stays away or refuses; run again, it goes on from there.
    """
    with Store(folder) as store, Articles(raw) as articles:
        _Harvest(params, folder, store, articles).write(raw)


class _Harvest:
    def __init__(self, params: Filter, folder: Path, store: Store, articles: "Articles"):
        self.params, self.folder, self.store, self.articles = params, folder, store, articles
        paces: dict[str, Pace] = defaultdict(lambda: Pace(params.requests_per_second))
        addresses = (params.ebi_search, params.europepmc, params.rnacentral_api)
        self.search, self.europepmc, self.api = (
            Site(address, paces[urlsplit(address).netloc]) for address in addresses
        )
        self.sources: list[dict] = []
        self.dropped: list[dict] = []

    def write(self, raw: Path) -> None:
        self._begin_anew_after_a_release()
        found = self._entries()
        links = self._links(found)
        kept = self._with_sequences(found, set(np.unique(links[:, 0])))
        links = links[np.isin(links[:, 0], list(kept))]
        self._summaries({found[number].rna_id for number in kept})
        write_json(self.folder / SOURCES, {"sources": self.sources})
        batches = self.articles.link_batches(links, [entry.rna_id for entry in found])
        tables.write_batches(raw / "links.parquet", "links", batches)
        tables.write(raw / "dropped.parquet", "dropped", frame("dropped", self.dropped))
        rnas = [_row(found[number], kept[number]) for number in sorted(kept)]
        tables.write(raw / "rnas.parquet", "rnas", frame("rnas", rnas))

    # RNAs.

    @cached_property
    def releases(self) -> dict[str, dict]:
        """What the two indexes say of themselves now; empty where they say nothing."""
        found = {}
        for domain in (rnacentral.DOMAIN, LITSCAN):
            try:
                found[domain] = ebi_search.about(self.search, domain)
            except NotThere:
                found[domain] = {}
        return found

    def _begin_anew_after_a_release(self) -> None:
        """Pages of two releases do not mix."""
        first = self.store.once("releases", lambda: self.releases)
        for domain, about in self.releases.items():
            old, new = (said.get("release", "") for said in (first[domain], about))
            if old != new:
                print(f"{domain} has a new release ({old} → {new}): everything is fetched anew")
                self.store.forget()
                for file in self.folder.glob(f"{FETCHED}*"):
                    file.unlink()
        self.store.once("releases", lambda: self.releases)

    def _entries(self) -> list[Entry]:
        params = self.params
        query = f"{params.query} AND length:[{params.min_length} TO {params.max_length}]"
        sweep = Sweep(self.search, self.store, rnacentral.DOMAIN, [query], rnacentral.FIELDS)
        found = rnacentral.entries(sweep, params.limit)
        self._count(ENTRIES, sweep, query)
        if not found:
            raise InputError(f"{self.search.host} has no RNA for the query {query}; change QUERY")
        if params.id_mapping:
            return rnacentral.with_genes(found, self._file(params.id_mapping))
        return found

    def _with_sequences(self, found: list[Entry], numbers: set[int]) -> dict[int, str]:
        """Number → sequence of the RNAs with literature; the others are dropped."""
        for number in sorted(set(range(len(found))) - numbers):
            self._drop(found[number].rna_id, "no article is left after the rules")
        ids = {found[number].rna_id for number in numbers}
        refused: dict[str, str] = {}  # records of a FASTA file, and why
        if self.params.fasta:
            records = fasta.stream_fasta(self._file(self.params.fasta), refused)
            came = {r.id: r.sequence for r in records if r.id in ids}
        else:
            came = dict(rnacentral.sequences(self.api, self.store, sorted(ids)))
        kept = {}
        for number in sorted(numbers):
            entry = found[number]
            sequence, reason = _checked(came.get(entry.rna_id, ""), entry.length)
            if reason:
                self._drop(entry.rna_id, refused.get(entry.rna_id, reason))
            else:
                kept[number] = sequence
        where = self.params.fasta or self.api.base
        asked, records = f"{len(numbers):,} RNAs", sum(map(bool, came.values()))
        self._note("sequences", self.api, asked, len(numbers), url=where, records=records)
        return kept

    def _file(self, where: str) -> Path:
        """A local file, or the copy of a remote one in the stage's folder."""
        if "://" not in where:
            return from_root(where)
        base, _, name = where.rpartition("/")
        to = self.folder / f"{FETCHED}{name}"
        if not to.is_file():
            Site(base, Pace(self.params.requests_per_second)).download(f"/{name}", to)
        return to

    # Literature.

    def _links(self, found: list[Entry]) -> np.ndarray:
        """Pairs of numbers (RNA, article), (n, 2)."""
        numbers = {entry.rna_id: number for number, entry in enumerate(found)}
        jobs, sweep = literature.jobs(self.search, self.store, numbers, not self.params.limit)
        self._count("LitScan ids", sweep, sweep.queries[0])
        refused = literature.words(self.params.blocked)
        for key in sorted(jobs):
            if reason := literature.blocked(key, refused):
                self._drop(jobs.pop(key).id, f"LitScan id: {reason}")
        self._publications(jobs)
        self._missing_abstracts()
        return self.articles.links()

    def _publications(self, jobs: dict[str, Job]) -> None:
        ids = [jobs[key].id for key in sorted(jobs)]
        some = ebi_search.any_of("job_id", ids, literature.IDS)
        queries = [f"entry_type:Publication AND {clause}" for clause in some]
        sweep = Sweep(self.search, self.store, LITSCAN, queries, literature.FIELDS)
        for entry in (entry for page in sweep for entry in page):
            if job := jobs.get(entry.first("job_id").lower()):
                self.articles.add(entry, job)
        self._count("LitScan articles", sweep, f"{len(queries):,} queries for {len(ids):,} ids")
        for job_id, count in sorted(self.articles.images.items()):
            reason = f"{count} articles show it in an image, a table or a supplement alone"
            self._drop(job_id, f"LitScan id: {reason}")
        if nameless := self.articles.nameless:
            self._drop(LITSCAN, f"LitScan: {nameless} rows without an id")

    def _missing_abstracts(self) -> None:
        wanted = self.articles.without_text()
        self.articles.fill(literature.records(self.europepmc, self.store, wanted))
        lost = self.articles.without_text()
        for article_id in lost:
            reason = "without an abstract in LitScan and Europe PMC"
            if article_id in self.articles.marked_up:
                reason = "whose abstract holds markup that is no text"
            self._drop(article_id, f"article {reason}")
        announced, came = len(wanted), len(wanted) - len(lost)
        self._note("Europe PMC", self.europepmc, f"{announced:,} ids", announced, records=came)

    def _summaries(self, kept: set[str]) -> None:
        """LitSumm's texts on the RNAs that are kept, for notebook 02 to read."""
        try:
            summaries = list(literature.summaries(self.api, self.store))
        except NotThere:
            summaries = []  # a mirror without them; sources.json counts none
        own = [summary for summary in summaries if summary.primary_id in kept]
        to = self.folder / literature.SUMMARIES
        literature.write_summaries(to, own, self.articles.ids_of)
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


def _checked(sequence: str, length: int) -> tuple[str, str]:
    """(the sequence as RNA, why it cannot be used or "")."""
    if not sequence:
        return "", "the source of sequences does not have it"
    if length and len(sequence) != length:
        return "", f"its sequence has {len(sequence):,} nt where the index says {length:,}"
    try:
        return normalise(sequence), ""
    except InputError as error:
        return "", str(error)


def _row(entry: Entry, sequence: str) -> dict[str, object]:
    row = dict.fromkeys(COLUMNS["rnas"], "") | entry._asdict()
    taxid = entry.rna_id.partition("_")[2]
    return row | {"sequence": sequence, "length": len(sequence), "taxid": taxid}


class Articles:
    """Articles and links, gathered row by row: RNAs are numbers, articles are known by PMID where
    there is one. Texts go into the table ``articles`` of ``folder`` as they come; only ids and
    numbers are held, half a kilobyte an article.

    The table is there once the block is left: ``with Articles(folder) as articles``.
    """

    def __init__(self, folder: Path):
        self._texts = pq.ParquetWriter(folder / "articles.parquet", schema("articles"))
        self._number: dict[str, int] = {}  # of PMIDs and PMCIDs
        self._ids: list[str] = []
        self._has_text = bytearray()  # 1: the article's text is there
        self._rows: list[tuple[str, str, str, int]] = []
        self._rnas, self._articles = array("i"), array("i")
        self.images: Counter[str] = Counter()  # id → articles that show it in an image alone
        self.nameless = 0  # rows without a PMID or PMCID
        self.marked_up: set[str] = set()  # articles that came with markup for an abstract

    def __enter__(self) -> "Articles":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._texts.close()

    def add(self, entry: ebi_search.Entry, job: Job) -> None:
        """One row of LitScan: an id in an article."""
        ids = literature.article_ids(entry)
        if not ids:
            self.nameless += 1
        elif literature.in_an_image_alone(entry):
            self.images[job.id] += 1
        else:
            number = next((self._number[i] for i in ids if i in self._number), len(self._ids))
            if number == len(self._ids):
                self._ids.append(ids[0])
                self._has_text.append(0)
            for article_id in ids:
                self._number.setdefault(article_id, number)
            self._rnas.extend(job.rnas)
            self._articles.extend([number] * len(job.rnas))
            if not self._has_text[number]:
                texts = plain(entry.first("title")), plain(entry.first("abstract"))
                self._take(number, *texts, entry.first("year"))

    def fill(self, records: Iterable[Record]) -> None:
        """Take the texts that are still missing from Europe PMC's records."""
        for record in records:
            number = self._number.get(record.pmid or "", self._number.get(record.pmcid or ""))
            if number is not None and not self._has_text[number]:
                self._take(number, record.title, record.abstractText, record.pubYear)

    def without_text(self) -> list[str]:
        """Ids of the articles whose abstract is missing, or is not plain text."""
        return [self._ids[number] for number, there in enumerate(self._has_text) if not there]

    def ids_of(self, names: Iterable[str]) -> list[str]:
        """The article ids of PMIDs and PMCIDs, without those that no article here has."""
        numbers = [self._number[name] for name in names if name in self._number]
        return [self._ids[number] for number in numbers if self._has_text[number]]

    def links(self) -> np.ndarray:
        """Pairs (number of the RNA, number of the article) with a text, sorted, (n, 2) int32."""
        rnas, articles = (np.frombuffer(a, np.int32) for a in (self._rnas, self._articles))
        kept = np.frombuffer(self._has_text, np.uint8)[articles] == 1
        pairs = np.unique((rnas[kept].astype(np.int64) << 32) | articles[kept])
        return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1).astype(np.int32)

    def link_batches(self, links: np.ndarray, rna_ids: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The table ``links``, ids in the place of numbers."""
        names = [pa.array(ids, pa.string()) for ids in (rna_ids, self._ids)]
        for first in range(0, len(links), BATCH):
            numbers = links[first : first + BATCH].T
            ids = [of.take(pa.array(some)) for of, some in zip(names, numbers, strict=True)]
            yield pa.record_batch(ids, list(COLUMNS["links"]))

    def _take(self, number: int, title: str, abstract: str, year: str) -> None:
        if abstract and is_plain(abstract):
            self._has_text[number] = 1
            year = int(year[:4]) if year[:4].isdigit() else 0
            self._rows.append((self._ids[number], title, abstract, year))
            if len(self._rows) == BATCH:
                self._flush()
        elif abstract:
            self.marked_up.add(self._ids[number])

    def _flush(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else [()] * 4
        self._texts.write_batch(pa.record_batch(list(map(list, columns)), self._texts.schema))
        self._rows.clear()
