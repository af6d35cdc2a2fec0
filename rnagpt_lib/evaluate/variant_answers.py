"""What a training of ``variants`` answers to the questions of notebook 06.

The answers are kept beside its manifest. Of a published run these two are there and the weights
are not, and its notebook 06 can be run again all the same.
"""

from pathlib import Path

import pandas as pd

from rnagpt_lib.chat.decoding import Answer
from rnagpt_lib.chat.generate import Chat, chat_of
from rnagpt_lib.core import paths
from rnagpt_lib.core.files import replacing
from rnagpt_lib.evaluate.answer_log import Asking
from rnagpt_lib.model import checkpoint
from rnagpt_lib.runs.run import Run
from rnagpt_lib.runs.stages import MANIFEST
from rnagpt_lib.train.ablation_trainings import Training

FILE, MINIMAL = "answers.parquet", "minimal_pairs.parquet"
COLUMNS = ["pair_id", "prediction", "n_tokens", "stop_reason"]


def of(training: Training, run: Run, asked: pd.DataFrame, file: str = FILE) -> list[Answer] | None:
    """The answers of a finished training to ``asked`` (pair_id, sequence, question): of its model,
    or those kept in ``file`` where the weights are not here. None, and a line that says why, where
    neither can be had."""
    run.use(training.folder / MANIFEST)
    kept, most = training.folder / file, run.params.max_new_tokens
    if training.has_weights():
        ask = Asking(load(training, most), run)
        label = training.folder.name if file == FILE else f"{training.folder.name}, {kept.stem}"
        found = ask(label, asked.sequence, asked.question)
        _write(kept, asked, found)
        return found
    name, lacks = paths.shown(training.folder), "its weights are not here"
    if not kept.is_file():
        print(f"{name}: trained, but {lacks}, nor is {file}")
        return None
    found = _read(kept, asked, most)
    if found is None:
        print(f"{name}: {lacks}, and {file} is of other questions or of answers cut elsewhere")
        return None
    run.use(kept)
    print(f"{name}: {lacks}; its answers are those of {file}")
    return found


def load(training: Training, max_new_tokens: int = 256) -> Chat:
    """A finished training's model, ready to be asked."""
    best = checkpoint.find(training.folder)
    # its encoder is where it is now, if the run's folder was moved
    return chat_of(training.name, best, max_new_tokens, encoder=training.encoder)


def _write(path: Path, asked: pd.DataFrame, found: list[Answer]) -> None:
    table = pd.DataFrame(
        [(p, a.text, a.n_tokens, a.stop_reason) for p, a in zip(asked.pair_id, found, strict=True)],
        columns=COLUMNS,
    )
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)


def _read(path: Path, asked: pd.DataFrame, most: int) -> list[Answer] | None:
    """None where a question is missing, or where ``most`` tokens would have cut otherwise.

    A question's id is enough: the training is of the run's own tables (``Training.is_finished``),
    and the id of a minimal pair's is made of what is asked.
    """
    table = pd.read_parquet(path, columns=COLUMNS).drop_duplicates("pair_id").set_index("pair_id")
    if not asked.pair_id.isin(table.index).all():
        return None
    table = table.loc[asked.pair_id]
    cut = table.n_tokens[table.stop_reason == "length"]
    if (table.n_tokens > most).any() or (cut != most).any():
        return None
    return [
        Answer(row.prediction, int(row.n_tokens), row.stop_reason) for row in table.itertuples()
    ]
