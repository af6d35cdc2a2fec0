"""Sentences of abstracts: where they end, which are about one RNA, which state a fact.

Only general cues of scientific English; no vocabulary of any one data set.
"""

import re
from dataclasses import dataclass

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from rnagpt_lib.curate.text.names import THIS, mask_names, pattern

# Words that tell nothing about what a text is about: of any English, and of any abstract.
STOP_WORDS = ENGLISH_STOP_WORDS | frozenset(
    "abstract aim aimed analysed analyses analysis analyzed approach assay assays assessed "
    "background based collectively compared conclusion conclusions confirmed data demonstrate "
    "demonstrated design detected determine determined different evaluate evaluated evidence "
    "examined experiments finding findings furthermore group groups identified identify important "
    "including indicate indicated indicates introduction investigate investigated method methods "
    "moreover new novel objective observed obtained paper performed play plays possible "
    "potential present previous previously provide provides purpose recent recently report "
    "reported respectively result results reveal revealed reveals review role roles sample samples "
    "show showed shown shows significant significantly similar studied studies study suggest "
    "suggested suggesting suggests total used using various vs work "
    "rna rnas microrna micrornas mirna mirnas mir mirs mrna ncrna ncrnas".split()
)

_ABBREVIATION = re.compile(
    r"(?i)(?:\b(?:et al|e\.g|i\.e|vs|cf|ca|approx|resp|figs?|refs?|no|nos|dr|st|sp|spp|subsp|var|"
    r"cv|str|vol|eq|inc|ltd|co)|\b[A-Z])\.$"
)
_BREAK = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?(?:[A-Z0-9]|[a-z]+-?[A-Z0-9]|let-?7))")
_STARTER = re.compile(
    r"(?:The|This|These|Those|It|Its|In|We|Our|Here|However|Moreover|Thus|A|An|To|For|As|By)\b|mi[Rr]|let-"
)
_LABEL = re.compile(
    r"^(?:[A-Z][A-Z /&,]{3,40}|Background|Objectives?|Aims?|Methods?|Results?|Conclusions?|"
    r"Purpose|Introduction|Significance|Materials and methods):\s+"
)
_OTHER_RNA = re.compile(
    r"(?i)(?<![A-Za-z0-9])(?:(?:[a-z]{3}-)?(?:mirs?|mirnas?|micrornas?|let)[- ]?\d+[\w*]*(?:-[35]p)?|"
    r"tRNA[-(][A-Z][a-z]{2}\b|SNOR[AD]\d+\w*|LINC\d+|MINI-R\d+)"
)
_KIND = r"(?:non-?coding |small |micro|mature |long )*(?:\w*RNA|riboswitch|ribozyme|transcript)"
_DISCOURSE = (
    r"(?:(?:Also|Besides|Furthermore|Moreover|In addition|Additionally|Consistently|Thus|Notably|"
    r"Therefore|In turn|Finally|Accordingly|Interestingly|Importantly|Remarkably|Surprisingly|"
    r"Taken together|Collectively|Together|In conclusion|In summary|In brief|Conclusively|Overall|"
    r"Here|However|In contrast|By contrast|Conversely|By comparison|Unlike this|In this study|In the present study|In agreement with [\w ]+|Consistent with [\w ]+),? )"
)
_REPORT = (
    r"(?:(?:we|our (?:\w+ )?(?:results|data|findings|study|work)|these (?:\w+ )?(?:results|data|"
    r"findings)|the (?:present )?(?:results|data|findings)|this study) (?:\w+ly |also |further |have "
    r"|has )*(?:show|demonstrate|find|found|report|reveal|confirm|establish|conclude|observe|identif[yi])"
    r"(?:s|d|ed|n)? "
    r"that |it (?:is|was|has been) (?:\w+ly )?(?:reported|shown|demonstrated|found|established|known)"
    r" that )"
)
_HEDGE = (
    r"(?i:(?:we|our|these|the) (?:\w+ ){0,3}(?:suggest|indicate|imply|propose|conclude)(?:s|ed)? that "
    r"|it (?:is|was|has been) (?:\w+ly )?(?:suggested|proposed|thought|believed) that )"
)
_OPEN = re.compile(
    r"(?i)\b(?:(?:remains?|remained|still) (?:\w+ )?(?:unclear|unknown|elusive|debated)|is debated|"
    r"poorly understood|little is known|hypothes\w+|whether|we assumed)\b"
)
_LEAD = re.compile(rf"(?i)(?:{_DISCOURSE}|{_REPORT})+")
_ANAPHOR = re.compile(
    rf"(?i)(?P<lead>(?:{_DISCOURSE}|{_REPORT}|{_HEDGE})*)(?P<subject>it|this {_KIND})\b(?![-'])"
)
_STATISTICS = re.compile(rf"(?i)\s*\((?![^()]*{THIS})[^()]*(?:[<>=≤≥]|95% CI)[^()]*\)")
_THIS_KIND = re.compile(rf"(?i)\bthis {_KIND}\b(?![-'])")
_NOTHING_OF_IT = re.compile(r"(?i)^(?P<head>.*\b(?:no|the) [\w ]*)\bit\b(?P<tail>[\w ]*\.)$")
_EXPLETIVE = re.compile(
    r"(?i)\bit (?:is|was|has been|remains|seems|appears|had been|may be|can be) (?:\w+ ){0,2}?"
    r"(?:that|whether|how|why|if|(?:important|necessary|possible|essential|difficult|crucial|"
    r"critical|of \w+|interesting|tempting) to)\b"
)
_FACT = re.compile(
    r"(?i)\b(?:(?:is|are|was|were|be|been|being) (?:\w+ly |also |not |highly |often )*(?:associated|"
    r"linked|implicated|involved|correlated|related|expressed|enriched|over-?expressed|located|"
    r"localized|localised|found in|required|essential|necessary|sufficient|up-?regulated|"
    r"down-?regulated|targeted|regulated|induced|increased|decreased|elevated|reduced|charged|"
    r"processed|encoded|conserved|bound|transcribed|an? \w+)|(?:directly |specifically |strongly |"
    r"negatively |positively )?(?:targets?|targeted|represse[sd]|silence[sd]|regulate[sd]?|"
    r"control(?:s|led)|promote[sd]?|inhibit(?:s|ed)?|suppresse[sd]|bind(?:s)?|bound|interact(?:s|ed)"
    r"|locali[sz]e[sd]?|resides?|carries|accepts?|guides?|guided|senses?|recogni[sz]e[sd]?|respon"
    r"d(?:s|ed)|mediate[sd]?|modulate[sd]?|activate[sd]?|induce[sd]?|exert(?:s|ed)|inactivates?|counteracts?|sensiti[sz]e[sd]?|abolishe[sd]|enhance[sd]?|reduce[sd]?|"
    r"increase[sd]?|decrease[sd]?|contribute[sd]?|act(?:s|ed)?(?: as)?|function(?:s|ed)? as|serve[sd]?|"
    r"encode[sd]?|form(?:s|ed)|folds?|blocks?|blocked|stimulate[sd]?|predict(?:s|ed)|correlate[sd]?|"
    r"impair(?:s|ed)|attenuate[sd]?|confers?|conferred|affects?|affected|lacks?|belongs?|has|have))\b"
)
_UNKNOWN = re.compile(
    r"(?i)\bno \w[\w ]* (?:is|are|has been|have been) (?:known|reported|found|linked|described)\b|"
    r"\b(?:is|are) unknown\b|\bnothing is known\b"
)
_METHOD = re.compile(
    r"(?i)\b(?:(?:was|were) (?:\w+ )?(?:measured|collected|performed|analy[sz]ed|assessed|examined|"
    r"evaluated|investigated|determined|detected by|transfected|quantified|recruited|obtained|"
    r"isolated|carried out|used|conducted|tested|selected|validated|studied|enrolled|extracted|"
    r"compared|purified|cultured|stained|included|mapped|derived|reconstructed)|we|our|aim(?:s|ed)? "
    r"(?:of|to)|purpose|objective|this (?:\w+ )?(?:study|review|paper|work)|present study|(?:q|rt-|"
    r"qrt-)?pcr|microarrays?|"
    r"to (?:investigate|explore|examine|determine|evaluate|assess|study|clarify|identify)|"
    r"luciferase|has been proposed|are needed|95% ci)\b|"
    r"\b(?:p|n|r) ?[<=>]|[<>=] ?0?\.\d"
)


def split_sentences(text: str) -> list[str]:
    """Sentences of a text, without section labels ("RESULTS:").

    >>> split_sentences("Smith et al. saw E. coli at 0.5 mM. miR-21 binds AGO2.")
    ['Smith et al. saw E. coli at 0.5 mM.', 'miR-21 binds AGO2.']
    """
    text, sentences, start = " ".join(text.split()), [], 0
    for match in _BREAK.finditer(text):
        head = text[start : match.start()]
        abbreviated = _ABBREVIATION.search(head)
        initial = abbreviated and re.search(r"(?:^|[\s(])[A-Z]\.$", head)
        if abbreviated and not (initial and _STARTER.match(text, match.end())):
            continue
        sentences.append(text[start : match.end()].strip())
        start = match.end()
    sentences.append(text[start:].strip())
    return [s for s in (_LABEL.sub("", s) for s in sentences) if s]


@dataclass(frozen=True)
class Sentence:
    """One sentence about an RNA, the names masked; ``worth`` is how much it looks like a fact."""

    text: str
    article_id: str
    topic: int
    worth: float


def about(
    article_id: str,
    title: str,
    abstract: str,
    names: list[str],
    others: frozenset[str] = frozenset(),
    topic: int = 0,
) -> list[Sentence]:
    """The sentences of one abstract that are about the RNA with these names, names masked.

    A sentence counts when it names the RNA, when it says "it" right after one that does, or
    "this RNA" while the RNA named last is this one (``others``: names of other RNAs, lower
    case). The title counts where it is a clause. Openings such as "We show that" are cut.
    """
    own, kept = pattern(names), []
    near = referent = bool(own.search(title))
    if near and _FACT.search(title):
        kept.append(title.strip("[]. ") + ".")
    for sentence in split_sentences(abstract):
        named, other = own.search(sentence), _other(sentence, own, others)
        spoken = sentence if named else _resolved(sentence, near, referent)
        near = spoken is not None
        if named or other is not None:
            referent = bool(named) and (other is None or named.start() < other)
        if near:
            kept.append(spoken)
    masked = [capital(shortened(mask_names(sentence, names))) for sentence in kept]
    return [Sentence(text, article_id, topic, worth(text)) for text in masked]


def shortened(sentence: str) -> str:
    """Without an opening that only reports, and without statistics in brackets.

    >>> shortened("We found that miR-21 was elevated (P < 0.05).")
    'miR-21 was elevated.'
    """
    sentence = _LEAD.sub("", sentence, count=1) if _LEAD.match(sentence) else sentence
    return _STATISTICS.sub("", sentence)


def capital(text: str) -> str:
    """``"this RNA binds AGO2."`` → ``"This RNA binds AGO2."``"""
    return text[:1].upper() + text[1:]


def _resolved(sentence: str, near: bool, referent: bool) -> str | None:
    """The sentence with "it" or "this microRNA" read as the RNA; None when it is about others."""
    anaphor = _ANAPHOR.match(sentence)
    if anaphor:
        it = anaphor["subject"].lower() == "it"
        if not (near if it else referent) or (
            it and _EXPLETIVE.match(sentence, anaphor.start("subject"))
        ):
            return None
        return anaphor["lead"] + THIS + sentence[anaphor.end() :]
    if referent and _THIS_KIND.search(sentence):
        return _THIS_KIND.sub(THIS, sentence)
    nothing = _NOTHING_OF_IT.match(sentence) if near and _UNKNOWN.search(sentence) else None
    return f"{nothing['head']}{THIS}{nothing['tail']}" if nothing else None


def _other(sentence: str, own: re.Pattern, others: frozenset[str]) -> int | None:
    """Where the sentence first names an RNA that is not the own one."""
    spans = [match.span() for match in own.finditer(sentence)]
    found = [match.span() for match in _OTHER_RNA.finditer(sentence)]
    words = re.finditer(r"[\w*-]+", sentence) if others else ()
    found += [match.span() for match in words if match[0].lower() in others]
    free = [a for a, b in found if not any(x < b and a < y for x, y in spans)]
    return min(free, default=None)


def worth(text: str) -> float:
    """From 0 (open questions, methods, lists) to 1: does this state a fact with the RNA as its subject?

    >>> worth("This RNA binds AGO2.") > worth("AGO2 is bound by this RNA.") > worth("We saw it.")
    True
    """
    claim = re.sub(_HEDGE, "", text)
    verb = _FACT.search(claim) or _UNKNOWN.search(claim)
    mention = re.search(re.escape(THIS), claim, re.IGNORECASE)
    value = 0.25
    if verb and mention:
        between = claim[mention.end() : verb.start()]
        first = mention.start() < verb.start()
        value = (1.0 if len(between.split()) < 3 else 0.8) if first else 0.6
    if _METHOD.search(claim):
        value *= 0.35
    if _OPEN.search(claim):
        value *= 0.1
    value *= 0.7 ** min(len(_OTHER_RNA.findall(claim)), 4)
    return value if 4 <= len(text.split()) <= 40 else value * 0.5
