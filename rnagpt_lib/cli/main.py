"""The command ``rnagpt``, also ``python -m rnagpt_lib``."""

import os
import sys

import click

from rnagpt_lib.cli import (
    chat,
    files,
    runs,
    train,
)
from rnagpt_lib.core.errors import InputError, NotebookFailed
from rnagpt_lib.core.fasta_lines import printable


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rnagpt-lib")
def commands() -> None:
    """RNA-GPT in eight notebooks: from an RNA to an answer.

    \b
    rnagpt demo                                  the whole path on the miniature world
    rnagpt run 04_train_stage1 -p EPOCHS 3       one notebook, with a parameter of its own
    rnagpt ask --fasta my.fa --question "..."    a model's answers about your RNAs; chat: talk to it
    rnagpt report --run mini                     its results as one page and as LaTeX tables
    rnagpt export-dataset mini rna-qa            its questions and answers, to share
    rnagpt export-model mini my-model            its model, to share
    rnagpt audit train.tsv test.tsv              what a test set of anybody's proves
    """


for command in (
    runs.run, runs.demo, runs.estimate, runs.doctor, runs.figures,
    runs.report, train.train, train.train_variants, chat.ask, chat.chat,
    files.export_dataset, files.export_model, files.audit, files.convert_encoder,
):  # fmt: skip
    commands.add_command(command)


def main() -> None:
    """Entry point: input errors are one sentence and exit code 2, failures 1, Ctrl-C 130."""
    # threads that spin while they wait are many times slower beside any other busy process
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        sys.exit(commands(standalone_mode=False) or 0)
    except InputError as error:
        click.echo(f"rnagpt: {_lines(error)}", err=True)
        sys.exit(2)
    except NotebookFailed as error:
        click.echo(f"rnagpt: {_lines(error)}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("rnagpt: stopped", err=True)
        sys.exit(130)


def _lines(error: Exception) -> str:
    """Its text without what a terminal obeys: a message may quote a file of anybody's."""
    return "\n".join(map(printable, str(error).split("\n")))
