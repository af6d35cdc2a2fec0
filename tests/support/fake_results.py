"""A finished 06 in a run's folder, made from a seed: for tests of reports and figures."""

import functools
import json

import numpy as np
import pandas as pd

from rnagpt_lib.core import bootstrap, tables
from rnagpt_lib.evaluate import leakage
from rnagpt_lib.evaluate.ablation import comparisons
from rnagpt_lib.evaluate.results import CONTROLS, FLOORS
from rnagpt_lib.runs.stages import MODELS, stage_folder

SKILL = {"IT": 0.8, "MA": 0.3, "floor.nearest": 0.5, "floor.most_common": 0.25, "it.text": 0.7}
SEEDS = {"IT": 3, "it.text": 3, "it.blind": 1}  # trainings; of all others one
METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum", "S_MiniLM.precision", "S_MiniLM.recall")
METRICS += ("S_MiniLM.f1",)
SCORED = ("answers", "samples", "scores", "differences", "trainings")
TYPED = "The RNA is of the type {}."
KINDS = ("rna_type", "family", "local", "literature")


def write(run: str, seed: int = 0) -> None:
    """06's ``answers``, ``samples``, ``scores``, ``differences``,
    ``leakage``, ``minimal_pairs`` and ``metrics.json``, 03's ``rnas`` and ``pairs``, and both trainings' steps."""
    folder = stage_folder(run, "06_ablations")
    frames = {
        name: frame.assign(run=run) if "run" in frame else frame
        for name, frame in _frames(seed).items()
    }
    for stage, names in {"06_ablations": SCORED, "03_decompose_qa": ("rnas", "pairs")}.items():
        stage_folder(run, stage).mkdir(parents=True)
        for name in names:
            tables.write(stage_folder(run, stage) / f"{name}.parquet", name, frames[name])
    _minimal().to_parquet(folder / "minimal_pairs.parquet")
    _by_split(seed).to_parquet(folder / leakage.FILE)
    pairs = {"n": 40, "followed": 0.925, "followed_low": 0.84, "followed_high": 1.0,
             "flipped": 0.05, "flipped_low": 0.0, "flipped_high": 0.12,
             "by_type": {"tRNA": 0.975}}  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps({"minimal_pairs": pairs}))
    for stage in ("04_train_stage1", "05_train_stage2"):
        steps = [{"step": s, "epoch": s // 20, "loss": 3 / (1 + s / 9), "lr": min(s, 9) / 9e3}
                 | ({"val_loss": 3.2 / (1 + s / 10)} if s % 20 == 19 else {})
                 for s in range(100)]  # fmt: skip
        stage_folder(run, stage).mkdir(parents=True)
        lines = "\n".join(json.dumps(step) for step in steps)
        (stage_folder(run, stage) / "steps.jsonl").write_text(lines + "\n")


def _minimal() -> pd.DataFrame:
    """40 pairs, of which IT follows 37 and flips 2; a training of it.text follows one in four."""
    order = range(40)
    one = pd.DataFrame({"relation": [("isotype", "target")[i % 2] for i in order],
                        "rna_id": [f"Z{i}" for i in order],
                        "rna_type": [("tRNA", "pre_miRNA")[i % 2] for i in order],
                        "followed": [i < 37 for i in order],
                        "flipped": [i < 2 for i in order],
                        "model": "IT", "seed": 0})  # fmt: skip
    fourth = [i % 4 == 0 for i in order]
    return pd.concat([one, one.assign(model="it.text", seed=1, followed=fourth)])


@functools.cache
def _by_split(seed: int) -> pd.DataFrame:
    samples = _rows(np.random.default_rng(seed))[1]
    tax = leakage.compared({"cluster": samples}, 50, seed)
    anew = samples[samples.model == leakage.FLOOR]
    copied = leakage.compared(dict.fromkeys(leakage.SPLITS, anew), 50, seed)
    parts = {"finished runs": tax, "split anew": copied, "miniature runs": tax[tax.model == "IT"]}
    return pd.concat([rows.assign(of=of) for of, rows in parts.items()], ignore_index=True)


@functools.cache
def _frames(seed: int) -> dict[str, pd.DataFrame]:
    answers, samples, asked = _rows(np.random.default_rng(seed))
    ids = dict.fromkeys([*samples.metric.unique(), "fact.all"], "fake")
    return {
        "rnas": _rnas(answers.rna_id.unique()),
        "pairs": _pairs(answers),
        "answers": answers,
        "samples": samples,
        "scores": bootstrap.score_table(samples, asked, ids, 50, seed),
        "differences": bootstrap.differences(samples, asked, comparisons(), 50, seed),
        "trainings": bootstrap.by_training(samples, asked),
    }


def _rnas(ids) -> pd.DataFrame:
    texts = dict.fromkeys(("rna_type", "species", "taxid", "family", "description", "unit"), "")
    return tables.frame("rnas", ({"rna_id": i, "sequence": "ACGU", "length": 4, "split": "test"}
                                 | texts for i in ids))  # fmt: skip


def _pairs(answers: pd.DataFrame) -> pd.DataFrame:
    asked = answers.drop_duplicates("pair_id").rename(columns={"reference": "answer"})
    questions = {"rna_type": "What type of RNA is the RNA?"}
    return asked.assign(
        question=[questions.get(kind, f"What of {kind}?") for kind in asked.kind],
        article_ids=[[] for _ in range(len(asked))],
        prompt_version="fake",
    )[[*tables.COLUMNS["pairs"]]]


def _rows(rng) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    answers, samples, asked = [], [], []
    for i in range(160):
        kind, stratum = KINDS[i % 4], "held_out" if i % 8 < 2 else "seen"
        pair, unit = f"P{i:03d}", f"U{i // 8:02d}"
        asked.append({"pair_id": pair, "unit": unit, "stratum": stratum, "reference": "x"})
        models = (*MODELS, *FLOORS, *CONTROLS, "it.text", "it.blind")
        for model, training in ((m, s) for m in models for s in range(SEEDS.get(m, 1))):
            key = {"run": "fake", "source": "dnc", "model": model, "seed": training, "pair_id": pair,
                   "rna_id": f"R{i // 4}", "unit": unit, "kind": kind, "form": "open"}  # fmt: skip
            skill = SKILL.get(model, 0.15)
            told = TYPED.format(("tRNA", "rRNA")[i % 3 == 0]) if kind == "rna_type" else "x"
            answers.append(key | {"prediction": "The RNA is | a tRNA.", "reference": told,
                                  "n_tokens": 6, "stop_reason": "eos"})  # fmt: skip
            metrics = METRICS if model in MODELS else ("rouge1", "rougeL", "S_MiniLM.f1")
            values = {m: float(np.clip(rng.normal(skill, 0.1), 0, 1)) for m in metrics}
            values |= {f"fact.{kind}": float(rng.random() < skill)}
            samples += [key | {"metric": m, "value": v} for m, v in values.items()]
    return pd.DataFrame(answers), pd.DataFrame(samples), pd.DataFrame(asked)
