"""The command ``rnagpt``, also ``python -m rnagpt_lib``."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import yaml

from rnagpt_lib.errors import InputError, NotebookFailed


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rnagpt-lib")
def commands() -> None:
    """RNA-GPT in eight notebooks: from an RNA to an answer.

    \b
    rnagpt demo                                  the whole path on the miniature world
    rnagpt run 04_train_stage1 -p EPOCHS 3       one notebook, with a parameter of its own
    rnagpt report --run mini                     its results as one page and as LaTeX tables
    rnagpt export-dataset mini rna-qa            its questions and answers, to share
    rnagpt export-model mini my-model            its model, to share
    rnagpt audit train.tsv test.tsv              what a test set of anybody's proves
    """


PROFILE = click.option(
    "--profile",
    default="mini",
    show_default=True,
    help="A file of profiles/: mini, reference, local, paper_5k or full.",
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


@commands.command(short_help="Run one notebook headless.")
@click.argument("notebook")
@PROFILE
@RUN
@GIVEN
@FILE
@click.option(
    "--list", "listing", is_flag=True, help="Show the parameters as the profile fills them; stop."
)
def run(
    notebook: str, profile: str, run_id: str | None, given: Pairs, file: Path | None, listing: bool
) -> None:
    """Run NOTEBOOK headless: 04, 04_train_stage1 or notebooks/04_train_stage1.ipynb.

    Results and the executed copy go to runs/RUN/NOTEBOOK/.
    """
    from rnagpt_lib import execute

    if listing:
        click.echo(_listing(execute.find(notebook), profile))
        return
    parameters = _from_file(file) | dict(given)
    with _going_on_later():
        execute.run_notebook(notebook, run=run_id, profile=profile, parameters=parameters)


@commands.command(short_help="Train 04 or 05 on several GPUs, without the notebook.")
@click.argument("notebook")
@PROFILE
@RUN
@GIVEN
@FILE
def train(notebook: str, profile: str, run_id: str | None, given: Pairs, file: Path | None) -> None:
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
    from rnagpt_lib import execute, launch, stages

    path = execute.find(notebook)
    values = execute.checked(path, _from_file(file) | dict(given))
    named = {name.lower(): value for name, value in values.items()}
    seed = named.pop("seed", 0)
    with _going_on_later():
        log = launch.train_stage(
            path.stem, run=run_id or profile, profile=profile, seed=seed, overrides=named
        )
    if log is not None:
        click.echo(f"{path.stem}: trained, {len(log)} steps. The notebook reads it:")
        click.echo(f"  {stages.command(run_id or profile, path.stem)}")


@commands.command(short_help="Train IT without stage 1, soft tokens, RNA, ...: what each is worth.")
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
    it.blind           without the RNA: question and answer alone
    it.text            the RNA as letters instead of soft tokens
    it.random_encoder  an encoder of the same shape with random weights
    IT                 nothing taken away, with another seed

    each with each seed, in runs/RUN/variants/. Notebooks 04 and 05 of RUN have to be finished.
    What is trained already stays; a training that was stopped goes on when the command is given
    again. Then run notebook 06: it asks and compares those that it finds.
    """
    from rnagpt_lib import stages, variants

    workers = workers or len(os.sched_getaffinity(0))
    chosen = names or tuple(variants.VARIANTS)
    with _going_on_later():
        trained = variants.train_all(run_id, chosen, range(seeds), workers)
    click.echo(f"{len(trained)} trainings stand. Notebook 06 compares them:")
    click.echo(f"  {stages.command(run_id, '06_ablations', run_id)}")


@commands.command(short_help="Run notebooks 00 to 07; print the ablation table.")
@PROFILE
@RUN
@GIVEN
@FILE
def demo(profile: str, run_id: str | None, given: Pairs, file: Path | None) -> None:
    """Run notebooks 00 to 07, leaving out what is up to date, and print the ablation table."""
    from rnagpt_lib import execute, paths, report, results
    from rnagpt_lib.stages import STAGES

    run_id = run_id or profile
    parameters = _from_file(file) | dict(given)
    with _going_on_later():
        execute.run_path(STAGES, run=run_id, profile=profile, parameters=parameters)
    folder = paths.shown(paths.runs() / run_id)
    click.echo(f"\n{report.ablation(run_id)}\n")
    click.echo(f"Tables, metrics and executed notebooks: {folder}/<notebook>/")
    click.echo(f"Figures: {paths.shown(results.figure_folder(run_id))}/")
    click.echo("Open the notebooks: .venv/bin/jupyter lab notebooks/")


@commands.command(short_help="What 02 or 03 will cost with a language model.")
@click.argument("notebook")
@PROFILE
@RUN
@GIVEN
@FILE
def estimate(
    notebook: str, profile: str, run_id: str | None, given: Pairs, file: Path | None
) -> None:
    """Requests, tokens, money and hours of NOTEBOOK (02 or 03) with PROVIDER openai.

    Reads the tables of the stages before it, and what the journal holds already; sends nothing.
    """
    from rnagpt_lib import cost, execute, foreseen, profiles

    path = execute.find(notebook)
    stage = path.stem
    parameters = _from_file(file) | {name: _value(name, text) for name, text in given}
    named = {name.lower(): value for name, value in parameters.items()}
    seed = execute.checked(path, {"SEED": named.pop("seed", 0)})["SEED"]
    params = profiles.load(profile).stage(stage, **named)
    asked = foreseen.requests(run_id or profile, stage, params, seed)
    click.echo(f"{stage}, run {run_id or profile}, model {params.model}")
    click.echo(cost.told(cost.estimate(asked, params), params))


@commands.command(short_help="Redraw a run's figures and tables.")
@click.option("--run", "run_id", default="reference", show_default=True, help="Run id.")
def figures(run_id: str) -> None:
    """Redraw every figure and table of a run from its files; loads no model."""
    from rnagpt_lib import plots

    plots.draw(run_id)


@commands.command(short_help="Write a run's report: one page, and LaTeX tables.")
@click.option("--run", "run_id", default="mini", show_default=True, help="Run id.")
def report(run_id: str) -> None:
    """Write the report of a run's notebook 06 again, from its files; loads no model.

    \b
    runs/RUN/06_ablations/report.html   tables, findings, figures, answers, provenance: one page
                                        that needs no network and has no script
    runs/RUN/06_ablations/tables/       the tables for a manuscript (LaTeX, booktabs), one file
                                        each, and all_tables.tex, a document that holds them
    """
    from rnagpt_lib import report_files

    report_files.say(run_id)


@commands.command(short_help="Make a Hugging Face dataset folder of a finished run.")
@click.argument("run_id", metavar="RUN")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--with-abstracts",
    is_flag=True,
    help="Include titles and abstracts; for runs on the generated world, whose texts nobody owns.",
)
@click.option(
    "--with-copyrighted-abstracts",
    is_flag=True,
    help="Include titles and abstracts, and sentences quoted from them, though their publishers "
    "own them: for a copy that you keep to yourself, or with their leave.",
)
@click.option("--force", is_flag=True, help="Replace an earlier export in OUT (nothing else).")
def export_dataset(
    run_id: str, out: Path, with_abstracts: bool, with_copyrighted_abstracts: bool, force: bool
) -> None:
    """Make OUT, a Hugging Face dataset folder, of the RNA-QA of RUN.

    RUN is a run id, the name of a folder of runs/, with its notebooks 00 to 03 finished. OUT is a
    folder that does not exist yet; it appears whole or not at all.

    \b
    rnagpt export-dataset reference rna-qa       from the run that comes with the repository
    hf upload ME/rna-qa rna-qa --repo-type dataset

    OUT/README.md is the data card: sources, licences, counts, split and leakage, prompts, costs,
    what was left out. OUT/data/ holds parquet files of the configs pairs (a question with its
    answer, sequence and fields), rnas, annotations, links, articles and dropped. SHA256SUMS has
    every file's hash. Titles and abstracts are left out, as their publishers own them; the ids
    stay, so that anyone can fetch them again.

    \b
    from datasets import load_dataset
    pairs = load_dataset("rna-qa", "pairs")      # train, validation, test
    """
    from rnagpt_lib import export

    rows = export.export_dataset(
        run_id,
        out,
        with_abstracts=with_abstracts,
        with_copyrighted_abstracts=with_copyrighted_abstracts,
        force=force,
    )
    for config, sides in rows.items():
        listed = ", ".join(f"{side} {number:,}" for side, number in sides.items())
        click.echo(f"{config:<12} {listed}")
    click.echo(f"Data card: {out / 'README.md'}")


@commands.command(short_help="Make a folder of a run's trained model, to load or share.")
@click.argument("run_id", metavar="RUN")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Choice(["MA", "IT"]),
    default="IT",
    show_default=True,
    help="The model after stage 1 (MA, modality alignment) or stage 2 (IT, instruction tuning).",
)
@click.option(
    "--merged",
    is_flag=True,
    help="Merge the adapters into the LLM's weights and write the whole LLM, which other software "
    "loads, too; as large as the LLM is.",
)
@click.option("--force", is_flag=True, help="Replace an earlier export in OUT (nothing else).")
@click.option(
    "--push",
    "name",
    metavar="OWNER/NAME",
    help="Then upload OUT to the Hugging Face Hub, as a private repository if it is new. Needs a "
    "token that may write, in HF_TOKEN.",
)
def export_model(
    run_id: str, out: Path, model: str, merged: bool, force: bool, name: str | None
) -> None:
    """Make OUT, a folder with the trained model of RUN.

    RUN is a run id, the name of a folder of runs/, with its notebooks 00 to 05 finished (04 for
    MA). OUT is a folder that does not exist yet; it appears whole or not at all.

    \b
    rnagpt export-model reference my-rna-gpt     from the run that comes with the repository

    OUT holds the projection and the adapters as safetensors, the prompt template, names and hashes
    of the encoder and the LLM that they belong to, the scores of notebook 06 if it is finished, and
    a model card, README.md. SHA256SUMS has every file's hash. The encoder and the LLM stay where
    they are. Without --push nothing is sent anywhere.

    \b
    from rnagpt_lib.generate import load_model
    load_model(model="my-rna-gpt").ask("GGCUAGCUCAAUCGG", "What type of RNA is the RNA?")

    With --merged, OUT/llm is what vLLM serves (--enable-prompt-embeds); the card has the command,
    and rnagpt_lib.serving asks such a server.
    """
    from rnagpt_lib import export_model, hub

    if name:
        hub.check(name)
    about = export_model.export_model(run_id, out, model=model, merged=merged, force=force)
    if not about["scored"]:
        click.echo("Not scored: notebook 06 of this run is not finished, and the card says so.")
    click.echo(f"Model card: {out / 'README.md'}")
    if name:
        click.echo(f"Uploaded: {hub.push(out, name)} (private, if it is new)")


@commands.command(short_help="What a data set's test side shares with train; what needs no model.")
@click.argument("train", metavar="TRAIN", type=click.Path(path_type=Path))
@click.argument("test", metavar="TEST", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="audit.html",
    show_default=True,
    metavar="FILE.html",
    help="The page to write; the numbers go beside it, into FILE.json.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of random answers and of bounds.",
)
@click.option("--force", is_flag=True, help="Replace both files where they exist.")
def audit(train: Path, test: Path, out: Path, seed: int, force: bool) -> None:
    """Audit a data set of RNAs, questions and answers (or classes): TRAIN and TEST, two files.

    \b
    rnagpt audit train.fasta test.fasta
    rnagpt audit train.tsv test.tsv --out my_audit.html

    \b
    .fasta (.fa, .fna, .fas, .gz)  '>id answer': the answer is the RNA type of an RNAcentral
                                   header, in any other all that stands behind the id
    .tsv                           first line names the columns: sequence, answer and, if there
                                   are any, question and id
    .jsonl                         an object a line with these fields
    .parquet                       these columns (those of export-dataset, too)

    Sequences may be RNA or DNA, with IUPAC codes. Without questions there is one, for the RNA's
    type.

    Looks for RNAs of TEST that are in TRAIN, or have a relative there (80 % identity over 80 % of
    the shorter one), and for answers that are; and measures what it takes no language model to
    answer: the most common answer, a random one, that of the nearest RNA or the nearest in length,
    the question alone, and models that count words of one to four letters. Scores have 95 %
    bounds over groups of similar RNAs. The page needs no network and loads nothing. 10,000 RNAs
    take about a minute.
    """
    from rnagpt_lib import audit_run

    for sentence in audit_run.run(train, test, out, seed, force):
        click.echo(f"- {sentence}")
    click.echo(f"Page: {out}; numbers: {out.with_suffix('.json')}")


@commands.command(short_help="What a profile needs and this machine lacks.")
@PROFILE
@GIVEN
@FILE
def doctor(profile: str, given: Pairs, file: Path | None) -> None:
    """Look whether a profile can run here: weights, keys, memory. Exit code 1 when it cannot.

    \b
    rnagpt doctor --profile paper_5k -p PROVIDER openai -p LLM hf:meta-llama/Meta-Llama-3-8B-Instruct

    Loads no LLM and sends nothing, but for an LLM that is named as hf:OWNER/NAME: that one is
    fetched.
    """
    from rnagpt_lib import doctor, profiles

    parameters = _from_file(file) | {name: _value(name, text) for name, text in given}
    named = {name.lower(): value for name, value in parameters.items()}
    findings = list(doctor.examine(profiles.overridden(profiles.load(profile), named)))
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = "ok     " if finding.good else "MISSING"
        click.echo(f"{mark}  {finding.what:<{width}}  {finding.said}")
    if not all(finding.good for finding in findings):
        sys.exit(1)


@commands.command(short_help="Make an encoder folder of RNA-FM's original weights.")
@click.argument("source", metavar="PTH", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--sha256", "expected", metavar="HEX", help="The hash that the file must have.")
def convert_encoder(source: Path, out: Path, expected: str | None) -> None:
    """Make OUT, an encoder folder, of PTH, the file in which RNA-FM's authors publish it.

    \b
    rnagpt convert-encoder RNA-FM_pretrained.pth models/rna-fm

    The profiles paper_5k and full read models/rna-fm. The weights are kept as safetensors with
    their hashes; a pickle that holds more than tensors and options is refused unread. Nothing is
    downloaded.
    """
    from rnagpt_lib import rnafm
    from rnagpt_lib.files import sha256

    encoder = rnafm.convert(source, out, expected)
    size = (
        f"{encoder.config['layers']} layers, {encoder.dim} wide, {encoder.max_length:,} nt at once"
    )
    click.echo(f"{source}: sha256 {sha256(source)}")
    click.echo(f"{out}: {size}; sha256 of its weights {encoder.hash}")


@contextmanager
def _going_on_later() -> Iterator[None]:
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


def _listing(notebook: Path, profile: str) -> str:
    """A line for each parameter: type, the value in force under the profile, help."""
    from rnagpt_lib import execute, profiles

    known = notebook.stem in profiles.STAGE_MODELS
    filled = profiles.load(profile).stage(notebook.stem).model_dump() if known else {}
    general = {"PROFILE": profile, "RUN": profile} if known else {}
    lines = []
    for name, about in execute.declared(notebook).items():
        value = general.get(name, about["default"])
        if value == "None":
            held = filled.get(name.lower())
            value = f"[{', '.join(map(str, held))}]" if isinstance(held, tuple) else str(held)
        lines.append(f"{name:<20} {about['inferred_type_name']:<6} {value:<14} {about['help']}")
    return "\n".join(lines)


def _value(name: str, text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"parameter {name} is {text!r}, which is no YAML") from None


def _from_file(file: Path | None) -> dict:
    if file is None:
        return {}
    try:
        data = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no YAML: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{file} should hold lines of the form NAME: VALUE")
    return data


def main() -> None:
    """Entry point: input errors are one sentence and exit code 2, failures 1, Ctrl-C 130."""
    try:
        commands()
    except InputError as error:
        click.echo(f"rnagpt: {error}", err=True)
        sys.exit(2)
    except NotebookFailed as error:
        click.echo(f"rnagpt: {error}", err=True)
        sys.exit(1)
