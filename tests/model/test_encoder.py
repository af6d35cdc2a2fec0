"""The encoder gives every nucleotide its vector, whatever the batch."""

import random
from functools import partial

import pytest
import torch

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import write_json
from rnagpt_lib.model.encoder import WEIGHTS, Encoder, batches
from tests.support.tiny_model import TINY


def rna(length: int, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices("ACGU", k=length))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.fresh(TINY, seed=0)


def test_a_sequence_has_the_same_vectors_in_any_batch(encoder):
    sequences = [rna(n, n) for n in (10, 33, 75, 76, 140, 300)]
    together = encoder.encode(sequences)
    for sequence, vectors in zip(sequences, together, strict=True):
        assert vectors.shape == (len(sequence), encoder.dim)
        assert vectors.dtype == torch.float32 and not vectors.requires_grad
        torch.testing.assert_close(vectors, encoder.encode([sequence])[0], atol=1e-5, rtol=0)
    for few, many in zip(encoder.encode(sequences, batch_tokens=1), together, strict=True):
        torch.testing.assert_close(few, many, atol=1e-5, rtol=0)


def test_batches_complete_every_sequence_once_the_shortest_first(encoder):
    sequences = [rna(n, n) for n in (2100, 33, 1022, 75, 1024, 10, 33)]
    done = [place for batch in encoder.in_batches(sequences, 2500) for place, _ in batch]
    assert sorted(done) == list(range(7)) and done[:4] == [5, 1, 6, 3]
    found = {i: x for batch in encoder.in_batches(sequences) for i, x in batch}
    for place, vectors in enumerate(encoder.encode(sequences)):
        assert torch.equal(found[place], vectors)


@pytest.mark.parametrize("padded", [False, True])
def test_a_fused_layer_is_the_one_of_fm_with_its_gradient(padded):
    layer = Encoder.fresh(TINY, seed=4).model.double().layers[1].requires_grad_(True)
    x = torch.randn(9, 3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) >= torch.tensor([[9], [4], [6]]) if padded else None
    outputs, gradients = [], []
    for forward in (layer.forward, partial(type(layer).forward, layer)):
        out = forward(x, self_attn_padding_mask=mask)[0]
        out.square().sum().backward()
        outputs.append(out.detach())
        gradients.append(torch.cat([p.grad.flatten() for p in layer.parameters()]))
        layer.zero_grad()
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("length", [1023, 1024])
def test_long_rnas_are_read_in_windows(encoder, length):
    sequence = rna(length)
    vectors = encoder.encode([sequence])[0]
    assert vectors.shape == (length, encoder.dim) and vectors.isfinite().all()
    start = encoder.encode([sequence[:1022]])[0]
    end = encoder.encode([sequence[-1022:]])[0]
    torch.testing.assert_close(vectors[0], start[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors[-1], end[-1], atol=1e-5, rtol=0)
    if length == 1024:  # two windows, two nucleotides apart: the middle is their mean
        mean = (start[500] + end[498]) / 2
        torch.testing.assert_close(vectors[500], mean, atol=1e-5, rtol=0)


def test_spelling_does_not_matter(encoder):
    sequence = rna(30)
    dna = sequence.replace("U", "T").lower()
    assert torch.equal(encoder.encode([dna])[0], encoder.encode([sequence])[0])
    assert encoder.alphabet.unk_idx not in encoder.tokens(["ACGURYKMSWBDHVN"])
    for foreign, word in (("ACGUACGUA", "9 nt"), ("ACGUACGUACGX", "X")):
        with pytest.raises(InputError, match=word):
            encoder.encode([rna(20), foreign])


def test_batches_keep_to_the_budget_and_hold_every_piece_once():
    lengths = [10, 500, 33, 33, 90, 1022, 12]
    pieces = [(i, 0, n) for i, n in enumerate(lengths)]
    made = list(batches(pieces, 600))
    assert sorted(piece for batch in made for piece in batch) == pieces
    for batch in made:
        assert len(batch) == 1 or len(batch) * (max(p[2] for p in batch) + 2) <= 600


def test_saved_and_loaded_encoders_agree(encoder, tmp_path):
    saved = Encoder.fresh(TINY, seed=3)
    saved.save(tmp_path, {"about": "a test"})
    loaded = Encoder.load(tmp_path)
    assert loaded.hash == saved.hash and loaded.dim == 16
    assert torch.equal(loaded.encode([rna(50)])[0], saved.encode([rna(50)])[0])
    assert not torch.equal(loaded.encode([rna(50)])[0], encoder.encode([rna(50)])[0])


def test_missing_and_altered_weights_are_refused(tmp_path):
    with pytest.raises(InputError, match="config.json is missing"):
        Encoder.load(tmp_path)
    Encoder.fresh(TINY, seed=0).save(tmp_path, {})
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match="sha256"):
        Encoder.load(tmp_path)


FOREIGN = [
    {"layers": 10**9}, {"layers": 1}, {"layers": 2.0}, {"layers": True}, {"layers": "2"},
    {"embed_dim": 10**400}, {"embed_dim": 32}, {"ffn_embed_dim": 999_999}, {"attention_heads": 0},
    {"attention_heads": 3}, {"max_positions": 10**6}, {"max_positions": None}, {"arch": "esm"},
]  # fmt: skip


@pytest.mark.parametrize("more", FOREIGN, ids=str)
def test_a_config_that_is_not_of_its_weights_is_a_sentence(tmp_path, more):
    Encoder.fresh(TINY, seed=0).save(tmp_path, {})
    write_json(tmp_path / "config.json", TINY | more)
    with pytest.raises(InputError, match="config.json"):
        Encoder.load(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
@pytest.mark.parametrize("text", ["[]", "null", '"x"', "[" * 99_999, '{"files": []}', '{"files": {"model.safetensors": 7}}'])  # fmt: skip
def test_an_encoders_json_of_another_kind_is_a_sentence(tmp_path, name, text):
    Encoder.fresh(TINY, seed=0).save(tmp_path, {})
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        Encoder.load(tmp_path)
