"""RNA-QA as a product: a run as a Hugging Face dataset folder with its card and checksums.

``README.md`` (the card), ``data/<config>/<side>-00000-of-00001.parquet``, ``rnagpt_export.json``
(what made it) and ``SHA256SUMS``. The same run gives the same bytes.
"""

import sys
from pathlib import Path

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.runs import stages
from rnagpt_lib.runs.provenance import Provenance
from rnagpt_lib.share import (
    dataset_card,
    dataset_tables,
)
from rnagpt_lib.share import (
    folder as export_place,
)

PATH = stages.STAGES[:4]  # what a data set is made by
MADE_BY = "rnagpt export-dataset"
COPYRIGHT = (
    "titles and abstracts, and sentences quoted from them, belong to their publishers: share the "
    "export only as far as each of them permits"
)


def export_dataset(
    run_id: str,
    out: Path,
    *,
    with_abstracts: bool = False,
    with_copyrighted_abstracts: bool = False,
    force: bool = False,
) -> dict[str, dict[str, int]]:
    """Write ``out`` from the finished stages 00 to 03 of a run; returns config → side → rows.

    ``out`` appears whole or not at all. An earlier export in its place is replaced with ``force``
    alone, and anything else never. Titles and abstracts are left out, as are sentences that the
    offline provider quotes from real abstracts, unless the run's world is generated
    (``with_abstracts``) or the caller takes the responsibility (``with_copyrighted_abstracts``).
    Raises InputError for a run that is unfinished, stale or breaks an invariant.
    """
    out = Path(out).expanduser().resolve()
    export_place.check(out, MADE_BY, force)
    before = export_place.finished(run_id, PATH)
    run = Provenance.of(run_id)
    _check_abstracts(run, with_abstracts, with_copyrighted_abstracts)
    texts = with_copyrighted_abstracts or with_abstracts
    quotes = with_copyrighted_abstracts or not run.quotes_abstracts
    with export_place.in_place_of(out, MADE_BY, force) as folder:
        made = dataset_tables.write(run_id, folder / "data", run.split, texts=texts, quotes=quotes)
        (folder / export_place.CARD).write_text(dataset_card.render(run, made), "utf-8")
        about = {"made_by": MADE_BY, "run": run_id, "stages": run.hashes, "rows": made.rows}
        export_place.seal(folder, about)
        if export_place.finished(run_id, PATH) != before:
            raise InputError(f"run {run_id} was run again while it was exported; export it again")
    return made.rows


def _check_abstracts(run: Provenance, asked: bool, copyrighted: bool) -> None:
    """InputError for abstracts that somebody owns, a note where the user takes them all the same."""
    if run.generated:
        return
    if copyrighted:
        print(f"Note: {COPYRIGHT}.", file=sys.stderr)
    elif asked:
        raise InputError(
            f"the articles of run {run.run} are not generated, and {COPYRIGHT}; "
            "to include them all the same, give --with-copyrighted-abstracts"
        )
