"""The stages, what each reads, and what makes one stale.

A stage's outputs are all files of its folder but for the executed notebook, the manifest,
``params.json`` (its hash counts the parameters themselves), names with a leading dot,
training ``state/``, and what is redrawn from the rest (``figures/``, ``report.html``, ``tables/``):
those may come and go.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest, read_json, sha256, visible
from rnagpt_lib.core.params import STAGE_MODELS

STAGES: tuple[str, ...] = tuple(STAGE_MODELS)
FILTER, TOPICS, SUMMARIES, QA, STAGE1, STAGE2, ABLATIONS, CASES = STAGES
DATA, TRAININGS = STAGES[:4], (STAGE1, STAGE2)  # what makes a data set, what trains a model
PARENTS: dict[str, tuple[str, ...]] = {
    FILTER: (),
    TOPICS: (FILTER,),
    SUMMARIES: (FILTER, TOPICS),
    QA: (FILTER, SUMMARIES),
    STAGE1: (SUMMARIES, QA),
    STAGE2: (QA, STAGE1),
    ABLATIONS: (FILTER, SUMMARIES, QA, STAGE1, STAGE2),
    CASES: (SUMMARIES, QA, STAGE1, STAGE2),
}
MODELS = ("vanilla", "MA", "IT")  # no training, modality alignment, instruction tuning
STAGE_OF = {"vanilla": STAGE1, "MA": STAGE1, "IT": STAGE2}  # stage 1 leaves the LLM untouched
WARNING = "Warning: "  # a line that a notebook prints so, `rnagpt run` prints at its end, too
NOTEBOOK, MANIFEST, PARAMS, METRICS = (
    "notebook.ipynb",
    "manifest.json",
    "params.json",
    "metrics.json",
)
REPORT, TABLES = "report.html", "tables"
NO_RESULTS = {"state", "figures", REPORT, TABLES, "rnagpt"}


class _Key(TypedDict):
    seed: int
    params: dict[str, object]


class _Begun(TypedDict):
    status: Literal["running"]
    started: str
    key: _Key
    parents: dict[str, str]
    inputs: dict[str, str]
    replaces: NotRequired[str | None]


class _Finished(_Begun):
    status: Literal["finished"]
    outputs: dict[str, str]
    hash: str


class _Asked(TypedDict, total=False):
    profile: str
    seed: int
    overrides: dict[str, object]
    params: dict[str, object]


_Manifest = Annotated[_Begun | _Finished, Field(discriminator="status")]


def manifest_of(folder: Path) -> dict:
    """What ``manifest.json`` of a stage's folder says; empty where there is none. Raises InputError
    for what no stage has written so."""
    return read_json(folder / MANIFEST, _Manifest)


def asked_of(folder: Path) -> dict:
    """The same of ``params.json``: what the stage was asked for."""
    return read_json(folder / PARAMS, _Asked)


def setting(run: str, stage: str, name: str) -> str:
    """A parameter, a text, that a stage was run with. Raises InputError where none is recorded."""
    folder = stage_folder(run, stage)
    value = asked_of(folder).get("params", {}).get(name)
    if not isinstance(value, str):
        raise InputError(f"{paths.shown(folder / PARAMS)} says no {name}; run {stage} of {run}")
    return value


def check_run(run: str) -> None:
    """Raises InputError, with the runs that there are, where there is none of this name."""
    if not (paths.runs() / run).is_dir():
        known = sorted(path.name for path in paths.runs().glob("[A-Za-z]*/"))
        raise InputError(f"there is no run {run}; runs are {', '.join(known) or 'none yet'}")


def stage_folder(run_id: str, stage: str) -> Path:
    """``runs/<run>/<stage>``. Raises InputError for a bad run id or an unknown stage."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", run_id):
        raise InputError(
            f"run id {run_id!r} is not allowed: it starts with a letter and goes on with "
            "letters, digits, _ or -"
        )
    if stage not in STAGES:
        raise InputError(f"stage {stage!r} is unknown; stages are {', '.join(STAGES)}")
    return paths.runs() / run_id / stage


def profile_of(run: str) -> str | None:
    """The profile that a run's first stages were made with; None for a run that is not there."""
    made = (asked_of(stage_folder(run, stage)).get("profile") for stage in STAGES)
    return next(filter(None, made), None)


def is_fresh(run_id: str, stage: str) -> str | None:
    """None when the stage is finished and all it was made from is unchanged, else why not."""
    folder = stage_folder(run_id, stage)
    manifest = manifest_of(folder)
    if manifest.get("status") != "finished":
        return "it was started but not finished" if manifest else "it has not been run yet"
    if manifest["hash"] != digest([manifest["key"], manifest["outputs"]]):
        return f"its file {MANIFEST} has been changed since"
    for parent, recorded in manifest["parents"].items():
        reason = is_fresh(run_id, parent)
        if reason:
            return f"{parent} comes before it: {reason}"
        if stage_hash(run_id, parent) != recorded:
            return f"{parent} has been run again since"
    for name, recorded in manifest["inputs"].items():
        path = paths.from_root(name)
        if not path.exists() or sha256(path) != recorded:
            return f"its input {name} has changed or is missing"
    found, recorded = outputs(folder), manifest["outputs"]
    changed = sorted(n for n in found.keys() | recorded if found.get(n) != recorded.get(n))
    return f"its file {changed[0]} has been changed, added or deleted since" if changed else None


def command(run_id: str, stage: str, profile: str = "mini") -> str:
    """The command that runs the stage as it was run before, or else like the first one.

    ``profile``: that of a run whose first stage is not there.
    """
    own, first = (asked_of(stage_folder(run_id, name)) for name in (stage, STAGES[0]))
    named = own.get("profile") or first.get("profile") or profile
    words = ["rnagpt", "run", stage, "--profile", named, "--run", run_id]
    seed = own.get("seed", first.get("seed", 0))
    given = ({"seed": seed} if seed else {}) | own.get("overrides", {})
    for name, value in given.items():
        words += ["-p", name.upper(), value if isinstance(value, str) else json.dumps(value)]
    return shlex.join(words)


def stage_hash(run_id: str, stage: str) -> str:
    """The hash of a finished stage, over its parameters and outputs; InputError if it is not."""
    manifest = manifest_of(stage_folder(run_id, stage))
    if "hash" not in manifest:
        raise InputError(f"{stage} of run {run_id} is not finished; run notebooks/{stage}.ipynb")
    return manifest["hash"]


def outputs(folder: Path) -> dict[str, str]:
    """Hash of each output in a stage's folder, by relative name."""
    files = visible(folder).items()
    return {
        name: sha256(file)
        for name, file in files
        if name not in (NOTEBOOK, MANIFEST, PARAMS) and NO_RESULTS.isdisjoint(Path(name).parts)
    }
