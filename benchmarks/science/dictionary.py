"""How many of the entities of real sentences the dictionary finds, and how often it errs.

100 sentences of PubMed abstracts were labelled by hand before the dictionary was written
(`labels/README.md`: the draw and the guidelines). It was tuned on sentences of other articles
alone, and not changed after it had been measured.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks._page import page_of, publish, results_of
from rnagpt_lib.core import paths
from rnagpt_lib.core.bootstrap import OUTER, Bootstrap
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.curate.text.sentences import split_sentences
from rnagpt_lib.evaluate import entities
from rnagpt_lib.report import readme

LABELS = Path(__file__).parents[1] / "labels" / "dictionary.jsonl"
RESULTS = results_of("dictionary")
PAGE = page_of("dictionary")
MATCHES = ("same span", "overlapping")
Span = tuple[int, int, str]  # start, end, kind


def main() -> None:
    """Measure the dictionary on the labelled sentences, then write results and page."""
    write_json(RESULTS, measure())
    publish(PAGE, "dictionary", render())


def measure() -> dict:
    """Precision and recall by kind, with 95 % bootstrap bounds over articles."""
    pairs = [(label["article_id"], text, _spans(label)) for label, text in _labelled()]
    found = {text: [(m.start, m.end, m.kind) for m in entities.mentions(text)]
             for _, text, _ in pairs}  # fmt: skip
    draws = Bootstrap([article for article, _, _ in pairs])
    rows = []
    for kind in ("all", *entities.KINDS):
        for how in MATCHES:
            counts = [
                (article, *count(_of(kind, spans), _of(kind, found[text]), how))
                for article, text, spans in pairs
            ]
            rows.append({"kind": kind, "match": how} | _figures(counts, draws))
    return {"dictionary": entities.ID, "sentences": len(pairs), "rows": rows}


def count(wanted: list[Span], found: list[Span], how: str) -> tuple[int, int, int, int]:
    """Found that are right, found, labels that are found, labels; of one sentence and kind.

    >>> count([(0, 4, "disease")], [(0, 6, "disease"), (9, 12, "disease")], "overlapping")
    (1, 2, 1, 1)
    """

    def same(a: Span, b: Span) -> bool:
        return a == b if how == "same span" else a[2] == b[2] and a[0] < b[1] and b[0] < a[1]

    right = sum(any(same(a, b) for b in wanted) for a in found)
    hit = sum(any(same(a, b) for a in found) for b in wanted)
    return right, len(found), hit, len(wanted)


def _figures(counts: list[tuple], draws: Bootstrap) -> dict:
    """The two shares of the sums, and of the sums of every draw of articles."""
    by_unit = pd.DataFrame(counts).groupby(0).sum().loc[draws.units].to_numpy(float)
    sums = np.vstack([by_unit.sum(axis=0), draws.counts @ by_unit])
    figures: dict = {"found": int(sums[0, 1]), "labels": int(sums[0, 3])}
    for name, part, whole in (("precision", 0, 1), ("recall", 2, 3)):
        drawn = sums[:, part] / np.where(sums[:, whole] > 0, sums[:, whole], np.nan)
        low, high = np.nanpercentile(drawn[1:], OUTER)
        values = {name: drawn[0], f"{name}_low": low, f"{name}_high": high}
        figures |= {key: round(float(value), 4) for key, value in values.items()}
    return figures


def _of(kind: str, spans: list[Span]) -> list[Span]:
    return [span for span in spans if kind in ("all", span[2])]


def _spans(label: dict) -> list[Span]:
    return [tuple(span) for span in label["spans"]]


def _labelled() -> list[tuple[dict, str]]:
    """Every label with its sentence's text, out of the real abstracts.

    Raises InputError where these are missing, or a sentence is not in its abstract any more.
    """
    articles = paths.shared() / "articles" / "mirna_articles.jsonl"
    if not articles.is_file():
        raise InputError(f"the real data are missing: {articles}")
    rows = map(json.loads, articles.read_text("utf-8").splitlines())
    texts = {row["pmid"]: split_sentences(row["abstract"]) for row in rows}
    found = []
    for label in map(json.loads, LABELS.read_text("utf-8").splitlines()):
        article = label["article_id"]
        hashed = {hash_of(sentence): sentence for sentence in texts.get(article, [])}
        if label["sentence"] not in hashed:
            raise InputError(
                f"{LABELS.name}: article {article} of {articles} has no sentence "
                f"{label['sentence']}; the labels belong to another version of it"
            )
        found.append((label, hashed[label["sentence"]]))
    return found


def hash_of(sentence: str) -> str:
    """By which labels know a sentence: 16 hex digits of its sha256."""
    return hashlib.sha256(sentence.encode()).hexdigest()[:16]


def render() -> str:
    """The block of the page, from the kept results alone."""
    kept = read_json(RESULTS)
    rows = [
        {"kind": row["kind"], "match": row["match"], "labels": row["labels"],
         "found": row["found"]} | {name: _cell(row, name) for name in ("precision", "recall")}
        for row in kept["rows"]
    ]  # fmt: skip
    table = readme.markdown(pd.DataFrame(rows).set_index(["kind", "match"]))
    return f"`{kept['dictionary']}` on {kept['sentences']} sentences.\n\n{table}"


def _cell(row: dict, name: str) -> str:
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
