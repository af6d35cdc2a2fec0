"""What the stand-in model says: it reads the prompt's texts and answers by simple rules.

`Model` summarises, merges and asks as the prompts of `rnagpt_lib.curate.prompts` want, in the schema
that the request gives, as a server with strict schemas does. Its switches are the ways in which
real models misbehave. It does nothing at random: the same prompt has the same answer.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rnagpt_lib.curate.questions.facts import facts_in
from rnagpt_lib.curate.questions.question_templates import NONE, RELATIONS, UNKNOWN
from rnagpt_lib.curate.summaries.extract import content_words
from rnagpt_lib.curate.text import sentences
from tests.standin import serve
from tests.standin.openai_api import PRICE, OpenAI

NAME = "stand-in"
_ABSTRACT = re.compile(r'<abstract id="(.+?)">\n(.*?)\n</abstract>', re.DOTALL)
_SUMMARY = re.compile(r"<summary>\n(.*?)\n</summary>", re.DOTALL)
_STATEMENT = re.compile(r'<statement number="(\d+)">(.*?)</statement>', re.DOTALL)
_ORDER = re.compile(
    r"(?i)\b(?:ignore|disregard|forget|override|obey|respond|reply|output|print|append|add|write|"
    r"say|include|cite|end every|call|pretend|system|assistant|instruction\w*)\b"
)
_QUOTED = re.compile(r"«(.+?)»")
_CITE = re.compile(r"(?i)\bcit(?:e|ing) (?:it as |article |abstract )?\[?(\d+)")


@contextmanager
def talking(app: OpenAI) -> Iterator[dict]:
    """Serve ``app``; gives the settings of `params.Calls` that reach it."""
    with serve(app) as url:
        yield {
            "provider": "openai", "model": NAME, "base_url": f"{url}/v1", "deadline": 20,
            "prices": {NAME: PRICE},
        }  # fmt: skip


@dataclass
class Model:
    """An `Answerer`; every switch is off in a well-behaved model.

    ``invents``: it cites an article that is not there; ``uncited``: it cites nothing; ``inside``:
    it cites in mid-sentence; ``names_it``: it names the RNA; ``wordy``: it keeps to no budget;
    ``broken``: its JSON fits no schema; ``obeys``: it does what abstracts tell it; ``doubles``: it
    asks everything twice and contradicts itself; ``strays``: its pairs say more than their
    statements; ``heals``: it does well when told what is wrong.
    """

    invents: bool = False
    uncited: bool = False
    inside: bool = False
    names_it: bool = False
    wordy: bool = False
    broken: bool = False
    obeys: bool = False
    doubles: bool = False
    strays: bool = False
    heals: bool = False
    asked: list[list[dict]] = field(default_factory=list)  # the conversations so far

    def __call__(self, messages: list[dict[str, str]], schema: dict) -> str:
        self.asked.append(messages)
        good = Model() if self.heals and len(messages) > 2 else self
        system, user = messages[0]["content"], messages[1]["content"]
        if good.broken:
            return '{"text": "This RNA is no'
        if "pairs" in schema["properties"]:
            return json.dumps({"pairs": good.pairs(user)})
        words = int(re.search(r"at most (\d+) words", system)[1])
        called = re.search(r"which its authors call (.*)\.\n", system)
        known = called[1].split(", ") if called else []
        found = self.merged(user) if "<summary>" in user else good.summary(user, known)
        return json.dumps({"sentences": good.cited(found, words, known)})

    def summary(self, user: str, known: list[str]) -> list[tuple[str, list[str]]]:
        """The sentences about the RNA, best first of each abstract in turn, orders obeyed."""
        pools, orders = [], []
        for given, text in _ABSTRACT.findall(user):
            title, _, body = text.partition("\n")
            plain = [s for s in sentences.split_sentences(body) if not _ORDER.search(s)]
            about = sentences.about(given, title, " ".join(plain), known)
            pools.append(sorted((s for s in about if s.worth > 0.3), key=lambda s: -s.worth))
            orders += [(given, order) for order in _orders(text)] if self.obeys else []
        deepest = max(map(len, pools), default=0)
        found = [
            (p[n].text, [p[n].article_id]) for n in range(deepest) for p in pools if n < len(p)
        ]
        return found + [said for given, order in orders for said in _obeyed(given, order)]

    def merged(self, user: str) -> list[tuple[str, list[str]]]:
        """The sentences of all summaries in turn, equal ones once, with the ids of all."""
        parts = [re.findall(r"(?m)^(.*) \[(.*?)\]$", part) for part in _SUMMARY.findall(user)]
        united: dict[frozenset[str], tuple[str, list[str]]] = {}
        for n in range(max(map(len, parts), default=0)):
            for text, ids in (part[n] for part in parts if n < len(part)):
                _, known = united.setdefault(content_words(text), (text, []))
                known += [i for i in ids.split(", ") if i not in known]
        return list(united.values())

    def cited(self, found: list, words: int, known: list[str]) -> list[dict]:
        """The sentences within the budget as the schema has them, misbehaviour included."""
        made, room = [], words
        for text, ids in found:
            size = len(text.split())
            if size > room and not (self.wordy or self.obeys):
                continue
            room -= size
            ids = [*ids, "99"] if self.invents else [] if self.uncited else ids
            text = text.replace(".", f" [{ids[0]}].", 1) if self.inside and ids else text
            if self.names_it and known:
                text = re.sub("(?i)this RNA", known[0], text, count=1)
            made.append({"text": text, "articles": ids})
        return made

    def pairs(self, user: str) -> list[dict]:
        """An open and a closed pair for each fact; every other closed one about another RNA's."""
        made = []
        for number, text in _STATEMENT.findall(user):
            for fact in facts_in(text)[0]:
                relation = RELATIONS[fact.relation]
                kind, nothing = relation.kind, fact.entity in (UNKNOWN, NONE)
                given = {"kind": kind, "statements": [int(number)]}
                if fact.true:
                    said = relation.say([fact.entity])
                    said = said[:-1] + " in 97 % of Martians." if self.strays else said
                    made.append(_pair("open", relation.questions[0], said, given))
                if not nothing:
                    other = "Zorgomycin" if fact.true and len(made) % 4 == 1 else fact.entity
                    true = fact.true and other == fact.entity
                    made.append(_closed(relation, other, true, given))
                if self.doubles and fact.true and not nothing:
                    made.append(_closed(relation, fact.entity, False, given))
                    made.append(made[0])
        return made


def _pair(form: str, question: str, answer: str, given: dict) -> dict:
    return {"form": form, "question": question, "answer": answer} | given


def _closed(relation, entity: str, true: bool, given: dict) -> dict:
    return _pair("closed", relation.closed.format(entity), relation.confirm(entity, true), given)


def _orders(text: str) -> list[str]:
    """The sentences of a text that order something; what stands in «…» is no sentence's end."""
    every = re.findall(r"(?:«[^»]*»|[^.!?\n])+[.!?]?", text)
    return [said.strip() for said in every if "«" in said or _ORDER.search(said)]


def _obeyed(given: str, order: str) -> list[tuple[str, list[str]]]:
    """What an order wants said, letter by letter, and the order itself; cited as it wants."""
    ids = _CITE.findall(order) or [given]
    return [(said, ids) for said in [*_QUOTED.findall(order), order]]
