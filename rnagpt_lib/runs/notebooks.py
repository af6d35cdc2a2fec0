"""Run notebooks headless: parameters checked first, one line of progress each.

The executed copy stands beside the stage's results, ``runs/<run>/<stage>/notebook.ipynb``.
"""

import difflib
import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat
import papermill
import yaml
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from rnagpt_lib.core import params, paths
from rnagpt_lib.core.errors import REFUSALS, InputError, NotebookFailed
from rnagpt_lib.core.files import read_json, replacing
from rnagpt_lib.runs.folder import withdraw
from rnagpt_lib.runs.stages import (
    FILTER,
    MANIFEST,
    NOTEBOOK,
    PARAMS,
    PARENTS,
    STAGES,
    command,
    is_fresh,
    stage_folder,
)

KINDS = {
    "int": "an integer (int)",
    "float": "a number (float)",
    "bool": "true or false (bool)",
    "list": "a list (such as [a, b])",
    "dict": "a mapping (such as {a: 1})",
}
TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}
NOTHING = ("null", "none", "~", "")


def find(name: str) -> Path:
    """The notebook that ``name`` means: ``04``, ``04_train_stage1`` or a path to it.

    Raises InputError when none or several fit.
    """
    stem = Path(name).name.removesuffix(".ipynb")
    files = {path.stem: path for path in sorted(paths.notebooks().glob("*.ipynb"))}
    fitting = [stem] if stem in files else [known for known in files if known.startswith(stem)]
    if len(fitting) != 1:
        raise InputError(
            f"notebook {name!r} is {'ambiguous' if fitting else 'unknown'}; notebooks are "
            + ", ".join(fitting or files)
        )
    return files[fitting[0]]


def list_parameters(notebook: Path) -> dict[str, dict]:
    """Name → type, default and help of the notebook's parameters: those of its cell, as papermill
    sees them, and the other ones of its stage, which only the profile fills."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    stated = papermill.inspect_notebook(str(notebook))
    others = params.describe(notebook.stem) if notebook.stem in STAGES else {}
    return {name: dict(about) for name, about in (stated | others | stated).items()}


def check_parameters(notebook: Path, given: Mapping[str, object]) -> dict[str, object]:
    """``given`` with every value in the type that its parameter declares.

    Texts (from a command line) are converted: ``007`` is 7 for an int and stays for a str;
    ``null`` and ``None`` mean None where that is the default.
    Raises InputError for an unknown name or an ill-typed value.
    """
    known = list_parameters(notebook)
    values = {}
    for name, value in given.items():
        if name not in known:
            raise InputError(
                f"{notebook.stem} has no parameter {name}{_guess(name, known)}; its parameters are "
                f"{', '.join(known)}"
            )
        try:
            values[name] = _typed(value, known[name])
        except (ValueError, yaml.YAMLError):
            kind = known[name]["inferred_type_name"]
            raise InputError(
                f"{notebook.stem}: parameter {name} should be {KINDS.get(kind, kind)}, and is "
                f"{value!r}"
            ) from None
    return values


def _guess(name: str, known: Iterable[str]) -> str:
    """The parameter that a misspelt one is taken for, as a question."""
    close = difflib.get_close_matches(name.upper(), known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def run_notebook(
    name: str,
    *,
    run: str | None = None,
    profile: str = "mini",
    parameters: Mapping[str, object] | None = None,
) -> Path:
    """Run one notebook (and first what it needs, where the profile says so).

    Without ``run``, a stage's run has the profile's name, another notebook its own default or
    ``mini``.
    Returns the executed copy. Raises InputError for bad parameters and for what the notebook
    itself refuses, NotebookFailed for any other error, with the executed copy kept.
    """
    notebook = find(name)
    known = list_parameters(notebook)
    general = {"PROFILE": profile, "RUN": run or (profile if notebook.stem in STAGES else None)}
    given = {name: value for name, value in general.items() if value and name in known}
    values = check_parameters(notebook, given | dict(parameters or {}))
    if notebook.stem in STAGES:
        _check(notebook.stem, params.load(str(values["PROFILE"])), values)
    default = yaml.safe_load(known.get("RUN", {"default": "mini"})["default"])
    folder = _folder(notebook, values, run=values.get("RUN", run or default))
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    print(f"{notebook.stem:<24}", end="", flush=True)
    try:
        execute(notebook, folder / NOTEBOOK, values)
    except BaseException as error:
        if isinstance(error, InputError) and notebook.stem in STAGES:
            withdraw(folder.parent.name, notebook.stem)
        print(f"{time.monotonic() - started:6.0f} s   stopped", flush=True)
        raise
    print(f"{time.monotonic() - started:6.0f} s   {_written(folder)}", flush=True)
    return folder / NOTEBOOK


def _folder(notebook: Path, values: Mapping[str, object], run: str) -> Path:
    """The folder to run in, once the stages that come before are there."""
    if notebook.stem not in STAGES:
        return stage_folder(run, FILTER).with_name(notebook.stem)
    folder = stage_folder(run, notebook.stem)
    profile = params.load(str(values["PROFILE"]))
    run_parents(notebook.stem, run, profile, int(values.get("SEED", 0)))
    return folder


def run_path(
    stages: Iterable[str], *, run: str, profile: str, parameters: Mapping[str, object] | None = None
) -> None:
    """Run the stages in order, leaving out those that are up to date with the parameters.

    Each of ``parameters`` goes to every notebook that has it; InputError when none has.
    """
    loaded = params.load(profile)
    given = {stage: _own(stage, parameters or {}) for stage in stages}
    for name in parameters or {}:
        if not any(name in own for own in given.values()):
            known = {parameter for stage in stages for parameter in list_parameters(find(stage))}
            raise InputError(
                f"no notebook has a parameter {name}{_guess(name, known)}; see rnagpt run NOTEBOOK "
                "--list"
            )
    for stage, own in given.items():
        if is_fresh(run, stage) or _differs(run, stage, loaded, own):
            _check(stage, loaded, own)
    for stage, own in given.items():
        reason = is_fresh(run, stage) or _differs(run, stage, loaded, own)
        if reason is None:
            print(f"{stage:<24} is up to date", flush=True)
        else:
            run_notebook(stage, run=run, profile=profile, parameters=own)


def _own(stage: str, given: Mapping[str, object]) -> dict[str, object]:
    """Those of ``given`` that the stage's notebook has, in their types."""
    notebook = find(stage)
    known = list_parameters(notebook) if given else {}
    return check_parameters(
        notebook, {name: value for name, value in given.items() if name in known}
    )


def run_parents(stage: str, run: str, profile: params.Profile, seed: int) -> None:
    """Run the predecessors that are missing or stale, as they were run before if they were.

    Raises InputError, naming notebook and command, where the profile leaves that to the user.
    """
    for parent in PARENTS[stage]:
        reason = is_fresh(run, parent)
        if reason is None:
            continue
        if not profile.auto_run:
            todo = _todo(run, parent, profile)
            raise InputError(f"{stage} of run {run} needs {parent}, but {reason}; first {todo}")
        print(f"{parent}: {reason}, so it is run first", flush=True)
        earlier = _earlier(run, parent, profile)
        overrides = {name.upper(): value for name, value in earlier.get("overrides", {}).items()}
        run_notebook(
            parent,
            run=run,
            profile=earlier.get("profile", profile.name),
            parameters={"SEED": earlier.get("seed", seed)} | overrides,
        )


def _todo(run: str, stage: str, profile: params.Profile) -> str:
    """What helps where a stage is missing or stale."""
    folder = stage_folder(run, stage)
    stands = read_json(folder / MANIFEST).get("status") == "finished"
    refused = stands and profile.on_finished == "refuse"
    moved = f"move {paths.shown(folder)} away and " if refused else ""
    return f"{moved}run: {command(run, stage, profile.name)}"


def _earlier(run: str, stage: str, profile: params.Profile) -> dict:
    """Profile, seed and overrides of the stage's last run; none of an unfinished one of another
    profile, which is a failed attempt rather than a choice."""
    folder = stage_folder(run, stage)
    earlier = read_json(folder / PARAMS)
    finished = read_json(folder / MANIFEST).get("status") == "finished"
    return earlier if finished or earlier.get("profile") == profile.name else {}


def _stage_parameters(
    stage: str, profile: params.Profile, values: Mapping[str, object]
) -> params.Stage:
    """The stage's parameters, ``values`` (of the notebook) before the profile's; what the notebook
    alone has, such as a question of one's own in 07, is none of them."""
    fields = params.STAGE_MODELS[stage].model_fields
    own = {name.lower(): value for name, value in values.items() if name.lower() in fields}
    return profile.stage(stage, **own)


def _check(stage: str, profile: params.Profile, values: Mapping[str, object]) -> None:
    """Raises InputError for parameters that the stage refuses, and for a key or a price that it
    would lack: before a kernel starts, and before the stages that come first take their hours."""
    chosen = _stage_parameters(stage, profile, values)
    if earlier := getattr(chosen, "update_of", None):
        table = stage_folder(earlier, stage) / "topics.parquet"
        if not table.is_file() or earlier == values.get("RUN"):
            raise InputError(
                f"UPDATE_OF is {earlier}, which is to be an earlier, other run with {stage} finished"
            )
    if isinstance(chosen, params.Calls):
        chosen.check()


def _typed(value: object, about: dict) -> object:
    """``value`` in the declared type; ValueError when it cannot be."""
    if about["default"] == "None" and (value is None or str(value).lower() in NOTHING):
        return None
    kind = about["inferred_type_name"].split("[")[0]
    if isinstance(value, str) and kind != "str":
        value = {"int": int, "float": float}.get(kind, yaml.safe_load)(value)
    if kind == "float" and type(value) is int:
        return float(value)
    if kind in TYPES and type(value) is not TYPES[kind]:
        raise ValueError
    return value


def execute(notebook: Path, output: Path, values: dict[str, object]) -> None:
    """Run a notebook with these parameters into ``output``, which is whole or not there.

    Raises InputError for what the notebook refuses, NotebookFailed for any other error.
    """
    # bert_score batches texts in the order of a set: with another order, other float32 sums
    os.environ.setdefault("PYTHONHASHSEED", "0")
    # threads that spin while they wait are many times slower beside any other busy process
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    message = None
    with replacing(output) as temporary:
        try:
            papermill.execute_notebook(
                str(notebook),
                str(temporary),
                values,
                progress_bar=False,
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            )
        except PapermillExecutionError as error:
            if error.ename in REFUSALS:
                raise InputError(error.evalue) from None
            message = f"cell {error.cell_index}: {error.ename}: {error.evalue}"
        except DeadKernelError:
            message = "its kernel died; most often memory ran out"
        # paths as seen from the project's root: the copy is shared without telling where it was made
        executed = nbformat.read(temporary, nbformat.NO_CONVERT)
        about = {"input_path": paths.shown(notebook), "output_path": paths.shown(output)}
        executed.metadata.setdefault("papermill", {}).update(about)
        nbformat.write(executed, temporary)
    if message:
        raise NotebookFailed(
            f"{notebook.stem} failed in {message}\nThe executed copy is {paths.shown(output)}"
        )


def _differs(run: str, stage: str, profile: params.Profile, own: dict) -> str | None:
    recorded = read_json(stage_folder(run, stage) / MANIFEST)["key"]
    chosen = _stage_parameters(stage, profile, own)
    wanted = {"seed": own.get("SEED", 0), "params": chosen.key()}
    return None if recorded == wanted else "its parameters are others"


def _written(folder: Path) -> str:
    names = list(read_json(folder / MANIFEST).get("outputs", {}))
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ": ".join(filter(None, [paths.shown(folder), ", ".join(names[:4]) + more]))
