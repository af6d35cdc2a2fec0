"""Facts out of sentences: rules over the clauses of any English text about one RNA.

The RNA stands in the text as "this RNA" (see `names.mask_names`); its relations to other
things are read from a finite set of phrases. What a sentence only supposes is not a fact.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rnagpt_lib.relations import NONE, UNKNOWN


@dataclass(frozen=True)
class Fact:
    """One reading of a clause; ``true`` is False where the clause denies it."""

    relation: str
    entity: str
    true: bool = True


# The RNA as a subject -------------------------------------------------------------------------
_NOUN = (
    r"(?:(?:micro|mi|pre-mi|lnc|nc|t|r|sno|sn|sca|pi|si|tm|vault |Y |SRP )?RNA|"
    r"(?:long |small )?non-?coding RNA|riboswitch|ribozyme|transcript|molecule)"
)
_THIS = "this rna"
_RNA = rf"(?:[Tt]his {_NOUN}|[Tt]he {_NOUN}|[Ii]t)(?![\w-])"
_OF = (
    r"(?:(?:expression|over-?expression|re-?expression|up-?regulation|down-?regulation|levels?|"
    r"amounts?|abundance|knock-?down|knock-?out|inhibition|silencing|depletion|loss|suppression|"
    r"restoration|transfection|introduction|blockade|enrichment|presence)(?: levels?)? of )"
)
_GRADE = (
    r"(?:(?:the|an?|high|higher|low|lower|increased|decreased|reduced|elevated|ectopic|forced|"
    r"enforced|enhanced|aberrant|abnormal|serum|plasma|exosomal|circulating|mature|mean) )*"
)
_OPENER = (
    r"(?:^|[,;:]\s*|\b(?:that|and|but|while|whereas|because|since|thus|therefore|hence|when|where|"
    r"show|found|which)\s+)(?:\w+ly,? )?"
)
_LEFT = re.compile(rf"{_OPENER}{_GRADE}{_OF}?{_GRADE}$", re.IGNORECASE)
_AFTER = re.compile(
    r"(?: \([^)]*\))?(?: (?:over-?|up-?regulated )?expression(?: levels?)?| levels?| overexpression"
    r"| mimics?| inhibitors?| silencing| knockdown)?(?:, an? [^,]{1,60},)?"
)

# Between the subject and the phrase -----------------------------------------------------------
_LEAD = (
    r"(?:(?:,? ?(?:which|that)|is|are|was|were|be|been|being|has|have|had|can|will|would|does|do|did|"
    r"also|then|further|both|even|often|in turn|in part|thereby|thus|to|not only|not|never|no longer|"
    r"cannot|fails?|failed|may|might|could|should|perhaps|likely|potential|possible|putative|"
    r"more|most|an?|the|known|found|shown|reported|demonstrated|observed|identified|confirmed|"
    r"proven?|validated|considered|thought|believed|predicted|suggested|proposed|hypothesi[sz]ed|"
    r"expected|as|seems?|appears?|significantly|\w+ly) )*"
)
_HEDGE = re.compile(
    r"(?i)\b(?:may|might|could|should|perhaps|likely|potential(?:ly)?|possibl[ey]|possibility|"
    r"putative(?:ly)?|presumabl[ey]|predicted|suggested|proposed|thought|believed|expected|seems?|"
    r"appears?|hypothesi[sz]ed?|probabl[ey])\b"
)
_NEGATION = re.compile(r"(?i)\b(?:not|never|neither|nor|cannot|no longer|fail(?:s|ed)?|without)\b")
_UNASSERTED = re.compile(
    r"(?i)\b(?:whether|if|hypothes\w+|aim(?:s|ed)?|(?:to|we) (?:further )?(?:investigated?|examined?|"
    r"explored?|determined?|assess(?:ed)?|evaluated?|study|studied|elucidated?|clarify|clarified|"
    r"test(?:ed)?|analy[sz]ed?)|unclear|question|may|might|could|possib\w+|"
    r"presum\w+|speculat\w+|propos\w+|lack of|absence of)\b"
)


def _verb(*stems: str) -> str:
    """Third person, plural, past and -ing forms of regular verbs."""
    forms = []
    for stem in stems:
        base = stem.removesuffix("e")
        forms.append(rf"{base}(?:e?s|e?d|ing)" if stem.endswith("e") else rf"{base}(?:s|es|ed|ing)?")
        forms.append(stem)
    return "(?:" + "|".join(forms) + ")"


# Phrases, and the relations that they may state: the first whose kind of entity fits.
_EFFECT = _verb(
    "regulate", "promote", "enhance", "induce", "stimulate", "accelerate", "modulate",
    "facilitate", "attenuate", "reduce", "increase", "decrease", "block", "impair", "mediate",
    "affect", "abrogate", "reverse", "trigger", "activate", "drive", "restrain", "hinder",
)  # fmt: skip
_EFFECT = rf"(?:{_EFFECT}|(?:up|down|dys)-?{_verb('regulate')}|control(?:s|led|ling)?|inhibit(?:s|ed|ing)?)"
_MUTE = _verb("target", "repress", "silence", "suppress")
_PHRASES = [
    (phrase, relations)
    for phrase, relations in (
        (
            r"(?:associated|linked|related) (?:with|to)|implicated in|correlated with|"
            r"(?:an? |the )?(?:\w+ ){0,3}?(?:bio)?markers? (?:for|of|in)(?: the)?"
            r"(?: (?:early )?(?:diagnosis|detection|prognosis)(?: of| in))?",
            ("disease",),
        ),
        (
            r"(?:(?:up|down|dys|de|mis)-?regulated|over-?expressed|under-?expressed|increased|"
            r"decreased|elevated|reduced|lower|higher|altered|(?:highly|lowly|aberrantly|"
            r"differentially) expressed) in",
            ("altered", "tissue"),
        ),
        (
            r"involved in|play(?:s|ed|ing)? (?:an? |the )?(?:[\w-]+ ){0,4}?roles? in|"
            r"contribut(?:es|ed|ing|e) to|participat(?:es|ed|ing|e) in|"
            r"(?:act|function|serv)(?:s|es|ed|ing|e)? as (?:an? )?(?:\w+ )?"
            r"(?:tumou?r[- ]suppressor|oncogene|oncomir|suppressor|regulator|inhibitor|promoter)"
            r"(?: gene| miRNA| microRNA)? (?:in|of)",
            ("process", "disease"),
        ),
        (
            r"(?:bind(?:s|ing)?|bound|interact(?:s|ed|ing)?|target(?:s|ed|ing)?)(?: directly)?"
            r"(?: to| with)? (?:the |its )?3[′'’]?-?\s?(?:UTRs?|untranslated regions?)(?: \(3[^)]*\))?"
            r" of",
            ("target",),
        ),
        (
            r"(?:bind(?:s|ing)?|bound)(?: to)?|(?:interact|associat)(?:s|es|ed|ing|e)? with",
            ("partner",),
        ),
        (r"locali[sz](?:es?|ed|ing) (?:to|in)|located in|resid(?:es?|ed|ing) in", ("location",)),
        (r"(?:expressed|enriched|abundant|detected) in", ("tissue",)),
        (r"carr(?:y|ies|ied|ying)|charged with|accept(?:s|ed|ing)?", ("isotype",)),
        (
            r"guid(?:es|ed|ing|e) (?:the |any )?(?:[\w'’-]+ )?(?:modification|methylation|"
            r"pseudouridylation)(?: (?:of|at))?",
            ("site",),
        ),
        (r"sens(?:es|ed|ing|e)|recogni[sz](?:es|ed|ing|e)|respon(?:ds?|ded|ding) to", ("ligand",)),
        (_MUTE, ("target", "process")),
        (_EFFECT, ("process",)),
    )
]
_PHRASE = re.compile(
    rf"(?P<lead>{_LEAD})(?:"
    + "|".join(f"(?P<p{i}>{phrase})" for i, (phrase, _) in enumerate(_PHRASES))
    + r")(?![\w-])",
    re.IGNORECASE,
)
_CONNECT = re.compile(
    r"(?:,? (?:and|but|or)|,? (?:by|via|through|while|thereby|thus)|,) (?:thereby |thus |then )?$"
)

# Passive voice and nouns: the entity stands first ---------------------------------------------
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

# Nothing known --------------------------------------------------------------------------------
_KNOWN = r"(?:known|reported|described|found|identified|established|linked|shown)"
_NOTHING = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bno (?P<noun>[a-z -]{{3,60}}?) (?:(?:of|for|regulated by|bound by|targeted by) )?{_RNA}"
        rf" (?:is|are|has been|have been)(?: yet)? {_KNOWN}",
        rf"\bno (?P<noun>[a-z -]{{3,40}}?) (?:is|are|has been|have been)(?: yet)? {_KNOWN}"
        rf"(?: to \w+| with| to| for| of)? {_RNA}",
        rf"\bthe (?P<noun>[a-z -]{{3,60}}?)(?: that| of| for| by)? {_RNA}(?: \w+s)? (?:is|are|remains?)"
        r" (?:still |yet |currently )?(?:unknown|not known)",
    )
]
_IGNORANCE = re.compile(
    rf"(?:{_RNA}[^.]*\buncharacteri[sz]ed\b|\b[Nn]othing is known (?:about|of)\b[^.]*{_RNA})"
)
_NOUNS = {
    "disease": r"diseases?", "process": r"process(?:es)?|functions?", "partner": r"partners?|proteins?",
    "tissue": r"tissues?", "location": r"locations?|locali[sz]ation|compartments?",
    "isotype": r"amino acids?|isotypes?", "target": r"targets?|target genes?",
    "site": r"sites?", "ligand": r"ligands?",
}  # fmt: skip

# Entities -------------------------------------------------------------------------------------
_STOP = re.compile(
    r"[;:.()\[\]]|(?<!\w)(?:in|by|via|through|during|with|from|as|for|on|at|under|after|before|"
    r"between|among|which|that|who|whose|where|when|while|whereas|but|because|since|although|though|"
    r"is|are|was|were|be|has|have|had|can|could|may|might|compared|using|including|such|than|within|"
    r"into|upon|against|without|following|resulting|leading|suggesting|indicating|thereby|thus|both|"
    r"not|via|rather|not|(?<!resistance )(?<!response )(?<!sensitivity )(?<!responses )to)(?!\w)"
)
_DETERMINER = re.compile(
    r"^(?:(?:the|an?|its|their|several|human|any|protein|gene|genes|amino acid|ligand|metabolite|"
    r"disease|process)\s+)+(?=\S)",
    re.IGNORECASE,
)
_TAIL = re.compile(r"\s+(?:\w+ly|also|too|alone|well|either|patients?|expression)$")
_JUNK = re.compile(
    r"(?i)\b(?:this|these|those|it|its|their|them|we|our|other|others|many|several|various|both|each|"
    r"role|roles|level|levels|study|studies|group|groups|patients?|number|part|effects?|data|results?|"
    r"samples?|controls?|conditions?|analysis|same|different|such|and|or|RNAs?|mirs?|mi-?RNAs?|"
    r"microRNAs?|miR-?\d\S*|let-7\S*|more|less|one|two|three)\b"
)
_NOT_DISEASE = re.compile(r"(?i)(?:apopt|necr|mit|mei|cyt|metam|metast|angi|endocyt|exocyt|homeosta)\w*sis$")
_DISEASE = re.compile(
    r"(?:cancers?|carcinomas?|tumou?rs?|neoplasms?|malignanc(?:y|ies)|diseases?|syndromes?|disorders?|"
    r"\w*leuk(?:a)?emias?|\w+omas?|\w+itis|\w{2,}emia|\w{4,}osis|\w+iasis|\w{4,}pathy|diabetes|sepsis|"
    r"failure|infarction|\w*dystrophy|sclerosis|obesity|asthma|epilepsy|autism|schizophrenia|"
    r"hypertension|fibrosis|stroke|ischemia|infertility|injury|adenomas?|metastas[ie]s of \w+|"
    r"CRC|mCRC|PDAC|PC|HCC|NSCLC|OSCC|ESCC|RCC|AML|CLL|GBM|IBD|UC)$"
)
_NOT_PROCESS = re.compile(
    r"(?i)\b(?:expression|information|regulation|interaction|position|condition|population|"
    r"combination|mutation|mutations|addition|concentration|correlation|association|conclusion|"
    r"section|investigation|evaluation|identification|detection|option|inhibition|mechanisms?|"
    r"activation of|ratio|suppression|implication|solution|manipulation|transfection|target\w*|"
    r"untranslated|transcripts?|mRNAs?|genes?|proteins?)\b"
)
_PROCESS = re.compile(
    r"^(?:[\w/βα-]+ ){0,4}?(?:\w{3,}[ts]ion|\w{3,}sis|\w+phagy|\w+ing|growth|cycle|pathways?|responses?|"
    r"repair|resistance|sensitivity|chemo\w+|\w+sensitivity|\w+resistance|stress|metabolism|"
    r"senescence|inflammation|survival|viability|stemness|turnover|uptake|export|import|development|"
    r"death|\w*formation|activity|homeostasis|tolerance|transport|EMT|progress|behaviou?rs?|"
    r"phenotypes?|motility|invasiveness|aggressiveness|malignancy|cycle arrest|arrest|virulence|"
    r"fitness|memory|fate|biogenesis|immunity|permeability|angiogenesis)"
    r"(?: (?:of|to|and) [\w/ -]+)?$"
)
_TISSUE = re.compile(
    r"(?i)^(?:[\w-]+ ){0,4}?(?:tissues?|cells?|cell lines?|liver|brain|heart|kidney|lungs?|spleen|retina|"
    r"placenta|testis|testes|skin|roots?|lea(?:f|ves)|shoots?|flowers?|seeds?|muscles?|bone|blood|"
    r"plasma|serum|urine|stool|stomach|colon|intestine|pancreas|ovar(?:y|ies)|uterus|breast|prostate|"
    r"thymus|thyroid|bladder|neurons?|embryos?|cortex|hippocampus|cerebellum|saliva|gut|exosomes?|"
    r"bone marrow|macrophages|lymphocytes|fibroblasts|adipocytes)$"
)
_LOCATION = re.compile(
    r"(?i)^(?:[\w-]+ ){0,2}?(?:nucle(?:us|i|olus|oli|oplasm)|cytoplasm|cytosol|mitochondri(?:on|a)|"
    r"\w+somes?|membrane|chloroplasts?|paraspeckles?|speckles?|bod(?:y|ies)|granules?|"
    r"chromatin|vesicles?|reticulum|golgi|centrosomes?|vacuoles?|cell wall|axons?|dendrites?)$"
)
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
_NOT_SYMBOL = re.compile(
    r"(?i)^(?:\d[\d.,-]*|[a-z]?RNA|DNA|UTR|PCR|CRC|CI|OS|HR|II|III|IV|TNM|EMT|AND|THE|lnc\w+|MRNAS?|"
    r"mirna.*|micro.*|mir.*|PDAC|PC|HCC|colorectal)$"
)
_SYMBOL_PRE = re.compile(
    r"^(?:(?:target|targets|genes?|tumou?r|suppressor|oncogene|transcription|factor|functional|direct|"
    r"directly|downstream|novel|of|mRNA|the|its|protein|kinase|receptor|regulator|effector) )+"
)
_SYMBOL_POST = re.compile(r" (?:genes?|proteins?|mRNAs?|transcripts?|expression|levels?|translation)+$")
_PROTEIN = re.compile(r"^[a-z-]{4,}(?:in|ase|some)$")


def fitting(relation: str, text: str) -> str | None:
    """The entity in a noun phrase, if it is of the kind that the relation needs.

    >>> fitting("target", "its target gene PTEN"), fitting("target", "cell growth")
    ('PTEN', None)
    """
    text = _DETERMINER.sub("", text.strip(" ,'\""))
    if relation == "site":
        found = _SITE.search(text)
        return found[0] if found else None
    if relation in ("target", "partner"):
        return _symbol(text, relation)
    if relation == "altered":
        text = re.sub(r"^.*\b(?:of|with) ", "", text)
        text = re.sub(r"(?: (?:tissues?|cells?|cell lines?|patients?|samples?|specimens?))+$", "", text)
    while _TAIL.search(text):
        text = _TAIL.sub("", text)
    if not text or len(text.split()) > 6 or _JUNK.search(text) or "," in text:
        return None
    return text if _is_kind(relation, text) else None


def _is_kind(relation: str, text: str) -> bool:
    if relation in ("disease", "altered"):
        return bool(_DISEASE.search(text)) and not _NOT_DISEASE.search(text) and " of " not in text
    if relation == "process":
        return bool(_PROCESS.match(text)) and not _NOT_PROCESS.search(text)
    if relation == "tissue":
        return bool(_TISSUE.match(text)) and not _is_kind("disease", text)
    if relation == "location":
        return bool(_LOCATION.match(text))
    if relation == "isotype":
        return text.lower() in _AMINO
    return len(text.split()) <= 3 and bool(re.fullmatch(r"[\w'() -]{3,40}", text))  # ligand


def _symbol(text: str, relation: str) -> str | None:
    """A gene or protein symbol such as PTEN, p53, HuR or cyclin D1; a protein also by its name."""
    text = _SYMBOL_POST.sub("", _SYMBOL_PRE.sub("", text))
    if relation == "partner" and _PROTEIN.match(text) and not _JUNK.search(text):
        return text
    text = re.sub(r"^cyclin ", "cyclin-", text)
    good = len(text) > 1 and _SYMBOL.fullmatch(text) and not _NOT_SYMBOL.match(text)
    return text.replace("cyclin-", "cyclin ") if good else None


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
    nothing = list(_nothing_known(text))
    if nothing:
        return nothing, ""
    facts, reasons = [], []
    for start, end in _mentions(text, continues):
        found, reason = _active(text, start, end)
        facts += found
        reasons.append(reason)
    found, reason = _passive(text)
    facts = list(dict.fromkeys(facts + found))
    reasons = [reason for reason in [*reasons, reason] if reason]
    return facts, "" if facts else (reasons or ["no relation with the RNA as its subject"])[0]


def has_subject(sentence: str) -> bool:
    """Whether a clause of the sentence has the RNA, named in full, as its subject."""
    return any(True for _ in _mentions(" ".join(sentence.split()), False))


def _nothing_known(text: str) -> Iterator[Fact]:
    for pattern in _NOTHING:
        match = pattern.search(text)
        if match:
            for relation, nouns in _NOUNS.items():
                if re.search(rf"\b(?:{nouns})\b", match["noun"]):
                    yield Fact(relation, UNKNOWN)
                    break
    if _IGNORANCE.search(text):
        yield from (Fact("disease", UNKNOWN), Fact("process", UNKNOWN))


def _mentions(text: str, continues: bool) -> Iterator[tuple[int, int]]:
    """Spans of the RNA (with "expression" and the like behind it) where it opens a clause."""
    known = continues
    for match in re.finditer(rf"(?<![\w-]){_RNA}", text):
        this = match[0].lower().startswith("this")
        if not (this or known):
            continue
        left = text[: match.start()]
        if not this and re.search(r"(?<=.)(?:[A-Z0-9]|\w,)", left) and _THIS not in left.lower():
            continue  # after another name, "it" may be that one
        if _LEFT.search(left) and not re.search(r"(?i)\bbetween\b[^,;]*$", left):
            known = True
            yield match.start(), _AFTER.match(text, match.end()).end()


def _active(text: str, start: int, end: int) -> tuple[list[Fact], str]:
    """Facts of the predicates that follow a subject which ends at ``end``."""
    if _UNASSERTED.search(re.split(r";", text[:start])[-1]):
        return [], "hedged or only asked"
    facts, reason = [], ""
    limit = _predicate_end(text, end)
    match = _PHRASE.match(text, end + 1, limit)
    if match is None:
        match = _next_phrase(text, end, limit)
        between = text[end : match.start()] if match else ""
        if _HEDGE.search(between):
            return [], "hedged or only asked"
        if re.search(r"\b(?:which|that|while|when)\b", between):
            return [], ""
    while match:
        found, why = _read(text, match, limit)
        facts += found
        reason = reason or why
        match = _next_phrase(text, match.end(), limit)
    return facts, reason


def _predicate_end(text: str, start: int) -> int:
    """Where the RNA stops to be the subject: a semicolon, a new clause, the next mention."""
    ends = re.compile(rf";|, (?:which|whereas|while|but (?!also|not))|\bwhereas\b|(?<![\w-]){_RNA}")
    match = ends.search(text, start + 1)
    return match.start() if match else len(text)


def _next_phrase(text: str, start: int, limit: int) -> re.Match | None:
    """The next predicate of the same subject: "… and promotes …", "… by targeting …"."""
    for match in _PHRASE.finditer(text, start, limit):
        if _CONNECT.search(text, start - 1, match.start()):
            joined = re.search(r"(?:by|via|through|while|thereby|thus|,) (?:\w+ )?$", text[: match.start()])
            if not joined or re.search(r"ing\b", match[0]):
                return match
    return None


def _read(text: str, match: re.Match, limit: int) -> tuple[list[Fact], str]:
    """The facts of one phrase: its relation with every fitting entity of the list behind it."""
    lead = match["lead"].replace("not only", "")
    number = next(i for i in range(len(_PHRASES)) if match[f"p{i}"])
    if _HEDGE.search(lead) or re.search(r"(?i)\bpotential|possible", match[f"p{number}"]):
        return [], "hedged or only asked"
    denied = bool(_NEGATION.search(lead))
    rest = text[match.end() : limit]
    for relation in _PHRASES[number][1]:
        entities = _listed(relation, rest)
        if entities:
            name = "disease" if relation == "altered" else relation
            return [Fact(name, entity, not denied) for entity in entities], ""
    empty = re.match(r"(?: (?:of|at))?(?: (?:any|no)(?: \w+)?| \w+ site)?\s*(?:[,;]|and\b|$)", rest)
    if denied and empty and _PHRASES[number][1][0] in ("site", "isotype", "target", "ligand"):
        return [Fact(_PHRASES[number][1][0], NONE)], ""
    return [], "no entity of the kind that the relation needs"


def _listed(relation: str, rest: str) -> list[str]:
    """The fitting items of "a, b and c", up to the first that does not fit."""
    short = re.match(r"[^,;.()]*\(([^)]*)\)", rest)
    stop = re.compile(r"[;:.()\[\]]") if relation == "site" else _STOP
    if re.match(r"\s*(?:in|by)\b", rest):
        return []
    noun_phrases = stop.split(rest, maxsplit=1)[0]
    items = re.split(r",? (?:and|or|as well as) |, ", noun_phrases)
    entities = []
    for item in items:
        entity = fitting(relation, item)
        if entity is None and entities:
            break
        if entity:
            entities.append(entity)
    if not entities and short and relation in ("target", "partner"):
        entities = [entity for entity in [fitting(relation, short[1])] if entity]
    return entities


def _passive(text: str) -> tuple[list[Fact], str]:
    """Facts of "PTEN is targeted by this RNA" and "PTEN is a direct target of this RNA"."""
    facts, reason = [], ""
    for match in [*_PASSIVE.finditer(text), *_TARGET_OF.finditer(text)]:
        if _HEDGE.search(match[0]) or _UNASSERTED.search(text[: match.start("mid")]):
            reason = "hedged or only asked"
            continue
        found = {name: value for name, value in match.groupdict().items() if value}
        relation = next((n for n in ("process", "partner") if n in found), "target")
        phrase = re.split(r"\b(?:that|and|of|show|found)\b", found["np"])[-1]
        entity = fitting(relation, phrase) or fitting(relation, found.get("short", ""))
        if entity:
            facts.append(Fact(relation, entity, not _NEGATION.search(found["mid"])))
        else:
            reason = "no entity of the kind that the relation needs"
    return facts, reason
