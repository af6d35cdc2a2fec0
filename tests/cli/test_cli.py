"""The command: what it says and how it exits. Notebooks themselves are tested elsewhere."""

import errno
import subprocess
import sys

import pytest

from rnagpt_lib.core import params, paths
from rnagpt_lib.core.errors import InputError, NotebookFailed
from rnagpt_lib.core.files import write_json
from rnagpt_lib.report import figures, findings, page
from rnagpt_lib.runs import notebooks
from rnagpt_lib.runs.stages import STAGES


@pytest.fixture
def calls(monkeypatch):
    """What the command would have run."""
    seen = []
    for name in ("run_notebook", "run_path"):
        monkeypatch.setattr(notebooks, name, lambda *given, **named: seen.append((given, named)))
    monkeypatch.setattr(findings, "ablation", lambda run: f"table of {run}")
    monkeypatch.setattr(page, "write_report", lambda run: paths.runs() / run / "report.html")
    return seen


def test_run_passes_profile_run_and_parameters(rnagpt, calls, tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("EPOCHS: 2\nPASSES: 7\nLEARNING_RATE: 0.5\n")  # 04 has no PASSES
    code, _, _ = rnagpt(
        "run", "04", "--profile", "local", "--run", "a", "-f", file, "-p", "EPOCHS", 3
    )
    assert code == 0
    assert calls == [
        (
            ("04",),
            {"run": "a", "profile": "local", "parameters": {"EPOCHS": "3", "LEARNING_RATE": 0.5}},
        )
    ]


def test_without_a_profile_it_is_that_of_the_run(rnagpt, calls, own_runs):
    (own_runs / "mine" / STAGES[0]).mkdir(parents=True)
    write_json(own_runs / "mine" / STAGES[0] / "params.json", {"profile": "local"})
    for run, profile in {"mine": "local", "new": "mini"}.items():
        assert rnagpt("run", "07", "--run", run)[0] == rnagpt("demo", "--run", run)[0] == 0
        assert {given["profile"] for _, given in calls[-2:]} == {profile}
    assert rnagpt("run", "07", "--run", "mine", "--profile", "mini")[0] == 0
    assert calls[-1][1]["profile"] == "mini"


def test_values_may_look_like_options(rnagpt, calls):
    assert rnagpt("run", "04", "-p", "RATE", "-1", "-p", "NAME", "--x")[0] == 0
    assert calls[0][1]["parameters"] == {"RATE": "-1", "NAME": "--x"}


def test_demo_runs_all_stages_and_says_where_everything_is(rnagpt, calls, monkeypatch):
    monkeypatch.setenv("RNAGPT_FIGURES", str(paths.root() / "figures"))
    code, out, _ = rnagpt("demo", "--profile", "reference", "-p", "SEED", "1")
    assert code == 0
    assert calls == [
        ((STAGES,), {"run": "reference", "profile": "reference", "parameters": {"SEED": "1"}})
    ]
    for words in ("table of reference", "Figures: figures/", "jupyter lab"):
        assert words in out


def test_figures_draws_the_run_it_is_given(rnagpt, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "draw", lambda run: drawn.append(run) or [])
    assert rnagpt("figures")[0] == rnagpt("figures", "--run", "mini")[0] == 0
    assert drawn == ["reference", "mini"]


@pytest.mark.parametrize(
    "error, code", [(InputError("one sentence"), 2), (NotebookFailed("one sentence"), 1)]
)
def test_errors_are_one_sentence_and_an_exit_code(rnagpt, monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(notebooks, "run_notebook", fail)
    assert rnagpt("run", "04") == (code, "", "rnagpt: one sentence\n")


@pytest.mark.parametrize("command", [["run", "02"], ["demo"]])
def test_ctrl_c_says_what_is_kept_and_how_to_go_on(rnagpt, monkeypatch, command):
    def stop(*_, **__):
        raise KeyboardInterrupt

    for name in ("run_notebook", "run_path"):
        monkeypatch.setattr(notebooks, name, stop)
    code, out, err = rnagpt(*command)
    assert (code, out) == (130, "") and "Aborted" not in err
    assert "a model's answers" in err and "the same command goes on from there" in err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run", "99"], "rnagpt: notebook '99' is unknown; notebooks are"),
        (["run", "_template", "-p", "NOPE", "1"], "has no parameter NOPE; its parameters are"),
        (
            ["run", "_template", "-p", "WORLD_SIZE", "x"],
            "WORLD_SIZE should be of the type int, and is 'x'",
        ),
        (["demo", "-p", "EPOCH", "3"], "no notebook has a parameter EPOCH (did you mean EPOCHS?)"),
        (["report", "--run", "nowhere"], "there is no run nowhere; runs are none yet"),
        (["run", "_template", "--run", "1x"], "run id '1x' is not allowed"),
        (["demo", "--profile", "nope"], "profile 'nope' is unknown; profiles are"),
        (["run"], "Missing argument 'NOTEBOOK'"),
        (["run", "_template", "-f", "nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (["fly"], "No such command 'fly'"),
        (
            ["export-dataset", "nowhere", "out"],
            "rnagpt: there is no run nowhere; runs are none yet",
        ),
        (["export-dataset", "mini"], "Missing argument 'OUT'"),
        (["audit", "a", "b", "--seed", str(2**32)], "4294967296 is not in the range 0<=x<=21474"),
        (["ask", "--seed", "-1"], "-1 is not in the range"),
        (["run", "00", "-p", "SEED", "-1"], "SEED is -1; it can be a whole number from 0 to 2,1"),
        (["demo", "-p", "SEED", "9" * 20], "SEED is 99999999999999999999; it can be"),
        (["train", "05", "-p", "SEED", str(2**32)], "SEED is 4294967296; it can be"),
        (["estimate", "02", "-p", "SEED", str(2**32)], "SEED is 4294967296; it can be"),
        (["run", "04", "-p", "LEARNING_RATE", "1e309"], "LEARNING_RATE is inf, but"),
        (["run", "00", "-p", "EBI_SEARCH", "http://me:hush@h/"], "EBI_SEARCH is (not shown), but"),
        (["doctor", "-p", "DEADLINE", ".inf"], "DEADLINE is inf, but"),
    ],
)
def test_mistakes_exit_with_2_and_write_nothing(rnagpt, own_runs, arguments, words):
    code, out, err = rnagpt(*arguments)
    assert (code, out) == (2, "") and words in err and "Traceback" not in err
    assert not own_runs.exists()


@pytest.mark.parametrize("content", [b"- 1\n", b"just text", b"a: [", b"\xff\xfe\x81"])
def test_parameter_files_that_are_no_mapping_are_refused(rnagpt, calls, tmp_path, content):
    file = tmp_path / "my.yaml"
    file.write_bytes(content)
    code, _, err = rnagpt("run", "04", "-f", file)
    assert code == 2 and "my.yaml" in err and "Traceback" not in err and not calls


@pytest.mark.parametrize("command", [("run", "00"), ("train", "05"), ("estimate", "02"), ("demo",)])
def test_a_line_that_no_notebook_has_is_refused(rnagpt, own_runs, tmp_path, command):
    (tmp_path / "my.yaml").write_text("PASSES: 7\nEPOCH: 2\n")
    code, out, err = rnagpt(*command, "-f", tmp_path / "my.yaml")
    assert (code, out) == (2, "") and "has a parameter EPOCH (did you mean EPOCHS?)" in err
    code, _, err = rnagpt("run", "00", "-p", "PASSES", 7)  # said of this very notebook
    assert code == 2 and "00_filter_rnacentral has no parameter PASSES" in err
    assert not own_runs.exists()


FULL = "import sys\nsys.argv[0] = 'rnagpt'\nfrom rnagpt_lib.cli import main\nmain()"


@pytest.mark.parametrize("arguments", [("--help",), ("run", "00", "--list")])
def test_a_full_disk_behind_the_output_is_told(arguments):
    command = [sys.executable, "-c", FULL, *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        both = subprocess.run(command, stdout=full, stderr=full)
    said = "rnagpt: standard output, or a file, cannot be used: No space left on device; make room"
    assert done.returncode == both.returncode == 1 and done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_whoever_reads_no_further_is_told_nothing():
    command = [sys.executable, "-c", FULL, "run", "00", "--list"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_place_for_runs_that_cannot_be_written_is_told(rnagpt, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RNAGPT_RUNS", str(tmp_path / "file"))
    for command in (("run", "00"), ("demo",)):
        code, _, err = rnagpt(*command)
        assert code == 2 and "cannot be written: Not a directory; make room, or name" in err


def test_figures_that_cannot_be_written_are_told(rnagpt, monkeypatch):
    def refused(run):
        raise PermissionError(errno.EACCES, "Permission denied", "/figures/a.png")

    monkeypatch.setattr(figures, "draw", refused)
    code, _, err = rnagpt("figures")
    assert code == 1 and err.startswith("rnagpt: /figures/a.png cannot be used: Permission denied")


def test_a_training_runs_no_notebook_before_it(rnagpt, own_runs):
    code, _, err = rnagpt("train", "05", "--run", "mistyped")
    assert code == 2 and "05_train_stage2 of run mistyped needs 03_decompose_qa" in err
    assert "rnagpt run 03_decompose_qa" in err and not (own_runs / "mistyped").exists()
    code, _, err = rnagpt("train", "05", "--run", "mistyped", "--profile", "nope")
    assert code == 2 and "profile 'nope' is unknown" in err and "rnagpt run" not in err


def test_list_shows_what_the_profile_fills_in(rnagpt):
    code, out, _ = rnagpt("run", "05", "--profile", "mini", "--list")
    wanted = str(params.load("mini").stage("05_train_stage2").epochs)
    line = next(line for line in out.splitlines() if line.startswith("EPOCHS"))
    assert code == 0 and line.split()[:3] == ["EPOCHS", "int", wanted]


def test_list_shows_parameters_with_their_help(rnagpt):
    code, out, _ = rnagpt("run", "_template", "--list")
    assert code == 0
    assert "WORLD_SIZE           int    40             RNAs to generate" in out


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "rnagpt_lib", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "rnagpt run 04_train_stage1 -p EPOCHS 3" in done.stdout


def test_help_loads_no_heavy_library():
    code = "import sys, rnagpt_lib.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "papermill", "pandas"} & set(done.stdout.split())


def test_ctrl_c_anywhere_has_the_shells_code(rnagpt, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, "draw", stopped)
    code, _, said = rnagpt("figures", "--run", "a")
    assert code == 130 and "stopped" in said and "Traceback" not in said


def test_what_a_file_says_reaches_the_terminal_as_text_alone(rnagpt, tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("seq\tan\x1b]0;pwned\x07swer\nACGU\ta\n")
    code, _, said = rnagpt("audit", path, path)
    assert code == 2 and "sequence" in said and "\x1b" not in said and "\x07" not in said
