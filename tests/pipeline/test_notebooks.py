"""The user's own path, small: every notebook headless, in order, in a temporary ``runs/``."""

import os
import shutil
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from rnagpt_lib.core import params as profiles
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json
from rnagpt_lib.curate import prompts
from rnagpt_lib.curate.questions import qa_llm
from rnagpt_lib.curate.summaries import summarize
from rnagpt_lib.evaluate import results
from rnagpt_lib.llm_api import cost
from rnagpt_lib.miniature import world
from rnagpt_lib.model import checkpoint
from rnagpt_lib.report import page
from rnagpt_lib.report.tables import rouge_table
from rnagpt_lib.runs import notebooks, stages
from rnagpt_lib.train import ablation_trainings
from tests.standin import Faults, faults, serve
from tests.standin.answers import Model, talking
from tests.standin.ebi import Ebi, addresses
from tests.standin.openai_api import OpenAI
from tests.support.rendered import unwanted

SMALL = {
    "00_filter_rnacentral": {"WORLD_SIZE": 60},
    "01_explore_topics": {"PASSES": 2, "STABILITY_SEEDS": 2, "CORPUS_TOPICS": 4, "MAX_TOPICS": 3},
    "04_train_stage1": {"EPOCHS": 1},
    "05_train_stage2": {"EPOCHS": 1},
    "06_ablations": {"MAX_PAIRS": 16, "MAX_NEW_TOKENS": 8, "BOOTSTRAP": 100, "MINIMAL_PAIRS": 4},
    "07_case_studies": {"HELD_OUT": 1, "MAX_NEW_TOKENS": 8},
}
PRESENT = [stage for stage in stages.STAGES if (paths.notebooks() / f"{stage}.ipynb").is_file()]


class SmallPath:
    """Runs stages once per session, in order, whichever test asks first."""

    def __init__(self, folder: Path):
        self.runs = folder
        self.outcomes: dict[str, Path | Exception] = {}

    def executed(self, stage: str) -> Path:
        """The executed notebook of ``stage``; raises what its run raised."""
        for earlier in stages.PARENTS[stage]:
            self.executed(earlier)
        if stage not in self.outcomes:
            try:
                self.outcomes[stage] = self._run(stage)
            except Exception as error:
                self.outcomes[stage] = error
        outcome = self.outcomes[stage]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _run(self, stage: str) -> Path:
        known = notebooks.list_parameters(notebooks.find(stage))
        small = {name: value for name, value in SMALL.get(stage, {}).items() if name in known}
        return notebooks.run_notebook(stage, parameters=small)


@pytest.fixture(scope="session")
def session_path(tmp_path_factory) -> SmallPath:
    return SmallPath(tmp_path_factory.mktemp("path") / "runs")


@pytest.fixture
def small_path(session_path, monkeypatch) -> SmallPath:
    monkeypatch.setenv("RNAGPT_RUNS", str(session_path.runs))
    return session_path


@pytest.mark.parametrize("stage", PRESENT)
def test_runs_to_the_end(small_path, stage, capsys):
    executed = nbformat.read(small_path.executed(stage), 4)
    assert executed.metadata.papermill.exception is None
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    assert stages.is_fresh("mini", stage) is None
    recorded = read_json(stages.stage_folder("mini", stage) / "params.json")
    for name, value in SMALL.get(stage, {}).items():
        if name.lower() in recorded["overrides"]:
            assert recorded["params"][name.lower()] == value


@pytest.mark.parametrize("stage", PRESENT)
def test_shows_no_absolute_paths_or_warnings(small_path, stage):
    assert list(unwanted(small_path.executed(stage))) == []


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["04_train_stage1", "05_train_stage2"])
def test_the_notebook_reads_what_two_processes_trained(small_path, stage, tmp_path, monkeypatch):
    small_path.executed("05_train_stage2")
    alone = load_file(checkpoint.find(stages.stage_folder("mini", stage)) / checkpoint.PROJECTION)
    shutil.copytree(small_path.runs, tmp_path / "runs")
    monkeypatch.setenv("RNAGPT_RUNS", str(tmp_path / "runs"))
    folder = stages.stage_folder("mini", stage)
    shutil.rmtree(folder)
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *several, "-m", "rnagpt_lib", "train", stage, "-p", "EPOCHS", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=paths.root())
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"rnagpt run {stage} --profile mini --run mini -p EPOCHS 1" in done.stdout
    steps = (folder / "steps.jsonl").read_bytes()
    notebooks.run_notebook(stage, parameters=SMALL[stage])
    assert (folder / "steps.jsonl").read_bytes() == steps
    together = load_file(checkpoint.find(folder) / checkpoint.PROJECTION)
    assert all(torch.allclose(together[n], alone[n], atol=1e-3, rtol=1e-2) for n in alone)


@pytest.mark.slow
def test_a_variant_trained_beside_is_asked_and_compared(small_path, tmp_path, monkeypatch):
    """It is blind, so that no answer of its changes with the RNA."""
    stage = "06_ablations"
    small_path.executed(stage)
    shutil.copytree(small_path.runs, tmp_path / "runs")
    monkeypatch.setenv("RNAGPT_RUNS", str(tmp_path / "runs"))
    ablation_trainings.train_all("mini", ["it.blind"], [0], workers=1)
    ablation_trainings.train_all("mini", ["IT"], [0, 1], workers=1)
    executed = notebooks.run_notebook(stage, parameters=SMALL[stage])
    read = results.load("mini")
    trained = read.answers.groupby("model").seed.unique().map(list)
    assert trained["it.blind"] == [0] and trained["IT"] == [0, 1]
    blind = read.answers[read.answers.model == "it.blind"]
    questions = pd.read_parquet(stages.stage_folder("mini", "03_decompose_qa") / "pairs.parquet")
    said = blind.merge(questions[["pair_id", "question"]], on="pair_id")
    assert (said.groupby("question").prediction.nunique() == 1).all()
    assert ("IT", "it.blind") in set(
        zip(read.differences.model_a, read.differences.model_b, strict=True)
    )
    assert len(read.trainings.query("model == 'IT' and metric == 'rougeL'")) == 2
    assert list(unwanted(executed)) == [] and stages.is_fresh("mini", stage) is None


@pytest.mark.slow
def test_sources_of_annotations_stand_beside_each_other(small_path, tmp_path, monkeypatch):
    """A second run that differs in SOURCE alone, named in RUNS."""
    small_path.executed("06_ablations")
    shutil.copytree(small_path.runs, tmp_path / "runs")
    monkeypatch.setenv("RNAGPT_RUNS", str(tmp_path / "runs"))
    for stage in stages.STAGES[:3]:  # the same for both
        shutil.copytree(small_path.runs / "mini" / stage, tmp_path / "runs" / "single" / stage)
    other = {"03_decompose_qa": {"SOURCE": "single_pass"}}
    for stage in stages.STAGES[3:7]:
        parameters = SMALL.get(stage, {}) | other.get(stage, {})
        notebooks.run_notebook(stage, run="single", parameters=parameters)
    stage = "06_ablations"
    executed = notebooks.run_notebook(stage, parameters=SMALL[stage] | {"RUNS": ["single"]})
    assert list(unwanted(executed)) == [] and stages.is_fresh("mini", stage) is None
    folder = stages.stage_folder("mini", stage)
    for shown in (executed, page.write_report("mini")):
        assert "single_pass, run single" in shown.read_text("utf-8")
    row = rouge_table(results.load("single")).loc["IT", "ROUGE-1"]
    assert row in (folder / "tables" / "single_rouge.tex").read_text("utf-8")


@pytest.mark.slow
def test_papermill_from_the_notebooks_folder_with_relative_paths(tmp_path, monkeypatch):
    stage = PRESENT[0]
    folder = tmp_path / "runs" / "mini" / stage
    folder.mkdir(parents=True)
    output = os.path.relpath(folder / "notebook.ipynb", paths.notebooks())
    command = [
        sys.executable,
        "-m",
        "papermill",
        f"{stage}.ipynb",
        output,
        "-p",
        "WORLD_SIZE",
        "40",
    ]
    done = subprocess.run(command, cwd=paths.notebooks(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "unknown parameter" not in done.stderr
    assert stages.is_fresh("mini", stage) is None
    assert read_json(folder / "params.json")["params"]["world_size"] == 40
    assert nbformat.read(folder / "notebook.ipynb", 4).metadata.papermill.end_time


@pytest.mark.slow
def test_one_seed_gives_the_same_tables(small_path, monkeypatch, tmp_path):
    stage = PRESENT[0]
    first = small_path.executed(stage).parent
    monkeypatch.setenv("RNAGPT_RUNS", str(tmp_path / "again"))
    second = notebooks.run_notebook(stage, parameters=SMALL[stage]).parent
    tables = sorted(path.name for path in first.glob("*.parquet"))
    assert tables and tables == sorted(path.name for path in second.glob("*.parquet"))
    for name in tables:
        pd.testing.assert_frame_equal(pd.read_parquet(first / name), pd.read_parquet(second / name))


CANARY = "sk-canary-of-the-test"


@pytest.mark.slow
def test_a_chat_model_writes_annotations_and_pairs(small_path, monkeypatch, tmp_path):
    """Refused first, then stopped by the cap, then whole, then again for nothing; the key shows
    nowhere."""
    small_path.executed("01_explore_topics")
    for stage in ("00_filter_rnacentral", "01_explore_topics"):
        shutil.copytree(small_path.runs / "mini" / stage, tmp_path / "runs" / "mini" / stage)
    monkeypatch.setenv("RNAGPT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    app = OpenAI(Model(), key="another")  # it repeats the key that it refuses
    with talking(app) as settings:
        server = {name.upper(): settings[name] for name in ("provider", "model", "base_url")}
        with pytest.raises(InputError, match="refused the key in OPENAI_API_KEY") as refused:
            notebooks.run_notebook("02", parameters=server)
        with pytest.raises(InputError, match="the profile has no price of model") as unpriced:
            notebooks.run_notebook("02", parameters=server | {"CAP_DOLLARS": 1.0})
        app.key = None
        made = [notebooks.run_notebook(stage, parameters=server).parent for stage in ("02", "03")]
        paid = app.completions
        assert paid > 60
        _check_tables(*made)
        for module, stage in ((summarize, "02_summarize"), (qa_llm, "03_decompose_qa")):
            params = profiles.load("mini").stage(stage, **settings)
            left = cost.estimate(module.planned_requests("mini", params), params)
            assert left.loc["sync", "requests"] > 0 == left.loc["sync", "to ask"]
        again = [notebooks.run_notebook(stage, parameters=server).parent for stage in ("02", "03")]
        assert again == made and app.completions == paid
    calls = sum(read_json(folder / "metrics.json")["calls"]["calls"] for folder in made)
    assert paid <= calls < 1.05 * paid  # the comparison too; groups of two ways count twice
    assert CANARY not in f"{refused.value} {unpriced.value}"
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert any(path.name == "journal.sqlite" for path in files)
    assert not any(CANARY.encode() in path.read_bytes() for path in files)
    with closing(sqlite3.connect(tmp_path / "runs" / "journal.sqlite")) as db:
        bodies = [zlib.decompress(body) for (body,) in db.execute("SELECT body FROM bodies")]
    assert len(bodies) >= paid and not any(CANARY.encode() in body for body in bodies)


def _check_tables(summarized, decomposed):
    annotations, dropped = (
        pd.read_parquet(summarized / f"{name}.parquet") for name in ("annotations", "dropped")
    )
    dnc = annotations[annotations.source == "dnc"]
    rnas = pd.read_parquet(decomposed / "rnas.parquet")
    assert {*dnc.rna_id, *dropped.record} == set(rnas.rna_id)
    assert dnc.article_ids.str.len().all() and len(dnc) > dnc.rna_id.nunique()
    pairs = pd.read_parquet(decomposed / "pairs.parquet")
    asked = pairs[pairs.prompt_version == prompts.QA_VERSION]
    assert set(asked.form) == {"open", "closed"} and set(asked.rna_id) <= set(dnc.rna_id)
    assert asked.rna_id.nunique() > 0.8 * dnc.rna_id.nunique()
    metrics = read_json(summarized / "metrics.json")
    assert "stand-in" in str(metrics) and "no evidence" in str(metrics)


def test_template_runs(tmp_path):
    executed = notebooks.run_notebook("_template")
    assert executed == tmp_path / "runs" / "template" / "_template" / "notebook.ipynb"
    assert stages.is_fresh("template", "00_filter_rnacentral") is None


def test_empty_stage_folders_of_mini_are_committed():
    command = ["git", "ls-files", "runs/mini"]
    done = subprocess.run(command, cwd=paths.root(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"runs/mini/{stage}/.gitkeep" for stage in stages.STAGES]


@pytest.mark.slow
def test_00_reads_live_sources_by_their_addresses_alone():
    """The stand-in world under the profile of the paper's 5K subset: stopped near the end by a
    refusal, run again it goes on there; 01 goes on from the tables.
    """
    queue = Faults()
    queue.add(faults.status(403), where="/litsumm/")
    with serve(Ebi(size=30), faults=queue) as url:
        given = {name.upper(): address for name, address in addresses(url).items()}
        given |= {"LIMIT": 12, "REQUESTS_PER_SECOND": 1000.0}
        with pytest.raises(InputError, match="refuses .*litsumm/ with status 403"):
            notebooks.run_notebook("00", profile="paper_5k", run="tiny", parameters=given)
        asked = len(queue.seen)
        executed = notebooks.run_notebook("00", profile="paper_5k", run="tiny", parameters=given)
    assert len(queue.seen) - asked < 6 < asked
    rnas = pd.read_parquet(executed.parent / "rnas.parquet")
    assert 8 <= len(rnas) <= 12 and rnas["rna_id"].str.startswith("URS").all()
    assert stages.is_fresh("tiny", "00_filter_rnacentral") is None
    assert (executed.parent / "litsumm.jsonl").is_file()
    rows = read_json(executed.parent / "sources.json")["sources"]
    assert {row["release"] for row in rows} == {"26", ""}
    cells = nbformat.read(executed, 4).cells
    shown = " ".join(str(output) for cell in cells for output in cell.get("outputs", []))
    assert "RNAcentral entries" in shown and str(paths.root()) not in shown
    small = {"PASSES": 2, "STABILITY_SEEDS": 2, "CORPUS_TOPICS": 4}
    notebooks.run_notebook("01", profile="paper_5k", run="tiny", parameters=small)


@pytest.mark.slow
def test_sequences_and_types_alone_are_enough(own_runs, tmp_path):
    """A FASTA file and a table, without any abstract: pairs come from the table."""
    rnas = [rna for rna in world.entries(40, seed=3) if rna.family]
    fasta, table = tmp_path / "my.fa", tmp_path / "my.tsv"
    fasta.write_text("".join(f">my{i}\n{rna.sequence}\n" for i, rna in enumerate(rnas)))
    rows = [f"my{i}\t{rna.rna_type}" for i, rna in enumerate(rnas)]
    table.write_text("\n".join(["rna_id\trna_type", *rows]) + "\n")
    given = {"FASTA": str(fasta), "TABLE": str(table)}
    notebooks.run_path(stages.STAGES[:4], run="mine", profile="local", parameters=given)
    pairs = pd.read_parquet(own_runs / "mine" / "03_decompose_qa" / "pairs.parquet")
    assert set(pairs.kind) == {"rna_type"} and pairs.rna_id.nunique() == len(set(rnas))
