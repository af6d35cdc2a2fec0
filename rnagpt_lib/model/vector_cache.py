"""The vectors of all RNAs: the frozen encoder reads each sequence once, the disk remembers.

A cache is a folder ``<encoder's hash>-<fp32 or fp16>`` of shards (``vector_shards``), keyed by the
SHA-256 of the sequences. The encoder's dimensions times 4 or 2 bytes for each nucleotide are much:
``encode_all`` counts them before it begins, and ``live`` keeps nothing at all.
"""

import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from torch import Tensor

from rnagpt_lib.core import progress
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.paths import shown
from rnagpt_lib.model import vector_shards
from rnagpt_lib.model.encoder import Encoder, checked
from rnagpt_lib.model.vector_shards import KEY_BYTES, Kept, Shard, key_of

Cache = Literal["fp32", "fp16", "live"]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
SHARD_BYTES = 128_000_000  # a shard is closed once it holds as many; four times that in memory


class OnTheFly:
    """The same map with nothing kept: a sequence is encoded whenever it is asked for, and its
    vectors lead back to the layers of the encoder that train, where any do."""

    def __init__(self, encoder: Encoder, keys: Iterable[bytes]) -> None:
        self._encoder, self._keys = encoder, frozenset(keys)

    def __getitem__(self, sequence: str) -> Tensor:
        if sequence not in self:
            raise KeyError(f"no vectors of {sequence[:20]}…")
        return self._encoder.read(sequence)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, sequence: object) -> bool:
        return isinstance(sequence, str) and key_of(sequence) in self._keys


def encode_all(
    encoder: Encoder,
    sequences: Sequence[str],
    folder: Path,
    cache: Cache = "fp32",
    *,
    known: Path | None = None,
) -> Kept | OnTheFly:
    """The map of all ``sequences`` to their vectors; a printed line says what it took.

    What neither ``folder`` nor ``known`` (another such folder, only read) holds is computed, each
    distinct sequence once, the shortest first, and written shard by shard. A process that is
    killed loses the shard it was at; started again with the same sequences, it ends with the same
    bits as one that was not (to rounding, where the windows of one sequence straddle batches).
    Damaged shards and those of another encoder are made anew. ``fp16`` takes half of the disk (see
    ``half_error``), ``live`` nothing of it.

    Raises InputError for a sequence that the encoder cannot read, for vectors that are not finite
    or beyond half precision, before anything is computed where the disk has too little room, and
    where it cannot be written to; shards that stand there by then stay.
    """
    if not sequences:
        raise InputError("there are no sequences to encode")
    if cache != "live" and not encoder.is_frozen:
        raise InputError("vectors of an encoder that trains cannot be kept; set CACHE to live")
    wanted = {key_of(sequence): sequence for sequence in map(checked, sequences)}
    size = size_told(cache_bytes(map(len, wanted.values()), encoder.dim, cache))
    if cache == "live":
        print(f"{len(wanted):,} distinct sequences, each encoded whenever it is asked for")
        return OnTheFly(encoder, wanted)
    shards = _there(encoder, folder, cache, known)
    index = Kept(shards)
    missing = [wanted[key] for key in sorted(wanted) if not index.has(key)]
    began = time.perf_counter()
    shards += _computed(encoder, missing, folder, cache) if missing else []
    nucleotides, seconds = sum(map(len, missing)), time.perf_counter() - began
    pace = f" in {seconds:.1f} s, {nucleotides / seconds:,.0f} nt a second" if missing else ""
    print(
        f"{len(wanted):,} distinct sequences, {size} in {cache}; {len(missing):,} encoded now{pace}"
    )
    return Kept(shards)


def cache_bytes(lengths: Iterable[int], dim: int, cache: Cache) -> int:
    """What the cache of distinct sequences of these lengths takes on the disk.

    >>> cache_bytes([200] * 407_616, 640, "fp16")  # RNAcentral's RNAs with literature, if of 200 nt
    104366000640
    """
    if cache == "live":
        return 0
    return sum(length * dim * DTYPES[cache].itemsize + KEY_BYTES for length in lengths)


def size_told(size: int) -> str:
    """Bytes as people read them: ``104366000640`` → ``104.4 GB``."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def half_error(encoder: Encoder, sequences: Sequence[str], sample: int = 16) -> dict[str, float]:
    """What half precision does to the vectors of a sample of the sequences, of all lengths.

    ``largest``: the largest error of a component; ``relative``: that of a nucleotide's vector, as a
    share of its length; ``whitened``: the same after ``model.Projection.whiten`` fitted on the
    sample, which makes quiet directions, and so their errors, as loud as the others.
    """
    from rnagpt_lib.model.rna_gpt import Projection  # slow to import, and only needed here

    by_length = sorted(set(map(checked, sequences)), key=lambda s: (len(s), s))
    chosen = by_length[:: max(1, len(by_length) // sample)]
    exact = encoder.encode(chosen)
    half = [_narrowed(x, torch.float16, s).float() for x, s in zip(exact, chosen, strict=True)]
    projection = Projection(encoder.dim, encoder.dim)
    projection.whiten(exact)
    exact, error = torch.cat(exact), torch.cat(half) - torch.cat(exact)
    white = (exact - projection.centre) @ projection.whitener
    return {
        "largest": error.abs().max().item(),
        "relative": (error.norm(dim=1) / exact.norm(dim=1)).max().item(),
        "whitened": ((error @ projection.whitener).norm(dim=1) / white.norm(dim=1)).max().item(),
    }


def _there(encoder: Encoder, folder: Path, cache: Cache, known: Path | None) -> list[Shard]:
    """The good shards of both folders; the others are removed from ``folder``."""
    name, facts = _name(encoder, cache), (encoder.hash, encoder.dim, DTYPES[cache])
    with _told(folder):
        shards, faults = vector_shards.read_all(folder / name, *facts)
        for path, fault in faults.items():
            print(f"{shown(path)} is damaged ({fault}): its vectors are computed again")
            path.unlink(missing_ok=True)
        return shards + (vector_shards.read_all(known / name, *facts)[0] if known else [])


def _computed(encoder: Encoder, missing: list[str], folder: Path, cache: Cache) -> list[Shard]:
    """The shards of the missing sequences, made and written."""
    _check_room(missing, encoder.dim, folder, cache)
    made, place = [], folder / _name(encoder, cache)
    with _told(folder):
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):  # before hours are spent
            pass
        for shard in _shardfuls(encoder, missing, DTYPES[cache]):
            keys = [key_of(sequence) for sequence in shard]
            made.append(vector_shards.write(place, encoder.hash, keys, list(shard.values())))
    return made


def _shardfuls(
    encoder: Encoder, sequences: list[str], dtype: torch.dtype
) -> Iterator[dict[str, Tensor]]:
    """Sequences with their vectors, in lots of about ``SHARD_BYTES``.

    A lot ends where a batch of the encoder ends, so what is left to do after any of them falls
    into the same batches, and so gets the same bits, as if it were done at once.
    """
    shard: dict[str, Tensor] = {}
    size, total = 0, sum(map(len, sequences))
    with progress.bar(total=total, desc="encoding", unit="nt", unit_scale=True) as bar:
        for done in encoder.in_batches(sequences):
            batch = {sequences[i]: _narrowed(x, dtype, sequences[i]) for i, x in done}
            bar.update(sum(map(len, batch)))
            shard |= batch
            size += sum(x.nbytes for x in batch.values())
            if size >= SHARD_BYTES:
                yield shard
                shard, size = {}, 0
    if shard:
        yield shard


def _narrowed(vectors: Tensor, dtype: torch.dtype, sequence: str) -> Tensor:
    narrow = vectors.to(dtype)
    if narrow.isfinite().all():
        return narrow
    if vectors.isfinite().all():
        raise InputError(
            f"the vectors of {sequence[:20]}… ({len(sequence)} nt) reach "
            f"{vectors.abs().max():,.0f}, and half precision ends at 65,504; set CACHE to fp32"
        )
    raise InputError(
        f"the vectors of {sequence[:20]}… ({len(sequence)} nt) are not finite: the encoder's "
        "weights are broken; restore them"
    )


def _check_room(missing: list[str], dim: int, folder: Path, cache: Cache) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    need, free = cache_bytes(map(len, missing), dim, cache), shutil.disk_usage(existing).free
    if need <= free:
        return
    half = cache_bytes(map(len, missing), dim, "fp16")
    choice = f"fp16 ({size_told(half)}) or " if cache == "fp32" and half <= free else ""
    raise InputError(
        f"the vectors of {len(missing):,} sequences ({sum(map(len, missing)):,} nt) take "
        f"{size_told(need)} in {cache}, and {shown(folder)} has {size_told(free)} free; set CACHE "
        f"to {choice}live (each is then encoded whenever it is asked for), or free the room"
    )


def _name(encoder: Encoder, cache: Cache) -> str:
    return f"{encoder.hash[:16]}-{cache}"


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Faults of the disk in a sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{shown(folder)}: the encoder's vectors cannot be kept there ({error}); make room and "
            "check the folder's permissions, or set CACHE to live"
        ) from None
