"""pyproject.toml, lock, environment.yml, Makefile and CI say the same."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires, version

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rnagpt_lib.core import paths

ROOT = paths.root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    name: list(map(Requirement, given)) for name, given in PROJECT["optional-dependencies"].items()
}
CORE = list(map(Requirement, PROJECT["dependencies"]))
OPTIONAL = [requirement for name, given in EXTRAS.items() if name != "all" for requirement in given]
LOCK = [
    line
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
]
PINNED = {canonicalize_name(line.split("==")[0]): line.split("==")[-1] for line in LOCK}


def needed(requirement, seen):
    """Names of a requirement and of all it needs here, by the installed packages' own word."""
    key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
    if key in seen:
        return
    seen.add(key)
    for text in requires(requirement.name) or []:
        below = Requirement(text)
        extras = [{"extra": extra} for extra in requirement.extras or {""}]
        if below.marker is None or any(below.marker.evaluate(extra) for extra in extras):
            needed(below, seen)


def test_lock_is_names_and_exact_versions_only():
    assert LOCK and LOCK == sorted(LOCK) and len(PINNED) == len(LOCK)
    for line in LOCK:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line


@pytest.mark.parametrize("requirement", CORE + OPTIONAL, ids=str)
def test_lock_satisfies_every_dependency(requirement):
    pinned = PINNED[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned, prereleases=True)


def test_lock_is_complete_and_holds_nothing_else():
    seen = set()
    for requirement in CORE + OPTIONAL:
        needed(requirement, seen)
    assert {name for name, _ in seen} == set(PINNED)


def test_this_environment_is_the_locked_one():
    for name, pinned in PINNED.items():
        assert version(name).split("+")[0] == pinned, name


@pytest.mark.parametrize(
    "name, floor",
    [("torch", "2.6"), ("jupyter-server", "2.20"), ("gensim", "4.4"), ("transformers", "5.0")],
)
def test_floors_that_matter(name, floor):
    found = {canonicalize_name(requirement.name): requirement for requirement in CORE}[name]
    assert str(found.specifier) == f">={floor}"


def test_ranges_allow_the_older_versions_that_must_work_too():
    found = {canonicalize_name(requirement.name): requirement.specifier for requirement in CORE}
    assert found["torch"].contains("2.11") and found["transformers"].contains("5.17")
    assert PROJECT["requires-python"] == ">=3.11"


def test_all_names_every_other_extra():
    (everything,) = EXTRAS["all"]
    assert everything.name == PROJECT["name"]
    assert everything.extras == set(EXTRAS) - {"all"}


def test_environment_yml_has_no_second_list():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert listed == ["python=3.11", "pip", {"pip": ["-e .[all]"]}]


def imported(folder):
    for path in sorted((ROOT / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield node.module.split(".")[0]


def modules(folder):
    return {path.stem for path in (ROOT / folder).glob("*.py")}


@pytest.mark.parametrize("folder", ["rnagpt_lib", "benchmarks", "tests"])
def test_every_import_is_a_declared_dependency(folder):
    homes = packages_distributions()
    declared = {
        canonicalize_name(r.name) for r in CORE + (OPTIONAL if folder != "benchmarks" else [])
    }
    own = {"rnagpt_lib", "benchmarks", "tests", "sitecustomize", *modules(folder)}
    for module in set(imported(folder)) - own - set(sys.stdlib_module_names):
        assert {canonicalize_name(home) for home in homes.get(module, [])} & declared, module


def test_make_has_the_targets_that_people_are_told_of():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, re.M))
    named = "setup demo test test-slow reference reference-ablations rehearse figures bench base-models lint".split()
    assert targets == set(named)
    for name in named[1:]:
        assert re.search(rf"^{name}: setup$", text, re.M), f"{name} sets up first"


def test_make_test_leaves_out_slow_and_sets_up_from_the_lock():
    command = ["make", "--dry-run", "--always-make", "VENV=/nowhere/venv", "test"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    steps = done.stdout
    for words in ("-m venv /nowhere/venv", "-r requirements.lock", "--no-deps", '-m "not slow"'):
        assert words in steps
    assert steps.index("-r requirements.lock") < steps.index("-m pytest")


def test_ci_calls_what_the_readme_says():
    script = ROOT / ".ci" / "run"
    text = script.read_text()
    assert os.access(script, os.X_OK) and "set -euo pipefail" in text
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text(), re.M)
    assert re.findall(r"^make .*$", text, re.M) == ["make test", "make lint", "make test-slow"]
    subprocess.run(["bash", "-n", str(script)], check=True)


SKIPPING = """
import pytest
def test_reason(): pytest.skip("no reason")
@pytest.mark.gpu
def test_gpu(): pytest.skip("no GPU")
@pytest.mark.network
def test_network(): raise AssertionError
@pytest.mark.xfail(strict=True)
def test_expected(): assert False
def test_shared(shared): pass
"""


@pytest.mark.parametrize("ci", ["true", pytest.param("false", marks=pytest.mark.slow)])
def test_ci_counts_other_skips_as_failures(tmp_path, ci):
    for name in ("conftest.py", "offline"):
        (tmp_path / name).symlink_to(ROOT / "tests" / name)
    (tmp_path / "test_it.py").write_text(SKIPPING)
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('nothing_here')\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        "-c",
        ROOT / "pyproject.toml",
    ]
    environment = os.environ | {"CI": ci, "RNAGPT_SHARED": str(tmp_path / "none")}
    done = subprocess.run(
        [*command, f"--rootdir={tmp_path}", tmp_path],
        env=environment,
        capture_output=True,
        text=True,
    )
    last = done.stdout.splitlines()[-1]
    if ci == "true":
        assert done.returncode and "1 failed" in last and "1 error" in last and "3 skipped" in last
    else:
        assert done.returncode == 0 and "5 skipped" in last and "1 xfailed" in last
