"""Runs: open a stage, read its predecessors, write its own files, finish it.

>>> run = Run.open("01_explore_topics", globals())          # doctest: +SKIP
>>> articles = run.read("00_filter_rnacentral", "articles")  # doctest: +SKIP
"""

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from rnagpt_lib.core import params, paths, tables, weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest, read_json, sha256, write_json, writing
from rnagpt_lib.runs import stages
from rnagpt_lib.runs.folder import REMEDY, acquire_lock, archive, bring_back, lock_of, release_lock
from rnagpt_lib.runs.resume_store import Store
from rnagpt_lib.runs.stages import MANIFEST, METRICS, PARAMS, PARENTS, outputs, stage_folder

PACKAGES = ("numpy", "pandas", "gensim", "torch", "transformers", "peft", "rna-fm", "papermill")


@dataclass
class Run:
    """One open stage of a run; ``Run.open`` makes it, ``finish`` closes it."""

    stage: str
    id: str
    profile: params.Profile
    seed: int
    params: params.Stage
    folder: Path
    resuming: bool = False

    @classmethod
    def open(
        cls,
        stage: str,
        names: Mapping[str, object] | None = None,
        *,
        run: str = "mini",
        profile: str = "mini",
        seed: int = 0,
        on_finished: str | None = None,
        **overrides: object,
    ) -> "Run":
        """Open a stage: check its parameters, see to its parents, lock it, clear its folder.

        ``names``: the ``globals()`` of a notebook; of its upper-case names those are taken that
        are parameters of the stage, or PROFILE, RUN, SEED or ON_FINISHED. Elsewhere they are given
        one by one, in lower case. None means "as in the profile", and so it does for
        ``on_finished`` (``archive`` or ``refuse``).
        Parents that are missing or stale are run first where the profile says so.
        Raises InputError for bad parameters, missing parents or base models, or a stage in use;
        what is there stays as it is then.
        """
        folder = stage_folder(run, stage)
        if names is not None:
            known = params.describe(stage)
            given = {name.lower(): names[name] for name in known if name in names}
            return cls.open(stage, **given, **overrides)
        loaded = params.load(profile)
        params.check_seed(seed)
        if on_finished not in (None, "archive", "refuse"):
            raise InputError(f"ON_FINISHED is {on_finished!r}; it can be archive or refuse")
        chosen = {name: value for name, value in overrides.items() if value is not None}
        opened = cls(stage, run, loaded, seed, loaded.stage(stage, **chosen), folder)
        opened._check_weights()
        if any(stages.is_fresh(run, parent) for parent in PARENTS[stage]):
            from rnagpt_lib.runs import notebooks  # papermill is slow to import, rarely needed here

            notebooks.run_parents(stage, run, loaded, seed)
        with writing(folder, REMEDY):
            acquire_lock(lock_of(folder), f"{stage} of run {run}")
            try:
                opened._begin(on_finished or loaded.on_finished, chosen)
            except BaseException:
                release_lock(lock_of(folder))
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

    def store(self) -> Store:
        """What took long, kept for a run that goes on after a kill."""
        return Store(self.folder)

    def use(self, path: str | Path) -> Path:
        """An input from outside of the run, file or folder; its hash goes into the manifest."""
        given = paths.from_root(path)
        if not given.exists():
            raise InputError(f"{paths.shown(given)}, an input of {self.stage}, does not exist")
        manifest = self.manifest
        manifest["inputs"][os.path.relpath(given, paths.root())] = sha256(given)
        write_json(self.path(MANIFEST), manifest)
        return given

    def log_metrics(self, mapping: Mapping[str, object]) -> None:
        """Merge finite numbers and texts, nested or not, into ``metrics.json``.

        Raises InputError for a value that is NaN, infinite or of another kind.
        """
        path = self.path(METRICS)
        write_json(path, merge_metrics(read_json(path), mapping))

    def show(self) -> None:
        """Print versions, device, seed, parameters and predecessors."""
        manifest = self.manifest
        packages = " · ".join(f"{name} {number}" for name, number in manifest["versions"].items())
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
        written = outputs(self.folder)
        finished = {
            "status": "finished",
            "finished": now.isoformat(timespec="seconds"),
            "seconds": round((now - datetime.fromisoformat(manifest["started"])).total_seconds()),
            "outputs": written,
            "hash": digest([manifest["key"], written]),
        }
        write_json(path, manifest | finished)
        release_lock(lock_of(self.folder))
        print(f"{self.stage} is finished: {len(written)} files in {paths.shown(self.folder)}")

    @property
    def manifest(self) -> dict:
        """What ``manifest.json`` says now."""
        return stages.manifest_of(self.folder)

    def _check_weights(self) -> None:
        """What the base models cannot do is told before an earlier training is moved aside."""
        if isinstance(self.params, params.Train):
            folder = weights.encoder_folder(self.params.encoder)
            layers = getattr(self.params, "encoder_layers", 0)  # stage 2 has them
            weights.check_layers(weights.encoder_config(folder), layers)
            weights.llm_folder(self.params.llm, download=True)

    def _begin(self, on_finished: str, chosen: dict[str, object]) -> None:
        """Clear or resume the folder and write its parameters and manifest."""
        earlier = stages.manifest_of(self.folder)
        key = {"seed": self.seed, "params": self.params.key()}
        parents = {parent: stages.stage_hash(self.id, parent) for parent in PARENTS[self.stage]}
        same = (earlier.get("key"), earlier.get("parents")) == (key, parents)
        self.resuming = same and earlier["status"] != "finished"
        if not self.resuming and on_finished == "refuse" and earlier and outputs(self.folder):
            raise InputError(
                f"{self.stage} of run {self.id} has results in {paths.shown(self.folder)} and profile "
                f"{self.profile.name} refuses to replace them; choose another run id, or move them"
            )
        replaces = earlier.get("replaces") if self.resuming else archive(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        asked = {"profile": self.profile.name, "seed": self.seed, "overrides": chosen}
        asked |= {"params": self.params.model_dump(mode="json")}
        torch = sys.modules.get("torch")
        on_gpu = torch and torch.cuda.is_available()
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
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        }
        try:
            write_json(self.folder / PARAMS, asked)
            write_json(self.folder / MANIFEST, manifest)
        except OSError:  # a full disk takes no finished stage away
            if not self.resuming:
                bring_back(self.folder, replaces)
            raise


def merge_metrics(
    earlier: Mapping[str, object], new: Mapping[str, object], prefix: str = ""
) -> dict:
    """``earlier`` with ``new`` laid over it, level by level; numpy scalars become plain.

    >>> merge_metrics({"loss": {"first": 2.0}}, {"loss": {"last": 0.5}})
    {'loss': {'first': 2.0, 'last': 0.5}}

    Raises InputError naming the first metric that is NaN, infinite or of another kind.
    """
    result = dict(earlier)
    for key, value in new.items():
        name, below = f"{prefix}{key}", result.get(key)
        if isinstance(value, Mapping):
            below = below if isinstance(below, dict) else {}
            result[str(key)] = merge_metrics(below, value, f"{name}.")
            continue
        if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
            value = value.item()
        if not isinstance(value, float | int | str):
            kind = type(value).__name__
            raise InputError(f"metric {name} is a {kind}; it can be a number or text")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"metric {name} is {value}; metrics are finite, so leave it out")
        result[str(key)] = value
    return result


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
    cells = read_json(path)["cells"]  # nbformat takes seconds to import, in every kernel
    return digest(["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"])


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for package in ("rnagpt-lib", *PACKAGES):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
