"""The rehearsal differs from the live run where it says so, and runs to the end of it."""

import os
import re
import socket

import pytest

from rnagpt_lib.core import params, paths
from rnagpt_lib.core.files import read_json, sha256
from rnagpt_lib.runs.stages import PARAMS, STAGES, is_fresh, stage_folder
from tests.standin.openai_api import OpenAI
from tests.support import rehearsal
from tests.support.rendered import unwanted
from tests.support.rna_fm import FULL

SMALL = FULL | {"layers": 2, "embed_dim": 64, "ffn_embed_dim": 128, "attention_heads": 4}
DIFFER = {
    "00_filter_rnacentral": {"ebi_search", "europepmc", "rnacentral_api", "limit"},
    "02_summarize": {"base_url"},
    "03_decompose_qa": {"base_url"},
    "04_train_stage1": {"encoder", "llm"},
    "05_train_stage2": {"encoder", "llm"},
    "06_ablations": {"base_url"},  # of embeddings, which it asks for only where SEMANTIC names GPT
}


def differences(run: str, stage: str) -> set[str]:
    """The names of the stage's parameters that the live run has otherwise."""
    recorded = read_json(stage_folder(run, stage) / PARAMS)["params"]
    found = params.STAGE_MODELS[stage].model_validate(recorded)
    named = {name.lower(): value for name, value in rehearsal.LIVE.items()}
    live = params.overridden(params.load(rehearsal.PROFILE), named).stage(stage)
    return {name for name in recorded if getattr(found, name) != getattr(live, name)}


def test_the_live_run_is_the_one_of_the_docs():
    page = (paths.root() / "docs" / "live_data.md").read_text("utf-8")
    told = re.findall(rf"^rnagpt run 0[23] --profile {rehearsal.PROFILE} .*$", page, re.M)
    assert len(told) == 2
    for line in told:
        assert dict(re.findall(r"-p (\S+) (\S+)", line)) == rehearsal.LIVE


def test_weights_are_written_once_and_again_the_same(tmp_path):
    first = rehearsal.make_weights(tmp_path, SMALL)
    assert set(first) == {"ENCODER", "LLM"}
    made = {path: sha256(paths.from_root(path)) for path in first.values()}
    times = [path.stat().st_mtime_ns for path in tmp_path.rglob("*")]
    assert rehearsal.make_weights(tmp_path, SMALL) == first
    assert [path.stat().st_mtime_ns for path in tmp_path.rglob("*")] == times
    again = rehearsal.make_weights(tmp_path / "again", SMALL)
    assert [sha256(paths.from_root(path)) for path in again.values()] == list(made.values())


@pytest.mark.slow
def test_all_notebooks_run_once_and_touch_nothing_of_the_user(tmp_path, monkeypatch, capsys):
    canary = "sk-of-the-user"
    monkeypatch.setenv("OPENAI_API_KEY", canary)
    folder, port = tmp_path / "rehearsal", free_port()
    run = rehearsal.rehearse(folder, 12, port, SMALL)
    assert os.environ["OPENAI_API_KEY"] == canary and not (tmp_path / "runs").exists()
    monkeypatch.setenv("RNAGPT_RUNS", str(folder / "runs"))
    for stage in STAGES:
        assert is_fresh(run, stage) is None
        assert differences(run, stage) == DIFFER.get(stage, set())
        assert list(unwanted(stage_folder(run, stage) / "notebook.ipynb")) == []
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not any(canary.encode() in path.read_bytes() for path in files)

    capsys.readouterr()
    monkeypatch.setattr(OpenAI, "_chat", None)  # nothing is asked for again
    assert rehearsal.rehearse(folder, 12, port, SMALL) == run
    told = capsys.readouterr().out
    assert told.count("is up to date") == len(STAGES) and told.count(" min\n") == len(STAGES) + 1


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
