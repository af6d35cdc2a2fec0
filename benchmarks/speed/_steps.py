"""One training step by four ways, over an LLM of random weights: three ways of peers, and ours.

Each way adds the gradient of the mean loss over all pairs to the model and returns that loss.
Needs torch and transformers alone; the adapters are peft's where it is installed.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, LlamaConfig

from rnagpt_lib.model.attention import BLOCKWISE
from rnagpt_lib.model.packing import Batch, Branch, Tree, collate, fill, passes, weighted_loss

WIDTH = 640  # of the encoder's vectors
PAIRS, BEFORE, PROMPT, ANSWER = 24, 10, 45, 25  # of an RNA; tokens before it, and of a pair
ANNOTATION = 70  # tokens
RANK, ALPHA = 16, 32
IGNORED = -100  # label without loss, in transformers and in torch
UNSHARED_ROW = 4096  # tokens of a row of whole sequences, as TRL packs them


class Model(nn.Module):
    """A frozen LLM and a projection; with ``lora`` adapters on all linear layers but the head.

    What trains is fp32 over an LLM in bf16 too. Everything is made on ``device``.
    """

    def __init__(
        self,
        config: LlamaConfig,
        lora: bool,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        with torch.device(device):
            llm = AutoModelForCausalLM.from_config(
                deepcopy(config), dtype=dtype, attn_implementation=BLOCKWISE
            )
            self.projection = nn.Linear(WIDTH, config.hidden_size)
        self.causal = llm.requires_grad_(False)
        self.mixed = dtype == torch.bfloat16
        if lora:
            _adapt(self.causal)

    @property
    def device(self) -> torch.device:
        return self.projection.weight.device

    @property
    def trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def precision(self) -> AbstractContextManager:
        """Mixed precision over an LLM in bf16, nothing over any other."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed)

    def embed(self, ids: list[int] | Tensor) -> Tensor:
        """Token ids (…) → the LLM's input embeddings (…, H)."""
        return self.causal.get_input_embeddings()(torch.as_tensor(ids, device=self.device))

    def soft(self, embeddings: Tensor) -> Tensor:
        """Nucleotide vectors (L, 640) → soft tokens (L, H) in the LLM's precision."""
        tokens = self.projection(embeddings.to(self.device, self.projection.weight.dtype))
        return tokens.to(self.causal.get_input_embeddings().weight.dtype)


class Adapter(nn.Module):
    """LoRA on one linear layer, for where there is no peft: y = W x + (α/r) B A x."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        made = {"device": linear.weight.device, "dtype": torch.float32}
        self.lora_A = nn.Parameter(torch.empty(RANK, linear.in_features, **made))
        self.lora_B = nn.Parameter(torch.empty(linear.out_features, RANK, **made))

    def forward(self, x: Tensor) -> Tensor:
        low = functional.linear(x, self.lora_A)
        return self.linear(x) + functional.linear(low, self.lora_B) * (ALPHA / RANK)


def _adapt(causal: nn.Module) -> None:
    """Adapters in place, none at zero. Their inputs stay in the LLM's precision: peft would keep
    a copy of each in that of the adapters, which doubles the memory of a step."""
    if find_spec("peft"):
        from peft import LoraConfig, get_peft_model

        wanted = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
        with warnings.catch_warnings():  # peft 0.21 asks for a name that transformers 5 renamed
            warnings.simplefilter("ignore", FutureWarning)
            get_peft_model(causal, wanted)
    else:
        for parent in list(causal.base_model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(parent, name, Adapter(child))
    for module in causal.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False
    for name, parameter in causal.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.02)


def parameters(config: LlamaConfig) -> int:
    """Parameters of the LLM that a token is multiplied with: all but the embedding table."""
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(deepcopy(config))
    return sum(map(Tensor.numel, llm.parameters())) - llm.get_input_embeddings().weight.numel()


# --- data


def rna(
    nucleotides: int, pairs: int = PAIRS, vocabulary: int = 32_000, device: str = "cpu"
) -> Tree:
    """An RNA of random vectors, and its pairs of a question and an answer each."""
    branches = [Branch(_ids(PROMPT, vocabulary), _ids(ANSWER, vocabulary)) for _ in range(pairs)]
    vectors = torch.randn(nucleotides, WIDTH, device=device)
    return Tree("R", _ids(BEFORE, vocabulary), vectors, branches)


def annotated(nucleotides: int, vocabulary: int = 32_000, device: str = "cpu") -> Tree:
    """An RNA of random vectors, and its annotation, all of which carries loss."""
    vectors = torch.randn(nucleotides, WIDTH, device=device)
    return Tree("R", _ids(1, vocabulary), vectors, [Branch([], _ids(ANNOTATION, vocabulary))])


def _ids(number: int, vocabulary: int) -> list[int]:
    return torch.randint(vocabulary, (number,)).tolist()


def alone(trees: Iterable[Tree]) -> list[Tree]:
    """One tree for each pair, each with its own copy of the RNA."""
    return [tree.only([i]) for tree in trees for i in range(len(tree.branches))]


# --- the ways: each yields the losses of its passes, which add up to the mean over all pairs


def shared(
    model: Model, trees: Sequence[Tree], tokens: int = UNSHARED_ROW, everywhere: bool = False
) -> Iterator[Tensor]:
    """Ours: pairs behind one copy of their RNA, passes of about ``tokens``."""
    for rows in passes(trees, tokens):
        yield packed_loss(model, rows, len(alone(trees)), everywhere)


def one_row(model: Model, trees: Sequence[Tree], tokens: int) -> Iterator[Tensor]:
    """Ours, with several RNAs behind each other in rows of up to ``tokens``, a pass each."""
    for row in fill(trees, tokens):
        yield packed_loss(model, [row], len(alone(trees)))


def naive(model: Model, trees: Sequence[Tree], everywhere: bool = True) -> Iterator[Tensor]:
    """Batch 1, accumulated over the pairs."""
    pairs = alone(trees)
    for pair in pairs:
        yield peer_loss(model, [[pair]], _answers([pair]), everywhere) / len(pairs)


def padded(
    model: Model, trees: Sequence[Tree], together: int = PAIRS, everywhere: bool = True
) -> Iterator[Tensor]:
    """Batches of ``together`` pairs, padded to the longest one."""
    pairs = alone(trees)
    for start in range(0, len(pairs), together):
        rows = [[pair] for pair in pairs[start : start + together]]
        yield peer_loss(model, rows, _answers(pairs), everywhere)


def unshared(model: Model, trees: Sequence[Tree], everywhere: bool = True) -> Iterator[Tensor]:
    """Padding-free, as TRL packs: rows of whole sequences, each with its own copy of the RNA."""
    pairs = alone(trees)
    for row in fill(pairs, UNSHARED_ROW):
        yield peer_loss(model, [row], _answers(pairs), everywhere)


def _answers(pairs: Sequence[Tree]) -> int:
    return sum(len(branch.answer) for pair in pairs for branch in pair.branches)


def gradient(losses: Iterator[Tensor]) -> Tensor:
    """Add the gradient of the sum of ``losses``, pass by pass; returns that sum."""
    total = torch.zeros(())
    for loss in losses:
        loss.backward()
        total = total.to(loss.device) + loss.detach()
    return total


def packed_loss(
    model: Model, rows: Sequence[Sequence[Tree]], pairs: int, everywhere: bool = False
) -> Tensor:
    """The loss of one pass of ours; ``everywhere``: with logits of all tokens."""
    batch = collate(rows, pairs)
    batch = (_everywhere(batch) if everywhere else batch).to(model.device)
    with model.precision():
        inputs = model.embed(batch.ids)
        inputs = inputs.masked_scatter(batch.soft[..., None], model.soft(batch.embeddings))
        return weighted_loss(model.causal, inputs, batch)


def _everywhere(batch: Batch) -> Batch:
    """The same loss, out of logits at all tokens, of which those without a target are ignored."""
    targets = torch.full((batch.ids.numel(),), IGNORED)
    weights = torch.zeros(batch.ids.numel(), dtype=batch.weights.dtype)
    targets[batch.predictors], weights[batch.predictors] = batch.targets, batch.weights
    return replace(batch, predictors=torch.arange(len(targets)), targets=targets, weights=weights)


def peer_loss(
    model: Model, rows: Sequence[Sequence[Tree]], answers: int, everywhere: bool = True
) -> Tensor:
    """transformers' own causal path and labels, the sum of all tokens' losses over ``answers``.

    Logits are made of all tokens, as there; or (``everywhere=False``) where an answer is
    predicted, as ours does. Rows of several pairs restart their positions, which transformers
    reads as separate documents; rows of one pair have a padding mask.
    """
    with model.precision():
        inputs = _padded([torch.cat([_inputs(model, tree) for tree in row]) for row in rows], 0.0)
        labels = _padded([torch.cat([_labels(tree) for tree in row]) for row in rows], IGNORED)
        options = {"inputs_embeds": inputs, "use_cache": False}
        if max(map(len, rows)) > 1:
            places = [torch.cat([torch.arange(len(tree)) for tree in row]) for row in rows]
            options["position_ids"] = _padded(places, 0).to(model.device)
        elif len(rows) > 1:
            real = [torch.ones(len(tree), dtype=torch.long) for row in rows for tree in row]
            options["attention_mask"] = _padded(real, 0).to(model.device)
        if everywhere:
            labels = labels.to(model.device)
            return model.causal(**options, labels=labels, num_items_in_batch=answers).loss
        hidden = model.causal.base_model(**options).last_hidden_state
        row, column = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
        targets = labels[row, column + 1].to(model.device)
        logits = model.causal.lm_head(hidden[row.to(model.device), column.to(model.device)])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return functional.cross_entropy(logits, targets, reduction="sum") / answers


def _inputs(model: Model, tree: Tree) -> Tensor:
    """One pair alone, (T, H)."""
    (branch,) = tree.branches
    after = model.embed(branch.prompt + branch.answer)
    return torch.cat([model.embed(tree.before), model.soft(tree.embeddings), after])


def _labels(tree: Tree) -> Tensor:
    (branch,) = tree.branches
    return torch.tensor([IGNORED] * (len(tree) - len(branch.answer)) + branch.answer)


def _padded(rows: list[Tensor], value: float) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=value)
