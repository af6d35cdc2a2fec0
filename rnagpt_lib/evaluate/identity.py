"""Scores by how near a test RNA is to the training set: does a model copy, or does it read?

An RNA's identity is the highest to any training RNA, as `units.nearest_identity` measures it: the
shorter one fitted into the longer one, 1 - edits / letters of the shorter. Among thousands of RNAs
chance alone comes above one half; `by_chance` says how far.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rnagpt_lib.core import bootstrap
from rnagpt_lib.core.files import progress
from rnagpt_lib.curate.splits import split
from rnagpt_lib.evaluate import questions

EDGES = (0.4, 0.6, 0.8)
MODELS = ("MA", "IT", "floor.nearest")


def to_training(asked: pd.DataFrame, rnas: pd.DataFrame) -> pd.Series:
    """Identity of every RNA of ``asked`` to the training set, 0 to 1, by rna_id."""
    of = asked.drop_duplicates("rna_id").set_index("rna_id").sequence
    return pd.Series(_highest(of.tolist(), rnas), of.index, name="identity")


def by_chance(asked: pd.DataFrame, rnas: pd.DataFrame, seed: int = 0) -> pd.Series:
    """The same of each RNA's letters, shuffled with its dinucleotides kept."""
    return to_training(asked.assign(sequence=questions.shuffled(asked, seed)), rnas)


def _highest(sequences: Sequence[str], rnas: pd.DataFrame) -> np.ndarray:
    theirs = rnas[rnas.split == "train"].sequence.unique()
    bar = progress(sequences, desc="identity", unit="RNA")
    return np.array([split.nearest_identity([one], theirs)[0] for one in bar])


def binned(identity: pd.Series) -> pd.DataFrame:
    """Columns bin (0 is the farthest) and label (``"60–80 %"``), indexed like ``identity``.

    The bins part at `EDGES`; where one of them would be empty, at the quartiles, and the labels
    say the lowest and the highest identity in each.
    """
    values = identity.to_numpy()
    number = np.searchsorted(EDGES, values, side="right")
    cut = [f"{edge:.0%}"[:-1] for edge in EDGES]
    inner = [f"{low}–{high} %" for low, high in zip(cut, cut[1:], strict=False)]
    labels = [f"< {cut[0]} %", *inner, f"≥ {cut[-1]} %"]
    if len(set(number)) < len(labels):
        edges = np.unique(np.quantile(values, (0.25, 0.5, 0.75)))
        number = np.unique(np.searchsorted(edges, values, "right"), return_inverse=True)[1]
        within = [100 * values[number == one] for one in range(number.max() + 1)]
        labels = [f"{each.min():.1f}–{each.max():.1f} %" for each in within]
    return pd.DataFrame({"bin": number, "label": [labels[i] for i in number]}, identity.index)


def score_table(
    samples: pd.DataFrame, asked: pd.DataFrame, identity: pd.Series, n: int, seed: int
) -> pd.DataFrame:
    """Every ``fact.*`` of `MODELS` for all RNAs (bin -1, label "all") and by bin, with 95 % bounds
    over units. Columns: model, metric, bin, label, rnas, value, low, high, n (answers)."""
    bins = binned(identity)
    facts = samples[samples.model.isin(MODELS) & samples.metric.str.startswith("fact.")]
    ids = dict.fromkeys((*facts.metric.unique(), "fact.all"), "")
    by_bin = asked.assign(stratum=asked.rna_id.map(bins.bin).map(str))
    table = bootstrap.score_table(facts, by_bin, ids, n, seed)
    table = table[(table.kind == bootstrap.ALL) & (table.form == bootstrap.ALL)]
    table = table.assign(bin=table.stratum.replace(bootstrap.ALL, "-1").astype(int))
    sizes = bins.groupby(["bin", "label"]).size().rename("rnas").reset_index()
    whole = pd.DataFrame({"bin": [-1], "label": [bootstrap.ALL], "rnas": [len(bins)]})
    table = table.merge(pd.concat([whole, sizes]), on="bin", validate="many_to_one")
    columns = ["model", "metric", "bin", "label", "rnas", "value", "low", "high", "n"]
    return table.sort_values(["metric", "model", "bin"], ignore_index=True)[columns]
