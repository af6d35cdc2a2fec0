"""Draws ``docs/architecture.png`` from the library's imports: ``python docs/architecture.py``.

Left the packages in the pipeline's order with their size, right how many modules of a row import
from the package of a column. All stands on and below the diagonal: an import points upwards.
"""

import ast
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import rnagpt_lib

LIBRARY = Path(rnagpt_lib.__file__).parent
PURPOSE = dict(re.findall(r"(?m)^(\w+)  +(\w.*)$", rnagpt_lib.__doc__))
LAYERS = tuple(PURPOSE)


def modules_of(layer: str) -> list[Path]:
    """Its modules; the command is one file."""
    files = [*(LIBRARY / layer).rglob("*.py"), *LIBRARY.glob(f"{layer}.py")]
    return sorted(path for path in files if path.stem != "__init__")


def layers_imported_by(path: Path) -> set[str]:
    """Packages of the library that a module imports from, in functions, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and "." in node.module:
            library, layer, *_ = node.module.split(".")
            found |= {layer} if library == "rnagpt_lib" else set()
        elif isinstance(node, ast.ImportFrom) and node.module == "rnagpt_lib":
            found |= {alias.name for alias in node.names}
    return found & {*LAYERS}


def count_imports() -> np.ndarray:
    """(layers, layers): modules of the row's package that import from the column's."""
    table = np.zeros((len(LAYERS), len(LAYERS)), int)
    for row, layer in enumerate(LAYERS):
        for path in modules_of(layer):
            for other in layers_imported_by(path) - {layer}:
                table[row, LAYERS.index(other)] += 1
    return table


def draw(out: Path) -> None:
    """The picture of layers and imports."""
    table = count_imports()
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(13, 5.6), width_ratios=(1.25, 1), layout="constrained"
    )
    longest = 0
    for row, layer in enumerate(LAYERS):
        files = modules_of(layer)
        lines = sum(len(path.read_text("utf-8").splitlines()) for path in files)
        longest = max(longest, lines)
        left.barh(row - 0.18, lines, color="#8fb3d9", height=0.36)
        left.text(-60, row, layer, ha="right", va="center", weight="bold")
        size = f" {lines:,} lines, {len(files)} module{'s' * (len(files) > 1)}"
        left.text(lines, row - 0.18, size, va="center", size=8)
        left.text(0, row + 0.2, PURPOSE[layer], va="center", size=8, color="#444444")
    left.set(ylim=(len(LAYERS) - 0.5, -0.5), xlim=(0, 1.3 * longest), yticks=[], xticks=[])
    left.set_title("packages, in the pipeline's order")
    left.spines[:].set_visible(False)
    right.imshow(np.where(table, np.sqrt(table), np.nan), cmap="Blues", vmin=0)
    for row, column in np.argwhere(table):
        color = "white" if table[row, column] > 0.6 * table.max() else "black"
        right.text(column, row, table[row, column], ha="center", va="center", size=8, color=color)
    right.set_xticks(range(len(LAYERS)), LAYERS, rotation=60, ha="right")
    right.set_yticks(range(len(LAYERS)), LAYERS)
    right.set_title("modules of a row that import from a column")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".png"))
