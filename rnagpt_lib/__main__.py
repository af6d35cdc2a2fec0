"""``python -m rnagpt_lib`` is the command ``rnagpt``."""

from rnagpt_lib.cli import main

main()
