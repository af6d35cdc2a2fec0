"""An RNA by its id: from a run's tables or the paper's case studies, else from RNAcentral.

Only a well-formed RNAcentral id ever leads to the network, and none where ``RNAGPT_OFFLINE`` is
set. What comes from there is checked, and its texts are one printable line each; they are data
still, to be escaped where they are shown.
"""

import os
import re
from dataclasses import dataclass
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, BeforeValidator, Field

from rnagpt_lib.core import paper, params, paths
from rnagpt_lib.core.errors import InputError, NotThere
from rnagpt_lib.core.sequences import normalise
from rnagpt_lib.curate.sources.http import Patience, Site
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.runs.stages import FILTER, QA, stage_folder

OFFLINE = "RNAGPT_OFFLINE"
URS = re.compile(r"(URS[0-9A-F]{10})(?:_([1-9]\d{0,9}))?")
TABLES = (QA, FILTER)  # the later one knows units and splits, too
PASTE = "paste the sequence instead"
PER_SECOND = 10  # half of what RNAcentral allows
PATIENCE = Patience(attempts=2, silence=10.0, deadline=20.0, longest=5.0, remedy=PASTE)
LONGEST = 1_000_000  # nt; RNAcentral's longest have a third of it
LINE = 500  # characters of a text that are kept


@dataclass(frozen=True)
class Found:
    """An RNA and what is recorded of it; "" where nothing is.

    ``rna_id``: the record's, with a taxid where it is about one species. ``where``: ``run NAME``,
    ``paper`` or ``RNAcentral``.
    """

    rna_id: str
    sequence: str
    rna_type: str
    species: str
    taxid: str
    description: str
    where: str


def look_up(
    rna_id: str, run: str | None = None, site: Site | None = None, *, offline: bool = False
) -> Found:
    """The RNA of an id, ``URS000000F6A7_645133`` or without the taxid; of ``run`` any id of it.

    ``site``: RNAcentral's API, else the live one. ``offline``, or ``RNAGPT_OFFLINE=1`` in the
    environment: nothing is asked for on the network. An id without a taxid, of which a run has
    several species, is the first of them. Raises InputError for what is no id, for an id that
    nobody has, and where RNAcentral cannot be asked or sends something else than a record.
    """
    wanted = rna_id.strip()
    wanted = wanted.upper() if URS.fullmatch(wanted.upper()) else wanted
    found = (_in_run(wanted, run) if run else None) or _in_paper(wanted)
    if found:
        return found
    named = URS.fullmatch(wanted)
    if not named:
        shown = repr(wanted if len(wanted) <= 40 else f"{wanted[:40]}…")
        place = f"run {run} has no RNA {shown}, and it" if run else shown
        raise InputError(f"{place} is no id of RNAcentral (as URS000000F6A7_645133); {PASTE}")
    if offline or os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise InputError(
            f"{wanted} is not on this machine, and {OFFLINE} or a setting forbids to ask; {PASTE}"
        )
    return _at_rnacentral(wanted, *named.groups(), site or _live())


def _in_run(wanted: str, run: str) -> Found | None:
    """The RNA of a run's tables, of a URS the first species; tables that are not there are passed
    over, and no other rows held in memory."""
    fields = [name for name in Found.__dataclass_fields__ if name != "where"]
    asked = pc.field("rna_id") == wanted
    if URS.fullmatch(wanted):
        asked |= pc.starts_with(pc.field("rna_id"), f"{wanted}_")
    for path in (stage_folder(run, stage) / "rnas.parquet" for stage in TABLES):
        if not path.is_file():
            continue
        try:
            table = pq.read_table(path, columns=fields, filters=asked, partitioning=None)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{paths.shown(path)} is no readable table of RNAs ({error}); run its notebook again"
            ) from None
        if rows := sorted(table.to_pylist(), key=lambda row: row["rna_id"]):
            row = {name: str(value or "") for name, value in rows[0].items()}
            return Found(**row, where=f"run {run}")
    return None


def _in_paper(wanted: str) -> Found | None:
    for case in paper.CASE_STUDIES:
        urs, _, taxid = case.rna_id.partition("_")
        if wanted in (urs, case.rna_id):
            return Found(case.rna_id, case.sequence, "", "", taxid, case.what, paper.LABEL)
    return None


def _line(text: object) -> object:
    """A text as one printable line of bounded length, without outer spaces; None is none."""
    if not isinstance(text, str):
        return "" if text is None else text
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:LINE]


_Text = Annotated[str, BeforeValidator(_line)]


class _Record(BaseModel):
    """Of a URS, or of one in a species (``species`` and ``taxid`` are there then)."""

    rnacentral_id: str
    sequence: str = Field(max_length=LONGEST)
    rna_type: _Text = ""
    species: _Text = ""
    taxid: int | None = None
    description: _Text = ""


def _live() -> Site:
    return Site(params.Filter.model_fields["rnacentral_api"].default, Pace(PER_SECOND), PATIENCE)


def _at_rnacentral(wanted: str, urs: str, taxid: str | None, site: Site) -> Found:
    path, place = f"/rna/{urs}/{taxid}" if taxid else f"/rna/{urs}", f"RNAcentral ({site.host})"
    try:
        record = site.get(path, _Record, format="json")
    except NotThere:
        other = f", or leave out _{taxid}" if taxid else ""
        raise InputError(f"{place} has no RNA {wanted}; check the id{other}, or {PASTE}") from None
    except InputError as error:
        said = str(error).rpartition(";")[0]  # without the remedy for jobs that run unattended
        raise InputError(f"RNAcentral cannot be asked for {wanted}: {said}; {PASTE}") from None
    if record.rnacentral_id != wanted or (taxid and record.taxid != int(taxid)):
        raise InputError(f"{place} answers with another RNA than {wanted}; {PASTE}")
    try:
        sequence = normalise(record.sequence)
    except InputError as error:
        raise InputError(f"{wanted} at {place}: {error}; {PASTE}") from None
    kind = record.rna_type.replace(" ", "_")  # as the tables have it
    about = (record.species, taxid or "", record.description, "RNAcentral")
    return Found(wanted, sequence, kind, *about)
