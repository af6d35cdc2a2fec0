"""Question and answer pairs by a chat model, and what each pair must hold to be kept.

The model says on which of an annotation's numbered sentences each pair rests. A pair is dropped,
never repaired, where its sentences do not say what it says, where its "No" may be wrong, and so on.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict

from rnagpt_lib.core.params import Decompose, Summarize
from rnagpt_lib.core.tables import Texts, frame, read
from rnagpt_lib.core.text import screen
from rnagpt_lib.curate import prompts
from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.curate.summaries.citations import stems
from rnagpt_lib.curate.summaries.extract import NEGATIONS
from rnagpt_lib.curate.text.sentences import Folded, split_sentences
from rnagpt_lib.llm_api.client import Client
from rnagpt_lib.llm_api.messages import Reply, Request
from rnagpt_lib.runs.stages import STAGES, stage_folder

UNSUPPORTED = "has an answer that its statements do not support"
CONTRARY = "says the contrary of its statements"
SUPPORTED = 0.75  # share of an answer's new content words that its sentences must hold

_NUMBER = re.compile(r"(?<![\w.-])\d+(?:[.,]\d+)*")
_SYMBOL = re.compile(r"\b(?=\w*(?:\d|\w[A-Z]))(?=\w*[A-Za-z])[\w-]+")
_CLAUSE = re.compile(r"(?i)[.;]\s|\b(?:but|whereas|while|although|however)\b")
_TURN = re.compile(r"(?i)(?P<said>Yes|No)\b[,.:]?\s*")
_WORDINGS = " ".join(
    " ".join([*r.questions, r.closed, r.answer, r.denial, r.noun]) for r in RELATIONS.values()
)
_GENERIC = (
    stems(_WORDINGS + " role roles involved known have function act play affect yes") | NEGATIONS
)


class Asked(BaseModel):
    """One pair as a chat model writes it; ``statements``: the numbers of those it rests on."""

    model_config = ConfigDict(extra="forbid")

    form: Literal["open", "closed"]
    kind: Literal["literature", "local"]
    question: Folded
    answer: Folded
    statements: list[int]


class Pairs(BaseModel):
    """What a chat model answers when it is asked for pairs."""

    model_config = ConfigDict(extra="forbid")

    pairs: list[Asked]


class Statements(NamedTuple):
    """What one RNA's pairs are asked and checked with: the sentences of its annotation and their
    articles by number, and the texts of all its articles."""

    rna_id: str
    texts: dict[int, str]
    article_ids: dict[int, list[str]]
    abstracts: tuple[str, ...] = ()


Kept = tuple[Asked, list[str]]  # and the articles behind it (none behind a "No" by silence)


class Annotated:
    """The `Statements` of each annotated RNA, one at a time."""

    def __init__(self, annotations: pd.DataFrame, articles: pd.DataFrame, links: pd.DataFrame):
        self._annotations, self._texts = annotations, Texts(articles)
        self._rows = annotations.groupby("rna_id").indices
        self._linked = links.groupby("rna_id")["article_id"].agg(list).to_dict()
        self.rna_ids = sorted(self._rows)

    def of(self, rna_ids: Sequence[str]) -> Iterator[Statements]:
        """Those of some RNAs, in the order of ``rna_ids``."""
        for rna_id in rna_ids:
            own = self._annotations.take(self._rows[rna_id]).set_index("sentence_no")
            abstracts = (". ".join(self._texts[i]) for i in self._linked.get(rna_id, ()))
            ids = own["article_ids"].map(list).to_dict()
            yield Statements(rna_id, own["text"].to_dict(), ids, tuple(abstracts))


def request(one: Statements, params: Decompose) -> Request:
    """What is asked about one RNA."""
    messages = prompts.qa(one.texts.items(), params.min_pairs, params.max_pairs)
    most = 300 + 120 * params.max_pairs
    return Request(messages, Pairs, prompts.QA_VERSION, most, f"{one.rna_id} pairs")


def requests(annotations: pd.DataFrame, params: Decompose) -> Iterator[Request]:
    """What the provider ``openai`` would be asked about a source's annotations; sends nothing."""
    everyone = Annotated(annotations, frame("articles", []), frame("links", []))
    return (request(one, params) for one in everyone.of(everyone.rna_ids))


def planned_requests(run: str, params: Decompose, seed: int = 0) -> Iterator[Request]:
    """What 03 of a run would ask a language model, from the tables of 00 and 02; sends nothing.

    Before 02 has run they are a guess, annotations of the greatest length, and a printed line says
    so. Raises InputError where a table of 00 is missing.
    """
    links = read(stage_folder(run, STAGES[0]) / "links.parquet", "links")
    path = stage_folder(run, STAGES[2]) / "annotations.parquet"
    if path.is_file():
        texts = read(path, "annotations")
        return requests(texts[texts["source"] == params.source], params)
    words = Summarize().words
    guess = f"annotations of {words} words for all RNAs with abstracts"
    print(f"A guess, as {STAGES[2]} has not run yet: {guess}")
    row = {"source": params.source, "sentence_no": 0, "article_ids": []}
    texts = ({"rna_id": i, "text": f"{i} " + "word " * words} for i in links["rna_id"].unique())
    return requests(frame("annotations", (row | text for text in texts)), params)


def ask(
    wave: Sequence[Statements], params: Decompose, client: Client
) -> Iterator[tuple[str, list[Kept], list[str], Reply]]:
    """Of each RNA of a wave: rna_id, pairs, reasons of what was dropped, the reply."""
    replies = client.ask([request(one, params) for one in wave], "pairs")
    for one, reply in zip(wave, replies, strict=True):
        yield one.rna_id, *checked(one, reply), reply


def checked(one: Statements, reply: Reply) -> tuple[list[Kept], list[str]]:
    """The pairs of a reply that pass every check, and a reason for each that does not."""
    if reply.state != "ok":
        return [], [f"the model's pairs are missing (state {reply.state})"]
    # each question once, in whatever wording; none that has both answers
    alike: dict[tuple, list[Asked]] = defaultdict(list)
    reasons = []
    for pair in reply.value.pairs:
        if reason := fault(pair, one):
            reasons.append(f"a pair {reason}")
        else:
            alike[pair.form, stems(pair.question)].append(pair)
    agreeing = [
        pairs[0]
        for (form, _), pairs in alike.items()
        if form == "open" or len({pair.answer[:1].lower() for pair in pairs}) == 1
    ]
    repeated = sum(map(len, alike.values())) - len(agreeing)
    reasons += ["a pair repeats or contradicts another"] * repeated
    return [(pair, _behind(pair, one)) for pair in agreeing], reasons


def fault(pair: Asked, one: Statements) -> str:
    """Why a pair cannot be kept; "" when it can."""
    return next(_faults(pair, one), "")


def _faults(pair: Asked, one: Statements) -> Iterator[str]:
    """What is wrong, in the order of the checks; each takes for granted those before it."""
    if reason := screen(pair.question) or screen(pair.answer):
        yield reason
    question, answer = pair.question.rstrip("\n"), pair.answer.rstrip("\n")
    if not (question.endswith("?") and re.search(r"(?i)\b(?:the|this) RNA\b", question)):
        yield "asks no question about the RNA"
    said = answer.endswith(".") and re.search(r"\w", answer)
    if not said or len(split_sentences(answer)) > 1:
        yield "has an answer that is not one sentence"
    closed, turn = pair.form == "closed", _TURN.match(pair.answer)
    if bool(turn) != closed:
        yield "has an answer that does not fit its form"
    if not pair.statements or not set(pair.statements) <= set(one.texts):
        yield "rests on a statement that was not given"
    evidence = " ".join(one.texts[n] for n in dict.fromkeys(pair.statements))
    known, new = stems(evidence), stems(pair.answer) - stems(pair.question)

    # a "Yes" needs a clause that says it; a "No" one that denies it, or silence everywhere
    about = _subject(pair)
    said = {not stems(clause) & NEGATIONS for clause in _holding(about, evidence)}
    if closed:
        yes = turn["said"].lower() == "yes"
        if not about:
            yield "asks for nothing in particular"
        if yes and not said:
            yield UNSUPPORTED
        if said and yes not in said:
            yield CONTRARY
        texts = " ".join((*one.texts.values(), *one.abstracts))
        if not said and any(about <= stems(text) for text in split_sentences(texts)):
            yield "denies what a text of the RNA names"
    elif not new - NEGATIONS:
        yield "has an answer that says nothing new"

    # what an answer says beyond its question its statements say, too
    if not _numbers(pair.answer) <= _numbers(evidence) | _numbers(pair.question):
        yield "has a number that its statements do not have"
    if not _symbols(pair.answer) <= _symbols(evidence) | _symbols(pair.question):
        yield "names an entity that its statements do not name"
    beyond = new - _GENERIC
    if len(beyond & known) < SUPPORTED * len(beyond):
        yield UNSUPPORTED
    if not closed:  # it denies what they deny
        clauses = _holding((new - NEGATIONS) & known, evidence) or [evidence]
        denied = {bool(stems(clause) & NEGATIONS) for clause in clauses}
        if bool(stems(pair.answer) & NEGATIONS) not in denied:
            yield CONTRARY


def _subject(pair: Asked) -> frozenset[str]:
    """The words of a question that are not wordings common to all: what it asks for."""
    return stems(pair.question) - _GENERIC


def _holding(words: frozenset[str], text: str) -> list[str]:
    """The clauses of a text that hold all of the words."""
    return [clause for clause in _CLAUSE.split(text) if words <= stems(clause)]


def _numbers(text: str) -> set[str]:
    return {found.replace(",", "") for found in _NUMBER.findall(text)}


def _symbols(text: str) -> set[str]:
    """Words with a digit or an inner capital, such as PTEN and HuR, folded."""
    return {found.casefold() for found in _SYMBOL.findall(text)} - {"rna", "rnas"}


def _behind(pair: Asked, one: Statements) -> list[str]:
    """The articles behind a pair's statements; none behind a "No" of which they do not speak."""
    silent = pair.answer.lower().startswith("no") and pair.form == "closed"
    if silent and not any(_holding(_subject(pair), one.texts[n]) for n in pair.statements):
        return []
    return sorted({i for n in pair.statements for i in one.article_ids[n]})
