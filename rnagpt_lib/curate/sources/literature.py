"""The literature of many RNAs, gathered row by row: every article once, links as numbers.

Texts go into the table of articles as they come; only ids and numbers are held: about half a
kilobyte an article.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rnagpt_lib.core.tables import COLUMNS, schema
from rnagpt_lib.curate.sources.ebi_search import Entry
from rnagpt_lib.curate.sources.europepmc import Record
from rnagpt_lib.curate.sources.litscan import Job, article_ids, in_an_image_alone
from rnagpt_lib.curate.sources.markup import is_plain, plain

_BATCH = 4096


class Literature:
    """Articles and links; RNAs are numbers, articles are known by PMID where there is one.

    The table ``articles`` is in ``folder`` once the block is left: ``with Literature(folder) as l``.
    """

    def __init__(self, folder: Path):
        self._texts = pq.ParquetWriter(folder / "articles.parquet", schema("articles"))
        self._number: dict[str, int] = {}  # of PMIDs and PMCIDs
        self._ids: list[str] = []
        self._told = bytearray()  # 1: the article's text is there
        self._rows: list[tuple[str, str, str, int]] = []
        self._rnas, self._articles = array("i"), array("i")
        self.images: Counter[str] = Counter()  # id → articles that show it in an image alone
        self.nameless = 0  # rows without a PMID or PMCID
        self.marked: set[str] = set()  # articles that came with markup for an abstract

    def __enter__(self) -> "Literature":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._texts.close()

    def add(self, entry: Entry, job: Job) -> None:
        """One row of LitScan: an id in an article."""
        ids = list(article_ids(entry))
        if not ids:
            self.nameless += 1
        elif in_an_image_alone(entry):
            self.images[job.id] += 1
        else:
            number = self._numbered(ids)
            self._rnas.extend(job.rnas)
            self._articles.extend([number] * len(job.rnas))
            if not self._told[number]:
                texts = plain(entry.first("title")), plain(entry.first("abstract"))
                self._tell(number, *texts, entry.first("year"))

    def untold(self) -> list[str]:
        """Ids of the articles whose abstract is missing, or is not plain text."""
        return [self._ids[number] for number in np.flatnonzero(_bits(self._told) == 0)]

    def fill(self, records: Iterable[Record]) -> None:
        """Take the texts that are still missing from Europe PMC's records."""
        for record in records:
            number = self._number.get(record.pmid or "", self._number.get(record.pmcid or ""))
            if number is not None and not self._told[number]:
                self._tell(number, record.title, record.abstractText, record.pubYear)

    def ids_of(self, names: Iterable[str]) -> list[str]:
        """The article ids of PMIDs and PMCIDs, without those that no article here has."""
        numbers = [self._number[name] for name in names if name in self._number]
        return [self._ids[number] for number in numbers if self._told[number]]

    def links(self) -> np.ndarray:
        """Pairs (number of the RNA, number of the article) with a text, sorted, (n, 2) int32."""
        rnas, articles = (np.frombuffer(a, np.int32) for a in (self._rnas, self._articles))
        told = _bits(self._told)[articles] == 1
        pairs = (rnas[told].astype(np.int64) << 32) | articles[told]
        pairs = np.unique(pairs)
        return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1).astype(np.int32)

    def link_batches(self, links: np.ndarray, rna_ids: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The table ``links``, ids in the place of numbers."""
        names = [pa.array(ids, pa.string()) for ids in (rna_ids, self._ids)]
        for first in range(0, len(links), _BATCH):
            numbers = links[first : first + _BATCH].T
            ids = [of.take(pa.array(some)) for of, some in zip(names, numbers, strict=True)]
            yield pa.record_batch(ids, list(COLUMNS["links"]))

    def _numbered(self, ids: list[str]) -> int:
        known = [self._number[i] for i in ids if i in self._number]
        number = known[0] if known else len(self._ids)
        if not known:
            self._ids.append(ids[0])
            self._told.append(0)
        for i in ids:
            self._number.setdefault(i, number)
        return number

    def _tell(self, number: int, title: str, abstract: str, year: str) -> None:
        if abstract and is_plain(abstract):
            self._told[number] = 1
            self._rows.append((self._ids[number], title, abstract, _year(year)))
            if len(self._rows) == _BATCH:
                self._flush()
        elif abstract:
            self.marked.add(self._ids[number])

    def _flush(self) -> None:
        columns = self._texts.schema
        rows = [dict(zip(columns.names, row, strict=True)) for row in self._rows]
        self._texts.write_batch(pa.RecordBatch.from_pylist(rows, columns))
        self._rows.clear()


def _bits(told: bytearray) -> np.ndarray:
    return np.frombuffer(told, np.uint8)


def _year(text: str) -> int:
    return int(text[:4]) if text[:4].isdigit() else 0
