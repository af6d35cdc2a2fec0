"""An exported model on the Hugging Face Hub, on request alone.

The token comes from ``HF_TOKEN`` in the environment and from nowhere else.
"""

import os
from pathlib import Path

from huggingface_hub import HfApi, errors
from huggingface_hub.utils import validate_repo_id

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model import exported
from rnagpt_lib.share import folder as export_place

TOKEN = "HF_TOKEN"
REASONS = {
    401: f"the hub does not know the token in {TOKEN}; make one that may write",
    403: f"the token in {TOKEN} may not write there; take one that may, or another OWNER",
    404: f"the hub has no such place for the token in {TOKEN}; look at OWNER/NAME",
}


def check(name: str) -> None:
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
    check(name)
    about = export_place.read_marker(folder)
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
    own = [file for file in there if not exported.is_owners(file)]
    if own and export_place.MARKER not in own:
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
