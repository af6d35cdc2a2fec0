"""The card of an exported data set: a YAML header for the Hugging Face Hub, then the text.

Every number comes from the run's files. Whatever may hold remote text passes `markdown.plain`,
`markdown.table` or a code block; the header holds none.
"""

import json
import re
from urllib.parse import urlsplit

import pandas as pd
import yaml

from rnagpt_lib import prompts, units
from rnagpt_lib.export_tables import ALL, SIDES, Contents
from rnagpt_lib.markdown import fenced, plain, table
from rnagpt_lib.provenance import FIRST, LAST, SUMMARIES, Provenance
from rnagpt_lib.qa import RULES_VERSION

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
CITATION = """\
@misc{xiao2024rnagpt,
  title  = {RNA-GPT: Multimodal Generative System for RNA Sequence Understanding},
  author = {Xiao and Sun and Jin and Wang},
  year   = {2024},
  note   = {arXiv 2411.08900}
}
@software{rnagpt_open,
  title  = {RNA-GPT, in the open: an independent implementation},
  author = {{RNA-GPT open implementation contributors}}
}"""


def render(run: Provenance, made: Contents) -> str:
    """The whole README.md."""
    header = yaml.safe_dump(_header(run, made), sort_keys=False, allow_unicode=False)
    parts = [
        f"---\n{header}---",
        *_opening(run, made),
        *_counts(made),
        *_split(run, made),
        *_sources(run, made),
        *_making(run, made),
        *_dropped(run, made),
        *_limits(run, made),
        *_ending(run),
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
        "tags": ["biology", "rna", *(["synthetic"] if run.generated else ["rnacentral"])],
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
    rows = [
        {"config": name, "a row is": about}
        | {side: made.rows[name].get(side) for side in SIDES.values()}
        for name, about in CONFIGS.items()
    ]
    return [
        "# RNA-QA",
        f"{n:,} questions and answers about {len(made.rnas):,} RNAs, to teach a language model to "
        f"read RNA sequences and to test what it learned; run `{run.run}` of the open "
        f"implementation of RNA-GPT.{world if run.generated else ''}",
        table(pd.DataFrame(rows).astype(dict.fromkeys(SIDES.values(), "Int64"))),
        f"Articles and what was dropped belong to no side; all of their rows are in `{ALL[0]}`, "
        "as the Hub expects.",
        "## Load it",
        fenced(LOAD, "python"),
        "`sha256sum -c SHA256SUMS`, in this folder, tells whether the files are those that were "
        "written.",
        "## One row of `pairs`",
        fenced(json.dumps(made.example, indent=1, ensure_ascii=False), "json"),
        table(pd.DataFrame({"field": FIELDS.keys(), "what it is": FIELDS.values()})),
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
        table(kinds),
        "By RNA type, where (none) means that the entry names none:",
        table(types.reset_index()),
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
    followed = len(units.swallowed(rnas.assign(split=made.preset)))
    near = run.metrics[LAST].get("near_twin_share", {})
    checks = {
        "units on two sides": len(units.straddling(rnas)),
        "sequences on two sides": twice,
        "articles linked with RNAs on two sides": made.shared_articles,
        "RNAs whose side was fixed beforehand": int((made.preset != "").sum()),
        "RNAs that followed such an RNA of their unit": followed,
    } | {
        f"test RNAs with a near twin in train, were RNAs split {NEAR[name]}": f"{share:.1%}"
        for name, share in near.items()
    }
    found = [value if isinstance(value, str) else f"{value:,}" for value in checks.values()]
    return [
        "## Split and leakage",
        f"The sides were {how} (`SPLIT={run.split}`, seed {run.seed}). Two RNAs are of one unit "
        f"when their sequences are {units.IDENTITY:.0%} identical over most of the shorter one, "
        f"when they share half of their articles, or through other RNAs.",
        table(sides.rename_axis("side").reset_index()),
        table(pd.DataFrame({"check": checks.keys(), "found": found})),
        "Near twins were counted for up to 100 test RNAs whose side was not fixed beforehand. An "
        "article may speak of RNAs on two sides: a unit joins RNAs that share half of their "
        "articles, not one.",
    ]


def _sources(run: Provenance, made: Contents) -> list[str]:
    again = "the same run makes them again" if run.generated else "anyone can fetch them again"
    left_out = (
        "Titles and abstracts are in this export."
        if made.texts
        else "Titles and abstracts are not in this export; `articles` keeps the ids, by which "
        f"{again}."
    )
    quoted = (
        "The sentences that the offline provider copied from abstracts are left out as well: there "
        "`text` of `annotations` is null, and the ids of the articles stay."
    )
    return [
        "## Sources and licences",
        *_origin(run),
        left_out + ("" if made.quotes else f" {quoted}"),
    ]


def _origin(run: Provenance) -> list[str]:
    if run.generated:
        size = run.params[FIRST]["world_size"]
        return [
            f"The RNAs and their articles are generated: the miniature world of {size:,} RNAs, "
            f"seed {run.manifests[FIRST]['key']['seed']}. They are under the project's licence, "
            "MIT. No record of RNAcentral or PubMed is in it."
        ]
    rules = (
        "RNAcentral's data are CC0. Abstracts belong to their publishers. What others gave keeps "
        "the licence that they gave it."
    )
    if run.sources:
        rows = [source.model_dump() for source in run.sources]
        return [table(pd.DataFrame(rows).astype(object)), rules]
    files = {
        _public(name): digest
        for stage in (FIRST, SUMMARIES)
        for name, digest in run.manifests[stage]["inputs"].items()
    }
    return [
        "The RNAs and articles come from files, whose licence this card does not know:",
        table(pd.DataFrame({"file": files.keys(), "SHA-256": files.values()})),
        rules,
    ]


def _making(run: Provenance, made: Contents) -> list[str]:
    rows = [_model(run, stage) for stage in (SUMMARIES, LAST)]
    kept = run.params[LAST]
    return [
        "## How the texts were made",
        f"Annotations of the source `{kept['source']}` were broken into pairs by "
        f"{' and '.join(plain(version) for version in sorted(made.versions))}, at most "
        f"{kept['max_pairs']} for an RNA. An annotation was to have {run.params[SUMMARIES]['words']} "
        "words at most.",
        table(pd.DataFrame(rows)),
        *_prompts(run, made),
    ]


def _model(run: Provenance, stage: str) -> dict:
    params, calls = run.params[stage], run.metrics[stage].get("calls", {})
    row = {"stage": stage, "by": "rules and chosen sentences, no language model"}
    if params["provider"] != "offline":
        row["by"] = calls.get("model", params["model"])
    names = {"calls": "calls", "tokens_in": "tokens in", "tokens_out": "tokens out"}
    return row | {
        title: calls.get(name, 0 if params["provider"] == "offline" else None)
        for name, title in (names | {"dollars": "US dollars"}).items()
    }


def _prompts(run: Provenance, made: Contents) -> list[str]:
    """The prompts' full texts; none where no model was asked."""
    if all(run.params[stage]["provider"] == "offline" for stage in (SUMMARIES, LAST)):
        return ["No prompt was used."]
    texts = {name: text for name, text in vars(prompts).items() if name.isupper()}
    versions = {name: texts.pop(name) for name in list(texts) if name.endswith("_VERSION")}
    parts = ["The prompts, with the places where texts are filled in:"]
    if made.versions - {RULES_VERSION, *versions.values()}:
        parts = ["The prompts as they are now; those of the run, named above, were others:"]
    for name, text in texts.items():
        version = versions.get(f"{name}_VERSION")
        title = name.strip("_").lower() + (f", version {version}" if version else "")
        parts += [f"**{title}**", fenced(text, "text")]
    return parts


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
        table(pd.DataFrame(rows, columns=["stage", "reason", "records"])),
    ]


def _limits(run: Provenance, made: Contents) -> list[str]:
    least = run.params[LAST]["min_pairs"]
    few = int((made.per_rna < least).sum())
    offline = run.params[LAST]["provider"] == "offline"
    limits = [
        "Species can often not be told from a sequence; the question is asked all the same.",
        "\"No\" to a closed question means that the RNA's annotation does not say so, which is "
        "no evidence of absence.",
        "Annotations keep their authors' claims, right or wrong.",
        f"{few:,} RNAs have fewer than {least} pairs, as their texts carry no more.",
        'Pairs were made by rules, which find facts in usual wording only and take "up-regulated '
        'in glioma" for an association with glioma.' if offline else
        "A language model wrote the pairs about literature, and may have misread a sentence.",
    ]  # fmt: skip
    if run.params[SUMMARIES]["provider"] != "offline":
        limits.append("A language model wrote annotations; a citation shows where to check one.")
    truth = run.metrics[LAST].get("truth")
    if truth:
        limits.append(
            f"Against the generated world's truth the facts in open pairs have a precision of "
            f"{truth['precision']:.3f} and a recall of {truth['recall']:.3f}."
        )
    return ["## Known limits", "\n".join(f"- {limit}" for limit in limits)]


def _ending(run: Provenance) -> list[str]:
    rows = [
        {
            "stage": stage,
            "finished": about["finished"],
            "code (git)": (about["git"] or "unknown")[:12],
            "SHA-256 of parameters and outputs": about["hash"],
        }
        for stage, about in run.manifests.items()
    ]
    versions = ", ".join(f"{k} {v}" for k, v in run.manifests[LAST]["versions"].items())
    return [
        "## Where it comes from",
        f"Written by `rnagpt export-dataset {run.run}` from the run's stages:",
        table(pd.DataFrame(rows)),
        f"Seed {run.seed}; {plain(versions, 600)}. Their parameters, of paths and addresses only "
        "the last part or the host:",
        fenced(json.dumps(_public(run.params), indent=1, ensure_ascii=False), "json"),
        "## Citation",
        "Cite the paper, and this implementation of it, which is independent of the paper's "
        "authors:",
        fenced(CITATION, "bibtex"),
    ]


def _public(value: object) -> object:
    """Parameters without what is nobody's business: folders, users and ports of servers."""
    if isinstance(value, dict):
        return {name: _public(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_public(part) for part in value]
    if isinstance(value, str) and "://" in value:
        return urlsplit(value).hostname
    return re.split(r"[/\\]", value)[-1] if isinstance(value, str) else value
