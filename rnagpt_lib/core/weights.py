"""Where the weights of encoders and language models lie; needs no torch.

A folder is read where it is. Only ``hf:OWNER/NAME``, with ``@REVISION`` behind it where wanted,
ever leads to the network: a model of the Hugging Face hub, fetched once into its cache.
"""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import errors as hub
from huggingface_hub import snapshot_download

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest, sha256
from rnagpt_lib.core.paths import from_root, shown

HUB = "hf:"
WEIGHTS, CONFIG, MANIFEST = "model.safetensors", "config.json", "manifest.json"  # of an encoder
HASHED = ("*.safetensors", "config.json", "tokenizer*", "special_tokens_map.json")  # of an LLM
FETCHED = (*HASHED, "*.safetensors.index.json", "generation_config.json", "chat_template*")


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


def check_layers(config: dict, layers: int) -> None:
    """Raises InputError where an encoder of this config has fewer layers to train."""
    if layers > config["layers"]:
        raise InputError(f"the encoder has {config['layers']} layers; ENCODER_LAYERS is {layers}")


def llm_folder(llm: str | Path) -> Path:
    """The folder of an LLM in Hugging Face's layout.

    Raises InputError when there is none, or when the hub cannot be reached or refuses.
    """
    name = str(llm)
    if name.startswith(HUB):
        return fetch(name.removeprefix(HUB), FETCHED)
    folder = from_root(llm)
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"{shown(folder)}: no LLM there ({CONFIG} is missing); put one there, see "
            f"models/README.md, or name one of the hub as {HUB}OWNER/NAME"
        )
    return folder


def llm_hash(llm: str | Path) -> str:
    """Hash of an LLM's weights, config and tokenizer files, whatever else lies in its folder."""
    folder = llm_folder(llm)
    found = {path for pattern in HASHED for path in folder.glob(pattern)}
    return digest({path.name: sha256(path) for path in found})


def fetch(name: str, patterns: Sequence[str]) -> Path:
    """The files of the hub's ``OWNER/NAME`` or ``OWNER/NAME@REVISION``, in its cache.

    Raises InputError when the hub cannot be reached or refuses.
    """
    repository, _, revision = name.partition("@")
    options = {"revision": revision or None, "allow_patterns": list(patterns)}
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
    raise InputError(f"{HUB}{name}: {reason}") from None
