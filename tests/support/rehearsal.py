"""Rehearse the live run: ``make rehearse``, or ``python -m tests.support.rehearsal [RNAS] [PORT]``.

Notebooks 00 to 07 of `PROFILE` by the commands of the README, on some RNAs of the stand-in world
(``tests.standin``), with random weights in the published formats: RNA-FM's full-size ``.pth``,
converted, and a small LLM of Llama 3's kind. From the live run it differs in `differing` alone,
and it has runs, journal and key of its own, in `FOLDER`. Given again it goes on where it stopped.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

from rnagpt_lib.cli import commands
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError, NotebookFailed
from rnagpt_lib.core.files import read_json
from rnagpt_lib.llm_api import openai_transport
from rnagpt_lib.miniature import world
from rnagpt_lib.runs.stages import MANIFEST, STAGES, stage_folder
from tests.standin import serve
from tests.standin.answers import Model
from tests.standin.ebi import Ebi, addresses
from tests.standin.openai_api import OpenAI
from tests.support import llama3, rna_fm

PROFILE, KEY = "paper_5k", "sk-rehearsal"
FOLDER = paths.root() / "build" / "rehearsal"
LIVE = {"PROVIDER": "openai", "CAP_DOLLARS": "5"}  # as the README has it


def rehearse(folder: Path, rnas: int, port: int, encoder: dict = rna_fm.FULL) -> str:
    """Run it all in ``folder``; returns the run's id.

    ``port``: of the stand-in; the same one in a second call, as a model at another address is
    another model. ``encoder``: the sizes of RNA-FM. Raises InputError and NotebookFailed as the
    notebooks do.
    """
    run = f"{PROFILE}-{rnas}"
    weights = make_weights(folder / "models", encoder)
    own = {"RNAGPT_RUNS": str(folder / "runs"), openai_transport.KEY: KEY}
    apps = Ebi(size=rnas * 3 // 2), OpenAI(Model(), key=KEY)
    with serve(*apps, port=port) as base, patch.dict(os.environ, own):
        given = LIVE | weights | differing(base, rnas)
        words = [word for name, value in given.items() for word in ("-p", name, value)]
        _rnagpt("doctor", "--profile", PROFILE, *words)
        _rnagpt("demo", "--profile", PROFILE, "--run", run, *words)
        print(minutes(run))
    return run


def differing(base: str, rnas: int) -> dict[str, str]:
    """What the stand-in at ``base`` makes differ from the live run, besides the weights' paths."""
    sources = {name.upper(): address for name, address in addresses(base).items()}
    return sources | {"BASE_URL": f"{base}/v1", "LIMIT": str(rnas)}


def make_weights(folder: Path, encoder: dict) -> dict[str, str]:
    """The parameters that name the weights, which are written where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    found = folder / "rna-fm", folder / "llama-3"
    with tempfile.TemporaryDirectory(dir=folder) as draft:
        if not found[0].is_dir():
            source = rna_fm.write(Path(draft, "RNA-FM_pretrained.pth"), encoder)
            _rnagpt("convert-encoder", str(source), str(found[0]))
        if not found[1].is_dir():
            data = world.make(300, seed=1)
            texts = [*data.articles.abstract, *data.rnas.sequence]
            written = llama3.write(Path(draft, "llama-3"), "500KB", vocabulary=4000, texts=texts)
            written.rename(found[1])
    return dict(zip(("ENCODER", "LLM"), map(paths.shown, found), strict=True))


def minutes(run: str) -> str:
    """A line for each notebook: the minutes from its opening to its end."""
    took = {s: read_json(stage_folder(run, s) / MANIFEST)["seconds"] / 60 for s in STAGES}
    took["together"] = sum(took.values())
    return "\n".join(f"{name:<24}{found:6.1f} min" for name, found in took.items())


def _rnagpt(*words: str) -> None:
    commands.main(words, prog_name="rnagpt", standalone_mode=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.support.rehearsal", description=__doc__)
    parser.add_argument("rnas", nargs="?", type=int, default=200)
    parser.add_argument("port", nargs="?", type=int, default=8775)
    given = parser.parse_args()
    try:
        rehearse(FOLDER, given.rnas, given.port)
    except (InputError, NotebookFailed) as error:
        sys.exit(f"rehearsal: {error}")
