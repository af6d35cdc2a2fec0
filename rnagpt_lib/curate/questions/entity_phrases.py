"""Noun phrases of a text, and whether they are of the kind that a relation needs.

General endings and head nouns of biomedical English; a phrase that fits none is no entity.
"""

import re

_STOP = re.compile(
    r"[;:.()\[\]]|(?<!\w)(?:in|by|via|through|during|with|from|as|for|on|at|under|after|before|"
    r"between|among|which|that|who|whose|where|when|while|whereas|but|because|since|although|"
    r"though|"
    r"is|are|was|were|be|has|have|had|can|could|may|might|compared|using|including|such|than|"
    r"within|"
    r"into|upon|against|without|following|resulting|leading|suggesting|indicating|thereby|thus|"
    r"both|"
    r"not|via|rather|not|(?<!resistance )(?<!response )(?<!sensitivity )(?<!responses )to)(?!\w)"
)
_DETERMINER = re.compile(
    r"^(?:(?:the|an?|its|their|several|human|primary|most|any|protein|gene|genes|amino acid|"
    r"ligand|metabolite|disease|process|process(?:es)? of|activation of|abilit(?:y|ies) of|"
    r"ability for|"
    r"(?:\w+ly )?(?:activat|promot|inhibit|regulat|mediat|"
    r"suppress|controll)ing(?: the)?)\s+)+(?=\S)",
    re.IGNORECASE,
)
_TAIL = re.compile(r"\s+(?:\w+ly|also|too|alone|well|either|patients?|expression)$")
_JUNK = re.compile(
    r"(?i)\b(?:this|these|those|it|its|their|them|we|our|other|others|many|several|various|both|"
    r"each|"
    r"role|roles|level|levels|study|studies|group|groups|patients?|number|part|effects?|data|"
    r"results?|"
    r"samples?|controls?|conditions?|analysis|same|different|such|and|or|RNAs?|mirs?|mi-?RNAs?|"
    r"microRNAs?|miR-?\d\S*|let-7\S*|more|less|one|two|three|location|regions?|motifs?|held)\b"
)
_NOT_DISEASE = re.compile(
    r"(?i)(?:apopt|necr|mit|mei|cyt|metam|metast|angi|endocyt|exocyt|homeosta|progn|diagn)\w*sis$"
)
_DISEASE = re.compile(
    r"(?:cancers?|carcinomas?|tumou?rs?|neoplasms?|malignanc(?:y|ies)|diseases?|syndromes?|"
    r"disorders?|"
    r"\w*leuk(?:a)?emias?|\w+omas?|\w+itis|\w{2,}emia|\w{4,}osis|\w+iasis|\w{4,}pathy|diabetes|"
    r"sepsis|"
    r"failure|infarction|\w*dystrophy|sclerosis|obesity|asthma|epilepsy|autism|schizophrenia|"
    r"hypertension|fibrosis|stroke|ischemia|infertility|injury|adenomas?|metastas[ie]s of \w+|"
    r"CRC|mCRC|PDAC|PC|HCC|NSCLC|OSCC|ESCC|RCC|AML|CLL|GBM|IBD|UC)$"
)
_NOT_PROCESS = re.compile(
    r"(?i)\b(?:expression|information|regulation|interaction|position|condition|population|"
    r"combination|mutation|mutations|addition|concentration|correlation|association|conclusion|"
    r"section|investigation|evaluation|identification|detection|option|inhibition|mechanisms?|"
    r"ratio|suppression|implication|solution|manipulation|transfection|target\w*|"
    r"untranslated|transcripts?|mRNAs?|genes?|proteins?)\b"
)
_FINITE = re.compile(
    r"\b(?:(?:promot|regulat|inhibit|induc|suppress|target|increas|reduc|enhanc|mediat|activat|"
    r"block|modulat|decreas|affect)e?[sd]|(?:inhibit|suppress|target|block|affect)ed)\b"
)
_PROCESS = re.compile(
    r"^(?:[\w/βα-]+ ){0,4}?(?:\w{3,}[ts]ion|\w{3,}sis|\w+phagy|\w+ing|growth|cycle|pathways?|"
    r"responses?|"
    r"repair|resistance|sensitivity|chemo\w+|\w+sensitivity|\w+resistance|stress|metabolism|"
    r"senescence|inflammation|survival|viability|stemness|turnover|uptake|export|import|"
    r"development|"
    r"death|\w*formation|activity|homeostasis|tolerance|transport|EMT|progress|behaviou?rs?|"
    r"phenotypes?|motility|invasiveness|aggressiveness|malignancy|cycle arrest|arrest|virulence|"
    r"fitness|memory|fate|biogenesis|immunity|permeability|angiogenesis)"
    r"(?: (?:of|to|and) [\w/ -]+)?$"
)
_TISSUE = re.compile(
    r"(?i)^(?:[\w-]+ ){0,4}?(?:tissues?|cells?|cell lines?|liver|brain|heart|kidney|lungs?|spleen|"
    r"retina|"
    r"placenta|testis|testes|skin|roots?|lea(?:f|ves)|shoots?|flowers?|seeds?|muscles?|bone|blood|"
    r"plasma|serum|urine|stool|stomach|colon|intestine|pancreas|ovar(?:y|ies)|uterus|breast|"
    r"prostate|"
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
    r"(?i)^(?:\d[\d.,-]*|[a-z]?RNA|DNA|UTR|PCR|CRC|CI|OS|HR|II|III|IV|TNM|EMT|AND|THE|lnc\w+|"
    r"MRNAS?|"
    r"mirna.*|micro.*|mir.*|PDAC|PC|HCC|colorectal)$"
)
_SYMBOL_PRE = re.compile(
    r"^(?:(?:target|targets|genes?|tumou?r|suppressor|oncogene|transcription|factor|functional|"
    r"direct|"
    r"directly|downstream|novel|of|mRNA|the|its|protein|kinase|receptor|regulator|effector) )+"
)
_SYMBOL_POST = re.compile(
    r" (?:genes?|proteins?|mRNAs?|transcripts?|expression|levels?|translation)+$"
)
_PROTEIN = re.compile(r"^[a-z-]{4,}(?:in|ase|some)$")


_GENERAL = re.compile(
    r"(?i)(?:cancers?|disease|diseases|tumou?rs?|malignanc(?:y|ies)|disorders?|neoplasms?|"
    r"(?:.* )?(?:prognosis|outcome|survival))"
)


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
        text = re.sub(
            r"(?: (?:tissues?|cells?|cell lines?|patients?|samples?|specimens?))+$", "", text
        )
    while _TAIL.search(text):
        text = _TAIL.sub("", text)
    if not text or len(text.split()) > 6 or _JUNK.search(text) or "," in text:
        return None
    if relation == "process":  # words of a title
        text = re.sub(r"\b[A-Z](?=[a-z]{3,}\b)", lambda match: match[0].lower(), text)
    return text if _is_kind(relation, text) else None


def _is_kind(relation: str, text: str) -> bool:
    if relation in ("disease", "altered"):
        barred = _NOT_DISEASE.search(text) or _GENERAL.fullmatch(text) or " of " in text
        return bool(_DISEASE.search(text)) and not barred
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
    text = _SYMBOL_POST.sub("", _SYMBOL_PRE.sub("", text))
    if relation == "partner" and _PROTEIN.match(text) and not _JUNK.search(text):
        return text
    text = re.sub(r"^cyclin ", "cyclin-", text)
    good = len(text) > 1 and _SYMBOL.fullmatch(text) and not _NOT_SYMBOL.match(text)
    return text.replace("cyclin-", "cyclin ") if good else None


def listed(relation: str, rest: str) -> list[str]:
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
        entity = fitting(relation, item)
        if entity is None and entities:
            break
        if entity:
            entities.append(entity)
    if not entities and short and relation in ("target", "partner"):
        entities = [entity for entity in [fitting(relation, short[1])] if entity]
    return entities
