"""The published RNA-FM, from its original ``.pth`` to an encoder folder that this project reads.

The file (``RNA-FM_pretrained.pth`` of its authors, github.com/ml4bio/RNA-FM, MIT) is a pickle of
``{"args": Namespace, "model": {name: tensor}}`` as fairseq writes it. It is opened once, with no
class allowed but that Namespace, and its weights are kept as safetensors. Nothing is downloaded.
"""

import argparse
import os
import pickle
import shutil
from pathlib import Path

import torch

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import sha256
from rnagpt_lib.core.paths import shown
from rnagpt_lib.model.encoder import TIED, Encoder

SIZES = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads", "max_positions")
UNUSED = ("contact_head.regression.weight", "contact_head.regression.bias")  # not in the file


def convert(source: Path, folder: Path, expected: str | None = None) -> Encoder:
    """Make ``folder``, whole or not at all, of the checkpoint ``source``; returns the encoder.

    ``expected``: the SHA-256 (hex) that the file must have. Raises InputError for a file that is
    missing, another one, no RNA-FM, or a pickle that holds more than tensors and options; and for
    a folder that exists.
    """
    if not source.is_file():
        raise InputError(f"{shown(source)} does not exist; RNA-FM's weights are never downloaded")
    if folder.exists():
        raise InputError(f"{shown(folder)} exists already; remove it or name another folder")
    found = sha256(source)
    if expected and found != expected.lower():
        raise InputError(f"{shown(source)} has sha256 {found}, not {expected}; fetch it again")
    encoder = _encoder(source, *_read(source))
    facts = {"about": "RNA-FM, converted", "source": source.name, "source_sha256": found}
    temporary = folder.with_name(f".{os.getpid()}.{folder.name}")
    try:
        encoder.save(temporary, facts)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return encoder


def _read(source: Path) -> tuple[argparse.Namespace, dict[str, torch.Tensor]]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            data = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{shown(source)} holds more than tensors and options (it may run code) or is no "
            "PyTorch file; it was not opened"
        ) from None
    except Exception as error:  # bytes that are no pickle end in any error at all
        raise InputError(
            f"{shown(source)} is damaged or no PyTorch file: {_first_line(error)}"
        ) from None
    parts = (data.get("args"), data.get("model")) if isinstance(data, dict) else (None, None)
    if not (isinstance(parts[0], argparse.Namespace) and isinstance(parts[1], dict)):
        raise InputError(f"{shown(source)} is no RNA-FM checkpoint: it has no args and model")
    return parts


def _encoder(source: Path, args: argparse.Namespace, weights: dict) -> Encoder:
    """The model that the options describe, with the weights under the names that it uses."""
    options = {name.removeprefix("encoder_"): value for name, value in vars(args).items()}
    missing = [name for name in SIZES if not isinstance(options.get(name), int)]
    if options.get("arch") != "roberta_large" or missing:
        raise InputError(
            f"{shown(source)} is no RNA-FM checkpoint: its options have arch "
            f"{options.get('arch')!r} and lack {', '.join(missing) or 'nothing'}"
        )
    state = {_name(name): tensor for name, tensor in weights.items()}
    config = {name: options[name] for name in SIZES} | {
        "token_dropout": bool(options.get("token_dropout")),
        "emb_layer_norm_before": any(name.startswith("emb_layer_norm_before") for name in state),
    }
    encoder = Encoder(config, hash="")
    wanted = encoder.model.state_dict()
    state = {name: torch.zeros_like(wanted[name]) for name in UNUSED} | state
    try:
        state[TIED] = state["embed_tokens.weight"]
        encoder.model.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{shown(source)} is no RNA-FM checkpoint: {_first_line(error)}") from None
    encoder.model.embed_tokens.weight[encoder.alphabet.mask_idx] = 0  # as fm does on loading
    return encoder


def _name(name: str) -> str:
    """``encoder.sentence_encoder.layers.0…`` → ``layers.0…``."""
    return name.removeprefix("encoder.").removeprefix("sentence_encoder.")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
