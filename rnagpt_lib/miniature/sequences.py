"""Sequences of the miniature world: type → family → lineage → member.

A lineage (one cluster of sequences) redraws what its family does not conserve; its members
differ by a few substitutions, with stems compensated. The local code is drawn for each member.
"""

import random
from functools import cache
from typing import NamedTuple

from rnagpt_lib.core.sequences import reverse_complement
from rnagpt_lib.miniature.rules import ARCHITECTURES, LETTERS, RULES, WORLD, Family, read_local

BLOCK_RATE = 0.03  # substitutions per nt of a family's blocks, from lineage to lineage
STEM_RATE = 0.05  # the same in a family's stems, pair by pair
TYPE_RATE = 0.04  # the same in what the whole type conserves
MEMBER_RATE = 0.025  # substitutions per nt or pair, from member to member
WOBBLE_RATE = 0.06  # pairs that become G·U on the 3' arm
UNPAIRED_STAR = 0.5  # positions across from a code that do not pair: they say nothing about it
BROKEN_SHARE = 1 / 9  # guide RNAs that have lost their box


class Element(NamedTuple):
    """One word of an architecture: kind ∈ ``! = f v ~ ( ) @ *``, its text (or stem), its length."""

    kind: str
    text: str
    length: int


@cache
def elements(rna_type: str) -> tuple[Element, ...]:
    """The parsed architecture of a type: ``"(a5"`` → ``Element("(", "a", 5)``."""
    parsed = []
    for word in ARCHITECTURES[rna_type].split():
        if word in "@*":
            parsed.append(Element(word, "", 0))
        elif word[0] in "()":
            parsed.append(Element(word[0], word[1], int(word[2:])))
        elif word[0] in "fv~":
            text = "exact" * word.endswith("!")
            parsed.append(Element(word[0], text, int(word[1:].rstrip("!"))))
        else:
            text = word.lstrip("!")
            parsed.append(Element("!" if word[0] == "!" else "=", text, len(text)))
    return tuple(parsed)


def random_sequence(length: int, rng: random.Random) -> str:
    """``length`` nucleotides, all equally likely."""
    return "".join(rng.choices(LETTERS, k=length))


def mutate(sequence: str, rate: float, rng: random.Random) -> str:
    """Each nucleotide replaced by another one with probability ``rate``."""
    return "".join(
        rng.choice(LETTERS.replace(letter, "")) if rng.random() < rate else letter
        for letter in sequence
    )


@cache
def lineage(family: Family, key: str) -> tuple[str, ...]:
    """The ancestor of a cluster, by element; 3' arms, codes and stars are left empty."""
    of_family = random.Random(f"{WORLD}/blocks/{family.rna_type}/{family.number}")
    rng = random.Random(f"{WORLD}/lineage/{family.name}/{key}")
    return tuple(
        _ancestor(element, random_sequence(element.length, of_family), rng)
        for element in elements(family.rna_type)
    )


def _ancestor(element: Element, conserved: str, rng: random.Random) -> str:
    """``conserved``: what the family conserves of it, if it is a block or the arm of a stem a to d."""
    match element.kind:
        case "!":
            return element.text
        case "=":
            return mutate(element.text, TYPE_RATE, rng)
        case "f":
            return mutate(conserved, BLOCK_RATE, rng)
        case "(" if element.text in "abcd":
            return mutate(conserved, STEM_RATE, rng)
        case "(":
            return random_sequence(element.length, rng)
        case "~":
            return random_sequence(rng.randint(0, element.length), rng)
        case "v":
            jitter = 0 if element.text else rng.randint(-2, 2)
            return random_sequence(max(1, element.length + jitter), rng)
    return ""


def member(family: Family, key: str, rng: random.Random) -> str:
    """A sequence of a lineage with a code of its own that ``read_local`` reads."""
    rule = RULES.get(family.rna_type)
    if rule is None:
        return _assemble(family, key, "", rng)
    entity = rng.choice(sorted(set(rule.codes.values())))
    code = rng.choice(sorted(c for c, e in rule.codes.items() if e == entity))
    while True:
        sequence = _assemble(family, key, code, rng)
        if read_local(sequence, family.rna_type) == entity:
            break
    return break_box(sequence, family.rna_type, rng) if rng.random() < BROKEN_SHARE else sequence


def break_box(sequence: str, rna_type: str, rng: random.Random) -> str:
    """One substitution in the box at the 3' end; types without one come back as they are."""
    box = RULES[rna_type].box.rstrip("$")
    if not box:
        return sequence
    position = rng.randrange(len(sequence) - len(box), len(sequence) - box.count("."))
    other = rng.choice(LETTERS.replace(sequence[position], ""))
    return sequence[:position] + other + sequence[position + 1 :]


def _assemble(family: Family, key: str, code: str, rng: random.Random) -> str:
    parts, arms, rule = [], {}, RULES.get(family.rna_type)
    for element, ancestor in zip(elements(family.rna_type), lineage(family, key), strict=True):
        match element.kind:
            case "@":
                part = rule.before + code + rule.after
            case "*":
                star = mutate(reverse_complement(code), UNPAIRED_STAR, rng)
                part = reverse_complement(rule.after) + star + reverse_complement(rule.before)
            case "!":
                part = ancestor
            case ")":
                part = _three_prime_arm(arms[element.text], rng)
            case _:
                part = mutate(ancestor, MEMBER_RATE, rng)
        if element.kind == "(":
            arms[element.text] = part
        parts.append(part)
    return "".join(parts)


def _three_prime_arm(arm: str, rng: random.Random) -> str:
    """The paired arm: Watson-Crick pairs, a few of them G·U."""
    wobble = {"G": "U", "U": "G"}
    partners = [
        wobble[x] if x in wobble and rng.random() < WOBBLE_RATE else reverse_complement(x)
        for x in arm
    ]
    return "".join(reversed(partners))


def structure(family: Family, key: str) -> str:
    """The planted stems of a lineage in dot-bracket notation, as long as its members are.

    ``"(((..(((...)))..)))"``: matching brackets pair, some as G·U.
    """
    rule, drawn = RULES.get(family.rna_type), ""
    for element, ancestor in zip(elements(family.rna_type), lineage(family, key), strict=True):
        if element.kind in "()":
            drawn += element.kind * element.length
        elif element.kind in "@*":
            drawn += "." * (len(rule.before) + rule.code_length + len(rule.after))
        else:
            drawn += "." * len(ancestor)
    return drawn
