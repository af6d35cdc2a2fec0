"""An audit of anybody's data set: what its test side shares with its train side, and what answers
that need no language model score on it.

RNAs are distinct sequences (upper case, U for T); a relative is 80 % identical over 80 % of the
shorter one (`relatives`); texts are equal but for case and white space. Scores carry 95 % bootstrap
bounds over groups of similar RNAs.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from rnagpt_lib.core.bootstrap import Bootstrap
from rnagpt_lib.curate.splits import relatives
from rnagpt_lib.curate.splits.split import nearest_identity
from rnagpt_lib.evaluate import audit_baselines, audit_files, rouge
from rnagpt_lib.evaluate.audit_files import Side

VERSION = 1  # of the JSON's layout
SIDES = ("train", "test")
STRATA = {
    "all": "all test records",
    "new": "RNA not in train letter by letter",
    "unrelated": "RNA without a relative in train",
}
DRAWS, DRAWN = 1000, 50_000_000  # bootstrap draws, and the most numbers that they may hold
FEWEST = 100  # draws at least
WORDS = 4  # median words of an answer from which ROUGE-L is scored, too
SHOWN = 20  # examples and left-out records that are listed


def audit(train: Path, test: Path, seed: int = 0) -> dict:
    """Everything that the page says, as JSON can hold it: files, counts, leaks, scores, examples.

    Raises InputError for a file that cannot be read.
    """
    sides = [audit_files.read(path) for path in (train, test)]
    records = [side.rows.assign(key=_folded(side.rows)) for side in sides]
    rnas = _rnas(*records)
    return {
        "version": VERSION,
        "seed": seed,
        "identity": relatives.IDENTITY,
        "coverage": relatives.COVERAGE,
        "files": {name: _file(side) for name, side in zip(SIDES, sides, strict=True)},
        "within": {
            name: _within(rows, rnas, i)
            for i, (name, rows) in enumerate(zip(SIDES, records, strict=True))
        },
        "between": _between(*records, rnas),
        "classes": _classes(records),
        "scores": _scores(*records, rnas, seed),
        "examples": _examples(*records, rnas),
        "lengths": {name: _lengths(rnas, name) for name in SIDES},
        "overlapping": _overlapping(records[1], rnas),
    }


def _folded(rows: pd.DataFrame) -> pd.Series:
    """Question and answer in the form in which they are compared."""
    return _text(rows.question) + "\t" + _text(rows.answer)


def _text(column: pd.Series) -> pd.Series:
    return column.str.split().str.join(" ").str.casefold()


def _rnas(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Distinct sequences: the sides that they are on, group, relatives' places (-1: none)."""
    distinct = pd.unique(pd.concat([train.sequence, test.sequence], ignore_index=True))
    on = np.array([np.isin(distinct, pd.unique(side.sequence)) for side in (train, test)]).T
    found = relatives.kin([*map(str, distinct)], on)
    columns = {"group": found.cluster}
    for i, name in enumerate(SIDES):
        columns |= {name: on[:, i], f"kin_{name}": found.partner[:, i]}
    return pd.DataFrame(columns, index=pd.Index(distinct, name="sequence"))


def _file(side: Side) -> dict:
    return {
        "name": side.name,
        "sha256": side.sha256,
        "read_as": side.read_as,
        "records": len(side.rows),
        "left_out": len(side.left_out),
        "left_out_first": [list(record) for record in side.left_out[:SHOWN]],
    }


def _within(rows: pd.DataFrame, rnas: pd.DataFrame, side: int) -> dict:
    """Counts of one side."""
    here = rnas[rnas[SIDES[side]]]
    odd = here.index.str.contains("[^ACGU]")
    questions = _text(rows.question)
    return {
        "records": len(rows),
        "rnas": len(here),
        "groups": int(here.group.nunique()),
        "questions": int(questions.nunique()),
        "answers": int(_text(rows.answer).nunique()),
        "repeated_records": int(rows[["sequence", "key"]].duplicated().sum()),
        "records_of_repeated_rnas": int(rows.sequence.duplicated(keep=False).sum()),
        "contradicting_records": int(_contradicting(rows, questions).sum()),
        "rnas_with_relative": int((here[f"kin_{SIDES[side]}"] >= 0).sum()),
        "rnas_with_ambiguous_letters": int(odd.sum()),
    }


def _contradicting(rows: pd.DataFrame, questions: pd.Series) -> pd.Series:
    """Records whose RNA is given another answer to the same question as well."""
    return _text(rows.answer).groupby([rows.sequence, questions]).transform("nunique") > 1


def _between(train: pd.DataFrame, test: pd.DataFrame, rnas: pd.DataFrame) -> dict:
    """What test shares with train, in RNAs and in records."""
    asked = rnas[rnas.test]
    exact, related = asked.train, asked.train | (asked.kin_train >= 0)
    known = {name: set(column) for name, column in _shareable(train).items()}
    shared = {name: column.isin(known[name]) for name, column in _shareable(test).items()}
    of = rnas.loc[test.sequence]
    wrong = shared["sequence and question"] & ~shared["sequence, question and answer"]
    groups = [set(rnas[rnas[side]].group) for side in SIDES]
    return {
        "rnas": len(asked),
        "rnas_in_train": int(exact.sum()),
        "rnas_with_relative_in_train": int(related.sum()),
        "records": len(test),
        "records_of_rnas_in_train": int(of.train.sum()),
        "records_of_rnas_with_relative_in_train": int((of.train | (of.kin_train >= 0)).sum()),
        "groups_on_both_sides": len(groups[0] & groups[1]),
        "records_contradicting_train": int(wrong.sum()),
        "records_shared": {name: int(column.sum()) for name, column in shared.items()},
    }


def _shareable(rows: pd.DataFrame) -> dict[str, pd.Series]:
    question, answer = _text(rows.question), _text(rows.answer)
    return {
        "question": question,
        "answer": answer,
        "question and answer": rows.key,
        "sequence and question": rows.sequence + "\t" + question,
        "sequence, question and answer": rows.sequence + "\t" + rows.key,
    }


def _classes(records: list[pd.DataFrame]) -> list[str] | None:
    """The answers, when they are few and the same ones: a task of classes. None otherwise."""
    known, asked = (set(rows.answer) for rows in records)
    few = len(known | asked) <= audit_baselines.CLASSES
    return sorted(known | asked) if few and len(known | asked) < len(records[1]) else None


def _scores(train: pd.DataFrame, test: pd.DataFrame, rnas: pd.DataFrame, seed: int) -> list[dict]:
    """Every baseline by metric and stratum, with bounds over groups."""
    found = audit_baselines.answers(train, test, seed)
    of = rnas.loc[test.sequence]
    new = ~of.train.to_numpy()
    strata = {
        "all": np.ones(len(test), dtype=bool),
        "new": new,
        "unrelated": new & (of.kin_train < 0).to_numpy(),
    }
    groups = of.group.to_numpy()
    n = int(np.clip(DRAWN // len(set(groups)), FEWEST, DRAWS))
    draws, labels = Bootstrap(groups, n, seed), _text(test.answer).to_numpy()
    balanced = _classes([train, test]) is not None
    rows = []
    for name, given in found.items():
        for metric, values in _values(given, test.answer, balanced).items():
            for stratum, chosen in strata.items():
                if chosen.any():
                    within = labels[chosen] if metric == "balanced" else None
                    bounds = draws.bounds(values[chosen], groups[chosen], within)
                    numbers = (int(chosen.sum()), len(set(groups[chosen])))
                    rows.append((name, metric, stratum, *bounds, *numbers))
    columns = ("baseline", "metric", "stratum", "value", "low", "high", "records", "groups")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _values(given: list[str], wanted: pd.Series, balanced: bool) -> dict[str, np.ndarray]:
    """Metric → a value for each record: ``exact``, the answer word for word; ``balanced``, the
    same, to be averaged over classes; ``rougeL`` where answers are sentences."""
    right = _text(pd.Series(given)).to_numpy() == _text(wanted).to_numpy()
    values = {"exact": right.astype(float)}
    if balanced:
        values["balanced"] = values["exact"]
    if wanted.str.split().str.len().median() >= WORDS:
        values["rougeL"] = rouge.score(given, list(wanted))["rougeL"].to_numpy()
    return values


def _examples(train: pd.DataFrame, test: pd.DataFrame, rnas: pd.DataFrame) -> list[dict]:
    """Test RNAs with their like or a relative in train: ids, answers, identity."""
    first = {name: rows.drop_duplicates("sequence").set_index("sequence")
             for name, rows in zip(SIDES, (train, test), strict=True)}  # fmt: skip
    asked = rnas[rnas.test]
    exact = asked[asked.train].index[: SHOWN // 2]
    related = asked[~asked.train & (asked.kin_train >= 0)]
    pairs = [(sequence, sequence) for sequence in exact]
    pairs += [(s, rnas.index[i]) for s, i in related.kin_train.head(SHOWN - len(pairs)).items()]
    return [
        {
            "test": first["test"].id[one],
            "train": first["train"].id[other],
            "test_answer": first["test"].answer[one],
            "train_answer": first["train"].answer[other],
            "length": len(one),
            "identity": round(float(nearest_identity([one], [other])[0]), 4),
        }
        for one, other in pairs
    ]


def _lengths(rnas: pd.DataFrame, side: str) -> list[int]:
    """Lengths of the RNAs of a side at each hundredth, from the shortest to the longest."""
    lengths = rnas[rnas[side]].index.str.len().to_numpy()
    return np.percentile(lengths, np.arange(101), method="nearest").astype(int).tolist()


def _overlapping(test: pd.DataFrame, rnas: pd.DataFrame) -> list[str]:
    """Ids of all test records whose RNA, or a relative of it, is in train: what to leave out."""
    of = rnas.loc[test.sequence]
    return test.id[(of.train | (of.kin_train >= 0)).to_numpy()].tolist()
