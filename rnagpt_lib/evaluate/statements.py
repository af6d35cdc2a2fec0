"""What an answer says: which entities it affirms and which it denies, whether it abstains, and
whether it says yes or no.

It is read clause by clause: "a tRNA, not an mRNA" denies the second alone, and "a tRNA, although
this is not certain" denies nothing.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from rnagpt_lib.core.text import fold


class Spot(Protocol):
    """Where an entity stands in a text: ``text[start:end]``, and its name."""

    start: int
    end: int
    name: str


Finder = Callable[[str], Iterable[Spot]]  # a text → the entities in it
SENTENCES = re.compile(r"(?<=[.!?;])\s+")
_MASK = "\0"  # stands for the letters of an entity, which may hold a "not" themselves
_SMALL = r"(?:(?:an?|the|any|its|in|of|to|with|for|by)\s){0,2}"

# "not only a tRNA" affirms; "not certain" does neither
_HARMLESS = re.compile(
    r"not (?:only|just|merely|least)\b|no (?:doubt|question|less)\b|without (?:an?y? )?(?:doubt|question)|"
    r"(?:no|nothing|none)(?: \w{1,20}){0,2} (?:but|except(?: for)?|other than|besides)\b|"
    r"(?:not|n't)(?: (?:yet|entirely|quite|fully|absolutely|completely|100 ?%))? (?:be )?"
    r"(?:known for )?(?:certain|sure|clear|proven|confirmed|established|settled|final)\b",
    re.IGNORECASE,
)
_NO = (
    r"not|n't|cannot|never|no|nothing|none|nobody|doubt\w{0,3}|little|few|neither|nor|without|lack(?:s|ing|ed)?|absen(?:t|ce)|devoid|"
    r"fail(?:s|ed)?|unlikely|improbable|implausible|impossible|exclud\w{1,5}|rul(?:es?|ed|ing) out|"
    r"den(?:y|ies|ied)|refut\w{1,5}|disprove\w{0,2}|contradict\w{0,5}|reject\w{0,3}|false(?:ly)?|"
    r"wrong(?:ly)?|incorrect(?:ly)?|untrue|hardly|scarcely|by no means|missing|out of the question"
)
_ALL_BUT = re.compile(r"\b(?:any|every|all)(?:thing| \w{1,20}) (?:but|except)\b", re.IGNORECASE)
_BEFORE = re.compile(  # what it stands before is denied, to the end of the clause
    rf"(?<![\w-])(?:{_NO}|rather than|instead of|other than|except|"
    r"unlike|as opposed to|far from|free (?:of|from)|unrelated to|independent of|opposite of|"
    r"contrary to|whether|if)(?!\w)|n't\b",
    re.IGNORECASE,
)
_AFTER = re.compile(  # but not what is said of something else: "in cells that lack p53"
    rf"(?:(?<![\w-])(?!(?:without|lacks?|lacked|fail\w*|few|little)\b)(?:{_NO})|n't)(?!\w)(?!\s{_SMALL}{_MASK})",
    re.IGNORECASE,
)
_CLAUSES = re.compile(
    r"\)|[;,]?\s(?=(?:but|although|though|while|whereas|however|yet|because)\s)|"
    r",\s(?=(?:which|who|whose|where|it|its|this|these|the RNA|we|they|instead|hence|thus|not|no|"
    rf"never|rather|nor|unlike)\b)|,?\s(?=(?:and|or)\s(?!{_SMALL}{_MASK}))|(?<={_MASK})\s(?=(?:that|which)\s)",
    re.IGNORECASE,
)
# "…, which it does not bind": the relative clause is about the RNA, and denies what stands before
_DENIED_BEHIND = re.compile(
    rf",?\s(?:\w{{1,10}}\s)?(?:which|that)\s(?:it|(?:the|this) \w{{1,12}})\s(?:\w{{1,20}}\s){{0,3}}?(?:{_NO}|\w{{1,9}}n't)\b",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(  # "The RNA is not linked to it.", "That is wrong.", "Not!"
    r"[^.]{0,60}\b(?:not|\w{1,9}n't)\s[^.]{0,40}\b(?:it|this|that)\W{0,9}|"
    r"\W{0,9}(?:(?:and|but|or|well|no),?\s)?(?:(?:this|that|it|you|which|the (?:above|contrary))\s"
    r"(?:\w{1,12}\s){0,3}?)?(?:(?:is|was|would be)\s)?(?:not|isn't|no|nope|never|false|wrong|untrue|"
    r"incorrect|(?:is |isn't |not ){1,2}(?:true|right|correct|the case|so)|true)(?:\s(?:true|right|"
    r"correct|the case|so|at all))?\W{0,9}",
    re.IGNORECASE,
)
_ANYTHING = re.compile(
    r"\bor (?:\w+ )?(?:(?:some|any)(?:thing|where|one)|else|other|not)\b", re.IGNORECASE
)

_NOTHING_KNOWN = re.compile(
    r"\bunknown\b|\b(?:not|n't) (?:yet |been |be )*(?:known|reported|described|studied|determined|"
    r"characteri[sz]ed|told|said|answered)\b|\bno \w[\w ]{0,100} (?:is|are|was|were|has been|have "
    r"been) (?:yet )?(?:known|reported|described|available|found)\b|\bno known\b|\bcannot (?:be "
    r"(?:told|said|determined|known|answered|inferred)|say|tell|answer|know|determine)\b|"
    r"\b(?:can|could)(?:n't| not) (?:say|tell|answer|know|determine)\b|"
    r"\b(?:do|does|did)(?:n't| not)(?: yet| really)? (?:know|say|tell|report|mention|describe|state)\b|"
    r"\bnothing(?: \w+){0,2} (?:known|reported|said|described|published)\b|\bno (?:idea|information|"
    r"data|knowledge|literature|records?|reports?)\b|\b(?:undetermined|uncharacteri[sz]ed|unstudied|"
    r"unreported)\b|\bimpossible to (?:say|tell|know)\b|\bcan only answer\b|\b(?:remains?|is|are) "
    r"(?:unclear|to be (?:determined|seen|shown|established))\b",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"\b(?:not|n't) (?:\w+ )?(?:sure|certain)\b|\bun(?:sure|certain|clear)\b", re.IGNORECASE
)
_MINE = re.compile(r"\bI\b|\bno idea\b|\bimpossible to\b")

_YES = re.compile(
    r"\W{0,9}(?:(?:that|this|the statement) is )?(?:yes|correct|right|true|indeed|certainly|absolutely|"
    r"affirmative|of course|exactly|the answer is:? (?:yes|true)|(?:it|the RNA|this RNA) "
    r"(?:is|does|has|can)(?=\W{0,9}$))\b",
    re.IGNORECASE,
)
_NOT_SO = re.compile(
    r"\W{0,9}(?:(?:that|this|the statement) is )?(?:no(?! doubt| question)|not (?:so|at all|true|right|correct|the case)|"
    r"incorrect|wrong|false|untrue|negative|never|by no means|the answer is:? (?:no|false)|"
    r"(?:it|the RNA|this RNA) (?:is|does|has|can)(?:n't| not|not)(?=\W{0,9}$))\b",
    re.IGNORECASE,
)
_AUXILIARY = r"(?:is|are|was|were|does|do|did|has|have|had|can|could|will|would)"
_NEGATED = re.compile(rf"\b(?:{_AUXILIARY}(?:n't| not| never)|cannot|never)\b", re.IGNORECASE)
_ELLIPTIC = re.compile(
    rf"\W{{0,9}}(?:it|(?:the|this) \w{{1,20}}) {_AUXILIARY}\W{{0,9}}", re.IGNORECASE
)
_GOES_ON = re.compile(r"(?:[,:]| and| or| -)+ ?", re.IGNORECASE)


class Said(NamedTuple):
    """Names of entities that a text affirms, and that it denies."""

    affirmed: set[str]
    denied: set[str]


def read(text: str, find: Finder) -> Said:
    """What ``text`` affirms and denies of what ``find`` finds in it. An entity of a question is
    neither; one behind "whether", and one that is affirmed and taken back, count as denied."""
    text, said = fold(text), Said(set(), set())
    spots = sorted(find(text), key=lambda spot: spot.start)
    letters = list(text)
    for spot in spots:
        letters[spot.start : spot.end] = _MASK * (spot.end - spot.start)
    masked = _HARMLESS.sub(lambda found: " " * len(found[0]), "".join(letters))
    masked = _ALL_BUT.sub(lambda found: "not".ljust(len(found[0])), masked)
    for start, end, own in _parts(SENTENCES, masked, 0, len(masked), spots):
        open_ended = _ANYTHING.search(masked, start, end)
        if own and not open_ended and not masked[start:end].rstrip().endswith("?"):
            for clause in _parts(_CLAUSES, masked, start, end, own):
                _read_clause(masked, *clause, said)
        elif said.affirmed and (open_ended and own or _TAKEN_BACK.fullmatch(masked, start, end)):
            said.denied.update(said.affirmed)
    return Said(said.affirmed - said.denied, said.denied)


def _parts(
    border: re.Pattern, text: str, start: int, end: int, spots: list[Spot]
) -> Iterator[tuple[int, int, list[Spot]]]:
    """The parts between borders of ``text[start:end]``: start, end, and the spots in each."""
    place = 0
    for stop in [*(found.end() for found in border.finditer(text, start, end)), end]:
        first = place
        while place < len(spots) and spots[place].start < stop:
            place += 1
        yield start, stop, spots[first:place]
        start = stop


def _read_clause(masked: str, start: int, end: int, spots: list[Spot], said: Said) -> None:
    """Add what the clause ``masked[start:end]`` says of its ``spots``."""
    if not spots:
        if said.affirmed and _TAKEN_BACK.fullmatch(masked, start, end):
            said.denied.update(said.affirmed)
        return
    before = _BEFORE.search(masked, start, end)
    after = max((found.start() for found in _AFTER.finditer(masked, start, end)), default=-1)
    for spot in spots:
        denied = after >= spot.end or before and before.end() <= spot.start
        denied = denied or _DENIED_BEHIND.match(masked, spot.end)
        (said.denied if denied else said.affirmed).add(spot.name)


def claimed(text: str, find: Finder) -> set[str]:
    """The entities that a text affirms.

    >>> from rnagpt_lib.evaluate.entities import spots
    >>> claimed("It binds HuR, not La.", lambda sentence: spots(sentence, ["HuR", "La"]))
    {'hur'}
    """
    return read(text, find).affirmed


def abstains(text: str, claims: Iterable[str] = ()) -> bool:
    """Whether an answer says that it cannot be told. With ``claims``, the entities that it
    affirms: whether it says so and names them as a guess ("I do not know. My guess: a tRNA.")."""
    sentences = SENTENCES.split(fold(text))
    if not claims:
        return any(p.search(s) for s in sentences for p in (_NOTHING_KNOWN, _UNSURE))
    sentences = [_HARMLESS.sub("", sentence) for sentence in sentences]
    first = _NOTHING_KNOWN.search(sentences[0])
    return bool(first) or any(_NOTHING_KNOWN.search(s) and _MINE.search(s) for s in sentences)


def yes_or_no(text: str, about: Said | None = None) -> str | None:
    """``"yes"`` or ``"no"`` of an answer read as a whole, None for neither and for both.
    ``about``: whether it affirms or denies the entity that the question names, if that is known.

    >>> [yes_or_no(text) for text in ("Yes, it is.", "Indeed.", "Yes and no.", "Yes, it does not.")]
    ['yes', 'yes', None, None]
    """
    sides = set()
    for sentence in SENTENCES.split(fold(text)):
        sides |= _turns(sentence)
    if about and bool(about.affirmed) != bool(about.denied):
        sides.add("yes" if about.affirmed else "no")
    return sides.pop() if len(sides) == 1 else None


def _turns(sentence: str) -> set[str]:
    """Which of yes and no a sentence begins with, and whether it goes on to the contrary."""
    said: set[str] = set()
    place, turn = 0, ""
    while found := _NOT_SO.match(sentence, place) or _YES.match(sentence, place):
        turn = "no" if found.re is _NOT_SO else "yes"
        said.add(turn)
        place = found.end()
        if more := _GOES_ON.match(sentence, place):
            place = more.end()
    behind = _CLAUSES.search(sentence, place)
    clause = sentence[place : behind.start() if behind else len(sentence)]
    if turn == "yes" and _NEGATED.search(_HARMLESS.sub("", clause)):
        said.add("no")
    if turn == "no" and _ELLIPTIC.fullmatch(clause):
        said.add("yes")
    return said
