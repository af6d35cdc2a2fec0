"""The frozen LLM that a model stands on; `core.weights` says where its files are."""

from importlib.util import find_spec
from pathlib import Path

import torch
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
from rnagpt_lib.core.weights import llm_folder
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
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{shown(folder)} holds no safetensors; other weights are not read")
    _refuse_scaled(folder)
    options |= {"local_files_only": True, "use_safetensors": True}
    options |= {"attn_implementation": ATTENTION[attention]}
    if not prompts_only:
        return AutoModelForCausalLM.from_pretrained(folder, **options)
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # else it tells of every weight that it did not need
    try:
        return AutoModelForCausalLM.from_pretrained(folder, num_hidden_layers=0, **options)
    finally:
        logging.set_verbosity(before)


def load_tokenizer(llm: str | Path) -> PreTrainedTokenizerBase:
    """The LLM's tokenizer. Raises InputError for one without an end-of-sequence token."""
    folder = llm_folder(llm)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.eos_token_id is None:
        reason = "no end-of-sequence token; set eos_token in tokenizer_config.json"
        raise InputError(f"{shown(folder)}: its tokenizer has {reason}")
    return tokenizer


def end_tokens(llm: nn.Module, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids with which an answer may end: the tokenizer's EOS, which training teaches, and those
    that the LLM was made with (Llama 3 Instruct: ``<|eot_id|>`` and ``<|end_of_text|>``)."""
    own = (llm.generation_config.eos_token_id, llm.config.eos_token_id, tokenizer.eos_token_id)
    listed = [ids if isinstance(ids, list) else [ids] for ids in own]
    return frozenset(i for ids in listed for i in ids if i is not None)


def reach(config: PretrainedConfig) -> int:
    """Tokens that every layer sees at once: the LLM's positions, or the window of its attention
    where that is shorter. Within it packed rows are computed as the LLM itself does."""
    kinds = getattr(config, "layer_types", None) or []
    slides = "sliding_attention" in kinds if kinds else getattr(config, "use_sliding_window", True)
    window = getattr(config, "sliding_window", None) if slides else None
    return min(config.max_position_embeddings, window or config.max_position_embeddings)


def _refuse_scaled(folder: Path) -> None:
    """An LLM that does more to its logits than its output embedding would be trained as another
    one than answers (`packing` makes logits where there is loss alone)."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    for name in SCALED:
        if (value := getattr(config, name, None)) not in (None, 1):
            what = f"its logits are scaled or capped ({name} is {value})"
            raise InputError(f"{shown(folder)}: {what}, which training leaves out; choose another")
