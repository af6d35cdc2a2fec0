"""The vectors of all RNAs: the frozen encoder reads each sequence once, the disk remembers.

A cache is a folder ``<encoder's hash>-<fp32 or fp16>`` of safetensors shards, with a tensor (L,
dim) under the SHA-256 of each sequence. A shard is named by the SHA-256 of its bytes.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import check_sequence
from rnagpt_lib.core.files import progress, replacing, sha256, writing
from rnagpt_lib.core.paths import shown
from rnagpt_lib.core.sequences import normalise
from rnagpt_lib.model.encoder import Encoder

Cache = Literal["fp32", "fp16", "live"]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
SHARD_BYTES = 128_000_000  # a shard is closed once it holds as many; four times that in memory
REMEDY = "make room and check the folder's permissions, or set CACHE to live"
ENTRY_BYTES = 150  # of a sequence in a shard's header


def key_of(sequence: str) -> str:
    """What a sequence is found by, however it is spelled."""
    return hashlib.sha256(normalise(sequence).encode()).hexdigest()


class CachedVectors:
    """Read-only map from a sequence to its (L, dim) fp32 tensor, read from the disk when asked."""

    def __init__(self, shards: Iterable[Path]) -> None:
        files = [safe_open(path, framework="pt") for path in shards]
        self._files = {bytes.fromhex(key): file for file in files for key in file.keys()}

    def __getitem__(self, sequence: str) -> Tensor:
        if sequence not in self:
            raise KeyError(f"no vectors of {sequence[:20]}…")
        key = key_of(sequence)
        # a copy, as what is kept or sent on would else carry the whole shard along
        return self._files[bytes.fromhex(key)].get_tensor(key).to(torch.float32, copy=True)

    def __contains__(self, sequence: str) -> bool:
        return bytes.fromhex(key_of(sequence)) in self._files


class LiveVectors:
    """The same map with nothing kept: a sequence is encoded whenever it is asked for, and its
    vectors lead back to the layers of the encoder that train, where any do."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def __getitem__(self, sequence: str) -> Tensor:
        return self._encoder.read(sequence)


def encode_all(
    encoder: Encoder,
    sequences: Sequence[str],
    folder: Path,
    cache: Cache = "fp32",
    *,
    known: Path | None = None,
) -> CachedVectors | LiveVectors:
    """The map of all ``sequences`` to their vectors; a printed line says what it took.

    What neither ``folder`` nor ``known`` (another such folder, only read) holds is computed, the
    shortest first, and written shard by shard: a process that is killed loses the shard it was at,
    and goes on to the same bits (but for windows that straddle batches). Raises InputError for
    sequences that cannot be read, vectors not finite or beyond half precision, and a disk without
    room.
    """
    if not sequences:
        raise InputError("there are no sequences to encode")
    if cache != "live" and not encoder.is_frozen:
        raise InputError("vectors of an encoder that trains cannot be kept; set CACHE to live")
    wanted = {key_of(sequence): sequence for sequence in map(check_sequence, sequences)}
    if cache == "live":
        print(f"{len(wanted):,} distinct sequences, each encoded whenever it is asked for")
        return LiveVectors(encoder)

    def megabytes(sequences: Iterable[str]) -> float:
        """MB on the disk, about."""
        each = encoder.dim * DTYPES[cache].itemsize
        return sum(len(sequence) * each + ENTRY_BYTES for sequence in sequences) / 1e6

    name, began = f"{encoder.hash[:16]}-{cache}", time.perf_counter()
    with writing(folder, REMEDY):
        shards = _read_shards(folder / name, encoder, mend=True)
        shards += _read_shards(known / name, encoder) if known and known != folder else []
        there = CachedVectors(shards)
        missing = [wanted[key] for key in sorted(wanted) if wanted[key] not in there]
        if missing:
            (folder / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder / name):  # before hours are spent
                pass
            need, free = megabytes(missing), shutil.disk_usage(folder).free / 1e6
            if need > free:
                what = f"the vectors of {len(missing):,} sequences take {need:,.1f} MB in {cache}"
                remedy = "make room, or set CACHE to fp16 or live"
                raise InputError(f"{what}, and {shown(folder)} has {free:,.1f} MB free; {remedy}")
            for tensors in _compute(encoder, missing, DTYPES[cache]):
                shards.append(_write_shard(folder / name, encoder, tensors))
        vectors = CachedVectors(shards)
    size = f"{megabytes(wanted.values()):,.1f} MB in {cache}"
    nucleotides, seconds = sum(map(len, missing)), time.perf_counter() - began
    pace = f" in {seconds:.1f} s, {nucleotides / seconds:,.0f} nt a second" if missing else ""
    told = f"{len(wanted):,} distinct sequences, {size}"
    print(f"{told}; {len(missing):,} encoded now{pace}")
    return vectors


def _read_shards(folder: Path, encoder: Encoder, mend: bool = False) -> list[Path]:
    """The good shards of a folder, each read once for its hash; ``mend``: the others go."""
    good = []
    for path in sorted(folder.glob("[!.]*.safetensors")):
        is_whole = path.stem == sha256(path)[: len(path.stem)]
        if is_whole and safe_open(path, "pt").metadata() == {"encoder": encoder.hash}:
            good.append(path)
        elif mend:
            print(f"{shown(path)} is damaged or of an earlier version: its vectors are made anew")
            path.unlink(missing_ok=True)
    return good


def _write_shard(folder: Path, encoder: Encoder, tensors: dict[str, Tensor]) -> Path:
    data = save(tensors, {"encoder": encoder.hash})  # save_file leaves a file of its own if killed
    path = folder / f"{hashlib.sha256(data).hexdigest()[:32]}.safetensors"
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return path


def _compute(encoder: Encoder, sequences: list[str], dtype: torch.dtype) -> Iterator[dict]:
    """Vectors by key, in lots of about ``SHARD_BYTES``. A lot ends where a batch of the encoder
    does, so what is left to do falls into the same batches, and gets the same bits, as at once."""
    lot, total = {}, sum(map(len, sequences))
    with progress(total=total, desc="encoding", unit="nt", unit_scale=True) as bar:
        for done in encoder.in_batches(sequences):
            lot |= {key_of(sequences[i]): _narrow(x, dtype, sequences[i]) for i, x in done}
            bar.update(sum(len(x) for _, x in done))
            if sum(x.nbytes for x in lot.values()) >= SHARD_BYTES:
                yield lot
                lot = {}
    if lot:
        yield lot


def _narrow(vectors: Tensor, dtype: torch.dtype, sequence: str) -> Tensor:
    narrow, what = vectors.to(dtype), f"the vectors of {sequence[:20]}… ({len(sequence)} nt)"
    if not vectors.isfinite().all():
        raise InputError(f"{what} are not finite: the encoder's weights are broken; restore them")
    if not narrow.isfinite().all():
        most = f"{vectors.abs().max():,.0f}"
        raise InputError(f"{what} reach {most}, half precision ends at 65,504; set CACHE to fp32")
    return narrow
