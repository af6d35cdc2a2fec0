"""Runs whose stages 00 to 05 are finished, made in seconds: offline texts, a tiny model."""

import copy
import json
import shutil
import tempfile
from pathlib import Path

import torch

from rnagpt_lib.core import paths, tables
from rnagpt_lib.curate.questions import qa_rules
from rnagpt_lib.curate.splits import split
from rnagpt_lib.curate.summaries import summarize
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.runs import stages
from rnagpt_lib.runs.run import Run
from tests.support.curated import curated
from tests.support.tiny_model import DIM, write_llm

FIRST, TOPICS, SUMMARIES, LAST, ALIGNED, TUNED = stages.STAGES[:6]
SMALL = {"layers": 1, "embed_dim": DIM, "ffn_embed_dim": 16, "attention_heads": 2,
         "max_positions": 1024, "token_dropout": True, "emb_layer_norm_before": True}  # fmt: skip


KEPT = Path(tempfile.mkdtemp(prefix="rnagpt-finished-"))  # runs that were made before, as they were
_made: dict[str, tuple] = {}


def made(run, *, sources=None, first=None, second=None, last=None, change=None):
    """Stages 00 to 03 of a run; ``change(name, frame)`` may alter tables of 03 unchecked.

    The same run is made once in a process, and copied to whoever asks for it again.
    """
    key = json.dumps([run, sources, first, second, last], default=str)
    files = {"fasta", "table", "articles", "links"}.intersection(first or {})
    if change or files or (paths.runs() / run).exists():
        return _make(run, sources, first, second, last, change)
    place = KEPT / str(len(_made))
    if key not in _made:
        data = _make(run, sources, first, second, last, change)
        shutil.copytree(paths.runs() / run, place, ignore=shutil.ignore_patterns(".locks"))
        _made[key] = place, data
    else:
        place, _ = _made[key]
        shutil.copytree(place, paths.runs() / run)
    return copy.deepcopy(_made[key][1])


def _make(run, sources, first, second, last, change):
    opened = Run.open(FIRST, run=run, **(first or {"world_size": 60}))
    for name in ("fasta", "table", "articles", "links"):
        if path := getattr(opened.params, name):
            opened.use(path)
    data = curated(opened.params, opened.seed, opened.folder)
    if sources:
        opened.path("sources.json").write_text(json.dumps(sources))
    opened.finish()
    Run.open(TOPICS, run=run).finish()
    annotations = _summarized(run, data, second or {})
    _decomposed(run, data, annotations, last or {}, change or (lambda name, frame: frame))
    return data


def _summarized(run, data, parameters):
    opened = Run.open(SUMMARIES, run=run, **parameters)
    offline = opened.params.model_copy(update={"provider": "offline"})
    parts = (data.rnas, data.articles, data.links, tables.frame("topics", []))
    made = summarize.summarize(*parts, offline)
    annotations, dropped = made.annotations, made.dropped
    opened.write("annotations", annotations)
    opened.write("dropped", dropped)
    if opened.params.provider == "openai":
        spent = {"calls": 321, "tokens_in": 45678, "tokens_out": 9876, "dollars": 0.12}
        opened.log_metrics({"calls": {"model": "some-model", **spent}})
    opened.finish()
    return annotations


def _decomposed(run, data, annotations, parameters, change):
    opened = Run.open(LAST, run=run, **parameters)
    rnas = data.rnas.assign(unit=split.units(data.rnas, data.links))
    rnas["split"] = split.split(rnas, opened.params.split)
    offline = opened.params.model_copy(update={"provider": "offline"})
    pairs, dropped, _ = qa_rules.pairs(rnas, annotations, data.articles, data.links, offline)
    for name, frame in {"rnas": rnas, "pairs": pairs, "dropped": dropped}.items():
        change(name, frame).to_parquet(opened.path(f"{name}.parquet"), index=False)
    opened.log_metrics({"near_twin_share": {"random": 0.9, "cluster": 0.0}})
    opened.finish()


def trained(
    run: str, models: Path, train: str = "lora", aligned: dict | None = None, **tuned: object
) -> None:
    """Stages 04 and 05 over a tiny encoder and a tiny LLM, which are made below ``models``;
    ``aligned``, ``tuned``: further parameters of 04 and 05."""
    if not models.is_dir():
        Encoder.fresh(SMALL, seed=0).save(models / "encoder", {})
        write_llm(models / "llm")
    given = {"encoder": str(models / "encoder"), "llm": str(models / "llm"), "recipe": "packed"}
    for seed, (stage, more) in enumerate(
        {ALIGNED: aligned or {}, TUNED: {"train": train, **tuned}}.items()
    ):
        opened = Run.open(stage, run=run, **given, **more)
        encoder = Encoder.load(opened.use(models / "encoder"))
        opened.use(models / "llm")
        model = changed(RnaGpt.build(Config.of(opened.params, encoder), seed=seed))
        for step, loss in ((7, 0.5), (8, 0.6)):  # the best is not the last
            checkpoint.save(model, opened.folder, step, {"plan": "x"}, val_loss=loss)
            changed(model)
        opened.log_metrics({"rnas": 40, "steps": 8, "trained_parameters": 123})
        opened.finish()


def changed(model: RnaGpt) -> RnaGpt:
    """Every part that trains moved, so that each of them counts."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model
