"""What a profile needs and this machine lacks, before hours are spent: ``rnagpt doctor``."""

import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from rnagpt_lib.core import paths, weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Calls, Filter, Profile, Train
from rnagpt_lib.model import language_model
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.runs.stages import FILTER, QA, STAGE1, STAGE2, SUMMARIES

FILES = ("fasta", "table", "articles", "links", "id_mapping", "blocked")
PER_WORD, PER_PAIR, OF_ANSWER = 1.5, 70, 25  # tokens, as in RNA-QA
# Bytes that one layer keeps for the way back, per token: so many times the hidden width and so
# many times the inner width, by precision and by whether adapters (in fp32) train beside.
KEPT = {(2, False): (16, 6), (2, True): (24, 8), (4, False): (24, 12), (4, True): (32, 16)}
FOUR_BITS = 0.53  # bytes a weight, with the scales of its blocks
TRAINED = 16  # bytes a trained parameter: itself, its gradient and AdamW's two moments, in fp32
RESERVE = 1.1  # buffers and fragments
LARGE = 4e9  # bytes of weights beyond which a training on a processor has no end


def examine(profile: Profile) -> Iterator[tuple[str, bool, str]]:
    """What was looked at, whether it will do, and what was found or what to do about it, in the
    order of the path. A hub id alone lets it ask the network."""
    yield "software", True, _software()
    if (params := profile.stage(FILTER)).input != "world":
        yield _try("00_filter_rnacentral: files", lambda: _files(params))
    for stage in (SUMMARIES, QA):
        params = profile.stage(stage)
        if params.provider == "openai":
            yield _try(f"{stage}: language model", lambda p=params: _language_model(p))
    for stage in (STAGE1, STAGE2):
        params = profile.stage(stage)
        encoder = _try(f"{stage}: encoder", lambda p=params: _encoder(p))
        llm = _try(f"{stage}: LLM", lambda p=params: _llm(p))
        yield from (encoder, llm)
        if encoder[1] and llm[1]:
            yield _try(f"{stage}: memory", lambda s=stage: _memory(profile, s))
        else:
            yield f"{stage}: memory", False, "not known before encoder and LLM are there"


def _try(what: str, look: Callable[[], str]) -> tuple[str, bool, str]:
    try:
        return what, True, look()
    except InputError as error:
        return what, False, str(error)


def _software() -> str:
    packages = " · ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    return f"Python {platform.python_version()} · {packages} · {_device()[0]}"


def _files(params: Filter) -> str:
    """Those that are named; an address is not asked."""
    given = {name: value for name in FILES if (value := getattr(params, name))}
    if params.input == "files" and not params.fasta:
        raise InputError("INPUT is files and no FASTA is named: -p FASTA my.fa")
    for name, path in given.items():
        if "://" not in path and not paths.from_root(path).is_file():
            raise InputError(f"{name.upper()} {path} is no file; correct the path")
    return ", ".join(f"{name.upper()} {path}" for name, path in given.items()) or "none are named"


def _language_model(params: Calls) -> str:
    params.check()
    price = "its price" if params.model in params.prices else "no price of it"
    return f"{params.model}: a key is in the environment, {price} in the profile"


def _encoder(params: Train) -> str:
    encoder = Encoder.load(params.encoder)
    weights.check_layers(encoder.config, getattr(params, "encoder_layers", 0))
    return f"{params.encoder}: {encoder.config['layers']} layers, {encoder.dim} wide"


def _llm(params: Train) -> str:
    folder = weights.llm_folder(params.llm)
    language_model.load_tokenizer(params.llm)
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{paths.shown(folder)} holds no safetensors")
    return f"{params.llm}: weights and tokenizer in {paths.shown(folder)}"


def _memory(profile: Profile, stage: str) -> str:
    """A step's memory against the machine's; what makes it smaller where it is too much."""
    params, gpu = profile.stage(stage), torch.cuda.is_available()
    train = getattr(params, "train", "projection")
    if train == "qlora" and not (gpu and find_spec("bitsandbytes")):
        raise InputError("TRAIN is qlora, which needs a CUDA GPU and bitsandbytes; choose lora")
    if params.attention == "flex" and not gpu:
        raise InputError("ATTENTION is flex, which needs a CUDA GPU; choose sdpa")
    shares = max(torch.cuda.device_count(), 1) if params.parallel == "fsdp" else 1
    folder, dim = weights.llm_folder(params.llm), Encoder.load(params.encoder).dim
    parts = estimate_memory(folder, params, dim, *_tokens(profile, stage), shares)
    need, (name, room) = RESERVE * sum(parts.values()), _device()
    of = ", ".join(f"{size / 1e9:.1f} {part}" for part, size in parts.items())
    says = f"a step takes about {need / 1e9:.1f} GB ({of}; computed); {name} has "
    says += f"{room / 1e9:.1f} GB" + (f" and is one of {shares}" if shares > 1 else "")
    if not gpu and parts["weights"] > LARGE:
        raise InputError(f"{says}: an LLM of this size wants a CUDA GPU")
    if need > room:
        ways = ["lower ROW_TOKENS"] if params.recipe == "packed" else []
        ways += ["take TRAIN qlora"] if hasattr(params, "train") and train != "qlora" else []
        ways += ["PARALLEL fsdp over several GPUs"] if params.parallel != "fsdp" else ["more GPUs"]
        raise InputError(f"{says}: {', '.join([*ways, 'or a larger GPU'])}")
    return says


def estimate_memory(
    llm: Path, params: Train, dim: int, tokens: int, answers: int, shares: int = 1
) -> dict[str, int]:
    """Bytes of one training step by what they hold, told from the shapes in an LLM's folder.

    ``dim``: the encoder's width; ``tokens`` of a pass, ``answers`` of which carry loss; ``shares``:
    processes over which the weights are cut (FSDP), of which each gathers one unit at a time.
    """
    config = AutoConfig.from_pretrained(llm, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    linear = [m for n, m in model.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"]
    each = language_model.DTYPES[params.precision].itemsize
    train, inner = getattr(params, "train", "projection"), model.base_model.layers
    total, layers = (sum(p.numel() for p in m.parameters()) for m in (model, inner))
    weights, trained = each * total, TRAINED * (dim + 1) * config.hidden_size
    if train == "qlora":
        weights -= int((each - FOUR_BITS) * sum(m.weight.numel() for m in linear))
    if shares > 1:
        unit = max(layers // config.num_hidden_layers, total - layers)
        weights = weights // shares + each * unit
    if train != "projection":  # and a copy of what trains in half precision
        widths = sum(m.in_features + m.out_features for m in linear)
        trained += (TRAINED + each % 4) * params.lora_rank * widths
    by_width, by_inner = KEPT[each, train != "projection"]
    layer = by_width * config.hidden_size + by_inner * config.intermediate_size
    kept = tokens * layer * config.num_hidden_layers
    logits = answers * config.vocab_size * (each + 3 * 4)  # with fp32, softmax and gradient
    return {"weights": weights, "what trains": trained, "activations": kept, "logits": logits}


def _tokens(profile: Profile, stage: str) -> tuple[int, int]:
    """Tokens of the largest pass, and how many of them at most carry loss."""
    params, longest = profile.stage(stage), profile.stage(FILTER).max_length
    if stage == STAGE1:
        text, share = round(PER_WORD * profile.stage(SUMMARIES).words), 1.0
    else:
        text, share = PER_PAIR, OF_ANSWER / PER_PAIR
    if params.recipe == "paper":
        return longest + text, round(share * text)
    pairs = profile.stage(QA).max_pairs if stage == STAGE2 else 1
    tokens = max(params.row_tokens, longest + pairs * text)
    return tokens, round(share * tokens)


def _device() -> tuple[str, int]:
    """Name and memory in bytes of what training would run on."""
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        return facts.name, facts.total_memory
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return "this computer (no CUDA GPU)", pages * page
