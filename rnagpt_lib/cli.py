"""The command ``rnagpt``, also ``python -m rnagpt_lib``.

Libraries that are slow to import are imported by the commands that need them.
"""

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import reduce, wraps
from pathlib import Path

import click

from rnagpt_lib.core.errors import InputError, NotebookFailed
from rnagpt_lib.core.text import cut, printable

KEPT = (
    "finished notebooks, pages of the live sources, a model's answers and a training's checkpoints "
    "are kept, and the same command goes on from there"
)
FOLDER = click.Path(path_type=Path)
TEXT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
AT_LEAST_1 = click.IntRange(min=1)


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


def main() -> None:
    """Entry point: input errors are one sentence and exit code 2, failures 1, Ctrl-C 130."""
    # threads that spin while they wait are many times slower beside any other busy process
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        code = commands(standalone_mode=False) or 0
        sys.stdout.flush()
        sys.exit(code)
    except (InputError, NotebookFailed) as error:
        # a message may quote a file of anybody's: nothing that a terminal obeys
        text = "\n".join(map(printable, str(error).split("\n")))
        click.echo(f"rnagpt: {text}", err=True)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("rnagpt: stopped", err=True)
        sys.exit(130)
    except OSError as error:
        sys.exit(_tell(error))


def _tell(error: OSError) -> int:
    """What the system refused, in a sentence, where there is still somebody to hear it."""
    reason, file = error.strerror or str(error), error.filename or "standard output, or a file,"
    remedies = {errno.ENOSPC: "make room", errno.EDQUOT: "make room"}
    remedy = remedies.get(error.errno, "see that it is there and yours, or name another place")
    if error.errno != errno.EPIPE:
        text = f"rnagpt: {file} cannot be used: {reason}; {remedy} (RNAGPT_RUNS for runs, "
        text += "RNAGPT_FIGURES for figures)"
        with suppress(OSError):  # both streams may be on the full disk
            click.echo(printable(text), err=True)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            # what cannot be written Python would flush once more at its end, with a traceback
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 1


def _with_options(*options):
    """A decorator that gives a command several options, in this order."""
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


PROFILE = click.option(
    "--profile", help="A file of profiles/; by default that of the run, or mini."
)
RUN = click.option("--run", "run_id", help="Run id; by default the profile's name.")
GIVEN = click.option("-p", "given", type=(str, str), multiple=True, metavar="NAME VALUE",
                     help="A parameter of each notebook that has it; a list as [a, b].")  # fmt: skip
FILE = click.option("-f", "file", type=TEXT_FILE, help="Parameters as a YAML file, NAME: VALUE; "
                    "a notebook takes those that it has.")  # fmt: skip
FINISHED = click.option("--run", "run_id", default="reference", show_default=True, help="Run id.")
SEED = click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1),
                    help="Of the draws.")  # fmt: skip
FORCE = click.option("--force", is_flag=True, help="Replace what an earlier call wrote there.")


def _with_parameters(command: Callable) -> Callable:
    """A command's options ``--run``, ``--profile``, ``-p`` and ``-f``, read.

    It is called with ``run_id``, ``profile`` (by default the one that the run was made with, else
    ``mini``) and ``parameters``, texts where ``-p`` gave them.
    """

    @wraps(command)
    def read(profile, run_id, given, file, **more) -> None:
        from rnagpt_lib.runs import stages

        parameters = _read(file) if file else {}
        if parameters and "notebook" in more:  # lines for other notebooks are left to them
            from rnagpt_lib.runs import notebooks

            own = notebooks.find(more["notebook"]).stem
            parameters = notebooks.share_out((*stages.STAGES, own), parameters)[own]
        profile = profile or (run_id and stages.profile_of(run_id)) or "mini"
        command(run_id=run_id, profile=profile, parameters=parameters | dict(given), **more)

    return _with_options(PROFILE, RUN, GIVEN, FILE)(read)


def _read(file: Path) -> dict:
    """The parameters in a file of lines NAME: VALUE."""
    from rnagpt_lib.core.params import MOST_LETTERS, read_yaml

    try:
        with file.open(encoding="utf-8-sig") as lines:
            parameters = read_yaml(lines.read(MOST_LETTERS + 1))
    except (UnicodeDecodeError, InputError) as error:
        raise InputError(f"{file}: {error}") from None
    if not isinstance(parameters, dict):
        raise InputError(f"{file} should hold lines of the form NAME: VALUE")
    return parameters


def _parse(parameters: dict) -> dict:
    """Parameters in lower case, their texts read as YAML."""
    from rnagpt_lib.core.params import read_yaml

    parsed = {}
    for name, value in parameters.items():
        try:
            parsed[name.lower()] = read_yaml(value) if isinstance(value, str) else value
        except InputError as error:
            raise InputError(f"parameter {name} is {cut(repr(value), 200)}: {error}") from None
    return parsed


@contextmanager
def _interruptible(kept: str = KEPT, partial: Path | None = None) -> Iterator[None]:
    """Ctrl-C inside of the block says what is kept (where ``partial`` is there, if it is given),
    and ends with the shell's code for it."""
    try:
        yield
    except KeyboardInterrupt:
        there = partial is None or partial.is_file()
        click.echo(f"rnagpt: stopped{f'; {kept}' if there else ''}", err=True)
        sys.exit(130)


@commands.command(short_help="Run one notebook headless.")
@click.argument("notebook")
@click.option("--list", "listing", is_flag=True, help="Show the parameters and stop.")
@_with_parameters
def run(notebook: str, profile: str, run_id: str | None, parameters: dict, listing: bool) -> None:
    """Run NOTEBOOK headless: 04, 04_train_stage1 or notebooks/04_train_stage1.ipynb.

    Results and the executed copy go to runs/RUN/NOTEBOOK/.
    """
    from rnagpt_lib.core import params
    from rnagpt_lib.runs import notebooks

    if not listing:
        with _interruptible():
            notebooks.run_notebook(notebook, run=run_id, profile=profile, parameters=parameters)
        return
    path = notebooks.find(notebook)
    known = path.stem in params.STAGE_MODELS
    filled = params.load(profile).stage(path.stem).model_dump() if known else {}
    general = {"PROFILE": profile, "RUN": profile} if known else {}
    for name, about in notebooks.list_parameters(path).items():
        value = general.get(name, about["default"])
        if value == "None":
            own = filled.get(name.lower())
            value = f"[{', '.join(map(str, own))}]" if isinstance(own, tuple) else str(own)
        click.echo(f"{name:<20} {about['inferred_type_name']:<6} {value:<14} {about['help']}")


@commands.command(short_help="Run notebooks 00 to 07; print the ablation table.")
@_with_parameters
def demo(profile: str, run_id: str | None, parameters: dict) -> None:
    """Run notebooks 00 to 07, leaving out what is up to date, and print the ablation table."""
    from rnagpt_lib.core import paths
    from rnagpt_lib.evaluate import results
    from rnagpt_lib.report import findings, page
    from rnagpt_lib.runs import notebooks
    from rnagpt_lib.runs.stages import STAGES

    run_id = run_id or profile
    with _interruptible():
        notebooks.run_path(STAGES, run=run_id, profile=profile, parameters=parameters)
    folder = paths.shown(paths.runs() / run_id)
    click.echo(f"\n{findings.ablation(run_id)}\n")
    click.echo(f"Tables, metrics and executed notebooks: {folder}/<notebook>/")
    click.echo(f"All of it on one page: {paths.shown(page.write_report(run_id))}")
    click.echo(f"Figures: {paths.shown(results.figure_folder(run_id))}/")
    click.echo("Open the notebooks: .venv/bin/jupyter lab notebooks/")


@commands.command(short_help="What 02 or 03 will cost with a language model.")
@click.argument("notebook")
@_with_parameters
def estimate(notebook: str, profile: str, run_id: str | None, parameters: dict) -> None:
    """Foresee requests, tokens, money and hours of NOTEBOOK (02 or 03) with PROVIDER openai.

    Reads the tables of the stages before it, and what the journal holds already; sends nothing.
    """
    from rnagpt_lib.core import params
    from rnagpt_lib.curate.questions import qa_llm
    from rnagpt_lib.curate.summaries import summarize
    from rnagpt_lib.llm_api import cost
    from rnagpt_lib.runs import notebooks
    from rnagpt_lib.runs.stages import STAGES

    run_id, path = run_id or profile, notebooks.find(notebook)
    named = _parse(parameters)
    seed = notebooks.check_parameters(path, {"SEED": named.pop("seed", 0)})["SEED"]
    chosen = params.load(profile).stage(path.stem, **named)
    planned = {STAGES[2]: summarize.planned_requests, STAGES[3]: qa_llm.planned_requests}
    if path.stem not in planned:
        raise InputError(f"{path.stem} asks no language model; {' and '.join(planned)} can")
    asked = planned[path.stem](run_id, chosen, seed)
    click.echo(f"{path.stem}, run {run_id}, model {chosen.model}")
    click.echo(cost.describe(cost.estimate(asked, chosen), chosen))


@commands.command(short_help="What a profile needs and this machine lacks.")
@_with_parameters
def doctor(profile: str, run_id: str | None, parameters: dict) -> None:
    """Look whether a profile can run here: files, weights, keys, memory. Exit code 1 when it cannot.

    \b
    rnagpt doctor --profile paper_5k -p PROVIDER openai -p LLM hf:meta-llama/Meta-Llama-3-8B-Instruct

    Loads no LLM and sends nothing, but fetches an LLM that is named as hf:OWNER/NAME.
    """
    from rnagpt_lib.core import params
    from rnagpt_lib.train import doctor

    chosen = params.overridden(params.load(profile), _parse(parameters))
    findings = list(doctor.examine(chosen))
    width = max(len(what) for what, _, _ in findings)
    for what, good, says in findings:
        click.echo(f"{'ok     ' if good else 'MISSING'}  {what:<{width}}  {says}")
    if not all(good for _, good, _ in findings):
        sys.exit(1)


@commands.command(short_help="Redraw a run's figures and tables.")
@FINISHED
def figures(run_id: str) -> None:
    """Redraw every figure and table of a run from its files; loads no model."""
    from rnagpt_lib.core import paths
    from rnagpt_lib.evaluate import results
    from rnagpt_lib.report import figures, readme

    for path in figures.draw(run_id):
        click.echo(f"{paths.shown(path)} (.pdf, .json)")
    if results.is_reference(run_id):
        click.echo(f"{paths.shown(readme.update())}: tables rendered again")


@commands.command(short_help="Write a run's report: one page, and LaTeX tables.")
@click.option("--run", "run_id", default="mini", show_default=True, help="Run id.")
def report(run_id: str) -> None:
    """Write the report of a run's notebook 06 again, from its files; loads no model.

    \b
    runs/RUN/06_ablations/report.html   tables, findings and figures: one page, no network, no script
    runs/RUN/06_ablations/tables/       the tables in LaTeX (packages booktabs and adjustbox)
    """
    from rnagpt_lib.core import paths
    from rnagpt_lib.report import page, tables

    latex = tables.write_latex(run_id)
    report = paths.shown(page.write_report(run_id))
    click.echo(f"{report}: the report, one page that needs nothing else")
    click.echo(f"{paths.shown(latex[0].parent)}/: {len(latex)} LaTeX files")


@commands.command(short_help="Train 04 or 05 on several GPUs, without the notebook.")
@click.argument("notebook")
@_with_parameters
def train(notebook: str, profile: str, run_id: str | None, parameters: dict) -> None:
    """Train NOTEBOOK (04 or 05) in as many processes as are started, without the notebook.

    \b
    accelerate launch --num_processes 8 -m rnagpt_lib train 05 --profile paper_5k
    torchrun --nproc_per_node 8 -m -- rnagpt_lib train 05 --run qa5k -p PARALLEL fsdp

    (Without the two dashes torchrun takes --run for its own.) The notebooks before it have to be
    finished. The notebook, run with the same parameters, finds the training done. One that was
    stopped goes on, in another number of processes if need be (RECIPE packed). Every step stands in
    runs/RUN/NOTEBOOK/steps.jsonl. clusters/ has scripts for SLURM and SkyPilot.
    """
    from rnagpt_lib.runs import notebooks, stages
    from rnagpt_lib.train import headless

    run_id, path = run_id or profile, notebooks.find(notebook)
    values = notebooks.check_parameters(path, parameters)
    named = {name.lower(): value for name, value in values.items()}
    seed = named.pop("seed", 0)
    with _interruptible():
        named = {"run": run_id, "profile": profile, "seed": seed, "overrides": named}
        log = headless.train_stage(path.stem, **named)
    if log is not None:
        click.echo(f"{path.stem}: trained, {len(log)} steps. The notebook reads it:")
        click.echo(f"  {stages.command(run_id, path.stem)}")


@commands.command(short_help="Train IT without stage 1, soft tokens, RNA, ...: what each is worth.")
@FINISHED
@click.option("--only", "names", multiple=True, metavar="NAME", help="Repeat for more; else all.")
@click.option("--seeds", default=3, show_default=True, type=AT_LEAST_1, help="Seeds 0, 1, ...")
@click.option("--workers", type=AT_LEAST_1, help="Trainings at a time; by default one a core.")
def train_variants(run_id: str, names: tuple[str, ...], seeds: int, workers: int | None) -> None:
    """Train what the IT of RUN is compared with: the same pairs, steps and settings, but

    \b
    it.no_ma           without stage 1
    it.blind           without the RNA, and so without stage 1: question and answer alone
    it.text            the RNA as letters instead of soft tokens, and so without stage 1
    it.random_encoder  an encoder of the same shape with random weights
    IT                 nothing taken away, with another seed

    each with each seed, in runs/RUN/variants/. Notebooks 04 and 05 of RUN have to be finished.
    Given again, the command goes on. Then run notebook 06: it compares those that it finds.
    """
    from rnagpt_lib.runs import stages
    from rnagpt_lib.train import ablation_trainings

    workers = workers or len(os.sched_getaffinity(0))
    chosen = names or tuple(ablation_trainings.VARIANTS)
    with _interruptible():
        trained = ablation_trainings.train_all(run_id, chosen, range(seeds), workers)
    click.echo(f"{len(trained)} trainings stand. Notebook 06 compares them:")
    click.echo(f"  {stages.command(run_id, '06_ablations', run_id)}")


_answering = _with_options(
    click.option("--fasta", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE",
                 help="RNAs (or DNAs), plain or .gz; ask reads standard input from -."),
    click.option("--sequence", help="One RNA, typed."),
    click.option("--id", "rna_id", metavar="URS", help="One RNA of the run, or of RNAcentral."),
    FINISHED,
    click.option("--model", default="IT", show_default=True,
                 help="vanilla, MA or IT of the run, or the folder of an exported model."),
    click.option("--llm", metavar="FOLDER", help="Where the model's LLM is, or hf:OWNER/NAME to "
                 "fetch it; one that a model's folder names is taken from the cache alone."),
    click.option("--retrieval", type=click.Choice(("beside", "only", "off")), default="beside",
                 show_default=True, help="Show the nearest RNAs of the training set beside each "
                 "answer, show them alone (ask then loads no LLM), or leave them out."),
    click.option("--temperature", default=0.0, show_default=True, help="0 is greedy; 0.7 varies."),
    click.option("--top-p", default=1.0, show_default=True, help="Draw from this share alone."),
    SEED,
    click.option("--max-new-tokens", default=256, show_default=True, type=AT_LEAST_1,
                 help="An answer is cut here."),
)  # fmt: skip


@commands.command(short_help="Ask a model about RNAs: FASTA in, answers out.")
@click.option("--question", "questions", multiple=True, help="Repeat for more.")
@click.option("--questions", "file", type=TEXT_FILE, metavar="FILE",
              help="A text file with a question a line; # begins a comment.")  # fmt: skip
@click.option("--out", type=FOLDER, metavar="FILE",
              help="answers.jsonl, .tsv or .md; without it answers are shown.")  # fmt: skip
@FORCE
@_answering
def ask(
    questions: tuple[str, ...], file: Path | None, out: Path | None, force: bool, run_id: str,
    fasta: Path | None, sequence: str | None, rna_id: str | None, **answering: object,
) -> None:  # fmt: skip
    """Ask a model every question about every RNA.

    \b
    rnagpt ask --fasta my.fa --question "What type of RNA is the RNA?" --out answers.jsonl
    rnagpt ask --sequence GGCUAGCUCAAUCGGUAGAGC --question "What type of RNA is the RNA?"
    zcat all.fa.gz | rnagpt ask --fasta - --questions questions.txt --out answers.tsv

    A record that is no RNA (protein, foreign letters, under 10 nt, an id used twice) gets a row
    with the reason, and the others are answered. A call that was stopped goes on when it is given
    again. What is retrieved is marked as such: it is looked up, not generated. That nothing is said
    of an answer does not confirm it. The run that comes with the repository knows a generated
    world, and no RNA of nature; every file says so, and names run and LLM.
    """
    from rnagpt_lib.chat import ask as asking
    from rnagpt_lib.core.files import check_place

    asked = _questions(questions, file)
    if sum(value is not None for value in (fasta, sequence, rna_id)) != 1:
        raise InputError("give the RNAs as one of --fasta FILE, --sequence ACGU..., --id URS...")
    if out:
        check_place(out, asking.FORMS, force)
    partial = Path(f"{out}.partial")
    kept = f"the answers so far are in {partial}, and the same call goes on"
    with _interruptible(kept, partial), _fasta(fasta, sequence, rna_id, run_id) as source:
        asker = _asker(asked, run_id, **answering)
        if out:
            told = asking.ask_file(asker, source, out, force)
        elif not _show(asker, source):
            sys.exit(1)
    if not out:
        return
    kept = f", {told['kept']:,} of them kept from an earlier call" if told["kept"] else ""
    click.echo(f"{out}: {told['rows']:,} rows{kept}; {told['refused']:,} records refused")


def _questions(given: tuple[str, ...], file: Path | None) -> tuple[str, ...]:
    lines = [*given]
    if file:
        try:
            lines += file.read_text("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise InputError(f"{file} is no text; write a question a line, in UTF-8") from None
    if any("\ud800" <= c <= "\udfff" for line in lines for c in line):  # bytes of the command line
        raise InputError("a question is no text in UTF-8; type it anew, or put it into a file")
    lines = [line.strip() for line in lines]
    asked = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not asked:
        raise InputError('give a question: --question "What type of RNA is the RNA?"')
    return asked


@contextmanager
def _fasta(
    fasta: Path | None, sequence: str | None, rna_id: str | None, run_id: str
) -> Iterator[Path]:
    """What is asked about, as a file."""
    from rnagpt_lib.chat.lookup import look_up

    if fasta and str(fasta) != "-":
        yield fasta
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard input"
        with path.open("wb") as file:
            if fasta:
                shutil.copyfileobj(sys.stdin.buffer, file)
            elif rna_id is not None:
                found = look_up(rna_id, run=run_id)
                file.write(f">{found.id}\n{found.sequence}\n".encode())
            else:
                typed = sequence if ">" in sequence else f">sequence\n{sequence}\n"
                file.write(typed.encode("utf-8", "replace"))
        yield path


def _asker(
    asked: tuple[str, ...], run_id: str, model: str, llm: str | None, retrieval: str,
    temperature: float, top_p: float, seed: int, max_new_tokens: int,
):  # fmt: skip
    from rnagpt_lib.chat import generate
    from rnagpt_lib.chat.ask import Asker
    from rnagpt_lib.chat.decoding import Sampling
    from rnagpt_lib.chat.retrieval import Retrieval

    sampling = Sampling(temperature, top_p, seed)
    given = (run_id, model, max_new_tokens)
    chat = None if retrieval == "only" else generate.load_model(*given, llm=llm)
    found = None if retrieval == "off" else Retrieval.of(run_id)
    named = f"{retrieval} {Retrieval.tables_hash(run_id)}" if found else ""
    asker = Asker(asked, chat, found, sampling, named=named)
    if warning := asker.about.get("warning"):
        click.echo(f"Note: {warning}", err=True)
    return asker


def _show(asker, source: Path) -> bool:
    """Tell the answers, record by record; whether any record could be asked about."""
    from rnagpt_lib.chat.rendering import TERMINAL
    from rnagpt_lib.core.fasta import stream_records

    answered = False
    for record in stream_records(source):
        rows = asker.rows([record])
        answered |= any("refused" not in row for row in rows)
        click.echo(TERMINAL.answers(rows), nl=False)
    return answered


@commands.command(short_help="Talk to a model about an RNA, in the terminal.")
@click.option("--memory", is_flag=True, help="Let the model read its earlier answers again.")
@_answering
def chat(
    run_id: str, model: str, llm: str | None, retrieval: str, temperature: float, top_p: float,
    seed: int, memory: bool, max_new_tokens: int, **rna: object,
) -> None:  # fmt: skip
    """Talk to a model about an RNA. Answers are shown as they come; Ctrl-C stops one.

    \b
    rnagpt chat --sequence GGCUAGCUCAAUCGGUAGAGCGUGAGACUCUUAAUCUCAAGGUUGUGGGUUCGACCCGU
    rnagpt chat --fasta my.fa

    /help lists what else can be typed: another RNA, another model, the transcript as a file.

    Models are trained on single questions: with --memory, of the reference run, fewer answers are
    right (docs/measurements/chat_memory.md).
    """
    from rnagpt_lib.chat.decoding import Sampling
    from rnagpt_lib.chat.terminal import Terminal

    sampling = Sampling(temperature, top_p, seed)
    Terminal(run_id, model, retrieval, sampling, memory, max_new_tokens, llm).talk(**rna)


@commands.command(short_help="Make a Hugging Face dataset folder of a finished run.")
@click.argument("run_id", metavar="RUN")
@click.argument("out", metavar="OUT", type=FOLDER)
@click.option("--with-abstracts", is_flag=True,
              help="With titles and abstracts, of the generated world: nobody owns its texts.")  # fmt: skip
@click.option("--with-copyrighted-abstracts", is_flag=True,
              help="With titles, abstracts and sentences quoted from them, though publishers own "
              "them: for a copy that you keep to yourself, or with their leave.")  # fmt: skip
@FORCE
def export_dataset(run_id: str, out: Path, **chosen: bool) -> None:
    """Make OUT, a Hugging Face dataset folder, of the RNA-QA of RUN (notebooks 00 to 03 finished).

    \b
    rnagpt export-dataset reference rna-qa
    hf upload ME/rna-qa rna-qa --repo-type dataset

    OUT does not exist yet; it appears whole or not at all. README.md is the data card; data/ holds
    the configs pairs, rnas, annotations, links, articles and dropped, which load_dataset("rna-qa",
    "pairs") reads; SHA256SUMS every file's hash. Titles and abstracts are left out, as their
    publishers own them; the ids stay.
    """
    from rnagpt_lib.share import dataset

    for config, sides in dataset.export_dataset(run_id, out, **chosen).items():
        listed = ", ".join(f"{side} {number:,}" for side, number in sides.items())
        click.echo(f"{config:<12} {listed}")
    click.echo(f"Data card: {out / 'README.md'}")


@commands.command(short_help="Make a folder of a run's trained model, to load or share.")
@click.argument("run_id", metavar="RUN")
@click.argument("out", metavar="OUT", type=FOLDER)
@click.option("--model", type=click.Choice(["MA", "IT"]), default="IT", show_default=True,
              help="After stage 1 (MA, modality alignment) or 2 (IT, instruction tuning).")  # fmt: skip
@click.option("--merged", is_flag=True, help="Write the whole LLM with the adapters merged into it, "
              "which other software loads, too; as large as the LLM is.")  # fmt: skip
@FORCE
@click.option("--push", "name", metavar="OWNER/NAME", help="Then upload OUT to the Hugging Face Hub, "
              "as a private repository if it is new. Needs HF_TOKEN, one that may write.")  # fmt: skip
def export_model(
    run_id: str, out: Path, model: str, merged: bool, force: bool, name: str | None
) -> None:
    """Make OUT, a folder with the trained model of RUN (notebooks 00 to 05 finished; 04 for MA).

    \b
    rnagpt export-model reference my-rna-gpt
    rnagpt chat --model my-rna-gpt

    OUT does not exist yet; it appears whole or not at all. It holds the projection and the adapters
    as safetensors, the prompt template, names and hashes of their encoder and LLM (which stay where
    they are), the scores of notebook 06 if it is finished, a model card, README.md, and every
    file's hash. With --merged, OUT/llm is what vLLM serves; the card has the command.
    """
    from rnagpt_lib.share import model as shared_model

    if name:
        shared_model.check_hub(name)
    about = shared_model.export_model(run_id, out, model=model, merged=merged, force=force)
    if not about["scored"]:
        click.echo("Not scored: notebook 06 of this run is not finished, and the card says so.")
    click.echo(f"Model card: {out / 'README.md'}")
    if name:
        click.echo(f"Uploaded: {shared_model.push(out, name)} (private, if it is new)")


@commands.command(short_help="What a data set's test side shares with train; what needs no model.")
@click.argument("train", metavar="TRAIN", type=FOLDER)
@click.argument("test", metavar="TEST", type=FOLDER)
@click.option("--out", type=FOLDER, default="audit.html", show_default=True, metavar="FILE.html",
              help="The page to write; the numbers go beside it, into FILE.json.")  # fmt: skip
@SEED
@FORCE
def audit(train: Path, test: Path, out: Path, seed: int, force: bool) -> None:
    """Audit a data set of RNAs, questions and answers (or classes): TRAIN and TEST, two files.

    \b
    rnagpt audit train.fasta test.fasta
    rnagpt audit train.tsv test.tsv --out my_audit.html

    \b
    .fasta (.fa, .fna, .fas, .gz)  '>id answer': of an RNAcentral header the RNA type, of any other
                                   all behind the id
    .tsv, .jsonl, .parquet         columns or fields sequence, answer and, if any, question and id

    Sequences may be RNA or DNA, with IUPAC codes; without questions there is one, for the type.
    The page says which RNAs of TEST are in TRAIN or have a relative there (80 % identity over 80 %
    of the shorter one), and what it takes no language model to answer, with 95 % bounds over groups
    of similar RNAs. It needs no network. 10,000 RNAs take about a minute.
    """
    from rnagpt_lib.core.files import check_place, read_json, write_json, writing
    from rnagpt_lib.evaluate import audit as audits
    from rnagpt_lib.report import page
    from rnagpt_lib.runs import notebooks

    numbers = out.with_suffix(".json")
    check_place(out, (".html", ".htm"), force)
    check_place(numbers, (".json",), force)
    for file in (train, test):
        audits.read(file)  # a fault is told before the notebook starts
    with tempfile.TemporaryDirectory() as folder:
        executed, found = Path(folder) / "notebook.ipynb", Path(folder) / "numbers.json"
        given = {"TRAIN": str(train.resolve()), "TEST": str(test.resolve()), "SEED": seed}
        given["NUMBERS"] = str(found)
        notebooks.execute(notebooks.find("appendix_audit"), executed, given)
        check_place(out, (".html", ".htm"), force)  # minutes have passed
        page.write(executed, out, f"Audit: {train.name} and {test.name}")
        found = read_json(found)
    with writing(numbers, "name another place with --out"):
        write_json(numbers, found)
    for sentence in found["findings"]:
        click.echo(f"- {sentence}")
    click.echo(f"Page: {out}; numbers: {numbers}")


@commands.command(short_help="Make an encoder folder of RNA-FM's original weights.")
@click.argument("source", metavar="PTH", type=FOLDER)
@click.argument("out", metavar="OUT", type=FOLDER)
@click.option("--sha256", "expected", metavar="HEX", help="The hash that the file must have.")
def convert_encoder(source: Path, out: Path, expected: str | None) -> None:
    """Make OUT, an encoder folder, of PTH, the file in which RNA-FM's authors publish it.

    \b
    rnagpt convert-encoder RNA-FM_pretrained.pth models/rna-fm

    The profiles paper_5k and full read models/rna-fm. The weights are kept as safetensors with
    their hashes; a pickle that holds more than tensors is refused unread. Nothing is downloaded.
    """
    from rnagpt_lib.core.files import sha256
    from rnagpt_lib.model.encoder import convert

    encoder = convert(source, out, expected)
    layers, dim, longest = encoder.config["layers"], encoder.dim, encoder.max_length
    click.echo(f"{source}: sha256 {sha256(source)}")
    size = f"{layers} layers, {dim} wide, {longest:,} nt at once"
    click.echo(f"{out}: {size}; sha256 of its weights {encoder.hash}")
