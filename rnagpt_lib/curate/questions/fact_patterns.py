"""Phrases of scientific English that say what an RNA does, as expressions.

A clause is: opener, subject (the RNA, as "this RNA"), lead (auxiliaries, adverbs), phrase,
entities. `facts` puts the parts together.
"""

import re

# The RNA as a subject -------------------------------------------------------------------------
_NOUN = (
    r"(?:(?:micro|mi|pre-mi|lnc|nc|t|r|sno|sn|sca|pi|si|tm|vault |Y |SRP )?RNA|"
    r"(?:long |small )?non-?coding RNA|riboswitch|ribozyme|transcript|molecule)"
)
THIS = "this rna"
RNA = rf"(?:[Tt]his {_NOUN}|[Tt]he {_NOUN}|[Ii]t)(?![\w-])"
_OF = (
    r"(?:(?:expression|over-?expression|re-?expression|up-?regulation|down-?regulation|levels?|"
    r"amounts?|abundance|knock-?down|knock-?out|inhibition|silencing|depletion|loss|suppression|"
    r"restoration|transfection|introduction|deletion|deficiency|blockade|enrichment|"
    r"presence)(?: levels?)? of )"
)
_GRADE = (
    r"(?:(?:the|an?|high|higher|low|lower|increased|decreased|reduced|elevated|ectopic|forced|"
    r"enforced|enhanced|aberrant|abnormal|exogenous|endogenous|lentiviral|stable|transient|"
    r"serum|plasma|exosomal|circulating|mature|mean) )*"
)
_OPENER = (
    r"(?:^|[,;:]\s*|\b(?:that|and|but|while|whereas|because|since|thus|therefore|hence|when|where|"
    r"show|found|which)\s+)(?:\w+ly,? )?"
)
LEFT = re.compile(rf"{_OPENER}{_GRADE}{_OF}?{_GRADE}$", re.IGNORECASE)
AFTER = re.compile(
    r"(?: \([^)]*\))?(?: (?:over-?|up-?regulated )?expression(?: levels?)?| levels?|"
    r" (?:up|down)-?regulation| mimics?| inhibitors?| silencing| knock-?down| deletion)?"
    r"(?: in (?:[\w/-]+ ){0,5}?(?:cells?|cell lines?|tissues?|mice))?(?:, an? [^,]{1,60},)?"
)

# Between the subject and the phrase -----------------------------------------------------------
_LEAD = (
    r"(?:(?:,? ?(?:which|that)|is|are|was|were|be|been|being|has|have|had|can|will|would|does|do|"
    r"did|"
    r"also|then|further|both|even|often|in turn|in part|thereby|thus|to|not only|not|never|"
    r"no longer|"
    r"cannot|fails?|failed|may|might|could|should|perhaps|likely|potential|possible|putative|"
    r"more|most|an?|the|known|found|shown|reported|demonstrated|observed|identified|confirmed|"
    r"proven?|validated|considered|thought|believed|predicted|suggested|proposed|hypothesi[sz]ed|"
    r"expected|as|seems?|appears?|significantly|\w+ly) )*"
)
HEDGE = re.compile(
    r"(?i)\b(?:may|might|could|should|perhaps|likely|potential(?:ly)?|possibl[ey]|possibility|"
    r"candidate|promising|putative(?:ly)?|presumabl[ey]|predicted|suggested|proposed|thought|"
    r"believed|expected|seems?|"
    r"appears?|hypothesi[sz]ed?|probabl[ey])\b"
)
LITTLE = re.compile(
    r"(?i)\b(?:poorly|lowly|weakly|rarely|barely|less|differentially|aberrantly|abnormally)\b"
)
NEGATION = re.compile(r"(?i)\b(?:not|never|neither|nor|cannot|no longer|fail(?:s|ed)?|without)\b")
UNASSERTED = re.compile(
    r"(?i)\b(?:whether|if|hypothes\w+|aim(?:s|ed)?|(?:to|we) (?:further )?(?:investigated?|"
    r"examined?|"
    r"explored?|determined?|assess(?:ed)?|evaluated?|study|studied|elucidated?|clarify|clarified|"
    r"test(?:ed)?|analy[sz]ed?)|unclear|question|may|might|could|possib\w+|"
    r"predict\w*|presum\w+|speculat\w+|propos\w+|lack of|absence of|"
    r"no (?:\w+ )?(?:evidence|stud(?:y|ies)|data|reports?|indication)|unlikely|doubtful|"
    r"not (?:true|the case)|exclud\w+|rul(?:es?|ed|ing) out)\b"
)


def _verb(*stems: str) -> str:
    """Third person, plural, past and -ing forms of regular verbs."""
    forms = []
    for stem in stems:
        base = stem.removesuffix("e")
        forms.append(
            rf"{base}(?:e?s|e?d|ing)" if stem.endswith("e") else rf"{base}(?:s|es|ed|ing)?"
        )
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
PHRASES = [
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
            r"decreased|elevated|reduced|attenuated|lower|higher|altered|(?:highly|lowly|"
            r"aberrantly|"
            r"differentially) expressed) in",
            ("altered",),
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
            r"(?: to| with)? (?:the |its )?3[′'’]?-?\s?(?:UTRs?|"
            r"untranslated regions?)(?: \(3[^)]*\))?"
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
PHRASE = re.compile(
    rf"(?P<lead>{_LEAD})(?:"
    + "|".join(f"(?P<p{i}>{phrase})" for i, (phrase, _) in enumerate(PHRASES))
    + r")(?![\w-])",
    re.IGNORECASE,
)
CONNECT = re.compile(
    r"(?:,? (?:and|but|or)|,? (?:by|via|through|while|thereby|thus)|,) (?:thereby |thus |then )?$"
)

# Passive voice and nouns: the entity stands first ---------------------------------------------
PASSIVE = re.compile(
    r"(?P<np>[^,;:()]+?)(?: \([^)]*\))? (?P<mid>(?:is|are|was|were|be|been|being) "
    rf"{_LEAD})(?:(?P<target>targeted|repressed|silenced|suppressed)|(?P<process>(?:\w+ly )?"
    rf"(?:regulated|controlled|inhibited|promoted|induced|enhanced))|(?P<partner>bound)) by {RNA}"
)
TARGET_OF = re.compile(
    r"(?P<np>[\w'/-]+(?: \d)?)(?: (?:gene|mRNA|protein))?(?: \((?P<short>[^)]*)\))?"
    r"(?P<mid>,|(?: (?:is|was|were|are|has been|have been|as)\b)[\w ,-]{0,40}?)"
    rf" (?:an?|the|one of the) (?:[\w-]+ ){{0,3}}targets?(?: genes?)? (?:of|for) {RNA}"
)

# Nothing known --------------------------------------------------------------------------------
_KNOWN = r"(?:known|reported|described|found|identified|established|linked|shown)"
NOTHING = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bno (?P<noun>[a-z -]{{3,60}}?) (?:(?:of|for|regulated by|bound by|targeted by) )?{RNA}"
        rf" (?:is|are|has been|have been)(?: yet)? {_KNOWN}",
        rf"\bno (?P<noun>[a-z -]{{3,40}}?) (?:is|are|has been|have been)(?: yet)? {_KNOWN}"
        rf"(?: to \w+| with| to| for| of)? {RNA}",
        rf"\bthe (?P<noun>[a-z -]{{3,60}}?)(?: that| of| for| by)? {RNA}(?: \w+s)? (?:is|are|"
        rf"remains?)"
        r" (?:still |yet |currently )?(?:unknown|not known)",
    )
]
IGNORANCE = re.compile(
    rf"(?:{RNA}[^.]*\buncharacteri[sz]ed\b|\b[Nn]othing is known (?:about|of)\b[^.]*{RNA})"
)
NOUNS = {
    "disease": r"diseases?", "process": r"process(?:es)?|functions?", "partner": r"partners?|"
    "proteins?",
    "tissue": r"tissues?", "location": r"locations?|locali[sz]ation|compartments?",
    "isotype": r"amino acids?|isotypes?", "target": r"targets?|target genes?",
    "site": r"sites?", "ligand": r"ligands?",
}  # fmt: skip
