"""Whether what an answer names stands in the evidence: precision, recall, unsupported claims.
`fact_scores` checks the one entity that a question asks for; here everything counts that an answer
claims: a fluent one may hold the right entity and three made-up ones."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from rnagpt_lib.core.text import caseless
from rnagpt_lib.curate.questions.question_templates import CATEGORICAL
from rnagpt_lib.evaluate import entities
from rnagpt_lib.evaluate.entities import spots
from rnagpt_lib.evaluate.fact_scores import DEFINITIONS, lexicon
from rnagpt_lib.evaluate.statements import Finder, claimed
from rnagpt_lib.miniature.world import WORLD_IDS

METRICS = ("evidence.precision", "evidence.recall", "evidence.unsupported")
ID = "evidence-2"
LEXICON = "all that open references name, of every relation and split"
FIELDS = "the types, species and families that open references name"


class Entities(NamedTuple):
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
            return cls(f"{ID}-lexicon", LEXICON, lambda sentence: spots(sentence, known))
        fields = sorted(set().union(*(relations.get(name, ()) for name in CATEGORICAL)))
        return cls(
            f"{ID}-{entities.ID}",
            f"{entities.ID}, and {FIELDS}",
            lambda part: entities.longest([*entities.mentions(part), *spots(part, fields)]),
        )


class Evidence(NamedTuple):
    """What may be said in answer to each question: ``of[pair_id]``, in lower case."""

    entities: Entities
    of: Mapping[str, set[str]]

    @property
    def definition(self) -> dict[str, str]:
        return {"entities": self.entities.about} | DEFINITIONS[ID]

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


def gather(
    entities: Entities,
    asked: pd.DataFrame,
    rnas: pd.DataFrame,
    pairs: pd.DataFrame,
    annotations: pd.DataFrame,
    articles: pd.DataFrame,
) -> Evidence:
    """The evidence of ``asked`` (pair_id, rna_id, source): tables of 00, 02 and 03.

    An article that ``articles`` lacks counts as one without a text.
    """
    find, of = entities.find, {}
    told: dict[tuple[str, str], set[str]] = {}  # (rna_id, source) → what its annotation claims
    for row in annotations[annotations.rna_id.isin(asked.rna_id)].itertuples():
        told.setdefault((row.rna_id, row.source), set()).update(claimed(row.text, find))
    fields = {  # rna_id → its type, species and family
        row["rna_id"]: {caseless(row[name]) for name in CATEGORICAL} - {""}
        for row in rnas[rnas.rna_id.isin(asked.rna_id)].to_dict("records")
    }
    cites = pairs[pairs.pair_id.isin(asked.pair_id)].set_index("pair_id").article_ids
    cited = articles[articles.article_id.isin(set().union(*cites))]
    texts = {
        row.article_id: claimed(row.title, find) | claimed(row.abstract, find)
        for row in cited.itertuples()
    }
    for row in asked.itertuples():
        own = fields[row.rna_id] | told.get((row.rna_id, row.source), set())
        of[row.pair_id] = own.union(*(texts.get(name, ()) for name in cites[row.pair_id]))
    return Evidence(entities, of)


def shares(said: set[str], wanted: set[str], there: set[str]) -> tuple[float, float, int]:
    """`METRICS` of one answer.

    >>> shares({"glioma", "asthma"}, {"glioma"}, {"glioma", "brain"})
    (0.5, 1.0, 1)
    """
    precision = len(said & there) / len(said) if said else float("nan")
    recall = len(said & wanted) / len(wanted) if wanted else float("nan")
    return precision, recall, len(said - there)
