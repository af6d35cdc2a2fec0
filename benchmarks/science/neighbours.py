"""Whether the nearest training RNA tells what an RNA is: by words, by alignment, or by both; and
how often the statements beside an answer are right.

The rule of `retrieval` was chosen on RNAs of the val sides. The statements are about the reference
run; the neighbours also about RNAs of RNAcentral, whose lengths differ more.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from benchmarks._page import page_of, publish, results_of
from rnagpt_lib.chat.retrieval import POWER, Nearest, Retrieval
from rnagpt_lib.core import paths, tables
from rnagpt_lib.core.bootstrap import Bootstrap
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import progress, read_json, write_json
from rnagpt_lib.core.params import Filter
from rnagpt_lib.core.sequences import kmer_profile
from rnagpt_lib.curate import filter
from rnagpt_lib.curate.questions import question_templates
from rnagpt_lib.curate.splits import split as units
from rnagpt_lib.curate.splits.relatives import identity_of
from rnagpt_lib.evaluate import questions
from rnagpt_lib.report import readme
from rnagpt_lib.runs.stages import QA, stage_folder

RUN = "reference"
RESULTS = results_of("neighbours")
PAGE = page_of("neighbours")
RULE = f"identity × ratio^{POWER:g}, as looked up"
KNOWN, NEW = "its fields are known", "a new RNA"
AGAINST = "; the answer "  # stands in every statement against an answer


def main() -> None:
    """Measure both parts, then write results and page."""
    write_json(RESULTS, measure())
    publish(PAGE, "neighbours", render())


def measure() -> dict:
    """Top-1 neighbours of val and test RNAs, and statements about right and wrong answers."""
    retrieval = Retrieval.of(RUN)
    folder = stage_folder(RUN, QA)
    rnas, pairs = (tables.read(folder / f"{name}.parquet", name) for name in ("rnas", "pairs"))
    return {
        "sets": {
            "reference run": neighbours(retrieval.nearest, rnas),
            "RNAcentral": neighbours(*rnacentral()),
        },
        "statements": statements(retrieval, rnas, pairs),
    }


def rnacentral() -> tuple[Nearest, pd.DataFrame]:
    """1,400 RNAs of 28 types, split as 03 splits a user's. Raises InputError where they are not."""
    fasta = paths.shared() / "rnacentral" / "rnacentral_active_28types_x50.fasta"
    if not fasta.is_file():
        raise InputError(f"the real data are missing: {fasta}")
    with tempfile.TemporaryDirectory() as folder:
        filter.write_tables(Filter(input="files", fasta=str(fasta)), 0, Path(folder))
        rnas = tables.read(Path(folder) / "rnas.parquet", "rnas")
        rnas["unit"] = units.units(rnas, tables.frame("links", []))
        rnas["split"] = units.split(rnas)
        sequences = rnas[rnas.split == "train"].sequence.unique().tolist()
        return Nearest(sequences), rnas


def neighbours(index: Nearest, rnas: pd.DataFrame) -> dict:
    """What the first neighbour tells of the RNAs of val and test, each sequence once."""
    rnas = rnas.assign(stratum=questions.strata(rnas))
    asked = rnas[rnas.split != "train"].drop_duplicates("sequence", ignore_index=True)
    train = rnas[rnas.split == "train"].drop_duplicates("sequence").set_index("sequence")
    looked, seconds = look_up(index, train.loc[index.sequences], asked)
    return {
        "training_rnas": len(index.sequences),
        "seconds_a_query": round(median(seconds), 3),
        "near": near_shares(looked),
        "top": top_1(looked),
    }


def look_up(
    index: Nearest, train: pd.DataFrame, asked: pd.DataFrame
) -> tuple[pd.DataFrame, list[float]]:
    """``asked`` with whether each RNA is near any, and, as 0 and 1, whether the one that each way
    puts first has its type and its family; ``train`` in the order of the index. Seconds a query."""
    profile, lengths = kmer_profile(index.sequences), train.length.to_numpy()
    rows, seconds = [], []
    for sequence in progress(asked.sequence, desc="neighbours", unit="RNA"):
        began = time.process_time()
        [hit], chance = index.find(sequence, 1)
        seconds.append(time.process_time() - began)
        identity = np.array([identity_of(sequence, other) for other in index.sequences])
        ratio = np.minimum(lengths, len(sequence)) / np.maximum(lengths, len(sequence))
        words = (profile @ kmer_profile([sequence]).T).ravel()
        ways = scores(identity, ratio, words)
        first = {way: int(np.argmax(np.round(values, 6))) for way, values in ways.items()}
        first[RULE] = hit.row
        rows.append(first | {"near": hit.score > chance})
    looked = pd.concat([asked, pd.DataFrame(rows)], axis=1)
    for way in first:
        for field in ("rna_type", "family"):
            told = train[field].to_numpy(object)[looked[way]]
            looked[f"{way} {field}"] = (told == looked[field].to_numpy(object)).astype(float)
    return looked, seconds


def scores(identity: np.ndarray, ratio: np.ndarray, words: np.ndarray) -> dict[str, np.ndarray]:
    """Way of ranking → the score of each training RNA; ``ratio`` is shorter / longer."""
    powers = {f"identity × ratio^{p:g}": identity * ratio**p for p in (0.25, 0.5, 1)}
    return {"5-mers": words, "identity": identity} | powers


def near_shares(looked: pd.DataFrame) -> list[dict]:
    """Of each side and stratum, how many RNAs are nearer to a training RNA than chance is."""
    groups = looked.groupby(["split", "stratum"]).near
    return [
        {
            "split": split,
            "stratum": stratum,
            "RNAs": len(near),
            "near": round(float(near.mean()), 4),
        }
        for (split, stratum), near in groups
    ]


def top_1(looked: pd.DataFrame) -> list[dict]:
    """Shares of RNAs whose first neighbour has their type, and their family where train has it."""
    typed = looked[looked.rna_type != ""]
    ways = [name.removesuffix(" rna_type") for name in looked if name.endswith(" rna_type")]
    rows = []
    for split in ("val", "test"):
        side = typed[typed.split == split]
        groups = {"all": side} | ({"near": side[side.near], "far": side[~side.near]} if
                                  split == "test" else {})  # fmt: skip
        for which, some in groups.items():
            known = some[(some.stratum == "seen") & (some.family != "")]
            for way in ways if split == "val" else ("5-mers", "identity", RULE):
                row = {"split": split, "RNAs": which, "way": way, "n": len(some)}
                row |= {"rna_type": _bounds(some, f"{way} rna_type")}
                rows.append(row | {"family": _bounds(known, f"{way} family")})
    return rows


def _bounds(some: pd.DataFrame, column: str) -> list[float] | None:
    if not len(some):
        return None
    found = Bootstrap(some.unit).bounds(some[column], some.unit)
    return [round(value, 4) for value in found]


def statements(retrieval: Retrieval, rnas: pd.DataFrame, pairs: pd.DataFrame) -> list[dict]:
    """How often right and wrong answers to the test questions about type, family and species are
    spoken against, by what is known and by kind of question."""
    asked = questions.questions(rnas, pairs)
    asked = asked[asked.relation.isin(question_templates.CATEGORICAL)]
    wrong = wrong_answers(asked)
    counts: dict[tuple, np.ndarray] = {}
    for rna_id, rows in progress(asked.groupby("rna_id"), desc="statements", unit="RNA"):
        sequence = rows.sequence.iloc[0]
        near, (own, _) = retrieval.near(sequence), retrieval.own(sequence, rna_id)
        for row in rows[rows.index.isin(wrong.index)].itertuples():
            for state, known in ((KNOWN, own), (NEW, None)):
                flags = [
                    any(AGAINST in s for s in
                        retrieval.statements(row.question, text, known, near))
                    for text in (row.reference, wrong[row.Index])
                ]  # fmt: skip
                key = (state, row.kind, row.form)
                counts[key] = counts.get(key, np.zeros(3, int)) + [1, *flags]
    return [
        {"what": state, "kind": kind, "form": form, "answers": int(n), "false": int(false),
         "detected": int(hit)}
        for (state, kind, form), (n, false, hit) in sorted(counts.items())
    ]  # fmt: skip


def wrong_answers(asked: pd.DataFrame, seed: int = 0) -> pd.Series:
    """For each of the questions that have one, another RNA's answer that is wrong here.

    Of an open question one that names entities, none of them the RNA's own in that relation; of a
    closed one the other word. By the place in ``asked``.
    """
    rng, found = random.Random(seed), {}
    own: dict[tuple, set[str]] = {}
    for row in asked[asked.form == "open"].itertuples():
        named = question_templates.entities(row.question, row.reference)
        own.setdefault((row.rna_id, row.relation), set()).update(named)
    for (relation, form), rows in asked.groupby(["relation", "form"]):
        for row in rows.itertuples():
            if form == "closed":
                entity = question_templates.asked_entity(row.question)
                true = row.reference.startswith("No")
                found[row.Index] = question_templates.RELATIONS[relation].confirm(entity, true)
            elif other := _of_another(row, rows, own[row.rna_id, relation], rng):
                found[row.Index] = other
    return pd.Series(found, dtype=object)


def _of_another(row, rows: pd.DataFrame, own: set[str], rng: random.Random) -> str | None:
    """An answer of ``rows`` that names other entities; None where ten draws bring none."""
    nothing = {question_templates.UNKNOWN, question_templates.NONE}
    for _ in range(10):
        answer = rows.reference.iloc[rng.randrange(len(rows))]
        named = set(question_templates.entities(row.question, answer))
        if named and not named & (own | nothing):
            return answer
    return None


def render() -> str:
    """The block of the page, from the kept results alone."""
    kept = read_json(RESULTS)
    parts = []
    for name, found in kept["sets"].items():
        near = "; ".join(
            f"{row['split']}, {row['stratum']}: {100 * row['near']:.0f} % of {row['RNAs']:,}"
            for row in found["near"]
        )
        parts.append(
            f"**{name}**: {found['training_rnas']:,} training RNAs, {found['seconds_a_query']:.2f} "
            f"s a query on one core. Near one of them are: {near}."
        )
        parts.append(readme.markdown(_shown(_top_rows(found["top"]), ["split", "RNAs", "way"])))
    shown = _shown(_statement_rows(kept["statements"]), ["RNA", "question"])
    return "\n\n".join([*parts, "**Statements**, of the reference run:", readme.markdown(shown)])


def _shown(rows: Iterator[dict], index: list[str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows)).set_index(index)


def _top_rows(top: list[dict]) -> Iterator[dict]:
    for row in top:
        yield {"split": row["split"], "RNAs": f"{row['RNAs']} ({row['n']:,})", "way": row["way"],
               "type": _cell(row["rna_type"]), "family": _cell(row["family"])}  # fmt: skip


def _cell(bounds: list[float] | None) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*bounds) if bounds else "–"


def _statement_rows(rows: list[dict]) -> Iterator[dict]:
    for row in rows:
        n, false, hit = row["answers"], row["false"], row["detected"]
        yield {
            "RNA": row["what"],
            "question": f"{row['kind']}, {row['form']}",
            "answers": f"2 × {n:,}",
            "false alarms": f"{false / n:.3f}",
            "detected": f"{hit / n:.3f}",
            "precision": f"{hit / (hit + false):.3f}" if hit + false else "–",
        }
