"""What stage 1, the encoder, the soft tokens and the RNA are worth: IT beside its variants.

Read from a run's scores; loads no model.
"""

import pandas as pd

from rnagpt_lib.core.bootstrap import Bootstrap
from rnagpt_lib.evaluate.results import Results, interval, number
from rnagpt_lib.report.answer_breakdowns import SAMPLES
from rnagpt_lib.train.ablation_trainings import ABLATED, NO_MA

METRICS = ("fact.local", "fact.all", "rougeL")
FLOOR = "floor.nearest"
RNAS = "03_decompose_qa/rnas.parquet"
MINIMAL = "minimal_pairs.parquet"
LOCAL = METRICS[0]
TAKES = {
    "it.no_ma": "stage 1",
    "it.random_encoder": "the encoder's training",
    "it.text": "encoder, soft tokens and stage 1",
    "it.blind": "the RNA and stage 1",
}


def there(results: Results) -> list[str]:
    """The variants that the run has scores of."""
    return [name for name in ABLATED if name in set(results.scores.model)]


def trainings(results: Results) -> dict[str, int]:
    """How often IT and each variant were trained."""
    counted = results.answers.groupby("model").seed.nunique()
    return {name: int(counted[name]) for name in ("IT", *there(results))}


def table(results: Results) -> pd.DataFrame:
    """One row for each variant: what it lacks, its trainings, IT − variant with 95 % bounds; of
    those that lack stage 1 among other things also `variants.NO_MA` − variant."""
    often, rows = trainings(results), {}
    for name in there(results):
        row = {"lacks": TAKES[name], "trainings": often[name]}
        for metric in METRICS:
            row[metric] = number(results.value(name, metric), 2)
            row[f"IT − it, {metric}"] = _told(results, "IT", name, metric)
        if NO_MA in often:
            row[f"{NO_MA} − it, {LOCAL}"] = _told(results, NO_MA, name, LOCAL)
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def by_type(results: Results) -> pd.DataFrame:
    """Right local facts of each training by RNA type (with its answers in one training): a row for
    every training of IT and of the variants, and the floor that copies. Empty without such facts,
    where the answers' own scores are missing, and where stage 03, which knows the types, is.
    """
    needs = results.folder.parent / RNAS, results.folder / SAMPLES
    if not all(path.is_file() for path in needs):
        return pd.DataFrame()
    models = ["IT", *there(results), FLOOR]
    samples = pd.read_parquet(
        results.folder / SAMPLES,
        columns=["model", "seed", "rna_id", "value"],
        filters=[("metric", "==", LOCAL), ("model", "in", models)],
    )
    rnas = pd.read_parquet(results.folder.parent / RNAS, columns=["rna_id", "rna_type"])
    types = samples["rna_id"].map(rnas.set_index("rna_id")["rna_type"])
    answers = types[samples["model"] == FLOOR].value_counts()
    heads = types.map({name: f"{name} (n={count})" for name, count in answers.items()})
    values = samples.groupby(["model", "seed", heads])["value"].mean().unstack()
    order = sorted(values.index, key=lambda row: (models.index(row[0]), row[1]))
    names = [name if name == FLOOR else f"{name}, seed {seed}" for name, seed in order]
    shown = (
        values.reindex(order).set_axis(pd.Index(names, name="training")).rename_axis(None, axis=1)
    )
    return shown.map(lambda value: number(value, 2))


def of_own(results: Results, minimal: pd.DataFrame) -> pd.DataFrame:
    """The minimal pairs that the run's own IT was asked (those of earlier versions are no others)."""
    if "model" not in minimal:
        return minimal
    return minimal[(minimal["model"] == "IT") & (minimal["seed"] == results.seed)]


def minimal(results: Results, draws: int = 1000) -> pd.DataFrame:
    """Minimal pairs of every training that was asked about them, a row each: the shares of
    followed and of flipped ones with 95 % bounds over RNAs, then of followed ones by RNA type.
    Empty where the run's own IT alone was asked."""
    path = results.folder / MINIMAL
    asked = pd.read_parquet(path) if path.is_file() else pd.DataFrame()
    if "model" not in asked or len(asked[["model", "seed"]].drop_duplicates()) < 2:
        return pd.DataFrame()
    groups = dict(list(asked.groupby(["model", "seed"])))
    order = ["IT", *ABLATED]
    rows = {}
    for model, seed in sorted(groups, key=lambda key: (order.index(key[0]), key[1])):
        own = groups[model, seed]
        drawn = Bootstrap(own["rna_id"], draws, 0)
        told = {
            name: interval(*drawn.bounds(own[name].astype(float), own["rna_id"]))
            for name in ("followed", "flipped")
        }
        types = own.groupby("rna_type")["followed"].mean()
        rows[f"{model}, seed {seed}"] = told | types.map(lambda share: number(share, 2)).to_dict()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("training")


def verdict(other: str, low: float, high: float) -> str:
    """What the bounds of IT minus ``other`` show."""
    if low <= 0 <= high:
        return "no difference is shown"
    return f"{'IT' if low > 0 else other} is better"


def findings(results: Results) -> list[str]:
    """Whether local facts need what each variant lacks, in sentences; none without variants."""
    often, sentences = trainings(results), []
    for name in there(results):
        mine, its = (results.value(model, LOCAL) for model in (name, "IT"))
        if pd.isna([mine, its]).any():
            continue  # no such question was asked
        low, high = _difference(results, "IT", name, LOCAL)[1:]
        told = verdict(name, low, high)
        if 1 in (often["IT"], often[name]):
            told = "of these trainings; another seed may differ"
        sentences.append(
            f"Without {TAKES[name]} ({name}) {LOCAL} is {mine:.2f}, IT's {its:.2f}: difference "
            f"{_told(results, 'IT', name, LOCAL)}, {told} ({_often(often, name)})."
        )
    return sentences


def _often(trainings: dict[str, int], name: str) -> str:
    its, mine = trainings["IT"], trainings[name]
    if its != mine:
        return f"trainings of IT {its}, of {name} {mine}"
    return "one training of each" if its == 1 else f"{its} trainings of each"


def _difference(results: Results, a: str, b: str, metric: str) -> tuple[float, float, float]:
    """a − b: value, low and high; NaN where they were not compared."""
    for row in results.differences.itertuples():
        if (row.model_a, row.model_b, row.metric) == (a, b, metric):
            return row.value, row.low, row.high
    return (float("nan"),) * 3


def _told(results: Results, a: str, b: str, metric: str) -> str:
    value, low, high = _difference(results, a, b, metric)
    return "–" if pd.isna(value) else f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
