"""Which semantic scorers a run has: absent without weights, never filled by others."""

import os
import shutil
import subprocess
import sys

import pytest

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Ablations
from rnagpt_lib.evaluate import bertscore, semantic_scorers
from rnagpt_lib.evaluate.bertscore import Weights
from rnagpt_lib.evaluate.semantic_scorers import scorers
from tests.standin import serve
from tests.standin.hub import Hub
from tests.support import random_bert


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder that passes as the weights of BERT and of Pub."""
    folder = random_bert.write(tmp_path / "tiny", **random_bert.TINY)
    for name in ("BERT", "Pub"):
        monkeypatch.setitem(bertscore.WEIGHTS, name, Weights(f"tiny {name}", 2))
    return folder


def test_without_weights_a_line_says_so_and_the_rest_is_scored(tiny, capsys):
    params = Ablations(semantic=("BERT", "Pub"), bert="no/such/folder", pub=str(tiny))
    (only,) = scorers(params)
    assert only.columns[0] == "S_Pub.precision" and only.definition["model"] == "tiny Pub"
    said = capsys.readouterr().out
    assert said == "S_BERT is left out: no weights in no/such/folder (models/README.md)\n"


def test_without_its_package_minilm_is_absent(monkeypatch, capsys):
    monkeypatch.setattr(semantic_scorers, "PACKAGE", "no_such_package")
    assert list(scorers(Ablations(semantic=("MiniLM",)))) == []
    assert '".[semantic]"' in capsys.readouterr().out


def test_the_defaults_are_those_that_need_no_network_and_no_money():
    params = Ablations()
    assert "GPT" not in params.semantic and not params.bert.startswith("hf:")
    assert not params.pub.startswith("hf:")
    assert params.calls().model == "text-embedding-3-large" and params.calls().mode == "sync"


def test_other_weights_do_not_take_the_place_of_bert():
    package = next(scorers(Ablations(semantic=("MiniLM",)))).tokenizer.name_or_path
    with pytest.raises(InputError, match="but that of bert-base-uncased is 68d45e234eb4"):
        list(scorers(Ablations(semantic=("BERT",), bert=package)))


def test_relative_paths_are_the_project_s(tiny, monkeypatch):
    monkeypatch.setenv("RNAGPT_ROOT", str(tiny.parent))
    assert paths.from_root("tiny") == tiny
    assert len(list(scorers(Ablations(semantic=("BERT",), bert="tiny")))) == 1


FETCH = """
from rnagpt_lib import semantic
from rnagpt_lib.core.params import Ablations
folder = semantic._folder("Pub", Ablations(pub="hf:some/bert"))
print(*(path.name for path in folder.iterdir()))
"""


def fetch(url: str, cache) -> str:
    """The files' names; in a process of its own, as the hub's client reads settings on import."""
    settings = {"HF_ENDPOINT": url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", FETCH]
    told = subprocess.run(command, capture_output=True, text=True, env=os.environ | settings)
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_hub_id_fetches_the_weights_and_nothing_else(tiny, tmp_path, name):
    there = shutil.copytree(tiny, tmp_path / "hub/some/bert")
    (there / "tf_model.h5").write_bytes(b"not read")
    (there / "pytorch_model.bin").write_bytes(b"not read, but where nothing else is there")
    if name == "pytorch_model.bin":
        (there / "model.safetensors").unlink()
    hub = Hub(tmp_path / "hub")
    with serve(hub) as url:
        said = fetch(url, tmp_path)
    assert {name, "vocab.txt", "config.json"} <= set(said.split())
    fetched = {path.rsplit("/", 1)[1] for path in hub.asked if "/resolve/" in path}
    assert {"model.safetensors", "pytorch_model.bin", "tf_model.h5"} & fetched == {name}
