"""Facts out of sentences: rules over the clauses of any English text about one RNA.

The RNA stands in the text as "this RNA" (see `names.mask_names`). A clause is: opener, subject (the
RNA), lead (auxiliaries, adverbs), phrase, entities; the words of each are in ``fact_patterns.yaml``,
general ones of biomedical English. What a sentence only supposes is not a fact.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from rnagpt_lib.curate.questions.question_templates import NONE, UNKNOWN

HEDGED = "hedged or only asked"
UNFIT = "no entity of the kind that the relation needs"
MOST_WORDS = 100  # a longer sentence is a broken one, and costs the expressions much time

_WORDS = yaml.safe_load(Path(__file__).with_name("fact_patterns.yaml").read_text("utf-8"))


def _any(words: str) -> str:
    """One expression for alternatives that stand two spaces or a line apart."""
    return "|".join(re.split(r"\s{2,}|\n", words.strip()))


def _verbs(stems: str) -> str:
    """Third person, plural, past and -ing forms of regular verbs."""
    forms = []
    for stem in stems.split():
        base = stem.removesuffix("e")
        forms.append(f"{base}(?:e?s|e?d|ing)" if stem != base else f"{base}(?:s|es|ed|ing)?")
        forms.append(stem)
    return "(?:" + "|".join(forms) + ")"


# The RNA as a subject
_NOUN = (
    r"(?:(?:micro|mi|pre-mi|lnc|nc|t|r|sno|sn|sca|pi|si|tm|vault |Y |SRP )?RNA|"
    r"(?:long |small )?non-?coding RNA|riboswitch|ribozyme|transcript|molecule)"
)
_THIS = "this rna"
_RNA = rf"(?:[Tt]his {_NOUN}|[Tt]he {_NOUN}|[Ii]t)(?![\w-])"
_OF = rf"(?:(?:{_any(_WORDS['measured'])})(?: levels?)? of )"
_GRADE = rf"(?:(?:{_any(_WORDS['grade'])}) )*"
_OPENER = (
    r"(?:^|[,;:]\s*|\b(?:that|and|but|while|whereas|because|since|thus|therefore|hence|when|where|"
    r"show|found|which)\s+)(?:\w+ly,? )?"
)
_BEFORE_RNA = re.compile(rf"{_OPENER}{_GRADE}{_OF}?{_GRADE}$", re.IGNORECASE)
_AFTER_RNA = re.compile(
    r"(?: \([^)]*\))?(?: (?:over-?|up-?regulated )?expression(?: levels?)?| levels?|"
    r" (?:up|down)-?regulation| mimics?| inhibitors?| silencing| knock-?down| deletion)?"
    r"(?: in (?:[\w/-]+ ){0,5}?(?:cells?|cell lines?|tissues?|mice))?(?:, an? [^,]{1,60},)?"
)

# Between the subject and the phrase
_LEAD = rf"(?:(?:{_any(_WORDS['lead'])}) )*"
_HEDGE = re.compile(rf"(?i)\b(?:{_any(_WORDS['hedge'])})\b")
_LITTLE = re.compile(
    r"(?i)\b(?:poorly|lowly|weakly|rarely|barely|less|differentially|aberrantly|abnormally)\b"
)
NEGATION = re.compile(r"(?i)\b(?:not|never|neither|nor|cannot|no longer|fail(?:s|ed)?|without)\b")
_UNASSERTED = re.compile(rf"(?i)\b(?:{_any(_WORDS['unasserted'])})\b")

# Phrases, and the relations that they may state: the first whose kind of entity fits
_EFFECT = (
    rf"(?:{_verbs(_WORDS['effect'])}|(?:up|down|dys)-?{_verbs('regulate')}|control(?:s|led|ling)?|"
    r"inhibit(?:s|ed|ing)?)"
)
_PHRASES = [(_any(row["words"]), row["relations"]) for row in _WORDS["phrases"]]
_PHRASES += [(_verbs("target repress silence suppress"), ["target", "process"])]
_PHRASES += [(_EFFECT, ["process"])]
_PHRASE = re.compile(
    rf"(?P<lead>{_LEAD})(?:"
    + "|".join(f"(?P<p{i}>{phrase})" for i, (phrase, _) in enumerate(_PHRASES))
    + r")(?![\w-])",
    re.IGNORECASE,
)
_CONNECT = re.compile(
    r"(?:,? (?:and|but|or)|,? (?:by|via|through|while|thereby|thus)|,) (?:thereby |thus |then )?$"
)

# Passive voice and nouns: the entity stands first
_PASSIVE = re.compile(
    r"(?P<np>[^,;:()]+?)(?: \([^)]*\))? (?P<mid>(?:is|are|was|were|be|been|being) "
    rf"{_LEAD})(?:(?P<target>targeted|repressed|silenced|suppressed)|(?P<process>(?:\w+ly )?"
    rf"(?:regulated|controlled|inhibited|promoted|induced|enhanced))|(?P<partner>bound)) by {_RNA}"
)
_TARGET_OF = re.compile(
    r"(?P<np>[\w'/-]+(?: \d)?)(?: (?:gene|mRNA|protein))?(?: \((?P<short>[^)]*)\))?"
    r"(?P<mid>,|(?: (?:is|was|were|are|has been|have been|as)\b)[\w ,-]{0,40}?)"
    rf" (?:an?|the|one of the) (?:[\w-]+ ){{0,3}}targets?(?: genes?)? (?:of|for) {_RNA}"
)

# Nothing known
_KNOWN = r"(?:known|reported|described|found|identified|established|linked|shown)"
_NOTHING = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bno (?P<noun>[a-z -]{{3,60}}?) (?:(?:of|for|regulated by|bound by|targeted by) )?{_RNA}"
        rf" (?:is|are|has been|have been)(?: yet)? {_KNOWN}",
        rf"\bno (?P<noun>[a-z -]{{3,40}}?) (?:is|are|has been|have been)(?: yet)? {_KNOWN}"
        rf"(?: to \w+| with| to| for| of)? {_RNA}",
        rf"\bthe (?P<noun>[a-z -]{{3,60}}?)(?: that| of| for| by)? {_RNA}(?: \w+s)? (?:is|are|"
        r"remains?) (?:still |yet |currently )?(?:unknown|not known)",
    )
]
_IGNORANCE = re.compile(
    rf"(?:{_RNA}[^.]*\buncharacteri[sz]ed\b|\b[Nn]othing is known (?:about|of)\b[^.]*{_RNA})"
)

# Entities
_STOP = re.compile(rf"[;:.()\[\]]|(?<!\w)(?:{_any(_WORDS['stop'])})(?!\w)")
_DETERMINER = re.compile(rf"^(?:(?:{_any(_WORDS['determiner'])})\s+)+(?=\S)", re.IGNORECASE)
_TAIL = re.compile(r"\s+(?:\w+ly|also|too|alone|well|either|patients?|expression)$")
_SAMPLES = re.compile(r"(?: (?:tissues?|cells?|cell lines?|patients?|samples?|specimens?))+$")
_JUNK = re.compile(rf"(?i)\b(?:{_any(_WORDS['junk'])})\b")
_DISEASE = re.compile(rf"(?:{_any(_WORDS['disease'])})$")
_NOT_DISEASE = re.compile(
    r"(?i)(?:apopt|necr|mit|mei|cyt|metam|metast|angi|endocyt|exocyt|homeosta|progn|diagn)\w*sis$|"
    r"(?-i: of )|^(?:cancers?|disease|diseases|tumou?rs?|malignanc(?:y|ies)|disorders?|neoplasms?|"
    r"(?:.* )?(?:prognosis|outcome|survival))$"
)
_PROCESS = re.compile(
    rf"^(?:[\w/βα-]+ ){{0,4}}?(?:{_any(_WORDS['process'])})(?: (?:of|to|and) [\w/ -]+)?$"
)
_NOT_PROCESS = re.compile(rf"(?i)\b(?:{_any(_WORDS['not_process'])})\b")
_FINITE = re.compile(
    r"\b(?:(?:promot|regulat|inhibit|induc|suppress|target|increas|reduc|enhanc|mediat|activat|"
    r"block|modulat|decreas|affect)e?[sd]|(?:inhibit|suppress|target|block|affect)ed)\b"
)
_TISSUE = re.compile(rf"(?i)^(?:[\w-]+ ){{0,4}}?(?:{_any(_WORDS['tissue'])})$")
_LOCATION = re.compile(rf"(?i)^(?:[\w-]+ ){{0,2}}?(?:{_any(_WORDS['location'])})$")
_AMINO = (
    "alanine arginine asparagine aspartate cysteine glutamine glutamate glycine histidine isoleucine "
    "leucine lysine methionine phenylalanine proline serine threonine tryptophan tyrosine valine "
    "selenocysteine pyrrolysine ala arg asn asp cys gln glu gly his ile leu lys met phe pro ser thr "
    "trp tyr val sec pyl"
).split()
_SITE = re.compile(
    r"\b(?:[ACGU]\d+|(?:position|residue|nucleotide) \d+)(?: (?:of|in) (?:the )?[\d.]+S rRNA)?"
)
_SYMBOL = re.compile(r"(?:[A-Za-z][\w/-]*)?[A-Z0-9][\w/.-]*(?: \d+)?|p\d+")
_NOT_SYMBOL = re.compile(rf"(?i)^(?:{_any(_WORDS['not_symbol'])})$")
_AROUND_SYMBOL = re.compile(
    rf"^(?:(?:{_any(_WORDS['before_symbol'])}) )+|"
    r" (?:genes?|proteins?|mRNAs?|transcripts?|expression|levels?|translation)+$"
)
_PROTEIN = re.compile(r"^[a-z-]{4,}(?:in|ase|some)$")


@dataclass(frozen=True)
class Fact:
    """One reading of a clause; ``true`` is False where the clause denies it."""

    relation: str
    entity: str
    true: bool = True


def facts_in(sentence: str, continues: bool = False) -> tuple[list[Fact], str]:
    """The facts that one sentence states about the RNA, and why there are none.

    ``continues``: the sentence before had the RNA as its subject, so "it" and "the RNA" are
    the RNA too. The reason is "" when there are facts.

    >>> facts_in("This RNA inhibits cell growth by targeting PTEN.")[0]
    [Fact(relation='process', entity='cell growth', true=True), Fact(relation='target', ...)]
    """
    text = " ".join(sentence.split()).removesuffix(".")
    if text.endswith("?"):
        return [], "a question"
    if text.count(" ") >= MOST_WORDS:
        return [], f"a sentence of more than {MOST_WORDS} words"
    nothing = list(_nothing_known(text))
    if nothing:
        return nothing, ""
    read = [_active(text, start, end) for start, end in _mentions(text, continues)]
    read.append(_passive(text))
    facts = list(dict.fromkeys(fact for found, _ in read for fact in found))
    reasons = [reason for _, reason in read if reason]
    return facts, "" if facts else (reasons or ["no relation with the RNA as its subject"])[0]


def has_subject(sentence: str) -> bool:
    """Whether a clause of the sentence has the _RNA, named in full, as its subject."""
    return any(True for _ in _mentions(" ".join(sentence.split()), False))


def _nothing_known(text: str) -> Iterator[Fact]:
    for pattern in _NOTHING:
        match = pattern.search(text)
        if match:
            for relation, nouns in _WORDS["nouns"].items():
                if re.search(rf"\b(?:{nouns})\b", match["noun"]):
                    yield Fact(relation, UNKNOWN)
                    break
    if _IGNORANCE.search(text):
        yield from (Fact("disease", UNKNOWN), Fact("process", UNKNOWN))


def _mentions(text: str, continues: bool) -> Iterator[tuple[int, int]]:
    """Spans of the _RNA (with "expression" and the like behind it) where it opens a clause."""
    known = continues
    for match in re.finditer(rf"(?<![\w-]){_RNA}", text):
        this = match[0].lower().startswith("this")
        if not (this or known):
            continue
        left = text[: match.start()]
        if not this and re.search(r"(?<=.)(?:[A-Z0-9]|\w,)", left) and _THIS not in left.lower():
            continue  # after another name, "it" may be that one
        if _BEFORE_RNA.search(left) and not re.search(r"(?i)\b(?:between|among)\b[^;]*$", left):
            known = True
            yield match.start(), _AFTER_RNA.match(text, match.end()).end()


def _active(text: str, start: int, end: int) -> tuple[list[Fact], str]:
    """Facts of the predicates that follow a subject which ends at ``end``."""
    if _UNASSERTED.search(re.split(r";", text[:start])[-1]):
        return [], HEDGED
    facts, reason = [], ""
    limit = _predicate_end(text, end)
    match = _PHRASE.match(text, end + 1, limit)
    if match is None:
        match = _next_phrase(text, end, limit)
        between = text[end : match.start()] if match else ""
        if _HEDGE.search(between):
            return [], HEDGED
        if re.search(r"\b(?:which|that|while|when)\b", between):
            return [], ""
    while match:
        found, why = _read(text, match, limit)
        facts += found
        reason = reason or why
        if why == HEDGED:
            break  # what is only supposed has only supposed means and consequences
        match = _next_phrase(text, match.end(), limit)
    return facts, reason


def _predicate_end(text: str, start: int) -> int:
    """Where the _RNA stops to be the subject: a semicolon, a new clause, the next mention."""
    ends = re.compile(rf";|, (?:which|whereas|while|but (?!also|not))|\bwhereas\b|(?<![\w-]){_RNA}")
    match = ends.search(text, start + 1)
    return match.start() if match else len(text)


def _next_phrase(text: str, start: int, limit: int) -> re.Match | None:
    """The next predicate of the same subject: "… and promotes …", "… by targeting …"."""
    for match in _PHRASE.finditer(text, start, limit):
        if _CONNECT.search(text, start - 1, match.start()):
            joined = re.search(
                r"(?:by|via|through|while|thereby|thus|,) (?:\w+ )?$", text[: match.start()]
            )
            if not joined or re.search(r"ing\b", match[0]):
                return match
    return None


def _read(text: str, match: re.Match, limit: int) -> tuple[list[Fact], str]:
    """The facts of one phrase: its relation with every fitting entity of the list behind it."""
    lead = match["lead"].replace("not only", "")
    number = next(i for i in range(len(_PHRASES)) if match[f"p{i}"])
    if _HEDGE.search(lead) or re.search(
        r"(?i)\b(?:potential|possible|candidate|promising)", match[f"p{number}"]
    ):
        return [], HEDGED
    denied = bool(NEGATION.search(lead))
    rest = text[match.end() : limit]
    for relation in _PHRASES[number][1]:
        if relation == "tissue" and _LITTLE.search(lead):
            relation = "altered"  # "poorly expressed in glioma": a change, not a place
        entities = _listed(relation, rest)
        if entities:
            name = "disease" if relation == "altered" else relation
            return [Fact(name, entity, not denied) for entity in entities], ""
    empty = re.match(r"(?: (?:of|at))?(?: (?:any|no)(?: \w+)?| \w+ site)?\s*(?:[,;]|and\b|$)", rest)
    if denied and empty and _PHRASES[number][1][0] in ("site", "isotype", "target", "ligand"):
        return [Fact(_PHRASES[number][1][0], NONE)], ""
    return [], UNFIT


def _passive(text: str) -> tuple[list[Fact], str]:
    """Facts of "PTEN is targeted by this _RNA" and "PTEN is a direct target of this _RNA"."""
    facts, reason = [], ""
    for match in [*_PASSIVE.finditer(text), *_TARGET_OF.finditer(text)]:
        if _HEDGE.search(match[0]) or _UNASSERTED.search(text[: match.end("mid")]):
            reason = HEDGED
            continue
        found = {name: value for name, value in match.groupdict().items() if value}
        relation = next((n for n in ("process", "partner") if n in found), "target")
        phrase = re.split(r"\b(?:that|and|of|show|found)\b", found["np"])[-1]
        short = _fitting(relation, found.get("short", ""))
        entity = short or _fitting(relation, phrase)
        if entity:
            facts.append(Fact(relation, entity, not NEGATION.search(found["mid"])))
        else:
            reason = UNFIT
    return facts, reason


def _fitting(relation: str, text: str) -> str | None:
    """The entity in a noun phrase, if it is of the kind that the relation needs.

    ``("target", "its target gene PTEN")`` → PTEN; ``("target", "cell growth")`` → None.
    """
    text = _DETERMINER.sub("", text.strip(" ,'\""))
    if relation == "site":
        found = _SITE.search(text)
        return found[0] if found else None
    if relation in ("target", "partner"):
        return _symbol(text, relation)
    if relation == "altered":
        text = re.sub(r"^.*\b(?:of|with) ", "", text)
        text = _SAMPLES.sub("", text)
    while _TAIL.search(text):
        text = _TAIL.sub("", text)
    if not text or len(text.split()) > 6 or _JUNK.search(text) or "," in text:
        return None
    if relation == "process":  # words of a title
        text = re.sub(r"\b[A-Z](?=[a-z]{3,}\b)", lambda match: match[0].lower(), text)
    return text if _is_kind(relation, text) else None


def _is_kind(relation: str, text: str) -> bool:
    if relation in ("disease", "altered"):
        return bool(_DISEASE.search(text)) and not _NOT_DISEASE.search(text)
    if relation == "process":
        barred = _NOT_PROCESS.search(text) or _FINITE.search(text) or _is_kind("disease", text)
        return bool(_PROCESS.match(text)) and not barred
    if relation == "tissue":
        bare = re.fullmatch(r"(?:cells?|cell lines?|tissues?)", text)
        return bool(_TISSUE.match(text)) and not bare and not _is_kind("disease", text)
    if relation == "location":
        return bool(_LOCATION.match(text))
    if relation == "isotype":
        return text.lower() in _AMINO
    return len(text.split()) <= 3 and bool(re.fullmatch(r"[\w'() -]{3,40}", text))  # ligand


def _symbol(text: str, relation: str) -> str | None:
    """A gene or protein symbol such as PTEN, p53, HuR or cyclin D1; a protein also by its name."""
    if relation == "partner" and re.search(r"RNAs?\b|transcript|promoter|gene\b|UTR", text):
        return None
    text = _AROUND_SYMBOL.sub("", text)
    if relation == "partner" and _PROTEIN.match(text) and not _JUNK.search(text):
        return text
    text = re.sub(r"^cyclin ", "cyclin-", text)
    good = len(text) > 1 and _SYMBOL.fullmatch(text) and not _NOT_SYMBOL.match(text)
    return text.replace("cyclin-", "cyclin ") if good else None


def _listed(relation: str, rest: str) -> list[str]:
    """The fitting items of "a, b and c", up to the first that does not fit."""
    short = re.match(r"(?:(?! and )[^,;.()])* \(([^)]*)\)", rest)
    stop = re.compile(r"[;:.()\[\]]") if relation == "site" else _STOP
    if re.match(r"\s*(?:in|by)\b", rest):
        return []
    noun_phrases = stop.split(rest, maxsplit=1)[0]
    if relation in ("target", "partner") and re.search(r"pathway|signal", noun_phrases):
        return []  # "the AKT and ERK pathways"
    items = re.split(r",? (?:and|or|as well as) |, ", noun_phrases)
    entities = []
    for item in items:
        entity = _fitting(relation, item)
        if entity is None and entities:
            break
        if entity:
            entities.append(entity)
    if not entities and short and relation in ("target", "partner"):
        entities = [entity for entity in [_fitting(relation, short[1])] if entity]
    return entities
