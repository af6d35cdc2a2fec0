"""What the paper (arXiv 2411.08900) published, out of ``paper.yaml``: tables, training, chats.

Every value here is the paper's own and is shown under the label ``paper``; nothing was measured by
this project, except for the truth of the case studies, which follows from sequences and ids.
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml

LABEL = "paper"
SEMANTIC = ("S_BERT", "S_Pub", "S_GPT")
ROUGE = ("rouge1", "rouge2", "rougeL")
PARTS = ("precision", "recall", "f1")


class Exchange(NamedTuple):
    """A question of the paper's chats, its model's answer in short, and what can be checked."""

    question: str
    answer: str = "(not quoted here)"
    truth: str = "The sequence alone cannot tell."


class CaseStudy(NamedTuple):
    """One RNA of the paper's figures 6 to 9. ``sequence`` is 5' to 3' in A, C, G, U."""

    rna_id: str
    sequence: str
    what: str
    exchanges: tuple[Exchange, ...]


_published = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
DATA: dict[str, int | str] = _published["data"]
TRAINING = pd.DataFrame(_published["training"], columns=["paper", "stage 1 (MA)", "stage 2 (IT)"])
CASE_STUDIES = tuple(
    CaseStudy(**case | {"exchanges": tuple(Exchange(*said) for said in case["exchanges"])})
    for case in _published["case_studies"]
)


def scores() -> pd.DataFrame:
    """Tables 1 to 4 in long form: table, source, model, metric, value, label.

    >>> s = scores(); s[(s.table == 2) & (s.model == "IT") & (s.metric == "rouge1")].value.item()
    0.5031
    """
    semantic = [f"{scorer}.{part}" for scorer in SEMANTIC for part in PARTS]
    rows = [
        (number, table["source"], model, metric, value, LABEL)
        for number, table in _published["tables"].items()
        for model in ("vanilla", "MA", "IT")
        for metric, value in zip(semantic if number % 2 else ROUGE, table[model], strict=True)
    ]
    return pd.DataFrame(rows, columns=["table", "source", "model", "metric", "value", "label"])


def case_studies() -> pd.DataFrame:
    """One row per exchange: rna_id, sequence, what, question, paper, sequence_says."""
    rows = [(*case[:3], *said) for case in CASE_STUDIES for said in case.exchanges]
    columns = ["rna_id", "sequence", "what", "question", LABEL, "sequence_says"]
    return pd.DataFrame(rows, columns=columns)
