"""What strangers give, damaged by a seed: files, folders of models and runs, answers, texts.

`KINDS` are the ways in. A try of a kind makes a good thing, damages it by chance, and has the
library read it as a user's command would. It survives when that ends within `SECONDS` with what
was read or with an `InputError` of one sentence, when nothing was asked of another machine, and
when neither the canary key nor the canary program has left a trace.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from unittest import mock

import yaml
from werkzeug import Response

from rnagpt_lib.chat import generate
from rnagpt_lib.core import fasta, params, paths, tables, weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import MARKER, SUMS, read_json, write_json
from rnagpt_lib.curate import filter
from rnagpt_lib.curate.questions import facts
from rnagpt_lib.curate.summaries import extract
from rnagpt_lib.curate.text import names, sentences
from rnagpt_lib.evaluate import (
    audit,
    entities,
    fact_scores,
    results,
    statements,
    text_scores,
)
from rnagpt_lib.llm_api import openai_transport, retries
from rnagpt_lib.report import findings
from rnagpt_lib.runs import provenance, stages
from rnagpt_lib.share.folder import seal
from rnagpt_lib.share.model import export_model
from tests.standin import Faults, serve
from tests.standin.openai_api import OpenAI, by_schema
from tests.support import journal_rows, paid_loop
from tests.support.damage import DAMAGED, VALUES, mutate, spoil, spoil_file

SECONDS = 20  # for one try, of which most take a hundredth
KEY = "sk-canary-3f9a1c"
CAP = 0.001  # dollars
TEXTS = [f"text {number}" for number in range(4)]
WORDS = """significantly MiR-21 targets PTEN binds is not associated with In agreement ( ) × ± < <a
    > &lt; &#x41; highly [1] "quoted" e.g. vs. Fig. 3 α-synuclein IL-6 hsa-miR-21-5p GAS5-AS1 ; : ,
    no neither nor increased in glioma . It this RNA p < 0.05 http://x.y/z 10.1000/182 {} \\ $x$ %
    \u00ad \u2011 \u2028 \u202e é e\u0301 🧬 NaN""".split()


class Given:
    """Good things of each kind, made once in ``folder``, whose ``runs`` the tries use."""

    def __init__(self, folder: Path):
        self.folder, self.runs = folder, folder / "runs"
        self.runs.mkdir(parents=True)

    @cached_property
    def model(self) -> Path:
        """The reference run's model with its parts, exported."""
        reference = paths.root() / "runs" / "reference"
        (self.runs / "reference").symlink_to(reference)
        with _runs(self.runs):
            export_model("reference", self.folder / "model")
        llm, encoder = (self.folder / name for name in ("llm", "encoder"))
        shutil.copytree(paths.models() / "mini-llm", llm)
        shutil.copytree(paths.models() / "mini-encoder", encoder)
        return self.folder / "model"

    @cached_property
    def journal(self) -> Path:
        """A journal with answers of a server."""
        with _runs(self.runs), serve(OpenAI(by_schema)) as url:
            paid_loop.ask(TEXTS, url)
        return self.runs / "journal.sqlite"


def _linked(source: Path, to: Path) -> list[Path]:
    """A copy of a folder whose files are links to those of ``source``."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            (to / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (to / path.relative_to(source)).symlink_to(path.resolve())
    return [path for path in sorted(to.rglob("*")) if path.is_file()]


def profiles(rng: random.Random, folder: Path, given: Given) -> None:
    """A profile of one's own, and the file of parameters of ``rnagpt run -f``."""
    text = (paths.profiles() / f"{rng.choice(params.names())}.yaml").read_bytes()
    if rng.random() < 0.5:
        spoilt = spoil(yaml.safe_load(text), rng)
        text = yaml.safe_dump(spoilt, allow_unicode=True).encode("utf-8", "surrogatepass")
    else:
        text = mutate(text, rng)
    found = params.read_yaml(text.decode("utf-8", "replace"))
    if not isinstance(found, dict):
        return
    lower = {str(name).lower(): value for name, value in found.items()}
    params.overridden(params.load("mini"), {n: v for n, v in lower.items() if n != "stages"})


def values(rng: random.Random, folder: Path, given: Given) -> None:
    """``-p NAME VALUE`` for any stage."""
    stage = rng.choice([*params.STAGE_MODELS])
    name = rng.choice([*params.STAGE_MODELS[stage].model_fields])
    value = rng.choice([*VALUES, *(piece.decode("utf-8", "replace") for piece in DAMAGED)])
    params.check_seed(value) if rng.random() < 0.1 else None
    params.load("mini").stage(stage, **{name: value})


def user_files(rng: random.Random, folder: Path, given: Given) -> None:
    """RNAs, a table, articles and links of a user's, through the filter of 00."""
    own = {
        "fasta": ("r.fasta", ">a first\nACGUACGUACGU\n>b tRNA from 2 species\nGGGGCCCCAAAAUUUU\n"),
        "table": ("r.tsv", "rna_id\trna_type\tspecies\tsplit\nb\ttRNA\tMinia tertia\ttest\n"),
        "articles": ("a.jsonl", '{"id": "A1", "title": "T", "abstract": "b binds HuR.", '
                     '"year": 2020}\n{"id": "A2", "title": "T", "abstract": "b is in glioma.", '
        '"year": 2021}\n'),
        "links": ("l.jsonl", '{"rna_id": "b", "article_ids": ["A1", "A2"]}\n'),
    }  # fmt: skip
    for name, text in own.values():
        (folder / name).write_text(text)
    spoil_file(folder / own[rng.choice([*own])][0], rng)
    asked = params.Filter(input="files", **{k: str(folder / n) for k, (n, _) in own.items()})
    filter.write_tables(asked, 0, folder / "made")


def fasta_files(rng: random.Random, folder: Path, given: Given) -> None:
    """FASTA for ``ask``, the chat box and 00."""
    data = b">one an RNA\nACGUACGUNN\nACGU\n>two\nGGGGCCCC-AAAA\n;note\n>three\nacgtacgt\n"
    path = folder / "r.fasta"
    path.write_bytes(mutate(data, rng))
    for read in (fasta.read_fasta, fasta.read_chosen, lambda p: [*fasta.stream_records(p)]):
        with contextlib.suppress(InputError):
            read(path)
    fasta.read_chosen(path.read_bytes())


def sets_to_audit(rng: random.Random, folder: Path, given: Given) -> None:
    """Files for ``rnagpt audit``."""
    rows = [
        {"sequence": "ACGU" * n, "question": "What type?", "answer": f"a{n}"} for n in range(3, 9)
    ]
    kind = rng.choice(["jsonl", "tsv", "fasta"])
    text = {
        "jsonl": "\n".join(map(json.dumps, rows)),
        "tsv": "\n".join(
            "\t".join(map(str, row)) for row in [rows[0], *(r.values() for r in rows)]
        ),
        "fasta": "\n".join(
            f">r{i} {row['answer']}\n{row['sequence']}" for i, row in enumerate(rows)
        ),
    }[kind]
    path = folder / f"set.{kind}"
    path.write_text(text)
    spoil_file(path, rng)
    audit.read(path)


def run_folders(rng: random.Random, folder: Path, given: Given) -> None:
    """A finished run from elsewhere: is it fresh, how was it made, what did it find."""
    source = paths.root() / "runs" / "reference"
    kept = _linked(source, folder / "runs" / "strange")
    small = [path for path in kept if path.stat().st_size < 300_000 and path.suffix != ".ipynb"]
    chosen = rng.choice(small)
    stage = chosen.relative_to(folder / "runs" / "strange").parts[0]
    spoil_file(chosen, rng)
    refused = None
    with _runs(folder / "runs"):
        for read in (
            lambda: provenance.Provenance.of("strange"),
            lambda: findings.findings(results.load("strange")),
            lambda: stages.is_fresh("strange", stage),
            lambda: stages.command("strange", stage),
        ):
            try:
                read()
            except InputError as error:
                refused = error
    if refused:
        raise refused


def parquet(rng: random.Random, folder: Path, given: Given) -> None:
    """One table of a run."""
    source = paths.root() / "runs" / "reference" / "03_decompose_qa" / "pairs.parquet"
    data = source.read_bytes()
    path = folder / "pairs.parquet"
    path.write_bytes(mutate(data[:200] + data[-4000:] if rng.random() < 0.5 else data, rng))
    tables.read(path, "pairs")


def model_folders(rng: random.Random, folder: Path, given: Given) -> None:
    """A model that somebody shares, with its LLM and encoder, asked once."""
    model, llm, encoder = (folder / name for name in ("model", "llm", "encoder"))
    every = _linked(given.model, model)
    parts = _linked(given.folder / "llm", llm) + _linked(given.folder / "encoder", encoder)
    chosen = [path for path in every + parts if path.suffix == ".json"]
    path = rng.choice(chosen)
    spoil_file(path, rng)
    if rng.random() < 0.3:
        (path.parent / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    if rng.random() < 0.8 and path.name != MARKER:  # its sums are right: somebody meant it
        about = read_json(model / "config.json")
        with contextlib.suppress(OSError):
            (model / "config.json").unlink()
            write_json(model / "config.json", about | {"llm_hash": weights.llm_hash(llm)})
            (model / SUMS).unlink()
            seal(model, read_json(model / MARKER))
    try:
        parts = {"llm": str(llm), "encoder": str(encoder)}
        chat = generate.load_model(model=str(model), max_new_tokens=2, **parts)
        chat.ask("ACGUACGUACGUACGU", "What type of RNA is this?")
    finally:
        assert not (folder / "ran").exists(), "a program of the folder ran"


def answers(rng: random.Random, folder: Path, given: Given) -> None:
    """What a server says, under a cap."""

    def strange(app):
        def application(environ, start_response):
            data = Response.from_app(app, environ, buffered=True).get_data()
            body = json.dumps(spoil(json.loads(data), rng)).encode()
            body = body if rng.random() < 0.7 else mutate(data, rng)
            body += KEY.encode() * (rng.random() < 0.2)
            status = rng.choice([*[200] * 15, 400, 404, 413, 429, 500, 302])
            to = rng.choice(["http://[", "\x01", "//", "", "http://127.0.0.1:9/"])
            headers = {"location": to} if status == 302 else {}
            answer = Response(body, status, headers, content_type="application/json")
            return answer(environ, start_response)

        return application

    queue = Faults()
    queue.add(strange, times=rng.randint(1, 4))
    with _runs(folder / "runs"), serve(OpenAI(by_schema), faults=queue) as url:
        try:
            paid_loop.ask(TEXTS, url, cap_dollars=CAP, deadline=5)
        finally:
            assert journal_rows.spent() <= CAP * 1_000_000, "more than the cap is spent"
            assert journal_rows.integrity() == "ok"
        with contextlib.suppress(InputError):  # what was kept is read, the rest is asked
            paid_loop.ask(TEXTS, url, cap_dollars=CAP, deadline=5)


def journals(rng: random.Random, folder: Path, given: Given) -> None:
    """A journal that was damaged, or holds what no client has written."""
    path = folder / "runs" / "journal.sqlite"
    path.parent.mkdir()
    shutil.copy(given.journal, path)
    if rng.random() < 0.5:
        path.write_bytes(mutate(path.read_bytes(), rng))
    else:
        with contextlib.closing(sqlite3.connect(path)) as db:
            table = rng.choice(
                [
                    row[0]
                    for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                ]
            )
            column = rng.choice([row[1] for row in db.execute(f"PRAGMA table_info({table})")])
            value = rng.choice([None, -1, 2**62, "x", b"\xff", "", b"{" * 5000])
            with contextlib.suppress(sqlite3.Error), db:
                db.execute(f"UPDATE {table} SET {column} = ?", (value,))
    with _runs(folder / "runs"), serve(OpenAI(by_schema)) as url:
        paid_loop.ask(TEXTS, url)


def texts(rng: random.Random, folder: Path, given: Given) -> None:
    """An abstract, a question or an answer of up to 48,000 letters, in each function that reads it."""
    piece = " ".join(rng.choices(WORDS, k=rng.randint(1, 12)))
    glue = rng.choice(["", " ", "  ", ". "])
    text = glue.join([piece] * (rng.choice([100, 5_000, 48_000]) // (len(piece) + len(glue)) + 1))
    known = ["glioma", "PTEN", "α-synuclein"]
    for read in (
        sentences.split_sentences, facts.facts_in, facts.has_subject, extract.content_words,
        statements.abstains, statements.yes_or_no, entities.mentions, text_scores.words_of,
        lambda t: names.mask_names(t, ["hsa-miR-21-5p", "GAS5"]),
        lambda t: sentences.about("1", t, t, ["GAS5"]),
        lambda t: entities.named(t, known),
        lambda t: fact_scores.is_right(t, t, "glioma", known),
        lambda t: fact_scores.yes_or_no(t, t),
        lambda t: text_scores.rouge([t[:2000]], [t[:500]]),
    ):  # fmt: skip
        read(text)


KINDS: dict[str, Callable[[random.Random, Path, Given], None]] = {
    "profiles and files of parameters": profiles,
    "parameters by name": values,
    "a user's files": user_files,
    "FASTA": fasta_files,
    "sets to audit": sets_to_audit,
    "folders of runs": run_folders,
    "parquet": parquet,
    "folders of models": model_folders,
    "answers of servers": answers,
    "journals": journals,
    "texts": texts,
}


def attempt(kind: str, seed: int, folder: Path, given: Given) -> tuple[str, str]:
    """How a try ended: ("read" or "refused", "") when it survived, else ("lost", what was wrong)."""
    told, rng = io.StringIO(), random.Random(f"{kind}/{seed}")
    folder.mkdir(parents=True)
    try:
        with (
            _limited(),
            warnings.catch_warnings(),
            mock.patch.object(retries, "pause"),
            contextlib.redirect_stdout(told),
            contextlib.redirect_stderr(told),
        ):
            warnings.simplefilter("ignore")
            KINDS[kind](rng, folder, given)
        ended, said = "read", ""
    except InputError as error:
        ended, said = "refused", str(error)
    except Exception as error:
        return "lost", f"{type(error).__name__}: {error}"[:300]
    if not said.isprintable() or len(said) > 2000:
        return "lost", f"its sentence is none: {said[:300]!r}"
    kept = told.getvalue() + said
    kept += "".join(
        p.read_bytes().decode("latin-1")
        for p in folder.rglob("*")
        if p.is_file() and not p.is_symlink()
    )
    return ("lost", "the key is told or kept") if KEY in kept else (ended, "")


@contextlib.contextmanager
def _runs(folder: Path) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ("RNAGPT_RUNS", openai_transport.KEY)}
    os.environ |= {"RNAGPT_RUNS": str(folder), openai_transport.KEY: KEY}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"it takes more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
