"""The leakage tax: what a score owes to relatives of the test RNAs in the training set.

A split by row leaves relatives on both sides, one by units (``cluster``) parts them, one by whole
families parts distant ones, too. The tax is the difference between two splits, of trained models
where runs of both are finished, and of the floor that copies the nearest training RNA's answer at
once: what any memoriser gains. The splits have other test RNAs, so differences are unpaired.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rnagpt_lib.core import tables
from rnagpt_lib.core.bootstrap import OUTER, OVERALL, Bootstrap
from rnagpt_lib.core.files import read_json
from rnagpt_lib.curate.splits import split as units
from rnagpt_lib.curate.splits.relatives import similar
from rnagpt_lib.evaluate import fact_scores, questions, rouge
from rnagpt_lib.evaluate.results import Results, split_of
from rnagpt_lib.miniature import world
from rnagpt_lib.miniature.world import POOL, POOL_RNAS, POOL_SEED, RUN_SIZE, WORLD_IDS

SPLITS = ("random", "cluster", "family")
TAXES = (("random", "cluster"), ("cluster", "family"))
METRICS = ("fact.all", "fact.rna_type", "fact.local", "rougeL")
FLOOR = "floor.nearest"
FILE = "leakage.parquet"
OF_RUNS, ANEW, MINIATURES = "finished runs", "split anew", "miniature runs"
MODELS = ("IT", FLOOR)
COPIED = 5000  # questions of each split that the floor answers at most, drawn by the seed


def of_runs(many: Sequence[Results]) -> dict[str, Results]:
    """Split → the first of the runs that was made with it, among those of the first one's source
    of annotations, so that nothing but the split differs."""
    found: dict[str, Results] = {}
    for results in many:
        if results.source == many[0].source:
            found.setdefault(split_of(results.run), results)
    return {split: found[split] for split in SPLITS if split in found}


def missing(found: Mapping[str, Results], run: str) -> list[str]:
    """A sentence for each split without a finished run: what to run for it."""
    return [
        f"No finished run with SPLIT {split} is named, so its column is empty: rnagpt demo --run "
        f"{run}-{split} -p SPLIT {split}, with this run's other options, makes it; name it in RUNS."
        for split in SPLITS
        if split not in found
    ]


def scored(found: Mapping[str, Results], n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """`compared` of IT and the floor in finished runs, by their files; of each run's own training,
    whatever other seeds stand beside it."""
    samples = {s: tables.read(r.folder / "samples.parquet", "samples") for s, r in found.items()}
    first = ["model", "pair_id", "metric"]
    return compared({s: own.drop_duplicates(first) for s, own in samples.items()}, n, seed)


def copied(
    rnas: pd.DataFrame,
    pairs: pd.DataFrame,
    *,
    val_share: float = 0.1,
    test_share: float = 0.2,
    n: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """`compared` of the floor alone, each split drawn anew over all RNAs of 03; trains nothing.

    No RNA has a preset side here, so that the splits differ in nothing but what stays together.
    A split that leaves a side without questions (one family alone) is left out.
    """
    shares = {"val_share": val_share, "test_share": test_share}
    known, samples = fact_scores.lexicon(pairs), {}
    for how in SPLITS:
        side = units.split(rnas.assign(split=""), how, seed=seed, **shares)
        if {"test", "train"} <= set(side[rnas.rna_id.isin(pairs.rna_id)]):
            samples[how] = _copied(rnas.assign(split=side), pairs, known, seed)
    return compared(samples, n, seed)


def measured(path: Path) -> pd.DataFrame:
    """`compared` of IT in the three miniature runs of ``benchmarks/leakage.py``, from its results;
    empty where these are not there."""
    rows = pd.DataFrame(read_json(path).get("rows", []))
    return rows[rows["model"] == MODELS[0]].reset_index(drop=True) if len(rows) else rows


def together(tax: pd.DataFrame, anew: pd.DataFrame, miniatures: pd.DataFrame) -> pd.DataFrame:
    """The contents of `FILE`: `scored`, `copied` and `measured`, told apart by the column ``of``."""
    parts = {OF_RUNS: tax, ANEW: anew, MINIATURES: miniatures}
    return pd.concat([rows.assign(of=of) for of, rows in parts.items()], ignore_index=True)


def _copied(
    rnas: pd.DataFrame, pairs: pd.DataFrame, known: dict[str, list[str]], seed: int
) -> pd.DataFrame:
    """The floor's samples: model, unit, metric, value."""
    of_test = pairs[pairs.rna_id.isin(rnas[rnas.split == "test"].rna_id)]
    chosen = of_test.sample(min(len(of_test), COPIED), random_state=seed)
    asked = questions.questions(rnas, chosen)
    given = questions.floor_answers(asked, rnas, pairs, seed)[FLOOR]
    rows = zip(asked.itertuples(), given, strict=True)
    facts = [
        (row.unit, *fact) for row, text in rows if (fact := fact_scores.fact(row, text, known))
    ]
    overlap = rouge.score(given, list(asked.reference)).rougeL
    more = [(unit, "rougeL", value) for unit, value in zip(asked.unit, overlap, strict=True)]
    return pd.DataFrame(facts + more, columns=["unit", "metric", "value"]).assign(model=FLOOR)


def compared(samples: Mapping[str, pd.DataFrame], n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Scores by split and their differences, with 95 % bounds over units.

    ``samples``: of each split at hand, with the columns model, unit, metric and value. Columns:
    model, metric, what (a split, or ``"random − cluster"``), value, low, high, n (answers; of a
    difference the smaller number). Units are drawn apart in each split.
    """
    found, rows = {}, []
    for number, split in enumerate(SPLITS):
        if split in samples:
            draws = Bootstrap(samples[split].unit, n, (seed, number))
            found[split] = _means(samples[split], draws)
    for model in MODELS:
        for metric in METRICS:
            of = {split: means[model, metric] for split, means in found.items()
                  if (model, metric) in means}  # fmt: skip
            rows += [(model, metric, split, *_bounded(*mean)) for split, mean in of.items()]
            for a, b in TAXES:
                if a in of and b in of:
                    less = (of[a][0] - of[b][0], of[a][1] - of[b][1], min(of[a][2], of[b][2]))
                    rows.append((model, metric, f"{a} − {b}", *_bounded(*less)))
    return pd.DataFrame(rows, columns=["model", "metric", "what", "value", "low", "high", "n"])


def _means(samples: pd.DataFrame, draws: Bootstrap) -> dict[tuple[str, str], tuple]:
    """(model, metric) → mean, means of the draws, and the number of answers."""
    overall = samples[samples.metric.isin([f"fact.{kind}" for kind in OVERALL])]
    table = pd.concat([samples, overall.assign(metric="fact.all")])
    table = table[table.model.isin(MODELS) & table.metric.isin(METRICS)]
    groups = table.groupby(["model", "metric"])
    return {key: (*draws.means(own.value, own.unit), len(own)) for key, own in groups}


def _bounded(mean: float, drawn: np.ma.MaskedArray, n: int) -> tuple[float, float, float, int]:
    return mean, *map(float, np.percentile(drawn.compressed(), OUTER)), n


def table(compared: pd.DataFrame) -> pd.DataFrame:
    """`compared` for readers: a row for each model and metric; – where a split is missing."""
    signs = ["+" if "−" in what else "" for what in compared.what]
    cells = [
        f"{row.value:{sign}.2f} [{row.low:{sign}.2f}, {row.high:{sign}.2f}] n={row.n}"
        for sign, row in zip(signs, compared.itertuples(), strict=True)
    ]
    columns = [*SPLITS, *(f"{a} − {b}" for a, b in TAXES)]
    wide = compared.assign(cell=cells).pivot(
        index=["model", "metric"], columns="what", values="cell"
    )
    order = [(m, x) for m in MODELS for x in METRICS if (m, x) in wide.index]
    return wide.reindex(index=order, columns=columns).astype(object).fillna("–")


def read_before(rnas: pd.DataFrame) -> pd.Series:
    """Which RNAs of a run the base models may have read: those that fall into a cluster with an
    RNA of the pool. Bool, indexed like ``rnas`` (columns rna_id, sequence, family).

    The pool keeps clear of the first ``RUN_SIZE`` RNAs of seed ``POOL_SEED``; other seeds and larger
    worlds meet it by chance.
    """
    clear = {rna.sequence for rna in world.entries(RUN_SIZE, POOL_SEED, "run")}
    asked = rnas[~rnas.sequence.isin(clear) & rnas.rna_id.str.startswith(WORLD_IDS)]
    pool: dict[str, set[str]] = defaultdict(set)
    for rna in world.entries(POOL_RNAS if len(asked) else 0, POOL_SEED, POOL):
        pool[rna.family.name].add(rna.sequence)
    near = [
        any(similar(row.sequence, other) for other in pool[row.family])
        for row in asked.itertuples()
    ]
    return pd.Series(near, asked.index, dtype=bool).reindex(rnas.index, fill_value=False)
