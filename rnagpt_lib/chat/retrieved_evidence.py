"""What stands beside an answer: RNAs of the training set and plain statements, as text or data.

It is retrieved, not generated, and is headed so. All of it but the frame is foreign text.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rnagpt_lib.core.markdown import plain

HEADING = "Retrieved from the training set, not generated"
NOBODY = "No annotated RNA of the training set is near."
SENTENCES = 5  # of a neighbour that are shown; `to_dict` has all
LONGEST = 600  # characters that are shown of a sentence or a statement
PUBMED = "https://pubmed.ncbi.nlm.nih.gov/{}/"


@dataclass(frozen=True)
class Sentence:
    """A sentence of an annotation, and the articles that it rests on."""

    text: str
    article_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """All entries of a table with one sequence, since a sequence is found in many species.

    ``rna_ids``: their ids, the annotated ones first. ``values``: field (rna_type, species, family)
    → its distinct values among them. ``sentences``: of all their annotations, each text once.
    """

    rna_ids: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    sentences: tuple[Sentence, ...]

    @property
    def rna_id(self) -> str:
        return self.rna_ids[0]

    @property
    def rna_type(self) -> str:
        return listed(self.values["rna_type"])

    @property
    def species(self) -> str:
        return listed(self.values["species"])

    @property
    def family(self) -> str:
        return listed(self.values["family"])


@dataclass(frozen=True)
class Neighbour(Entry):
    """A training RNA: ``identity`` (0 to 1) to the asked RNA, ``cosine`` (-1 to 1) of the encoder's
    vectors, and whether it is nearer than chance reaches: ``near``."""

    identity: float
    near: bool


@dataclass(frozen=True)
class Beside:
    """What is retrieved beside an answer, the best neighbour first."""

    neighbours: tuple[Neighbour, ...]
    statements: tuple[str, ...]


def listed(values: tuple[str, ...], most: int = 3) -> str:
    """``("a", "b", "c", "d", "e")`` → ``"a, b, c and 2 more"``."""
    more = f" and {len(values) - most:,} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more


def percent(share: float) -> str:
    """``0.715`` → ``"72 %"``."""
    return f"{100 * share:.0f} %"


def to_dict(beside: Beside) -> dict:
    """All of it as JSON can hold it, texts as they are: whoever shows them has to escape them."""
    return {
        "about": HEADING,
        "statements": list(beside.statements),
        "neighbours": [
            {
                "rna_ids": list(one.rna_ids),
                **{field: list(values) for field, values in one.values.items()},
                "identity": round(one.identity, 4),
                "near": one.near,
                "sentences": [
                    {"text": each.text, "article_ids": list(each.article_ids)}
                    for each in one.sentences
                ],
            }
            for one in beside.neighbours
        ],
    }


def to_markdown(beside: Beside) -> str:
    """The same for people; whatever the texts say, they are shown and never act."""
    lines = [f"**{HEADING}**", ""]
    lines += [f"- {_line(statement)}" for statement in beside.statements]
    lines += [""] if beside.statements else []
    for number, one in enumerate(beside.neighbours, 1):
        lines += [f"{number}. {_about(one)}", *_sentences(one)]
    return "\n".join(lines if beside.neighbours else [*lines, NOBODY]).rstrip() + "\n"


def _line(text: str) -> str:
    """A text that opens a line: what would begin a heading or a list there is an entity."""
    shown = plain(text, LONGEST)
    return f"&#{ord(shown[0])};{shown[1:]}" if shown[:1] in set("#+-=0123456789") else shown


def _about(one: Neighbour) -> str:
    more = len(one.rna_ids) - 1
    same = f" (and {more:,} more with this very sequence)" if more else ""
    chance = "" if one.near else ", which chance reaches"
    fields = [("type", one.rna_type), ("species", one.species), ("family", one.family)]
    told = "; ".join(f"{name} {plain(value)}" for name, value in fields if value)
    near = f"{percent(one.identity)} identical{chance}"
    return f"**{plain(one.rna_id)}**{same}: {told or 'no fields'}. {near}"


def _sentences(one: Neighbour) -> list[str]:
    indent = "   - "
    # behind a quotation mark, as "# x" or "1. x" would be a heading or a list at a line's start
    lines = []
    for each in one.sentences[:SENTENCES]:
        articles = ", ".join(map(article, each.article_ids))
        lines.append(f"{indent}“{plain(each.text, LONGEST)}” {articles}".rstrip())
    more = len(one.sentences) - SENTENCES
    return [*lines, f"{indent}and {more:,} more"] if more > 0 else lines


def article(article_id: str) -> str:
    """A PubMed id as a link; ids of the miniature world, and of a user's own files, as text."""
    if article_id.isascii() and article_id.isdecimal():
        return f"[PMID {article_id}]({PUBMED.format(article_id)})"
    return plain(article_id)
