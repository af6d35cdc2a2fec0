"""RNA-GPT: a frozen LLM that reads nucleotides as soft tokens (paper, sections 3.4 and 3.5).

    embeddings (L, D) ─ projection ─> soft tokens (L, H) ─┐
    BOS ###Human: <RNA>            <RNAHere>              </RNA> {question} ###Assistant: …

``template.Template`` owns every byte of the prompts.
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Annotated, Literal

import pandas as pd
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.helpers import disable_input_dtype_casting
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from rnagpt_lib.core import weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Reads, Train
from rnagpt_lib.model import language_model
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.packing import Batch, weighted_loss
from rnagpt_lib.model.template import Template

Size = Annotated[int, Field(ge=1, le=16_384)]


@dataclass(frozen=True)
class Config:
    """What a model is made of; ``config.json`` of a checkpoint. Folders are relative to the root.

    ``train``: the projection alone, LoRA adapters besides (``lora``), or these over a 4-bit LLM
    (``qlora``); ``encoder_layers``: how many of the encoder's; ``reads``: what stands for the RNA.
    """

    encoder: str
    encoder_hash: str
    encoder_dim: Size
    llm: str
    llm_hash: str
    train: Literal["projection", "lora", "qlora"] = "projection"
    lora_rank: Size = 16
    lora_alpha: Size = 32
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    encoder_layers: Annotated[int, Field(ge=0)] = 0
    reads: Reads = "vectors"

    @classmethod
    def of(cls, params: Train, encoder: Encoder) -> "Config":
        """The model that a stage's parameters ask for, over this encoder and LLM."""
        chosen = params.model_dump(include={field.name for field in fields(cls)})
        hashes = {"encoder_hash": encoder.hash, "llm_hash": weights.llm_hash(params.llm)}
        return cls(**chosen, **hashes, encoder_dim=encoder.dim)


class Projection(nn.Linear):
    """Nucleotide vectors (…, D) → soft tokens (…, H): one linear map, plain as the paper's.

    An encoder's vectors share a large common part and a few loud directions. ``whiten`` centres and
    decorrelates them, so that the optimiser finds all directions equally loud; it stays linear.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(dim, hidden)
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("whitener", torch.eye(dim))

    def forward(self, vectors: Tensor) -> Tensor:
        return super().forward((vectors - self.centre) @ self.whitener)

    @torch.no_grad()
    def whiten(self, embeddings: Iterable[Tensor], floor: float = 0.01) -> Tensor:
        """Set centre and whitener from (L, D) tensors; returns the variances (D,), loudest first.
        ``floor``, in mean variances, keeps directions that hold next to nothing quiet."""
        count, total, squares = 0, 0.0, 0.0
        for vectors in embeddings:
            vectors = vectors.double()
            count, total = count + len(vectors), total + vectors.sum(0)
            squares = squares + vectors.T @ vectors
        centre = total / count
        variances, directions = torch.linalg.eigh(squares / count - torch.outer(centre, centre))
        scale = (variances.clamp(min=0) + floor * variances.mean()).rsqrt()
        self.centre.copy_(centre)
        self.whitener.copy_(directions @ torch.diag(scale) @ directions.T)
        return variances.flip(0)


class RnaGpt(nn.Module):
    """Projection and LLM, with the template and the tokenizer that belong to them. Only
    ``projection`` and the adapters train, and with ``config.encoder_layers`` the last layers of an
    own encoder. Embeddings are the encoder's, (L, D); H is the LLM's hidden width."""

    def __init__(
        self,
        llm: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        config: Config,
        template: Template | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__()
        self.llm = llm.requires_grad_(False)
        self.tokenizer, self.config = tokenizer, config
        self.ends = language_model.end_tokens(llm, tokenizer)
        self.template = template or Template()
        self.projection = Projection(config.encoder_dim, llm.config.hidden_size)
        self.encoder = encoder
        if encoder is not None:
            self.encoder_layers = encoder.unfreeze(config.encoder_layers)
        if config.train != "projection":
            ranks = {"r": config.lora_rank, "lora_alpha": config.lora_alpha, "lora_dropout": 0.0}
            lora = LoraConfig(**ranks, target_modules="all-linear", task_type="CAUSAL_LM")
            with warnings.catch_warnings():  # peft 0.21 asks for a name that transformers 5 renamed
                warnings.simplefilter("ignore", FutureWarning)
                self.llm = get_peft_model(llm, lora)

    @classmethod
    def build(
        cls,
        config: Config,
        *,
        seed: int = 0,
        template: Template | None = None,
        device: str | None = None,
        **options: object,
    ) -> "RnaGpt":
        """A new model over the LLM at ``config.llm``; ``seed`` draws projection and adapters.
        ``device``: by default the GPU where there is one; ``options``, InputError: as of
        `language_model.load`, and for an LLM or encoder with another hash than the config's."""
        if weights.llm_hash(config.llm) != config.llm_hash:
            raise InputError(f"{config.llm}: not the LLM that this model was made with; restore it")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        own = (config.encoder, device, config.encoder_hash)
        encoder = Encoder.load(*own) if config.encoder_layers else None
        four_bits = config.train == "qlora"
        llm = language_model.load(config.llm, config.precision, four_bits=four_bits, **options)
        tokenizer = language_model.load_tokenizer(config.llm)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = cls(llm, tokenizer, config, template, encoder)
        return model.to(device).eval()

    @property
    def causal(self) -> nn.Module:
        """The causal LM itself, its adapters (where it has any) inside."""
        return self.llm.get_base_model() if isinstance(self.llm, PeftModel) else self.llm

    @property
    def device(self) -> torch.device:
        return self.projection.weight.device

    def soft(self, embeddings: Tensor) -> Tensor:
        """Encoder embeddings (L, D) → soft tokens (L, H) in the LLM's precision."""
        weight = self.projection.weight
        tokens = self.projection(embeddings.to(weight.device, weight.dtype))
        return tokens.to(self.causal.get_input_embeddings().weight.dtype)

    def embed(self, token_ids: list[int] | Tensor) -> Tensor:
        """Token ids (…) → the LLM's input embeddings (…, H)."""
        ids = torch.as_tensor(token_ids, dtype=torch.long, device=self.device)
        return self.causal.get_input_embeddings()(ids)

    def splice(self, before: list[int], embeddings: Tensor, after: list[int]) -> Tensor:
        """Text, RNA, text → (T, H): the soft tokens stand where the placeholder stood."""
        return torch.cat([self.embed(before), self.soft(embeddings), self.embed(after)])

    def prompt(self, embeddings: Tensor, question: str) -> Tensor:
        """The inference prompt of one question about one RNA, (T, H)."""
        before = self.template.prefix_ids(self.tokenizer)
        return self.splice(before, embeddings, self.template.question_ids(self.tokenizer, question))

    def forward(self, batch: Batch) -> Tensor:
        """The weighted loss of a packed batch (``packing.weighted_loss``)."""
        inputs = self.embed(batch.ids)
        inputs = inputs.masked_scatter(batch.soft[..., None], self.soft(batch.embeddings))
        with self.amp():
            return weighted_loss(self.causal, inputs, batch)

    @contextmanager
    def amp(self) -> Iterator[None]:
        """Mixed precision: the LLM computes in its own half precision, while what trains stays in
        fp32 and the projection is outside. Nothing changes for an LLM in fp32."""
        dtype = language_model.DTYPES[self.config.precision]
        half = dtype != torch.float32
        autocast = torch.autocast(self.device.type, dtype, enabled=half)
        # peft would hand every adapter a copy of its input in fp32, half of all activations
        with autocast, disable_input_dtype_casting(self.llm, active=half):
            yield


def trainable(model: RnaGpt) -> pd.DataFrame:
    """What trains: for each part its parameters, how many of them train, and their dtypes."""
    rows, names = [], {"projection": "projection", "encoder_layers": "encoder's last layers"}
    for name, parameter in model.named_parameters():
        part = "LoRA adapters" if "lora_" in name else names.get(name.split(".")[0], "LLM")
        trained = parameter.numel() * parameter.requires_grad
        rows.append((part, parameter.numel(), trained, str(parameter.dtype).removeprefix("torch.")))
    parts = pd.DataFrame(rows, columns=["part", "parameters", "trained", "dtype"])
    join = {"dtype": lambda dtypes: ", ".join(set(dtypes))}
    return parts.groupby("part", sort=False).agg({"parameters": "sum", "trained": "sum"} | join)


def frozen_hash(model: RnaGpt) -> str:
    """sha256 over the frozen parameters, to show that training left them alone."""
    total = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            raw = parameter.detach().contiguous().view(-1).cpu().view(torch.uint8)
            total.update(name.encode() + raw.numpy().tobytes())
    return total.hexdigest()
