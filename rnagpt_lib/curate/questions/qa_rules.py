"""Question and answer pairs: from an entry's fields, and from its annotation's facts, by rule.

Open pairs ask for the entity, closed ones name an entity, true or of another RNA. A made-up "No" must
be true: no sentence of the RNA's annotation, or of its abstracts, holds the entity's words.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from rnagpt_lib.core.params import Decompose
from rnagpt_lib.core.tables import Texts, frame
from rnagpt_lib.curate import prompts
from rnagpt_lib.curate.questions import qa_llm
from rnagpt_lib.curate.questions.facts import Fact, facts_in, has_subject
from rnagpt_lib.curate.questions.question_templates import CATEGORICAL, NONE, RELATIONS, UNKNOWN
from rnagpt_lib.curate.summaries import divide_and_conquer
from rnagpt_lib.curate.text import names
from rnagpt_lib.curate.text.sentences import STOP_WORDS, fold_spelling, name_greek, split_sentences
from rnagpt_lib.llm_api.client import Client
from rnagpt_lib.runs.resume_store import Store
from rnagpt_lib.runs.stages import QA

MATTERS = {"model", "temperature", "min_pairs", "max_pairs"}  # for what a model's pairs are
RULES_VERSION = "rules-2"
MOST_ENTITIES = 3  # named in one open answer; the best supported ones
MOST_PIECES = 4  # of a symbol that another text writes as one word: PI3K-α, NF-κB1
_WORD = re.compile(r"[^\W\d_]+|\d+")
_ENDING = re.compile(r"(?<=...)(?:(ies?$)|u?s{0,2}[ei]?s?$)")  # gene(s), virus(es), metastasis, -es
_NAMED = "alpha|beta|gamma|delta|epsilon|zeta|theta|kappa|lambda|sigma|omega"
_GREEK = re.compile(f"[α-ω]|{_NAMED}")
_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5"}
# what names of the same thing have or leave out: Alzheimer's, c-Myc, "the PI3K/AKT pathway"
_LEFT_OUT = STOP_WORDS | {"s", "c", "signaling", "signalling", "pathway", "pathways"}


Content = frozenset[frozenset[str]]  # an entity's content words, each with what may stand for it


class Claim(NamedTuple):
    """An RNA's relation to an entity, true or not, with the articles behind it."""

    rna_id: str
    relation: str
    entity: str
    true: bool
    article_ids: list[str]


class Decomposed(NamedTuple):
    """Tables ``pairs`` and ``dropped``, and a model's calls, tokens and micro-dollars by RNA."""

    pairs: pd.DataFrame
    dropped: pd.DataFrame
    usage: pd.DataFrame


def pairs(
    rnas: pd.DataFrame,
    annotations: pd.DataFrame,
    articles: pd.DataFrame,
    links: pd.DataFrame,
    params: Decompose,
    spool: Store | None = None,
) -> Decomposed:
    """All pairs of all RNAs, what was dropped, and what a model's answers took.

    The provider "offline" reads the annotations by rules, "openai" asks a model (`qa_llm`); questions
    about the entry's fields are made by rule in both. An RNA has at most ``max_pairs``: open fields
    first, then open facts, closed facts and closed fields. As many closed answers are "No" as "Yes"
    for every relation, where other RNAs offer an entity that the RNA's annotation does not name, nor
    (``no_by_abstracts``) its abstracts. ``spool`` keeps what a model's answers became.
    """
    texts = annotations[annotations["source"] == params.source]
    literature, dropped = _read(texts) if params.provider == "offline" else ({}, [])
    made, claims, usage = [], [], []
    for rna in rnas.to_dict("records"):
        own, claimed = _of_rna(rna, params.source, literature.get(rna["rna_id"], {}))
        made += own
        claims += claimed
    if params.provider == "openai":
        own = texts[texts["rna_id"].isin(rnas["rna_id"])]
        more, dropped, usage = _ask(qa_llm.Annotated(own, articles, links), params, spool)
        made += more
    spoken = texts.groupby("rna_id")["text"]
    read = (links, spoken.agg(list).to_dict()) if params.no_by_abstracts else (links[:0], {})
    names_it = naming(articles, read[0], (claim.entity for claim in claims), read[1])
    words = spoken.agg(" ".join).str.casefold().to_dict()
    for claim in _closed(claims, words, names_it):
        relation = RELATIONS[claim.relation]
        said = {"kind": relation.kind, "question": relation.closed.format(claim.entity)}
        said |= {"form": "closed", "answer": relation.confirm(claim.entity, claim.true)}
        made.append(_pair(claim.rna_id, params.source, claim.article_ids, **said))
    table, named = _without_names(rnas, frame("pairs", made))
    table, cut = _at_most(table, params.max_pairs)
    empty = sorted(set(rnas["rna_id"]) - set(table["rna_id"]))
    bare = [_drop(rna_id, "no pair: no field and no fact") for rna_id in empty]
    table = table.sort_values(["rna_id", "pair_id"], ignore_index=True)
    return Decomposed(table, frame("dropped", dropped + named + cut + bare), pd.DataFrame(usage))


# What an annotation says


def _read(texts: pd.DataFrame) -> tuple[dict[str, dict[Fact, list[str]]], list[dict]]:
    """The facts of each annotated RNA that no other denies; rows for what is none or denied."""
    literature, dropped = {}, []
    for rna_id, annotation in texts.groupby("rna_id"):
        evidence, silent = read_facts(annotation)
        dropped += [_drop(f"{rna_id} sentence {number}", reason) for number, reason in silent]
        counts = Counter((fact.relation, fact.entity.casefold()) for fact in evidence)
        contrary = [said for said, count in counts.items() if count > 1]  # a fact and its denial
        for relation, _ in contrary:
            dropped.append(_drop(rna_id, f"contradictory: a {relation} is both said and denied"))
        literature[rna_id] = {
            fact: ids
            for fact, ids in evidence.items()
            if (fact.relation, fact.entity.casefold()) not in contrary
        }
    return literature, dropped


def read_facts(annotation: pd.DataFrame) -> tuple[dict[Fact, list[str]], list[tuple[int, str]]]:
    """The facts of one RNA's annotation, and the sentences that gave none.

    Returns fact → ids of the articles behind it (a fact said twice has the ids of both), and
    (sentence_no, reason) pairs.
    """
    evidence: dict[tuple, tuple[Fact, set[str]]] = {}  # as written first: "Glioma" and "glioma"
    dropped, continues = [], False
    for row in annotation.sort_values("sentence_no").itertuples():
        found, reason = facts_in(row.text, continues)
        continues = has_subject(row.text) or (continues and bool(found))
        for fact in found:
            same = fact.relation, fact.entity.casefold(), fact.true
            evidence.setdefault(same, (fact, set()))[1].update(row.article_ids)
        if not found:
            dropped.append((row.sentence_no, reason))
    return {fact: sorted(ids) for fact, ids in evidence.values()}, dropped


def _open_facts(evidence: dict[Fact, list[str]]) -> dict[str, list[Fact]]:
    """The true facts of each relation that the answer names: most articles first.

    Positive facts win over "nothing is known" and "none", and of entities that hold each other
    ("migration", "migration of cells") the first stands.
    """
    by_relation: dict[str, list[Fact]] = defaultdict(list)
    for fact in sorted((f for f in evidence if f.true), key=lambda f: -len(evidence[f])):
        by_relation[fact.relation].append(fact)
    for relation, facts in by_relation.items():
        apart: dict[str, Fact] = {}
        for fact in filter(_is_named, facts):
            low = fact.entity.casefold()
            if not any(low in other or other in low for other in apart):
                apart[low] = fact
        by_relation[relation] = list(apart.values())[:MOST_ENTITIES] or facts[:1]
    return by_relation


def _is_named(fact: Fact) -> bool:
    return fact.entity not in (UNKNOWN, NONE)


def _of_rna(
    rna: Mapping, source: str, evidence: dict[Fact, list[str]]
) -> tuple[list[dict], list[Claim]]:
    """One open pair for each field and relation, and claims for closed ones: denied, said, type."""
    rna_id = rna["rna_id"]
    asked = [(name, [rna[name]], []) for name in CATEGORICAL if rna[name]]
    claims = [
        Claim(rna_id, f.relation, f.entity, False, i) for f, i in evidence.items() if not f.true
    ]
    for relation, facts in _open_facts(evidence).items():
        ids = sorted({article for fact in facts for article in evidence[fact]})
        asked.append((relation, [fact.entity for fact in facts], ids))
        named = filter(_is_named, facts)
        claims += [Claim(rna_id, relation, fact.entity, True, evidence[fact]) for fact in named]
    if rna["rna_type"]:
        claims.append(Claim(rna_id, "rna_type", rna["rna_type"], True, []))
    made = []
    for name, entities, ids in asked:
        relation = RELATIONS[name]
        wording = relation.questions[_number(rna_id, name) % len(relation.questions)]
        said = {"kind": relation.kind, "form": "open", "question": wording}
        made.append(_pair(rna_id, source, ids, **said, answer=relation.say(entities)))
    return made, claims


# Rows


def _ask(
    everyone: qa_llm.Annotated, params: Decompose, spool: Store | None
) -> tuple[list[dict], list[dict], list[dict]]:
    """The pairs that a chat model makes, rows for those that fail a check, what each RNA took."""

    def rows(wave: Sequence[str], client: Client) -> tuple[list[dict], ...]:
        made, dropped, usage = [], [], []
        for rna_id, kept, reasons, reply in qa_llm.ask(list(everyone.of(wave)), params, client):
            usage.append({"rna_id": rna_id} | reply.usage)
            dropped += [_drop(rna_id, reason) for reason in reasons]
            for pair, ids in kept:
                said = pair.model_dump(exclude={"statements"})
                made.append(_pair(rna_id, params.source, ids, prompts.QA_VERSION, **said))
        return made, dropped, usage

    settings = params.model_dump(mode="json", include=MATTERS)
    return divide_and_conquer.in_waves(everyone.rna_ids, params, settings, rows, spool)


def _drop(record: str, reason: str) -> dict:
    return {"stage": QA, "record": record, "reason": reason}


def _pair(
    rna_id: str, source: str, ids: Iterable[str], version: str = RULES_VERSION, **said: str
) -> dict:
    """A row of ``pairs``; ``said``: kind, form, question, answer."""
    key = _digest(rna_id, source, said["question"])[:16]
    row = {"pair_id": key, "rna_id": rna_id, "source": source, "prompt_version": version}
    return row | said | {"article_ids": list(ids)}


def _digest(*parts: str) -> str:
    return hashlib.sha256("\t".join(parts).encode()).hexdigest()


def _number(*parts: str) -> int:
    """A number that depends on the texts alone; chooses wordings and negative entities."""
    return int(_digest(*parts)[:8], 16)


# Closed questions


def naming(
    articles: pd.DataFrame,
    links: pd.DataFrame,
    entities: Iterable[str],
    own: Mapping[str, Sequence[str]] | None = None,
) -> Callable[[str, str], bool]:
    """Whether (rna_id, entity) a sentence of the RNA's abstracts, or of its ``own``, holds all
    content words of one of the entities, in whatever order, case, number and spelling.

    >>> texts = [{"article_id": "A1", "title": "", "abstract": "PI3K/AKT/Wnt signaling fell."}]
    >>> linked = pd.DataFrame({"rna_id": ["R1"], "article_id": ["A1"]})
    >>> naming(pd.DataFrame(texts), linked, ["PI3K signalling"])("R1", "PI3K signalling")
    True
    """
    known = {_content(entity) for entity in entities} - {frozenset()}
    common = Counter(word for parts in known for part in parts for word in part)
    rarest = defaultdict(list)
    for parts in known:  # a sentence is held against those entities whose rarest part it has
        for word in min(parts, key=lambda part: (sum(map(common.get, part)), sorted(part))):
            rarest[word].append(parts)
    texts, linked = Texts(articles), links.groupby("rna_id")["article_id"].agg(list).to_dict()

    def held(sentences: Iterable[str]) -> set[Content]:
        said = [{one for one, *_ in _spellings(_words(text))} for text in sentences]
        near = ((have, one) for have in said for word in have for one in rarest.get(word, ()))
        return {one for have, one in near if not any(map(have.isdisjoint, one))}

    @cache
    def of_article(article_id: str) -> set[Content]:
        title, text = texts[article_id]
        return held([title, *split_sentences(text)])

    @cache
    def of_rna(rna_id: str) -> set[Content]:
        said = held((own or {}).get(rna_id, ()))
        return said.union(*map(of_article, linked.get(rna_id, ())))

    return lambda rna_id, entity: _content(entity) in of_rna(rna_id)


def _content(entity: str) -> Content:
    """The content words of an entity, each with all `_spellings` that it has a part in."""
    words, parts = _words(entity), defaultdict(set)
    for spelling, start, size in _spellings(words):
        for place in range(start, start + size):
            parts[place].add(spelling)
    content = [place for place, word in enumerate(words) if word not in _LEFT_OUT]
    return frozenset(frozenset(parts[place]) for place in content or parts)


def _words(text: str) -> list[str]:
    """Words without case, Greek letters by name; "NF-κB1" is four of them.

    >>> _words("TNFalpha, NF-κB1")
    ['tnf', 'alpha', 'nf', 'kappa', 'b', '1']
    """
    return _WORD.findall(name_greek(_GREEK.sub(r" \g<0> ", text.casefold())))


def _spellings(words: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """What may stand for words, where these start and how many they are: a word or its stem, and
    KRAS for K-Ras, where of a Greek letter the initial is enough, as in TGFB for TGF-β."""
    short = [word[0] if _GREEK.fullmatch(word) else word for word in words]
    for start, word in enumerate(words):
        yield word, start, 1
        yield _stem(word), start, 1
        for size in range(2, min(MOST_PIECES, len(words) - start) + 1):
            yield "".join(short[start : start + size]), start, size


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    """Without plural and in one spelling; Roman numbers as Arabic ones."""
    stem = _ENDING.sub(lambda end: "y" if end[1] else "", fold_spelling(word), count=1)
    return _ROMAN.get(stem, stem)


def _closed(
    claims: Sequence[Claim], words: Mapping[str, str], names_it: Callable[[str, str], bool]
) -> Iterator[Claim]:
    """What closed questions ask, by ``words``, the annotations' folded texts: half are "No"."""
    for relation in RELATIONS:
        mine = [claim for claim in claims if claim.relation == relation]
        if len({claim.entity for claim in mine}) < 2:  # "Yes" would always be right
            continue
        denied = [claim for claim in mine if not claim.true]
        true = sorted((c for c in mine if c.true), key=lambda claim: _digest(*claim[:3]))
        wanted = max(0, len(mine) // 2 - len(denied))  # "No" still to be made
        own: dict[str, set[str]] = defaultdict(set)
        for claim in mine:
            own[claim.rna_id].add(claim.entity.casefold())
        pool = [claim.entity for claim in true]
        for claim in denied + true:
            rna_id, other = claim.rna_id, None
            if claim.true and wanted:
                foreign = _foreign(rna_id, pool, own[rna_id], words.get(rna_id, ""))
                # a type in a text is no claim
                silent = (e for e in foreign if relation in CATEGORICAL or not names_it(rna_id, e))
                other = next(silent, None)
            if other:
                wanted -= 1
                own[rna_id].add(other.casefold())
                claim = Claim(rna_id, relation, other, False, [])
            yield claim


def _foreign(rna_id: str, pool: list[str], own: set[str], text: str) -> Iterator[str]:
    """Other RNAs' entities, of which none is true here, nor in the text, nor a part of such."""
    start, tried = _number(rna_id, "negative", *pool[:1]), set()
    for step in range(len(pool)):
        entity = pool[(start + step) % len(pool)]
        low = entity.casefold()
        if low in tried or low in text or any(low in near or near in low for near in own):
            continue
        tried.add(low)
        yield entity


# What is kept


def _without_names(rnas: pd.DataFrame, pairs: pd.DataFrame) -> tuple[pd.DataFrame, list[dict]]:
    """Pairs whose text does not name the RNA, and a row for each one that does.

    A family that is a part of its members' names is none, nor is a type such as ``RNase_P_RNA``.
    """
    texts = pairs["question"] + " " + pairs["answer"]
    of_rna, patterns = texts.groupby(pairs["rna_id"]).agg("\n".join).to_dict(), {}
    for rna in rnas.to_dict("records"):
        own = [n for n in names.names_of(rna | {"family": ""}) if n != rna["rna_type"]]
        # an expression for every RNA would take a quarter of an hour for all of RNAcentral
        if names.may_hold(of_rna.get(rna["rna_id"], ""), own):
            patterns[rna["rna_id"]] = names.pattern(own)
    named = np.array([
        rna_id in patterns and bool(patterns[rna_id].search(text))
        for rna_id, text in zip(pairs["rna_id"], texts, strict=True)
    ], dtype=bool)  # fmt: skip
    lost = (f"{pair.rna_id} {pair.kind}" for pair in pairs[named].itertuples())
    return pairs[~named], [_drop(record, "the pair names the RNA") for record in lost]


def _at_most(pairs: pd.DataFrame, most: int) -> tuple[pd.DataFrame, list[dict]]:
    """The first ``most`` pairs of each RNA by importance; a row for what each one lost."""
    pairs = pairs.groupby("pair_id", sort=False, as_index=False).last()
    numbers = pairs.groupby("rna_id", sort=False).size()
    closed = pairs["form"] == "closed"
    # fields first among open pairs, last among closed ones
    order = np.lexsort((pairs["kind"].isin(CATEGORICAL) == closed, closed))
    pairs = pairs.iloc[order]
    kept = pairs[pairs.groupby("rna_id").cumcount() < most]
    reason = f"pairs beyond the first {most}"
    return kept, [_drop(rna_id, reason) for rna_id in numbers.index[numbers > most]]
