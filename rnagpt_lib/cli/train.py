"""``rnagpt train`` and ``rnagpt train-variants``: trainings without a notebook."""

import os
from pathlib import Path

import click

from rnagpt_lib.cli import options


@click.command(short_help="Train 04 or 05 on several GPUs, without the notebook.")
@click.argument("notebook")
@options.PROFILE
@options.RUN
@options.GIVEN
@options.FILE
def train(
    notebook: str,
    profile: str | None,
    run_id: str | None,
    given: options.Pairs,
    file: Path | None,
) -> None:
    """Train NOTEBOOK (04 or 05) in as many processes as are started, without the notebook.

    \b
    accelerate launch --num_processes 8 -m rnagpt_lib train 05 --profile paper_5k
    torchrun --nproc_per_node 8 -m -- rnagpt_lib train 05 --run qa5k -p PARALLEL fsdp

    (Without the two dashes torchrun takes --run for an option of its own. Without GPUs accelerate
    starts one process, and torchrun as many as it is told; the log says how many there are.)

    The notebooks before it have to be finished. The notebook, run with the same parameters, finds
    the training done and reads it. A training that was stopped goes on, in another number of
    processes if need be (RECIPE packed). Every step stands in runs/RUN/NOTEBOOK/steps.jsonl.
    Scripts for SLURM and SkyPilot are in clusters/.
    """
    from rnagpt_lib.runs import notebooks, stages
    from rnagpt_lib.train import distributed

    profile = options.profile_of(profile, run_id)
    path = notebooks.find(notebook)
    values = notebooks.checked(path, options.from_file(file) | dict(given))
    named = {name.lower(): value for name, value in values.items()}
    seed = named.pop("seed", 0)
    with options.going_on_later():
        log = distributed.train_stage(
            path.stem, run=run_id or profile, profile=profile, seed=seed, overrides=named
        )
    if log is not None:
        click.echo(f"{path.stem}: trained, {len(log)} steps. The notebook reads it:")
        click.echo(f"  {stages.command(run_id or profile, path.stem)}")


@click.command(short_help="Train IT without stage 1, soft tokens, RNA, ...: what each is worth.")
@click.option("--run", "run_id", default="reference", show_default=True, help="Run id.")
@click.option(
    "--only",
    "names",
    multiple=True,
    metavar="NAME",
    help="IT (other seeds of it), it.no_ma, it.blind, it.text or it.random_encoder; repeat for "
    "more. All by default.",
)
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Seeds 0, 1, ..."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Trainings at a time, each on one thread. By default one for each core.",
)
def train_variants(run_id: str, names: tuple[str, ...], seeds: int, workers: int | None) -> None:
    """Train what the IT of RUN is compared with: the same pairs, steps and settings, but

    \b
    it.no_ma           without stage 1
    it.blind           without the RNA, and so without stage 1: question and answer alone
    it.text            the RNA as letters instead of soft tokens, and so without stage 1
    it.random_encoder  an encoder of the same shape with random weights
    IT                 nothing taken away, with another seed

    each with each seed, in runs/RUN/variants/. Notebooks 04 and 05 of RUN have to be finished.
    What is trained already stays; a training that was stopped goes on when the command is given
    again. Then run notebook 06: it asks and compares those that it finds.
    """
    from rnagpt_lib.runs import stages
    from rnagpt_lib.train import ablation_trainings

    workers = workers or len(os.sched_getaffinity(0))
    chosen = names or tuple(ablation_trainings.VARIANTS)
    with options.going_on_later():
        trained = ablation_trainings.train_all(run_id, chosen, range(seeds), workers)
    click.echo(f"{len(trained)} trainings stand. Notebook 06 compares them:")
    click.echo(f"  {stages.command(run_id, '06_ablations', run_id)}")
