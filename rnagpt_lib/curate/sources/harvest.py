"""The tables of stage 00 from the live sources: RNAcentral, LitScan, Europe PMC, LitSumm.

Every page that comes is spooled in the stage's folder: a harvest that is stopped goes on where
it was. What each source said of itself, and how much came, goes into ``sources.json``.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from rnagpt_lib.core import fasta, sequences, tables
from rnagpt_lib.core.errors import InputError, NotThere
from rnagpt_lib.core.files import write_json
from rnagpt_lib.core.params import Filter
from rnagpt_lib.core.paths import from_root
from rnagpt_lib.core.tables import COLUMNS
from rnagpt_lib.curate.sources import (
    ebi_search,
    europepmc,
    litscan,
    litsumm,
    rnacentral,
)
from rnagpt_lib.curate.sources.ebi_search import Sweep
from rnagpt_lib.curate.sources.http import Site
from rnagpt_lib.curate.sources.literature import Literature
from rnagpt_lib.curate.sources.rnacentral import Entry
from rnagpt_lib.curate.sources.user_files import drop
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.runs.provenance import ENTRIES
from rnagpt_lib.runs.resume_store import Store

SOURCES = "sources.json"
UNTOLD = "article without an abstract in LitScan and Europe PMC"
MARKED = "article whose abstract holds markup that is no text"
PUBLISHERS = "abstracts: their publishers'"
FETCHED = ".fetched-"  # hidden: copies of remote files are no outputs


def write(params: Filter, folder: Path, raw: Path) -> None:
    """Harvest the tables rnas, links, articles and dropped into ``raw``.

    ``folder``, the stage's, keeps the pages and gets `SOURCES` and LitSumm's texts. Raises
    InputError when a source stays away or refuses; run again, it goes on from there.
    """
    with Store(folder) as spool, Literature(raw) as literature:
        _Harvest(params, folder, spool, literature).write(raw)


class _Harvest:
    def __init__(self, params: Filter, folder: Path, spool: Store, literature: Literature):
        self.params, self.folder, self.spool = params, folder, spool
        paces: dict[str, Pace] = defaultdict(lambda: Pace(params.requests_per_second))
        addresses = (params.ebi_search, params.europepmc, params.rnacentral_api)
        self.search, self.europepmc, self.api = (
            Site(address, paces[urlsplit(address).netloc]) for address in addresses
        )
        self.sources: list[dict] = []
        self.dropped: list[dict] = []
        self.refused: dict[str, str] = {}  # records of a FASTA file, and why
        self.literature = literature

    def write(self, raw: Path) -> None:
        self._same_release()
        found = self._entries()
        links = self._links(found)
        kept = self._with_sequences(found, set(np.unique(links[:, 0])))
        links = links[np.isin(links[:, 0], list(kept))]
        self._summaries({found[number].rna_id for number in kept})
        write_json(self.folder / SOURCES, {"sources": self.sources})
        rna_ids = [entry.rna_id for entry in found]
        batches = self.literature.link_batches(links, rna_ids)
        tables.write_batches(raw / "links.parquet", "links", batches)
        tables.write(raw / "dropped.parquet", "dropped", tables.frame("dropped", self.dropped))
        rnas = _rnas([(found[number], kept[number]) for number in sorted(kept)])
        tables.write(raw / "rnas.parquet", "rnas", rnas)

    # RNAs.

    @cached_property
    def query(self) -> str:
        """The query with the limits of length, as the index writes ranges."""
        return (
            f"{self.params.query} AND length:[{self.params.min_length} TO {self.params.max_length}]"
        )

    @cached_property
    def releases(self) -> dict[str, dict]:
        """What the two indexes say of themselves now; empty where they say nothing."""
        found = {}
        for domain in (rnacentral.DOMAIN, litscan.DOMAIN):
            try:
                found[domain] = ebi_search.about(self.search, domain)
            except NotThere:
                found[domain] = {}
        return found

    def _same_release(self) -> None:
        """Pages of two releases do not mix: after a new one the harvest begins anew."""
        first = self.spool.once("releases", lambda: self.releases)
        for domain, about in self.releases.items():
            old, new = (said.get("release", "") for said in (first[domain], about))
            if old != new:
                print(f"{domain} has a new release ({old} → {new}): everything is fetched anew")
                self.spool.forget()
                for file in self.folder.glob(f"{FETCHED}*"):
                    file.unlink()
                self._same_release()
                return

    def _entries(self) -> list[Entry]:
        sweep = Sweep(self.search, self.spool, rnacentral.DOMAIN, [self.query], rnacentral.FIELDS)
        found = rnacentral.entries(sweep, self.params.limit)
        self._count(ENTRIES, sweep, self.query)
        if not found:
            raise InputError(
                f"{self.search.host} has no RNA for the query {self.query}; change QUERY"
            )
        if self.params.id_mapping:
            return rnacentral.with_genes(found, self._file(self.params.id_mapping))
        return found

    def _with_sequences(self, found: list[Entry], numbers: set[int]) -> dict[int, str]:
        """Number → sequence of the RNAs with literature; the others are dropped."""
        for number in sorted(set(range(len(found))) - numbers):
            self.dropped.append(drop(found[number].rna_id, "no article is left after the rules"))
        came = dict(self._sequences({found[number].rna_id for number in numbers}))
        kept = {}
        for number in sorted(numbers):
            entry = found[number]
            sequence, reason = _checked(came.get(entry.rna_id, ""), entry.length)
            if reason:
                reason = self.refused.get(entry.rna_id, reason)
                self.dropped.append(drop(entry.rna_id, reason))
            else:
                kept[number] = sequence
        self.sources.append(
            self._source("sequences", self.api, f"{len(numbers):,} RNAs", len(numbers))
            | {
                "url": self.params.fasta or self.api.base,
                "records": sum(map(bool, came.values())),
            }
        )
        return kept

    def _sequences(self, ids: set[str]) -> Iterator[tuple[str, str]]:
        """(rna_id, sequence) of ``ids``, as the source writes it."""
        if self.params.fasta:
            records = fasta.stream_fasta(self._file(self.params.fasta), self.refused)
            yield from ((r.id, r.sequence) for r in records if r.id in ids)
        else:
            yield from rnacentral.by_api(self.api, self.spool, sorted(ids))

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
        jobs, sweep = litscan.jobs(self.search, self.spool, numbers, not self.params.limit)
        self._count("LitScan ids", sweep, sweep.queries[0])
        refused = litscan.words(self.params.blocked)
        for key in sorted(jobs):
            if reason := litscan.blocked(key, refused):
                self.dropped.append(drop(jobs[key].id, f"LitScan id: {reason}"))
                del jobs[key]
        self._publications(jobs)
        self._missing_abstracts()
        return self.literature.links()

    def _publications(self, jobs: dict[str, litscan.Job]) -> None:
        ids = [jobs[key].id for key in sorted(jobs)]
        sweep = litscan.publications(self.search, self.spool, ids)
        for page in sweep:
            for entry in page:
                if job := jobs.get(entry.first("job_id").lower()):
                    self.literature.add(entry, job)
        self._count(
            "LitScan articles", sweep, f"{len(sweep.queries):,} queries for {len(ids):,} ids"
        )
        for job_id, count in sorted(self.literature.images.items()):
            reason = f"{count} articles show it in an image, a table or a supplement alone"
            self.dropped.append(drop(job_id, f"LitScan id: {reason}"))
        if self.literature.nameless:
            self.dropped.append(
                drop(litscan.DOMAIN, f"LitScan: {self.literature.nameless} rows without an id")
            )

    def _missing_abstracts(self) -> None:
        wanted = self.literature.untold()
        self.literature.fill(europepmc.records(self.europepmc, self.spool, wanted))
        lost = self.literature.untold()
        for article_id in lost:
            marked = article_id in self.literature.marked
            self.dropped.append(drop(article_id, MARKED if marked else UNTOLD))
        self.sources.append(
            self._source("Europe PMC", self.europepmc, f"{len(wanted):,} ids", len(wanted))
            | {"records": len(wanted) - len(lost)}
        )

    def _summaries(self, kept: set[str]) -> None:
        """LitSumm's texts on the RNAs that are kept, for notebook 02 to read."""
        try:
            summaries = list(litsumm.summaries(self.api, self.spool))
        except NotThere:
            summaries = []  # a mirror without them; sources.json counts none
        own = [summary for summary in summaries if summary.primary_id in kept]
        litsumm.write(self.folder / litsumm.NAME, own, self.literature.ids_of)
        self.sources.append(self._source("LitSumm", self.api, "/litsumm/", len(summaries)))

    # What the sources said.

    def _count(self, source: str, sweep: Sweep, query: str) -> None:
        announced = sweep.came + max(sweep.short, 0)
        row = self._source(source, self.search, query, announced) | {"records": sweep.came}
        about = self.releases[sweep.domain]
        self.sources.append(row | {"release": about.get("release", ""), "index": about})
        if sweep.short > 0:
            print(
                f"{source}: {announced:,} hits were announced and {sweep.came:,} came; "
                "sources.json says so too. Run 00 with ON_FINISHED archive on another day to ask again"
            )

    def _source(self, source: str, site: Site, query: str, said: int) -> dict:
        day = self.spool.once("day", lambda: datetime.now(UTC).date().isoformat())
        fixed = {"name": source, "url": site.base, "date": day, "query": query}
        licence = PUBLISHERS if source in ("LitScan articles", "Europe PMC") else "CC0"
        return fixed | {"release": "", "announced": said, "records": said, "licence": licence}


def _checked(sequence: str, length: int) -> tuple[str, str]:
    """(the sequence as RNA, why it cannot be used or "")."""
    if not sequence:
        return "", "the source of sequences does not have it"
    if length and len(sequence) != length:
        return "", f"its sequence has {len(sequence):,} nt where the index says {length:,}"
    try:
        return sequences.normalise(sequence), ""
    except InputError as error:
        return "", str(error)


def _rnas(rows: list[tuple[Entry, str]]) -> pd.DataFrame:
    columns = {
        "rna_id": [entry.rna_id for entry, _ in rows],
        "sequence": [sequence for _, sequence in rows],
        "length": [len(sequence) for _, sequence in rows],
        "rna_type": [entry.rna_type for entry, _ in rows],
        "species": [entry.species for entry, _ in rows],
        "taxid": [entry.rna_id.partition("_")[2] for entry, _ in rows],
        "family": "",
        "description": [entry.description for entry, _ in rows],
        "unit": "",
        "split": "",
    }
    return pd.DataFrame(columns, columns=list(COLUMNS["rnas"]))
