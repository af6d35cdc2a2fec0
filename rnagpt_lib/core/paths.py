"""Where everything lives, the same from any working directory.

Functions rather than constants, so that the environment can override at any time:
``RNAGPT_ROOT``, ``RNAGPT_RUNS``, ``RNAGPT_FIGURES``, ``RNAGPT_SHARED``.
"""

import os
from pathlib import Path


def _override(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default).expanduser().absolute()


def _checkout() -> Path:
    package = Path(__file__).resolve().parents[2]
    for folder in (package, Path.cwd(), *Path.cwd().parents):
        if (folder / "pyproject.toml").is_file() and (folder / "profiles").is_dir():
            return folder
    return Path.cwd()


def root() -> Path:
    """The project: the checkout that holds the package, else the nearest one above the cwd."""
    return _override("RNAGPT_ROOT", _checkout())


def runs() -> Path:
    """Folder of the runs, one subfolder per run id."""
    return _override("RNAGPT_RUNS", root() / "runs")


def figures() -> Path:
    """Folder of the committed figures."""
    return _override("RNAGPT_FIGURES", root() / "figures")


def shared() -> Path:
    """Real data that lies beside the checkout; may be missing."""
    return _override("RNAGPT_SHARED", root().parent / "shared" / "data")


def models() -> Path:
    """Folder of the base models that the repository ships."""
    return root() / "models"


def notebooks() -> Path:
    """Folder of the numbered notebooks."""
    return root() / "notebooks"


def profiles() -> Path:
    """Folder of the profiles."""
    return root() / "profiles"


def from_root(path: str | Path) -> Path:
    """``runs/mini`` → ``<root>/runs/mini``; absolute paths stay as they are."""
    return root() / Path(path).expanduser()


def shown(path: str | Path) -> str:
    """A path as messages show it: relative to the root where it lies inside."""
    path = Path(path)
    return str(path.relative_to(root())) if path.is_relative_to(root()) else str(path)
