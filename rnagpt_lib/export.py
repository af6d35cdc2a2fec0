"""RNA-QA as a product: a run as a Hugging Face dataset folder with its card and checksums.

``README.md`` (the card), ``data/<config>/<side>-00000-of-00001.parquet``, ``rnagpt_export.json``
(what made it) and ``SHA256SUMS``. The same run gives the same bytes.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnagpt_lib import card, export_tables, locks, paths, profiles, stages
from rnagpt_lib.errors import InputError
from rnagpt_lib.files import sha256, visible, write_json
from rnagpt_lib.provenance import Provenance

PATH = stages.STAGES[:4]  # what a data set is made by
MARKER, SUMS, CARD = "rnagpt_export.json", "SHA256SUMS", "README.md"
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
    _check_place(out, force)
    before = _finished(run_id)
    run = Provenance.of(run_id)
    _check_abstracts(run, with_abstracts, with_copyrighted_abstracts)
    texts = with_copyrighted_abstracts or with_abstracts
    quotes = with_copyrighted_abstracts or not run.quotes_abstracts
    with _in_place_of(out, force) as folder:
        made = export_tables.write(run_id, folder / "data", run.split, texts=texts, quotes=quotes)
        (folder / CARD).write_text(card.render(run, made), "utf-8")
        about = {"made_by": MADE_BY, "run": run_id, "stages": run.hashes, "rows": made.rows}
        write_json(folder / MARKER, about)
        (folder / SUMS).write_text(_sums(folder), "utf-8")
        if _finished(run_id) != before:
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


def _finished(run_id: str) -> str:
    """Hash of stage 03. Raises InputError with the commands that finish an unfinished run."""
    folder = stages.stage_folder(run_id, PATH[0]).parent
    if not folder.is_dir():
        known = sorted(path.name for path in paths.runs().glob("[A-Za-z]*/"))
        raise InputError(f"there is no run {run_id}; runs are {', '.join(known) or 'none yet'}")
    reasons = {stage: stages.is_fresh(run_id, stage) for stage in PATH}
    missing = [stage for stage in PATH if reasons[stage]]
    if missing:
        fallback = run_id if run_id in profiles.names() else "mini"
        commands = " && ".join(stages.command(run_id, stage, fallback) for stage in missing)
        raise InputError(
            f"run {run_id} cannot be exported, for {missing[0]}: {reasons[missing[0]]}; "
            f"finish it first: {commands}"
        )
    return stages.stage_hash(run_id, PATH[-1])


def _sums(folder: Path) -> str:
    """What ``sha256sum -c`` reads."""
    return "".join(f"{sha256(file)}  {name}\n" for name, file in visible(folder).items())


# --- the place


def _check_place(out: Path, force: bool) -> None:
    """InputError unless ``out`` is free, or holds an earlier export and nothing else."""
    if out.is_relative_to(paths.runs().resolve()):
        raise InputError(
            f"{out} lies among the runs, whose folders hold results alone; choose a folder outside "
            f"of {paths.shown(paths.runs())}"
        )
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    earlier = _earlier(out)
    if not earlier:
        raise InputError(
            f"{out} exists and is no earlier export; choose another folder, or remove it yourself"
        )
    if foreign := _foreign(out):
        raise InputError(
            f"{out} holds files that the export did not write, such as {foreign[0]}; move them, "
            "or choose another folder"
        )
    if not force:
        raise InputError(f"{out} holds an export of run {earlier}; give --force to replace it")


def _earlier(out: Path) -> str | None:
    """The run of the export in ``out``; None when it holds no export."""
    try:
        about = json.loads((out / MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(about, dict) and about.get("made_by") == MADE_BY
    return str(about.get("run")) if ours else None


def _foreign(out: Path) -> list[str]:
    """Files in ``out`` that the checksums do not name."""
    sums = out / SUMS
    lines = sums.read_text("utf-8", "replace").splitlines() if sums.is_file() else []
    own = {SUMS, MARKER, CARD, *(line[66:] for line in lines)}
    files = (file for file in out.rglob("*") if file.is_symlink() or not file.is_dir())
    return sorted({file.relative_to(out).as_posix() for file in files} - own)


@contextmanager
def _in_place_of(out: Path, force: bool) -> Iterator[Path]:
    """A hidden folder beside ``out``, to be filled; it becomes ``out`` when the block succeeds.

    One process at a time. What a killed export left is cleared, and an ``out`` that was set aside
    by one comes back.
    """
    partial, aside = (out.with_name(f".{out.name}.{end}") for end in ("partial", "replaced"))
    lock = partial / ".lock"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        locks.acquire(lock, f"the export to {out}")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}") from None
    try:
        _restore(out, aside)
        _clear(partial)
        _check_place(out, force)
        yield partial
        lock.unlink()
        if out.exists():
            os.rename(out, aside)
        os.rename(partial, out)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException as error:
        _restore(out, aside)
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise InputError(f"{out} cannot be written: {error.strerror or error}") from None
        raise
    finally:
        locks.release(lock)


def _restore(out: Path, aside: Path) -> None:
    """Put back an ``out`` that was set aside and not replaced."""
    if aside.exists() and not out.exists():
        os.rename(aside, out)
    shutil.rmtree(aside, ignore_errors=True)


def _clear(partial: Path) -> None:
    for file in partial.iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name != ".lock":
            file.unlink()
