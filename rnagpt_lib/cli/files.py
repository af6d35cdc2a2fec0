"""The commands of ``rnagpt`` that make files to share out of a run, or read files of others."""

from pathlib import Path

import click


@click.command(short_help="Make a Hugging Face dataset folder of a finished run.")
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
    from rnagpt_lib.share import dataset

    rows = dataset.export_dataset(
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


@click.command(short_help="Make a folder of a run's trained model, to load or share.")
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
    from rnagpt_lib.chat.generate import load_model
    load_model(model="my-rna-gpt").ask("GGCUAGCUCAAUCGG", "What type of RNA is the RNA?")

    With --merged, OUT/llm is what vLLM serves (--enable-prompt-embeds); the card has the command,
    and examples.serve_vllm.serving asks such a server.
    """
    from rnagpt_lib.share import hub
    from rnagpt_lib.share import model as export_model

    if name:
        hub.check(name)
    about = export_model.export_model(run_id, out, model=model, merged=merged, force=force)
    if not about["scored"]:
        click.echo("Not scored: notebook 06 of this run is not finished, and the card says so.")
    click.echo(f"Model card: {out / 'README.md'}")
    if name:
        click.echo(f"Uploaded: {hub.push(out, name)} (private, if it is new)")


@click.command(short_help="What a data set's test side shares with train; what needs no model.")
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
    from rnagpt_lib.evaluate import audit_run

    for sentence in audit_run.run(train, test, out, seed, force):
        click.echo(f"- {sentence}")
    click.echo(f"Page: {out}; numbers: {out.with_suffix('.json')}")


@click.command(short_help="Make an encoder folder of RNA-FM's original weights.")
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
    from rnagpt_lib.core.files import sha256
    from rnagpt_lib.model import rnafm_weights

    encoder = rnafm_weights.convert(source, out, expected)
    size = (
        f"{encoder.config['layers']} layers, {encoder.dim} wide, {encoder.max_length:,} nt at once"
    )
    click.echo(f"{source}: sha256 {sha256(source)}")
    click.echo(f"{out}: {size}; sha256 of its weights {encoder.hash}")
