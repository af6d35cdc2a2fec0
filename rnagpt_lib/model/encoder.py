"""RNA-FM, the encoder: one vector per nucleotide (`vector_cache` keeps them).

The model is the ``fm`` package's own class, so the miniature encoder in ``models/`` and the
published RNA-FM differ in numbers alone. Weights travel as safetensors, never as pickles.
"""

import os
import pickle
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import check_sequence
from rnagpt_lib.core.files import read_json, sha256, write_json
from rnagpt_lib.core.paths import shown
from rnagpt_lib.core.sequences import windows
from rnagpt_lib.core.text import one_line
from rnagpt_lib.core.weights import (
    CONFIG,
    MANIFEST,
    SIZES,
    WEIGHTS,
    check_layers,
    encoder_config,
    encoder_folder,
)

# of a forward pass, with padding: what keeps a GPU busy, and what stays in a processor's caches,
# which 4,096 tokens of RNA-FM's width do not: those are slower there than one by one
GPU_TOKENS, CPU_TOKENS = 8192, 1024
TIED = "lm_head.weight"  # the same tensor as embed_tokens.weight, stored once
UNUSED = ("contact_head.regression.weight", "contact_head.regression.bias")  # not in a .pth


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
    def load(
        cls, folder: str | Path, device: str | None = None, wanted: str | None = None
    ) -> "Encoder":
        """Read an encoder's folder. ``device`` None: a GPU, where there is one. Raises InputError
        when a file is missing, or when the weights' hash is not the one that the manifest records,
        or not ``wanted``, of which a model was trained, and for weights of another shape."""
        folder = encoder_folder(folder)
        files = read_json(folder / MANIFEST).get("files")
        digest, recorded = sha256(folder / WEIGHTS), isinstance(files, dict) and files.get(WEIGHTS)
        if not isinstance(recorded, str):
            raise InputError(f"{shown(folder / MANIFEST)} records no hash of {WEIGHTS}; restore it")
        for who, known in (("its manifest says", recorded), ("the model was trained on", wanted)):
            if digest != (known or digest):
                raise InputError(
                    f"{shown(folder / WEIGHTS)} has sha256 {digest[:12]}…, {who} {known[:12]}…; "
                    "restore that encoder"
                )
        config = encoder_config(folder)
        try:
            _check_shape(config, folder / WEIGHTS)  # before so large a model is made
            encoder, state = cls(config, digest), load_file(folder / WEIGHTS)
            encoder.model.load_state_dict(state | {TIED: state["embed_tokens.weight"]})
        except (KeyError, RuntimeError, TypeError, SafetensorError) as error:
            reason = one_line(str(error))[:200]
            raise InputError(f"{shown(folder)}: {CONFIG} is not of its weights: {reason}") from None
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

    def unfreeze(self, layers: int) -> nn.ModuleDict:
        """Let the last ``layers`` layers train, with the norm behind them; these modules, by their
        names. Raises InputError for more than there are."""
        check_layers(self.config, layers)
        total, norm = self.config["layers"], self.model.emb_layer_norm_after
        chosen = nn.ModuleDict({str(n): self.model.layers[n] for n in range(total - layers, total)})
        last = nn.ModuleDict({"layers": chosen, "emb_layer_norm_after": norm})
        return last.requires_grad_(True)

    def tokens(self, sequences: Sequence[str]) -> Tensor:
        """Token ids (B, longest + 2) of normalised sequences: <cls> … <eos> <pad>."""
        return self.alphabet.get_batch_converter()([("", s) for s in sequences])[2]

    @torch.no_grad()
    def encode(self, sequences: Sequence[str], batch_tokens: int | None = None) -> list[Tensor]:
        """One (L, dim) fp32 tensor per sequence, in order, whatever else is in the batch; longer
        ones than a window are read in overlapping windows and averaged where these overlap.
        ``batch_tokens`` None: what suits the device. Raises InputError for under 10 nt or a foreign
        letter."""
        found = {i: x for done in self.in_batches(sequences, batch_tokens) for i, x in done}
        return [found[i] for i in range(len(sequences))]

    def read(self, sequence: str) -> Tensor:
        """The same for one sequence, with the gradient of the layers that train."""
        [vectors] = [x for done in self.in_batches([sequence]) for _, x in done]
        return vectors

    def in_batches(
        self, sequences: Sequence[str], batch_tokens: int | None = None
    ) -> Iterator[list[tuple[int, Tensor]]]:
        """What ``encode`` gives, as it is made, the shortest first: for each forward pass the
        sequences that it completes, as (place in ``sequences``, (L, dim) tensor)."""
        on_cpu = next(self.model.parameters()).device.type == "cpu"
        sequences = [check_sequence(sequence) for sequence in sequences]
        spans = [windows(len(sequence), self.max_length) for sequence in sequences]
        pieces = [(i, start, stop) for i, own in enumerate(spans) for start, stop in own]
        for batch in batches(pieces, batch_tokens or (CPU_TOKENS if on_cpu else GPU_TOKENS)):
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

    def _forward(self, sequences: list[str]) -> Tensor:
        """Last layer's vectors (B, longest + 2, dim) on the CPU."""
        device, last = next(self.model.parameters()).device, self.config["layers"]
        tokens = self.tokens(sequences).to(device)
        nowhere = torch.zeros_like(tokens, dtype=torch.bool)  # no letters are to be predicted
        out = self.model(tokens, repr_layers=[last], masked_tokens=nowhere)
        return out["representations"][last].cpu()


def _check_shape(config: dict, file: Path) -> None:
    """KeyError where weights of a config's sizes are not there, or not alone."""
    with safe_open(file, framework="pt") as weights:
        shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}
    dim, last = config["embed_dim"], config["layers"] - 1
    wanted = {f"layers.{last}.fc1.weight": [config["ffn_embed_dim"], dim]}
    wanted["embed_tokens.weight"] = [shapes["embed_tokens.weight"][0], dim]
    positions = shapes["embed_positions.weight"][0]
    if config["max_positions"] > positions:
        raise KeyError(f"max_positions is {config['max_positions']}, there are {positions}")
    for name, shape in wanted.items():
        if shapes.get(name) != shape:
            raise KeyError(f"{name} is to be {shape}, and is {shapes.get(name)}")


def _fused(
    layer: nn.Module, x: Tensor, self_attn_padding_mask: Tensor | None = None, **_: object
) -> tuple[Tensor, None]:
    """A layer of ``fm``, (T, B, dim) to the same, without the weights of the attention: nobody
    reads them, and one kernel computes the attention then, as one does GELU."""
    read = layer.self_attn_layer_norm(x)
    options = {"key_padding_mask": self_attn_padding_mask, "need_weights": False}
    x = x + layer.self_attn(query=read, key=read, value=read, **options)[0]
    return x + layer.fc2(functional.gelu(layer.fc1(layer.final_layer_norm(x)))), None


def batches(pieces: list[tuple], batch_tokens: int) -> Iterator[list[tuple]]:
    """Pieces (…, start, stop) by length, in batches of one or of at most ``batch_tokens``, with
    padding, <cls> and <eos> counted."""
    batch: list[tuple] = []
    for piece in sorted(pieces, key=lambda p: p[-1] - p[-2]):
        if batch and (piece[-1] - piece[-2] + 2) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def convert(source: Path, folder: Path, expected: str | None = None) -> Encoder:
    """Make ``folder``, whole or not at all, of ``source``, RNA-FM's own checkpoint
    (github.com/ml4bio/RNA-FM, MIT): a pickle of ``{"args": Namespace, "model": {name: tensor}}``,
    opened with no class allowed but that Namespace. ``expected``: its SHA-256. Raises InputError
    for another file or hash."""
    if not source.is_file():
        raise InputError(f"{shown(source)} does not exist; RNA-FM's weights are never downloaded")
    if folder.exists():
        raise InputError(f"{shown(folder)} exists already; remove it or name another folder")
    found = sha256(source)
    if expected and found != expected.lower():
        raise InputError(f"{shown(source)} has sha256 {found}, not {expected}; fetch it again")
    try:
        with torch.serialization.safe_globals([Namespace]):
            data = torch.load(source, map_location="cpu", weights_only=True)
        encoder = _from_fairseq(data)
    except pickle.UnpicklingError:
        reason = "holds more than tensors and options (it may run code) or is no PyTorch file"
        raise InputError(f"{shown(source)} {reason}") from None
    except Exception as error:  # bytes that are no pickle end in any error at all
        reason = f"damaged, no PyTorch file or no RNA-FM checkpoint: {' '.join(str(error).split())}"
        raise InputError(f"{shown(source)} is {reason[:250]}") from None
    facts = {"about": "RNA-FM, converted", "source": source.name, "source_sha256": found}
    with TemporaryDirectory(prefix=".", dir=folder.parent) as draft:
        encoder.save(Path(draft) / folder.name, facts)
        os.rename(Path(draft) / folder.name, folder)
    return encoder


def _from_fairseq(data: dict) -> Encoder:
    """The model that the options describe, with the weights under the names that it uses."""
    args, weights = data["args"], data["model"]
    options = {option.removeprefix("encoder_"): value for option, value in vars(args).items()}
    missing = [size for size in SIZES if not isinstance(options.get(size), int)]
    if options.get("arch") != "roberta_large" or missing:
        lacks = ", ".join(missing) or "nothing"
        raise InputError(f"its options have arch {options.get('arch')!r} and lack {lacks}")
    state = {  # encoder.sentence_encoder.layers.0… → layers.0…
        key.removeprefix("encoder.").removeprefix("sentence_encoder."): tensor
        for key, tensor in weights.items()
    }
    config = {size: options[size] for size in SIZES} | {
        "token_dropout": bool(options.get("token_dropout")),
        "emb_layer_norm_before": any(key.startswith("emb_layer_norm_before") for key in state),
    }
    encoder = Encoder(config, hash="")
    wanted = encoder.model.state_dict()
    state = {key: torch.zeros_like(wanted[key]) for key in UNUSED} | state
    encoder.model.load_state_dict(state | {TIED: state["embed_tokens.weight"]})
    encoder.model.embed_tokens.weight[encoder.alphabet.mask_idx] = 0  # as fm does on loading
    return encoder
