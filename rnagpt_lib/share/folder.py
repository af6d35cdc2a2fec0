"""Where an export goes: a folder that appears whole or not at all, with the sums of its files.

Besides what is exported it holds ``README.md`` (the card), ``rnagpt_export.json`` (what made it)
and ``SHA256SUMS``. Nothing but an earlier export of the same kind is ever replaced.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rnagpt_lib.core import files, params, paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.runs import stages
from rnagpt_lib.runs.folder import holding

CARD = "README.md"
OWN = ".rnagpt-export"  # in a folder that an export fills


def finished(run_id: str, path: Sequence[str]) -> str:
    """Hash of the last stage of ``path``, all of which must be finished and up to date.

    Raises InputError with the commands that finish an unfinished run.
    """
    stages.check_run(run_id)
    reasons = {stage: stages.is_fresh(run_id, stage) for stage in path}
    missing = [stage for stage in path if reasons[stage]]
    if missing:
        fallback = run_id if run_id in params.names() else "mini"
        commands = " && ".join(stages.command(run_id, stage, fallback) for stage in missing)
        raise InputError(
            f"run {run_id} cannot be exported, for {missing[0]}: {reasons[missing[0]]}; "
            f"finish it first: {commands}"
        )
    return stages.stage_hash(run_id, path[-1])


def check(out: Path, made_by: str, force: bool) -> None:
    """InputError unless ``out`` is free, or holds an earlier export by ``made_by`` and nothing
    else, which ``force`` gives up."""
    if out.is_relative_to(paths.runs().resolve()):
        raise InputError(
            f"{out} lies among the runs, whose folders hold results alone; choose a folder outside "
            f"of {paths.shown(paths.runs())}"
        )
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    earlier = files.read_marker(out)
    if earlier.get("made_by") != made_by:
        raise InputError(
            f"{out} exists and is no earlier export; choose another folder, or remove it yourself"
        )
    there = (file for file in out.rglob("*") if file.is_symlink() or not file.is_dir())
    named = {file.relative_to(out).as_posix() for file in there}
    if foreign := sorted(named - {files.SUMS, files.MARKER, CARD, *files.read_sums(out)}):
        raise InputError(
            f"{out} holds files that the export did not write, such as {foreign[0]}; move them, "
            "or choose another folder"
        )
    if not force:
        raise InputError(
            f"{out} holds an export of run {earlier.get('run')}; give --force to replace it"
        )


@contextmanager
def in_place_of(
    out: Path, made_by: str, run_id: str, path: Sequence[str], force: bool
) -> Iterator[Path]:
    """A hidden folder beside ``out``, to be filled out of the stages ``path`` of a run; it becomes
    ``out`` when the block succeeds.

    One process at a time. What a killed export left is cleared, and an ``out`` that was set aside
    by one comes back. Raises InputError as `check` and `finished` do, for a run that changes
    meanwhile, and where nothing can be written.
    """
    check(out, made_by, force)
    before = finished(run_id, path)
    partial, aside = (out.with_name(f".{out.name}.{end}") for end in ("partial", "replaced"))
    remedy = "make room, or choose another folder"
    with files.writing(out, remedy), holding(out, f"the export to {out}"):
        for left in (partial, aside):
            _refuse_foreign(left, made_by)
        try:
            _restore(out, aside)
            check(out, made_by, force)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            (partial / OWN).touch()
            yield partial
            if finished(run_id, path) != before:
                raise InputError(
                    f"run {run_id} was run again while it was exported; export it again"
                )
            (partial / OWN).unlink()
            if out.exists():
                os.rename(out, aside)
            os.rename(partial, out)
        finally:
            _restore(out, aside)
            shutil.rmtree(partial, ignore_errors=True)


def seal(folder: Path, what: dict) -> None:
    """Write what made the export, then the sums of all its files, as ``sha256sum -c`` reads them."""
    files.write_json(folder / files.MARKER, what)
    written = {name: file for name, file in files.visible(folder).items() if name != files.SUMS}
    lines = "".join(f"{files.sha256(file)}  {name}\n" for name, file in written.items())
    (folder / files.SUMS).write_text(lines, "utf-8")


def _refuse_foreign(left: Path, made_by: str) -> None:
    """InputError for what lies where exports are made and no killed one has left."""
    own = not left.is_symlink() and left.is_dir()
    own = own and ((left / OWN).is_file() or files.read_marker(left).get("made_by") == made_by)
    if os.path.lexists(left) and not own:
        raise InputError(f"{left} is in the way and no export's; move it, or choose another folder")


def _restore(out: Path, aside: Path) -> None:
    """Put back an ``out`` that was set aside, where nothing took its place."""
    if aside.exists() and not out.exists():
        os.rename(aside, out)
    shutil.rmtree(aside, ignore_errors=True)
