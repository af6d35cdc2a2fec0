"""The tables of stage 00, made in a folder and read back."""

from pathlib import Path
from types import SimpleNamespace

from rnagpt_lib.core import tables
from rnagpt_lib.core.params import Filter
from rnagpt_lib.curate import filter


def curated(params: Filter, seed: int, folder: Path) -> SimpleNamespace:
    """Every table that is there afterwards, by name, its contract checked."""
    folder.mkdir(exist_ok=True)
    filter.write_tables(params, seed, folder)
    return tables_of(folder)


def tables_of(folder: Path) -> SimpleNamespace:
    """Every table of ``folder``, by name, its contract checked."""
    return SimpleNamespace(**{
        path.stem: tables.read(path, path.stem) for path in folder.glob("*.parquet")
    })  # fmt: skip
