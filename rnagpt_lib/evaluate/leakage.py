"""What a score owes to relatives: of the test RNAs in training, and in what the base models read.
The *leakage tax* is the difference between splits by row, which leave relatives on both sides, by
units, and by families; their test RNAs differ. *Identity* tells within one split who copies."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd

from rnagpt_lib.core import bootstrap, tables
from rnagpt_lib.core.bootstrap import ALL, OUTER, OVERALL, Bootstrap
from rnagpt_lib.core.files import progress
from rnagpt_lib.curate.splits import split as splits
from rnagpt_lib.curate.splits.relatives import similar
from rnagpt_lib.evaluate import baselines, fact_scores, questions
from rnagpt_lib.evaluate.results import Results
from rnagpt_lib.miniature import world
from rnagpt_lib.miniature.world import POOL, POOL_RNAS, POOL_SEED, RUN_SIZE, WORLD_IDS
from rnagpt_lib.runs.stages import QA, setting

SPLITS = ("random", "cluster", "family")
TAXES = (("random", "cluster"), ("cluster", "family"))
METRICS = ("fact.all", "fact.rna_type", "fact.local", "rougeL")
FLOOR = "floor.nearest"
MODELS = ("IT", FLOOR)
FILE = "leakage.parquet"
COPIED = 5000  # questions of each split that the floor answers at most, drawn by the seed
EDGES, BINS = (0.4, 0.6, 0.8), ("< 40 %", "40–60 %", "60–80 %", "≥ 80 %")  # of identity


def of_runs(many: Sequence[Results]) -> dict[str, Results]:
    """Split → the first of the runs that was made with it, among those of the first one's source
    of annotations, so that nothing but the split differs."""
    of: dict[str, Results] = {}
    for results in many:
        if results.source == many[0].source:
            of.setdefault(setting(results.run, QA, "split"), results)
    return {split: of[split] for split in SPLITS if split in of}


def scored(of: Mapping[str, Results], n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """`compared` of IT and the floor in finished runs, by their files; of each run's own training,
    whatever other seeds stand beside it."""
    samples = {s: tables.read(r.folder / "samples.parquet", "samples") for s, r in of.items()}
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
    """`compared` of the floor alone, each split drawn anew over all RNAs of 03; trains nothing. No
    RNA has a preset side here, so that splits differ in nothing but what stays together; one that
    leaves a side without questions (one family alone) is left out."""
    from rnagpt_lib.evaluate.text_scores import rouge  # torch takes seconds to import

    shares = {"val_share": val_share, "test_share": test_share}
    known, samples = fact_scores.lexicon(pairs), {}
    for how in SPLITS:
        parted = rnas.assign(split=splits.split(rnas.assign(split=""), how, seed=seed, **shares))
        if not {"test", "train"} <= set(parted.split[rnas.rna_id.isin(pairs.rna_id)]):
            continue
        of_test = pairs[pairs.rna_id.isin(parted[parted.split == "test"].rna_id)]
        chosen = of_test.sample(min(len(of_test), COPIED), random_state=seed)
        asked = questions.questions(parted, chosen)
        given = baselines.floor_answers(asked, parted, pairs, seed)[FLOOR]
        rows = [
            (row.unit, *fact)
            for row, text in zip(asked.itertuples(), given, strict=True)
            if (fact := fact_scores.fact(row, text, known))
        ]
        overlap = rouge(given, list(asked.reference)).rougeL
        rows += [(u, "rougeL", value) for u, value in zip(asked.unit, overlap, strict=True)]
        samples[how] = pd.DataFrame(rows, columns=["unit", "metric", "value"]).assign(model=FLOOR)
    return compared(samples, n, seed)


def compared(samples: Mapping[str, pd.DataFrame], n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Scores by split and their differences, with 95 % bounds over units, drawn apart in each
    split. ``samples``: of each split at hand, with the columns model, unit, metric and value.
    Columns: model, metric, what (a split, or ``"random − cluster"``), value, low, high, n (answers;
    the smaller)."""
    drawn, rows = {}, []  # split → (model, metric) → mean, means of the draws, number of answers
    for number, split in enumerate(SPLITS):
        if split not in samples:
            continue
        own = samples[split]
        draws = Bootstrap(own.unit, n, (seed, number))
        overall = own[own.metric.isin([f"fact.{kind}" for kind in OVERALL])]
        own = pd.concat([own, overall.assign(metric="fact.all")])
        drawn[split] = {
            key: (*draws.means(group.value, group.unit), len(group))
            for key, group in own.groupby(["model", "metric"])
            if key[0] in MODELS and key[1] in METRICS
        }
    for key in product(MODELS, METRICS):
        of = {split: means[key] for split, means in drawn.items() if key in means}
        for a, b in TAXES:
            if a in of and b in of:
                one, other = of[a], of[b]
                of[f"{a} − {b}"] = one[0] - other[0], one[1] - other[1], min(one[2], other[2])
        for what, (mean, means, number) in of.items():
            low, high = np.percentile(means.compressed(), OUTER)
            rows.append((*key, what, mean, float(low), float(high), number))
    return pd.DataFrame(rows, columns=["model", "metric", "what", "value", "low", "high", "n"])


def table(compared: pd.DataFrame) -> pd.DataFrame:
    """`compared` for readers: a row for each model and metric; – where a split is missing."""
    cells = [
        f"{row.value:{sign}.2f} [{row.low:{sign}.2f}, {row.high:{sign}.2f}] n={row.n}"
        for row in compared.itertuples()
        for sign in ["+" if "−" in row.what else ""]
    ]
    wide = compared.assign(cell=cells).pivot(
        index=["model", "metric"], columns="what", values="cell"
    )
    order = [key for key in product(MODELS, METRICS) if key in wide.index]
    columns = [*SPLITS, *(f"{a} − {b}" for a, b in TAXES)]
    return wide.reindex(index=order, columns=columns).astype(object).fillna("–")


def identity(asked: pd.DataFrame, rnas: pd.DataFrame) -> pd.Series:
    """Identity of every RNA of ``asked`` to the nearest training RNA, 0 to 1, by rna_id: the
    shorter one fitted into the longer one, 1 - edits / letters of the shorter. Among thousands of
    RNAs chance alone comes above one half; shuffled sequences say how far."""
    own = asked.drop_duplicates("rna_id").set_index("rna_id").sequence
    theirs = rnas[rnas.split == "train"].sequence.unique()
    bar = progress(own.tolist(), desc="identity", unit="RNA")
    values = [splits.nearest_identity([one], theirs)[0] for one in bar]
    return pd.Series(np.array(values), own.index, name="identity")


def by_identity(
    samples: pd.DataFrame, asked: pd.DataFrame, identity: pd.Series, n: int, seed: int
) -> pd.DataFrame:
    """Every ``fact.*`` of the models in ``samples`` by bins of identity, with bounds over units:
    model, metric, bin (0 is the farthest), label (``"60–80 %"``), rnas, value, low, high, n
    (answers). The bins part at `EDGES`, or where one would be empty at the quartiles, labelled by
    their extremes."""
    number, labels = np.searchsorted(EDGES, identity, side="right"), [*BINS]
    if len(set(number)) < len(labels):
        edges = np.unique(np.quantile(identity, (0.25, 0.5, 0.75)))
        number = np.unique(np.searchsorted(edges, identity, "right"), return_inverse=True)[1]
        within = [100 * identity[number == one] for one in range(number.max() + 1)]
        labels = [f"{each.min():.1f}–{each.max():.1f} %" for each in within]
    bins = pd.Series(number, identity.index)
    facts = samples[samples.metric.str.startswith("fact.")]
    ids = dict.fromkeys((*facts.metric.unique(), "fact.all"), "")
    by_bin = asked.assign(stratum=asked.rna_id.map(bins).map(str))
    table = bootstrap.score_table(facts, by_bin, ids, n, seed)
    table = table[(table.kind == ALL) & (table.form == ALL) & (table.stratum != ALL)]
    number = table.stratum.astype(int)
    table = table.assign(
        bin=number, label=number.map(labels.__getitem__), rnas=number.map(bins.value_counts())
    )
    columns = ["model", "metric", "bin", "label", "rnas", "value", "low", "high", "n"]
    return table.sort_values(["metric", "model", "bin"], ignore_index=True)[columns]


def read_before(rnas: pd.DataFrame) -> pd.Series:
    """Which RNAs of a run the base models may have read, bool: those that fall into a cluster with
    an RNA of the pool. It keeps clear of the first ``RUN_SIZE`` RNAs of seed ``POOL_SEED``; other
    seeds and larger worlds meet it by chance."""
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
