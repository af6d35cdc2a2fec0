"""Whether what an answer names stands in the evidence: precision, recall, unsupported claims.

`fact_scores` checks the one entity that a question asks for; here everything counts that an answer
claims, of whatever relation. A fluent answer may hold the right entity and three made-up ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from rnagpt_lib.curate.questions.question_templates import CATEGORICAL
from rnagpt_lib.evaluate import entities
from rnagpt_lib.evaluate.entities import Finder, claimed, named
from rnagpt_lib.evaluate.fact_scores import lexicon
from rnagpt_lib.miniature.world import WORLD_IDS

METRICS = ("evidence.precision", "evidence.recall", "evidence.unsupported")
ID = "evidence-1"
DEFINITION = {
    "claimed": "an entity that stands in a sentence of the text without a negation: whole words, "
    "longest first, case ignored",
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
LEXICON = "all that open references name, of every relation and split"
FIELDS = "the types, species and families that open references name"


@dataclass(frozen=True)
class Entities:
    """What counts as an entity: ``id`` and ``about`` are of the scores that come of it."""

    id: str
    about: str
    find: Finder

    @classmethod
    def of(cls, rnas: pd.DataFrame, pairs: pd.DataFrame) -> "Entities":
        """Of the generated world those of the lexicon, which are all that there are; of other
        RNAs those of the dictionary, since what references happen to name is a part of them."""
        relations = lexicon(pairs)
        if rnas.rna_id.str.startswith(WORLD_IDS).all():
            known = sorted(set().union(*relations.values()))
            return cls(f"{ID}-lexicon", LEXICON, lambda sentence: named(sentence, known))
        fields = sorted(set().union(*(relations.get(name, ()) for name in CATEGORICAL)))
        return cls(
            f"{ID}-{entities.ID}",
            f"{entities.ID}, and {FIELDS}",
            lambda sentence: entities.find(sentence) | named(sentence, fields),
        )


@dataclass(frozen=True)
class Evidence:
    """What may be said in answer to each question: ``of[pair_id]``, in lower case."""

    entities: Entities
    of: Mapping[str, set[str]]

    @property
    def definition(self) -> dict[str, str]:
        return {"entities": self.entities.about} | DEFINITION

    @classmethod
    def gather(
        cls,
        entities: Entities,
        asked: pd.DataFrame,
        rnas: pd.DataFrame,
        pairs: pd.DataFrame,
        annotations: pd.DataFrame,
        articles: pd.DataFrame,
    ) -> "Evidence":
        """The evidence of ``asked`` (pair_id, rna_id, source): tables of 00, 02 and 03.

        An article that ``articles`` lacks counts as one without a text.
        """
        fields = {  # rna_id → its type, species and family
            row["rna_id"]: {row[name].casefold() for name in CATEGORICAL} - {""}
            for row in rnas[rnas.rna_id.isin(asked.rna_id)].to_dict("records")
        }
        annotated: dict[tuple[str, str], set[str]] = {}  # (rna_id, source) → what it claims
        for row in annotations[annotations.rna_id.isin(asked.rna_id)].itertuples():
            own = annotated.setdefault((row.rna_id, row.source), set())
            own.update(claimed(row.text, entities.find))
        cites = pairs[pairs.pair_id.isin(asked.pair_id)].set_index("pair_id").article_ids
        cited = articles[articles.article_id.isin(set().union(*cites))]
        texts = {
            row.article_id: claimed(row.title, entities.find) | claimed(row.abstract, entities.find)
            for row in cited.itertuples()
        }
        of = {
            row.pair_id: set().union(
                fields[row.rna_id],
                annotated.get((row.rna_id, row.source), set()),
                *(texts.get(article, set()) for article in cites[row.pair_id]),
            )
            for row in asked.itertuples()
        }
        return cls(entities, of)

    def score(self, answers: pd.DataFrame) -> pd.DataFrame:
        """`METRICS` as columns, a row for each of ``answers`` (pair_id, prediction, reference);
        NaN where a share has nothing to be a share of."""
        texts = pd.concat([answers.prediction, answers.reference]).unique()
        says = {text: claimed(text, self.entities.find) for text in texts}
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
