"""How many questions it takes until an answer follows one nucleotide.

IT of the reference run follows the nucleotides that decide some kinds of local facts, and hardly
those of others. ``python -m benchmarks local_facts`` lets its training go on with nothing but such
facts: one open question about each of many RNAs, which no model has read and of which no two are
of one lineage, as many of every type. Along the way the minimal pairs of notebook 06 are asked.
An hour on one quiet core; a campaign that was killed goes on (``runs/local_facts``).
"""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from benchmarks._page import page_of, publish, results_of, where
from benchmarks.science.nrc_asking import START, begun
from rnagpt_lib.chat.decoding import Answer, answer_all
from rnagpt_lib.core import paths, tables
from rnagpt_lib.core.files import digest, read_json, write_json
from rnagpt_lib.core.params import Stage2
from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.evaluate import ablation, fact_scores
from rnagpt_lib.miniature.rules import RULES, families, read_local
from rnagpt_lib.miniature.sequences import member
from rnagpt_lib.miniature.world import minimal_pairs
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.model.vector_cache import encode_all
from rnagpt_lib.report import readme
from rnagpt_lib.runs.stages import PARAMS
from rnagpt_lib.train.loop import train
from rnagpt_lib.train.step_log import read_log
from rnagpt_lib.train.training_examples import Examples, stage2_examples
from rnagpt_lib.train.visit_order import steps_per_epoch

RESULTS = results_of("local_facts")
PAGE = page_of("local_facts")
SEED = 0
DATA = START.parent / "03_decompose_qa"
EACH = 12_000  # RNAs of every type with a local rule
WATCHED = 60  # more of each, whose loss is looked at
MINIMAL = 1000
POINTS = 8
OWN = {"epochs": 1, "warmup_steps": 400, "rnas_per_step": 8, "pairs_per_visit": 0, "keep": POINTS}
AIM = 0.95  # of minimal pairs followed


def main() -> None:
    """Train, or go on, ask at every point; write the results and the page."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        write_json(RESULTS, measure(paths.runs() / "local_facts"))
    finally:
        torch.set_num_threads(threads)
    publish(PAGE, "local_facts", render())


def measure(folder: Path) -> dict:
    """The campaign in ``folder``: what each point had seen and how many pairs it follows."""
    params = settings()
    model = begun(params, SEED)
    sides = {"train": rnas_of_types(EACH, "train"), "val": rnas_of_types(WATCHED, "val")}
    trees = {side: _trees(model, rnas) for side, rnas in sides.items()}
    steps = steps_per_epoch(trees["train"], params)
    params = params.model_copy(update={"validate_every": math.ceil(steps / POINTS)})
    folder = folder / _made_of(params)
    folder.mkdir(parents=True, exist_ok=True)
    first = _followed(model, folder / "scores" / "start.json")
    print(f"{paths.shown(folder)}: {steps:,} steps", flush=True)
    log = train(model, trees["train"], trees["val"], params, folder, seed=SEED)
    return {
        "where": where(),
        "asked_before": _asked_before(),
        "points": [{"asked": 0, "minutes": 0.0} | first, *_points(model, log, folder)],
    }


def settings() -> Stage2:
    """Those that IT was trained with, but for ``OWN``."""
    own = read_json(START / PARAMS)["params"] | OWN
    return Stage2.model_validate(own)


def rnas_of_types(each: int, name: str) -> pd.DataFrame:
    """``each`` RNAs of every type with a local rule, each of a lineage of its own: rna_id,
    rna_type, sequence, entity. ``name`` sets tables apart from one another."""
    rows, seen = [], set()
    for rna_type in RULES:
        own = [f for f in families() if f.rna_type == rna_type and not f.held_out]
        for number in range(each):
            rng = random.Random(f"local facts/{name}/{rna_type}/{number}")
            sequence = ""
            while not sequence or sequence in seen:
                key = f"local facts/{name}/{number}/{rng.random()}"
                sequence = member(rng.choice(own), key, rng)
            seen.add(sequence)
            entity = read_local(sequence, rna_type)
            rows.append((f"{rna_type}-{name}-{number}", rna_type, sequence, entity))
    return pd.DataFrame(rows, columns=["rna_id", "rna_type", "sequence", "entity"])


def _trees(model: RnaGpt, rnas: pd.DataFrame) -> Examples:
    """One open question about each RNA, in either wording, with the answer of its template."""
    pairs = pd.DataFrame(
        [_pair(row, number) for number, row in enumerate(rnas.itertuples())],
        columns=["rna_id", "kind", "question", "answer"],
    )
    encoder = checkpoint.load_encoder(model)
    vectors = encode_all(encoder, rnas["sequence"].tolist(), Path(), "live")
    return stage2_examples(model, rnas, pairs, vectors)


def _pair(rna: NamedTuple, number: int) -> tuple[str, str, str, str]:
    relation = RELATIONS[RULES[rna.rna_type].relation]
    question = relation.questions[number % len(relation.questions)]
    return rna.rna_id, relation.kind, question, relation.say([rna.entity])


def _points(model: RnaGpt, log: pd.DataFrame, folder: Path) -> list[dict]:
    taken = log[["pairs", "seconds"]].cumsum()
    rows = []
    for row in log[["step", "val_loss"]].join(taken).dropna().itertuples():
        name = f"step-{row.step:08d}"
        checkpoint.restore(model, folder / "checkpoints" / name)
        told = {"asked": int(row.pairs) // len(RULES), "minutes": round(row.seconds / 60, 1)}
        told |= {"val_loss": round(float(row.val_loss), 4)}
        rows.append(told | _followed(model, folder / "scores" / f"{name}.json"))
    return rows


def _followed(model: RnaGpt, kept: Path) -> dict:
    """The shares of `ablation.shares`; kept in a file."""
    if not kept.is_file():
        pairs = tables.read(DATA / "pairs.parquet", "pairs")
        minimal = minimal_pairs(MINIMAL, SEED)
        asked = ablation.probe_questions(minimal)
        said = _said(model, asked.sequence, asked.question)
        shares = ablation.shares(ablation.follow(minimal, said, fact_scores.lexicon(pairs)))
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, shares)
        print(f"{kept.stem}: {shares['followed']:.1%} followed", flush=True)
    return read_json(kept)


def _said(model: RnaGpt, sequences: Sequence[str], questions: Sequence[str]) -> list[Answer]:
    """Answers of a model that is in training."""
    vectors = checkpoint.load_encoder(model).encode(list(sequences))
    return answer_all(model, vectors, list(questions), max_new_tokens=64)


def _asked_before() -> dict[str, dict[str, int]]:
    """RNAs of each type that IT's own training asked an open local question about, and how often
    it had asked these where its checkpoint was taken."""
    rnas, pairs = (tables.read(DATA / f"{name}.parquet", name) for name in ("rnas", "pairs"))
    local = pairs[(pairs["kind"] == "local") & (pairs["form"] == "open")]
    trained = rnas[rnas["split"] == "train"].merge(local, on="rna_id")
    log = read_log(START)
    step = int(checkpoint.find(START).name.removeprefix("step-"))
    epochs = int(log.loc[log["step"] == step, "epoch"].iloc[0])  # it is taken at an epoch's end
    counts = trained.groupby("rna_type").size()
    return {t: {"RNAs": int(n), "questions": int(n) * epochs} for t, n in counts.items()}


def _made_of(params: Stage2) -> str:
    """Hash of all that decides the campaign."""
    start = checkpoint.identity(checkpoint.find(START))
    return digest([start, params.key(), EACH, WATCHED, MINIMAL, SEED])[:12]


# --- the page


def render() -> str:
    """The block of the page, from the kept results alone."""
    found = read_json(RESULTS)
    if not found:
        return "Not measured yet."
    points = found["points"]
    return "\n\n".join([
        f"Measured on {found['where']}; {points[-1]['minutes']:.0f} minutes of training.",
        readme.markdown(_table(points)),
        "\n".join(f"- {sentence}" for sentence in _findings(found)),
    ])  # fmt: skip


def _table(points: Sequence[dict]) -> pd.DataFrame:
    """One row for each point: questions asked of every type, shares followed, flipped."""
    rows = {}
    for point in points:
        row = {name: f"{share:.0%}" for name, share in point["by_type"].items()}
        row["all"] = _bounded(point, "followed")
        row["flipped"] = _bounded(point, "flipped")
        rows[f"{point['asked']:,}"] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("questions of each type")


def _bounded(point: dict, name: str) -> str:
    return f"{point[name]:.1%} [{point[f'{name}_low']:.1%}, {point[f'{name}_high']:.1%}]"


def _findings(found: dict) -> list[str]:
    points = found["points"]
    last = points[-1]
    own = "; ".join(
        f"{name} {seen['questions']:,} about {seen['RNAs']:,} RNAs"
        for name, seen in found["asked_before"].items()
    )
    return [
        f"IT's own training had asked open local questions, each RNA's once an epoch: {own}. "
        f"Here every question is about another RNA.",
        *(_reached(points, name) for name in last["by_type"]),
        f"All at the end: followed {_bounded(last, 'followed')}; a neutral change flips "
        f"{_bounded(last, 'flipped')}.",
    ]


def _reached(points: Sequence[dict], name: str) -> str:
    """From where on a type stays at or above the aim."""
    shares = [point["by_type"][name] for point in points]
    below = [number for number, share in enumerate(shares) if share < AIM]
    if not below:
        return f"{name}: at or above {AIM:.0%} from the start, {shares[-1]:.0%} at the end."
    if below[-1] == len(points) - 1:
        return f"{name}: below {AIM:.0%} at the end, {shares[-1]:.0%}."
    asked = points[below[-1] + 1]["asked"]
    return f"{name}: at or above {AIM:.0%} from {asked:,} questions more on, {shares[-1]:.0%} at the end."
