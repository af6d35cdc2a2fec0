"""Where the weights of encoders and language models lie; needs no torch.

A folder is read where it is. Only ``hf:OWNER/NAME``, with ``@REVISION`` behind it where wanted,
ever leads to the network, and of these only what the user names: a model of the Hugging Face hub,
fetched once into its cache. What a model's folder names is read there or not at all.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import errors as hub
from huggingface_hub import snapshot_download

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest, read_json, sha256
from rnagpt_lib.core.paths import from_root, shown

HUB = "hf:"
WEIGHTS, CONFIG, MANIFEST = "model.safetensors", "config.json", "manifest.json"  # of an encoder
SIZES = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads", "max_positions")
LARGEST_SIZE = 1_000_000
HASHED = ("*.safetensors", "config.json", "tokenizer*", "special_tokens_map.json",  # of an LLM
          "chat_template.jinja", "additional_chat_templates/*.jinja")  # fmt: skip
GENERATION = "generation_config.json"  # what is hashed of it: the ends that it adds
READ = (CONFIG, GENERATION, "tokenizer_config.json", "preprocessor_config.json")
FETCHED = (*HASHED, "*.safetensors.index.json", GENERATION, "chat_template*")
OFFLINE = "RNAGPT_OFFLINE"
MOST_BYTES, MOST_LAYERS, LARGEST = 16_000_000, 1_000, 1e15  # of a config, and of numbers in one


def encoder_folder(encoder: str | Path) -> Path:
    """The folder of an encoder. Raises InputError where one of its files is missing."""
    folder = from_root(encoder)
    for name in (CONFIG, MANIFEST, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"{shown(folder / name)} is missing; an encoder folder holds {CONFIG}, "
                f"{MANIFEST} and {WEIGHTS} (make base-models builds the miniature one, "
                "rnagpt convert-encoder one of RNA-FM's published weights)"
            )
    return folder


def encoder_config(folder: Path) -> dict:
    """What an encoder's folder says of its shape. Raises InputError where that is none."""
    config = read_json(folder / CONFIG)
    for name in SIZES:
        if type(size := config.get(name)) is not int or not 0 < size <= LARGEST_SIZE:
            said = str(size)[:20]
            raise InputError(
                f"{shown(folder / CONFIG)}: {name} is {said}, of no encoder; restore it"
            )
    if config["embed_dim"] % config["attention_heads"]:
        raise InputError(f"{shown(folder / CONFIG)}: attention_heads do not divide embed_dim")
    return config


def check_layers(config: dict, layers: int) -> None:
    """Raises InputError where an encoder of this config has fewer layers to train."""
    if layers > config["layers"]:
        raise InputError(f"the encoder has {config['layers']} layers; ENCODER_LAYERS is {layers}")


def llm_folder(llm: str | Path, download: bool = False) -> Path:
    """The folder of an LLM in Hugging Face's layout; ``download``: whether a user named it.

    Raises InputError when there is none, for one that `check_folder` refuses, and when the hub
    cannot be reached or refuses.
    """
    name = str(llm)
    if name.startswith(HUB):
        return check_folder(fetch(name.removeprefix(HUB), FETCHED, download))
    folder = from_root(llm)
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"{shown(folder)}: no LLM there ({CONFIG} is missing); put one there, see "
            f"models/README.md, or name one of the hub as {HUB}OWNER/NAME"
        )
    return check_folder(folder)


def check_folder(folder: Path) -> Path:
    """The folder of an LLM or of a scorer, before transformers reads it: others made it. Raises
    InputError for one that brings a program or another's adapters, and for numbers that no model
    has."""
    remedy = "take a model that transformers knows by itself"
    for path in folder.rglob("*.py"):
        raise InputError(f"{shown(path)} is a program, and none of a model's is run; {remedy}")
    if (path := folder / "adapter_config.json").exists():
        raise InputError(f"{shown(path)}: adapters on top of another LLM; merge them into it")
    for path in sorted(folder.glob("*config.json")):
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{shown(path)} has {path.stat().st_size:,} bytes, and is no config")
        kind = dict if path.name in READ else dict | list  # beside them anything may lie
        for name, value in _members(read_json(path, kind)):
            if name == "auto_map":
                why = "asks for a program of its own (auto_map), and none is run"
                raise InputError(f"{shown(path)} {why}; {remedy}")
            if path.name != CONFIG or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            most = MOST_LAYERS if re.search("(layers?|experts|blocks)$", name) else LARGEST
            if not abs(value) <= most:  # so is NaN
                said = f"{value:.3g}" if isinstance(value, float) else str(value)[:20]
                raise InputError(f"{shown(path)}: {name} is {said}, which no model has; restore it")
    return folder


def _members(data: object) -> Iterator[tuple[str, object]]:
    """All names and values within what JSON holds, however deep."""
    left = [("", data)]
    while left:
        name, value = left.pop()
        yield name, value
        if isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list):
            left += [(name, one) for one in value]


def llm_hash(llm: str | Path) -> str:
    """Hash of an LLM's weights, config and tokenizer files, of its chat templates (they tell whether
    a prompt has a BOS), and of the tokens with which its `GENERATION` ends answers beyond these; of
    nothing else in its folder."""
    folder = llm_folder(llm)
    found = {path for pattern in HASHED for path in folder.glob(pattern)}
    hashes: dict[str, object] = {str(path.relative_to(folder)): sha256(path) for path in found}
    known, ends = (_listed(read_json(folder / file)) for file in (CONFIG, GENERATION))
    more = [end for end in ends if end not in known]
    return digest(hashes | ({GENERATION: more} if more else {}))


def _listed(config: dict) -> list:
    ends = config.get("eos_token_id")
    return ends if isinstance(ends, list) else [ends] * (ends is not None)


def is_offline() -> bool:
    """Whether the environment forbids to ask the network for anything."""
    return os.environ.get(OFFLINE, "0") not in ("", "0")


def fetch(name: str, patterns: Sequence[str], download: bool = True) -> Path:
    """The files of the hub's ``OWNER/NAME`` or ``OWNER/NAME@REVISION``, in its cache.

    Raises InputError when the hub cannot be reached or refuses, and, without ``download`` or where
    `OFFLINE` is set, for what is not in the cache.
    """
    repository, _, revision = name.partition("@")
    options = {"revision": revision or None, "allow_patterns": list(patterns)}
    options |= {"local_files_only": is_offline() or not download}
    try:
        return Path(snapshot_download(repository, **options))
    except hub.GatedRepoError:
        reason = "its licence must be accepted on its page, and HF_TOKEN be of that account"
    except hub.RevisionNotFoundError:
        reason = f"the hub has no revision {revision} of it"
    except hub.RepositoryNotFoundError:
        reason = "the hub knows no such model, or HF_TOKEN may not read it"
    except hub.HFValidationError:
        reason = "it should be hf:OWNER/NAME or hf:OWNER/NAME@REVISION"
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, hub.HfHubHTTPError, OSError):
        reason = "it is not in the cache, and the hub cannot be reached; download it to a folder"
        if is_offline():
            reason = f"it is not in the cache, and {OFFLINE} forbids to ask the hub"
        elif not download:
            reason = "it is not in the cache, and the hub is asked for what you name alone: "
            reason += f"--llm {HUB}{name} (rnagpt ask, chat) or -p LLM {HUB}{name}"
    raise InputError(f"{HUB}{name}: {reason}") from None
