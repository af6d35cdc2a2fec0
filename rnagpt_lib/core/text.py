"""Foreign text made harmless: abstracts, a model's answers, FASTA headers, what a server said.

`clean` and `fold` on the way in, `printable` for a terminal, `plain`, `markdown_table` and `fenced`
for Markdown, `screen` for the data set: a link, markup, hidden characters or a word to the next
model that reads them have no place in a sentence about an RNA, so one that holds such is left out
whole, never repaired.

>>> plain("<b>a_b</b>\\n| [x](y)")
'&lt;b&gt;a_b&lt;/b&gt; \\\\| \\\\[x\\\\](y)'
"""

import html
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # slow to import, and the command line needs no more than `printable`
    import pandas as pd

_LINK = re.compile(
    r"(?i)\b(?:https?|ftp|file|data|javascript|mailto)\s*:\s*\S|\bwww\.|//\w|\S@\w+\.\w|"
    r"[a-z0-9-]\.(?:com|org|net|io|ai|app|dev|info|biz|ru|cn|xyz)\b"
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

# What different keyboards and publishers write for one "-", "'" or " ", and what shows nothing.
_SAME = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2043\u2212\ufe58\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u02bc", "'"),
    **dict.fromkeys(
        "\u00a0\u1680\u2007\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))), " "
    ),
    **dict.fromkeys("\u00ad\u200b\u2060\ufeff"),
}
_FOLDED = str.maketrans(_SAME)
_MARKS = re.compile(r"([^\w\s\x00-\x7f]{30})[^\w\s\x00-\x7f]+")  # NFC takes long for many marks

# Tags by an expression: parsers differ in what a "<" is that nothing closes. No "<" within.
_ATTRIBUTES = r"""(?:\s++[\w:-]++\s*+=\s*+(?:"[^"<]*+"|'[^'<]*+'|[^\s"'<>]++))*+\s*+/?>"""
_TAG = re.compile(
    rf"(?is)<(?P<end>/?)(?:jats:)?(?:(?P<heading>h[1-6]|title)|"
    rf"(?P<block>p|div|br|li|ul|ol|sec|list|list-item)|"
    rf"(?:i|b|u|em|strong|sub|sup|sc|span|a|italic|bold|small)){_ATTRIBUTES}|"
    r"<!--(?:(?!<!--).)*?-->|<[!?][a-z\[][^<>]*>"
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,31});")
_LEFT = re.compile(r"</?[a-z][a-z0-9:-]*/?>|&#?\w{2,8};", re.IGNORECASE)


def fold(text: str) -> str:
    """One spelling for what looks alike: NFC, ASCII's hyphen, apostrophe and blank; no soft hyphens.

    >>> fold("miR\u201121 in\u00a0Alz\u00adheimer\u2019s")
    "miR-21 in Alzheimer's"
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _MARKS.sub(r"\1", text.translate(_FOLDED)))


def caseless(text: str) -> str:
    """What spellings of one name have in common: `fold`, in lower case."""
    return fold(text).casefold()


def clean(text: str) -> str:
    """A title or an abstract as it comes in: `fold`, on one line, without entities and the tags of
    HTML and JATS; others, as in ``p <a and b>``, stay.

    >>> clean("<h4>Aim</h4>H<sub>2</sub>S &amp; p < .05, n <5.&lt;br/&gt;Done")
    'Aim: H2S & p < .05, n <5. Done'
    """
    for _ in range(2):  # some texts were escaped once too often
        text = _TAG.sub(_blank, text)
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return re.sub(r"([.:?!]): ", r"\1 ", " ".join(fold(text).split()))


def _blank(tag: re.Match) -> str:
    if tag["heading"]:
        return ": " if tag["end"] else " "
    return " " if tag["block"] else ""


def is_clean(text: str) -> bool:
    """Whether nothing that looks like markup is left."""
    return not _LEFT.search(text)


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
    text = unicodedata.normalize("NFKC", _MARKS.sub(r"\1", text))
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
