"""Each sequence is encoded once; what is kept is what was computed, or is computed again."""

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model import vector_cache
from rnagpt_lib.model.vector_cache import encode_all, key_of
from tests.support.tiny_model import Counted, new_encoder, no_file_over, read_only

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
    whole = encoder.encode(by_key(sequences), FEW)
    for sequence, vectors in zip(by_key(sequences), whole, strict=True):
        assert torch.equal(kept[sequence], vectors)


def test_what_is_kept_is_what_the_encoder_gives_in_any_order_and_in_many_shards(encoder, tmp_path):
    sequences = [*some(), rna(1022), rna(1023), rna(3000)]
    kept = encode_all(encoder, sequences, tmp_path / "a")
    assert all(s in kept for s in sequences) and len(shards_of(tmp_path / "a")) > 3
    assert_equal(kept, encoder, sequences)
    assert_equal(encode_all(encoder, sequences[::-1], tmp_path / "b"), encoder, sequences)
    vectors = kept[rna(75)]
    assert vectors.shape == (75, encoder.dim) and vectors.dtype == torch.float32
    assert vectors.untyped_storage().nbytes() == 75 * encoder.dim * 4  # a copy of its own
    vectors.zero_()
    shutil.rmtree(tmp_path / "a")  # an open cache survives
    assert_equal(kept, encoder, sequences)


def test_each_distinct_sequence_is_encoded_once_however_it_is_spelled(encoder, tmp_path, capsys):
    first = [rna(20), rna(30), rna(20).lower().replace("u", "t")]
    kept = encode_all(encoder, first, tmp_path)
    assert sorted(encoder.seen) == sorted(first[:2])
    assert torch.equal(kept[first[2]], kept[first[0]])
    assert first[2] in kept and rna(99) not in kept
    with pytest.raises(KeyError):
        kept[rna(99)]
    encode_all(encoder, [*first, rna(40)], tmp_path)
    assert encoder.seen[2:] == [rna(40)]
    encode_all(encoder, first, tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("2 distinct sequences, 0.0 MB in fp32; 2 encoded now in ")
    assert said[2] == "2 distinct sequences, 0.0 MB in fp32; 0 encoded now"


def test_encoders_and_precisions_have_shards_of_their_own(tmp_path):
    one, two = new_encoder(1), new_encoder(2)
    kept = [encode_all(one, some(), tmp_path, "fp32"), encode_all(one, some(), tmp_path, "fp16")]
    kept.append(encode_all(two, some(), tmp_path, "fp32"))
    assert len(shards_of(tmp_path)) == 3 and len(one.seen) == 2 * len(two.seen) == 2 * 11
    assert not torch.equal(kept[0][rna(75)], kept[2][rna(75)])


def test_another_cache_is_read_and_left_as_it_is(encoder, tmp_path):
    encode_all(encoder, some(), tmp_path / "one")
    before = {path: path.read_bytes() for path in shards_of(tmp_path / "one")}
    encoder.seen.clear()
    assert_equal(
        encode_all(encoder, some(), tmp_path / "two", known=tmp_path / "one"), encoder, some()
    )
    first = next(iter(before))
    first.write_bytes(before[first][:-1])
    kept = encode_all(encoder, some(), tmp_path / "two", known=tmp_path / "one")
    assert_equal(kept, encoder, some())
    assert len(shards_of(tmp_path / "two")) == 1 and first.read_bytes() == before[first][:-1]


def test_what_cannot_be_read_is_refused_before_anything_is_written(encoder, tmp_path):
    for sequences, words in ([], "no sequences"), ([rna(20), "ACGU"], "4 nt"), (["ACGX" * 9], "X"):
        with pytest.raises(InputError, match=words):
            encode_all(encoder, sequences, tmp_path / "new")
    assert not encoder.seen and not (tmp_path / "new").exists()


def test_live_is_the_same_map_with_nothing_kept(encoder, tmp_path):
    live = encode_all(encoder, some(), tmp_path / "new", "live")
    assert not encoder.seen and not (tmp_path / "new").exists()
    assert torch.equal(live[rna(75).lower()], encoder.encode([rna(75)])[0])
    assert encoder.seen == [rna(75)] * 2


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


def test_what_half_precision_cannot_hold_and_what_is_not_finite_is_refused(encoder, tmp_path):
    encoder.model.emb_layer_norm_after.weight *= 1e6
    with pytest.raises(InputError, match=r"reach \d,\d{3},\d{3}.* CACHE to fp32"):
        encode_all(encoder, some(), tmp_path, "fp16")
    encoder.model.emb_layer_norm_after.weight *= float("nan")
    with pytest.raises(InputError, match="not finite: the encoder's weights"):
        encode_all(encoder, some(), tmp_path)
    assert not shards_of(tmp_path)


def test_an_interrupted_encoding_goes_on_with_the_same_bits(encoder, tmp_path, monkeypatch):
    write, made = vector_cache._write_shard, []

    def interrupted(folder, encoder, tensors):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(len(tensors))
        return write(folder, encoder, tensors)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(vector_cache, "_write_shard", interrupted)
        encode_all(encoder, some(), tmp_path)
    encoder.seen.clear()
    kept = encode_all(encoder, some(), tmp_path)
    assert len(encoder.seen) == 11 - sum(made)
    assert_equal(kept, encoder, some())


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.model.test_vector_cache import SMALL, FEW, new_encoder, some
from rnagpt_lib.model import vector_cache
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


@pytest.mark.slow
def test_a_killed_encoding_loses_the_shard_that_it_was_at(encoder, tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, cwd=paths.root()).returncode == -signal.SIGKILL
    visible = [path for path in shards_of(tmp_path) if not path.name.startswith(".")]
    assert len(visible) == 2 and len(shards_of(tmp_path)) == 3
    there = sum(len(load_file(path)) for path in visible)
    kept = encode_all(encoder, some(), tmp_path)
    assert len(encoder.seen) == 11 - there
    assert_equal(kept, encoder, some())
    assert not [path for path in shards_of(tmp_path) if path.name.startswith(".")]


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def foreign(path: Path) -> None:
    """A shard without a fault, but of another encoder."""
    tensors, encoder = load_file(path), new_encoder(seed=1)
    path.unlink()
    vector_cache._write_shard(path.parent, encoder, tensors)


FAULTS = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no tensors here"),
    "flipped header": lambda path: path.write_bytes(flip(path.read_bytes(), 20)),
    "flipped vectors": lambda path: path.write_bytes(flip(path.read_bytes(), -1)),
    "written anew": lambda path: save_file({"vectors": torch.ones(9, 8)}, path),
    "foreign encoder": foreign,
}


def test_damaged_and_foreign_shards_are_made_anew(encoder, tmp_path, capsys):
    encode_all(encoder, some(), tmp_path)
    names = shards_of(tmp_path)
    path, lost = names[1], len(load_file(names[1]))
    for fault in FAULTS.values():
        fault(path)
        encoder.seen.clear()
        kept = encode_all(encoder, some(), tmp_path)
        assert "is damaged or of an earlier version" in capsys.readouterr().out
        assert len(encoder.seen) == lost and shards_of(tmp_path) == names
    assert_equal(kept, encoder, some())
    data = path.read_bytes()
    for place in range(0, len(data), 97):  # no flipped bit goes unseen
        path.write_bytes(flip(data, place))
        assert path not in vector_cache._read_shards(path.parent, encoder)


def test_two_at_once_do_not_disturb_each_other(encoder, tmp_path, monkeypatch):
    write, inner = vector_cache._write_shard, []

    def slow(*what):
        if not inner:  # while the first one computes, a second one does it all
            inner.append(None)
            inner.append(encode_all(encoder, some(), tmp_path))
        return write(*what)

    monkeypatch.setattr(vector_cache, "_write_shard", slow)
    outer = encode_all(encoder, some(), tmp_path)
    for kept in (outer, inner[1], encode_all(encoder, some(), tmp_path)):
        assert_equal(kept, encoder, some())


def test_a_full_disk_ends_in_a_sentence_and_leaves_what_was_whole(encoder, tmp_path):
    encode_all(encoder, [rna(20)], tmp_path)
    before = {path: path.read_bytes() for path in shards_of(tmp_path)}
    refused = pytest.raises(InputError, match="cannot be written: .*too large.* CACHE to live")
    with no_file_over(SMALL // 2), refused:
        encode_all(encoder, some(), tmp_path)
    assert {path: path.read_bytes() for path in shards_of(tmp_path)} == before


def test_a_read_only_cache_is_read_and_what_it_lacks_refused_at_once(encoder, open_folder):
    encode_all(encoder, some(), open_folder)
    encoder.seen.clear()
    with read_only(open_folder, next(open_folder.iterdir())):
        kept = encode_all(encoder, some(), open_folder)
        for folder in (open_folder, open_folder / "new"):
            with pytest.raises(InputError, match="cannot be written: Permission denied"):
                encode_all(encoder, some(1), folder)
        assert not encoder.seen
        assert_equal(kept, encoder, some())


def test_what_the_disk_has_no_room_for_is_refused_before_anything_is_computed(
    encoder, tmp_path, monkeypatch
):
    whole = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: whole._replace(free=20_000))
    with pytest.raises(
        InputError, match=r"11 .* take 0.1 MB in fp32.* 0.0 MB free; .* fp16 or live"
    ):
        encode_all(encoder, some(), tmp_path / "new")
    assert not encoder.seen and not shards_of(tmp_path / "new")
