"""The house: who may import whom, that no modules go in a circle, how large a package may be."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import rnagpt_lib
from rnagpt_lib.core import paths

LIBRARY = Path(rnagpt_lib.__file__).parent
LAYERS = ("core", "runs", "miniature", "llm_api", "curate", "model", "train", "chat", "evaluate",
          "report", "share", "cli")  # fmt: skip
APART = {("llm_api", "miniature")}  # neither may import the other
TORCH = {"torch", "transformers", "peft", "accelerate", "fm"}
# A package is to hold 1,500 lines at most (curate 4,200), all of them 14,000, in 90 modules. What is
# larger today has its size here: it may shrink, and not grow.
MOST_LINES = {"core": 2_206, "curate": 4_720, "chat": 1_990, "evaluate": 2_477, "llm_api": 1_778,
              "model": 1_572, "train": 1_301}  # fmt: skip
MOST_LINES_OF_ALL, MOST_MODULES = 20_595, 102
MODULES = {
    ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(LIBRARY.rglob("*.py"))
}


def imported(path: Path) -> Iterator[str]:
    """Full names of what a module imports, in functions, too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def of_package(name: str) -> list[Path]:
    return [path for module, path in MODULES.items() if layer(module) == name]


def lines(files: list[Path]) -> int:
    return sum(len(path.read_text("utf-8").splitlines()) for path in files)


def test_imports_point_to_earlier_layers():
    wrong = [
        f"{module} imports {target}"
        for module, path in MODULES.items()
        if layer(module) in LAYERS
        for target in imported(path)
        if target in MODULES and layer(target) in LAYERS
        if LAYERS.index(layer(target)) > LAYERS.index(layer(module))
        or (layer(module), layer(target)) in APART
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle():
    graph = {
        module: {target for target in imported(path) if target in MODULES and target != module}
        for module, path in MODULES.items()
    }
    assert len([*TopologicalSorter(graph).static_order()]) >= len(MODULES)


@pytest.mark.parametrize("name", LAYERS[: LAYERS.index("model")])
def test_nothing_below_the_model_imports_torch(name):
    for path in of_package(name):
        heavy = {target.partition(".")[0] for target in imported(path)} & TORCH
        assert not heavy, f"{path} imports {heavy}"


def test_every_module_lives_in_a_package_of_the_list():
    flat = {path.stem for path in LIBRARY.glob("*.py")}
    assert flat == {"__init__", "__main__", "cli"}
    assert {path.parent.name for path in LIBRARY.glob("*/__init__.py")} == {*LAYERS} - {"cli"}


def test_a_package_reads_in_an_afternoon():
    for name in LAYERS:
        assert lines(of_package(name)) <= MOST_LINES.get(name, 1_500), name
    assert lines([*MODULES.values()]) <= MOST_LINES_OF_ALL
    own = [path for path in MODULES.values() if path.stem != "__init__"]
    assert len(own) <= MOST_MODULES


def test_the_lists_of_packages_agree():
    said = re.findall(r"(?m)^(\w+)  +\w", rnagpt_lib.__doc__)
    tree = (paths.root() / "README.md").read_text("utf-8").partition("## Where things are")[2]
    assert tuple(said) == tuple(re.findall(r"(?m)^  (\w+)(?:/|\.py) ", tree)) == LAYERS
