"""What no text out of an abstract or a model may carry into the data set.

Abstracts and a model's answers are text of strangers: a link, markup, hidden characters or a word
to the next model that reads them have no place in a sentence about an RNA. A sentence that holds
one is left out whole, never repaired.
"""

import re
import unicodedata

_LINK = re.compile(
    r"(?i)\b(?:https?|ftp|file|data|javascript|mailto)\s*:\s*\S|\bwww\.|//\w|\b\S+@\w+\.\w|"
    r"\b[a-z0-9-]+\.(?:com|org|net|io|ai|app|dev|info|biz|ru|cn|xyz)\b"
)
_MARKUP = re.compile(
    r"<\s*/?\s*[!?A-Za-z]|[‹›`{}\\|]|&(?:#\w+|[A-Za-z]+);|\*\*|(?<!\w)__|\]\s*\(|!\[|^\s*(?:#{1,6}|[-*•>])\s"
)
_COMMAND = re.compile(
    r"(?i)\b(?:you|your|yourself)\b|\b(?:system|developer) (?:prompt|message|instruction)s?\b|"
    r"\b(?:ignor|disregard|forget|overrid|bypass|obey)\w*\b[^.]{0,40}"
    r"\b(?:instruct\w*|prompts?|rules?|above|previous|prior|commands?)\b|"
    r"\bfollow(?:s|ed|ing)? (?:these|those|the|my|our) (?:\w+ )?(?:instructions?|commands?|rules?)\b|"
    r"\b(?:language model|chatbot|assistant|as an AI|jailbreak\w*|prompt injection)\b|"
    r"\b(?:system|assistant|user|human) ?:|"
    r"^(?:please )?(?:ignore|disregard|forget|output|print|reply|respond|answer|write|say|cite|"
    r"repeat (?:after|the|this|that|these|it|everything|exactly|back))\b"
)
_SCRIPTS = ("LATIN", "GREEK")


def fault(text: str) -> str:
    """What is wrong with a sentence, in a few words; "" when it is plain text about its matter.

    >>> fault("This RNA binds HuR (p < 0.05)."), fault("See www.example.org for more.")
    ('', 'holds a link')
    """
    if not text.isprintable() and any(hidden(character) for character in text):
        return "holds hidden or control characters"
    text = unicodedata.normalize("NFKC", text)
    if not text.isascii() and any(_foreign(character) for character in text):
        return "holds letters that are neither Latin nor Greek"
    for what, pattern in (("a link", _LINK), ("markup", _MARKUP), ("a command", _COMMAND)):
        if pattern.search(text):
            return f"holds {what}"
    return ""


def hidden(character: str) -> bool:
    """Whether a character shows nothing and can still say something: control, format, private."""
    return unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")


def _foreign(character: str) -> bool:
    """A letter of a script in which no English abstract is written; look-alikes are such."""
    mark = unicodedata.category(character) == "Lm"  # the prime of 3ʹ-UTR, the sign of Hodgkinʼs
    known = mark or unicodedata.name(character, "").startswith(_SCRIPTS)
    return character.isalpha() and not known
