"""Facts out of sentences: rules over the clauses of any English text about "this RNA".

A clause is: opener, subject (the RNA, see `names.mask_names`), lead (auxiliaries, adverbs), phrase,
entities; all are expressions of ``fact_patterns.yaml``. What is only supposed is not a fact.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import yaml

from rnagpt_lib.curate.questions.question_templates import NONE, UNKNOWN
from rnagpt_lib.curate.text.sentences import MOST_LETTERS

HEDGED = "hedged or only asked"
UNFIT = "no entity of the kind that the relation needs"
MOST_WORDS = 100  # as `MOST_LETTERS`
NEAR, LONGEST = 80, 100  # letters: what joins a phrase to the one before, and an entity

_FILE = yaml.safe_load(Path(__file__).with_name("fact_patterns.yaml").read_text("utf-8"))


def _any(words: str) -> str:
    """One expression for alternatives that stand two spaces or a line apart."""
    return re.sub(r"\s{2,}|\n", "|", words.strip())


def _verbs(stems: str) -> str:
    """Third person, plural, past and -ing forms of regular verbs."""
    forms = []
    for stem in stems.split():
        base = stem.removesuffix("e")
        forms.append(f"{base}(?:e?s|e?d|ing)" if stem != base else f"{base}(?:s|es|ed|ing)?")
        forms.append(stem)
    return "(?:" + "|".join(forms) + ")"


_SAID = {name: _any(words) for name, words in _FILE.items() if isinstance(words, str)}
_SAID |= {name: _verbs(stems) for name, stems in _FILE["verbs"].items()}


def _filled(text: str) -> str:
    """An expression with what its {names} stand for."""
    return re.sub(r"\{([a-z_]+)\}", lambda found: _SAID[found[1]], text)


for _name, _text in _FILE["expressions"].items():
    _SAID[_name] = _filled(_text.replace("\n", ""))
_RE = SimpleNamespace(**{name: re.compile(_SAID[name]) for name in _FILE["expressions"]})
NEGATION = _RE.negation

# Phrases, and the relations that they may state: the first whose kind of entity fits
_RELATIONS = [row["relations"] for row in _FILE["phrases"]]
_PHRASE = re.compile(
    rf"(?i)(?P<lead>{_SAID['leads']})(?:"
    + "|".join(f"(?P<p{i}>{_filled(_any(row['words']))})" for i, row in enumerate(_FILE["phrases"]))
    + r")(?![\w-])"
)


class Fact(NamedTuple):
    """One reading of a clause; ``true`` is False where the clause denies it."""

    relation: str
    entity: str
    true: bool = True


def facts_in(sentence: str, continues: bool = False) -> tuple[list[Fact], str]:
    """The facts that one sentence states about the RNA, and why there are none ("" if there are).

    ``continues``: the sentence before had the RNA as its subject, so "it" and "the RNA" are it too.

    >>> facts_in("This RNA inhibits cell growth by targeting PTEN.")[0]
    [Fact(relation='process', entity='cell growth', true=True), Fact(relation='target', ...)]
    """
    text = " ".join(sentence.split()).removesuffix(".")
    if text.endswith("?"):
        return [], "a question"
    if text.count(" ") >= MOST_WORDS or len(text) > MOST_LETTERS:
        return [], f"a sentence of more than {MOST_WORDS} words"
    if nothing := _nothing_known(text):
        return nothing, ""
    read = [*(_active(text, *span) for span in _mentions(text, continues)), _passive(text)]
    facts = list(dict.fromkeys(fact for found, _ in read for fact in found))
    reasons = [reason for _, reason in read if reason]
    return facts, "" if facts else (reasons or ["no relation with the RNA as its subject"])[0]


def has_subject(sentence: str) -> bool:
    """Whether a clause of the sentence has the RNA, named in full, as its subject."""
    return any(True for _ in _mentions(" ".join(sentence.split()), False))


def _nothing_known(text: str) -> list[Fact]:
    facts = []
    for pattern in (_RE.nothing_of, _RE.nothing_to, _RE.not_known):
        if match := pattern.search(text):
            nouns = _FILE["nouns"].items()
            said = [name for name, noun in nouns if re.search(rf"\b(?:{noun})\b", match["noun"])]
            facts += [Fact(relation, UNKNOWN) for relation in said[:1]]
    if _RE.nothing_at_all.search(text):
        facts += [Fact("disease", UNKNOWN), Fact("process", UNKNOWN)]
    return facts


def _mentions(text: str, continues: bool) -> Iterator[tuple[int, int]]:
    """Spans of the RNA (with "expression" and the like behind it) where it opens a clause."""
    known = continues
    for match in _RE.mention.finditer(text):
        left, this = text[: match.start()], match[0].lower().startswith("this")
        if not this and (
            not known or (_RE.other_name.search(left) and "this rna" not in left.lower())
        ):
            continue  # after another name, "it" may be that one
        clause = left.rpartition(";")[2]
        if _RE.before_rna.search(left) and not _RE.between.search(clause):
            known = True
            yield match.start(), _RE.after_rna.match(text, match.end()).end()


def _active(text: str, start: int, end: int) -> tuple[list[Fact], str]:
    """Facts of the predicates that follow a subject which ends at ``end``."""
    if _RE.supposed.search(text[:start].rpartition(";")[2]):
        return [], HEDGED
    stop = _RE.predicate_end.search(text, end + 1)
    limit = stop.start() if stop else len(text)
    match = _PHRASE.match(text, end + 1, limit)
    if match is None:
        match = _next_phrase(text, end, limit)
        between = text[end : match.start()] if match else ""
        if _RE.hedged.search(between):
            return [], HEDGED
        if re.search(r"\b(?:which|that|while|when)\b", between):
            return [], ""
    facts, reason, why = [], "", ""
    while match and why != HEDGED:  # what is only supposed has only supposed consequences
        found, why = _read(text, match, limit)
        facts += found
        reason = reason or why
        match = _next_phrase(text, match.end(), limit)
    return facts, reason


def _next_phrase(text: str, start: int, limit: int) -> re.Match | None:
    """The next predicate of the same subject: "… and promotes …", "… by targeting …"."""
    for match in _PHRASE.finditer(text, start, limit):
        near, begun = match.start() - NEAR, match.start()
        joined = _RE.joined.search(text, max(0, near), begun)
        if _RE.connected.search(text, max(start - 1, near), begun) and (
            not joined or re.search(r"ing\b", match[0])
        ):
            return match
    return None


def _read(text: str, match: re.Match, limit: int) -> tuple[list[Fact], str]:
    """The facts of one phrase: its relation with every fitting entity of the list behind it."""
    lead = match["lead"].replace("not only", "")
    number = next(i for i in range(len(_RELATIONS)) if match[f"p{i}"])
    if _RE.hedged.search(lead) or re.search(
        r"(?i)\b(?:potential|possible|candidate|promising)", match[f"p{number}"]
    ):
        return [], HEDGED
    denied, first, rest = (
        bool(NEGATION.search(lead)),
        _RELATIONS[number][0],
        text[match.end() : limit],
    )
    for relation in _RELATIONS[number]:
        if relation == "tissue" and _RE.little.search(lead):
            relation = "altered"  # "poorly expressed in glioma": a change, not a place
        if entities := _listed(relation, rest):
            name = "disease" if relation == "altered" else relation
            return [Fact(name, entity, not denied) for entity in entities], ""
    if denied and first in ("site", "isotype", "target", "ligand") and _RE.no_entity.match(rest):
        return [Fact(first, NONE)], ""
    return [], UNFIT


def _passive(text: str) -> tuple[list[Fact], str]:
    """Facts of "PTEN is targeted by this RNA" and "PTEN is a direct target of this RNA"."""
    facts, reason, end = [], "", 0
    for match in [*_RE.passive.finditer(text), *_RE.target_of.finditer(text)]:
        found = {name: value for name, value in match.groupdict().items() if value}
        if "np" not in found:  # the passive: what stands before it in its clause
            found["np"] = re.split("[,;:()]", text[end : match.start()])[-1]
            end = match.end()
        said = found["np"] + match[0]
        if _RE.hedged.search(said) or _RE.supposed.search(text[: match.end("mid")]):
            reason = HEDGED
            continue
        relation = next((n for n in ("process", "partner") if n in found), "target")
        phrase = re.split(r"\b(?:that|and|of|show|found)\b", found["np"])[-1]
        entity = _fitting(relation, found.get("short", "")) or _fitting(relation, phrase)
        if entity:
            facts.append(Fact(relation, entity, not NEGATION.search(found["mid"])))
        else:
            reason = UNFIT
    return facts, reason


def _fitting(relation: str, text: str) -> str | None:
    """The entity in a noun phrase, if it is of the relation's kind: target, "its gene PTEN" → PTEN."""
    text = _RE.determiners.sub("", text.strip(" ,'\""))
    if len(text) > LONGEST and relation != "site":
        return None
    if relation == "site":
        return found[0] if (found := _RE.a_site.search(text)) else None
    if relation in ("target", "partner"):
        return _symbol(text, relation)
    if relation == "altered":
        text = _RE.samples.sub("", re.sub(r"^.*\b(?:of|with) ", "", text))
    while _RE.tail.search(text):
        text = _RE.tail.sub("", text)
    if not text or len(text.split()) > 6 or _RE.junk_word.search(text) or "," in text:
        return None
    if relation == "process":  # words of a title
        text = re.sub(r"\b[A-Z](?=[a-z]{3,}\b)", lambda match: match[0].lower(), text)
    return text if _is_kind(relation, text) else None


def _is_kind(relation: str, text: str) -> bool:
    if relation in ("process", "tissue") and _is_kind("disease", text):
        return False
    kind = "disease" if relation == "altered" else relation
    barred = getattr(_RE, f"{kind}_not", None)
    fits = getattr(_RE, f"{kind}_is").search(text)
    return bool(fits) and not (barred and barred.search(text))


def _symbol(text: str, relation: str) -> str | None:
    """A gene or protein symbol such as PTEN, p53, HuR or cyclin D1; a protein also by its name."""
    if relation == "partner" and re.search(r"RNAs?\b|transcript|promoter|gene\b|UTR", text):
        return None
    text = _RE.around_symbol.sub("", text)
    if relation == "partner" and _RE.protein.match(text) and not _RE.junk_word.search(text):
        return text
    bare = re.sub(r"^cyclin ", "cyclin-", text)
    good = len(bare) > 1 and _RE.symbol.fullmatch(bare) and not _RE.no_symbol.match(bare)
    return bare.replace("cyclin-", "cyclin ") if good else None


def _listed(relation: str, rest: str) -> list[str]:
    """The fitting items of "a, b and c", up to the first that does not fit."""
    if re.match(r"\s*(?:in|by)\b", rest):
        return []
    stop = _RE.punctuation if relation == "site" else _RE.np_end
    noun_phrases = stop.split(rest, maxsplit=1)[0]
    if relation in ("target", "partner") and re.search(r"pathway|signal", noun_phrases):
        return []  # "the AKT and ERK pathways"
    entities = []
    for item in re.split(r",? (?:and|or|as well as) |, ", noun_phrases):
        entity = _fitting(relation, item)
        if entity is None and entities:
            break
        entities += [entity] if entity else []
    short = _RE.in_brackets.match(rest)
    if not entities and short and relation in ("target", "partner"):
        entities = [entity for entity in [_fitting(relation, short[1])] if entity]
    return entities
