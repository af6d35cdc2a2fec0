"""The card of an exported data set: a YAML header for the Hugging Face Hub, then the text.

Every number comes from the run's files. Whatever may hold remote text passes `markdown.plain`,
`markdown.table` or a code block; the header holds none.
"""

import json

import pandas as pd
import yaml

from rnagpt_lib.core.text import fenced, markdown_table
from rnagpt_lib.curate.splits import split
from rnagpt_lib.runs.provenance import FIRST, LAST, Provenance
from rnagpt_lib.share import dataset_card_origin
from rnagpt_lib.share.dataset_tables import ALL, SIDES, Contents

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
MOST_REASONS = 60  # rows of the table of what was dropped
CONFIGS = {
    "pairs": "a question about an RNA, with its answer, the sequence and the RNA's fields",
    "rnas": "an RNA: sequence, fields, unit",
    "annotations": "a sentence about an RNA, with the ids of its articles",
    "links": "an RNA and an article that speaks of it",
    "articles": "an article's id and year",
    "dropped": "a record that was left out, and why",
}
FIELDS = {
    "pair_id": "first 16 hex digits of the SHA-256 of rna_id, source and question, tabs between",
    "question, answer": "the pair; neither names the RNA",
    "kind": "rna_type, species and family ask about the entry's fields; literature and local "
    "about what its articles say (local: facts that a few nucleotides decide)",
    "form": "open, or closed: answered with Yes or No",
    "rna_id, sequence, length, rna_type, species, taxid, family": "the RNA; empty where unknown",
    "unit": "RNAs of similar sequence or literature; a unit is never on two sides but under a "
    "random split",
    "source": "which annotation the pair was made from",
    "article_ids": "the articles behind the answer; none for questions about fields",
    "prompt_version": "the prompt or the rules that made the pair",
}
LOAD = """\
from datasets import load_dataset

folder = "path/to/this/folder"  # or the data set's id on the Hub
pairs = load_dataset(folder, "pairs")
rnas = load_dataset(folder, "rnas")
train = load_dataset("parquet", data_files=f"{folder}/data/pairs/train-*.parquet")"""
NEAR = {"random": "one by one", "cluster": "by unit"}  # of notebook 03's comparison


def render(run: Provenance, made: Contents) -> str:
    """The whole README.md."""
    header = yaml.safe_dump(_header(run, made), sort_keys=False, allow_unicode=False)
    parts = [
        f"---\n{header}---",
        *_opening(run, made),
        *_counts(made),
        *_split(run, made),
        *dataset_card_origin.sources(run, made),
        *dataset_card_origin.making(run, made),
        *_dropped(run, made),
        *dataset_card_origin.limits(run, made),
        *dataset_card_origin.ending(run, "rnagpt export-dataset"),
    ]
    return "\n\n".join(parts) + "\n"


def _header(run: Provenance, made: Contents) -> dict:
    """What the Hub and the library `datasets` read."""
    n = sum(made.rows["pairs"].values())
    licence = "mit" if run.generated else "other" if run.sources else "unknown"
    return {
        "pretty_name": f"RNA-QA, run {run.run}",
        "language": ["en"],
        "license": licence,
        **({"license_name": "see-the-card"} if licence == "other" else {}),
        "task_categories": ["question-answering", "text-generation"],
        "size_categories": [SIZES[min(max(len(str(n)) - 3, 0), len(SIZES) - 1)]],
        "annotations_creators": ["machine-generated"],
        "tags": ["biology", "rna", "synthetic" if run.generated else "rna-qa"],
        "configs": [
            {
                "config_name": config,
                **({"default": True} if config == "pairs" else {}),
                "data_files": [
                    {"split": side, "path": f"data/{config}/{side}-*.parquet"} for side in sides
                ],
            }
            for config, sides in made.rows.items()
        ],
    }


# --- sections: lists of paragraphs


def _opening(run: Provenance, made: Contents) -> list[str]:
    n = sum(made.rows["pairs"].values())
    world = (
        " **Everything in it is generated**: the RNAs, the articles and what they say are those of "
        "a miniature world made for teaching and tests, and say nothing about biology."
    )
    texts = {"articles": "an article: id, year, title and abstract"} if made.texts else {}
    rows = [
        {"config": name, "a row is": about}
        | {side: made.rows.get(name, {}).get(side) for side in SIDES.values()}
        for name, about in (CONFIGS | texts).items()
    ]
    return [
        "# RNA-QA",
        f"{n:,} questions and answers about {len(made.rnas):,} RNAs, to teach a language model to "
        f"read RNA sequences and to test what it learned; run `{run.run}` of the open "
        f"implementation of RNA-GPT.{world if run.generated else ''}",
        markdown_table(pd.DataFrame(rows).astype(dict.fromkeys(SIDES.values(), "Int64"))),
        f"Articles and what was dropped belong to no side; all of their rows are in `{ALL[0]}`, "
        "as the Hub expects.",
        "## Load it",
        fenced(LOAD, "python"),
        "`sha256sum -c SHA256SUMS`, in this folder, tells whether the files are those that were "
        "written.",
        "## One row of `pairs`",
        fenced(json.dumps(made.example, indent=1), "json"),
        markdown_table(pd.DataFrame({"field": FIELDS.keys(), "what it is": FIELDS.values()})),
    ]


def _counts(made: Contents) -> list[str]:
    keys = pd.MultiIndex.from_tuples(made.pairs, names=["kind", "form", "side"])
    kinds = pd.Series(list(made.pairs.values()), keys).unstack(fill_value=0)
    kinds = kinds.reindex(columns=[s for s in SIDES.values() if s in kinds]).reset_index()
    named = made.rnas["rna_type"].where(made.rnas["rna_type"] != "", "(none)")
    types = pd.DataFrame({"type": named, "side": made.rnas["split"].map(SIDES), "n": made.per_rna})
    types = types.groupby(["type", "side"])["n"].agg(RNAs="size", pairs="sum").unstack(fill_value=0)
    order = [(what, side) for what in ("RNAs", "pairs") for side in SIDES.values()]
    types = types[[column for column in order if column in types]]
    types.columns = [f"{what}, {side}" for what, side in types.columns]
    per_rna = pd.Series(made.per_rna)
    low, middle, high = (int(per_rna.quantile(q)) for q in (0.25, 0.5, 0.75))
    return [
        "## Counts",
        f"An RNA has {per_rna.mean():.1f} pairs on average: least {per_rna.min()}, quartiles "
        f"{low}, {middle} and {high}, most {per_rna.max()}.",
        "Pairs by kind and form:",
        markdown_table(kinds),
        "By RNA type; (none) where the entry names none, as the decoys of the generated world:",
        markdown_table(types.reset_index()),
    ]


def _split(run: Provenance, made: Contents) -> list[str]:
    how = {
        "random": "drawn RNA by RNA: **relatives stand on both sides, so test results flatter**",
        "cluster": "drawn by unit within each RNA type",
        "family": "drawn by whole families, whose units stay whole too",
    }[run.split]
    rnas = made.rnas
    sides = rnas.groupby("split").agg(RNAs=("rna_id", "size"), units=("unit", "nunique"))
    sides["pairs"] = pd.Series(made.per_rna, rnas.index).groupby(rnas["split"]).sum()
    sides = sides.reindex([side for side in SIDES if side in sides.index]).rename(SIDES)
    twice = int((rnas.groupby("sequence")["split"].nunique() > 1).sum())
    followed = len(split.swallowed(rnas.assign(split=made.preset)))
    near = run.metrics[LAST].get("near_twin_share", {})
    checks = {
        "units on two sides": len(split.straddling(rnas)),
        "sequences on two sides": twice,
        "articles linked with RNAs on two sides": made.shared_articles,
        "RNAs whose side was fixed beforehand": int((made.preset != "").sum()),
        "RNAs that followed such an RNA of their unit": followed,
    } | {
        f"test RNAs with a near twin in train, were RNAs split {NEAR.get(name, name)}": f"{share:.1%}"
        for name, share in near.items()
    }
    found = [value if isinstance(value, str) else f"{value:,}" for value in checks.values()]
    return [
        "## Split and leakage",
        f"The sides were {how} (`SPLIT={run.split}`, seed {run.seed}). Two RNAs are of one unit "
        f"when their sequences are {split.IDENTITY:.0%} identical over most of the shorter one, "
        f"when they share half of their articles, or through other RNAs.",
        markdown_table(sides.rename_axis("side").reset_index()),
        "What was checked:",
        markdown_table(pd.DataFrame({"check": checks.keys(), "found": found})),
        "Near twins were counted for up to 100 test RNAs whose side was not fixed beforehand. An "
        "article may speak of RNAs on two sides: a unit joins RNAs that share half of their "
        "articles, not one.",
    ]


def _dropped(run: Provenance, made: Contents) -> list[str]:
    if not made.reasons:
        return ["## Left out", "No record was left out."]
    rows = [(*key, number) for key, number in made.reasons.most_common()]
    rest = sum(number for *_, number in rows[MOST_REASONS:])
    rows = sorted(rows[:MOST_REASONS], key=lambda row: (row[0], -row[2], row[1]))
    rows += [("all", f"{len(made.reasons) - MOST_REASONS} other reasons", rest)] if rest else []
    limits = run.params[FIRST]
    return [
        "## Left out",
        f"RNAs of {limits['min_length']:,} to {limits['max_length']:,} nt were kept. What was "
        "left out, with numbers as #; each record is in `dropped`:",
        markdown_table(pd.DataFrame(rows, columns=["stage", "reason", "records"])),
    ]
