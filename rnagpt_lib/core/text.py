"""Foreign text made harmless: abstracts, a model's answers, FASTA headers, what a server said.

`printable` for a terminal, `plain`, `markdown_table` and `fenced` for Markdown, `screen` for the data set: a
link, markup, hidden characters or a word to the next model that reads them have no place in a
sentence about an RNA, so one that holds such is left out whole, never repaired.

>>> plain("<b>a_b</b>\\n| [x](y)")
'&lt;b&gt;a_b&lt;/b&gt; \\\\| \\\\[x\\\\](y)'
"""

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # slow to import, and the command line needs no more than `printable`
    import pandas as pd

_LINK = re.compile(
    r"(?i)\b(?:https?|ftp|file|data|javascript|mailto)\s*:\s*\S|\bwww\.|//\w|\b\S+@\w+\.\w|"
    r"\b[a-z0-9-]+\.(?:com|org|net|io|ai|app|dev|info|biz|ru|cn|xyz)\b"
)
_TAGS = re.compile(
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
# Punctuation that can start markup within a line, "@" and "://" which become links; "_" only at
# the edge of a word, so that names stay readable in the source.
_ACTIVE = re.compile(
    r"([\\`*\[\]|~$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=/)|(?<=www)\.)", re.IGNORECASE
)
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def printable(text: str) -> str:
    """White space as spaces, and � for what else does not print, as a terminal's commands.

    >>> printable("a\\tb \\x1b[31m")
    'a b �[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def cut(text: str, longest: int) -> str:
    """``text``, or so many characters of it, the last of them an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def one_line(text: str) -> str:
    """For a terminal or a cell: `printable`, with white space as single spaces."""
    return " ".join(printable(text).split())


def redact(text: str, secret: str) -> str:
    r"""``text`` with *** for a secret, as it is or by the escapes of JSON, and of JSON in JSON. What
    is short or a mere word stays, as servers without keys take any.

    >>> redact(r'{"a": "sk-1234\u0035"}', "sk-12345"), redact("any", "any")
    ('{"a": "***"}', 'any')
    """
    if len(secret) < 8 or secret.isalpha() or secret.isdecimal():
        return text
    spelled = (rf"(?:\\{{0,4}}{re.escape(c)}|(?i:\\{{1,4}}u{ord(c):04x}))" for c in secret)
    return re.sub("".join(spelled), "***", text)


def plain(text: object, longest: int = 300) -> str:
    """One line that any renderer shows as it is: no markup, HTML, links or control characters.

    ``longest``: characters kept of the text; what is cut ends in "…".
    """
    line = " ".join(str(text).split())
    line = "".join(c for c in line if unicodedata.category(c)[0] != "C")
    return _ACTIVE.sub(r"\\\1", cut(line, longest)).translate(_ENTITIES)


def markdown_table(data: "pd.DataFrame") -> str:
    """A GitHub table without the index; whole numbers get thousands separators, and NaN "–"."""
    rows = [[_cell(name) for name in data.columns]]
    numeric = data.select_dtypes(["number", "bool"]).columns
    rows += [["---:" if name in numeric else "---" for name in data.columns]]
    rows += [[_cell(value) for value in row] for row in data.astype(object).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in ``text``."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _cell(value: object) -> str:
    import pandas as pd

    if pd.isna(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) else plain(value)


def screen(text: str) -> str:
    """What is wrong with a sentence, in a few words; "" when it is plain text about its matter.

    >>> screen("This RNA binds HuR (p < 0.05)."), screen("See www.example.org for more.")
    ('', 'holds a link')
    """
    if not text.isprintable() and any(is_hidden(character) for character in text):
        return "holds hidden or control characters"
    text = unicodedata.normalize("NFKC", text)
    if not text.isascii() and any(_foreign(character) for character in text):
        return "holds letters that are neither Latin nor Greek"
    for what, pattern in (("a link", _LINK), ("markup", _TAGS), ("a command", _COMMAND)):
        if pattern.search(text):
            return f"holds {what}"
    return ""


def is_hidden(character: str) -> bool:
    """Whether a character shows nothing and can still say something: control, format, private."""
    return unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")


def _foreign(character: str) -> bool:
    """A letter of a script in which no English abstract is written; look-alikes are such."""
    mark = unicodedata.category(character) == "Lm"  # the prime of 3ʹ-UTR, the sign of Hodgkinʼs
    known = mark or unicodedata.name(character, "").startswith(_SCRIPTS)
    return character.isalpha() and not known
