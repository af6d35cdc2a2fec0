"""An exported model's folder, as ``export_model`` writes it, checked before anything loads it.

    projection.safetensors   adapter/ or llm/   template.json   config.json
    rnagpt_export.json   SHA256SUMS   README.md   scores.csv   definitions.json

``adapter/`` goes on top of the LLM that ``config.json`` names; ``llm/`` is that LLM with the
adapters merged into its weights. Only JSON and safetensors are ever read.
"""

from dataclasses import fields
from pathlib import Path

from safetensors import SafetensorError, safe_open

from rnagpt_lib import __version__
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, sha256, visible
from rnagpt_lib.core.paths import shown
from rnagpt_lib.model.rna_gpt import Config
from rnagpt_lib.model.template import Template
from rnagpt_lib.share import folder as export_place

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
    """The name of the model in ``folder``, MA or IT, once every file is as it was written.

    Raises InputError for a folder that holds no exported model, for files that are missing,
    damaged or no part of it, and for parts that this version does not know.
    """
    about = export_place.about(folder)
    if about.get("made_by") != MADE_BY or about.get("model") not in NAMES:
        raise InputError(
            f"{shown(folder)} holds no exported model (its {export_place.MARKER} is missing or "
            f"another's); {MADE_BY} RUN OUT makes one"
        )
    _check_files(folder)
    for name, kind in (("config.json", Config), ("template.json", Template)):
        unknown = read_json(folder / name).keys() - {field.name for field in fields(kind)}
        if unknown:
            raise InputError(
                f"{shown(folder / name)} says {min(unknown)}, which rnagpt-lib {__version__} does "
                f"not know; the model was made by {about.get('version')}, use that one"
            )
    return about["model"]


def _check_files(folder: Path) -> None:
    """InputError unless every file has its recorded hash, and weights are safetensors."""
    recorded = {n: h for n, h in export_place.sums(folder).items() if not owners(n)}
    found = {n: p for n, p in visible(folder).items() if not owners(n)}
    found.pop(export_place.SUMS, None)
    for name in sorted(recorded.keys() | found.keys()):
        where = shown(folder / name)
        if name not in recorded:
            raise InputError(f"{where} is no part of the exported model; remove it")
        if name not in found or sha256(found[name]) != recorded[name]:
            raise InputError(f"{where} is missing or damaged; export the model again, or fetch it")
        if name.endswith(".safetensors"):
            try:
                with safe_open(found[name], framework="pt"):
                    pass
            except SafetensorError as error:
                raise InputError(f"{where} is no safetensors file: {error}; fetch it") from None


def llm_of(folder: Path) -> str | None:
    """The merged LLM of an exported model; None where adapters go on top of another."""
    return str(folder / LLM) if (folder / LLM).is_dir() else None


def owners(name: str) -> bool:
    """Whether a file is for people alone, and may be written anew by who shares the model."""
    return Path(name).name.split(".")[0] in OWN_WORDS and "/" not in name
