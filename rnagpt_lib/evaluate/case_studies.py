"""The case studies of notebook 07: the paper's RNAs and RNAs of the test side, asked of every
model, beside what is true.
"""

from collections.abc import Mapping

import pandas as pd

from rnagpt_lib.chat.generate import Chat
from rnagpt_lib.chat.retrieval import Retrieval, listed
from rnagpt_lib.core import paper
from rnagpt_lib.evaluate import fact_scores
from rnagpt_lib.evaluate.questions import STRATA


def ask_paper(chats: Mapping[str, Chat]) -> pd.DataFrame:
    """The paper's chats: question, the paper's answer, what the sequence says, and the answer of
    each of ``chats`` (name → model)."""
    table = paper.case_studies()
    for name, chat in chats.items():
        table[name] = _texts(chat, table)
    return table[["rna_id", "question", paper.LABEL, "sequence_says", *chats]]


def choose(asked: pd.DataFrame, number: int, seed: int = 0) -> pd.DataFrame:
    """Open questions about ``number`` RNAs of ``questions.questions``, drawn by the seed, from the
    strata in turn."""
    rnas = asked.drop_duplicates("rna_id").sample(frac=1, random_state=seed)
    rnas = rnas.assign(turn=rnas.groupby("stratum").cumcount(), rank=rnas.stratum.map(STRATA.index))
    chosen = rnas.sort_values(["turn", "rank"], kind="stable").rna_id.head(number)
    return asked[asked.rna_id.isin(chosen) & (asked.form == "open")].reset_index(drop=True)


def ask_rnas(
    chats: Mapping[str, Chat], chosen: pd.DataFrame, known: dict[str, list[str]]
) -> pd.DataFrame:
    """The same questions asked of each model, the reference beside, and ``<model>_right``: 1, 0,
    or NaN where the sequence cannot tell."""
    table = chosen[["rna_id", "stratum", "rna_type", "question", "reference"]].copy()
    for name, chat in chats.items():
        table[name] = _texts(chat, chosen)
        said = zip(chosen.itertuples(), table[name], strict=True)
        facts = [row.decidable and fact_scores.fact(row, text, known) for row, text in said]
        table[f"{name}_right"] = [fact[1] if fact else float("nan") for fact in facts]
    return table


def retrieve_beside(run: str, asked: pd.DataFrame, model: str) -> pd.DataFrame:
    """What is retrieved beside each answer of ``model`` of a run, a column of ``asked`` (with rna_id,
    sequence, question): nearest, nearest_type, identity (0 to 1), near (above chance), statements."""
    found, rows = Retrieval.of(run), []
    for row in asked.to_dict("records"):
        asked_of = (row["sequence"], row["question"], row[model], row["rna_id"])
        statements = found.retrieve(*asked_of)["statements"]
        nothing = {"rna_ids": [""], "rna_type": [], "identity": 0.0, "near": False}
        first = next(iter(found.near(row["sequence"])), nothing)
        rows.append({
            "rna_id": row["rna_id"], "question": row["question"], "answer": row[model],
            "nearest": first["rna_ids"][0], "nearest_type": listed(first["rna_type"]),
            "identity": round(first["identity"], 3), "near": first["near"],
            "statements": " ".join(statements),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _texts(chat: Chat, asked: pd.DataFrame) -> list[str]:
    return [answer.text for answer in chat.answer_all(list(asked.sequence), list(asked.question))]
