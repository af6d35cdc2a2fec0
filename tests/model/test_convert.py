"""RNA-FM's original checkpoint becomes an encoder folder: the same vectors as ``fm`` itself gives."""

import argparse
import pickle
import random
import warnings
from pathlib import Path

import fm
import pytest
import torch
from click.testing import CliRunner

from rnagpt_lib.cli import commands
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, sha256
from rnagpt_lib.model.encoder import Encoder, convert
from tests.model.test_encoder import rna
from tests.support import rna_fm
from tests.support.tiny_model import TINY


def by_fm(path: Path, sequences: list[str]) -> torch.Tensor:
    """The peer: ``fm`` loads the file itself."""
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, alphabet = fm.pretrained.rna_fm_t12(str(path))
    model.eval()
    last = model.num_layers
    _, _, tokens = alphabet.get_batch_converter()([("", s) for s in sequences])
    with torch.no_grad():
        return model(tokens, repr_layers=[last])["representations"][last]


@pytest.mark.parametrize(
    "config", [TINY, pytest.param(rna_fm.FULL, marks=pytest.mark.slow)], ids=["tiny", "full size"]
)
def test_the_folder_gives_the_vectors_that_fm_gives(tmp_path, config):
    path = rna_fm.write(tmp_path / "RNA-FM_pretrained.pth", config)
    convert(path, tmp_path / "rna-fm", sha256(path).upper())
    encoder = Encoder.load(tmp_path / "rna-fm")
    sequences = [rna(75), rna(200, 1)]
    want = by_fm(path, sequences)
    for number, vectors in enumerate(encoder.encode(sequences)):
        own = want[number, 1 : len(sequences[number]) + 1]
        torch.testing.assert_close(vectors, own, atol=1e-5, rtol=1e-5)
    if config is TINY:
        assert convert(path, tmp_path / "again").hash == encoder.hash
    facts = read_json(tmp_path / "rna-fm" / "manifest.json")
    assert facts["source_sha256"] == sha256(path) and encoder.dim == config["embed_dim"]
    assert encoder.model.embed_tokens.weight is encoder.model.lm_head.weight


class Harmful:
    """A pickle that would make a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def damaged(path: Path, how: str) -> Path:
    with torch.serialization.safe_globals([argparse.Namespace]):
        data = torch.load(path, weights_only=True)
    weights = data["model"]
    if how == "harmful":
        data["more"] = Harmful(path.with_name("touched"))
    elif how == "missing weight":
        weights.pop("encoder.sentence_encoder.layers.1.fc1.weight")
    elif how == "another shape":
        weights["encoder.sentence_encoder.layers.1.fc1.bias"] = torch.zeros(3)
    elif how == "a weight too many":
        weights["encoder.sentence_encoder.layers.2.fc1.bias"] = torch.zeros(3)
    elif how == "no embedding":
        weights.pop("encoder.sentence_encoder.embed_tokens.weight")
    elif how == "another class of model":
        data["args"].arch = "esm1"
    elif how == "no size":
        del data["args"].encoder_layers
    elif how == "a size in words":
        data["args"].encoder_layers = "two"
    elif how == "weights in a list":
        data["model"] = list(weights.values())
    elif how == "tensors alone":
        data = weights
    torch.save(data, path)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "text":
        path.write_text("no checkpoint")
    elif how == "plain pickle":
        path.write_bytes(pickle.dumps(Harmful(path.with_name("touched")), protocol=2))
    return path


REFUSED = {
    "harmful": "may run code",
    "plain pickle": "may run code",
    "text": "no PyTorch file",
    "cut": "damaged, no PyTorch file",
    "tensors alone": "no RNA-FM checkpoint",
    "another class of model": "'esm1'",
    "no size": "lack layers",
    "a size in words": "lack layers",
    "weights in a list": "no RNA-FM checkpoint",
    "missing weight": r"layers\.1\.fc1\.weight",
    "another shape": r"layers\.1\.fc1\.bias",
    "a weight too many": r"layers\.2\.fc1\.bias",
    "no embedding": r"embed_tokens\.weight",
}


def test_a_file_that_is_no_rna_fm_is_refused_and_nothing_is_left(tmp_path):
    for how, said in REFUSED.items():
        path = damaged(rna_fm.write(tmp_path / "RNA-FM.pth", TINY), how)
        with pytest.raises(InputError, match=said) as refused:
            convert(path, tmp_path / "rna-fm")
        assert path.name in str(refused.value) and "\n" not in str(refused.value)
        assert [file.name for file in tmp_path.iterdir()] == [path.name], how


def test_bytes_of_any_kind_are_refused_in_a_sentence(tmp_path):
    draw = random.Random(0)
    texts = [b"", b"hello", b"<!DOCTYPE html><p>Sign in", b"PK\x03\x04", b"version https://git-lfs"]
    texts += [draw.randbytes(draw.randint(1, 40)) for _ in range(60)]
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(text)
        with pytest.raises(InputError, match=f"{path.name} "):
            convert(path, tmp_path / "rna-fm")


def test_the_command_converts_checks_and_refuses(tmp_path):
    path, out = rna_fm.write(tmp_path / "RNA-FM.pth", TINY), tmp_path / "rna-fm"
    run = CliRunner().invoke
    told = run(commands, ["convert-encoder", str(path), str(out), "--sha256", sha256(path)])
    assert told.exit_code == 0 and "2 layers" in told.output and sha256(path) in told.output
    assert Encoder.load(out).dim == 16
    for arguments, said in (
        ([str(path), str(out)], "exists already"),
        ([str(tmp_path / "gone.pth"), str(tmp_path / "b")], "never downloaded"),
        ([str(path), str(tmp_path / "b"), "--sha256", "0" * 64], "fetch it again"),
    ):
        refused = run(commands, ["convert-encoder", *arguments])
        assert isinstance(refused.exception, InputError) and said in str(refused.exception)
        assert not (tmp_path / "b").exists()
