"""The whole path, 00 to 07, on real RNAs, with the miniature's base models.

These models have read no RNA and no abstract of nature, and a few hundred RNAs are few to train
on, so this shows that the pipeline works on real files, and how far the scores stand from the
floors. The data lie beside the checkout (``../shared/data``); only counts and scores are kept.
"""

import json
from pathlib import Path

import pandas as pd

from benchmarks._page import page_of, publish, results_of
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.evaluate import results
from rnagpt_lib.report import findings, readme
from rnagpt_lib.runs import notebooks
from rnagpt_lib.runs.stages import STAGES, stage_folder

RESULTS = results_of("real_data")
PAGE = page_of("real_data")
METRICS = ("fact.rna_type", "fact.literature", "fact.closed", "fact.all", "rougeL")


def precursors(folder: Path) -> dict[str, str]:
    """117 human pre-miRNAs with 606 PubMed abstracts, as the four files of a user."""
    source = paths.shared() / "articles"
    rnas = _lines(source / "mirna_precursor_pmids.jsonl")
    texts = _lines(source / "mirna_articles.jsonl")
    fields = ("name", "rna_type", "species", "taxid")
    rows = [
        "\t".join(("rna_id", *fields[1:])),
        *("\t".join(str(r[f]) for f in fields) for r in rnas),
    ]
    written = {
        "FASTA": [f">{rna['name']}\n{rna['sequence']}" for rna in rnas],
        "TABLE": rows,
        "ARTICLES": [json.dumps({"id": text.pop("pmid")} | text) for text in texts],
        "LINKS": [json.dumps({"rna_id": r["name"], "article_ids": r["pmids"]}) for r in rnas],
    }
    for name, lines in written.items():
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    return {name: str(folder / name) for name in written}


def rnacentral(folder: Path) -> dict[str, str]:
    """1,400 RNAcentral sequences of 28 types, types in their headers, no literature; 3 epochs of
    both trainings."""
    fasta = paths.shared() / "rnacentral" / "rnacentral_active_28types_x50.fasta"
    return {"FASTA": str(fasta), "EPOCHS": "3"}


SETS = {"precursors": precursors, "rnacentral": rnacentral}


def main() -> None:
    """Run both sets (what is up to date is left out), then write results and page."""
    if not paths.shared().is_dir():
        raise InputError(f"the real data are missing: {paths.shared()}")
    write_json(RESULTS, [measure(name) for name in SETS])
    publish(PAGE, "real_data", render())


def measure(name: str) -> dict:
    """Run one set as ``runs/<name>`` and read its counts, scores and findings."""
    folder = paths.runs() / name / ".files"
    folder.mkdir(parents=True, exist_ok=True)
    notebooks.run_path(STAGES, run=name, profile="local", parameters=SETS[name](folder))
    found = results.load(name)
    rows = found.scores[(found.scores[["kind", "form", "stratum"]] == "all").all(axis=1)]
    rows = rows[rows.metric.isin(METRICS)]
    manifests = [read_json(stage_folder(name, stage) / "manifest.json") for stage in STAGES]
    return {
        "set": name,
        "about": " ".join(SETS[name].__doc__.split()),
        "pairs": read_json(stage_folder(name, "03_decompose_qa") / "metrics.json")["pairs"],
        "questions": int(found.answers.pair_id.nunique()),
        "rnas_asked_about": int(found.answers.rna_id.nunique()),
        "minutes": round(sum(manifest["seconds"] for manifest in manifests) / 60, 1),
        "scores": rows[["model", "metric", "value", "low", "high", "n"]]
        .round(4)
        .to_dict("records"),
        "findings": findings.findings(found),
    }


def render() -> str:
    """The block of the page, from the kept results alone."""
    if not RESULTS.is_file():
        return "Not measured yet with the base models of today."
    return "\n\n".join(_section(found) for found in json.loads(RESULTS.read_text("utf-8")))


def _section(found: dict) -> str:
    scores = pd.DataFrame(found["scores"])
    bounds = [f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in scores.itertuples()]
    cells = scores.assign(cell=bounds).pivot(index="model", columns="metric", values="cell")
    order = [metric for metric in METRICS if metric in cells]
    table = cells.loc[scores["model"].unique(), order].fillna("–").rename_axis(columns=None)
    asked = (
        f"{found['pairs']} pairs; {found['questions']} test questions about "
        f"{found['rnas_asked_about']} RNAs; {found['minutes']} minutes."
    )
    said = "\n".join(f"- {sentence}" for sentence in found["findings"])
    return f"**{found['set']}**: {found['about']} {asked}\n\n{readme.markdown(table)}\n\n{said}"


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
