"""``python -m benchmarks`` (``make bench``) runs all measurements, ``python -m benchmarks NAME`` one."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from rnagpt_lib.core.errors import InputError

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("name", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}")
chosen = parser.parse_args().name
if unknown := sorted(set(chosen) - set(NAMES)):
    parser.error(f"there is no {', '.join(unknown)}; choose from {', '.join(NAMES)}")
for name in chosen or NAMES:
    try:
        import_module(f"benchmarks.{name}").main()
    except InputError as error:
        if chosen:
            sys.exit(f"benchmarks: {error}")
        print(f"benchmarks: {name} is left out: {error}", file=sys.stderr)
