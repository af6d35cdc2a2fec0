"""Quality against time: batch 1, packed, and accumulation pair by pair, on the miniature world.

Stage 2 is trained from one stage 1 in three ways that see the same pairs with the same schedule,
each on one thread: ``batch 1`` (the paper's recipe), ``packed`` (a step is one RNA with all its
pairs, in one pass) and ``accumulation`` (the same steps as packed, a pass for each pair). Each
way has the learning rate of ``RATES`` whose lowest validation loss is the lowest; accumulation is
packed's trajectory, and so takes packed's, as does ``packed longer``: more epochs, for about half
of the time that batch 1 takes. Points along the chosen trainings are scored as in
notebook 06. All is kept under ``runs/trajectories``; a campaign that was killed goes on.
"""

import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
from peft import PeftModel
from torch import Tensor

from benchmarks._page import page_of, publish
from benchmarks.science import _trajectories
from rnagpt_lib.chat.decoding import answer_all
from rnagpt_lib.core import bootstrap, paths, tables
from rnagpt_lib.core import params as profiles
from rnagpt_lib.core.files import digest, read_json, write_json
from rnagpt_lib.core.params import Ablations, Stage2
from rnagpt_lib.evaluate import ablation, questions
from rnagpt_lib.evaluate.leakage import read_before
from rnagpt_lib.model import checkpoint as checkpoints
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.packing import Tree
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.model.vector_cache import encode_all
from rnagpt_lib.report import figures, readme
from rnagpt_lib.runs import notebooks
from rnagpt_lib.runs.stages import STAGES, stage_folder, stage_hash
from rnagpt_lib.train import loop
from rnagpt_lib.train.loop import Trainer
from rnagpt_lib.train.training_examples import Examples, stage2_examples
from rnagpt_lib.train.visit_order import Step, steps_per_epoch

RESULTS = figures.TRAJECTORIES
PAGE = page_of("trajectories")
RUN, SEED = "trajectories", 0
RATES = (3e-4, 1e-3, 3e-3, 1e-2)  # around the peak of the profile `mini`
FINAL = 1 / 6  # of the peak: where the schedule of `mini` ends
EPOCHS, POINTS = 3, 12
LONGER = 5 / 3  # times the epochs, which take about half of the time of batch 1
SHARED = {"epochs": EPOCHS, "pairs_per_visit": 0, "rnas_per_step": 1, "keep": POINTS}


class Clocked(Trainer):
    """Notes the processor's time as well: other work on the machine stretches the wall's."""

    def update(self, trees: Examples, step: Step, rate: float) -> dict:
        began = time.process_time()
        row = super().update(trees, step, rate)
        return row | {"cpu_seconds": round(time.process_time() - began, 4)}


class Accumulating(Clocked):
    """The same step with a pass for each pair: the RNA is read again at every question."""

    def _loss(
        self, trees: Sequence[Tree], pairs: int, spare: Callable[[], Tree], *, backward: bool
    ) -> tuple[float, float]:
        if not backward:
            return super()._loss(trees, pairs, spare, backward=False)
        loss, tokens = 0.0, 0.0
        for single in [tree.only([i]) for tree in trees for i in range(len(tree.branches))]:
            own = super()._loss([single], pairs, spare, backward=True)
            loss, tokens = loss + own[0], tokens + own[1]
        return loss, tokens


MODES: dict[str, tuple[str, type[Trainer], float]] = {  # recipe, trainer, times the epochs
    "packed": ("packed", Clocked, 1),
    "packed longer": ("packed", Clocked, LONGER),
    "accumulation": ("packed", Accumulating, 1),
    "batch 1": ("paper", Clocked, 1),
}
OF_PACKED = ("packed longer", "accumulation")  # take its learning rate


@dataclass(frozen=True)
class Ground:
    """What all trainings share: where they are kept, the model that stage 1 left (``build``
    makes it anew), the trees of both sides, and the test questions with all that scores them."""

    folder: Path
    params: Stage2
    build: Callable[[], RnaGpt]
    trees: Mapping[str, Examples]
    asked: pd.DataFrame
    pairs: pd.DataFrame
    embeddings: Mapping[str, Tensor]
    scoring: Ablations


def main() -> None:
    """Run notebooks 00 to 04 where they are needed, then all trainings; write the points."""
    torch.set_num_threads(1)
    notebooks.run_path(STAGES[:5], run=RUN, profile="mini")
    about = {
        "machine": f"{platform.machine()}, 1 of {os.cpu_count()} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__.partition('+')[0]}",
        "date": datetime.now(UTC).date().isoformat(),
        "epochs": EPOCHS,
    }
    write_json(RESULTS, about | {"points": campaign(miniature())})
    publish(PAGE, "trajectories", render())


def render() -> str:
    """The block of the page, from the kept results alone."""
    measured = _trajectories.load()
    if measured is None:
        return "Not measured yet."
    said = "\n".join(f"- {sentence}" for sentence in _trajectories.findings(measured))
    return f"Measured on {measured.where}.\n\n{readme.markdown(_table(measured))}\n\n{said}"


def _table(measured: _trajectories.Measured) -> pd.DataFrame:
    """One row for each training: what it took, the lowest validation loss, the score at its end."""
    rows = []
    for (mode, rate), own in measured.points.groupby(["mode", "learning_rate"]):
        last = own.iloc[-1]
        rows.append({
            "training": f"{mode} at {rate:g}",
            "wall time, s": f"{last['seconds']:,.0f}",
            "processor, s": f"{last['cpu_seconds']:,.0f}",
            "lowest validation loss": f"{own['val_loss'].min():.3f}",
            "fact.all at the end": _trajectories.bounded(last) if last["chosen"] else "–",
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("training")


def miniature() -> Ground:
    """The miniature world after stage 1, its questions chosen as in notebook 06."""
    mini = profiles.load("mini")
    params = mini.stage("05_train_stage2", **SHARED)
    folder = stage_folder(RUN, "03_decompose_qa")
    rnas, pairs = (tables.read(folder / f"{name}.parquet", name) for name in ("rnas", "pairs"))
    encoder = Encoder.load(params.encoder)
    kept = paths.runs() / RUN / ".trainings"
    embeddings = encode_all(encoder, rnas["sequence"].tolist(), kept)
    made_of = digest([stage_hash(RUN, stage) for stage in ("03_decompose_qa", "04_train_stage1")])
    asked = questions.questions(rnas, pairs)
    read = asked["unit"].isin(rnas.loc[read_before(rnas), "unit"])

    def build() -> RnaGpt:
        model = RnaGpt.build(Config.of(params, encoder), seed=SEED)
        checkpoints.load_projection(model, stage_folder(RUN, "04_train_stage1"))
        return model

    sides = {side: rnas[rnas["split"] == side] for side in ("train", "val")}
    model = build()
    trees = {side: stage2_examples(model, own, pairs, embeddings) for side, own in sides.items()}
    scoring = mini.stage("06_ablations")
    return Ground(
        kept / made_of[:8], params, build, trees, asked[~read], pairs, embeddings, scoring
    )


def campaign(ground: Ground) -> list[dict]:
    """The points of all trainings; those of the rate that its mode chose have scores."""
    rows, best = [], {}
    for mode in MODES:
        rates = [best["packed"]] if mode in OF_PACKED else RATES
        logs = {rate: trained(ground, mode, rate) for rate in rates}
        best[mode] = min(rates, key=lambda rate: logs[rate]["val_loss"].min())
        for rate, log in logs.items():
            rows += _points(ground, mode, rate, log, chosen=rate == best[mode])
    return rows


def trained(ground: Ground, mode: str, rate: float) -> pd.DataFrame:
    """The log of one training, which is done, or goes on, where it is not there whole."""
    recipe, trainer, times = MODES[mode]
    own = {"recipe": recipe, "epochs": round(ground.params.epochs * times)}
    own |= {"learning_rate": rate, "final_rate": rate * FINAL}
    params = ground.params.model_copy(update=own)
    steps = steps_per_epoch(ground.trees["train"], params) * params.epochs
    params = params.model_copy(update={"validate_every": math.ceil(steps / POINTS)})
    folder = _folder(ground, mode, rate)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{mode} at {rate:g}: {steps} steps", flush=True)
    with patch.object(loop, "Trainer", trainer):
        return loop.train(
            ground.build(), ground.trees["train"], ground.trees["val"], params, folder, seed=SEED
        )


def score(ground: Ground, mode: str, checkpoint: Path) -> dict:
    """``fact.all`` of a checkpoint with its bounds, as in notebook 06; kept beside it."""
    kept = checkpoint.parent.parent / "scores" / f"{checkpoint.name}.json"
    if not kept.is_file():
        print(f"{mode}: {checkpoint.name} answers", flush=True)
        kept.parent.mkdir(exist_ok=True)
        write_json(kept, _fact_all(ground, _answered(ground, mode, checkpoint)))
    return read_json(kept)


def _answered(ground: Ground, mode: str, checkpoint: Path) -> pd.DataFrame:
    """The checkpoint's answers to the questions that ``fact.all`` is about."""
    asked, model = ground.asked, ground.build()
    checkpoints.restore(model, checkpoint)
    if isinstance(model.llm, PeftModel):
        model.llm.merge_adapter()  # the same function, with half of the matrix products
    open_ones = (asked["form"] == "open") & asked["kind"].isin(bootstrap.OVERALL)
    asked = asked[open_ones & asked["decidable"]]
    read = {sequence: ground.embeddings[sequence] for sequence in asked["sequence"].unique()}
    replies = answer_all(
        model,
        [read[sequence] for sequence in asked["sequence"]],
        list(asked["question"]),
        max_new_tokens=ground.scoring.max_new_tokens,
        batch_size=ground.scoring.batch_size,
    )
    texts = [reply.text for reply in replies]
    return asked.assign(run=RUN, model=mode, seed=SEED, prediction=texts)


def _fact_all(ground: Ground, answered: pd.DataFrame) -> dict:
    samples, ids, _ = ablation.score(answered, ground.asked, ground.pairs, semantic=())
    facts = samples[samples["metric"].isin([f"fact.{kind}" for kind in bootstrap.OVERALL])]
    table = bootstrap.score_table(facts, ground.asked, ids, ground.scoring.bootstrap, SEED)
    everything = (table[["kind", "form", "stratum"]] == bootstrap.ALL).all(axis=1)
    row = table[everything & (table["metric"] == "fact.all")].iloc[0]
    values = {name: round(float(row[name]), 4) for name in ("low", "high")}
    return {"fact_all": round(float(row["value"]), 4), **values, "questions": int(row["n"])}


def _points(ground: Ground, mode: str, rate: float, log: pd.DataFrame, chosen: bool) -> list[dict]:
    """A row for each validation of a training: what it took so far, and what it had reached."""
    taken = log[["pairs", "seconds", "cpu_seconds"]].cumsum().round(2)
    log = log[["step", "val_loss"]].join(taken).dropna()
    rows = log.assign(mode=mode, learning_rate=rate, chosen=chosen).to_dict("records")
    if not chosen:
        return rows
    made = _folder(ground, mode, rate) / "checkpoints"
    return [row | score(ground, mode, made / f"step-{row['step']:08d}") for row in rows]


def _folder(ground: Ground, mode: str, rate: float) -> Path:
    return ground.folder / f"{mode.replace(' ', '-')}-{rate:g}"
