"""Where a measurement's figures and its page are, and where it ran: the one renderer of all.

Figures are kept as ``benchmarks/results/NAME.json``; a page, ``docs/measurements/PAGE.md``, holds
a block for each measurement between ``<!-- NAME:start -->`` and ``<!-- NAME:end -->``, rendered
from the kept figures alone.
"""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from rnagpt_lib.core import paths

RESULTS = Path(__file__).parent / "results"


def results_of(name: str) -> Path:
    """The file with the figures of a measurement."""
    return RESULTS / f"{name}.json"


def page_of(name: str) -> Path:
    """The page whose blocks are rendered from figures."""
    return paths.root() / "docs" / "measurements" / f"{name}.md"


def publish(page: Path, name: str, block: str) -> None:
    """Put ``block`` between the markers ``name`` of ``page``, and print it."""
    from rnagpt_lib.report import readme  # here: `gpu` measures where pandas is missing

    print(readme.write_block(page, name, block))


def where() -> str:
    """The machine, how many of its cores this process uses, and the day."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.machine()}, {min(cores, torch.get_num_threads())} of {os.cpu_count()} cores, "
        f"torch {torch.__version__.partition('+')[0]}, {datetime.now(UTC).date().isoformat()}"
    )
