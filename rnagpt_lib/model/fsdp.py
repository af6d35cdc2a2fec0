"""A model in parts over several processes (PyTorch's FSDP2), for LLMs that don't fit one GPU.

The frozen LLM is most of what there is to share out: each process holds its part of every layer
and gathers a layer while it is computed. What is saved is whole, so that a training may go on in
another number of processes.
"""

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model.rna_gpt import RnaGpt

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def sharded(model: RnaGpt) -> RnaGpt:
    """The same model, each layer of its LLM a unit of its own and the rest another one.

    Raises InputError in a single process, which has nobody to share with.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        raise InputError("PARALLEL is fsdp, which needs several processes: accelerate launch …")
    for layer in model.causal.base_model.layers:
        fully_shard(layer)
    return fully_shard(model, reshard_after_forward=True)  # a validation has no way back


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which this process may hold a part; every process is to ask for it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def state_of(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict:
    """The optimiser's state by the parameters' names, whole and on the CPU."""
    return get_optimizer_state_dict(model, optimiser, options=WHOLE)


def load_state(model: nn.Module, optimiser: torch.optim.Optimizer, state: dict) -> None:
    """Take up what ``state_of`` gave, by whatever number of processes."""
    set_optimizer_state_dict(model, optimiser, state, options=WHOLE)
