"""RNA-FM, the frozen encoder: one vector per nucleotide, and the cache of what it computed.

The model is the ``fm`` package's own class, so the miniature encoder in ``models/`` and the
published RNA-FM differ in numbers alone. Weights travel as safetensors, never as pickles.
"""

import hashlib
import zlib
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from rnagpt_lib.errors import InputError
from rnagpt_lib.files import read_json, replacing, sha256, write_json
from rnagpt_lib.paths import from_root, shown
from rnagpt_lib.sequences import normalise, windows

MIN_LENGTH = 10  # below it RNA-FM's vectors say little
WEIGHTS, CONFIG, MANIFEST = "model.safetensors", "config.json", "manifest.json"
TIED = "lm_head.weight"  # the same tensor as embed_tokens.weight, stored once


class Encoder:
    """A frozen RNA-FM: sequences in, one (L, dim) tensor each out.

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
    def load(cls, folder: str | Path, device: str = "cpu") -> "Encoder":
        """Read config.json, manifest.json and model.safetensors; the file's hash must be the one
        that the manifest records. Raises InputError when a file is missing or another."""
        folder = from_root(folder)
        for name in (CONFIG, MANIFEST, WEIGHTS):
            if not (folder / name).is_file():
                raise InputError(
                    f"{shown(folder / name)} is missing; an encoder folder holds {CONFIG}, "
                    f"{MANIFEST} and {WEIGHTS} (make base-models builds the miniature one, "
                    "rnagpt convert-encoder one of RNA-FM's published weights)"
                )
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
        encoder.model.to(device)
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

    def tokens(self, sequences: Sequence[str]) -> torch.Tensor:
        """Token ids (B, longest + 2) of normalised sequences: <cls> … <eos> <pad>."""
        return self.alphabet.get_batch_converter()([("", s) for s in sequences])[2]

    @torch.no_grad()
    def encode(self, sequences: Sequence[str], batch_tokens: int = 8192) -> list[torch.Tensor]:
        """One (L, dim) fp32 tensor per sequence, in order, whatever else is in the batch.

        Sequences are normalised; longer ones than a window are read in overlapping windows and
        averaged where these overlap. Raises InputError for under 10 nt or a foreign letter.
        """
        sequences = [_checked(sequence) for sequence in sequences]
        sums = [torch.zeros(len(s), self.dim) for s in sequences]
        counts = [torch.zeros(len(s), 1) for s in sequences]
        pieces = [
            (i, start, stop)
            for i, s in enumerate(sequences)
            for start, stop in windows(len(s), self.max_length)
        ]
        for batch in batches(pieces, batch_tokens):
            vectors = self._forward([sequences[i][start:stop] for i, start, stop in batch])
            for (i, start, stop), x in zip(batch, vectors, strict=True):
                sums[i][start:stop] += x[1 : stop - start + 1]  # less <cls>, <eos> and padding
                counts[i][start:stop] += 1
        return [total / count for total, count in zip(sums, counts, strict=True)]

    def _forward(self, sequences: list[str]) -> torch.Tensor:
        """Last layer's vectors (B, longest + 2, dim) on the CPU."""
        device = next(self.model.parameters()).device
        last = self.config["layers"]
        out = self.model(self.tokens(sequences).to(device), repr_layers=[last])
        return out["representations"][last].float().cpu()


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


class Embeddings:
    """Read-only map from a sequence to its (L, dim) tensor, read from the cache file on demand."""

    def __init__(self, path: Path):
        self.path = path
        self._file = safe_open(path, framework="pt")
        self._keys = set(self._file.keys())

    def __getitem__(self, sequence: str) -> torch.Tensor:
        key = _key(sequence)
        if key not in self._keys:
            raise KeyError(f"no embedding of {sequence[:20]}… in {self.path}")
        return self._file.get_tensor(key)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, sequence: object) -> bool:
        return isinstance(sequence, str) and _key(sequence) in self._keys

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of them by key; raises SafetensorError when a tensor is not what was written."""
        sums = self._file.metadata()
        found = {key: self._file.get_tensor(key) for key in sorted(self._keys)}
        if any(sums.get(key) != _checksum(tensor) for key, tensor in found.items()):
            raise SafetensorError("checksum differs")
        return found


def encode_all(encoder: Encoder, sequences: Sequence[str], folder: str | Path) -> Embeddings:
    """Embeddings of all sequences, each distinct one computed once and kept in one file of
    ``folder`` that carries the encoder's hash in its name. What is there already is not computed
    again; a damaged file is made anew, with a line that says so."""
    if not sequences:
        raise InputError("there are no sequences to encode")
    path = Path(folder) / f"embeddings-{encoder.hash[:16]}.safetensors"
    wanted = {_key(sequence): _checked(sequence) for sequence in sequences}
    known = _kept(path)
    missing = [key for key in sorted(wanted) if key not in known]
    if missing:
        vectors = encoder.encode([wanted[key] for key in missing])
        _write(path, known | dict(zip(missing, vectors, strict=True)))
    return Embeddings(path)


def _kept(path: Path) -> dict[str, torch.Tensor]:
    if not path.exists():
        return {}
    try:
        return Embeddings(path).tensors()
    except SafetensorError as error:
        print(f"{path.name} is damaged ({error}): computing the embeddings again")
        path.unlink()
        return {}


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file(tensors, temporary, {key: _checksum(x) for key, x in tensors.items()})


def _checked(sequence: str) -> str:
    sequence = normalise(sequence)
    if len(sequence) < MIN_LENGTH:
        raise InputError(
            f"sequence {sequence!r} has {len(sequence)} nt; the encoder needs at least {MIN_LENGTH}"
        )
    return sequence


def _key(sequence: str) -> str:
    return hashlib.sha256(normalise(sequence).encode()).hexdigest()


def _checksum(tensor: torch.Tensor) -> str:
    return f"{zlib.crc32(tensor.contiguous().numpy().tobytes()):08x}"
