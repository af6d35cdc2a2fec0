"""``rnagpt ask`` and ``rnagpt chat``: a trained model at the command line."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from rnagpt_lib.core.errors import InputError

RETRIEVAL = ("beside", "only", "off")
_OPTIONS = (
    click.option("--run", "run_id", default="reference", show_default=True, help="Run id."),
    click.option(
        "--model",
        default="IT",
        show_default=True,
        help="vanilla, MA or IT of the run, or the folder of an exported model.",
    ),
    click.option(
        "--retrieval",
        type=click.Choice(RETRIEVAL),
        default="beside",
        show_default=True,
        help="Show the nearest RNAs of the run's training set beside each answer, show them alone "
        "(ask then loads no LLM), or leave them out.",
    ),
    click.option(
        "--temperature", default=0.0, show_default=True, help="0 is greedy; 0.7 varies answers."
    ),
    click.option("--top-p", default=1.0, show_default=True, help="Draw from this share alone."),
    click.option("--seed", default=0, show_default=True, help="Of the draws."),
    click.option(
        "--max-new-tokens", default=256, show_default=True, type=click.IntRange(min=1),
        help="An answer is cut here.",
    ),
)  # fmt: skip


def _answering(command: Callable) -> Callable:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(short_help="Ask a model about RNAs: FASTA in, answers out.")
@click.option("--fasta", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE",
              help="RNAs (or DNAs) to ask about, plain or .gz; - reads standard input.")  # fmt: skip
@click.option("--sequence", help="One RNA, typed.")
@click.option("--id", "rna_id", metavar="URS", help="One RNA of the run, or of RNAcentral.")
@click.option("--question", "questions", multiple=True, help="Repeat for more.")
@click.option("--questions", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              metavar="FILE", help="A text file with a question a line; # begins a comment.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="answers.jsonl, .tsv or .md; without it answers are shown.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE, and what a stopped call left of it.")
@_answering
def ask(
    fasta: Path | None, sequence: str | None, rna_id: str | None, questions: tuple[str, ...],
    file: Path | None, out: Path | None, force: bool, run_id: str, model: str, retrieval: str,
    temperature: float, top_p: float, seed: int, max_new_tokens: int,
) -> None:  # fmt: skip
    """Ask a model every question about every RNA.

    \b
    rnagpt ask --fasta my.fa --question "What type of RNA is the RNA?" --out answers.jsonl
    rnagpt ask --sequence GGCUAGCUCAAUCGGUAGAGC --question "What type of RNA is the RNA?"
    zcat all.fa.gz | rnagpt ask --fasta - --questions questions.txt --out answers.tsv

    A record that is no RNA (protein, foreign letters, under 10 nt, an id used twice) gets a row
    with the reason, and the others are answered. A call that was stopped goes on when it is given
    again, and writes the file of one that was not. What is retrieved from the training set is
    marked as such: it is looked up, not generated. That nothing
    is said of an answer does not confirm it.

    The run that comes with the repository knows a generated world, and no RNA of nature.
    """
    from rnagpt_lib.chat import ask as asking

    asked = _questions(questions, file)
    given = [value for value in (fasta, sequence, rna_id) if value is not None]
    if len(given) != 1:
        raise InputError("give the RNAs as one of --fasta FILE, --sequence ACGU..., --id URS...")
    if out:
        asking.check_out(out, force)
    options = (temperature, top_p, seed, max_new_tokens)
    with _stopping(out), _fasta(fasta, sequence, rna_id, run_id) as source:
        asker = _asker(run_id, model, retrieval, asked, *options)
        if not out:
            _show(asker, source)
            return
        told = asking.ask_file(asker, source, out, force)
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
    if fasta and str(fasta) != "-":
        yield fasta
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard input"
        with path.open("wb") as file:
            if fasta:
                while piece := sys.stdin.buffer.read(1 << 20):
                    file.write(piece)
            else:
                file.write(_one(sequence, rna_id, run_id).encode("utf-8", "replace"))
        yield path


def _one(sequence: str | None, rna_id: str | None, run_id: str) -> str:
    """FASTA of what was typed."""
    from rnagpt_lib.chat.lookup import look_up

    if rna_id is None:
        typed = sequence or ""
        return typed if ">" in typed else f">sequence\n{typed}\n"
    found = look_up(rna_id, run=run_id)
    return f">{found.rna_id}\n{found.sequence}\n"


def _asker(
    run_id: str, model: str, retrieval: str, asked: tuple[str, ...], temperature: float,
    top_p: float, seed: int, max_new_tokens: int,
):  # fmt: skip
    from rnagpt_lib.chat import generate, retrieved_evidence
    from rnagpt_lib.chat.ask import Asker
    from rnagpt_lib.chat.decoding_batch import Sampling
    from rnagpt_lib.chat.retrieval import Retrieval

    sampling = Sampling(temperature, top_p, seed)
    chat = None if retrieval == "only" else generate.load_model(run_id, model, max_new_tokens)
    if chat and chat.miniature:
        click.echo(f"Note: {generate.MINIATURE}", err=True)
    if retrieval == "off":
        return Asker(asked, chat, sampling=sampling)
    found = Retrieval.of(run_id)

    def evidence(rna_id: str, rna: str, question: str, answer: str) -> dict:
        if chat:
            return retrieved_evidence.to_dict(found.beside(rna, question, answer, rna_id))
        return retrieved_evidence.to_dict(found.only(rna, question))

    return Asker(
        asked, chat, evidence, sampling, named=f"{retrieval} {Retrieval.tables_hash(run_id)}"
    )


def _show(asker, source: Path) -> None:
    """The answers, record by record; exit code 1 where no record could be asked about."""
    from rnagpt_lib.chat import answer_files
    from rnagpt_lib.core.fasta import stream_records

    answered = False
    for record in stream_records(source):
        rows = asker.rows([record])
        answered |= any("refused" not in row for row in rows)
        for line in answer_files.shown(rows):
            click.echo(line)
    if not answered:
        sys.exit(1)


@contextmanager
def _stopping(out: Path | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        partial = Path(f"{out}.partial")
        there = out and partial.is_file()
        kept = f"; the answers so far are in {partial}, and the same call goes on" if there else ""
        click.echo(f"rnagpt: stopped{kept}", err=True)
        sys.exit(130)


@click.command(short_help="Talk to a model about an RNA, in the terminal.")
@click.option("--fasta", type=click.Path(path_type=Path), metavar="FILE",
              help="RNAs to choose from; /use takes another later.")  # fmt: skip
@click.option("--sequence", help="One RNA, typed.")
@click.option("--id", "rna_id", metavar="URS", help="One RNA of the run, or of RNAcentral.")
@click.option("--memory", is_flag=True, help="Let the model read its earlier answers again.")
@_answering
def chat(
    fasta: Path | None, sequence: str | None, rna_id: str | None, memory: bool, run_id: str,
    model: str, retrieval: str, temperature: float, top_p: float, seed: int, max_new_tokens: int,
) -> None:  # fmt: skip
    """Talk to a model about an RNA. Answers are shown as they come; Ctrl-C stops one.

    \b
    rnagpt chat --sequence GGCUAGCUCAAUCGGUAGAGCGUGAGACUCUUAAUCUCAAGGUUGUGGGUUCGACCCGU
    rnagpt chat --fasta my.fa

    /help lists what else can be typed: another RNA, another model, the transcript as a file.

    Models are trained on single questions: with --memory, of the reference run, fewer answers are
    right (benchmarks/README.md).
    """
    from rnagpt_lib.chat.decoding_batch import Sampling
    from rnagpt_lib.chat.terminal import Terminal

    sampling = Sampling(temperature, top_p, seed)
    terminal = Terminal(run_id, model, retrieval, sampling, memory, max_new_tokens)
    terminal.talk(fasta=fasta, sequence=sequence, rna_id=rna_id)
