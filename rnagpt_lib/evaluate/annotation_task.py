"""Stage 1's own task in the ablation: MA writes annotations, as it was trained to.

MA was never asked a question in training, so its answers to questions say little about what
stage 1 taught it. Here its prompt is that of its training (BOS, soft tokens, no text), and the
annotations of RNAs that it has not seen are the references.
"""

import pandas as pd

from rnagpt_lib.chat.decoding import Answer
from rnagpt_lib.chat.generate import load_model
from rnagpt_lib.core import tables
from rnagpt_lib.evaluate import questions
from rnagpt_lib.evaluate.ablation import frame
from rnagpt_lib.evaluate.answer_log import Asking
from rnagpt_lib.runs.run import Run
from rnagpt_lib.train.training_examples import annotation_texts

MODEL = "MA"
KIND = "annotation"


def targets(annotations: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Every RNA's annotation as a row of the table ``pairs``, with an empty question: so that
    whatever asks, answers and scores pairs does it with annotations. ``pair_id`` is the RNA's id.

    Of the source of ``pairs``; an RNA without literature has the text that stage 1 gives it.
    """
    source = pairs["source"].iloc[0]
    own = annotations[annotations["source"] == source]
    cited = own.groupby("rna_id")["article_ids"].agg(lambda ids: sorted(set().union(*ids)))
    rows = (
        {"pair_id": rna_id, "rna_id": rna_id, "source": source, "kind": KIND, "form": "open",
         "question": "", "answer": text, "article_ids": cited.get(rna_id, []),
         "prompt_version": ""}
        for rna_id, text in sorted(annotation_texts(own, pairs).items())
    )  # fmt: skip
    return tables.frame("pairs", rows)


def write_all(
    run: Run, asked: pd.DataFrame, rnas: pd.DataFrame, targets: pd.DataFrame
) -> pd.DataFrame:
    """The contract's ``answers`` of MA and of the floors to ``asked``, the rows of
    ``floors.questions(rnas, targets)`` that count; kept as the answers to questions are."""
    ask = Asking(load_model(run.id, MODEL, run.params.max_new_tokens), run)
    found = [frame(run, asked, MODEL, ask(f"{MODEL}'s annotations", asked.sequence))]
    for name, texts in questions.floor_answers(asked, rnas, targets, run.seed).items():
        found.append(frame(run, asked, name, [Answer(text, 0, "floor") for text in texts]))
    return pd.concat(found, ignore_index=True)
