"""The trainings of 04 and 05 without their notebooks, in as many processes as were started.

    accelerate launch --num_processes 8 -m rnagpt_lib train 05 --profile paper_5k

The steps are the notebook's own. It is opened afterwards with the same parameters, finds the
training done, and reads it.
"""

from collections.abc import Mapping
from datetime import timedelta

import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from rnagpt_lib.core import params as profiles
from rnagpt_lib.core import weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.model.vector_cache import encode_all
from rnagpt_lib.runs.run import Run
from rnagpt_lib.runs.stages import PARENTS, command, is_fresh
from rnagpt_lib.train.loop import train
from rnagpt_lib.train.training_examples import Trees, stage1_sides, stage2_sides, trained_on

TRAININGS = ("04_train_stage1", "05_train_stage2")
PATIENCE = timedelta(days=2)  # while one process encodes the RNAs, the others wait


def train_stage(
    stage: str, *, run: str, profile: str, seed: int, overrides: Mapping[str, object]
) -> pd.DataFrame | None:
    """Train a stage of a run, or go on with it; its log, from the main process alone.

    ``overrides`` as in ``Run.open``, which the main process opens the stage with.
    Raises InputError for a stage that trains nothing, and where ``Run.open`` and ``train`` do.
    """
    if stage not in TRAININGS:
        raise InputError(f"{stage} trains nothing; {' and '.join(TRAININGS)} do")
    machine = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    opened = [None]
    if machine.is_main_process:
        _refuse_missing(stage, run, profile)
        opened = [Run.open(stage, run=run, profile=profile, seed=seed, **overrides)]
        opened[0].show()
        print(f"processes: {machine.num_processes}", flush=True)
    [opened] = broadcast_object_list(opened)
    model, trees = _prepared(opened, machine)
    log = train(model, trees["train"], trees["val"], opened.params, opened.folder, seed=seed)
    return log if machine.is_main_process else None


def _refuse_missing(stage: str, run: str, profile: str) -> None:
    """Notebooks that would first be run here would be run inside of the launched processes, and
    for a run whose name was mistyped."""
    profiles.load(profile)  # refuses one that there is not, for which no command would do
    for parent in PARENTS[stage]:
        if reason := is_fresh(run, parent):
            todo = command(run, parent, profile)
            raise InputError(f"{stage} of run {run} needs {parent}, but {reason}; first {todo}")


def _prepared(run: Run, machine: PartialState) -> tuple[RnaGpt, dict[str, Trees]]:
    """Model and trees of a stage, as its notebook makes them."""
    params = run.params
    rnas, pairs = (run.read("03_decompose_qa", name) for name in ("rnas", "pairs"))
    encoder = Encoder.load(params.encoder, device=str(machine.device))
    used = rnas.loc[rnas["split"] != "test", "sequence"].tolist()
    second = run.stage == "05_train_stage2"
    known = run.parent("04_train_stage1") / ".embeddings" if second else None
    place = "cpu" if params.parallel == "fsdp" else None  # each part is moved when it is cut out
    model = RnaGpt.build(
        Config.of(params, encoder), seed=run.seed, device=place, attention=params.attention
    )
    encoder = model.encoder or encoder
    with machine.main_process_first():
        embeddings = encode_all(encoder, used, run.path(".embeddings"), params.cache, known=known)
    if machine.is_main_process:
        run.use(params.encoder)
        run.use(weights.llm_folder(params.llm))
    if second:
        checkpoint.load_projection(model, run.parent("04_train_stage1"))
        return model, stage2_sides(model, rnas, pairs, embeddings)
    if params.whiten:
        model.projection.whiten(embeddings[s] for s in trained_on(rnas))
    annotations = run.read("02_summarize", "annotations")
    return model, stage1_sides(model, rnas, pairs, annotations, embeddings)
