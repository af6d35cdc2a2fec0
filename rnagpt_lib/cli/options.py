"""Options that several commands of ``rnagpt`` take, and how their values are read."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import yaml

from rnagpt_lib.core.errors import InputError

PROFILE = click.option(
    "--profile",
    help="A file of profiles/: mini, reference, local, paper_5k or full; by default that of the run "
    "where there is one, else mini.",
)
RUN = click.option("--run", "run_id", help="Run id; by default the profile's name.")
GIVEN = click.option(
    "-p",
    "given",
    type=(str, str),
    multiple=True,
    metavar="NAME VALUE",
    help="A parameter of the notebook (of every notebook that has it); repeat for more. A list is "
    "written [a, b].",
)
FILE = click.option(
    "-f",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Parameters as a YAML file of lines NAME: VALUE.",
)
Pairs = tuple[tuple[str, str], ...]


def profile_of(named: str | None, run_id: str | None = None) -> str:
    """The profile that is named, else the one that the run was made with, else ``mini``."""
    from rnagpt_lib.runs import stages

    return named or (run_id and stages.profile_of(run_id)) or "mini"


@contextmanager
def going_on_later() -> Iterator[None]:
    """Ctrl-C inside of the block says what is kept, and ends with the shell's code for it."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            "rnagpt: stopped; finished notebooks, pages of the live sources, a model's answers and "
            "a training's checkpoints are kept, and the same command goes on from there",
            err=True,
        )
        sys.exit(130)


def value(name: str, text: str) -> object:
    """What a parameter's text means as YAML. Raises InputError where it is none."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"parameter {name} is {text!r}, which is no YAML") from None


def from_file(file: Path | None) -> dict:
    """The parameters of a YAML file. Raises InputError where it holds something else."""
    if file is None:
        return {}
    try:
        data = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no YAML: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{file} should hold lines of the form NAME: VALUE")
    return data
