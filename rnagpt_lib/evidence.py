"""Whether what an answer names stands in the evidence: precision, recall, unsupported claims.

`scores` checks the one entity that a question asks for; here everything counts that an answer
claims, of whatever relation. A fluent answer may hold the right entity and three made-up ones.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from rnagpt_lib.phrases import NEGATION
from rnagpt_lib.relations import CATEGORICAL
from rnagpt_lib.scores import SENTENCES, lexicon, named

METRICS = ("evidence.precision", "evidence.recall", "evidence.unsupported")
ID = "evidence-1"
DEFINITION = {
    "claimed": "an entity of the lexicon (all that open references name, of every relation) that "
    "stands in a sentence of the text without a negation: whole words, longest first, case ignored",
    "evidence": "of one question: the RNA's own fields (type, species, family), what its "
    "annotation claims, and what title and abstract of the articles that the pair cites claim",
    "evidence.precision": "claimed entities of the answer that stand in the evidence, as a share; "
    "absent where the answer claims none",
    "evidence.recall": "entities that the reference claims and the answer claims too, as a share; "
    "absent where the reference claims none. Of the reference, not of the annotation: a question "
    "asks for one thing, and an answer that tells everything is no better",
    "evidence.unsupported": "number of claimed entities that the evidence lacks; 0 for an answer "
    "that claims none",
}

Finder = Callable[[str], set[str]]  # one sentence -> the entities that it names, in lower case


def claimed(text: str, find: Finder) -> set[str]:
    """The entities that a text names without denying them in the same sentence.

    >>> claimed("It binds HuR. It is not in the nucleus.", lambda s: named(s, ["HuR", "nucleus"]))
    {'hur'}
    """
    sentences = (s for s in SENTENCES.split(text) if not NEGATION.search(s))
    return set().union(*map(find, sentences))


def finder(pairs: pd.DataFrame) -> Finder:
    """Finds the entities of the lexicon of ``pairs``, of whatever relation."""
    known = sorted(set().union(*lexicon(pairs).values()))
    return lambda sentence: named(sentence, known)


@dataclass(frozen=True)
class Evidence:
    """What may be said in answer to each question: ``of[pair_id]``, in lower case."""

    find: Finder
    of: Mapping[str, set[str]]
    id: str = ID

    @property
    def definition(self) -> dict[str, str]:
        return DEFINITION

    @classmethod
    def gather(
        cls,
        find: Finder,
        asked: pd.DataFrame,
        rnas: pd.DataFrame,
        pairs: pd.DataFrame,
        annotations: pd.DataFrame,
        articles: pd.DataFrame,
    ) -> "Evidence":
        """The evidence of ``asked`` (pair_id, rna_id, source): tables of 00, 02 and 03.

        An article that ``articles`` lacks counts as one without a text.
        """
        fields = _fields(rnas[rnas.rna_id.isin(asked.rna_id)])
        told = _annotated(asked, annotations, find)
        cites = pairs[pairs.pair_id.isin(asked.pair_id)].set_index("pair_id").article_ids
        texts = _articles(articles, cites, find)
        return cls(
            find,
            {
                row.pair_id: set().union(
                    fields[row.rna_id],
                    told.get((row.rna_id, row.source), set()),
                    *(texts.get(article, set()) for article in cites[row.pair_id]),
                )
                for row in asked.itertuples()
            },
        )

    def score(self, answers: pd.DataFrame) -> pd.DataFrame:
        """`METRICS` as columns, a row for each of ``answers`` (pair_id, prediction, reference);
        NaN where a share has nothing to be a share of."""
        texts = pd.concat([answers.prediction, answers.reference]).unique()
        says = {text: claimed(text, self.find) for text in texts}
        rows = [
            shares(says[row.prediction], says[row.reference], self.of[row.pair_id])
            for row in answers.itertuples()
        ]
        return pd.DataFrame(rows, columns=METRICS, dtype=float)


def shares(said: set[str], wanted: set[str], there: set[str]) -> tuple[float, float, int]:
    """`METRICS` of one answer.

    >>> shares({"glioma", "asthma"}, {"glioma"}, {"glioma", "brain"})
    (0.5, 1.0, 1)
    """
    precision = len(said & there) / len(said) if said else float("nan")
    recall = len(said & wanted) / len(wanted) if wanted else float("nan")
    return precision, recall, len(said - there)


def _fields(rnas: pd.DataFrame) -> dict[str, set[str]]:
    """rna_id → its type, species and family."""
    return {
        row["rna_id"]: {row[name].casefold() for name in CATEGORICAL} - {""}
        for row in rnas.to_dict("records")
    }


def _annotated(
    asked: pd.DataFrame, annotations: pd.DataFrame, find: Finder
) -> dict[tuple[str, str], set[str]]:
    """(rna_id, source) → what the sentences of the annotation claim."""
    of_asked = annotations[annotations.rna_id.isin(asked.rna_id)]
    found: dict[tuple[str, str], set[str]] = {}
    for row in of_asked.itertuples():
        found.setdefault((row.rna_id, row.source), set()).update(claimed(row.text, find))
    return found


def _articles(
    articles: pd.DataFrame, cites: Iterable[list[str]], find: Finder
) -> dict[str, set[str]]:
    """article_id → what title and abstract claim, of the cited articles alone."""
    cited = articles[articles.article_id.isin(set().union(*cites))]
    return {
        row.article_id: claimed(row.title, find) | claimed(row.abstract, find)
        for row in cited.itertuples()
    }
