"""Annotations out of abstracts, whose sentences name their articles and speak of "this RNA".

``dnc`` (paper, section 3.2) summarises topic groups and merges, ``single_pass`` all abstracts at
once, ``given`` takes texts. Offline it is extractive; the provider ``openai`` is a chat model.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from rnagpt_lib.core import tables
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import progress
from rnagpt_lib.core.params import Summarize
from rnagpt_lib.core.paths import from_root, shown
from rnagpt_lib.core.text import clean, screen
from rnagpt_lib.curate.sources.user_files import json_lines
from rnagpt_lib.curate.summaries import divide_and_conquer, extract
from rnagpt_lib.curate.summaries.divide_and_conquer import Annotation
from rnagpt_lib.curate.summaries.extract import Abstract, Line, Subject
from rnagpt_lib.curate.text.names import mask_names, names_of
from rnagpt_lib.curate.text.sentences import capital, split_sentences
from rnagpt_lib.llm_api.client import Client
from rnagpt_lib.llm_api.cost import Replay
from rnagpt_lib.llm_api.journal import Reader
from rnagpt_lib.llm_api.messages import Request
from rnagpt_lib.runs.resume_store import Store
from rnagpt_lib.runs.stages import STAGES, stage_folder

MATTERS = {"model", "temperature", "words"}  # the parameters that decide what a model's texts are
SOURCES = ("dnc", "single_pass")


class Summaries(NamedTuple):
    """Tables ``annotations`` and ``dropped``, and what each annotation took (`Annotation`)."""

    annotations: pd.DataFrame
    dropped: pd.DataFrame
    usage: pd.DataFrame


def summarize(
    rnas: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    topics: pd.DataFrame,
    params: Summarize,
    arms: Sequence[str] = SOURCES,
    seed: int = 0,
    spool: Store | None = None,
) -> Summaries:
    """Annotations by every one of the arms, and ``given`` where a file is named.

    For every source an RNA has rows in ``annotations`` or one in ``dropped``. ``seed``: of the
    arm ``dnc.random_groups``. ``spool`` keeps what a chat model's answers became, wave by wave.
    Raises InputError for a bad file or a failing provider.
    """
    everyone = Subjects(rnas, articles, links, topics)
    if params.provider == "offline":
        bar = progress(everyone, desc="summaries", total=len(rnas), unit="RNA")
        weights, others = extract.word_weights(articles), extract.known_names(rnas)
        rows, dropped, usage = _rows(_extract(bar, params.words, weights, others, arms, seed))
    else:

        def asked(wave: Sequence[str], client: Client) -> tuple[list[dict], ...]:
            return _rows(_ask(everyone.of(wave), params.words, arms, seed, client))

        settings = (params.model_dump(mode="json", include=MATTERS), tuple(arms), seed)
        rows, dropped, usage = divide_and_conquer.in_waves(
            everyone.rna_ids, params, settings, asked, spool
        )
    if params.given:
        texts, lost = read_given(from_root(params.given), rnas)
        rows, dropped = rows + texts, dropped + lost
    return Summaries(
        tables.frame("annotations", rows),
        tables.frame("dropped", dropped),
        pd.DataFrame(usage, columns=["rna_id", "source", *divide_and_conquer.USAGE]),
    )


def requests(
    rnas: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    topics: pd.DataFrame,
    params: Summarize,
    compared: Collection[str] = (),
    seed: int = 0,
) -> Iterator[Request]:
    """What `summarize` would send with the provider ``openai``; sends nothing.

    RNAs that are ``compared`` are divided in all ways. Repairs are there where the journal holds
    the faulty answer.
    """
    with Reader() as journal:
        for subject in Subjects(rnas, articles, links, topics):
            ways = divide_and_conquer.ARMS if subject.rna_id in compared else SOURCES
            for plan in divide_and_conquer.plan(subject, ways, seed):
                yield from divide_and_conquer.foresee(plan, params.words, Replay(params, journal))


def planned_requests(run: str, params: Summarize, seed: int = 0) -> Iterator[Request]:
    """What 02 of a run would ask a language model, from the tables of 00 and 01.

    Raises InputError where one of them is missing.
    """
    stages = {"articles": STAGES[0], "links": STAGES[0], "topics": STAGES[1], "rnas": STAGES[0]}
    files = {name: stage_folder(run, stage) / f"{name}.parquet" for name, stage in stages.items()}
    read = {name: tables.read(path, name) for name, path in files.items()}
    compared = draw_compared(read["topics"], params.arms_sample, seed)
    return requests(**read, params=params, compared={*compared}, seed=seed)


def draw_compared(topics: pd.DataFrame, most: int, seed: int) -> list[str]:
    """Up to ``most`` RNAs with more than one topic, drawn with the seed: those on which the ways
    to summarise are compared."""
    several = topics.groupby("rna_id")["topic"].nunique()
    chosen = several.index[several > 1].to_series()
    return sorted(chosen.sample(min(most, len(chosen)), random_state=seed))


class Subjects:
    """The RNAs with their abstracts; links without a topic row are in group 0.

    One RNA's texts are taken out of the tables at a time, since all together are gigabytes.
    """

    def __init__(
        self, rnas: pd.DataFrame, articles: pd.DataFrame, links: pd.DataFrame, topics: pd.DataFrame
    ):
        grouped = links.merge(topics, how="left", on=["rna_id", "article_id"])
        self.rna_ids = rnas["rna_id"].tolist()
        self._rnas = rnas.set_index("rna_id", drop=False)
        self._texts = tables.Texts(articles)
        self._topic = grouped["topic"].fillna(0).astype(int).array
        self._article = grouped["article_id"].array
        self._linked = grouped.groupby("rna_id").indices

    def __iter__(self) -> Iterator[Subject]:
        return self.of(self.rna_ids)

    def of(self, rna_ids: Sequence[str]) -> Iterator[Subject]:
        """Some of them, in the order of ``rna_ids``."""
        for row in self._rnas.loc[list(rna_ids)].itertuples(index=False):
            rows = self._linked.get(row.rna_id, ())
            yield Subject(
                row.rna_id, tuple(names_of(row._asdict())), tuple(map(self._abstract, rows))
            )

    def _abstract(self, row: int) -> Abstract:
        article, topic = self._article[row], int(self._topic[row])
        return Abstract(article, *self._texts[article], topic, self._texts.year(article))


def _extract(
    everyone: Iterable[Subject], words: int, weights: dict, others: frozenset, arms, seed: int
) -> Iterator[Annotation]:
    """By rule: the same choice of sentences for each way to divide the abstracts."""
    for subject in everyone:
        pool = [s for s in extract.sentences_of(subject, others) if not screen(s.text)]
        for arm in arms:
            groups = divide_and_conquer.divide(subject, arm, seed)
            group = {a.article_id: n for n, own in enumerate(groups) for a in own}
            divided = [replace(s, topic=group[s.article_id]) for s in pool]
            lines = extract.extract_summary(divided, words, weights)
            yield Annotation(subject.rna_id, arm, lines, [] if lines else [_nothing(subject)])


def _ask(
    wave: Iterable[Subject], words: int, arms: Sequence[str], seed: int, client: Client
) -> Iterator[Annotation]:
    """By a chat model, the RNAs of a wave together."""
    own = list(wave)
    plans = [plan for one in own for plan in divide_and_conquer.plan(one, arms, seed)]
    bare = (one for one in own if not one.abstracts)
    nothing = (Annotation(one.rna_id, arm, [], [_nothing(one)]) for one in bare for arm in arms)
    return chain(divide_and_conquer.annotate(plans, words, client), nothing)


def _nothing(subject: Subject) -> str:
    if number := len(subject.abstracts):
        return f"no usable sentence in its {number} abstracts"
    return "no abstract is linked to it"


def _rows(annotations: Iterable[Annotation]) -> tuple[list[dict], list[dict], list[dict]]:
    """Rows of annotations, of dropped and of usage."""
    rows, dropped, usage = [], [], []
    for one in annotations:
        about = {"rna_id": one.rna_id, "source": one.source}
        rows += [
            about | {"sentence_no": number, "text": line.text, "article_ids": [*line.article_ids]}
            for number, line in enumerate(one.lines)
        ]
        dropped += [_drop(one.rna_id, f"{one.source}: {reason}") for reason in one.reasons]
        usage += [about | one.usage] if one.usage else []
    return rows, dropped, usage


def _drop(record: str, reason: str) -> dict:
    return {"stage": STAGES[2], "record": record, "reason": reason}


def read_given(path: Path, rnas: pd.DataFrame) -> tuple[list[dict], list[dict]]:
    """Rows of annotations and of dropped from a JSONL file of rna_id, text[, article_ids].

    Raises InputError for a missing file or a line that is no such object.
    """
    names = {row["rna_id"]: names_of(row) for row in rnas.to_dict("records")}
    lines, dropped = defaultdict(list), []
    for number, entry in json_lines(path, ("rna_id", "text")):
        rna_id, ids = str(entry["rna_id"]), entry.get("article_ids") or []
        if not isinstance(ids, list):
            fault = 'article_ids is no list; write ["id", …]'
            raise InputError(f"{shown(path)}, line {number}: {fault}")
        if rna_id not in names:
            dropped.append(_drop(rna_id, f"given: line {number}: not among the run's RNAs"))
            continue
        for sentence in split_sentences(clean(str(entry["text"]))):
            masked = capital(mask_names(sentence, names[rna_id]))
            lines[rna_id].append(Line(masked, tuple(map(str, ids))))
    dropped += [_drop(rna_id, "given: no text") for rna_id in names if not lines[rna_id]]
    rows, *_ = _rows(Annotation(rna_id, "given", lines[rna_id], []) for rna_id in names)
    return rows, dropped
