"""Run notebooks headless: parameters checked first, one line of progress each.

The executed copy stands beside the stage's results, ``runs/<run>/<stage>/notebook.ipynb``.
"""

import difflib
import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from rnagpt_lib.core import params, paths, weights
from rnagpt_lib.core.errors import REFUSALS, InputError, NotebookFailed
from rnagpt_lib.core.files import replacing, writing
from rnagpt_lib.core.text import cut, one_line
from rnagpt_lib.runs import stages
from rnagpt_lib.runs.folder import REMEDY, withdraw
from rnagpt_lib.runs.stages import NOTEBOOK, STAGES, WARNING, stage_folder

TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}
NOTHING = ("null", "none", "~", "")
SERVERS = {name.upper() for name in (*params.ADDRESSES, "provider")}


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
            fault = f"{notebook.stem} has no parameter {name}{_guess(name, known)}"
            raise InputError(f"{fault}; its parameters are {', '.join(known)}")
        kind = known[name]["inferred_type_name"].split("[")[0]
        if known[name]["default"] == "None" and str(value).lower() in NOTHING:
            values[name] = None
            continue
        try:
            if isinstance(value, str) and kind != "str":
                value = {"int": int, "float": float}.get(kind, params.read_yaml)(value)
        except ValueError:  # also an InputError
            pass  # it stays a text
        with suppress(OverflowError):
            value = float(value) if kind == "float" and type(value) is int else value
        if kind in TYPES and type(value) is not TYPES[kind]:
            said = cut(repr(given[name]), 200)
            fault = f"parameter {name} should be of the type {kind}, and is {said}"
            raise InputError(f"{notebook.stem}: {fault}")
        if name == "SEED":
            params.check_seed(value)
        values[name] = value
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
    stage = notebook.stem if notebook.stem in STAGES else None
    known = list_parameters(notebook)
    general = {"PROFILE": profile, "RUN": run or (profile if stage else None)}
    given = {name: value for name, value in general.items() if value and name in known}
    values = check_parameters(notebook, given | dict(parameters or {}))
    if stage:
        loaded = params.load(str(values["PROFILE"]))
        _check(stage, loaded, values)
        folder = stage_folder(values["RUN"], stage)
        run_parents(stage, values["RUN"], loaded, int(values.get("SEED", 0)))
    else:
        default = params.read_yaml(known.get("RUN", {"default": "mini"})["default"])
        folder = stage_folder(values.get("RUN", run or default), stages.FILTER)
        folder = folder.with_name(notebook.stem)
    with writing(folder, REMEDY):
        folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    print(f"{notebook.stem:<24}", end="", flush=True)
    try:
        with writing(folder / NOTEBOOK, REMEDY):
            warnings = execute(notebook, folder / NOTEBOOK, values)
    except BaseException as error:
        if isinstance(error, InputError) and stage:
            withdraw(folder.parent.name, stage)
        print(f"{time.monotonic() - started:6.0f} s   stopped", flush=True)
        raise
    written = list(stages.manifest_of(folder).get("outputs", {}))
    more = f" and {len(written) - 4} more" if len(written) > 4 else ""
    about = ": ".join(filter(None, [paths.shown(folder), ", ".join(written[:4]) + more]))
    print("\n".join([f"{time.monotonic() - started:6.0f} s   {about}", *warnings]), flush=True)
    return folder / NOTEBOOK


def run_path(
    path: Iterable[str], *, run: str, profile: str, parameters: Mapping[str, object] | None = None
) -> None:
    """Run the stages of ``path`` in order, leaving out those that are up to date with the parameters.

    Each of ``parameters`` goes to every notebook that has it; InputError when none has.
    """
    loaded, given = params.load(profile), share_out(path, parameters or {})
    given = {stage: check_parameters(find(stage), own) for stage, own in given.items()}
    for stage, own in given.items():
        if _is_due(run, stage, loaded, own):
            _check(stage, loaded, own)
    for stage, own in given.items():
        if _is_due(run, stage, loaded, own):
            run_notebook(stage, run=run, profile=profile, parameters=own)
        else:
            print(f"{stage:<24} is up to date", flush=True)


def share_out(path: Iterable[str], parameters: Mapping[str, object]) -> dict[str, dict]:
    """Notebook → those of ``parameters`` that it has; InputError for one that none of them has."""
    known = {name: list_parameters(find(name)) if parameters else {} for name in path}
    for name in parameters:
        if not any(name in own for own in known.values()):
            guess = _guess(name, {parameter for own in known.values() for parameter in own})
            raise InputError(
                f"no notebook has a parameter {name}{guess}; see rnagpt run NOTEBOOK --list"
            )
    return {
        notebook: {name: value for name, value in parameters.items() if name in own}
        for notebook, own in known.items()
    }


def _is_due(run: str, stage: str, profile: params.Profile, own: Mapping[str, object]) -> bool:
    """Whether the stage is missing, stale, or was run with other parameters."""
    if stages.is_fresh(run, stage):
        return True
    wanted = {"seed": own.get("SEED", 0), "params": _chosen(stage, profile, own).key()}
    return stages.manifest_of(stage_folder(run, stage))["key"] != wanted


def run_parents(stage: str, run: str, profile: params.Profile, seed: int) -> None:
    """Run the predecessors that are missing or stale, as they were run before if they were.

    Raises InputError, naming notebook and command, where the profile leaves that to the user.
    """
    for parent in stages.PARENTS[stage]:
        reason = stages.is_fresh(run, parent)
        if reason is None:
            continue
        folder = stage_folder(run, parent)
        finished = stages.manifest_of(folder).get("status") == "finished"
        if not profile.auto_run:
            refused = finished and profile.on_finished == "refuse"
            todo = f"move {paths.shown(folder)} away and run" if refused else "run"
            todo += f": {stages.command(run, parent, profile.name)}"
            raise InputError(f"{stage} of run {run} needs {parent}, but {reason}; first {todo}")
        print(f"{parent}: {reason}, so it is run first", flush=True)
        earlier = stages.asked_of(folder)
        if not finished and earlier.get("profile") != profile.name:
            earlier = {}  # a failed attempt with another profile is no choice
        overrides = {name.upper(): value for name, value in earlier.get("overrides", {}).items()}
        if str(overrides.get("LLM")).startswith(weights.HUB):
            weights.llm_folder(overrides["LLM"])  # a folder of runs may be anybody's: no request
        for name in sorted(SERVERS & overrides.keys()):
            raise InputError(
                f"{parent} of run {run} is to be run again, and {name} was given for it; as that "
                f"sends texts and a key, give it yourself: {stages.command(run, parent)}"
            )
        run_notebook(
            parent,
            run=run,
            profile=earlier.get("profile", profile.name),
            parameters={"SEED": earlier.get("seed", seed)} | overrides,
        )


def _chosen(stage: str, profile: params.Profile, values: Mapping[str, object]) -> params.Stage:
    """The stage's parameters, ``values`` (of the notebook) before the profile's; what the notebook
    alone has, such as a question of one's own in 07, is none of them."""
    fields = params.STAGE_MODELS[stage].model_fields
    own = {name.lower(): value for name, value in values.items() if name.lower() in fields}
    return profile.stage(stage, **own)


def _check(stage: str, profile: params.Profile, values: Mapping[str, object]) -> None:
    """Raises InputError for parameters that the stage refuses, and for a key, a price or weights
    that it would lack: before a kernel starts, and before earlier stages take their hours."""
    chosen = _chosen(stage, profile, values)
    if earlier := getattr(chosen, "update_of", None):
        table = stage_folder(earlier, stage) / "topics.parquet"
        if not table.is_file() or earlier == values.get("RUN"):
            wanted = f"an earlier, other run with {stage} finished"
            raise InputError(f"UPDATE_OF is {earlier}, which is to be {wanted}")
    if isinstance(chosen, params.Calls):
        chosen.check()
    if isinstance(chosen, params.Train):
        weights.encoder_folder(chosen.encoder)
        if not chosen.llm.startswith(weights.HUB):
            weights.llm_folder(chosen.llm)


def execute(notebook: Path, output: Path, values: dict[str, object]) -> list[str]:
    """Run a notebook with these parameters into ``output``, which is whole or not there; returns
    the warnings that it prints, each once. Raises InputError for what the notebook refuses,
    NotebookFailed for any other error.
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
    printed = (one for cell in executed.cells for one in cell.get("outputs", ()))
    lines = (line for one in printed for line in one.get("text", "").splitlines())
    return list(dict.fromkeys(one_line(line) for line in lines if line.startswith(WARNING)))
