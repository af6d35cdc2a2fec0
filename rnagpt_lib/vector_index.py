"""One vector for each RNA, to find like ones by: the mean of the encoder's over its nucleotides.

All RNAs' vectors share a large common part, so their mean is taken off, and what is left is made
of unit length: a dot product is then a cosine. The (n, D) table is a file of half precision, read
through a memory map: 0.5 GB for 400,000 RNAs and RNA-FM's 640 dimensions. While it is made it is
in memory, in single precision.
"""

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import normalize

from rnagpt_lib import progress
from rnagpt_lib.encoder import Encoder
from rnagpt_lib.errors import InputError
from rnagpt_lib.files import digest, replacing
from rnagpt_lib.paths import shown

VERSION = 1  # of how the vectors are made
BLOCK = 16_384  # RNAs that are compared at a time


class VectorIndex:
    """``vectors`` (n, D) float16 of unit length, and the ``centre`` (D,) that was taken off.

    >>> index = VectorIndex.of(encoder, ["GGCUAGCUCAAUCGG", "ACGUACGUACGU"], folder)
    >>> index.cosines("GGCUAGCUCAAUCGG").shape
    (2,)
    """

    def __init__(self, encoder: Encoder, vectors: Tensor, centre: Tensor):
        self.encoder, self.vectors, self.centre = encoder, vectors, centre

    @classmethod
    def of(cls, encoder: Encoder, sequences: Sequence[str], folder: Path) -> "VectorIndex":
        """Read from ``folder``, or made and written there, whole or not at all.

        The file's name is of the encoder's weights and the sequences, so that another encoder has
        another file. A damaged one is made again; where the disk refuses, a line says so, and the
        index is in memory alone. Raises InputError for a sequence that the encoder cannot read and
        for vectors that are not finite.
        """
        key = digest([VERSION, _weights(encoder), *sequences])
        path = folder / f"{key[:16]}.safetensors"
        shape = (len(sequences), encoder.dim)
        found = _read(path, key, shape) if path.is_file() else None
        if found is None:
            found = _made(encoder, sequences)
            _write(path, key, found)
        return cls(encoder, found["vectors"], found["centre"])

    def cosines(self, sequence: str) -> np.ndarray:
        """Of one sequence with every RNA of the index, (n,) float32, -1 to 1."""
        with torch.no_grad():
            vector = self.encoder.encode([sequence])[0].mean(0) - self.centre
            vector = normalize(vector, dim=0)
            parts = [block.float() @ vector for block in self.vectors.split(BLOCK)]
        return torch.cat(parts).clamp(-1, 1).numpy()


def _weights(encoder: Encoder) -> str:
    """A hash of the weights: where layers have trained, the file's hash is not theirs."""
    trained = hashlib.sha256()
    for parameter in encoder.model.parameters():
        if parameter.requires_grad:
            trained.update(parameter.detach().cpu().numpy().tobytes())
    return f"{encoder.hash} {'' if encoder.is_frozen else trained.hexdigest()}"


@torch.no_grad()
def _made(encoder: Encoder, sequences: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of the index; a bar counts the nucleotides."""
    means = torch.empty(len(sequences), encoder.dim)
    total = sum(map(len, sequences))
    with progress.bar(total=total, desc="nearest RNAs", unit="nt", unit_scale=True) as bar:
        for done in encoder.in_batches(sequences):
            for place, vectors in done:
                means[place] = vectors.mean(0)
            bar.update(sum(len(vectors) for _, vectors in done))
    if not means.isfinite().all():
        raise InputError(
            "the encoder's vectors are not finite: its weights are broken; restore them"
        )
    centre = means.mean(0)
    return {"vectors": normalize(means.sub_(centre)).half(), "centre": centre}


def _write(path: Path, key: str, tensors: dict[str, Tensor]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(save(tensors, {"key": key, "checksum": _checksum(tensors)}))
    except OSError as error:
        print(f"{shown(path)} cannot be written ({error.strerror or error}): it is made each time")


def _read(path: Path, key: str, shape: tuple[int, int]) -> dict[str, Tensor] | None:
    """The tensors, their bytes read once for the checksum; None, with a line, where it differs."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in ("vectors", "centre")}
    except (SafetensorError, OSError) as error:
        return _damaged(path, error)
    if tensors["vectors"].shape != shape or facts.get("key") != key:
        return _damaged(path, "it is of other RNAs")
    if facts.get("checksum") != _checksum(tensors):
        return _damaged(path, "its checksum differs")
    return tensors


def _damaged(path: Path, why: object) -> None:
    print(f"{shown(path)} is damaged ({why}): it is made again")


def _checksum(tensors: dict[str, Tensor]) -> str:
    total = 0
    for name in ("vectors", "centre"):
        total = zlib.crc32(tensors[name].contiguous().numpy(), total)
    return f"{total:08x}"
