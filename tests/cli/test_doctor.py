"""``rnagpt doctor`` finds what a profile lacks, and is content where nothing is lacking."""

import json

import pytest
import torch
from click.testing import CliRunner

from rnagpt_lib.cli import commands
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.train import doctor
from tests.support import llama3
from tests.support.tiny_model import TINY
from tests.train.test_memory import LLAMA_3_8B


def examined(*given: str, profile: str = "paper_5k") -> tuple[int, dict[str, str]]:
    """Exit code, and each line by what it is about."""
    told = CliRunner().invoke(commands, ["doctor", "--profile", profile, *given])
    if isinstance(told.exception, InputError):
        raise told.exception
    lines = [line.split("  ") for line in told.output.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return told.exit_code, {about: f"{mark} {'  '.join(said)}" for mark, about, *said in cells}


@pytest.fixture
def weights(tmp_path):
    Encoder.fresh(TINY, seed=0).save(tmp_path / "rna-fm", {})
    llama3.write(tmp_path / "llm")
    return ["-p", "ENCODER", str(tmp_path / "rna-fm"), "-p", "LLM", str(tmp_path / "llm")]


def test_the_miniature_lacks_nothing():
    code, said = examined(profile="mini")
    assert code == 0 and all(line.startswith("ok") for line in said.values())
    assert "128 wide" in said["04_train_stage1: encoder"] and len(said) == 7


def test_files_that_are_named_and_those_that_have_to_be(tmp_path):
    of = "00_filter_rnacentral: files"
    code, said = examined(profile="local")
    assert code == 1 and "no FASTA is named: -p FASTA my.fa" in said[of]
    mine = tmp_path / "mine.fa"
    code, said = examined("-p", "FASTA", str(mine), profile="local")
    assert code == 1 and said[of] == f"MISSING FASTA {mine} is no file; correct the path"
    mine.write_text(">a\nACGU\n")
    code, said = examined("-p", "FASTA", str(mine), profile="local")
    assert code == 0 and said[of] == f"ok FASTA {mine}"
    assert examined("-p", "ARTICLES", str(tmp_path / "none"), "-p", "FASTA", str(mine),
                    profile="local")[0] == 1  # fmt: skip
    assert examined()[1][of] == "ok none are named"


def test_what_the_encoder_and_the_machine_do_not_have(weights):
    layers = ["-p", "ENCODER_LAYERS", "3", "-p", "CACHE", "live"]
    code, said = examined(*weights, *layers)
    assert code == 1 and "has 2 layers; ENCODER_LAYERS is 3" in said["05_train_stage2: encoder"]
    assert examined(*weights, "-p", "ENCODER_LAYERS", "2", "-p", "CACHE", "live")[0] == 0
    if not torch.cuda.is_available():
        code, said = examined(*weights, "-p", "ATTENTION", "flex")
        assert code == 1 and "choose sdpa" in said["04_train_stage1: memory"]


def test_null_is_as_in_the_profile():
    assert examined("-p", "LLM", "null", profile="mini") == examined(profile="mini")


def test_a_fresh_clone_lacks_the_papers_weights():
    code, said = examined()
    assert code == 1
    assert said["04_train_stage1: encoder"].startswith("MISSING")
    assert "rnagpt convert-encoder" in said["04_train_stage1: encoder"]
    assert "hf:OWNER/NAME" in said["05_train_stage2: LLM"]
    assert "not known before" in said["04_train_stage1: memory"]


def test_weights_that_are_there_will_do(weights, monkeypatch):
    code, said = examined(*weights)
    assert code == 0 and "16 wide" in said["05_train_stage2: encoder"]
    assert "GB" in said["05_train_stage2: memory"]
    monkeypatch.setattr(doctor, "_device", lambda: ("a card", 1000))
    code, said = examined(*weights)
    assert (
        code == 1
        and "a card has 0.0 GB: lower ROW_TOKENS, take TRAIN qlora, or PARALLEL fsdp"
        in said["04_train_stage1: memory"]
    )


def test_a_model_takes_a_key(weights, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    code, said = examined(*weights, "-p", "PROVIDER", "openai")
    assert code == 1 and "OPENAI_API_KEY" in said["02_summarize: language model"]
    monkeypatch.setenv("OPENAI_API_KEY", "a-canary")
    code, said = examined(*weights, "-p", "PROVIDER", "openai")
    assert code == 0 and "a-canary" not in str(said)
    assert "its price in the profile" in said["02_summarize: language model"]
    code, said = examined(*weights, "-p", "PROVIDER", "openai", "-p", "MODEL", "another")
    assert code == 0 and "no price" in said["02_summarize: language model"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="gpu: it may all work here")
def test_what_needs_a_gpu(weights, tmp_path):
    code, said = examined(*weights, "-p", "TRAIN", "qlora")
    assert code == 1 and "CUDA" in said["05_train_stage2: memory"]
    (tmp_path / "llm" / "config.json").write_text(json.dumps(LLAMA_3_8B), "utf-8")
    code, said = examined(*weights)
    assert code == 1 and "16.1 weights" in said["04_train_stage1: memory"]
    assert "wants a CUDA GPU" in said["04_train_stage1: memory"]


def test_parameters_that_no_notebook_has_are_refused(weights):
    with pytest.raises(InputError, match="no stage has a parameter LLMS"):
        examined(*weights, "-p", "LLMS", "x")
    with pytest.raises(InputError, match="TRAIN is 'all'"):
        examined(*weights, "-p", "TRAIN", "all")
