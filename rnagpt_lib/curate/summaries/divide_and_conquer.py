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
class Made:
    """An annotation: its sentences, why others or all of it are missing, what it took.

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


def groups(subject: Subject, arm: str, seed: int) -> Groups:
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


def plans(subject: Subject, arms: Sequence[str], seed: int) -> list[Plan]:
    """One plan for each way in which the arms divide the abstracts; none without abstracts."""
    ways: dict[frozenset, list[str]] = {}
    divided = {}
    for arm in arms if subject.abstracts else ():
        divided[arm] = groups(subject, arm, seed)
        way = frozenset(frozenset(a.article_id for a in group) for group in divided[arm])
        ways.setdefault(way, []).append(arm)
    return [Plan(subject, tuple(same), divided[same[0]]) for same in ways.values()]


# Questions to the model.


@dataclass(frozen=True)
class Ask:
    """A request, and what its answer is checked against.

    ``texts``: given id → the text behind it; ``articles``: given id → article id.
    """

    messages: prompts.Messages
    version: str
    about: str
    names: tuple[str, ...]
    words: int
    texts: dict[str, str]
    articles: dict[str, str]

    def request(self, messages: prompts.Messages | None = None) -> Request:
        """The question, or the conversation that goes on from it."""
        most = 300 + 4 * self.words + 8 * len(self.texts)  # ids and braces count too
        asked = messages or self.messages
        return Request(asked, citations.Summary, self.version, most, self.about)


def part_asks(plan: Plan, words: int) -> list[Ask]:
    """A question for each group; together the answers have the word budget."""
    share = max(SHORTEST_SHARE, words // len(plan.groups))
    return [_part_ask(plan, number, share) for number in range(len(plan.groups))]


def _part_ask(plan: Plan, number: int, words: int) -> Ask:
    names, group = plan.subject.names, plan.groups[number]
    whole = [f"{a.title}\n{a.text}" for a in group]
    texts = {str(i): text for i, text in enumerate(whole[: prompts.fitting(whole)], 1)}
    articles = {str(i): a.article_id for i, a in enumerate(group, 1) if str(i) in texts}
    about = f"{plan.subject.rna_id} {plan.sources[0]} group {number}"
    messages = prompts.summary(names, texts, words)
    return Ask(messages, prompts.SUMMARY_VERSION, about, names, words, texts, articles)


def merge_ask(plan: Plan, parts: Sequence[Sequence[Line]], words: int) -> Ask:
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
    messages = prompts.merge(shown, words)
    names = plan.subject.names
    return Ask(messages, prompts.MERGE_VERSION, about, names, words, texts, articles)


def foreseen(plan: Plan, words: int, replay: Replay) -> Iterator[Request]:
    """The requests of a plan before any is sent, as far as the journal's answers lead.

    A merge of summaries that are still to come has a text of its greatest length; repairs of
    answers that are still to come cannot be foreseen.
    """
    try:
        list(annotate([plan], words, replay))
    except Unanswered:
        if replay.asked[-1].version == prompts.SUMMARY_VERSION and len(plan.groups) > 1:
            yield _longest_merge(plan, words)
    yield from replay.asked


def _longest_merge(plan: Plan, words: int) -> Request:
    asks = part_asks(plan, words)
    said = f"{plan.subject.rna_id} {plan.sources[0]} " + "word " * words  # no two are equal
    parts = [[Line(said[: 5 * ask.words], tuple(ask.articles.values()))] for ask in asks]
    return merge_ask(plan, parts, words).request()


# Answers and their repair.


class Answer:
    """The model's answers to one question, the last good one in use."""

    def __init__(self, ask: Ask, reply: Reply):
        self.ask, self.replies = ask, [reply]
        self.summary: citations.Summary | None = None
        self.each: list[str] = []
        self.whole: list[str] = []
        self._check(reply)
        self.first = len(self.each)
        self.valid = self.first - sum(map(bool, self.each))

    def _check(self, reply: Reply) -> None:
        if reply.state == "ok":
            ask, self.summary = self.ask, reply.value
            found = citations.faults(reply.value, ask.texts, ask.names, ask.words)
            self.each, self.whole = found

    def take(self, reply: Reply) -> None:
        """Another answer to the question: it counts when it is one."""
        self.replies.append(reply)
        self._check(reply)

    def repair(self) -> Request | None:
        """The request that names what is wrong; None where nothing is, or nothing was said."""
        if not (self.whole or any(self.each)):
            return None
        said = [f"Sentence {n} {fault}." for n, fault in enumerate(self.each, 1) if fault]
        known = f"The only ids are {', '.join(self.ask.texts)}."
        listed = [*said, *(f"On the whole, {fault}." for fault in self.whole), known]
        answer = self.summary.model_dump_json()
        return self.ask.request(prompts.repair(self.ask.messages, answer, listed))

    def lines(self) -> tuple[list[Line], list[str]]:
        """The sentences that stand, and the reasons why others, or all, do not."""
        ask = self.ask
        if self.summary is None:
            return [], [f"the model's answer is missing (state {self.replies[0].state})"]
        kept, lost = citations.lines(self.summary, self.each, ask.names, ask.words, ask.articles)
        return kept, [f"a sentence {fault}" for fault in lost]


def answers(asks: Sequence[Ask], client: Client | Replay, desc: str) -> list[Answer]:
    """The answers to all questions, faulty ones asked for again up to `REPAIRS` times."""
    replies = client.ask([ask.request() for ask in asks], desc)
    made = [Answer(ask, reply) for ask, reply in zip(asks, replies, strict=True)]
    for number in range(1, REPAIRS + 1):
        wrong = [(answer, again) for answer in made if (again := answer.repair())]
        if not wrong:
            break
        replies = client.ask([again for _, again in wrong], f"{desc}, repair {number}")
        for (answer, _), reply in zip(wrong, replies, strict=True):
            answer.take(reply)
    return made


def annotate(wave: Sequence[Plan], words: int, client: Client | Replay) -> Iterator[Made]:
    """The annotations of one wave, for every source of every plan."""
    asks = [part_asks(plan, words) for plan in wave]
    flat = iter(answers([ask for own in asks for ask in own], client, "summaries"))
    parts = [[next(flat) for _ in own] for own in asks]
    kept = [[lines for part in own if (lines := part.lines()[0])] for own in parts]
    several = [n for n, lines in enumerate(kept) if len(lines) > 1]
    merges = answers([merge_ask(wave[n], kept[n], words) for n in several], client, "merges")
    merged = dict(zip(several, merges, strict=True))
    for number, plan in enumerate(wave):
        yield from _made(plan, parts[number], kept[number], merged.get(number), words)


def _made(
    plan: Plan, parts: list[Answer], kept: list[list[Line]], merged: Answer | None, words: int
) -> Iterator[Made]:
    every = [*parts, merged] if merged else parts
    reasons = [reason for answer in every for reason in answer.lines()[1]]
    lines = merged.lines()[0] if merged else _within(words, kept)
    if merged and not lines:
        lines = _within(words, kept)
        reasons.append("the groups' summaries stand unmerged")
    left_out = sum(map(len, plan.groups)) - sum(len(part.ask.texts) for part in parts)
    if left_out:
        reasons.append(f"{left_out} abstracts are beyond what a prompt holds")
    if not (lines or reasons):
        reasons.append("the model found nothing to say")
    usage = _usage(every, kept, lines)
    for number, source in enumerate(plan.sources):
        own = usage | {"shared": int(number > 0)}
        yield Made(plan.subject.rna_id, source, lines, reasons, own)


def _within(words: int, parts: list[list[Line]]) -> list[Line]:
    """The sentences of all parts, those first that are first in theirs, up to a number of words."""
    ranked = [line for same in zip_longest(*parts) for line in same if line]
    kept: list[Line] = []
    for line in ranked:
        if length([*kept, line]) <= words:
            kept.append(line)
    return kept


def _usage(every: list[Answer], kept: list[list[Line]], lines: list[Line]) -> dict[str, int]:
    replies = [reply for answer in every for reply in answer.replies]
    cited = {i for part in kept for line in part for i in line.article_ids}
    return {
        "calls": len(replies),
        "tokens_in": sum(reply.tokens_in for reply in replies),
        "tokens_out": sum(reply.tokens_out for reply in replies),
        "microdollars": sum(reply.microdollars for reply in replies),
        "first": sum(answer.first for answer in every),
        "valid": sum(answer.valid for answer in every),
        "parts": len(cited),
        "survived": len(cited & {i for line in lines for i in line.article_ids}),
    }
