"""A trained model as a product: a run's best checkpoint as one folder with its card and scores.

The same run gives the same bytes. `exported` tells what the folder holds and checks it;
``generate.load_model(model=folder)`` answers with it.
"""

import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from huggingface_hub import HfApi, errors
from huggingface_hub.utils import validate_repo_id

from rnagpt_lib import __version__
from rnagpt_lib.core import paths, weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import MARKER, read_json, read_marker, visible, write_json
from rnagpt_lib.evaluate import results
from rnagpt_lib.model import checkpoint as checkpoints
from rnagpt_lib.model.exported import LLM, MADE_BY, NAMES, is_owners
from rnagpt_lib.model.rna_gpt import Config
from rnagpt_lib.runs.provenance import Provenance
from rnagpt_lib.runs.stages import ABLATIONS, STAGE_OF, STAGES, is_fresh, stage_folder
from rnagpt_lib.share import cards
from rnagpt_lib.share import folder as export

SCORES, DEFINITIONS = "scores.csv", "definitions.json"
LEFT = ("manifest.json", "state/")  # of a checkpoint: an export has sums of its own, no optimiser

TOKEN = "HF_TOKEN"
REASONS = {
    401: f"the hub does not know the token in {TOKEN}; make one that may write",
    403: f"the token in {TOKEN} may not write there; take one that may, or another OWNER",
    404: f"the hub has no such place for the token in {TOKEN}; look at OWNER/NAME",
}


def export_model(
    run_id: str, out: Path, *, model: str = "IT", merged: bool = False, force: bool = False
) -> dict:
    """Write ``out`` from the best checkpoint of MA (stage 04) or IT (05); returns what
    ``rnagpt_export.json`` says.

    ``merged``: with a whole LLM that has the adapters in its weights, instead of the adapters.
    ``out`` appears whole or not at all; an earlier export of a model in its place is replaced with
    ``force`` alone, and anything else never. Raises InputError for a run that is unfinished or
    stale, and where there is nothing that could be merged.
    """
    if model not in NAMES:
        raise InputError(f"model {model!r} cannot be exported; {' and '.join(NAMES)} can")
    out = Path(out).expanduser().resolve()
    path = STAGES[: STAGES.index(STAGE_OF[model]) + 1]
    with export.in_place_of(out, MADE_BY, run_id, path, force) as folder:
        checkpoint = checkpoints.find(stage_folder(run_id, path[-1]))
        config, _ = checkpoints.read_config(checkpoint)
        _copy(checkpoint, folder)
        _name_parts(folder, config)
        if merged:
            _check_mergeable(model, config)
            _merge(checkpoint, folder)
        scores = _scores(run_id, folder)
        run = Provenance.of(run_id, path)
        made = read_json(checkpoint / "manifest.json")
        about = {
            "made_by": MADE_BY,
            "version": __version__,
            "run": run_id,
            "generated": run.generated,
            "model": model,
            "step": made["step"],
            "val_loss": made["val_loss"],
            "encoder": {"name": _public(config.encoder), "hash": config.encoder_hash},
            "llm": {"name": _public(config.llm), "hash": config.llm_hash},
            "stages": run.hashes,
            "merged": merged,
            "scored": scores is not None,
        }
        card = cards.model_card(run, about, folder, scores)
        (folder / export.CARD).write_text(card, "utf-8")
        export.seal(folder, about)
    return about


def _check_mergeable(model: str, config: Config) -> None:
    why = {
        "projection": f"{model} of this run has no adapters, its LLM is as it was; export",
        "qlora": "the adapters were trained on an LLM of 4 bits, in which their sum would be rounded "
        "to another model; train with TRAIN lora, or export",
    }
    if config.train in why:
        raise InputError(f"{why[config.train]} without --merged")


def _copy(checkpoint: Path, folder: Path) -> None:
    for name, file in visible(checkpoint).items():
        if not name.startswith(LEFT):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)


def _name_parts(folder: Path, config: Config) -> None:
    """Encoder and LLM by names that mean something elsewhere, in every file that has them."""
    named = replace(config, encoder=_public(config.encoder), llm=_public(config.llm))
    write_json(folder / "config.json", asdict(named))
    adapter = folder / checkpoints.ADAPTER / "adapter_config.json"
    if adapter.is_file():
        name, _, revision = named.llm.removeprefix(weights.HUB).partition("@")
        base = {"base_model_name_or_path": name, "revision": revision or None}
        write_json(adapter, read_json(adapter) | base)


def _public(name: str) -> str:
    """A hub id or a path in the project as it is; of another folder, which is nobody's business,
    ``models/`` and its name: where the project keeps base models."""
    if name.startswith(weights.HUB):
        return name
    path = Path(os.path.normpath(paths.from_root(name)))
    inside = path.is_relative_to(paths.root())
    return path.relative_to(paths.root()).as_posix() if inside else f"models/{path.name}"


def _merge(checkpoint: Path, folder: Path) -> None:
    """``llm/`` in place of ``adapter/``: the weights with which ``load_model`` answers."""
    model = checkpoints.assemble(checkpoint)
    model.llm.merge_and_unload().save_pretrained(folder / LLM)
    for name in ("is_local", "local_files_only"):  # about this machine
        model.tokenizer.init_kwargs.pop(name, None)
    model.tokenizer.save_pretrained(folder / LLM)
    for file in (folder / LLM).iterdir():
        file.chmod(0o644)  # safetensors writes for its owner alone
    shutil.rmtree(folder / checkpoints.ADAPTER)
    own = {"llm": LLM, "llm_hash": weights.llm_hash(folder / LLM), "train": "projection"}
    write_json(folder / "config.json", read_json(folder / "config.json") | own)


def _scores(run_id: str, folder: Path) -> results.Results | None:
    """The run's scores, written to ``folder``; None where notebook 06 has not scored this model."""
    if is_fresh(run_id, ABLATIONS):
        return None
    found = results.load(run_id)
    found.scores.to_csv(folder / SCORES, index=False)  # the hub frowns on parquet beside a model
    shutil.copyfile(found.folder / DEFINITIONS, folder / DEFINITIONS)
    return found


# --- the Hugging Face Hub, on request alone


def check_hub(name: str) -> None:
    """InputError unless ``name`` is OWNER/NAME and a token is in the environment; sends nothing."""
    try:
        validate_repo_id(name)
    except errors.HFValidationError:
        name = ""
    if name.count("/") != 1:
        raise InputError("--push takes OWNER/NAME, of letters, digits, - _ and .")
    if not os.environ.get(TOKEN):
        raise InputError(
            f"{TOKEN} is not in the environment; make a token that may write on the hub's page "
            "settings/tokens, and export it"
        )


def push(folder: Path, name: str) -> str:
    """Upload an exported model as ``OWNER/NAME``, private where it is new; returns its address.

    What an earlier export left there and this one lacks is removed; LICENSE and NOTICE stay.
    Raises InputError where the repository holds anything else, and when the hub refuses or cannot
    be reached.
    """
    check_hub(name)
    about = read_marker(folder)
    api = HfApi(token=os.environ[TOKEN])
    try:
        address = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            commit_message=f"Model {about['model']} of run {about['run']}",
            delete_patterns=_earlier(api, name),
        )
    except InputError:
        raise
    except (errors.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{name}: {_reason(error)}. The model stands in {folder}; to upload it later: "
            f"hf upload {name} {folder}"
        ) from None
    return str(address)


def _earlier(api: HfApi, name: str) -> list[str]:
    """Files of the export that the repository holds. InputError where it holds something else."""
    there = [file for file in api.list_repo_files(name) if file != ".gitattributes"]
    own = [file for file in there if not is_owners(file)]
    if own and MARKER not in own:
        raise InputError(
            f"{name} on the hub holds files and no exported model, such as {own[0]}; name another "
            "repository"
        )
    return own


def _reason(error: Exception) -> str:
    """Why an upload failed; what a thread of the hub's client met stands behind its error."""
    error = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing is sent"
    status = getattr(getattr(error, "response", None), "status_code", None)
    said = " ".join(str(error).split())[:200]
    if status is not None:
        return REASONS.get(status, f"the hub refuses it: {said}")
    if isinstance(error, errors.HTTPError | OSError):
        return f"the hub cannot be reached, or broke off ({said})"
    return f"the upload failed: {said}"
