"""An exported model's folder, as `share.model` writes it, checked before anything loads it.

    projection.safetensors   adapter/ or llm/   template.json   config.json
    rnagpt_export.json   SHA256SUMS   README.md   scores.csv   definitions.json

``adapter/`` goes on top of the LLM that ``config.json`` names; ``llm/`` is that LLM with the
adapters merged into its weights. Only JSON and safetensors are ever read.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import MARKER, SUMS, read_marker, read_sums, sha256, visible
from rnagpt_lib.core.paths import shown
from rnagpt_lib.model.checkpoint import read_config

MADE_BY = "rnagpt export-model"
NAMES = ("MA", "IT")
LLM = "llm"
OWN_WORDS = ("README", "LICENSE", "NOTICE")  # its owner's to write; no model is made of them


def folder_of(name: str | Path) -> Path:
    """Where an exported model is: beside who asks, as ``rnagpt export-model`` writes it, else in
    the project."""
    here = Path(name).expanduser()
    return here.absolute() if here.is_dir() else paths.from_root(name)


def check(folder: Path) -> str:
    """The name of the model in ``folder``, MA or IT, once every file is as it was written. Raises
    InputError where one is not, or is of a kind that this version does not know."""
    about = read_marker(folder)
    if about.get("made_by") != MADE_BY or about.get("model") not in NAMES:
        reason = f"its {MARKER} is missing or another's; {MADE_BY} RUN OUT makes one"
        raise InputError(f"{shown(folder)} holds no exported model ({reason})")
    recorded, there = read_sums(folder), visible(folder)
    for name in sorted((recorded.keys() | there.keys()) - {SUMS}):
        where = shown(folder / name)
        if is_owners(name):
            continue
        if name not in recorded:
            raise InputError(f"{where} is no part of the exported model; remove it")
        if name not in there or sha256(there[name]) != recorded[name]:
            raise InputError(f"{where} is missing or damaged; export the model again, or fetch it")
        if name.endswith(".safetensors"):
            try:
                with safe_open(there[name], framework="pt"):
                    pass
            except SafetensorError as error:
                raise InputError(f"{where} is no safetensors file: {error}; fetch it") from None
    read_config(folder)
    return about["model"]


def llm_of(folder: Path) -> str | None:
    """The merged LLM of an exported model; None where adapters go on top of another."""
    return str(folder / LLM) if (folder / LLM).is_dir() else None


def is_owners(name: str) -> bool:
    """Whether a file is for people alone, and may be written anew by who shares the model."""
    return Path(name).name.split(".")[0] in OWN_WORDS and "/" not in name
