"""Divide and conquer by a chat model: groups summarised on their own, then merged.

A wave of RNAs goes through together: all groups in one call of the client, then the repairs of
the answers that break a rule, then the merges and their repairs. So width and batches work, and
memory holds one wave. What a model says is checked by `citations` before anything else reads it.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest

from rnagpt_lib.curate.summaries import citations, prompts
from rnagpt_lib.curate.summaries.extract import SHORTEST_SHARE, Abstract, Line, Subject, length
from rnagpt_lib.llm_api.client import Client
from rnagpt_lib.llm_api.cost import Replay, Unanswered
from rnagpt_lib.llm_api.messages import Reply, Request

ARMS = ("dnc", "dnc.random_groups", "dnc.chronological", "single_pass")
USAGE = ("calls", "tokens_in", "tokens_out", "microdollars", "first", "valid", "parts", "survived",
         "shared")  # fmt: skip
REPAIRS = 2  # times that a faulty answer is asked for again
WAVE = {"sync": 2_000, "batch": 40_000}  # RNAs in memory together; a batch may take a day

Groups = tuple[tuple[Abstract, ...], ...]


def waves(rna_ids: Iterable[str], mode: str) -> Iterator[tuple[str, ...]]:
    """The RNAs that are asked about together."""
    rest = iter(rna_ids)
    return iter(lambda: tuple(islice(rest, WAVE[mode])), ())


@dataclass(frozen=True)
class Plan:
    """One RNA's abstracts in groups; sources with equal groups share one plan, and its cost."""

    subject: Subject
    sources: tuple[str, ...]
    groups: Groups


@dataclass(frozen=True)
class Annotation:
    """The sentences of an annotation, why others or all of it are missing, what it took.

    ``usage`` has the counts `USAGE`: ``first`` are the sentences of the first answers, ``valid``
    those without fault; ``parts`` are the articles that the groups' summaries cite, ``survived``
    those of them that the merged text cites; ``shared`` is 1 where the row of another source has
    the same calls. Empty when offline.
    """

    rna_id: str
    source: str
    lines: list[Line]
    reasons: list[str]
    usage: dict[str, int] = field(default_factory=dict)


def divide(subject: Subject, arm: str, seed: int) -> Groups:
    """The abstracts as an arm divides them: by topic, at random, by year, or not at all.

    The arms ``dnc.random_groups`` and ``dnc.chronological`` have as many groups as ``dnc``, of
    the same sizes.
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
    last answer that is one, with the faults of ``each`` sentence and of the ``whole``.
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
    each: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)  # ``each`` of the first answer

    def request(self) -> Request | None:
        """What to ask: at first the question, then what is to be repaired; None when all is well,
        or nothing was said."""
        messages = self.messages
        if self.replies:
            if not (self.whole or any(self.each)):
                return None
            faults = [f"Sentence {n} {fault}." for n, fault in enumerate(self.each, 1) if fault]
            faults += [f"On the whole, {fault}." for fault in self.whole]
            faults += [f"The only ids are {', '.join(self.texts)}."]
            messages = prompts.repair(messages, self.summary.model_dump_json(), faults)
        most = 300 + 4 * self.words + 8 * len(self.texts)  # ids and braces count too
        return Request(messages, citations.Summary, self.version, most, self.about)

    def take(self, reply: Reply) -> None:
        """Another answer to the question: it counts when it is one."""
        if reply.state == "ok":
            self.summary = reply.value
            checked = citations.find_faults(reply.value, self.texts, self.names, self.words)
            self.each, self.whole = checked
        if not self.replies:
            self.first = self.each
        self.replies.append(reply)

    def lines(self) -> tuple[list[Line], list[str]]:
        """The sentences that stand, and the reasons why others, or all, do not."""
        if self.summary is None:
            return [], [f"the model's answer is missing (state {self.replies[0].state})"]
        kept, lost = citations.keep_lines(
            self.summary, self.each, self.names, self.words, self.articles
        )
        return kept, [f"a sentence {fault}" for fault in lost]


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

    A merge of summaries that are still to come has a text of its greatest length; repairs of
    answers that are still to come cannot be foreseen.
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
    kept = [[lines for part in own if (lines := part.lines()[0])] for own in parts]
    merges = {
        n: merge_question(wave[n], lines, words) for n, lines in enumerate(kept) if len(lines) > 1
    }
    ask(list(merges.values()), client, "merges")
    for number, plan in enumerate(wave):
        yield from _annotations(plan, parts[number], kept[number], merges.get(number), words)


def _annotations(
    plan: Plan, parts: list[Question], kept: list[list[Line]], merge: Question | None, words: int
) -> Iterator[Annotation]:
    every = [*parts, merge] if merge else parts
    reasons = [reason for question in every for reason in question.lines()[1]]
    lines = merge.lines()[0] if merge else []
    if merge and not lines:
        reasons.append("the groups' summaries stand unmerged")
    if not lines:
        # of all parts, those sentences first that are first in theirs, up to the budget
        for line in (line for same in zip_longest(*kept) for line in same if line):
            if length([*lines, line]) <= words:
                lines.append(line)
    left_out = sum(map(len, plan.groups)) - sum(len(part.texts) for part in parts)
    if left_out:
        reasons.append(f"{left_out} abstracts are beyond what a prompt holds")
    if not (lines or reasons):
        reasons.append("the model found nothing to say")
    replies = [reply for question in every for reply in question.replies]
    cited = {i for part in kept for line in part for i in line.article_ids}
    first = [fault for question in every for fault in question.first]
    usage = {
        "calls": len(replies),
        "tokens_in": sum(reply.tokens_in for reply in replies),
        "tokens_out": sum(reply.tokens_out for reply in replies),
        "microdollars": sum(reply.microdollars for reply in replies),
        "first": len(first),
        "valid": first.count(""),
        "parts": len(cited),
        "survived": len(cited & {i for line in lines for i in line.article_ids}),
    }
    for number, source in enumerate(plan.sources):
        own = usage | {"shared": int(number > 0)}
        yield Annotation(plan.subject.rna_id, source, lines, reasons, own)
