"""Each sequence is encoded once; what is kept is what was computed, or is computed again."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model import vector_cache, vector_shards
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.vector_cache import cache_bytes, encode_all, half_error, size_told
from rnagpt_lib.model.vector_shards import key_of
from tests.support.tiny_model import Counted, new_encoder

SMALL = 10_000  # bytes of a shard: two or three of them for the set below
FEW = 300  # tokens of a batch


def rna(length: int, seed: int = 0) -> str:
    return "".join(random.Random(f"{length}/{seed}").choices("ACGU", k=length))


def some(seed: int = 0) -> list[str]:
    return [rna(n, seed) for n in (75, 12, 33, 140, 75, 10, 22, 90, 200, 76, 180, 64)]


def by_key(sequences: list[str]) -> list[str]:
    return sorted(set(sequences), key=key_of)


@pytest.fixture
def encoder(monkeypatch) -> Counted:
    monkeypatch.setattr(vector_cache, "SHARD_BYTES", SMALL)
    encoder = new_encoder()
    whole = encoder.in_batches
    monkeypatch.setattr(encoder, "in_batches", lambda s, tokens=FEW: whole(s, tokens))
    return encoder


def shards_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def assert_equal(kept, encoder, sequences):
    """Bit for bit what the encoder gives for the whole set at once."""
    for sequence, vectors in zip(
        by_key(sequences), encoder.encode(by_key(sequences), FEW), strict=True
    ):
        assert torch.equal(kept[sequence], vectors)


# What is kept.


def test_what_is_kept_is_what_the_encoder_gives_in_any_order_and_in_many_shards(encoder, tmp_path):
    sequences = [*some(), rna(1022), rna(1023), rna(1024), rna(3000)]
    kept = encode_all(encoder, sequences, tmp_path / "a")
    assert len(kept) == len(set(sequences)) and len(shards_of(tmp_path / "a")) > 3
    assert_equal(kept, encoder, sequences)
    other = encode_all(encoder, sequences[::-1], tmp_path / "b")
    assert_equal(other, encoder, sequences)
    for sequence in sequences:
        assert kept[sequence].shape == (len(sequence), encoder.dim)
        assert kept[sequence].dtype == torch.float32 and not kept[sequence].requires_grad


def test_each_distinct_sequence_is_encoded_once_however_it_is_spelled(encoder, tmp_path, capsys):
    first = [rna(20), rna(30), rna(20).lower().replace("u", "t")]
    kept = encode_all(encoder, first, tmp_path)
    assert len(kept) == 2 and sorted(encoder.seen) == sorted(first[:2])
    assert torch.equal(kept[first[2]], kept[first[0]])
    assert first[2] in kept and rna(99) not in kept and 5 not in kept
    with pytest.raises(KeyError):
        kept[rna(99)]
    again = encode_all(encoder, [*first, rna(40)], tmp_path)
    assert encoder.seen[2:] == [rna(40)] and len(again) == 3
    encode_all(encoder, first, tmp_path)
    assert len(encoder.seen) == 3
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("2 distinct sequences, 0.0 MB in fp32; 2 encoded now in ")
    assert said[2] == "2 distinct sequences, 0.0 MB in fp32; 0 encoded now"


def test_what_is_read_is_a_copy_of_its_own(encoder, tmp_path):
    kept = encode_all(encoder, some(), tmp_path)
    vectors = kept[rna(75)]
    assert vectors.untyped_storage().nbytes() == 75 * encoder.dim * 4
    vectors.zero_()
    assert_equal(kept, encoder, some())


def test_encoders_and_precisions_do_not_share_shards(tmp_path):
    one, two = new_encoder(1), new_encoder(2)
    kept = [encode_all(one, some(), tmp_path, "fp32"), encode_all(one, some(), tmp_path, "fp16")]
    kept.append(encode_all(two, some(), tmp_path, "fp32"))
    assert len(shards_of(tmp_path)) == 3 and len(one.seen) == 2 * len(two.seen) == 2 * 11
    assert all(len(each) == 11 for each in kept)
    assert not torch.equal(kept[0][rna(75)], kept[2][rna(75)])


def test_another_cache_is_read_and_left_as_it_is(encoder, tmp_path):
    encode_all(encoder, some(), tmp_path / "one")
    before = {path: path.read_bytes() for path in shards_of(tmp_path / "one")}
    encoder.seen.clear()
    kept = encode_all(encoder, some(), tmp_path / "two", known=tmp_path / "one")
    assert not encoder.seen and not (tmp_path / "two").exists()
    assert_equal(kept, encoder, some())
    first = next(iter(before))
    first.write_bytes(before[first][:-1])
    kept = encode_all(encoder, some(), tmp_path / "two", known=tmp_path / "one")
    assert_equal(kept, encoder, some())
    assert [path.name for path in shards_of(tmp_path / "two")] == [first.name]
    assert first.read_bytes() == before[first][:-1]


def test_the_index_takes_56_bytes_a_sequence(encoder, tmp_path):
    kept = encode_all(encoder, some(), tmp_path)
    assert kept._keys.nbytes + kept._places.nbytes == 56 * len(kept)


def test_nothing_to_encode_and_what_cannot_be_read_is_refused_before_anything_is_written(
    encoder, tmp_path
):
    for sequences, words in ([], "no sequences"), ([rna(20), "ACGU"], "4 nt"), (["ACGX" * 9], "X"):
        with pytest.raises(InputError, match=words):
            encode_all(encoder, sequences, tmp_path / "new")
    assert not encoder.seen and not (tmp_path / "new").exists()


# On the fly.


def test_on_the_fly_is_the_same_map_with_nothing_kept(encoder, tmp_path):
    live = encode_all(encoder, some(), tmp_path / "new", "live")
    assert len(live) == 11 and not encoder.seen and not (tmp_path / "new").exists()
    assert torch.equal(live[rna(75).lower()], encoder.encode([rna(75)])[0])
    assert torch.equal(live[rna(75)], live[rna(75)])
    assert encoder.seen == [rna(75)] * 4
    assert rna(75) in live and rna(99) not in live and None not in live
    with pytest.raises(KeyError):
        live[rna(99)]


# Half precision.


def test_half_precision_is_half_the_size_and_within_its_bound(encoder, tmp_path):
    whole = encode_all(encoder, some(), tmp_path / "whole", "fp32")
    half = encode_all(encoder, some(), tmp_path / "half", "fp16")
    sizes = [sum(p.stat().st_size for p in shards_of(tmp_path / n)) for n in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    for sequence in some():
        exact, read = whole[sequence], half[sequence]
        assert read.dtype == torch.float32 and torch.equal(read, exact.half().float())
        bound = exact.abs() * 2**-11 + 2**-25  # rounding; what is left of it below 2⁻¹⁴
        assert ((read - exact).abs() <= bound).all() and not torch.equal(read, exact)


def test_the_error_of_half_precision_is_told(encoder):
    error = half_error(encoder, some(), sample=100)
    exact = torch.cat(encoder.encode(by_key(some()), 8192)).double()
    wrong = exact.float().half().double() - exact
    assert error["largest"] == pytest.approx(wrong.abs().max().item(), rel=1e-3)
    shares = wrong.norm(dim=1) / exact.norm(dim=1)
    assert error["relative"] == pytest.approx(shares.max().item(), rel=1e-3)
    assert 0 < error["relative"] <= 2**-11
    # directions: to have them equally loud costs at most the spread of their loudness
    spread = torch.linalg.eigvalsh(torch.cov(exact.T, correction=0))
    floor = 0.01 * spread.mean()
    most = ((spread.max() + floor) / (spread.min() + floor)).sqrt()
    shares = wrong.norm(dim=1) / (exact - exact.mean(0)).norm(dim=1)
    assert error["relative"] < error["whitened"] <= (most * shares.max()).item()


def loud(encoder: Encoder, by: float) -> Encoder:
    encoder.model.emb_layer_norm_after.weight *= by
    return encoder


def test_what_half_precision_cannot_hold_is_refused(encoder, tmp_path):
    loud(encoder, 1e6)
    with pytest.raises(InputError, match=r"reach \d,\d{3},\d{3}.* CACHE to fp32"):
        encode_all(encoder, some(), tmp_path, "fp16")
    with pytest.raises(InputError, match="CACHE to fp32"):
        half_error(encoder, some())
    assert not shards_of(tmp_path)
    assert_equal(encode_all(encoder, some(), tmp_path), encoder, some())


@pytest.mark.parametrize("cache", ["fp32", "fp16"])
def test_vectors_that_are_not_finite_are_refused(encoder, tmp_path, cache):
    with pytest.raises(InputError, match="not finite: the encoder's weights"):
        encode_all(loud(encoder, float("nan")), some(), tmp_path, cache)
    assert not shards_of(tmp_path)


# Interrupted, damaged, crowded out.


@pytest.mark.parametrize("written", [0, 1, 2])
def test_an_interrupted_encoding_goes_on_with_the_same_bits(
    encoder, tmp_path, monkeypatch, written
):
    write, made = vector_shards.write, []

    def interrupted(folder, encoder_hash, keys, vectors):
        if len(made) == written:
            raise KeyboardInterrupt
        made.extend([write(folder, encoder_hash, keys, vectors)])
        return made[-1]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(vector_shards, "write", interrupted)
        encode_all(encoder, some(), tmp_path)
    there = sum(len(shard.keys) for shard in made)
    encoder.seen.clear()
    kept = encode_all(encoder, some(), tmp_path)
    assert len(encoder.seen) == 11 - there and (there > 0) == (written > 0)
    assert_equal(kept, encoder, some())


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.model.test_vector_cache import SMALL, FEW, new_encoder, some
from rnagpt_lib import vector_cache
vector_cache.SHARD_BYTES = SMALL
encoder, rename, count = new_encoder(), os.replace, 0
whole = encoder.in_batches
encoder.in_batches = lambda s: whole(s, FEW)

def replace(source, target):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # the third is written but has not its name yet
    rename(source, target)

os.replace = replace
vector_cache.encode_all(encoder, some(), Path(sys.argv[1]))
"""


def test_a_killed_encoding_loses_the_shard_that_it_was_at(encoder, tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, cwd=paths.root()).returncode == -signal.SIGKILL
    visible = [path for path in shards_of(tmp_path) if not path.name.startswith(".")]
    assert len(visible) == 2 and len(shards_of(tmp_path)) == 3
    there = sum(len(load_file(path)["keys"]) for path in visible)
    kept = encode_all(encoder, some(), tmp_path)
    assert len(encoder.seen) == 11 - there
    assert_equal(kept, encoder, some())
    assert not [path for path in shards_of(tmp_path) if path.name.startswith(".")]


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def rewritten(path: Path, change=lambda tensors: None, **metadata: str) -> None:
    """The same shard with other tensors or metadata, and a file format without fault."""
    tensors, known = load_file(path), safe_open(path, "pt").metadata()
    change(tensors)
    save_file(tensors, path, known | metadata)


FAULTS = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no tensors here"),
    "of vectors": lambda path: path.write_bytes(flip(path.read_bytes(), 2000)),
    "of keys": lambda path: path.write_bytes(flip(path.read_bytes(), -1)),
    "of starts": lambda path: rewritten(path, lambda t: t["starts"][1].add_(1)),
    "foreign width": lambda path: rewritten(path, lambda t: t.update(vectors=torch.ones(9, 8))),
    "foreign dtype": lambda path: rewritten(path, lambda t: t.update(vectors=t["vectors"].half())),
    "foreign encoder": lambda path: rewritten(path, encoder="f" * 64),
    "no keys": lambda path: rewritten(path, lambda t: t.pop("keys")),
    "no metadata": lambda path: save_file(load_file(path), path),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_or_foreign_shard_is_made_anew(encoder, tmp_path, capsys, fault):
    encode_all(encoder, some(), tmp_path)
    path, names = shards_of(tmp_path)[1], shards_of(tmp_path)
    good, lost = path.read_bytes(), len(load_file(path)["keys"])
    FAULTS[fault](path)
    assert path.read_bytes() != good
    encoder.seen.clear()
    kept = encode_all(encoder, some(), tmp_path)
    assert f"{path.name} is damaged (" in capsys.readouterr().out
    assert len(encoder.seen) == lost
    assert_equal(kept, encoder, some())
    assert shards_of(tmp_path) == names


def test_no_flipped_bit_of_a_shard_goes_unseen(encoder, tmp_path):
    encode_all(encoder, [rna(10)], tmp_path)
    [path] = shards_of(tmp_path)
    data, facts = path.read_bytes(), (encoder.hash, encoder.dim, torch.float32)
    assert [shard.path for shard in vector_shards.read_all(path.parent, *facts)[0]] == [path]
    for place in range(len(data)):
        path.write_bytes(flip(data, place))
        good, faults = vector_shards.read_all(path.parent, *facts)
        assert not good and list(faults) == [path], (place, data[place])


def test_two_at_once_do_not_disturb_each_other(encoder, tmp_path, monkeypatch):
    write, inner = vector_shards.write, []

    def slow(*what):
        if not inner:  # while the first one computes, a second one does it all
            inner.append(None)
            inner.append(encode_all(encoder, some(), tmp_path))
        return write(*what)

    monkeypatch.setattr(vector_shards, "write", slow)
    outer = encode_all(encoder, some(), tmp_path)
    for kept in (outer, inner[1], encode_all(encoder, some(), tmp_path)):
        assert len(kept) == 11
        assert_equal(kept, encoder, some())


def test_a_cache_that_is_open_survives_the_removal_of_its_folder(encoder, tmp_path):
    kept = encode_all(encoder, some(), tmp_path / "old")
    shutil.rmtree(tmp_path / "old")
    assert_equal(kept, encoder, some())


def test_a_full_disk_ends_in_a_sentence_and_leaves_what_was_whole(encoder, tmp_path):
    encode_all(encoder, [rna(20)], tmp_path)
    before = {path: path.read_bytes() for path in shards_of(tmp_path)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL // 2, hard))  # no file can grow beyond it
    try:
        with pytest.raises(InputError, match="cannot be kept there .*too large.* CACHE to live"):
            encode_all(encoder, some(), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in shards_of(tmp_path)} == before
    assert_equal(encode_all(encoder, some(), tmp_path), encoder, some())


@pytest.fixture
def read_only(encoder):
    """A folder with a cache that this process may read but not write to."""
    folder = Path(tempfile.mkdtemp())
    encode_all(encoder, some(), folder)
    encoder.seen.clear()
    for path in (folder, *folder.iterdir()):
        path.chmod(0o555)
    root = os.geteuid() == 0  # whom no permission stops
    os.seteuid(65534) if root else None
    yield folder
    os.seteuid(0) if root else None
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_cache_is_read_and_what_it_lacks_refused_at_once(encoder, read_only):
    kept = encode_all(encoder, some(), read_only)
    assert not encoder.seen
    for folder in (read_only, read_only / "new"):
        with pytest.raises(InputError, match="cannot be kept there .*ermission"):
            encode_all(encoder, some(1), folder)
    assert not encoder.seen
    assert_equal(kept, encoder, some())


@pytest.mark.parametrize(
    ("cache", "free", "words"),
    [
        ("fp32", 50_000, r"11 sequences \(902 nt\) take 0.1 MB in fp32.* to fp16 \(0.0 MB\) or"),
        ("fp32", 20_000, r"0.0 MB free; set CACHE to live \(each"),
        ("fp16", 20_000, r"in fp16, and .* has 0.0 MB free; set CACHE to live \(each"),
    ],
)
def test_what_the_disk_has_no_room_for_is_refused_before_anything_is_computed(
    encoder, tmp_path, monkeypatch, cache, free, words
):
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=words):
        encode_all(encoder, some(), tmp_path / "new" / "folder", cache)
    assert not encoder.seen and not (tmp_path / "new").exists()


def test_only_what_is_missing_needs_room(encoder, tmp_path, monkeypatch):
    encode_all(encoder, some(), tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=cache_bytes([20], encoder.dim, "fp32"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert len(encode_all(encoder, [*some(), rna(20)], tmp_path)) == 12
    with pytest.raises(InputError, match="1 sequences"):
        encode_all(encoder, [*some(), rna(21)], tmp_path)


@pytest.mark.parametrize("cache", ["fp32", "fp16"])
def test_the_estimate_is_what_the_disk_then_holds(encoder, tmp_path, cache):
    encode_all(encoder, some(), tmp_path, cache)
    files = [path.stat().st_size for path in shards_of(tmp_path)]
    told = cache_bytes([len(s) for s in set(some())], encoder.dim, cache)
    assert told <= sum(files) <= told + 400 * len(files)  # a header for each
    assert cache_bytes([75, 12], encoder.dim, "live") == 0
    full = cache_bytes([200] * 407_616, 640, "fp16")
    assert (full, size_told(full)) == (104_366_000_640, "104.4 GB")
