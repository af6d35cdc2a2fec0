"""Checkpoints: one folder with projection, adapter, template, hashes and optimiser state.

    checkpoints/step-00000123/{projection.safetensors, adapter/, encoder_layers.safetensors,
                               template.json, config.json, manifest.json, state/training.pt}
A folder counts only while every file has the hash that its manifest records; without ``state/`` it
answers but cannot be trained on. Nothing is loaded that could run code. Tensors are saved whole.
"""

import io
import os
import pickle
import re
import shutil
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TypeVar

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from rnagpt_lib import __version__
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest, read_json, sha256, visible, write_json, writing
from rnagpt_lib.core.paths import shown
from rnagpt_lib.core.text import one_line
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.model.template import Template

T = TypeVar("T")
PROJECTION, ADAPTER, STATE = "projection.safetensors", "adapter", "state/training.pt"
WEIGHTS = f"{ADAPTER}/adapter_model.safetensors"
ENCODER = "encoder_layers.safetensors"
MANIFEST = "manifest.json"
REMEDY = "make room, or make the folder writable, and start this stage again: "
REMEDY += "it goes on from its newest whole checkpoint"


def save(
    model: RnaGpt,
    folder: Path,
    step: int,
    state: dict,
    *,
    val_loss: float | None,
    keep: int = 2,
    writes: bool = True,
) -> Path:
    """Write ``checkpoints/step-<step>`` under a stage's folder, whole or not at all; ``state``:
    what a resume needs besides the weights. The newest ``keep`` and the best one by ``val_loss``
    stay. Where several processes train, all call, and one ``writes``. InputError when the disk
    takes no more."""
    final = folder / "checkpoints" / f"step-{step:08d}"
    weights = _gather_weights(model)
    if not writes:
        return final
    draft = final.with_name(f".{final.name}")
    with writing(final, REMEDY):
        for left in final.parent.glob(".step-*"):  # by a process that was killed
            shutil.rmtree(left)
        try:
            _write(model, weights, draft, {"step": step, "val_loss": val_loss}, state)
            shutil.rmtree(final, ignore_errors=True)
            os.rename(draft, final)
        finally:  # a full disk has no room for half a checkpoint
            shutil.rmtree(draft, ignore_errors=True)
        _sync(final.parent)
        tidy(folder, keep)
    return final


def tidy(folder: Path, keep: int) -> None:
    """``best.json`` and ``last.json`` out of the manifests at hand; then older checkpoints go."""
    checkpoints = folder / "checkpoints"
    whole = {path: read_json(path / MANIFEST) for path in _list(checkpoints) if is_valid(path)}
    last = list(whole)[-1]
    scored = [path for path in whole if whole[path]["val_loss"] is not None]
    best = min(scored, key=lambda path: whole[path]["val_loss"], default=last)
    with writing(checkpoints, REMEDY):
        for name, path in (("best", best), ("last", last)):
            facts = {key: whole[path][key] for key in ("step", "val_loss")}
            write_json(checkpoints / f"{name}.json", {"folder": path.name} | facts)
        for path in _list(checkpoints):  # damaged ones go, too
            if path not in (best, *list(whole)[-keep:]):
                shutil.rmtree(path)


def is_valid(checkpoint: Path) -> bool:
    """Whether every file, but for the state, is there with the hash that the manifest records."""
    try:
        manifest = read_json(checkpoint / MANIFEST)
        recorded, own = manifest.get("files"), manifest.pop("hash", None)  # older ones have none
        if not isinstance(recorded, dict) or own not in (None, digest(manifest)):
            return False
    except (InputError, RecursionError):
        return False
    return recorded == {STATE: recorded.get(STATE)} | _hash_files(checkpoint)


def identity(checkpoint: Path) -> str:
    """A hash of what a checkpoint's answers depend on: weights, template, and the config, which
    has the hashes of the frozen models; not of the state that training goes on from."""
    return digest({name: h for name, h in _hash_files(checkpoint).items() if name != STATE})


def newest(folder: Path) -> Path | None:
    """The last checkpoint of a stage's folder to go on from; None when there is none."""
    there = reversed(_list(folder / "checkpoints"))
    return next((path for path in there if is_valid(path) and (path / STATE).is_file()), None)


def find(folder: Path, which: str = "best") -> Path:
    """The checkpoint that ``best.json`` or ``last.json`` of a stage's folder names. Raises
    InputError when the stage has none, or when its files are damaged."""
    name = read_json(folder / "checkpoints" / f"{which}.json").get("folder")
    if name is None:
        raise InputError(f"{shown(folder)}: no {which} checkpoint there; train this stage")
    checkpoint = folder / "checkpoints" / str(name)
    if not re.fullmatch(r"step-\d+", str(name)) or not is_valid(checkpoint):
        raise InputError(f"{shown(checkpoint)}: files are missing or damaged; train it again")
    return checkpoint


def load(folder: Path, which: str = "best") -> RnaGpt:
    """The model of a stage's folder, ready to answer. InputError as of `find` and `assemble`."""
    return assemble(find(Path(folder), which))


def assemble(
    checkpoint: Path, *, llm: str | None = None, encoder: str | None = None, **options: object
) -> RnaGpt:
    """The model of a checkpoint's files, ready to answer; ``llm``, ``encoder``: where these are
    when not where its config says, with the recorded hashes. ``options``, InputError: as of
    `RnaGpt.build`."""
    config, template = read_config(checkpoint)
    config = replace(config, llm=llm or config.llm, encoder=encoder or config.encoder)
    model = RnaGpt.build(config, template=template, **options)
    _load_weights(model, checkpoint)
    return model


def load_encoder(model: RnaGpt) -> Encoder:
    """The encoder that a model was trained on, or its own, of which layers have trained."""
    config = model.config
    return model.encoder or Encoder.load(config.encoder, str(model.device), config.encoder_hash)


def load_projection(model: RnaGpt, folder: Path, which: str = "best") -> None:
    """Start a model from the projection of another stage (stage 2 from stage 1's). Raises
    InputError when that stage used another encoder, LLM or template."""
    checkpoint = find(Path(folder), which)
    _refuse_another(model, checkpoint, ("encoder_hash", "llm_hash"))
    model.projection.load_state_dict(load_file(checkpoint / PROJECTION))


def restore(model: RnaGpt, checkpoint: Path) -> dict:
    """Load a checkpoint's weights into ``model`` and return its state. InputError when it belongs
    to another encoder, LLM, template or kind of training, or when its state could run code."""
    _refuse_another(model, checkpoint, tuple(asdict(model.config)))
    try:
        state = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{shown(checkpoint / STATE)} holds more than tensors and plain values, and may run "
            "code: it was not opened; remove this checkpoint to go on from the one before"
        ) from None
    _load_weights(model, checkpoint)
    return state


def gather(tensor: Tensor) -> Tensor:
    """All of a tensor of which this process may hold a part; every process is to ask for it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def read_config(folder: Path) -> tuple[Config, Template]:
    """What a model is made of, and its prompts; older files say less than these hold. Raises
    InputError for what no version of this has written."""
    return _read_as(Config, folder / "config.json"), _read_as(Template, folder / "template.json")


def _read_as(kind: type[T], path: Path) -> T:
    said = read_json(path)
    if unknown := said.keys() - {field.name for field in fields(kind)}:
        what = f"says {min(unknown)}, which rnagpt-lib {__version__} does not know"
        raise InputError(f"{shown(path)} {what}; use the version that made it")
    try:
        return TypeAdapter(kind).validate_python(said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ": ".join(map(str, (*first["loc"], first["msg"].removeprefix("Value error, "))))
    raise InputError(f"{shown(path)} is of no model: {where}; fetch it, or train again")


def _refuse_another(model: RnaGpt, checkpoint: Path, names: tuple[str, ...]) -> None:
    config, template = read_config(checkpoint)
    saved = asdict(config) | {"template": asdict(template)}
    own = asdict(model.config) | {"template": asdict(model.template)}
    for name in (*names, "template"):
        if saved[name] != own[name]:
            what = f"another {name.removesuffix('_hash')} ({saved[name]}, here {own[name]})"
            remedy = "use that one, or train in a new run"
            raise InputError(f"{shown(checkpoint)}: made with {what}; {remedy}")


def _gather_weights(model: RnaGpt) -> dict[str, dict[str, Tensor]]:
    """What is saved of each part that trains, by file, whole and on the CPU."""
    parts = {PROJECTION: model.projection.state_dict()}
    if isinstance(model.llm, PeftModel):
        parts[WEIGHTS] = get_peft_model_state_dict(model.llm)
    if model.encoder:
        parts[ENCODER] = model.encoder_layers.state_dict()
    return {
        file: {name: gather(tensor).detach().cpu().contiguous() for name, tensor in part.items()}
        for file, part in parts.items()
    }


def _write(model: RnaGpt, weights: dict, draft: Path, facts: dict, state: dict) -> None:
    """All files of a checkpoint, forced onto the disk; the manifest comes last."""
    for file, tensors in weights.items():
        (draft / file).parent.mkdir(parents=True, exist_ok=True)
        (draft / file).write_bytes(to_bytes(tensors))
    if WEIGHTS in weights:
        config = model.llm.peft_config["default"]
        targets = sorted(config.target_modules)  # a set has another order in every process
        config = replace(config, base_model_name_or_path=model.config.llm, target_modules=targets)
        config.save_pretrained(draft / ADAPTER)
    write_json(draft / "template.json", asdict(model.template))
    write_json(draft / "config.json", asdict(model.config))
    buffer = io.BytesIO()  # torch's own writer does not say why a disk refuses
    torch.save(state, buffer)
    (draft / STATE).parent.mkdir()
    (draft / STATE).write_bytes(buffer.getbuffer())
    manifest = facts | {"files": _hash_files(draft)}
    write_json(draft / MANIFEST, manifest | {"hash": digest(manifest)})
    for path in (*draft.rglob("*"), draft):
        _sync(path)


def _load_weights(model: RnaGpt, checkpoint: Path) -> None:
    try:
        model.projection.load_state_dict(load_file(checkpoint / PROJECTION))
        if isinstance(model.llm, PeftModel):
            set_peft_model_state_dict(model.llm, load_file(checkpoint / WEIGHTS))
        if model.encoder:
            model.encoder_layers.load_state_dict(load_file(checkpoint / ENCODER))
    except (OSError, RuntimeError, SafetensorError) as error:  # of other sizes or names
        reason = one_line(str(error))[:200]
        raise InputError(
            f"{shown(checkpoint)} holds the weights of another model: {reason}"
        ) from None


def _list(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _hash_files(checkpoint: Path) -> dict[str, str]:
    return {name: sha256(path) for name, path in visible(checkpoint).items() if name != MANIFEST}


def _sync(path: Path) -> None:
    """Force a file or folder onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
