"""The headless runner, on a small project of its own with notebooks of a few lines."""

import fcntl
import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from rnagpt_lib.core import params, paths
from rnagpt_lib.core.errors import InputError, NotebookFailed
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.runs import notebooks, stages
from rnagpt_lib.runs.folder import lock_of, release_lock
from rnagpt_lib.runs.run import Run

FIRST, SECOND, THIRD = stages.STAGES[:3]
PARAMETERS = """\
PROFILE: str = "mini"  # a file of profiles/
RUN: str = "mini"  # run id
SEED: int = 0  # seed
{more}"""
BODY = """\
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.runs.run import Run
run = Run.open("{stage}", globals())
{action}
run.path("note.txt").write_text(str(run.params))
run.finish()"""


def write_notebook(name, *, stage=None, more="", passed="", action="pass"):
    cells = [
        nbformat.v4.new_code_cell(PARAMETERS.format(more=more), metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            BODY.format(stage=stage or name, passed=passed, action=action),
        ),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, paths.notebooks() / f"{name}.ipynb")


def in_process(source, output, values, **_):
    """Papermill without a kernel, which takes seconds to start."""
    notebook = nbformat.read(source, 4)
    scope = {}
    try:
        for cell in notebook.cells:
            with redirect_stdout(StringIO()) as printed:
                exec(cell.source, scope)
            cell.outputs = [nbformat.v4.new_output("stream", text=printed.getvalue())]
            scope |= values if "parameters" in cell.metadata.get("tags", []) else {}
    except Exception as error:
        name = type(error).__name__
        raise PapermillExecutionError(1, 1, "", name, str(error), []) from None
    finally:
        notebook.metadata.papermill = {"end_time": "2026-01-01T00:00:00"}
        nbformat.write(notebook, output)


TYPED = """\
WORLD_SIZE: int = None  # RNAs
RATE: float = 0.5  # rate
NAME: str = "a"  # name
TABLE: str = None  # file
FLAG: bool = False  # flag
RUNS: list = ["mini"]  # runs"""


@pytest.fixture(autouse=True)
def project(request, tmp_path, monkeypatch):
    """A project whose first two stages are notebooks of a few lines."""
    if "kernel" not in request.node.name:
        monkeypatch.setattr(papermill, "execute_notebook", in_process)
    profile_files = paths.profiles()
    monkeypatch.setenv("RNAGPT_ROOT", str(tmp_path))
    (tmp_path / "profiles").symlink_to(profile_files)
    paths.notebooks().mkdir()
    write_notebook(FIRST, more=TYPED, passed="world_size=WORLD_SIZE")
    more = "PASSES: int = None  # passes\nON_FINISHED: str = None  # archive or refuse"
    write_notebook(SECOND, more=more, passed="passes=PASSES, on_finished=ON_FINISHED")
    return tmp_path


def test_notebooks_are_found_by_number_name_or_path():
    for name in ["00", FIRST, f"{FIRST}.ipynb", f"notebooks/{FIRST}.ipynb"]:
        assert notebooks.find(name) == paths.notebooks() / f"{FIRST}.ipynb"


def test_other_names_are_refused():
    for name, words in [("09", "unknown"), ("0", "ambiguous"), ("x/y", "unknown")]:
        with pytest.raises(InputError, match=f"is {words}; notebooks are {FIRST}, {SECOND}"):
            notebooks.find(name)


def test_values_become_what_the_parameter_says():
    for name, given, wanted in [
        ("WORLD_SIZE", "007", 7),
        ("WORLD_SIZE", 7, 7),
        ("WORLD_SIZE", "null", None),
        ("WORLD_SIZE", "None", None),
        ("WORLD_SIZE", None, None),
        ("RATE", "1e-4", 1e-4),
        ("RATE", "2", 2.0),
        ("RATE", 2, 2.0),
        ("NAME", "007", "007"),
        ("NAME", "null", "null"),
        ("NAME", "true", "true"),
        ("TABLE", "None", None),
        ("TABLE", "1.0", "1.0"),
        ("FLAG", "true", True),
        ("FLAG", "false", False),
        ("RUNS", "[mini, big]", ["mini", "big"]),
        ("RUNS", ["big"], ["big"]),
    ]:
        value = notebooks.check_parameters(notebooks.find("00"), {name: given})[name]
        assert value == wanted and type(value) is type(wanted)


def test_ill_typed_values_are_refused():
    for name, given in [
        ("WORLD_SIZE", "1.5"),
        ("WORLD_SIZE", 1.5),
        ("WORLD_SIZE", True),
        ("WORLD_SIZE", "many"),
        ("SEED", "null"),
        ("SEED", None),
        ("RATE", "fast"),
        ("RATE", [1]),
        ("RATE", True),
        ("NAME", 7),
        ("FLAG", "2"),
        ("FLAG", 1),
        ("RUNS", "mini"),
        ("RUNS", "[mini"),
    ]:
        with pytest.raises(InputError, match=f"{FIRST}: parameter {name} should be "):
            notebooks.check_parameters(notebooks.find("00"), {name: given})


def test_unknown_parameters_are_refused_with_the_known_ones(own_runs):
    with pytest.raises(InputError, match="has no parameter SIZES; its parameters are PROFILE, RUN"):
        notebooks.run_notebook("00", parameters={"SIZES": 5})
    with pytest.raises(InputError, match="no parameter world_size .did you mean WORLD_SIZE.."):
        notebooks.run_notebook("00", parameters={"world_size": 5})
    assert not own_runs.exists()


@pytest.mark.parametrize("bad", [{"run": "1x"}, {"profile": "nope"}])
def test_bad_runs_and_profiles_are_refused_before_anything_starts(bad, own_runs):
    with pytest.raises(InputError):
        notebooks.run_notebook("00", **bad)
    assert not own_runs.exists()


@pytest.mark.parametrize("by", ["exec", pytest.param("kernel", marks=pytest.mark.slow)])
def test_what_a_stage_warns_of_stands_below_its_line(capsys, by):
    said = 'print("on\\nWarning: 45 of 95\\x1b[2J are lost\\nno Warning: x"); print("Warning: b")'
    write_notebook(FIRST, action=f"{said}; {said}")
    notebooks.run_notebook("00")
    line, *warned = capsys.readouterr().out.splitlines()
    assert line.startswith(FIRST) and line.endswith("note.txt")
    assert warned == ["Warning: 45 of 95�[2J are lost", "Warning: b"]


@pytest.mark.slow
def test_one_line_of_progress_and_up_to_date_after_with_kernels(capsys):
    path = (FIRST, SECOND)
    notebooks.run_path(path, run="mini", profile="mini")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for stage, line in zip(path, lines, strict=True):
        assert re.fullmatch(rf"{stage} +\d+ s   \S+{stage}: note.txt", line)
        executed = nbformat.read(stages.stage_folder("mini", stage) / "notebook.ipynb", 4)
        assert executed.metadata.papermill.end_time
    notebooks.run_path(path, run="mini", profile="mini")
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        [stage, "is", "up", "to", "date"] for stage in path
    ]


def test_the_path_runs_again_what_was_run_with_other_parameters(capsys):
    notebooks.run_notebook("00", parameters={"WORLD_SIZE": 50})
    notebooks.run_path([FIRST], run="mini", profile="mini")
    notebooks.run_path([FIRST], run="mini", profile="mini")
    assert capsys.readouterr().out.splitlines()[-1].endswith("is up to date")
    assert read_json(stages.stage_folder("mini", FIRST) / "params.json")["overrides"] == {}
    archived = list((paths.runs() / "mini" / ".previous").iterdir())
    assert [(folder / "notebook.ipynb").is_file() for folder in archived] == [True]


def test_parameters_that_stand_in_no_cell_are_set_the_same_way():
    known = notebooks.list_parameters(notebooks.find("00"))
    assert known["MAX_LENGTH"]["help"] == "longest RNA kept, nt" and "MAX_LENGTH" not in TYPED
    notebooks.run_notebook("00", parameters={"MAX_LENGTH": "080", "QUERY": "null"})
    recorded = read_json(stages.stage_folder("mini", FIRST) / "params.json")
    assert recorded["overrides"] == {"max_length": 80}
    with pytest.raises(InputError, match="MAX_LENGTHS .did you mean MAX_LENGTH"):
        notebooks.run_notebook("00", parameters={"MAX_LENGTHS": 80})


def test_the_path_hands_each_parameter_to_the_notebooks_that_have_it(capsys):
    given = {"WORLD_SIZE": "50", "PASSES": 3, "SEED": "2", "ON_FINISHED": "archive"}
    for _ in range(2):
        notebooks.run_path((FIRST, SECOND), run="mini", profile="mini", parameters=given)
    assert capsys.readouterr().out.count("is up to date") == 2
    first, second = (
        read_json(stages.stage_folder("mini", s) / "params.json") for s in (FIRST, SECOND)
    )
    assert (first["overrides"], first["seed"]) == ({"world_size": 50}, 2)
    assert (second["overrides"], second["seed"]) == ({"passes": 3}, 2)
    with pytest.raises(InputError, match="no notebook has a parameter PASES"):
        notebooks.run_path((FIRST, SECOND), run="mini", profile="mini", parameters={"PASES": 3})


def test_a_stale_predecessor_runs_again_as_it_was_run_before(capsys):
    notebooks.run_notebook("00", parameters={"WORLD_SIZE": 50, "SEED": 4})
    (stages.stage_folder("mini", FIRST) / "note.txt").write_text("by hand")
    notebooks.run_notebook("01")
    assert (
        f"{FIRST}: its file note.txt has been changed, added or deleted since, so it is run first"
        in capsys.readouterr().out
    )
    recorded = read_json(stages.stage_folder("mini", FIRST) / "params.json")
    assert recorded["overrides"] == {"world_size": 50}
    assert recorded["seed"] == 4


def test_a_failed_attempt_with_another_profile_is_no_choice():
    write_notebook(FIRST, action='raise InputError("no FASTA")')
    with pytest.raises(InputError, match="no FASTA"):
        notebooks.run_notebook("00", run="mini", profile="local")
    write_notebook(FIRST)
    notebooks.run_notebook("01", run="mini", profile="mini")
    assert read_json(stages.stage_folder("mini", FIRST) / "params.json")["profile"] == "mini"


def test_values_that_the_stage_refuses_are_found_before_its_predecessors_run(own_runs):
    with pytest.raises(InputError, match="parameter PASSES is 0, but"):
        notebooks.run_notebook("01", parameters={"PASSES": 0})
    assert not own_runs.exists()


def test_a_question_of_ones_own_is_a_parameter_of_the_notebook_alone():
    profile = params.load("mini")
    asked = {"SEQUENCE": "ACGUACGUACGU", "QUESTION": "Why?", "HELD_OUT": 3}
    assert notebooks._chosen("07_case_studies", profile, asked).held_out == 3


ASKING = """\
PROVIDER: str = None  # who answers
CAP_DOLLARS: float = None  # the most it may cost"""


@pytest.mark.parametrize(
    ("cap", "key", "words"),
    [(None, None, "OPENAI_API_KEY is not set"), (1.0, "k", "the profile has no price of model")],
)
def test_a_missing_key_or_price_is_told_before_anything_runs(
    monkeypatch, own_runs, cap, key, words
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    passed = "provider=PROVIDER, cap_dollars=CAP_DOLLARS"
    write_notebook(THIRD, more=ASKING, passed=passed)
    given = {"PROVIDER": "openai", "CAP_DOLLARS": cap}
    with pytest.raises(InputError, match=words):
        notebooks.run_notebook("02", parameters=given)
    with pytest.raises(InputError, match=words):
        notebooks.run_path(stages.STAGES[:3], run="mini", profile="mini", parameters=given)
    assert not own_runs.exists()


def test_an_update_of_no_other_run_is_told_before_anything_runs(own_runs):
    more = "UPDATE_OF: str = None  # an earlier run"
    write_notebook(SECOND, more=more, passed="update_of=UPDATE_OF")
    with pytest.raises(InputError, match="UPDATE_OF is nope, which is to be an earlier, other run"):
        notebooks.run_notebook("01", parameters={"UPDATE_OF": "nope"})
    folder = stages.stage_folder("old", SECOND)
    folder.mkdir(parents=True)
    (folder / "topics.parquet").touch()
    with pytest.raises(InputError, match="UPDATE_OF is old"):
        notebooks.run_notebook("01", run="old", parameters={"UPDATE_OF": "old"})
    notebooks.run_notebook("01", run="new", parameters={"UPDATE_OF": "old"})


def test_what_is_up_to_date_needs_no_key(monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    write_notebook(THIRD, more=ASKING, passed="provider=PROVIDER, cap_dollars=CAP_DOLLARS")
    for _ in range(2):
        given = {"PROVIDER": "openai"}
        notebooks.run_path(stages.STAGES[:3], run="mini", profile="mini", parameters=given)
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert capsys.readouterr().out.count("is up to date") == 3


def test_an_executed_copy_does_not_tell_where_it_was_made(tmp_path):
    output = notebooks.run_notebook("00")
    about = nbformat.read(output, 4).metadata.papermill
    assert about.input_path == f"notebooks/{FIRST}.ipynb"
    assert about.output_path.endswith(f"mini/{FIRST}/notebook.ipynb")
    assert str(tmp_path) not in output.read_text()


@pytest.mark.slow
def test_a_missing_predecessor_runs_from_within_a_kernel_too(tmp_path):
    output = tmp_path / "runs" / "mini" / SECOND / "notebook.ipynb"
    output.parent.mkdir(parents=True)
    source = paths.notebooks() / f"{SECOND}.ipynb"
    command = [sys.executable, "-m", "papermill", str(source), str(output)]
    subprocess.run(command, check=True, capture_output=True, cwd=paths.notebooks())
    assert stages.is_fresh("mini", SECOND) is None
    assert f"{FIRST}: it has not been run yet, so it is run first" in output.read_text()


def test_elsewhere_a_missing_predecessor_is_named_with_its_command(own_runs):
    with pytest.raises(InputError, match=f"rnagpt run {FIRST} --profile local --run local"):
        notebooks.run_notebook("01", profile="local")
    assert not own_runs.exists()


def test_an_input_error_in_a_notebook_is_its_one_sentence(capsys):
    write_notebook(FIRST, action='raise InputError("my.fa: record 3 holds X; remove it")')
    with pytest.raises(InputError) as caught:
        notebooks.run_notebook("00")
    assert str(caught.value) == "my.fa: record 3 holds X; remove it"
    assert capsys.readouterr().out.strip().endswith("stopped")
    assert stages.is_fresh("mini", FIRST) == "it has not been run yet"
    assert not list(stages.stage_folder("mini", FIRST).iterdir())


def test_a_refused_input_leaves_the_finished_stage_as_it_was(own_runs):
    notebooks.run_notebook("00")
    folder = stages.stage_folder("mini", FIRST)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    write_notebook(FIRST, action='raise InputError("my.fa is empty")')
    with pytest.raises(InputError, match="my.fa is empty"):
        notebooks.run_notebook("00")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert stages.is_fresh("mini", FIRST) is None
    assert not list((own_runs / "mini" / ".previous").iterdir())


def test_a_refused_first_attempt_leaves_nothing_that_a_later_run_would_repeat(own_runs):
    parts = {"more": TYPED, "passed": "world_size=WORLD_SIZE"}
    write_notebook(FIRST, action='raise InputError("my.fa is empty")', **parts)
    with pytest.raises(InputError, match="my.fa is empty"):
        notebooks.run_notebook("00", parameters={"WORLD_SIZE": 70})
    assert stages.is_fresh("mini", FIRST) == "it has not been run yet"
    write_notebook(FIRST, **parts)
    notebooks.run_notebook("01")
    assert read_json(stages.stage_folder("mini", FIRST) / "params.json")["overrides"] == {}


@pytest.mark.parametrize("name", ["ebi_search", "base_url", "provider"])
def test_what_leads_to_a_server_is_repeated_by_the_user_alone(own_runs, name):
    notebooks.run_notebook("00")
    asked = stages.stage_folder("mini", FIRST) / "params.json"
    write_json(asked, read_json(asked) | {"overrides": {name: "http://127.0.0.1:9/v1"}})
    asked.with_name("note.txt").write_text("so it is to be run again")
    with pytest.raises(InputError, match=f"{name.upper()} .*give it yourself: rnagpt run {FIRST}"):
        notebooks.run_notebook("01")


def test_a_damaged_stage_that_is_not_replaced_has_a_way_out(own_runs):
    given = {"WORLD_SIZE": 50}
    notebooks.run_notebook("00", run="big", profile="paper_5k", parameters=given)
    folder = stages.stage_folder("big", FIRST)
    (folder / "note.txt").write_text("cut")
    with pytest.raises(InputError) as refused:
        notebooks.run_notebook("01", run="big", profile="paper_5k")
    said, command = str(refused.value).split("; first ")
    assert said.endswith("its file note.txt has been changed, added or deleted since")
    moved, command = command.split(" and run: rnagpt run ")
    assert moved == f"move {paths.shown(folder)} away"
    assert command == f"{FIRST} --profile paper_5k --run big -p WORLD_SIZE 50"
    folder.rename(own_runs / "aside")
    notebooks.run_notebook(FIRST, run="big", profile="paper_5k", parameters=given)
    notebooks.run_notebook("01", run="big", profile="paper_5k")


def test_a_refusal_after_writing_keeps_both(own_runs):
    notebooks.run_notebook("00")
    write_notebook(FIRST, action='run.path("half.txt").touch(); raise InputError("no key")')
    with pytest.raises(InputError, match="no key"):
        notebooks.run_notebook("00")
    assert (stages.stage_folder("mini", FIRST) / "half.txt").exists()
    assert next((own_runs / "mini" / ".previous").glob("*/note.txt")).is_file()


@pytest.mark.slow
def test_any_other_error_keeps_the_executed_copy_of_the_kernel():
    write_notebook(FIRST, action="1 / 0")
    with pytest.raises(NotebookFailed, match="ZeroDivisionError: division by zero") as caught:
        notebooks.run_notebook("00")
    copy = stages.stage_folder("mini", FIRST) / "notebook.ipynb"
    assert str(caught.value).endswith(f"The executed copy is {paths.shown(copy)}")
    assert "ZeroDivisionError" in copy.read_text()


@pytest.mark.slow
def test_a_kernel_that_dies_is_reported_and_leaves_the_stage_free():
    write_notebook(FIRST, action="import os\nos._exit(9)")
    with pytest.raises(NotebookFailed, match="kernel died"):
        notebooks.run_notebook("00")
    assert stages.is_fresh("mini", FIRST) == "it was started but not finished"
    assert Run.open(FIRST).resuming


def test_a_stage_in_use_is_refused_and_left_alone():
    Run.open(FIRST)
    folder = stages.stage_folder("mini", FIRST)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    release_lock(lock_of(folder))
    with lock_of(folder).open("a") as other:  # as another process would have it
        fcntl.flock(other, fcntl.LOCK_EX)
        lock_of(folder).write_text("12345")
        with pytest.raises(InputError, match="in use by process 12345"):
            notebooks.run_notebook("00")
    after = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {name: after.get(name) for name in before} == before


def test_other_notebooks_run_under_their_own_name():
    write_notebook("appendix", stage=FIRST)
    assert notebooks.run_notebook("appendix", run="mine") == (
        paths.runs() / "mine" / "appendix" / "notebook.ipynb"
    )


def test_notebooks_without_run_or_profile_run_too():
    cell = nbformat.v4.new_code_cell("SIZE: int = 1  # x", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(notebook, paths.notebooks() / "appendix.ipynb")
    executed = notebooks.run_notebook("appendix", parameters={"SIZE": "2"})
    assert executed == paths.runs() / "mini" / "appendix" / "notebook.ipynb"


def test_parameters_show_type_default_and_help():
    shown = notebooks.list_parameters(notebooks.find("00"))
    assert (
        shown["WORLD_SIZE"]["help"] == "RNAs" and shown["WORLD_SIZE"]["inferred_type_name"] == "int"
    )
    assert list(shown)[:3] == ["PROFILE", "RUN", "SEED"]


def test_the_profile_of_a_run_is_known_to_the_notebook():
    notebooks.run_notebook("00", profile="reference", parameters={"WORLD_SIZE": 30})
    recorded = read_json(stages.stage_folder("reference", FIRST) / "params.json")
    assert recorded["profile"] == "reference"
    assert recorded["params"]["world_size"] == 30
    assert params.load("reference").stage(FIRST).world_size != 30


@pytest.mark.parametrize("name", ["LLM", "ENCODER"])
def test_weights_that_are_not_there_are_told_before_anything_runs(own_runs, tmp_path, name):
    more = "LLM: str = None  # where\nENCODER: str = None  # where"
    write_notebook(stages.STAGE1, more=more, passed="llm=LLM, encoder=ENCODER")
    models = Path(notebooks.__file__).parents[2] / "models"
    there = {"LLM": str(models / "mini-llm"), "ENCODER": str(models / "mini-encoder")}
    with pytest.raises(InputError, match="nothing"):
        notebooks.run_notebook("04", parameters=there | {name: str(tmp_path / "nothing")})
    assert not own_runs.exists()
