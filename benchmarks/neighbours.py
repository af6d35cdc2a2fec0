"""Whether the nearest training RNA tells what an RNA is: by the encoder's vectors, by alignment, or
by both; and how often the statements beside an answer are right.

The rule of `nearest` was chosen on RNAs of the val side. Both parts read the reference run.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from rnagpt_lib import floors, relations, report, sequences, tables, units
from rnagpt_lib.bounds import Bootstrap
from rnagpt_lib.contradictions import Retrieved
from rnagpt_lib.encoder import Encoder
from rnagpt_lib.files import read_json, write_json
from rnagpt_lib.nearest import WEIGHT, Found
from rnagpt_lib.progress import bar
from rnagpt_lib.retrieval import DECOMPOSED, Retrieval
from rnagpt_lib.stages import stage_folder

RUN, ENCODER = "reference", "models/mini-encoder"
RESULTS = Path(__file__).parent / "results" / "neighbours.json"
README = Path(__file__).parent / "README.md"
WEIGHTS = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0)
RULE = f"identity + {WEIGHT:g} × cosine"
KNOWN, NEW = "its fields are known", "a new RNA"
CONTRADICTS = ("field", "annotated", "near", "unfound")  # kinds of statements against an answer


def main() -> None:
    """Measure both parts, then write results and README."""
    write_json(RESULTS, measure())
    print(report.write_block(README, "neighbours", render()))


def measure() -> dict:
    """Top-1 neighbours of val and test RNAs, and statements about right and wrong answers."""
    retrieval = Retrieval.of(RUN, Encoder.load(ENCODER))
    folder = stage_folder(RUN, DECOMPOSED)
    rnas = tables.read(folder / "rnas.parquet", "rnas")
    rnas["stratum"] = floors.strata(rnas)
    asked = rnas[rnas.split != "train"].drop_duplicates("sequence", ignore_index=True)
    looked, seconds = look_up(retrieval, asked)
    pairs = tables.read(folder / "pairs.parquet", "pairs")
    return {
        "training_rnas": len(retrieval.nearest.sequences),
        "seconds_a_query": round(median(seconds), 3),
        "prefilter": round(float(looked.prefiltered.mean()), 4),
        "near": near_shares(looked),
        "top": top_1(looked),
        "statements": statements(retrieval, rnas, pairs),
    }


def look_up(retrieval: Retrieval, asked: pd.DataFrame) -> tuple[pd.DataFrame, list[float]]:
    """``asked`` with the index's row that each way puts first, whether the RNA is near any, and
    whether the highest identity of all was among the RNAs that were aligned; seconds a query."""
    index = retrieval.nearest
    words = sequences.nearest(asked.sequence, index.sequences)
    rows, seconds = [], []
    for place, sequence in enumerate(bar(asked.sequence, desc="neighbours", unit="RNA")):
        began = time.perf_counter()
        found: Found = index.find(sequence, 1)
        seconds.append(time.perf_counter() - began)
        identity = np.array([units.nearest_identity([sequence], [s])[0] for s in index.sequences])
        cosine = index.vectors.cosines(sequence)
        ways = {"cosine": cosine, "identity": identity}
        ways |= {f"w{weight:g}": identity + weight * cosine for weight in WEIGHTS}
        first = {name: int(np.argmax(np.round(values, 6))) for name, values in ways.items()}
        first |= {"5-mers": int(words[place]), RULE: found.hits[0].row}
        first |= {"near": found.highest > found.chance}
        rows.append(first | {"prefiltered": found.highest >= identity.max() - 1e-9})
    fields = retrieval.rnas[retrieval.row >= 0].drop_duplicates("sequence")
    fields = fields.set_index("sequence").loc[index.sequences]
    looked = pd.concat([asked, pd.DataFrame(rows)], axis=1)
    for name in (*ways, "5-mers", RULE):
        for field in ("rna_type", "family"):
            told = fields[field].to_numpy(object)[looked[name]]
            looked[f"{name} {field}"] = (told == looked[field].to_numpy(object)).astype(float)
    return looked, seconds


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
    rows = []
    for split in ("val", "test"):
        side = typed[typed.split == split]
        for which, some in {"all": side, "near": side[side.near], "far": side[~side.near]}.items():
            known = some[some.stratum == "seen"]
            for way in ("cosine", "5-mers", "identity", *(f"w{w:g}" for w in WEIGHTS), RULE):
                if way.startswith("w") and (split, which) != ("val", "all"):
                    continue  # the weight was chosen there
                row = {"split": split, "RNAs": which, "way": way, "n": len(some)}
                row |= {"rna_type": _bounds(some, f"{way} rna_type"), "n_family": len(known)}
                rows.append(row | {"family": _bounds(known, f"{way} family")})
    return rows


def _bounds(some: pd.DataFrame, column: str) -> list[float] | None:
    if not len(some):
        return None
    found = Bootstrap(some.unit).bounds(some[column], some.unit)
    return [round(value, 4) for value in found]


def statements(retrieval: Retrieval, rnas: pd.DataFrame, pairs: pd.DataFrame) -> list[dict]:
    """How often right and wrong answers to the test questions are spoken against, by what is known
    and by kind of question."""
    asked = floors.questions(rnas.drop(columns="stratum"), pairs)
    wrong = wrong_answers(asked)
    counts: dict[tuple, np.ndarray] = {}
    for rna_id, rows in bar(asked.groupby("rna_id"), desc="statements", unit="RNA"):
        found = retrieval.retrieved(rows.sequence.iloc[0], rna_id=rna_id)
        new = Retrieved(None, None, "", found.neighbours, found.highest, found.chance)
        for row in rows[rows.index.isin(wrong.index)].itertuples():
            for state, given in ((KNOWN, found), (NEW, new)):
                flags = [
                    any(s.kind in CONTRADICTS for s in
                        retrieval.checker.statements(row.question, text, given))
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
        named = relations.entities(row.question, row.reference)
        own.setdefault((row.rna_id, row.relation), set()).update(named)
    for (relation, form), rows in asked.groupby(["relation", "form"]):
        for row in rows.itertuples():
            if form == "closed":
                entity = relations.asked_entity(row.question)
                true = row.reference.startswith("No")
                found[row.Index] = relations.RELATIONS[relation].confirm(entity, true)
            elif other := _of_another(row, rows, own[row.rna_id, relation], rng):
                found[row.Index] = other
    return pd.Series(found, dtype=object)


def _of_another(row, rows: pd.DataFrame, own: set[str], rng: random.Random) -> str | None:
    """An answer of ``rows`` that names other entities; None where ten draws bring none."""
    nothing = {relations.UNKNOWN, relations.NONE}
    for _ in range(10):
        answer = rows.reference.iloc[rng.randrange(len(rows))]
        named = set(relations.entities(row.question, answer))
        if named and not named & (own | nothing):
            return answer
    return None


def render() -> str:
    """The block of ``benchmarks/README.md``, from the kept results alone."""
    kept = read_json(RESULTS)
    near = "; ".join(
        f"{row['split']}, {row['stratum']}: {100 * row['near']:.0f} % of {row['RNAs']:,}"
        for row in kept["near"]
    )
    return "\n\n".join(
        [
            f"{kept['training_rnas']:,} training RNAs, {kept['seconds_a_query']:.2f} s a query on "
            f"one core. RNAs nearer to one of them than chance is: {near}. Of "
            f"{100 * kept['prefilter']:.1f} % of all the highest identity is among the RNAs that "
            "were aligned.",
            report.markdown(_shown(_top_rows(kept["top"]), ["split", "RNAs", "way"])),
            report.markdown(_shown(_statement_rows(kept["statements"]), ["RNA", "question"])),
        ]
    )


def _shown(rows: Iterator[dict], index: list[str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows)).set_index(index)


def _top_rows(top: list[dict]) -> Iterator[dict]:
    for row in top:
        way = f"identity + {row['way'][1:]} × cosine" if row["way"].startswith("w") else row["way"]
        if way == RULE and row["way"] != RULE:
            continue  # of all RNAs; the rule's own row is of those that were aligned
        yield {"split": row["split"], "RNAs": f"{row['RNAs']} ({row['n']:,})", "way": way,
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
