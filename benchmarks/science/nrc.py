"""Classes of ncRNAs (nRC's benchmark) by baselines that hold no language model.

``python -m benchmarks nrc`` takes nRC's own halves, and splits the training half besides: 80 to 20 at
random, and with whole Rfam families held out. ``python -m benchmarks.science.nrc --train FASTA --test
FASTA`` takes two files of the same form. The data lie beside the checkout (``../shared/data/nrc``); only
scores are kept. `nrc_asking` trains a model on the same splits, and asks it.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import f1_score, matthews_corrcoef

from benchmarks._page import page_of, publish, results_of
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.curate.splits import relatives, split
from rnagpt_lib.evaluate import audit, baselines
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.report import readme

RESULTS = results_of("nrc")
PAGE = page_of("nrc")
FASTA = Path("nrc") / "dataset_Rfam_6320_13classes.fasta"
TEST = Path("nrc") / "dataset_Rfam_validated_2600_13classes.fasta"
ENCODER = "models/mini-encoder"
SEEDS = (0, 1, 2)  # of the splits; the methods themselves draw nothing
SPLITS = {"random": "random", "family": "whole families held out"}
GIVEN = "given"
HALVES = "nRC's own halves"
METHODS = {
    "floor.most_common": "most common class",
    "floor.length": "nearest in length",
    "floor.nearest": "nearest by 5-mers",
    "kmers.nearest": "1-nearest neighbour by shared k-mers",
    "kmers.logistic": "logistic regression on which k-mers occur",
    "kmers.svm": "linear SVM on which 3- to 8-mers occur",
    "encoder.linear": "linear head, miniature encoder",
}
COLUMNS = {"all": "all", "new": "no copies", "unrelated": "no relatives"}
METRICS = {"accuracy": "accuracy", "mcc": "MCC"}
PUBLISHED = (
    "Published for the same halves, as their papers say it (theirs, not measured here): nRC about "
    "0.74 (Fiannaca et al., BioData Mining 2017), RNAGCN 0.857 (arXiv 1905.06515). BEACON's task "
    "NcRNA, which is made of the same set by a split of its own, lists 0.857 to 0.888 for networks "
    "without pre-training, 0.690 to 0.968 for pre-trained models (RNA-FM 0.968), and is no "
    "comparison letter by letter."
)


def main(train: Path | None = None, test: Path | None = None) -> None:
    """Measure nRC's halves and the splits of its training half; or the splits of ``train``, or with
    ``test`` the two files. Write results and page."""
    halves = paths.shared() / TEST
    for given in [test] if train or test else [None, *([halves] if halves.is_file() else [])]:
        rnas, sides = read(train, given)
        pooled = embeddings(rnas.sequence.tolist())
        found = {how: [measure(rnas, side, pooled) for side in of] for how, of in sides.items()}
        for how, of in sides.items():
            found[how][0]["findings"] = audited(rnas, of[0])
        write_json(RESULTS, read_json(RESULTS) | found)
    publish(PAGE, "nrc", render())


def read(
    train: Path | None = None, test: Path | None = None
) -> tuple[pd.DataFrame, dict[str, list[pd.Series]]]:
    """The RNAs, and for each split the side (train or test) of every one, seed by seed."""
    train = train or paths.shared() / FASTA
    if not train.is_file():
        raise InputError(f"the data are missing: {train}; give nRC's file with --train")
    rnas = _rnas(train, "train")
    if test:
        rnas = pd.concat([rnas, _rnas(test, "test")], ignore_index=True)
        return rnas, {GIVEN: [rnas["split"]]}
    rnas["unit"] = [f"U{n:05d}" for n in relatives.clusters(rnas.sequence.tolist())]
    return rnas, {
        how: [split.split(rnas, how, seed=seed, val_share=0.0, test_share=0.2) for seed in SEEDS]
        for how in SPLITS
    }


def _rnas(path: Path, side: str) -> pd.DataFrame:
    """The records of a FASTA file in the columns that `units.split` reads."""
    rows = audit.read(path).rows
    family = rows.id.str.extract(r"^(RF\d{5})(?!\d)")[0]
    if family.isna().any():
        raise InputError(
            f"{path}: id {rows.id[family.isna()].iloc[0]!r} names no Rfam family; ids start with "
            "it, as in RF00001_X52048"
        )
    named = rows.rename(columns={"id": "rna_id", "answer": "rna_type"})
    return named.assign(family=family, split=side if side == "test" else "", unit="")


@torch.no_grad()
def embeddings(sequences: list[str], encoder: Encoder | None = None) -> np.ndarray:
    """Mean of the encoder's vectors over each sequence, (n, dim); by default the miniature's."""
    encoder = encoder or Encoder.load(ENCODER)
    pooled = np.zeros((len(sequences), encoder.dim), dtype=np.float32)
    for done in encoder.in_batches(sequences):
        for place, vectors in done:
            pooled[place] = vectors.mean(dim=0).numpy()
    return pooled


def measure(rnas: pd.DataFrame, side: pd.Series, pooled: np.ndarray) -> dict:
    """One split: how many RNAs, copies and relatives, and every method's scores on the test RNAs:
    all, those that are no copies of train RNAs, and those that have no relative there."""
    given = predicted(rnas, side, pooled)
    given = {method: given[method] for method in METHODS}
    return scores(rnas, side, given) | {"by_family": by_family(rnas[side == "test"], given)}


def predicted(rnas: pd.DataFrame, side: pd.Series, pooled: np.ndarray) -> dict[str, np.ndarray]:
    """What each method without a language model says of the test RNAs, in their order."""
    here = (side == "test").to_numpy()
    table = rnas.rename(columns={"rna_type": "answer"})[["sequence", "question", "answer"]]
    train, test = table[~here], table[here]
    linear = baselines.logistic_label(pooled[~here], train.answer, pooled[here])
    return baselines.audit_answers(train, test) | {"encoder.linear": linear}


def scores(rnas: pd.DataFrame, side: pd.Series, given: Mapping[str, Sequence[str]]) -> dict:
    """`measure` of what methods have ``given`` for the test RNAs."""
    here = side == "test"
    train, test = rnas[~here], rnas[here]
    kept = columns(*overlap(train.sequence, test.sequence))
    counted = test.rna_type.value_counts().sort_index()
    return {
        "train": len(train),
        "test": {name: int(rows.sum()) for name, rows in kept.items()},
        "classes": {name: int(n) for name, n in counted.items()},
        "families_on_both_sides": len(set(train.family) & set(test.family)),
        "scores": {
            method: by_column(test.rna_type.to_numpy(str), named, kept)
            for method, named in given.items()
        },
    }


def by_family(test: pd.DataFrame, given: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    """Family → its test RNAs, and how many of them each method has right."""
    right = {m: np.asarray(said, str) == test.rna_type.to_numpy(str) for m, said in given.items()}
    table = pd.DataFrame({"RNAs": 1} | right, index=test.family).astype(int)
    return table.groupby(level=0).sum().to_dict("index")


def columns(copies: np.ndarray, related: np.ndarray) -> dict[str, np.ndarray]:
    """Which test RNAs each of `COLUMNS` is about, out of what ``overlap`` found."""
    return {"all": np.ones(len(copies), dtype=bool), "new": ~copies, "unrelated": ~related}


def by_column(wanted: np.ndarray, given: Sequence[str], kept: dict[str, np.ndarray]) -> dict:
    """``scored`` for each of the columns that holds an RNA."""
    given = np.array(given, str)
    return {name: scored(wanted[rows], given[rows]) for name, rows in kept.items() if rows.any()}


def audited(rnas: pd.DataFrame, side: pd.Series) -> list[str]:
    """What ``rnagpt audit`` says of a split, given as two FASTA files."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.fasta" for name in ("train", "test")]
        for file, chosen in zip(files, (side != "test", side == "test"), strict=True):
            rows = rnas[chosen.to_numpy()].itertuples()
            file.write_text("".join(f">{r.rna_id} {r.rna_type}\n{r.sequence}\n" for r in rows))
        return audit.audit(*files)["findings"]


def overlap(train: pd.Series, test: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Which test RNAs are train RNAs letter by letter, and which have a relative there (or are)."""
    distinct = pd.unique(pd.concat([train, test]))
    on = np.array([np.isin(distinct, pd.unique(sequences)) for sequences in (train, test)]).T
    kin = relatives.kin([*map(str, distinct)], on)
    place = pd.Index(distinct).get_indexer(test)
    return on[place, 0], on[place, 0] | (kin.partner[place, 0] >= 0)


def scored(wanted: np.ndarray, given: np.ndarray) -> dict:
    """Accuracy, Matthews' correlation, and F1 of every class that was wanted."""
    classes = sorted(set(wanted))
    f1 = f1_score(wanted, given, labels=classes, average=None, zero_division=0)
    return {
        "accuracy": round(float((wanted == given).mean()), 4),
        "mcc": round(float(matthews_corrcoef(wanted, given)), 4),
        "f1": {name: round(float(value), 4) for name, value in zip(classes, f1, strict=True)},
    }


# --- the page


def render() -> str:
    """The block of the page, from the kept results alone."""
    kept = read_json(RESULTS)
    if not kept:
        return "Not measured yet."
    titles = SPLITS | {GIVEN: HALVES}
    runs = [run for how in kept.values() for run in how]
    common = sorted(set.intersection(*(set(run["classes"]) for run in runs)))
    parts = [
        part for how in titles if how in kept for part in _split(titles[how], kept[how], common)
    ]
    return "\n\n".join([*parts, PUBLISHED])


def _split(title: str, runs: list[dict], common: list[str]) -> list[str]:
    return [
        f"**Split: {title}.** {_sizes(runs)}",
        readme.markdown(score_table(runs, METHODS, common)),
        readme.markdown(f1_table(runs, METHODS)),
        f"What `rnagpt audit` says of {'its first seed' if len(runs) > 1 else 'it'}:",
        "\n".join(f"- {sentence}" for sentence in runs[0]["findings"]),
    ]


def score_table(runs: list[dict], methods: Mapping[str, str], common: list[str]) -> pd.DataFrame:
    """One row for each of ``methods`` (name → what it is called): means over the seeds."""
    scores = [
        {"method": told}
        | {
            f"{metric}, {column}": over(runs, method, name, key)
            for key, metric in METRICS.items()
            for name, column in COLUMNS.items()
        }
        | {
            f"F1, mean of the {len(common)} classes that are always asked about": _f1(
                runs, method, common
            )
        }
        for method, told in methods.items()
    ]
    return pd.DataFrame(scores).set_index("method")


def f1_table(runs: list[dict], methods: Mapping[str, str]) -> pd.DataFrame:
    """One row for each class that a seed asks about, one column for each of ``methods``."""
    f1 = [
        {"F1, all": name} | {told: _f1(runs, method, [name]) for method, told in methods.items()}
        for name in sorted({name for run in runs for name in run["classes"]})
    ]
    return pd.DataFrame(f1).set_index("F1, all")


def _sizes(runs: list[dict]) -> str:
    tests = [run["test"] for run in runs]
    copies = [test["all"] - test["new"] for test in tests]
    related = [test["all"] - test["unrelated"] for test in tests]
    return (
        f"{len(runs)} seed{'s' * (len(runs) > 1)}; test RNAs: {_listed([t['all'] for t in tests])}, "
        f"of {_listed([len(run['classes']) for run in runs])} classes; train RNAs: "
        f"{_listed([run['train'] for run in runs])}; test RNAs that are in train letter by letter: "
        f"{_listed(copies)}; that have a relative there (80 % identity over 80 %), copies included: "
        f"{_listed(related)}; Rfam families on both sides: "
        f"{_listed([run['families_on_both_sides'] for run in runs])}."
    )


def _listed(numbers: list[int]) -> str:
    return f"{numbers[0]:,}" if len(set(numbers)) == 1 else ", ".join(f"{n:,}" for n in numbers)


def over(runs: list[dict], method: str, name: str, metric: str) -> str:
    """Mean over the seeds, and from the least to the largest, which are no bounds."""
    scores = [run["scores"][method] for run in runs]
    values = [score[name][metric] for score in scores if name in score]
    if not values:
        return "–"
    return f"{np.mean(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def _f1(runs: list[dict], method: str, classes: list[str]) -> str:
    """Mean F1 of classes over all test RNAs and the seeds that ask about them."""
    scores = [run["scores"][method]["all"]["f1"] for run in runs]
    values = [f1[name] for f1 in scores for name in classes if name in f1]
    return f"{np.mean(values):.2f}" if values else "–"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, metavar="FASTA", help="nRC's training half")
    parser.add_argument("--test", type=Path, metavar="FASTA", help="its test half")
    given = parser.parse_args()
    try:
        main(given.train, given.test)
    except InputError as error:
        sys.exit(f"nrc: {error}")
