"""The same folders from any working directory."""

import pytest

from rnagpt_lib.core import paths


def test_root_is_the_checkout_whatever_the_working_directory(tmp_path, monkeypatch):
    before = paths.root()
    monkeypatch.chdir(tmp_path)
    assert paths.root() == before
    assert (before / "pyproject.toml").is_file()


def test_defaults_lie_below_the_root(monkeypatch):
    for variable in ("RNAGPT_RUNS", "RNAGPT_FIGURES", "RNAGPT_SHARED"):
        monkeypatch.delenv(variable, raising=False)
    assert paths.runs() == paths.root() / "runs"
    assert paths.figures() == paths.root() / "figures"
    assert paths.shared() == paths.root().parent / "shared" / "data"
    assert paths.models().parent == paths.notebooks().parent == paths.root()


@pytest.mark.parametrize("name", ["root", "runs", "figures", "shared"])
def test_the_environment_overrides_at_any_time(name, tmp_path, monkeypatch):
    monkeypatch.setenv(f"RNAGPT_{name.upper()}", str(tmp_path))
    assert getattr(paths, name)() == tmp_path


def test_a_relative_override_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RNAGPT_RUNS", "mine")
    assert paths.runs() == tmp_path / "mine"


def test_without_a_checkout_around_the_package_the_nearest_above_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(
        paths, "__file__", str(tmp_path / "site" / "rnagpt_lib" / "core" / "paths.py")
    )
    project = tmp_path / "project"
    (project / "profiles").mkdir(parents=True)
    (project / "pyproject.toml").touch()
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project / "notebooks")
    assert paths.root() == project
    monkeypatch.chdir(tmp_path)
    assert paths.root() == tmp_path


def test_from_root_keeps_absolute_paths(tmp_path):
    assert paths.from_root("models/x") == paths.root() / "models" / "x"
    assert paths.from_root(tmp_path) == tmp_path


def test_shown_is_relative_inside_of_the_root_only(tmp_path):
    assert paths.shown(paths.root() / "runs" / "mini") == "runs/mini"
    assert paths.shown(tmp_path) == str(tmp_path)
