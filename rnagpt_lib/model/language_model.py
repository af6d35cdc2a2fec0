"""The frozen LLM that a model stands on; `core.weights` says where its files are. `from_folder` is
the door by which transformers gets at a folder that others made."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.paths import shown
from rnagpt_lib.core.text import one_line
from rnagpt_lib.core.weights import check_folder, llm_folder
from rnagpt_lib.model.attention import BLOCKWISE, FLEX

logging.disable_progress_bar()  # "Loading weights" would fill the notebooks

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ATTENTION = {"sdpa": BLOCKWISE, "flex": FLEX}  # transformers' names
SCALED = ("logits_scaling", "logit_scale", "final_logit_softcapping", "attn_logit_softcapping",
          "lm_head_multiplier")  # fmt: skip


def load(
    llm: str | Path,
    precision: str,
    *,
    four_bits: bool = False,
    attention: str = "sdpa",
    prompts_only: bool = False,
) -> nn.Module:
    """The causal LM, in ``precision`` (`DTYPES`) or 4 bits, with the ``attention`` of `ATTENTION`.

    ``prompts_only``: its input embeddings without the layers. Raises InputError where 4 bits or
    FlexAttention cannot be, where no safetensors are there, and for one that scales its logits.
    """
    gpu, options = torch.cuda.is_available(), {"dtype": DTYPES[precision]}
    if attention == "flex" and not gpu:
        raise InputError("ATTENTION is flex, which needs a CUDA GPU; choose sdpa here")
    if four_bits and not (gpu and find_spec("bitsandbytes")):
        raise InputError("train=qlora needs a CUDA GPU and bitsandbytes; choose train=lora here")
    if four_bits:
        kind = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
        kind |= {"bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": DTYPES[precision]}
        options |= {"quantization_config": BitsAndBytesConfig(**kind)}
        options |= {"device_map": {"": torch.cuda.current_device()}}
    folder = llm_folder(llm)
    files = list(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"{shown(folder)} holds no safetensors; other weights are not read")
    config = from_folder(AutoConfig, folder)
    _refuse_scaled(folder, config)
    asked, there = count(outline(folder)), sum(file.stat().st_size for file in files)
    if asked > 8 * there:  # before so many are made
        what = f"its config is of an LLM of {asked:,} weights, and its files have {there:,} bytes"
        raise InputError(f"{shown(folder)}: {what}; restore them")
    options |= {"use_safetensors": True, "attn_implementation": ATTENTION[attention]}
    before = logging.get_verbosity()
    if prompts_only:
        config.num_hidden_layers = 0
        logging.set_verbosity_error()  # else it tells of every weight that it did not need
    options |= {"config": config, "output_loading_info": True}
    try:
        model, about = from_folder(AutoModelForCausalLM, folder, **options)
    finally:
        logging.set_verbosity(before)
    if about["missing_keys"]:  # they would be drawn at random
        raise InputError(f"{shown(folder)}: the weights lack {min(about['missing_keys'])}")
    return model


def from_folder(kind: Any, folder: Path, **options: object) -> Any:
    """What one of transformers' Auto classes makes of a folder: no program of it is run, and nothing
    that it names is asked for on the network. Give a model's ``attn_implementation`` and ``config``,
    as else its own would choose. Raises InputError for what cannot be read."""
    check_folder(folder)
    options |= {"local_files_only": True, "trust_remote_code": False}
    with _reading(folder):
        return kind.from_pretrained(folder, **options)


def outline(folder: Path) -> nn.Module:
    """The causal LM of a folder's config, without weights. Raises InputError as `from_folder`."""
    config = from_folder(AutoConfig, folder)
    with _reading(folder), torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            config, attn_implementation=ATTENTION["sdpa"], trust_remote_code=False
        )


def count(model: nn.Module) -> int:
    """The numbers in a model's weights."""
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Without the hub; what is wrong with the folder is told in a sentence."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    except Exception as error:  # of many kinds, by what its files say
        reason = f"{type(error).__name__}: {one_line(str(error))[:200]}"
        raise InputError(f"{shown(folder)} cannot be read as a model ({reason})") from error
    finally:
        constants.HF_HUB_OFFLINE = before


def load_tokenizer(llm: str | Path) -> PreTrainedTokenizerBase:
    """The LLM's tokenizer. Raises InputError for one without an end-of-sequence token."""
    folder = llm_folder(llm)
    tokenizer = from_folder(AutoTokenizer, folder)
    if tokenizer.eos_token_id is None:
        reason = "no end-of-sequence token; set eos_token in tokenizer_config.json"
        raise InputError(f"{shown(folder)}: its tokenizer has {reason}")
    return tokenizer


def end_tokens(llm: nn.Module, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids with which an answer may end: the tokenizer's EOS, which training teaches, and those
    that the LLM was made with (Llama 3 Instruct: ``<|eot_id|>`` and ``<|end_of_text|>``)."""
    own = (llm.generation_config.eos_token_id, llm.config.eos_token_id, tokenizer.eos_token_id)
    listed = [ids if isinstance(ids, list) else [ids] for ids in own]
    return frozenset(i for ids in listed for i in ids if isinstance(i, int))


def reach(config: PretrainedConfig) -> int:
    """Tokens that every layer sees at once: the LLM's positions, or the window of its attention
    where that is shorter. Within it packed rows are computed as the LLM itself does."""
    kinds = getattr(config, "layer_types", None) or []
    slides = "sliding_attention" in kinds if kinds else getattr(config, "use_sliding_window", True)
    window = getattr(config, "sliding_window", None) if slides else None
    return min(config.max_position_embeddings, window or config.max_position_embeddings)


def _refuse_scaled(folder: Path, config: PretrainedConfig) -> None:
    """An LLM that does more to its logits than its output embedding would be trained as another
    one than answers (`packing` makes logits where there is loss alone)."""
    for name in SCALED:
        if (value := getattr(config.get_text_config(), name, None)) not in (None, 1):
            what = f"its logits are scaled or capped ({name} is {value})"
            raise InputError(f"{shown(folder)}: {what}, which training leaves out; choose another")
