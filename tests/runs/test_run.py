"""Runs: what a stage records, when it is stale, and what happens when things go wrong."""

import errno
import fcntl
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys

import nbformat
import numpy as np
import pytest

from rnagpt_lib.core import paths, tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json
from rnagpt_lib.runs import run as run_module
from rnagpt_lib.runs import stages
from rnagpt_lib.runs.folder import lock_of
from rnagpt_lib.runs.run import Run

FIRST, SECOND, THIRD = stages.STAGES[:3]


def done(stage, *, note="x", **parameters):
    """Open a stage, write one file, finish it."""
    run = Run.open(stage, **parameters)
    run.path("note.txt").write_text(note)
    run.finish()
    return run


def papermill_notebook(path, end_time):
    notebook = nbformat.v4.new_notebook(metadata={"papermill": {"end_time": end_time}})
    nbformat.write(notebook, path)


def test_a_finished_stage_tells_what_made_it(own_runs):
    run = Run.open(FIRST, seed=3, world_size=40, max_length=None)
    run.write("links", tables.frame("links", [{"rna_id": "R1", "article_id": "A1"}]))
    run.log_metrics({"rnas": 1})
    assert stages.is_fresh("mini", FIRST) == "it was started but not finished"
    run.finish()
    assert stages.is_fresh("mini", FIRST) is None
    assert run.folder == own_runs / "mini" / FIRST
    recorded = read_json(run.folder / "params.json")
    assert recorded["overrides"] == {"world_size": 40} and recorded["seed"] == 3
    assert recorded["params"]["world_size"] == 40 and recorded["params"]["max_length"] == 1024
    manifest = run.manifest
    assert set(manifest["outputs"]) == {"links.parquet", "metrics.json"}
    assert manifest["versions"]["python"] == sys.version.split()[0]
    assert manifest["status"] == "finished" and manifest["device"]
    assert len(manifest["git"]) == 40


def test_git_is_null_outside_of_a_repository(tmp_path, monkeypatch):
    (tmp_path / "profiles").symlink_to(paths.profiles())
    monkeypatch.setenv("RNAGPT_ROOT", str(tmp_path))
    assert Run.open(FIRST).manifest["git"] is None


def test_reads_only_predecessors(own_runs):
    run = Run.open(FIRST)
    run.write("links", tables.frame("links", [{"rna_id": "R1", "article_id": "A1"}]))
    run.finish()
    child = Run.open(SECOND)
    assert child.read(FIRST, "links").values.tolist() == [["R1", "A1"]]
    with pytest.raises(InputError, match="articles.parquet is missing"):
        child.read(FIRST, "articles")
    with pytest.raises(InputError, match="does not read 07_case_studies"):
        child.parent("07_case_studies")


def test_stale_once_a_predecessor_runs_again_with_another_result():
    done(FIRST)
    done(SECOND)
    done(THIRD)
    assert [stages.is_fresh("mini", stage) for stage in (FIRST, SECOND, THIRD)] == [None] * 3
    done(FIRST, note="another")
    assert stages.is_fresh("mini", SECOND) == f"{FIRST} has been run again since"
    assert FIRST in stages.is_fresh("mini", THIRD)


def test_stale_when_only_parameters_changed():
    done(FIRST)
    done(SECOND)
    for changed, stale in [({}, False), ({"seed": 99}, True), ({"world_size": 99}, True)]:
        done(FIRST, **changed)
        why = f"{FIRST} has been run again since" if stale else None
        assert stages.is_fresh("mini", SECOND) == why


def test_parameters_that_change_no_result_are_not_in_the_hash():
    done(FIRST)
    first = done(SECOND, workers=1).manifest["hash"]
    assert done(SECOND, workers=2).manifest["hash"] == first
    assert done(SECOND, max_topics=2).manifest["hash"] != first


def test_what_is_no_result_may_come_and_go():
    folder = done(FIRST).folder
    for name in ("notebook.ipynb", ".cache/x", "checkpoints/s/state/opt.pt", "figures/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
        assert stages.is_fresh("mini", FIRST) is None
        (folder / name).unlink()
        assert stages.is_fresh("mini", FIRST) is None


def test_stale_when_an_output_is_changed_or_deleted_or_added():
    note = done(FIRST).folder / "note.txt"
    note.write_text("by hand")
    assert stages.is_fresh("mini", FIRST).startswith("its file note.txt has been changed")
    note.unlink()
    assert stages.is_fresh("mini", FIRST).startswith("its file note.txt has been changed")
    note.write_text("x")
    assert stages.is_fresh("mini", FIRST) is None
    note.with_name("more.txt").write_text("x")
    assert stages.is_fresh("mini", FIRST).startswith("its file more.txt has been changed")


@pytest.mark.parametrize("folder", [False, True])
def test_stale_when_an_input_from_outside_changes(tmp_path, folder):
    source = tmp_path / "my" / "in.fa"
    source.parent.mkdir()
    source.write_text(">a\nACGU\n")
    run = Run.open(FIRST)
    assert run.use(source.parent if folder else source).exists()
    run.finish()
    assert stages.is_fresh("mini", FIRST) is None
    source.write_text(">a\nACGG\n")
    assert "has changed or is missing" in stages.is_fresh("mini", FIRST)
    source.unlink()
    assert "has changed or is missing" in stages.is_fresh("mini", FIRST)


def test_a_missing_input_is_named():
    with pytest.raises(InputError, match="nowhere/x.fa, an input of 00_filter_rnacentral"):
        Run.open(FIRST).use("nowhere/x.fa")


def test_opening_again_moves_files_aside(capsys, own_runs):
    done(FIRST, note="first")
    capsys.readouterr()
    done(FIRST, note="second")
    done(FIRST, note="third")
    lines = capsys.readouterr().out.splitlines()
    assert sum("earlier files moved to" in line for line in lines) == 2
    previous = sorted((own_runs / "mini" / ".previous").iterdir())
    kept = [(folder / "note.txt").read_text() for folder in previous]
    assert sorted(kept) == ["first", "second"]  # in one second: their names differ all the same
    assert all((folder / "manifest.json").is_file() for folder in previous)


@pytest.mark.parametrize("end_time", [None, "2026-01-01T00:00:00"])
def test_a_notebook_that_papermill_is_writing_stays(end_time):
    run = done(FIRST)
    papermill_notebook(run.folder / "notebook.ipynb", end_time)
    (run.folder / ".gitkeep").touch()
    Run.open(FIRST)
    assert (run.folder / "notebook.ipynb").exists() == (end_time is None)
    assert (run.folder / ".gitkeep").exists()


def test_refuse_keeps_everything(own_runs):
    done(FIRST, note="precious", run="big")
    for how in ({"on_finished": "refuse"}, {"profile": "paper_5k"}):
        with pytest.raises(InputError, match="refuses to replace them; choose another run id"):
            Run.open(FIRST, run="big", **how)
    assert (own_runs / "big" / FIRST / "note.txt").read_text() == "precious"
    assert stages.is_fresh("big", FIRST) is None
    done(FIRST, run="big", profile="paper_5k", on_finished="archive")


def test_an_unfinished_stage_resumes_with_the_same_parameters_only():
    first = Run.open(FIRST, world_size=50)
    assert not first.resuming
    first.path("half.txt").write_text("x")
    again = Run.open(FIRST, world_size=50)
    assert again.resuming and again.path("half.txt").exists()
    other = Run.open(FIRST, world_size=51)
    assert not other.resuming and not other.path("half.txt").exists()


def test_files_of_nobody_are_moved_aside_too():
    folder = stages.stage_folder("mini", FIRST)
    folder.mkdir(parents=True)
    (folder / "rnas.parquet").write_text("left here")
    run = Run.open(FIRST)
    assert not run.resuming and not run.path("rnas.parquet").exists()


def test_writing_to_a_finished_stage_is_refused():
    run = done(FIRST)
    for write in (lambda: run.path("x"), run.finish, lambda: run.log_metrics({"x": 1})):
        with pytest.raises(InputError, match="open it again to write"):
            write()
    assert stages.is_fresh("mini", FIRST) is None


HOLD = f"""
import sys
from rnagpt_lib.runs.run import Run
Run.open("{FIRST}").path("half.txt").write_text("x")
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_process():
    command = [sys.executable, "-c", HOLD]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_until_the_first_dies(other_process):
    with pytest.raises(InputError, match=rf"in use by process {other_process.pid} of [\w.-]+;"):
        Run.open(FIRST)
    Run.open(FIRST, run="another").finish()
    os.kill(other_process.pid, signal.SIGKILL)
    other_process.wait()
    assert Run.open(FIRST).resuming


def is_free(stage):
    """Whether another descriptor could lock it, as that of another process would."""
    return can_lock(lock_of(stages.stage_folder("mini", stage)))


def can_lock(path):
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_the_same_process_may_open_again_and_finishing_frees():
    Run.open(FIRST)
    assert not is_free(FIRST)
    Run.open(FIRST).finish()
    assert is_free(FIRST)


def test_a_refused_opening_frees_the_stage():
    done(FIRST)
    with pytest.raises(InputError):
        Run.open(FIRST, on_finished="refuse")
    assert is_free(FIRST)


def test_a_notebooks_names_are_taken_where_they_are_parameters_of_the_stage():
    names = {"RUN": "mine", "SEED": 3, "WORLD_SIZE": 40, "LIMIT": None, "EDGES": [1], "PASSES": 2}
    run = Run.open(FIRST, names | {"max_length": 80, "pd": json, "ON_FINISHED": "archive"})
    assert (run.id, run.seed, run.profile.name) == ("mine", 3, "mini")
    assert read_json(run.folder / "params.json")["overrides"] == {"world_size": 40}
    with pytest.raises(InputError, match="parameter WORLD_SIZE is 'many'"):
        Run.open(FIRST, {"WORLD_SIZE": "many"})
    with pytest.raises(InputError, match="stages are 00_filter_rnacentral"):
        Run.open("04_stage1", names)


def test_a_crash_while_moving_files_aside_loses_nothing(monkeypatch, own_runs):
    run = done(FIRST)
    for name in "abc":
        (run.folder / name).write_text(name)
    rename, calls = os.rename, []

    def failing(source, target):
        calls.append(source)
        if len(calls) == 3:
            raise OSError("disk")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(InputError, match="cannot be written: disk; make room"):
        Run.open(FIRST)
    assert stages.is_fresh("mini", FIRST) == "it has not been run yet"
    monkeypatch.setattr(os, "rename", rename)
    Run.open(FIRST)
    kept = {file.name for file in (own_runs / "mini" / ".previous").rglob("*") if file.is_file()}
    assert kept == {"a", "b", "c", "note.txt", "manifest.json", "params.json"}


def test_what_was_moved_aside_unfinished_goes_on_when_it_is_moved_back(own_runs):
    run = Run.open(FIRST, world_size=40)
    (run.folder / "half.txt").write_text("half")
    other = Run.open(FIRST, world_size=50)
    assert not other.resuming and not (other.folder / "half.txt").exists()
    [aside] = (own_runs / "mini" / ".previous").iterdir()
    shutil.rmtree(other.folder)
    aside.rename(other.folder)
    again = Run.open(FIRST, world_size=40)
    assert again.resuming and (again.folder / "half.txt").read_text() == "half"


def test_a_damaged_manifest_is_named():
    run = done(FIRST)
    (run.folder / "manifest.json").write_text('{"status": "fin')
    with pytest.raises(InputError, match=r"manifest.json is damaged \(no .*, or delete .* again"):
        Run.open(FIRST)


@pytest.mark.parametrize("file", ["params.json", "manifest.json"])
def test_a_full_disk_takes_no_finished_stage_away(monkeypatch, own_runs, file):
    before = {path.name: path.read_bytes() for path in done(FIRST).folder.iterdir()}
    write = run_module.write_json

    def full(path, data):
        if path.name == file:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(run_module, "write_json", full)
    with pytest.raises(
        InputError, match="cannot be written: No space left.*make room.*RNAGPT_RUNS"
    ):
        Run.open(FIRST, world_size=50)
    folder = stages.stage_folder("mini", FIRST)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert is_free(FIRST) and stages.is_fresh("mini", FIRST) is None
    with pytest.raises(InputError, match="cannot be written"):  # nor does a first attempt stay
        Run.open(FIRST, run="new")
    assert not [*stages.stage_folder("new", FIRST).iterdir()]


def test_a_disk_that_nobody_may_write_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RNAGPT_RUNS", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot be written: Not a directory; .*RNAGPT_RUNS"):
        Run.open(FIRST)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"status": 3}, "Input tag '3'"),
        ({"status": "done"}, "Input tag 'done'"),
        ({"key": [1]}, "finished.key: "),
        ({"key": {"seed": "x", "params": {}}}, "finished.key.seed: "),
        ({"parents": {"a": 1}}, "finished.parents.a: "),
        ({"inputs": None}, "finished.inputs: "),
        ({"outputs": []}, "finished.outputs: "),
        ({"hash": 5}, "finished.hash: "),
    ],
)
def test_manifests_of_another_kind_are_named(changes, fault):
    path = done(FIRST).folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    for ask in (lambda: stages.is_fresh("mini", FIRST), lambda: Run.open(FIRST)):
        with pytest.raises(InputError, match=re.escape(fault)) as caught:
            ask()
        assert "manifest.json" in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"outputs": {"note.txt": "0"}}, {"key": {"seed": 1, "params": {}}}, {"hash": ""}]
)
def test_a_manifest_that_somebody_changed_makes_stale(changes):
    path = done(FIRST).folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert stages.is_fresh("mini", FIRST) == "its file manifest.json has been changed since"


@pytest.mark.parametrize("text", ["[]", "3", '{"params": []}', '{"profile": 3}', '{"seed": "x"}'])
def test_params_of_another_kind_are_named(text):
    (done(FIRST).folder / "params.json").write_text(text)
    with pytest.raises(InputError, match="params.json is damaged"):
        stages.command("mini", FIRST)


@pytest.mark.parametrize(
    ("stage", "bad", "fault"),
    [
        (FIRST, {"seed": 2**32}, "SEED is 4294967296; it can be a whole number from 0 to 2,147,48"),
        (FIRST, {"seed": -1}, "SEED is -1;"),
        (FIRST, {"seed": True}, "SEED is True"),
        (FIRST, {"seed": 1.0}, "SEED is 1.0"),
        (FIRST, {"world_size": 10**30}, "WORLD_SIZE is 1000"),
        (FIRST, {"requests_per_second": float("inf")}, "REQUESTS_PER_SECOND is inf, but"),
        (FIRST, {"fasta": "a\0b"}, "without NUL characters"),
    ],
)
def test_values_beyond_bounds_move_no_finished_stage(own_runs, stage, bad, fault):
    done(stage)
    with pytest.raises(InputError, match=fault):
        Run.open(stage, **bad)
    assert stages.is_fresh("mini", stage) is None and not (own_runs / "mini" / ".previous").exists()


KERNEL = """
import os, re, subprocess, sys
from pathlib import Path
os.environ["JPY_PARENT_PID"] = str(os.getpid())
child = "import sys, re; from pathlib import Path; from rnagpt_lib.runs.folder import acquire_lock; "
child += "acquire_lock(Path(sys.argv[1]), 'it'); print('has it', flush=True); "
child += "re.match(r'(a|aa)+$', 'a' * 90 + 'b')"  # for years, and no other thread gets its turn
subprocess.run([sys.executable, "-c", child, sys.argv[1]])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_kernel_ends_with_its_command_and_leaves_no_lock(tmp_path, number):
    command = [sys.executable, "-c", KERNEL, tmp_path / "lock"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "has it\n"
    process.send_signal(number)
    process.communicate(timeout=60)  # comes back when the last who could write has ended
    assert process.returncode == -number
    assert can_lock(tmp_path / "lock")


def test_bad_run_ids_are_refused_and_nothing_is_written(own_runs):
    for bad in ["", "1a", "a b", "a/b", "../a", "-a", "a\n", ".a", "ä"]:
        with pytest.raises(InputError, match="starts with a letter"):
            Run.open(FIRST, run=bad)
        assert not own_runs.exists()


def test_bad_parameters_are_refused_and_nothing_is_written(own_runs):
    for parameters, words in [
        ({"profile": "nope"}, "profile 'nope' is unknown; profiles are full"),
        ({"world_sizes": 5}, "no parameter WORLD_SIZES"),
        ({"world_size": "many"}, "parameter WORLD_SIZE is 'many'"),
        ({"on_finished": "delete"}, "archive or refuse"),
    ]:
        with pytest.raises(InputError, match=words):
            Run.open(FIRST, **parameters)
        assert not own_runs.exists()


def test_a_missing_predecessor_is_named_with_the_command(own_runs):
    command = "rnagpt run 00_filter_rnacentral --profile local --run mine"
    with pytest.raises(InputError, match=command):
        Run.open(SECOND, run="mine", profile="local")
    assert not own_runs.exists()


def test_a_stale_predecessor_is_refused_elsewhere_too():
    done(FIRST)
    done(SECOND)
    done(FIRST, note="another")
    with pytest.raises(InputError, match=f"needs {SECOND}, but {FIRST} has been run again since"):
        Run.open(THIRD, profile="local")


def test_metrics_merge_level_by_level():
    run = Run.open(FIRST)
    run.log_metrics({"loss": {"first": np.float32(2.0)}, "n": np.int64(3), "name": "a"})
    run.log_metrics({"loss": {"last": 0.5}, "n": 4})
    assert read_json(run.path("metrics.json")) == {
        "loss": {"first": 2.0, "last": 0.5},
        "n": 4,
        "name": "a",
    }


def test_metrics_refuse_what_is_no_finite_number_and_keep_the_rest():
    for bad in [math.nan, math.inf, np.float64("nan"), None, [1], object()]:
        run = Run.open(FIRST)
        run.log_metrics({"good": 1})
        with pytest.raises(InputError, match="metric deep.bad is"):
            run.log_metrics({"other": 2, "deep": {"bad": bad}})
        assert read_json(run.path("metrics.json")) == {"good": 1}


def test_show_names_everything_that_matters(capsys):
    done(FIRST)
    Run.open(SECOND, max_topics=3, seed=5).show()
    shown = capsys.readouterr().out
    for word in (SECOND, "run mini", "seed 5", "python 3", "device", f"reads {FIRST}"):
        assert word in shown
    assert [line.split() for line in shown.splitlines()].count(["MAX_TOPICS", "3"]) == 1


def test_every_stage_has_predecessors_before_it():
    assert list(stages.PARENTS) == list(stages.STAGES)
    for number, stage in enumerate(stages.STAGES):
        assert set(stages.PARENTS[stage]) <= set(stages.STAGES[:number])


def test_an_attempt_that_made_nothing_is_no_result_to_refuse_for(own_runs):
    Run.open(FIRST, on_finished="refuse", world_size=40)
    folder = own_runs / "mini" / FIRST
    again = Run.open(FIRST, on_finished="refuse", world_size=50)
    assert again.manifest["status"] == "running" and again.folder == folder
    assert again.params.world_size == 50
