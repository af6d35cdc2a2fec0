"""LitScan: which ids an RNA goes by, and which articles name them.

The index ``rnacentral-litscan`` has an entry for each id (``entry_type:metadata``) and one for
each id and article (``entry_type:Publication``). Ids are ours when they belong to an RNA that is
kept; a phrase query also finds longer ids, which are left out here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.paths import from_root, shown
from rnagpt_lib.curate.sources.ebi_search import Entry, Sweep, any_of
from rnagpt_lib.curate.sources.http import Site
from rnagpt_lib.runs.resume_store import Store

DOMAIN = "rnacentral-litscan"
BATCH = 40  # ids in a query
FIELDS = "job_id,pmcid,pmid,title,abstract,year,title_value,abstract_value,body_sentence"
IMAGE = "found in an image"
SHORTEST, LONGEST = 4, 25
# Ids that stand for a word or for a whole class of RNAs more often than for one RNA.
WORDS = frozenset(
    "16s 18s 23s 28s 5.8s 7sk alien bantam control fluoride gene hairpin lncrna mirna mort mrna "
    "ncrna none pirna ribozyme riboswitch rnase rrna sam sirna snorna snrna test trna unknown "
    "vault".split()
)


@dataclass
class Job:
    """One id that LitScan searched for, and the numbers of the RNAs that go by it."""

    id: str
    rnas: list[int] = field(default_factory=list)


def jobs(
    site: Site, spool: Store, numbers: Mapping[str, int], everything: bool
) -> tuple[dict[str, Job], Sweep]:
    """The ids of the RNAs in ``numbers`` (rna_id → number), by their lower case; and the counts.

    With ``everything`` the whole index is swept once; otherwise the RNAs are asked for in
    batches. Every RNA also goes by its bare URS.
    """
    base = "entry_type:metadata AND database:rnacentral"
    some = [f"{base} AND {clause}" for clause in any_of("primary_id", list(numbers), BATCH)]
    sweep = Sweep(
        site, spool, DOMAIN, [base] if everything else some, "job_id,primary_id,hit_count"
    )
    found: dict[str, Job] = {}
    for rna_id, number in numbers.items():
        _note(found, rna_id.partition("_")[0], number)
    for entry in (entry for page in sweep for entry in page):
        if entry.first("hit_count") not in ("", "0"):
            for number in {numbers[i] for i in entry.all("primary_id") if i in numbers}:
                _note(found, entry.first("job_id"), number)
    return found, sweep


def _note(found: dict[str, Job], job_id: str, number: int) -> None:
    job = found.setdefault(job_id.lower(), Job(job_id))
    if number not in job.rnas:
        job.rnas.append(number)


def blocked(job_id: str, words: frozenset[str] = WORDS) -> str:
    """Why an id finds other things than its RNA, "" for a good one.

    >>> blocked("Vault"), blocked("hsa-mir-21")
    ('a common word', '')
    """
    name = job_id.lower()
    if not SHORTEST <= len(name) <= LONGEST:
        return f"{len(name)} characters where {SHORTEST} to {LONGEST} make an id"
    if name in words:
        return "a common word"
    mirna = re.fullmatch(r"mir-?(?:let-?)?\d+[a-z]*(?:-\d+[a-z]*)?", name)
    if mirna and name.count("-") < 2 and not name.endswith("hg"):  # a host gene is a gene
        return "a microRNA's name that many species share"
    return ""


def words(path: str | None) -> frozenset[str]:
    """`WORDS` and those of a user's file, one on each line."""
    if path is None:
        return WORDS
    try:
        lines = from_root(path).read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        raise InputError(
            f"{shown(path)} (BLOCKED) is missing or is no UTF-8 text; give one word on each line"
        ) from None
    return WORDS | {line.strip().lower() for line in lines if line.strip()}


def publications(site: Site, spool: Store, ids: Sequence[str]) -> Sweep:
    """All entries of id and article for the ids."""
    clauses = any_of("job_id", ids, BATCH)
    queries = [f"entry_type:Publication AND {clause}" for clause in clauses]
    return Sweep(site, spool, DOMAIN, queries, FIELDS)


def article_ids(entry: Entry) -> Iterator[str]:
    """The PMID, then the PMCID, those of them that are well formed."""
    pmid, pmcid = entry.first("pmid"), entry.first("pmcid")
    if re.fullmatch(r"[1-9]\d{0,8}", pmid):
        yield pmid
    if re.fullmatch(r"PMC\d{1,9}", pmcid):
        yield pmcid


def in_an_image_alone(entry: Entry) -> bool:
    """Whether the id stands in no text of the article, but in a figure, table or supplement."""
    told = "True" in (entry.first("title_value"), entry.first("abstract_value"))
    sentences = entry.all("body_sentence")
    return not told and any(IMAGE in sentence for sentence in sentences)
