"""One vector for each RNA, made once: what is read is what was made, or it is made again."""

import pickle
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rnagpt_lib.errors import InputError
from rnagpt_lib.vector_index import VectorIndex
from tests.tiny_model import new_encoder


def rna(length: int, seed: int = 0) -> str:
    return "".join(random.Random(f"{length}/{seed}").choices("ACGU", k=length))


SEQUENCES = [rna(n) for n in (40, 12, 1030, 77, 90, 15)]  # one of them longer than a window


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / ".nearest"


def the_file(folder):
    [path] = folder.iterdir()
    return path


def test_cosines_are_those_of_centred_means(folder):
    encoder = new_encoder()
    index = VectorIndex.of(encoder, SEQUENCES, folder)
    means = np.stack([x.mean(0).numpy() for x in encoder.encode(SEQUENCES)])
    query = encoder.encode([rna(50, 1)])[0].mean(0).numpy() - means.mean(0)
    means -= means.mean(0)
    naive = means @ query / np.linalg.norm(means, axis=1) / np.linalg.norm(query)
    found = index.cosines(rna(50, 1))
    assert index.vectors.dtype == torch.float16 and found.shape == (6,)
    np.testing.assert_allclose(found, naive, atol=2e-3)
    assert index.cosines(SEQUENCES[3]).argmax() == 3


def test_blocks_make_no_difference(folder, monkeypatch):
    index = VectorIndex.of(new_encoder(), SEQUENCES, folder)
    whole = index.cosines(rna(50))
    monkeypatch.setattr("rnagpt_lib.vector_index.BLOCK", 4)
    np.testing.assert_allclose(index.cosines(rna(50)), whole, atol=1e-6)


def test_the_second_time_it_is_read(folder):
    first = VectorIndex.of(new_encoder(), SEQUENCES, folder)
    again = new_encoder()
    index = VectorIndex.of(again, SEQUENCES, folder)
    assert not again.seen
    assert torch.equal(index.vectors, first.vectors) and torch.equal(index.centre, first.centre)


def test_another_encoder_and_other_rnas_have_files_of_their_own(folder):
    first = VectorIndex.of(new_encoder(), SEQUENCES, folder)
    other = VectorIndex.of(new_encoder(seed=1), SEQUENCES, folder)
    VectorIndex.of(new_encoder(), SEQUENCES[::-1], folder)
    assert len(list(folder.iterdir())) == 3 and not torch.equal(first.vectors, other.vectors)
    assert torch.equal(VectorIndex.of(new_encoder(), SEQUENCES, folder).vectors, first.vectors)


def test_layers_that_trained_are_another_encoder(folder):
    encoder = new_encoder()
    first = VectorIndex.of(encoder, SEQUENCES, folder)
    for parameter in encoder.unfreeze(1).parameters():
        parameter.data += 0.1 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(0)
        )
    assert not torch.equal(VectorIndex.of(encoder, SEQUENCES, folder).vectors, first.vectors)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def other_shape(path):
    tensors = load_file(path)
    save_file(tensors | {"vectors": tensors["vectors"][:2].clone()}, path)


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "empty": lambda path: path.write_bytes(b""),
    "a bit": flip,
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Trap())),
    "other shape": other_shape,
    "no vectors": lambda path: save_file({"centre": torch.zeros(3)}, path),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_made_again(damage, folder, capsys):
    first = VectorIndex.of(new_encoder(), SEQUENCES, folder).vectors.clone()
    damage(the_file(folder))
    index = VectorIndex.of(new_encoder(), SEQUENCES, folder)
    assert torch.equal(index.vectors, first)
    assert "is damaged" in capsys.readouterr().out
    quiet = new_encoder()
    VectorIndex.of(quiet, SEQUENCES, folder)
    assert not quiet.seen and not capsys.readouterr().out


def test_a_process_that_dies_leaves_nothing(folder, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", dies)
    with pytest.raises(KeyboardInterrupt):
        VectorIndex.of(new_encoder(), SEQUENCES, folder)
    assert not list(folder.iterdir())


def test_where_the_disk_refuses_it_is_in_memory(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    index = VectorIndex.of(new_encoder(), SEQUENCES, tmp_path / "file" / ".nearest")
    assert index.cosines(SEQUENCES[0]).argmax() == 0
    assert "cannot be written" in capsys.readouterr().out


def test_what_the_encoder_cannot_read_is_refused(folder):
    with pytest.raises(InputError, match="has 4 nt"):
        VectorIndex.of(new_encoder(), ["ACGU"], folder)
    broken = new_encoder()
    broken.model.embed_tokens.weight.data.fill_(torch.nan)
    with pytest.raises(InputError, match="not finite"):
        VectorIndex.of(broken, SEQUENCES, folder)
    assert not folder.exists()


def test_one_rna_alone_has_no_direction(folder):
    assert VectorIndex.of(new_encoder(), SEQUENCES[:1], folder).cosines(rna(30)).tolist() == [0]
