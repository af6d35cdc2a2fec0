"""What a profile needs and this machine lacks, before hours are spent: ``rnagpt doctor``."""

import os
import platform
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from rnagpt_lib.core import paths, weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Calls, Filter, Profile, Train
from rnagpt_lib.model import language_model
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.runs.stages import FILTER, QA, STAGE2, SUMMARIES, TRAININGS

FILES = ("fasta", "table", "articles", "links", "blocked")
PER_WORD, PER_PAIR = 1.5, 70  # tokens, as in RNA-QA
# Bytes that one layer keeps for the way back, per token: so many times the hidden width and so
# many times the inner width, by precision and by whether adapters (in fp32) train beside.
KEPT = {(2, False): (16, 6), (2, True): (24, 8), (4, False): (24, 12), (4, True): (32, 16)}
FOUR_BITS = 0.53  # bytes a weight, with the scales of its blocks
TRAINED = 16  # bytes a trained parameter: itself, its gradient and AdamW's two moments, in fp32
# Bytes of a logit, in the LLM's precision, in fp32 and as its logarithm, or then its gradients
LOGIT = 12
ANSWERS = 0.5  # of a pair's tokens, which are predicted; of an annotation's all are
RESERVE = 1.15  # the projection, buffers and fragments
PROGRAM = 0.6e9  # bytes of Python and its libraries, beside a training on a processor
LARGE = 4e9  # bytes of weights beyond which a training on a processor has no end


def examine(profile: Profile) -> Iterator[tuple[str, bool, str]]:
    """What was looked at, whether it will do, and what was found or what to do about it, in the
    order of the path. A hub id alone lets it ask the network."""
    checks: dict[str, Callable[[], str]] = {"software": _software}
    if (params := profile.stage(FILTER)).input != "world":
        checks["00_filter_rnacentral: files"] = partial(_files, params)
    for stage in (SUMMARIES, QA):
        if (params := profile.stage(stage)).provider == "openai":
            checks[f"{stage}: language model"] = partial(_language_model, params)
    for stage in TRAININGS:
        params = profile.stage(stage)
        checks[f"{stage}: encoder"] = partial(_encoder, params)
        checks[f"{stage}: LLM"] = partial(_llm, params)
        checks[f"{stage}: memory"] = partial(_memory, profile, stage)
    for what, look in checks.items():
        try:
            yield what, True, look()
        except InputError as error:
            yield what, False, str(error)


def _software() -> str:
    packages = " · ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    return f"Python {platform.python_version()} · {packages} · {_device()[0]}"


def _files(params: Filter) -> str:
    """Those that are named."""
    given = {name.upper(): value for name in FILES if (value := getattr(params, name))}
    if params.input == "files" and not params.fasta:
        raise InputError("INPUT is files and no FASTA is named: -p FASTA my.fa")
    for name, path in given.items():
        if not paths.from_root(path).is_file():
            raise InputError(f"{name} {path} is no file; correct the path")
    return ", ".join(f"{name} {path}" for name, path in given.items()) or "none are named"


def _language_model(params: Calls) -> str:
    params.check()
    price = "its price" if params.model in params.prices else "no price of it"
    return f"{params.model}: a key is in the environment, {price} in the profile"


def _encoder(params: Train) -> str:
    encoder = Encoder.load(params.encoder)
    weights.check_layers(encoder.config, getattr(params, "encoder_layers", 0))
    return f"{params.encoder}: {encoder.config['layers']} layers, {encoder.dim} wide"


def _llm(params: Train) -> str:
    folder = weights.llm_folder(params.llm, download=True)
    language_model.load_tokenizer(params.llm)
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{paths.shown(folder)} holds no safetensors")
    return f"{params.llm}: weights and tokenizer in {paths.shown(folder)}"


def _memory(profile: Profile, stage: str) -> str:
    """A step's memory against the machine's; what makes it smaller where it is too much."""
    params, gpu = profile.stage(stage), torch.cuda.is_available()
    if getattr(params, "train", "") == "qlora" and not (gpu and find_spec("bitsandbytes")):
        raise InputError("TRAIN is qlora, which needs a CUDA GPU and bitsandbytes; choose lora")
    if params.attention == "flex" and not gpu:
        raise InputError("ATTENTION is flex, which needs a CUDA GPU; choose sdpa")
    try:
        folder = weights.llm_folder(params.llm)
    except InputError:
        raise InputError("not known before the LLM is there") from None
    text, pairs = round(PER_WORD * profile.stage(SUMMARIES).words), 1
    if stage == STAGE2:
        text, pairs = PER_PAIR, profile.stage(QA).max_pairs
    longest = profile.stage(FILTER).max_length + (1 if params.recipe == "paper" else pairs) * text
    tokens = longest if params.recipe == "paper" else max(params.row_tokens, longest)
    shares = max(torch.cuda.device_count(), 1) if params.parallel == "fsdp" else 1
    predicted = text if params.recipe == "paper" else tokens
    predicted = int(predicted * (ANSWERS if stage == STAGE2 else 1))
    parts, (name, room) = estimate_memory(folder, params, tokens, shares, predicted), _device()
    need = RESERVE * sum(parts.values()) + (0 if gpu else PROGRAM)
    of = ", ".join(f"{size / 1e9:.1f} {part}" for part, size in parts.items())
    says = (
        f"a step takes about {need / 1e9:.1f} GB ({of}; computed), {name} has {room / 1e9:.1f} GB"
    )
    if not gpu and parts["weights"] > LARGE:
        raise InputError(f"{says}: an LLM of this size wants a CUDA GPU")
    if need > room:
        ways = "lower ROW_TOKENS, take TRAIN qlora, or PARALLEL fsdp over several or larger GPUs"
        raise InputError(f"{says}: {ways}")
    return says


def estimate_memory(
    llm: Path, params: Train, tokens: int, shares: int = 1, predicted: int = 0
) -> dict[str, int]:
    """Bytes of a training step of ``tokens``, of which ``predicted`` carry loss, by what they hold,
    told from the shapes in an LLM's folder; its weights are cut over ``shares`` processes (FSDP),
    each of which gathers one unit."""
    model = language_model.outline(llm)
    config = model.config
    linear = [m for n, m in model.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"]
    each = language_model.DTYPES[params.precision].itemsize
    train, inner = getattr(params, "train", "projection"), model.base_model.layers
    total, layers = language_model.count(model), language_model.count(inner)
    held, adapters = each * total, 0
    if train == "qlora":
        held -= int((each - FOUR_BITS) * sum(m.weight.numel() for m in linear))
    if shares > 1:
        held = held // shares + each * max(layers // len(inner), total - layers)
    if train != "projection":  # with a copy of them in half precision
        widths = sum(m.in_features + m.out_features for m in linear)
        adapters = (TRAINED + each % 4) * params.lora_rank * widths
    vocabulary = config.get_text_config().vocab_size
    by_width, by_inner = KEPT[each, train != "projection"]
    layer = by_width * config.hidden_size + by_inner * config.intermediate_size
    kept = {"activations": tokens * layer * len(inner), "logits": predicted * vocabulary * LOGIT}
    return {"weights": held, "adapters": adapters} | kept


def _device() -> tuple[str, int]:
    """Name and memory in bytes of what training would run on."""
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        return facts.name, facts.total_memory
    return "this computer (no CUDA GPU)", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
