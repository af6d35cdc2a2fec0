"""Divide and conquer by a chat model: groups summarised on their own, then merged.

A wave of RNAs goes through together: groups, repairs of faulty answers, merges, their repairs. So
batches work, and memory holds one wave. `citations` checks what a model says before all else.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from typing import NamedTuple

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Calls
from rnagpt_lib.curate import prompts
from rnagpt_lib.curate.summaries import citations
from rnagpt_lib.curate.summaries.extract import SHORTEST_SHARE, Abstract, Line, Subject, length
from rnagpt_lib.llm_api.batch import open_client
from rnagpt_lib.llm_api.client import AGAIN, Client, counted
from rnagpt_lib.llm_api.cost import Replay, Unanswered
from rnagpt_lib.llm_api.messages import Reply, Request
from rnagpt_lib.runs.resume_store import Store
from rnagpt_lib.runs.stages import WARNING

ARMS = ("dnc", "dnc.random_groups", "dnc.chronological", "single_pass")
USAGE = ("calls", "tokens_in", "tokens_out", "microdollars", "first", "valid", "parts", "survived",
         "shared")  # fmt: skip
REPAIRS = 2  # times that a faulty answer is asked for again
MOST_LOST = 0.5  # of the RNAs that are asked about may have no answer
WAVE = {"sync": 2_000, "batch": 40_000}  # RNAs in memory together; a batch may take a day

MISSING = r"missing \(state (\w+)\)"  # why a row is dropped for want of an answer
Groups = tuple[tuple[Abstract, ...], ...]


def waves(rna_ids: Iterable[str], mode: str) -> Iterator[tuple[str, ...]]:
    """The RNAs that are asked about together."""
    rest = iter(rna_ids)
    return iter(lambda: tuple(islice(rest, WAVE[mode])), ())


def in_waves(
    rna_ids: Iterable[str],
    params: Calls,
    settings: object,
    ask: Callable[[tuple[str, ...], Client], tuple[list[dict], ...]],
    spool: Store | None,
) -> tuple[list[dict], list[dict], list[dict]]:
    """The three lists of rows that ``ask`` makes of each wave's answers, all waves together.

    ``spool`` keeps them by wave, under all that they depend on (``settings``): to read hundreds of
    thousands of answers again takes minutes. Raises InputError where for most RNAs the model's
    answers are missing and nothing came of the others; for fewer it says so.
    """
    if spool and params.ask_again:
        spool.forget()
    tasks, found = ((wave, settings) for wave in waves(rna_ids, params.mode)), ([], [], [])
    with open_client(params) as client:

        def made(missing: Iterable) -> Iterator[tuple[list[dict], ...]]:
            return (ask(wave, client) for wave, _ in missing)

        for part in spool.results(tasks, made) if spool else made(tasks):
            for rows, more in zip(found, part, strict=True):
                rows += more
    there, asked = ({row["rna_id"] for row in found[n]} for n in (0, 2))
    states = ((row["record"], re.search(MISSING, row["reason"])) for row in found[1])
    if lost := {rna_id: state[1] for rna_id, state in states if state and rna_id not in there}:
        what = f"{len(lost)} of {len(asked)} RNAs have nothing, as the model's answers are missing "
        what += f"({counted(Counter(lost.values()))}); {AGAIN}"
        if len(lost) > MOST_LOST * len(asked):
            raise InputError(f"{what}; or take another BASE_URL, MODEL, or PROVIDER offline")
        print(f"{WARNING}{what}")
    return found


class Plan(NamedTuple):
    """One RNA's abstracts in groups; sources with equal groups share one plan, and its cost."""

    subject: Subject
    sources: tuple[str, ...]
    groups: Groups


class Annotation(NamedTuple):
    """The sentences of an annotation, why others or all of it are missing, what it took.

    ``usage`` (`USAGE`; empty when offline): ``first`` sentences of the first answers, ``valid`` ones
    without fault; articles that the ``parts`` cite, those that ``survived`` the merge; ``shared``: 1
    where the row of another source has the same calls.
    """

    rna_id: str
    source: str
    lines: list[Line]
    reasons: list[str]
    usage: dict[str, int] | None = None


def divide(subject: Subject, arm: str, seed: int) -> Groups:
    """The abstracts as an arm divides them: by topic, at random, by year, or not at all.

    Groups at random and by year are as many as by topic, of the same sizes.
    """
    topics = sorted({a.topic for a in subject.abstracts})
    by_topic = tuple(tuple(a for a in subject.abstracts if a.topic == t) for t in topics)
    if arm == "dnc" or not by_topic:
        return by_topic
    if arm == "single_pass":
        return (subject.abstracts,)
    order = list(subject.abstracts)
    if arm == "dnc.chronological":
        order.sort(key=lambda a: (a.year, a.article_id))
    else:
        random.Random(f"{seed}\t{subject.rna_id}").shuffle(order)
    rest = iter(order)
    return tuple(tuple(next(rest) for _ in group) for group in by_topic)


def plan(subject: Subject, arms: Sequence[str], seed: int) -> list[Plan]:
    """One plan for each way in which the arms divide the abstracts; none without abstracts."""
    ways: dict[frozenset, list[str]] = {}
    divided = {}
    for arm in arms if subject.abstracts else ():
        divided[arm] = divide(subject, arm, seed)
        way = frozenset(frozenset(a.article_id for a in group) for group in divided[arm])
        ways.setdefault(way, []).append(arm)
    return [Plan(subject, tuple(same), divided[same[0]]) for same in ways.values()]


@dataclass
class Question:
    """A question, what its answer is checked against, and the model's answers so far.

    ``texts``: given id → the text behind it; ``articles``: given id → article id; ``summary``: the
    last answer that is one, ``checked``; ``first``: the faults of the first answer's sentences.
    """

    messages: prompts.Messages
    version: str
    about: str
    names: tuple[str, ...]
    words: int
    texts: dict[str, str]
    articles: dict[str, str]
    replies: list[Reply] = field(default_factory=list)
    summary: citations.Summary | None = None
    checked: citations.Checked = citations.Checked([], [], [], [])
    first: list[str] = field(default_factory=list)

    def request(self) -> Request | None:
        """What to ask: at first the question, then what is to be repaired; None when all is well,
        or nothing was said."""
        messages, (each, whole, *_) = self.messages, self.checked
        if self.replies:
            if not (whole or any(each)):
                return None
            faults = [f"Sentence {n} {fault}." for n, fault in enumerate(each, 1) if fault]
            faults += [f"On the whole, {fault}." for fault in whole]
            faults += [f"The only ids are {', '.join(self.texts)}."]
            messages = prompts.repair(messages, self.summary.model_dump_json(), faults)
        most = 300 + 4 * self.words + 8 * len(self.texts)  # ids and braces count too
        return Request(messages, citations.Summary, self.version, most, self.about)

    def take(self, reply: Reply) -> None:
        """Another answer to the question: it counts when it is one."""
        if reply.state == "ok":
            self.summary, given = reply.value, (self.texts, self.articles)
            self.checked = citations.check(self.summary, *given, self.names, self.words)
        if not self.replies:
            self.first = self.checked.each
        self.replies.append(reply)

    def reasons(self) -> list[str]:
        """Why some sentences, or all, do not stand."""
        if self.summary is None:
            return [f"the model's answer is missing (state {self.replies[0].state})"]
        return [f"a sentence {fault}" for fault in self.checked.lost]


def part_questions(plan: Plan, words: int) -> list[Question]:
    """A question for each group; together the answers have the word budget."""
    share, names = max(SHORTEST_SHARE, words // len(plan.groups)), plan.subject.names
    questions = []
    for number, group in enumerate(plan.groups):
        whole = [f"{a.title}\n{a.text}" for a in group]
        texts = {str(i): text for i, text in enumerate(whole[: prompts.fitting(whole)], 1)}
        articles = {i: a.article_id for i, a in zip(texts, group, strict=False)}
        about = f"{plan.subject.rna_id} {plan.sources[0]} group {number}"
        asked = prompts.summary(names, texts, share), prompts.SUMMARY_VERSION, about
        questions.append(Question(*asked, names, share, texts, articles))
    return questions


def merge_question(plan: Plan, parts: Sequence[Sequence[Line]], words: int) -> Question:
    """The question to merge the groups' summaries, whose articles get new short ids."""
    given: dict[str, str] = {}
    texts: dict[str, str] = {}
    for line in (line for part in parts for line in part):
        for article_id in line.article_ids:
            short = given.setdefault(article_id, str(len(given) + 1))
            texts[short] = f"{texts.get(short, '')} {line.text}"
    shown = [[(line.text, [given[i] for i in line.article_ids]) for line in p] for p in parts]
    about = f"{plan.subject.rna_id} {plan.sources[0]} merge"
    articles = {short: article_id for article_id, short in given.items()}
    asked = prompts.merge(shown, words), prompts.MERGE_VERSION, about
    return Question(*asked, plan.subject.names, words, texts, articles)


def foresee(plan: Plan, words: int, replay: Replay) -> Iterator[Request]:
    """The requests of a plan before any is sent, as far as the journal's answers lead.

    A merge of summaries to come has a text of its greatest length; no repair can be foreseen.
    """
    try:
        list(annotate([plan], words, replay))
    except Unanswered:
        if replay.asked[-1].version == prompts.SUMMARY_VERSION and len(plan.groups) > 1:
            # no two are equal
            said = f"{plan.subject.rna_id} {plan.sources[0]} " + "word " * words
            parts = [
                [Line(said[: 5 * one.words], tuple(one.articles.values()))]
                for one in part_questions(plan, words)
            ]
            yield merge_question(plan, parts, words).request()
    yield from replay.asked


def ask(questions: Sequence[Question], client: Client | Replay, desc: str) -> None:
    """Get the answers to all questions, faulty ones asked for again up to `REPAIRS` times."""
    for number in range(1 + REPAIRS):
        asked = [(one, request) for one in questions if (request := one.request())]
        if not asked:
            break
        repair = f", repair {number}" if number else ""
        replies = client.ask([request for _, request in asked], desc + repair)
        for (question, _), reply in zip(asked, replies, strict=True):
            question.take(reply)


def annotate(wave: Sequence[Plan], words: int, client: Client | Replay) -> Iterator[Annotation]:
    """The annotations of one wave, for every source of every plan."""
    parts = [part_questions(plan, words) for plan in wave]
    ask([question for own in parts for question in own], client, "summaries")
    kept = [[part.checked.lines for part in own if part.checked.lines] for own in parts]
    merges = [
        merge_question(plan, lines, words) if len(lines) > 1 else None
        for plan, lines in zip(wave, kept, strict=True)
    ]
    ask([merge for merge in merges if merge], client, "merges")
    for plan, *made in zip(wave, parts, kept, merges, strict=True):
        yield from _annotations(plan, *made, words)


def _annotations(
    plan: Plan, parts: list[Question], kept: list[list[Line]], merge: Question | None, words: int
) -> Iterator[Annotation]:
    every = [*parts, merge] if merge else parts
    reasons = [reason for question in every for reason in question.reasons()]
    lines = merge.checked.lines if merge else []
    if merge and not lines:
        reasons.append("the groups' summaries stand unmerged")
    if not lines:
        # of all parts, those sentences first that are first in theirs, up to the budget
        lines = []
        for line in filter(None, chain.from_iterable(zip_longest(*kept))):
            if length([*lines, line]) <= words:
                lines.append(line)
    left_out = sum(map(len, plan.groups)) - sum(len(part.texts) for part in parts)
    if left_out:
        reasons.append(f"{left_out} abstracts are beyond what a prompt holds")
    if not (lines or reasons):
        reasons.append("the model found nothing to say")
    replies = [reply for question in every for reply in question.replies]
    cited = {i for part in kept for line in part for i in line.article_ids}
    survived = cited & {i for line in lines for i in line.article_ids}
    first = [fault for question in every for fault in question.first]
    taken = sum((Counter(reply.usage) for reply in replies), Counter())
    counts = [taken[name] for name in USAGE[:4]]
    counts += [len(first), first.count(""), len(cited), len(survived)]
    for number, source in enumerate(plan.sources):
        usage = dict(zip(USAGE, [*counts, int(number > 0)], strict=True))
        yield Annotation(plan.subject.rna_id, source, lines, reasons, usage)
