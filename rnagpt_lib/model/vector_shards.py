"""Shards: the files of a vector cache, written whole or not at all, read through memory maps.

Each is a safetensors file of three tensors: ``vectors`` (T, D) of all its sequences, one after the
other; ``starts`` (n + 1) int64, where each begins and the last one ends; ``keys`` (n, 32) uint8,
their SHA-256. Its metadata hold the encoder's hash and a checksum of the three. A shard is named
by its keys, so two processes that make the same one write the same file.
"""

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from rnagpt_lib.core.files import replacing
from rnagpt_lib.core.sequences import normalise

TENSORS = ("vectors", "starts", "keys")
KEY_BYTES = 32 + 8  # of a sequence, beside its vectors


@dataclass(frozen=True)
class Shard:
    """An open shard: ``vectors[a:b]`` reads rows from the disk; keys (n,) of 32 bytes each."""

    path: Path
    vectors: object  # safetensors' slice
    starts: np.ndarray
    keys: np.ndarray


def key_of(sequence: str) -> bytes:
    """What a sequence is found by, however it is spelled: 32 bytes."""
    return hashlib.sha256(normalise(sequence).encode()).digest()


class Kept:
    """Read-only map from a sequence to its (L, dim) fp32 tensor, read from the disk when asked.

    In memory are the keys and where the vectors stand: 56 bytes a sequence.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._vectors = [shard.vectors for shard in shards]
        keys = np.concatenate([np.empty(0, "V32"), *(shard.keys for shard in shards)])
        self._keys, first = np.unique(keys, return_index=True)
        places = [_places(number, shard) for number, shard in enumerate(shards)]
        self._places = np.concatenate([np.empty((0, 3), np.int64), *places])[first]

    def __getitem__(self, sequence: str) -> torch.Tensor:
        row = self._row(key_of(sequence))
        if row is None:
            raise KeyError(f"no vectors of {sequence[:20]}…")
        shard, start, stop = self._places[row].tolist()
        # a copy, as what is kept or sent on would else carry the whole shard along
        return self._vectors[shard][start:stop].to(torch.float32, copy=True)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, sequence: object) -> bool:
        return isinstance(sequence, str) and self.has(key_of(sequence))

    def has(self, key: bytes) -> bool:
        """Whether the sequence with this ``key_of`` is here."""
        return self._row(key) is not None

    def _row(self, key: bytes) -> int | None:
        row = np.searchsorted(self._keys, np.frombuffer(key, "V32"))[0]
        return row if row < len(self._keys) and self._keys[row].tobytes() == key else None


def _places(number: int, shard: Shard) -> np.ndarray:
    """(n, 3) int64: shard, start and stop of each sequence."""
    return np.stack([np.full(len(shard.keys), number), shard.starts[:-1], shard.starts[1:]], axis=1)


def write(
    folder: Path, encoder_hash: str, keys: Sequence[bytes], vectors: Sequence[torch.Tensor]
) -> Shard:
    """Keep ``vectors`` (L, D) under ``keys`` (32 bytes each). Raises OSError where
    they cannot be written; nothing is left of the attempt then."""
    joined = b"".join(keys)
    lengths = [0, *(len(x) for x in vectors)]
    tensors = {
        "vectors": torch.cat(list(vectors)),
        "starts": torch.tensor(np.cumsum(lengths)),
        "keys": torch.frombuffer(bytearray(joined), dtype=torch.uint8).view(-1, 32),
    }
    facts = {"encoder": encoder_hash, "checksum": _checksum(tensors.__getitem__)}
    path = folder / f"{hashlib.sha256(joined).hexdigest()[:16]}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, facts))  # save_file leaves a file of its own if killed
    return _opened(path)


def read_all(
    folder: Path, encoder_hash: str, dim: int, dtype: torch.dtype
) -> tuple[list[Shard], dict[Path, str]]:
    """The good shards of ``folder``, and why each of the others is none.

    Every byte is read once for its checksum, at about the speed of the disk.
    """
    faults = {
        path: _fault(path, encoder_hash, dim, dtype)
        for path in sorted(folder.glob("[!.]*.safetensors"))
    }
    good = [_opened(path) for path, fault in faults.items() if not fault]
    return good, {path: fault for path, fault in faults.items() if fault}


def _opened(path: Path) -> Shard:
    file = safe_open(path, framework="pt")
    keys = file.get_tensor("keys").numpy().view("V32").ravel().copy()
    return Shard(path, file.get_slice("vectors"), file.get_tensor("starts").numpy().copy(), keys)


def _fault(path: Path, encoder_hash: str, dim: int, dtype: torch.dtype) -> str | None:
    try:
        file = safe_open(path, framework="pt")  # apart from the one that is read from later, so
        facts = file.metadata() or {}  # that the pages of this pass are let go
        if facts.get("encoder") != encoder_hash:
            return "it is of another encoder"
        vectors = file.get_slice("vectors")
        if vectors.get_shape()[1:] != [dim] or vectors[:0].dtype != dtype:
            return f"its vectors are not {dim} wide, or not {str(dtype).removeprefix('torch.')}"
        same = facts.get("checksum") == _checksum(file.get_tensor)
        return None if same else "its checksum differs"
    except SafetensorError as error:
        return str(error)


def _checksum(tensor_of: Callable[[str], torch.Tensor]) -> str:
    """CRC-32 over the three tensors."""
    total = 0
    for name in TENSORS:
        total = zlib.crc32(tensor_of(name).numpy(), total)
    return f"{total:08x}"
