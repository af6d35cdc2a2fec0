"""Runs: open a stage, read its predecessors, write its own files, finish it.

>>> run = Run.open("01_explore_topics", run="mini", max_topics=4)   # doctest: +SKIP
>>> articles = run.read("00_filter_rnacentral", "articles")         # doctest: +SKIP
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nbformat
import pandas as pd

from rnagpt_lib.core import paths, params as profiles, tables, weights
from rnagpt_lib.runs import locks
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest, read_json, sha256, write_json
from rnagpt_lib.runs.metrics_file import merged
from rnagpt_lib.runs.stages import (
    MANIFEST,
    METRICS,
    NOTEBOOK,
    PARAMS,
    PARENTS,
    STAGES,
    is_fresh,
    outputs,
    stage_folder,
    stage_hash,
)

__all__ = ["PARENTS", "STAGES", "Run", "is_fresh", "stage_folder"]

PREVIOUS = ".previous"
PACKAGES = ("numpy", "pandas", "gensim", "torch", "transformers", "peft", "rna-fm", "papermill")


@dataclass
class Run:
    """One open stage of a run; ``Run.open`` makes it, ``finish`` closes it."""

    stage: str
    id: str
    profile: profiles.Profile
    seed: int
    params: profiles.Stage
    folder: Path
    resuming: bool = False

    @classmethod
    def open(
        cls,
        stage: str,
        *,
        run: str = "mini",
        profile: str = "mini",
        seed: int = 0,
        on_finished: str | None = None,
        **overrides: object,
    ) -> "Run":
        """Open a stage: check its parameters, see to its parents, lock it, clear its folder.

        ``overrides`` are the notebook's other parameters in lower case; None means "as in
        the profile", and so it does for ``on_finished`` (``archive`` or ``refuse``).
        Parents that are missing or stale are run first where the profile says so.
        Raises InputError for bad parameters, missing parents or base models, or a stage in use;
        what is there stays as it is then.
        """
        folder = stage_folder(run, stage)
        loaded = profiles.load(profile)
        if on_finished not in (None, "archive", "refuse"):
            raise InputError(f"ON_FINISHED is {on_finished!r}; it can be archive or refuse")
        chosen = {name: value for name, value in overrides.items() if value is not None}
        opened = cls(stage, run, loaded, seed, loaded.stage(stage, **chosen), folder)
        opened._see_to_weights()
        opened._see_to_parents()
        locks.acquire(_lock(folder), f"{stage} of run {run}")
        try:
            opened._begin(on_finished or loaded.on_finished, chosen)
        except BaseException:
            locks.release(_lock(folder))
            raise
        return opened

    def parent(self, stage: str) -> Path:
        """Folder of a predecessor. Raises InputError for a stage that is none."""
        if stage not in PARENTS[self.stage]:
            known = ", ".join(PARENTS[self.stage]) or "none"
            raise InputError(f"{self.stage} does not read {stage}; its predecessors are {known}")
        return stage_folder(self.id, stage)

    def read(self, stage: str, table: str) -> pd.DataFrame:
        """A predecessor's table, its contract checked."""
        return tables.read(self.parent(stage) / f"{table}.parquet", table)

    def write(self, table: str, frame: pd.DataFrame) -> Path:
        """Write one of this stage's tables, its contract checked, whole or not at all."""
        return tables.write(self.path(f"{table}.parquet"), table, frame)

    def path(self, name: str) -> Path:
        """Where this stage writes ``name``. Raises InputError once it is finished."""
        if self.manifest.get("status") != "running":
            raise InputError(f"{self.stage} of run {self.id} is not open; open it again to write")
        return self.folder / name

    def use(self, path: str | Path) -> Path:
        """An input from outside of the run, file or folder; its hash goes into the manifest."""
        found = paths.from_root(path)
        if not found.exists():
            raise InputError(f"{paths.shown(found)}, an input of {self.stage}, does not exist")
        manifest = self.manifest
        manifest["inputs"][os.path.relpath(found, paths.root())] = sha256(found)
        write_json(self.path(MANIFEST), manifest)
        return found

    def log_metrics(self, mapping: Mapping[str, object]) -> None:
        """Merge numbers and texts, nested or not, into ``metrics.json``.

        Raises InputError for a value that is NaN, infinite or of another kind.
        """
        path = self.path(METRICS)
        write_json(path, merged(read_json(path), mapping))

    def show(self) -> None:
        """Print versions, device, seed, parameters and predecessors."""
        manifest = self.manifest
        packages = " · ".join(f"{name} {found}" for name, found in manifest["versions"].items())
        print(f"{self.stage} · run {self.id} · profile {self.profile.name} · seed {self.seed}")
        print(f"{packages} · device {manifest['device']}\nin {paths.shown(self.folder)}")
        for parent, recorded in manifest["parents"].items():
            print(f"reads {parent} ({recorded[:12]})")
        for name, value in self.params.model_dump().items():
            print(f"  {name.upper():<18} {value}")

    def finish(self) -> None:
        """Mark the stage finished, with the hash of its parameters and outputs."""
        path, manifest = self.path(MANIFEST), self.manifest
        now = datetime.now(UTC)
        found = outputs(self.folder)
        finished = {
            "status": "finished",
            "finished": now.isoformat(timespec="seconds"),
            "seconds": round((now - datetime.fromisoformat(manifest["started"])).total_seconds()),
            "outputs": found,
            "hash": digest([manifest["key"], found]),
        }
        write_json(path, manifest | finished)
        locks.release(_lock(self.folder))
        print(f"{self.stage} is finished: {len(found)} files in {paths.shown(self.folder)}")

    @property
    def manifest(self) -> dict:
        """What ``manifest.json`` says now."""
        return read_json(self.folder / MANIFEST)

    def _see_to_weights(self) -> None:
        """What the base models cannot do is told before an earlier training is moved aside."""
        if isinstance(self.params, profiles.Train):
            folder = weights.encoder_folder(self.params.encoder)
            layers = getattr(self.params, "encoder_layers", 0)  # stage 2 has them
            weights.check_layers(read_json(folder / weights.CONFIG), layers)
            weights.llm_folder(self.params.llm)

    def _see_to_parents(self) -> None:
        if any(is_fresh(self.id, parent) for parent in PARENTS[self.stage]):
            from rnagpt_lib.runs import notebooks  # papermill is slow to import and rarely needed here

            notebooks.see_to_parents(self.stage, self.id, self.profile, self.seed)

    def _begin(self, on_finished: str, chosen: dict[str, object]) -> None:
        """Clear or resume the folder and write its parameters and manifest."""
        earlier = read_json(self.folder / MANIFEST)
        key = {"seed": self.seed, "params": self.params.key()}
        parents = {parent: stage_hash(self.id, parent) for parent in PARENTS[self.stage]}
        same = (earlier.get("key"), earlier.get("parents")) == (key, parents)
        self.resuming = same and earlier["status"] != "finished"
        if self.resuming:
            replaces = earlier.get("replaces")
        else:
            replaces = self._archive(on_finished, earlier)
        self.folder.mkdir(parents=True, exist_ok=True)
        params = {"profile": self.profile.name, "seed": self.seed, "overrides": chosen}
        write_json(self.folder / PARAMS, params | {"params": self.params.model_dump(mode="json")})
        manifest = {
            "stage": self.stage,
            "run": self.id,
            "status": "running",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "key": key,
            "parents": parents,
            "replaces": replaces,
            "inputs": {},
            "git": _git_sha(),
            "code": _code_hash(self.stage),
            "versions": _versions(),
            "device": _device(),
        }
        write_json(self.folder / MANIFEST, manifest)

    def _archive(self, on_finished: str, earlier: dict) -> str | None:
        """Move an earlier attempt's files aside; a notebook that papermill is writing stays.

        Returns the name of their folder in ``.previous/``, or None when there were none.
        """
        files = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        old = [file for file in files if not _stays(file)]
        if not old:
            return None
        if on_finished == "refuse" and earlier and outputs(self.folder):
            raise InputError(
                f"{self.stage} of run {self.id} has results in {paths.shown(self.folder)} and "
                f"profile {self.profile.name} refuses to replace them; choose another run id, or "
                f"move that folder away and give the same command again"
            )
        target = new_folder(self.folder.parent / PREVIOUS, self.stage)
        for file in sorted(old, key=lambda file: file.name != MANIFEST):
            os.rename(file, target / file.name)
        print(f"{self.stage}: earlier files moved to {paths.shown(target)}")
        return target.name


def withdraw(run_id: str, stage: str) -> None:
    """Take back the opening of a stage that refused its input before it wrote anything.

    The files that the opening had moved aside stand in their places again; where there were none,
    the stage has not been run. Nothing happens to an attempt that has written, or that is another
    process's.
    """
    folder = stage_folder(run_id, stage)
    lock = _lock(folder)
    try:
        locks.acquire(lock, stage)
    except InputError:
        return
    manifest = read_json(folder / MANIFEST)
    written = {file.name for file in folder.iterdir()} - {MANIFEST, PARAMS, ".gitkeep"}
    aside = folder.parent / PREVIOUS / (manifest.get("replaces") or "nothing")
    if manifest.get("status") == "running" and not written:
        (folder / PARAMS).unlink()
        (folder / MANIFEST).unlink()
        if aside.is_dir():
            for file in sorted(aside.iterdir(), key=lambda file: file.name == MANIFEST):
                os.rename(file, folder / file.name)
            aside.rmdir()
    locks.release(lock)


def _lock(folder: Path) -> Path:
    return folder.parent / ".locks" / folder.name


def _stays(file: Path) -> bool:
    if file.name != NOTEBOOK:
        return file.name == ".gitkeep" or file.name.endswith(f".{NOTEBOOK}")
    try:
        metadata = nbformat.read(file, 4).metadata
    except (OSError, ValueError, nbformat.ValidationError):
        return True
    return metadata.get("papermill", {"end_time": ""}).get("end_time") is None


def new_folder(parent: Path, stage: str) -> Path:
    """A folder of ``parent`` named after the stage and the time, for what is moved aside."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        folder = parent / (f"{stage}-{stamp}" if number == 1 else f"{stage}-{stamp}-{number}")
        if not folder.exists():
            folder.mkdir()
            return folder
    raise InputError(f"{paths.shown(parent)} holds too many copies of {stage}; delete some")


def _git_sha() -> str | None:
    command = ["git", "-C", str(paths.root()), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _code_hash(stage: str) -> str | None:
    path = paths.notebooks() / f"{stage}.ipynb"
    if not path.is_file():
        return None
    cells = nbformat.read(path, 4).cells
    return digest([cell.source for cell in cells if cell.cell_type == "code"])


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in ("rnagpt-lib", *PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _device() -> str:
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch and torch.cuda.is_available() else "cpu"
