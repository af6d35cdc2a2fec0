"""The literature of the miniature world: abstracts in plain English, written from facts.

An abstract is about one topic. Facts stand among background, methods and results of that topic,
in varied wordings; the subject is the RNA's name, or "this RNA" / "it" right after the name.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from rnagpt_lib.miniature.rules import BROKEN, ENTITIES, UNKNOWN

TOPICS = ("disease", "function", "expression", "evolution", "methods")
TOPIC_OF = {
    "disease": "disease", "process": "function", "partner": "function", "tissue": "expression",
    "location": "expression", "isotype": "function", "target": "function", "site": "function",
    "ligand": "function",
}  # fmt: skip

CLAIMS: dict[str, tuple[str, ...]] = {
    "disease": (
        "{s} is associated with {e}", "{s} is linked to {e}", "{s} is implicated in {e}",
        "{s} is closely associated with {e}",
    ),
    "process": (
        "{s} regulates {e}", "{s} controls {e}", "{s} promotes {e}", "{s} inhibits {e}",
    ),
    "partner": (
        "{s} binds {e}", "{s} interacts with {e}", "{s} binds the protein {e}",
        "{s} directly interacts with {e}",
    ),
    "tissue": (
        "{s} is expressed in {e}", "{s} is enriched in {e}", "{s} is mainly expressed in {e}",
    ),
    "location": (
        "{s} localizes to the {e}", "{s} is located in the {e}", "{s} mostly localizes to the {e}",
    ),
    "isotype": ("{s} carries {e}", "{s} is charged with {e}", "{s} accepts {e}"),
    "target": ("{s} targets {e}", "{s} represses {e}", "{s} silences {e}"),
    "site": (
        "{s} guides the modification of {e}", "{s} guides modification of {e}",
        "{s} guides {m} of {e}",
    ),
    "ligand": ("{s} senses {e}", "{s} recognizes {e}", "{s} responds to {e}"),
}  # fmt: skip
NOTHING: dict[str, tuple[str, ...]] = {
    "disease": ("no disease association of {s} is known", "no disease has been linked to {s}"),
    "process": (
        "no process regulated by {s} is known", "the process that {s} regulates is unknown",
    ),
    "partner": ("no protein partner of {s} is known", "no protein has been found to bind {s}"),
    "tissue": ("no tissue expression of {s} is known", "the tissue that expresses {s} is unknown"),
    "location": (
        "no cellular location of {s} is known", "the cellular location of {s} is unknown",
    ),
}  # fmt: skip
NO_SITE = (
    "{s} does not guide any modification", "{s} does not guide modification of any site",
    "{s} has lost its box and does not guide any modification",
)  # fmt: skip
LEADS = (
    "", "", "", "", "We show that ", "We found that ", "These data suggest that ",
    "Taken together, ", "Our results indicate that ", "In agreement with earlier work, ",
    "Interestingly, ", "It has been reported that ",
)  # fmt: skip
LEADS_OF_NOTHING = ("", "", "To date, ", "So far, ", "As yet, ")
TAILS = (
    "", "", "", "", "", ", as shown by two independent groups", ", in line with earlier reports",
    ", and this held in every replicate",
)  # fmt: skip

TITLES: dict[str, tuple[str, ...]] = {
    "disease": ("Clinical relevance of {n}", "{n} in patients: a cohort study"),
    "function": ("Molecular function of {n}", "A mechanism for {n}"),
    "expression": ("Expression profile of {n}", "Where {n} is found: a sequencing atlas"),
    "evolution": ("Conservation and structure of {n}", "The evolution of {n} and its relatives"),
    "methods": ("A protocol to measure {n}", "Detecting {n} with a new assay"),
}
OPENINGS: dict[str, tuple[str, ...]] = {
    "disease": (
        "Patients differ in outcome, and {n} has been proposed as a clinical marker.",
        "The role of {n} in human health and in the clinic is debated.",
        "Biomarkers for early diagnosis are needed, and {n} is a candidate.",
    ),
    "function": (
        "The molecular mechanism of {n} has remained unclear.",
        "We studied the function of {n} by knockdown and rescue in cultured cells.",
        "How {n} acts inside the cell was examined by mutagenesis.",
    ),
    "expression": (
        "We profiled {n} by RNA sequencing of many samples.",
        "The abundance of {n} was mapped across samples and stages.",
        "An expression atlas that covers {n} is presented.",
    ),
    "evolution": (
        "We compared {n} with its homologs across genomes.",
        "The secondary structure of {n} was derived by comparative analysis.",
        "The phylogeny of {n} was reconstructed from an alignment of homologs.",
    ),
    "methods": (
        "We describe a protocol that detects {n} in small amounts of material.",
        "A new assay was tested on {n}.",
        "We benchmarked three library kits with {n} as the test case.",
    ),
}
FILLERS: dict[str, tuple[str, ...]] = {
    "disease": (
        "A total of {k} patients and matched controls were enrolled in the cohort.",
        "Serum levels separated patients from controls with good sensitivity.",
        "Overall survival was shorter in the high-risk group of patients.",
        "Clinical stage and prognosis were recorded at diagnosis and at follow-up.",
        "Multivariate analysis of the cohort adjusted for age, sex and treatment.",
        "Tumor biopsies of {k} patients were examined by two pathologists.",
        "Further trials must show whether the marker improves therapy.",
    ),
    "function": (
        "Knockdown by antisense oligonucleotides changed the phenotype of the cells.",
        "Pull-down and reporter assays were repeated {k} times.",
        "A point mutation abolished the activity, and a rescue construct restored it.",
        "The mechanism depends on base pairing, as compensatory mutations show.",
        "Crosslinking revealed the binding interface of the complex.",
        "Luciferase reporters confirmed the molecular mechanism in cultured cells.",
        "Overexpression had the opposite effect on the downstream pathway.",
    ),
    "expression": (
        "Libraries of {k} samples were sequenced to a depth of twenty million reads.",
        "Transcript levels were normalized and compared between stages of development.",
        "In situ hybridization agreed with the sequencing profile.",
        "Single-cell profiles showed a gradual increase of transcript abundance.",
        "Fluorescent probes gave a clear signal in fixed sections.",
        "Northern blots of {k} samples confirmed the transcript size.",
        "Abundance varied little between individuals of the same age.",
    ),
    "evolution": (
        "The alignment of {k} homologs shows compensatory changes in the stems.",
        "A covariance model found further homologs in distant genomes.",
        "Chemical probing supports the predicted stem and the apical loop.",
        "The phylogenetic tree suggests an ancient duplication of the locus.",
        "Sequence conservation is highest in the loops and lowest in the helices.",
        "The gene lies in an intron, and its synteny is conserved across clades.",
        "Substitution rates differ between lineages of the tree.",
    ),
    "methods": (
        "The protocol takes {k} minutes and needs no special equipment.",
        "Adapter ligation and reverse transcription were optimized step by step.",
        "Quantitative PCR primers were validated with a dilution series.",
        "The detection limit was improved by a second amplification step.",
        "Reproducibility between operators and instruments was high.",
        "Spike-in controls were added to calibrate the assay.",
        "All reagents and scripts of the protocol are freely available.",
    ),
}
CLOSINGS = (
    "Further work is needed to understand the details.",
    "The data are available on request.",
    "Limits of the study are discussed.",
)
EMPTY = (
    "Nothing is known about the function of {n}.",
    "No function of {n} has been described.",
    "{n} was listed as an uncharacterized transcript.",
    "No homolog of {n} was found in any database.",
    "{n} may be an artifact of sequencing.",
)


@dataclass(frozen=True)
class Fact:
    """One statement: the entity of a relation, ``unknown`` or ``none`` included."""

    relation: str
    entity: str
    modification: str = "modification"  # how a guide RNA's site is modified


@dataclass(frozen=True)
class Article:
    """A title and an abstract, with the topic it was planted for."""

    title: str
    abstract: str
    topic: str


def claim(fact: Fact, subject: str, rng: random.Random) -> str:
    """The fact as a clause without its full stop: ``"mir-M3-17 targets KRAS"``."""
    if fact.entity == UNKNOWN:
        pattern = rng.choice(NOTHING[fact.relation])
    elif fact.entity == BROKEN:
        pattern = rng.choice(NO_SITE)
    else:
        pattern = rng.choice(CLAIMS[fact.relation])
    return pattern.format(s=subject, e=fact.entity, m=fact.modification)


def sentence(fact: Fact, subject: str, rng: random.Random, lead: str | None = None) -> str:
    """The fact as a whole sentence with a lead and a tail: ``"We show that it targets KRAS."``"""
    nothing = fact.entity == UNKNOWN
    if lead is None or nothing:
        lead = rng.choice(LEADS_OF_NOTHING if nothing else LEADS)
    return _capital(lead + claim(fact, subject, rng) + rng.choice(TAILS) * (not nothing), subject)


def _capital(clause: str, name: str) -> str:
    """A full stop after, a capital before (names of RNAs keep their own letters)."""
    keeps = clause.startswith(name) and name not in ("it", "this RNA")
    return (clause if keeps else clause[0].upper() + clause[1:]) + "."


def write(
    name: str,
    topic: str,
    facts: list[Fact],
    rng: random.Random,
    other: tuple[str, Fact] | None = None,
    shared: bool = False,
    known: frozenset[str] = frozenset(),
) -> Article:
    """An abstract about ``name`` that states ``facts``; ``other`` is another RNA with a fact of it.

    In a shared abstract (read for either RNA) every statement names its subject. ``known``: the
    entities of all facts of the RNA, which no denial names.
    """
    fillers = rng.sample(FILLERS[topic], 3 + (len(facts) < 3) + (len(facts) < 1))
    blocks = [[_fill(filler, name, rng)] for filler in fillers]
    blocks.append(list(_statements(name, facts, rng, shared)))
    if other is not None:
        blocks.append([_aside(*other, rng)])
    if rng.random() < 0.15:
        blocks.append([_distractor(name, known, rng)])
    rng.shuffle(blocks)
    opening = _fill(rng.choice(OPENINGS[topic]), name, rng)
    lines = [opening, *(line for block in blocks for line in block)]
    if len(lines) < 8 and rng.random() < 0.3:
        lines.append(rng.choice(CLOSINGS))
    return Article(_fill(rng.choice(TITLES[topic]), name, rng), " ".join(lines), topic)


def write_empty(name: str, topic: str, rng: random.Random) -> Article:
    """An abstract that mentions the RNA and knows nothing about it."""
    lines = [rng.choice(OPENINGS[topic]), *rng.sample(EMPTY, 2), *rng.sample(FILLERS[topic], 3)]
    text = " ".join(_fill(line, name, rng) for line in lines)
    return Article(_fill(rng.choice(TITLES[topic]), name, rng), text, topic)


def _fill(pattern: str, name: str, rng: random.Random) -> str:
    return pattern.format(n=name, k=rng.randrange(12, 480))


def _statements(name: str, facts: list[Fact], rng: random.Random, shared: bool) -> Iterator[str]:
    """The facts in a row: the first by name, later ones also as "it" or "this RNA"."""
    leads = rng.sample(LEADS, len(facts))
    for position, fact in enumerate(facts):
        follows = position > 0 and not shared
        subject = rng.choice((name, "it", "this RNA")) if follows else name
        yield sentence(fact, subject, rng, leads[position])


def _aside(other: str, fact: Fact, rng: random.Random) -> str:
    """A statement about another RNA, by its name."""
    lead = rng.choice(("In contrast, ", "By comparison, ", "In other work, ", ""))
    return _capital(lead + claim(fact, other, rng), other)


def _distractor(name: str, known: frozenset[str], rng: random.Random) -> str:
    """A denial or an open question, which states no fact and contradicts none."""
    relation, pattern = rng.choice(
        (
            ("disease", "{} is not associated with {}."),
            ("process", "It was not tested whether {} regulates {}."),
        )
    )
    entities = [entity for entity in ENTITIES[relation] if entity not in known]
    return pattern.format(name, rng.choice(entities))
