"""An RNA by its id: from a run's tables or the paper's case studies, else from RNAcentral.

Only a well-formed RNAcentral id ever leads to the network, and none where ``RNAGPT_OFFLINE`` is
set. What comes from there is checked; its texts are data still, to be escaped where they are shown.
"""

import re
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, BeforeValidator, Field

from rnagpt_lib.core import paper, params
from rnagpt_lib.core.errors import InputError, NotThere
from rnagpt_lib.core.fasta import Record
from rnagpt_lib.core.paths import shown
from rnagpt_lib.core.text import one_line
from rnagpt_lib.core.weights import OFFLINE, is_offline
from rnagpt_lib.curate.sources.http import Patience, Site
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.runs.stages import FILTER, QA, stage_folder

URS = re.compile(r"(URS[0-9A-F]{10})(?:_([1-9]\d{0,9}))?")
PASTE = "paste the sequence instead"
PER_SECOND = 10  # half of what RNAcentral allows
PATIENCE = Patience(attempts=2, silence=10.0, deadline=20.0, longest=5.0, remedy=PASTE)
LONGEST = 1_000_000  # nt; RNAcentral's longest have a third of it
LINE = 500  # characters of a text that are kept


def look_up(
    rna_id: str, run: str | None = None, site: Site | None = None, *, offline: bool = False
) -> Record:
    """The RNA of an id, ``URS000000F6A7_645133`` or without the taxid; of ``run`` any id of it.

    Its description says where it was found. ``site``: RNAcentral's API, else the live one.
    ``offline``, or ``RNAGPT_OFFLINE=1`` in the environment: nothing is asked for on the network.
    Raises InputError for what is no id, for an id that nobody has, and where RNAcentral cannot be
    asked or sends something else than a record.
    """
    wanted = rna_id.strip()
    wanted = wanted.upper() if URS.fullmatch(wanted.upper()) else wanted
    if found := (_in_run(wanted, run) if run else None) or _in_paper(wanted):
        return found
    if not (named := URS.fullmatch(wanted)):
        shown = repr(wanted if len(wanted) <= 40 else f"{wanted[:40]}…")
        place = f"run {run} has no RNA {shown}, and it" if run else shown
        raise InputError(f"{place} is no id of RNAcentral (as URS000000F6A7_645133); {PASTE}")
    if offline or is_offline():
        why = f"{OFFLINE} or a setting forbids to ask"
        raise InputError(f"{wanted} is not on this machine, and {why}; {PASTE}")
    return _at_rnacentral(wanted, *named.groups(), site or _live())


def _in_run(wanted: str, run: str) -> Record | None:
    """Of a run's tables, of a URS the first species; no other rows are held in memory."""
    asked = pc.field("rna_id") == wanted
    if URS.fullmatch(wanted):
        asked |= pc.starts_with(pc.field("rna_id"), f"{wanted}_")
    columns = ["rna_id", "sequence", "rna_type", "description"]
    for path in (stage_folder(run, stage) / "rnas.parquet" for stage in (QA, FILTER)):
        try:
            rows = pq.read_table(path, columns=columns, filters=asked, partitioning=None)
        except FileNotFoundError:
            continue
        except (pa.ArrowException, OSError) as error:
            fault = f"{shown(path)} is no readable table of RNAs ({error})"
            raise InputError(f"{fault}; run its notebook again") from None
        for row in sorted(rows.to_pylist(), key=lambda row: row["rna_id"])[:1]:
            about = row["description"] or row["rna_type"] or ""
            return Record.of(row["rna_id"], f"{about} (run {run})".strip(), row["sequence"])
    return None


def _in_paper(wanted: str) -> Record | None:
    for case in paper.CASE_STUDIES:
        if wanted in (case.rna_id, case.rna_id.partition("_")[0]):
            return Record.of(case.rna_id, f"{case.what} ({paper.LABEL})", case.sequence)
    return None


def _line(text: object) -> object:
    """A text as one line of bounded length; None is none."""
    if not isinstance(text, str):
        return "" if text is None else text
    return one_line(text)[:LINE]


class _Record(BaseModel):
    """Of a URS, or of one in a species (``taxid`` is there then)."""

    rnacentral_id: str
    sequence: str = Field(max_length=LONGEST)
    rna_type: Annotated[str, BeforeValidator(_line)] = ""
    taxid: int | None = None
    description: Annotated[str, BeforeValidator(_line)] = ""


def _live() -> Site:
    return Site(params.Filter.model_fields["rnacentral_api"].default, Pace(PER_SECOND), PATIENCE)


def _at_rnacentral(wanted: str, urs: str, taxid: str | None, site: Site) -> Record:
    place, other = f"RNAcentral ({site.host})", f", or leave out _{taxid}" if taxid else ""
    try:
        record = site.get(f"/rna/{urs}/{taxid}" if taxid else f"/rna/{urs}", _Record, format="json")
    except NotThere:
        raise InputError(f"{place} has no RNA {wanted}; check the id{other}, or {PASTE}") from None
    except InputError as error:
        said = str(error).rpartition(";")[0]  # without the remedy for jobs that run unattended
        raise InputError(f"RNAcentral cannot be asked for {wanted}: {said}; {PASTE}") from None
    if record.rnacentral_id != wanted or (taxid and record.taxid != int(taxid)):
        raise InputError(f"{place} answers with another RNA than {wanted}; {PASTE}")
    about = f"{record.description or record.rna_type} (RNAcentral)".strip()
    try:
        return Record.of(wanted, about, record.sequence)
    except InputError as error:
        raise InputError(f"{wanted} at {place}: {error}; {PASTE}") from None
