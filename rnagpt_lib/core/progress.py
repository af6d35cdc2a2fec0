"""Progress bars: in a terminal and in a notebook, and none in a file of a log."""

import sys
from collections.abc import Iterable

from tqdm.auto import tqdm


def bar(iterable: Iterable | None = None, *, disable: bool = False, **options: object) -> tqdm:
    """A bar as tqdm makes it, which nothing is left of at its end."""
    return tqdm(iterable, leave=False, disable=disable or not seen(), **options)


def seen() -> bool:
    """Whether somebody may see a bar on stderr."""
    # of a notebook's streams none is a terminal, so tqdm's own disable=None would hide its bars
    ipython = sys.modules.get("IPython")
    return sys.stderr.isatty() or bool(ipython and ipython.get_ipython())
