"""RNA-FM, the encoder: one vector per nucleotide (``vector_cache`` keeps them).

The model is the ``fm`` package's own class, so the miniature encoder in ``models/`` and the
published RNA-FM differ in numbers alone. Weights travel as safetensors, never as pickles. All of
them are frozen, until ``unfreeze`` lets the last layers train.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, sha256, write_json
from rnagpt_lib.core.paths import shown
from rnagpt_lib.core.sequences import MIN_LENGTH, normalise, windows
from rnagpt_lib.core.weights import CONFIG, MANIFEST, WEIGHTS, check_layers, encoder_folder

# of a forward pass, with padding: what keeps a GPU busy, and what stays in a processor's caches,
# which 4,096 tokens of RNA-FM's width do not: those are slower there than one by one
GPU_TOKENS, CPU_TOKENS = 8192, 1024
TIED = "lm_head.weight"  # the same tensor as embed_tokens.weight, stored once


class Encoder:
    """An RNA-FM: sequences in, one (L, dim) tensor each out.

    >>> encoder = Encoder.load("models/mini-encoder")
    >>> [x.shape for x in encoder.encode(["GGCUAGCUCAAUCGG", "ACGUACGUACGU"])]
    [torch.Size([15, 128]), torch.Size([12, 128])]
    """

    def __init__(self, config: dict, hash: str):
        import fm  # slow to import, and only ever needed here

        self.config, self.hash = config, hash
        self.alphabet = fm.Alphabet.from_architecture("roberta_large", theme="rna")
        self.model = fm.BioBertModel(Namespace(arch="roberta_large", **config), self.alphabet)
        self.model.eval().requires_grad_(False)
        for layer in self.model.layers:
            layer.forward = partial(_fused, layer)

    @classmethod
    def fresh(cls, config: dict, seed: int) -> "Encoder":
        """An untrained encoder: weights from N(0, 0.02), biases zero (``fm`` draws far wider)."""
        encoder = cls(config, hash=f"fresh-{seed}")
        generator = torch.Generator().manual_seed(seed)
        for name, weight in encoder.model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.02, generator=generator)
            elif name.endswith("bias"):
                weight.zero_()
        return encoder

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> "Encoder":
        """Read config.json, manifest.json and model.safetensors; the file's hash must be the one
        that the manifest records. ``device`` None: a GPU, where there is one.

        Raises InputError when a file is missing or another."""
        folder = encoder_folder(folder)
        digest = sha256(folder / WEIGHTS)
        recorded = read_json(folder / MANIFEST)["files"][WEIGHTS]
        if digest != recorded:
            raise InputError(
                f"{shown(folder / WEIGHTS)} has sha256 {digest[:12]}…, its manifest says "
                f"{recorded[:12]}…; restore the file or make the folder again"
            )
        encoder = cls(read_json(folder / CONFIG), digest)
        state = load_file(folder / WEIGHTS)
        encoder.model.load_state_dict(state | {TIED: state["embed_tokens.weight"]})
        encoder.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return encoder

    def save(self, folder: str | Path, facts: dict) -> None:
        """Write the three files; ``facts`` go into the manifest beside the weights' hash."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.contiguous() for k, v in self.model.state_dict().items() if k != TIED}
        save_file(state, folder / WEIGHTS)
        self.hash = sha256(folder / WEIGHTS)
        write_json(folder / CONFIG, self.config)
        write_json(folder / MANIFEST, facts | {"files": {WEIGHTS: self.hash}})

    @property
    def dim(self) -> int:
        """Width of a nucleotide's vector (RNA-FM: 640, miniature: 128)."""
        return self.config["embed_dim"]

    @property
    def max_length(self) -> int:
        """Nucleotides per window: the positions less <cls> and <eos> (RNA-FM: 1,022)."""
        return self.config["max_positions"] - 2

    @property
    def is_frozen(self) -> bool:
        """Whether none of its layers trains."""
        return not any(parameter.requires_grad for parameter in self.model.parameters())

    def unfreeze(self, layers: int) -> torch.nn.ModuleDict:
        """Let the last ``layers`` layers train, with the norm behind them; these modules, under
        the names that they have in the weights' file.

        Raises InputError for more layers than there are.
        """
        check_layers(self.config, layers)
        total = self.config["layers"]
        chosen = {str(n): self.model.layers[n] for n in range(total - layers, total)}
        norm = self.model.emb_layer_norm_after
        last = {"layers": torch.nn.ModuleDict(chosen), "emb_layer_norm_after": norm}
        return torch.nn.ModuleDict(last).requires_grad_(True)

    def tokens(self, sequences: Sequence[str]) -> torch.Tensor:
        """Token ids (B, longest + 2) of normalised sequences: <cls> … <eos> <pad>."""
        return self.alphabet.get_batch_converter()([("", s) for s in sequences])[2]

    @torch.no_grad()
    def encode(
        self, sequences: Sequence[str], batch_tokens: int | None = None
    ) -> list[torch.Tensor]:
        """One (L, dim) fp32 tensor per sequence, in order, whatever else is in the batch.

        Sequences are normalised; longer ones than a window are read in overlapping windows and
        averaged where these overlap. ``batch_tokens`` None: what suits the device.
        Raises InputError for under 10 nt or a foreign letter.
        """
        found = {i: x for done in self.in_batches(sequences, batch_tokens) for i, x in done}
        return [found[i] for i in range(len(sequences))]

    def read(self, sequence: str) -> torch.Tensor:
        """The same for one sequence, with the gradient of the layers that train."""
        [vectors] = [x for done in self.in_batches([sequence]) for _, x in done]
        return vectors

    def in_batches(
        self, sequences: Sequence[str], batch_tokens: int | None = None
    ) -> Iterator[list[tuple[int, torch.Tensor]]]:
        """What ``encode`` gives, as it is made, the shortest first: for each forward pass the
        sequences that it completes, as (place in ``sequences``, (L, dim) tensor)."""
        batch_tokens = batch_tokens or (CPU_TOKENS if self._device.type == "cpu" else GPU_TOKENS)
        sequences = [checked(sequence) for sequence in sequences]
        pieces = [
            (i, start, stop)
            for i, s in enumerate(sequences)
            for start, stop in windows(len(s), self.max_length)
        ]
        for batch in batches(pieces, batch_tokens):
            vectors = self._forward([sequences[i][start:stop] for i, start, stop in batch])
            done = []
            for (i, start, stop), x in zip(batch, vectors, strict=True):
                length = len(sequences[i])
                if start == 0:  # windows are equally long, so a sequence's follow each other
                    total, count = x.new_zeros(length, self.dim), x.new_zeros(length, 1)
                total[start:stop] += x[1 : stop - start + 1]  # less <cls>, <eos> and padding
                count[start:stop] += 1
                if stop == length:
                    done.append((i, total / count))
            yield done

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _forward(self, sequences: list[str]) -> torch.Tensor:
        """Last layer's vectors (B, longest + 2, dim) on the CPU."""
        tokens, last = self.tokens(sequences).to(self._device), self.config["layers"]
        nowhere = torch.zeros_like(tokens, dtype=torch.bool)  # no letters are to be predicted
        out = self.model(tokens, repr_layers=[last], masked_tokens=nowhere)
        return out["representations"][last].cpu()


def _fused(
    layer: torch.nn.Module,
    x: torch.Tensor,
    self_attn_mask: None = None,
    self_attn_padding_mask: torch.Tensor | None = None,
    need_head_weights: bool = False,
) -> tuple[torch.Tensor, None]:
    """A layer of ``fm``, (T, B, dim) to the same, without the weights of the attention: nobody
    reads them, and one kernel computes the attention then, as one does GELU."""
    read = layer.self_attn_layer_norm(x)
    options = {"key_padding_mask": self_attn_padding_mask, "need_weights": False}
    x = x + layer.self_attn(query=read, key=read, value=read, **options)[0]
    return x + layer.fc2(functional.gelu(layer.fc1(layer.final_layer_norm(x)))), None


def batches(pieces: list[tuple], batch_tokens: int) -> Iterator[list[tuple]]:
    """Pieces (…, start, stop) sorted by length, in batches of at most ``batch_tokens`` with
    padding, <cls> and <eos> counted (one piece at least)."""
    batch: list[tuple] = []
    for piece in sorted(pieces, key=lambda p: p[-1] - p[-2]):
        if batch and (piece[-1] - piece[-2] + 2) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def checked(sequence: str) -> str:
    """The sequence as it is encoded: normalised. Raises InputError for under 10 nt or a foreign
    letter."""
    sequence = normalise(sequence)
    if len(sequence) < MIN_LENGTH:
        raise InputError(
            f"sequence {sequence!r} has {len(sequence)} nt; the encoder needs at least {MIN_LENGTH}"
        )
    return sequence
