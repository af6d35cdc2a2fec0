"""An audit of anybody's data set: what its test side shares with its train side, and what answers
that need no language model (`baselines`) score on it. RNAs are distinct sequences; relatives those
of `relatives`; texts are equal but for case and white space; bounds are over groups of similar
RNAs."""

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Template

from rnagpt_lib.core import fasta, sequences, tables
from rnagpt_lib.core.bootstrap import Bootstrap
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import sha256
from rnagpt_lib.core.text import caseless, cut
from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.curate.sources.user_files import json_lines, parse_description, read_tsv
from rnagpt_lib.curate.splits import relatives
from rnagpt_lib.curate.splits.split import nearest_identity
from rnagpt_lib.evaluate import baselines
from rnagpt_lib.evaluate.baselines import AUDITED

SIDES = ("train", "test")
QUESTION = RELATIONS["rna_type"].questions[0]  # where a file holds answers alone
COLUMNS = ("id", "sequence", "question", "answer")
IDS = ("id", "rna_id", "name")
FASTA = (".fasta", ".fa", ".fna", ".fas", ".gz")
TABLES = (".tsv", ".jsonl", ".parquet")
FINDINGS = Path(__file__).with_name("audit_findings.txt.j2")
DRAWS, DRAWN = 1000, 50_000_000  # bootstrap draws, and the most numbers that they may hold
WORDS = 4  # median words of an answer from which ROUGE-L is scored, too
MOST_RECORDS = 1_000_000  # of a file
SHOWN = 20  # examples that are listed


class Side(NamedTuple):
    """A file's records (id, sequence, question, answer, all text), and which were left out, why."""

    rows: pd.DataFrame
    left_out: list[tuple[str, str]]


def read(path: Path) -> Side:
    """Read a file by its ending: .fasta (.fa, .fna, .fas, also .gz), .tsv, .jsonl or .parquet.

    Raises InputError for a missing, foreign or empty file, and where no record can be used.
    """
    kind = path.suffix.lower()
    if kind not in FASTA + TABLES:
        ends = "name it .fasta (or .fa, .gz), .tsv, .jsonl or .parquet, after what it holds"
        raise InputError(f"{path}: its ending says no format; {ends}")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    if kind == ".gz" and Path(path.stem).suffix.lower() in TABLES:
        raise InputError(f"{path}: of packed files only FASTA is read; unpack it with gunzip first")
    rows, left_out = [], []
    for place, name, sequence, *words in _fasta(path, left_out) if kind in FASTA else _table(path):
        if len(rows) + len(left_out) >= MOST_RECORDS:
            raise InputError(f"{path} holds more than {MOST_RECORDS:,} records; give a part of it")
        try:
            for field, text in zip(COLUMNS[2:], words, strict=True):
                if not text.strip():
                    raise InputError(f"the {field} is empty; write one, or take the record out")
            question, answer = map(str.strip, words)
            rows.append((name or place, sequences.normalise(sequence), question, _label(answer)))
        except InputError as error:
            left_out.append((place, str(error)))
    if not rows:
        first = f"; the first, {': '.join(left_out[0])}" if left_out else ""
        raise InputError(f"{path} holds no record that can be used{first}")
    return Side(pd.DataFrame(rows, columns=COLUMNS, dtype=str), left_out)


def _label(answer: str) -> str:
    """A class that is a number in one spelling: pandas writes 1 as 1.0 where another is missing.

    >>> [_label(answer) for answer in ("1.0", "-0.50", "1e+16", "007", "1.0 kb")]
    ['1', '-0.5', '10000000000000000', '007', '1.0 kb']
    """
    if not re.fullmatch(r"[-+]?(0|[1-9]\d{0,20})(\.\d{1,20})?(e[-+]?\d{1,2})?", answer, re.ASCII):
        return answer
    return f"{Decimal(answer).normalize() + 0:f}"


def _fasta(path: Path, left_out: list[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    """Records whose answer is the header's RNAcentral type, else all of it behind the id."""
    refused: dict[str, str] = {}
    first, answers = "", False
    for record in fasta.stream_fasta(path, refused):
        place = f"record {record.id!r} (line {record.line})"
        rna_type = parse_description(record.id, record.description)["rna_type"]
        answer = rna_type or record.description
        first, answers = first or place, answers or bool(answer)
        yield place, record.id, record.sequence, QUESTION, answer
    left_out += [(f"record {name!r}", reason) for name, reason in refused.items()]
    if first and not answers:
        raise InputError(
            f"{path}, {first}: there is no answer in its header, nor in any other; write it behind "
            "the id, as in '>my_rna tRNA', or give a .tsv file with the columns sequence and answer"
        )


def _table(path: Path) -> Iterator[tuple[str, ...]]:
    """Records of the columns sequence, answer and, where there are any, question and an id."""
    place = "line"
    if path.suffix.lower() == ".tsv":
        rows = read_tsv(path)
    elif path.suffix.lower() == ".jsonl":
        lines = dict(json_lines(path, ("sequence", "answer")))
        # as objects: a number that other lines lack would become 1.0
        rows = pd.DataFrame([*lines.values()], index=[*lines], dtype=object)
    else:
        rows = tables.read_foreign(path, lambda name: name.strip().lower() in {*COLUMNS, *IDS})
        rows, place = rows.set_axis(range(1, len(rows) + 1)), "row"
    rows.columns = [str(column).strip().lower() for column in rows.columns]
    needed = {"sequence", "answer"} - set(rows.columns)
    twice = rows.columns[rows.columns.duplicated()]
    if needed or len(twice):
        fault = f"column {min(needed)!r} is missing" if needed else f"{twice[0]!r} stands twice"
        raise InputError(
            f"{path}: {fault}; the columns are sequence, question, answer (one each), and id if "
            f"there are ids; here are {cut(', '.join(rows.columns), 500) or 'none'}"
        )
    rows = rows.astype(object).where(rows.notna(), "")
    ids = next((rows[column] for column in IDS if column in rows.columns), "")
    rows = rows.assign(id=ids, question=rows.get("question", QUESTION))[[*COLUMNS]]
    for number, *values in rows.itertuples():
        for field, value in zip(COLUMNS, values, strict=True):
            if isinstance(value, list | dict | np.ndarray):
                raise InputError(
                    f"{path}, {place} {number}: {field!r} is no text; write one text, and a record "
                    "for each answer"
                )
        yield f"{place} {number}", *map(str, values)


# --- the numbers


def audit(train: Path, test: Path, seed: int = 0) -> dict:
    """All numbers, as JSON can hold them: files, counts of each side and between them, scores of
    the baselines, examples, and ids of the test records whose RNA or a relative is in train. Raises
    InputError for a file that cannot be read."""
    sides = dict(zip(SIDES, map(read, (train, test)), strict=True))
    known, asked = (
        side.rows.assign(**{f"{name}_": _text(side.rows[name]) for name in COLUMNS[2:]})
        for side in sides.values()
    )
    rnas = _rnas(known, asked)
    of = rnas.loc[asked.sequence]
    near = (of.train | (of.kin_train >= 0)).to_numpy()
    numbers = {
        "version": 2,  # of this layout
        "seed": seed,
        "files": {
            name: {"name": path.name, "sha256": sha256(path), "left_out": sides[name].left_out}
            for name, path in zip(SIDES, (train, test), strict=True)
        },
        "within": {"train": _within(known, rnas, "train"), "test": _within(asked, rnas, "test")},
        "between": _between(known, asked, rnas, near),
        "scores": _scores(known, asked, rnas, seed),
        "examples": _examples(known, asked, rnas),
        "overlapping": asked.id[near].tolist(),
    }
    return numbers | {"findings": findings(numbers)}


def _text(column: pd.Series) -> pd.Series:
    """Texts in the form in which they are compared."""
    return column.map(caseless).str.split().str.join(" ")


def _rnas(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Distinct sequences: the sides that they are on, group, relatives' places (-1: none)."""
    distinct = pd.unique(pd.concat([train.sequence, test.sequence], ignore_index=True))
    on = np.array([np.isin(distinct, pd.unique(side.sequence)) for side in (train, test)]).T
    kin = relatives.kin([*map(str, distinct)], on)
    columns = {"group": kin.cluster}
    for i, name in enumerate(SIDES):
        columns |= {name: on[:, i], f"kin_{name}": kin.partner[:, i]}
    return pd.DataFrame(columns, index=pd.Index(distinct, name="sequence"))


def _within(rows: pd.DataFrame, rnas: pd.DataFrame, side: str) -> dict[str, int]:
    here = rnas[rnas[side]]
    answers = rows.groupby(["sequence", "question_"]).answer_.transform("nunique")
    repeats = rows[["sequence", "question_", "answer_"]].duplicated()
    return {
        "records": len(rows),
        "RNAs": len(here),
        "groups of similar RNAs": int(here.group.nunique()),
        "distinct questions": int(rows.question_.nunique()),
        "distinct answers": int(rows.answer_.nunique()),
        "records that repeat an earlier one": int(repeats.sum()),
        "records whose RNA has another answer, too": int((answers > 1).sum()),
        "RNAs with a relative on this side": int((here[f"kin_{side}"] >= 0).sum()),
    }


def _between(
    train: pd.DataFrame, test: pd.DataFrame, rnas: pd.DataFrame, near: np.ndarray
) -> dict[str, int]:
    """How many RNAs and records of test are in train, too."""
    asked = rnas[rnas.test]

    def shared(*columns: str) -> np.ndarray:
        theirs, ours = (pd.MultiIndex.from_frame(rows[[*columns]]) for rows in (train, test))
        return ours.isin(theirs)

    same = shared("sequence", "question_"), shared("sequence", "question_", "answer_")
    return {
        "RNAs": int(asked.train.sum()),
        "RNAs or relatives of them": int((asked.train | (asked.kin_train >= 0)).sum()),
        "records about such RNAs": int(near.sum()),
        "questions": int(test.question_.isin(train.question_).sum()),
        "answers": int(test.answer_.isin(train.answer_).sum()),
        "RNA, question and answer": int(same[1].sum()),
        "RNA and question, with another answer only": int((same[0] & ~same[1]).sum()),
    }


def _scores(train: pd.DataFrame, test: pd.DataFrame, rnas: pd.DataFrame, seed: int) -> list[dict]:
    """Every baseline by metric and stratum (all records; those whose RNA is not in train letter by
    letter; those whose RNA has no relative there), with bounds over groups, None of one. ``exact``:
    right word for word; ``rougeL`` where answers are sentences; ``balanced``: exact, mean over classes, where
    answers are few."""
    of = rnas.loc[test.sequence]
    new = ~of.train.to_numpy()
    strata = {"all": new | True, "new": new, "unrelated": new & (of.kin_train < 0).to_numpy()}
    groups, labels = of.group.to_numpy(), test.answer_.to_numpy()
    n = int(np.clip(DRAWN // len(set(groups)), DRAWS // 10, DRAWS))
    draws, rows = Bootstrap(groups, n, seed), []
    classes = len({*train.answer, *test.answer})
    for name, given in baselines.audit_answers(train, test, seed).items():
        values = {"exact": (_text(pd.Series(given)).to_numpy() == labels).astype(float)}
        if classes <= baselines.CLASSES and classes < len(test):
            values["balanced"] = values["exact"]
        if test.answer.str.split().str.len().median() >= WORDS:
            from rnagpt_lib.evaluate.text_scores import rouge  # torch takes seconds to import

            values["rougeL"] = rouge(given, list(test.answer)).rougeL.to_numpy()
        for metric, stratum in product(values, strata):
            if (chosen := strata[stratum]).any():
                within = labels[chosen] if metric == "balanced" else None
                bounds = draws.bounds(values[metric][chosen], groups[chosen], within)
                number = int(chosen.sum()), len(set(groups[chosen]))
                if number[1] == 1:  # all draws are the same
                    bounds = bounds[0], None, None
                rows.append((name, metric, stratum, *bounds, *number))
    columns = ("baseline", "metric", "stratum", "value", "low", "high", "records", "groups")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _examples(train: pd.DataFrame, test: pd.DataFrame, rnas: pd.DataFrame) -> list[dict]:
    """Test RNAs with their like or a relative in train: ids, answers, identity."""
    sides = (rows.drop_duplicates("sequence").set_index("sequence") for rows in (train, test))
    known, asked = sides
    here = rnas[rnas.test]
    pairs = [(sequence, sequence) for sequence in here[here.train].index[: SHOWN // 2]]
    related = here[~here.train & (here.kin_train >= 0)].kin_train
    pairs += [(s, rnas.index[i]) for s, i in related.head(SHOWN - len(pairs)).items()]
    return [
        {
            "test": asked.id[one],
            "train": known.id[other],
            "identity end to end": round(float(nearest_identity([one], [other])[0]), 4),
            "letters": len(one),
            "test answer": asked.answer[one],
            "train answer": known.answer[other],
        }
        for one, other in pairs
    ]


def findings(numbers: dict) -> list[str]:
    """The numbers in sentences, the gravest first, of ``audit_findings.txt.j2``."""
    rows = {(r["baseline"], r["stratum"]): r for r in numbers["scores"] if r["metric"] == "exact"}

    def score(name: str, stratum: str = "all") -> str:
        row = rows.get((name, stratum))
        return with_bounds(row) if row else "–"

    wrong = {
        "within train": numbers["within"]["train"]["records whose RNA has another answer, too"],
        "within test": numbers["within"]["test"]["records whose RNA has another answer, too"],
        "of test against train": numbers["between"]["RNA and question, with another answer only"],
    }
    kmers = max(
        (name for name in AUDITED if name.startswith("kmers.")),
        key=lambda name: rows[name, "all"]["value"],
    )
    least, chance = rows["blind", "all"]["low"], rows["floor.random", "all"]["high"]
    template = Template(FINDINGS.read_text("utf-8"), trim_blocks=True, lstrip_blocks=True)
    text = template.render(
        numbers, score=score, percent=percent, kmers=kmers, audited=AUDITED,
        wording_tells=None not in (least, chance) and least > chance,
        differing=", ".join(f"{n:,} {where}" for where, n in wrong.items() if n),
        left_out={side: len(numbers["files"][side]["left_out"]) for side in SIDES},
    )  # fmt: skip
    return [line for line in text.splitlines() if line]


def with_bounds(row: dict) -> str:
    """A score as it is shown: ``0.33 [0.20, 0.46]``."""
    bounds = f"{row['low']:.2f}, {row['high']:.2f}" if row["groups"] > 1 else "one group: no bounds"
    return f"{row['value']:.2f} [{bounds}]"


def percent(n: int, total: int) -> str:
    """37 %, 0.4 %, and never 0 % or 100 % of what is not."""
    share = 100 * n / total
    return f"{share:.1f} %" if 0 < share < 1 or 99 < share < 100 else f"{share:.0f} %"
