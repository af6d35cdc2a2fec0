"""The commands of ``rnagpt`` about a run: make it, foresee what it takes, draw what it found."""

import sys
from pathlib import Path

import click

from rnagpt_lib.cli import options


@click.command(short_help="Run one notebook headless.")
@click.argument("notebook")
@options.PROFILE
@options.RUN
@options.GIVEN
@options.FILE
@click.option(
    "--list", "listing", is_flag=True, help="Show the parameters as the profile fills them; stop."
)
def run(
    notebook: str,
    profile: str | None,
    run_id: str | None,
    given: options.Pairs,
    file: Path | None,
    listing: bool,
) -> None:
    """Run NOTEBOOK headless: 04, 04_train_stage1 or notebooks/04_train_stage1.ipynb.

    Results and the executed copy go to runs/RUN/NOTEBOOK/.
    """
    from rnagpt_lib.runs import notebooks

    profile = options.profile_of(profile, run_id)
    if listing:
        click.echo(_listing(notebooks.find(notebook), profile))
        return
    parameters = options.from_file(file) | dict(given)
    with options.going_on_later():
        notebooks.run_notebook(notebook, run=run_id, profile=profile, parameters=parameters)


@click.command(short_help="Run notebooks 00 to 07; print the ablation table.")
@options.PROFILE
@options.RUN
@options.GIVEN
@options.FILE
def demo(profile: str | None, run_id: str | None, given: options.Pairs, file: Path | None) -> None:
    """Run notebooks 00 to 07, leaving out what is up to date, and print the ablation table."""
    from rnagpt_lib.core import paths
    from rnagpt_lib.evaluate import results
    from rnagpt_lib.report import findings as report
    from rnagpt_lib.runs import notebooks
    from rnagpt_lib.runs.stages import REPORT, STAGES

    profile = options.profile_of(profile, run_id)
    run_id = run_id or profile
    parameters = options.from_file(file) | dict(given)
    with options.going_on_later():
        notebooks.run_path(STAGES, run=run_id, profile=profile, parameters=parameters)
    folder = paths.shown(paths.runs() / run_id)
    click.echo(f"\n{report.ablation(run_id)}\n")
    click.echo(f"Tables, metrics and executed notebooks: {folder}/<notebook>/")
    click.echo(f"All of it on one page: {folder}/{STAGES[6]}/{REPORT}")
    click.echo(f"Figures: {paths.shown(results.figure_folder(run_id))}/")
    click.echo("Open the notebooks: .venv/bin/jupyter lab notebooks/")


@click.command(short_help="What 02 or 03 will cost with a language model.")
@click.argument("notebook")
@options.PROFILE
@options.RUN
@options.GIVEN
@options.FILE
def estimate(
    notebook: str,
    profile: str | None,
    run_id: str | None,
    given: options.Pairs,
    file: Path | None,
) -> None:
    """Requests, tokens, money and hours of NOTEBOOK (02 or 03) with PROVIDER openai.

    Reads the tables of the stages before it, and what the journal holds already; sends nothing.
    """
    from rnagpt_lib.core import params as profiles
    from rnagpt_lib.curate import planned_requests
    from rnagpt_lib.llm_api import cost
    from rnagpt_lib.runs import notebooks

    profile = options.profile_of(profile, run_id)
    path = notebooks.find(notebook)
    stage = path.stem
    parameters = options.from_file(file) | {name: options.value(name, text) for name, text in given}
    named = {name.lower(): value for name, value in parameters.items()}
    seed = notebooks.checked(path, {"SEED": named.pop("seed", 0)})["SEED"]
    params = profiles.load(profile).stage(stage, **named)
    asked = planned_requests.requests(run_id or profile, stage, params, seed)
    click.echo(f"{stage}, run {run_id or profile}, model {params.model}")
    click.echo(cost.told(cost.estimate(asked, params), params))


@click.command(short_help="Redraw a run's figures and tables.")
@click.option("--run", "run_id", default="reference", show_default=True, help="Run id.")
def figures(run_id: str) -> None:
    """Redraw every figure and table of a run from its files; loads no model."""
    from rnagpt_lib.report import figures as plots

    plots.draw(run_id)


@click.command(short_help="Write a run's report: one page, and LaTeX tables.")
@click.option("--run", "run_id", default="mini", show_default=True, help="Run id.")
def report(run_id: str) -> None:
    """Write the report of a run's notebook 06 again, from its files; loads no model.

    \b
    runs/RUN/06_ablations/report.html   tables, findings, figures, answers, provenance: one page
                                        that needs no network and has no script
    runs/RUN/06_ablations/tables/       the tables for a manuscript (LaTeX, booktabs), one file
                                        each, and all_tables.tex, a document that holds them
    """
    from rnagpt_lib.report import report_files

    report_files.say(run_id)


@click.command(short_help="What a profile needs and this machine lacks.")
@options.PROFILE
@options.GIVEN
@options.FILE
def doctor(profile: str | None, given: options.Pairs, file: Path | None) -> None:
    """Look whether a profile can run here: files, weights, keys, memory. Exit code 1 when it cannot.

    \b
    rnagpt doctor --profile paper_5k -p PROVIDER openai -p LLM hf:meta-llama/Meta-Llama-3-8B-Instruct

    Loads no LLM and sends nothing, but for an LLM that is named as hf:OWNER/NAME: that one is
    fetched.
    """
    from rnagpt_lib.cli import doctor
    from rnagpt_lib.core import params as profiles

    parameters = options.from_file(file) | {name: options.value(name, text) for name, text in given}
    named = {name.lower(): value for name, value in parameters.items()}
    chosen = profiles.load(options.profile_of(profile))
    findings = list(doctor.examine(profiles.overridden(chosen, named)))
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = "ok     " if finding.good else "MISSING"
        click.echo(f"{mark}  {finding.what:<{width}}  {finding.said}")
    if not all(finding.good for finding in findings):
        sys.exit(1)


def _listing(notebook: Path, profile: str) -> str:
    """A line for each parameter: type, the value in force under the profile, help."""
    from rnagpt_lib.core import params as profiles
    from rnagpt_lib.runs import notebooks

    known = notebook.stem in profiles.STAGE_MODELS
    filled = profiles.load(profile).stage(notebook.stem).model_dump() if known else {}
    general = {"PROFILE": profile, "RUN": profile} if known else {}
    lines = []
    for name, about in notebooks.declared(notebook).items():
        value = general.get(name, about["default"])
        if value == "None":
            held = filled.get(name.lower())
            value = f"[{', '.join(map(str, held))}]" if isinstance(held, tuple) else str(held)
        lines.append(f"{name:<20} {about['inferred_type_name']:<6} {value:<14} {about['help']}")
    return "\n".join(lines)
