"""``python -m benchmarks`` (``make bench``) runs all measurements, ``python -m benchmarks NAME`` one."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from rnagpt_lib.core.errors import InputError

FOLDERS = ("speed", "scale", "reliability", "science")
NAMES = [
    f"{folder}.{path.stem}"
    for folder in FOLDERS
    for path in sorted((Path(__file__).parent / folder).glob("[!_]*.py"))
]


def find(name: str) -> str:
    """The measurement of that name; its folder may be left out where no other has the name."""
    found = [known for known in NAMES if name in (known, known.partition(".")[2])]
    if len(found) != 1:
        parser.error(f"there is no {name}; choose from {', '.join(NAMES)}")
    return found[0]


parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("name", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}")
chosen = [find(name) for name in parser.parse_args().name]
for name in chosen or NAMES:
    try:
        import_module(f"benchmarks.{name}").main()
    except InputError as error:
        if chosen:
            sys.exit(f"benchmarks: {error}")
        print(f"benchmarks: {name} is left out: {error}", file=sys.stderr)
