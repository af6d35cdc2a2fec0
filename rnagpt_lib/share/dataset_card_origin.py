"""The sections of an export's card that say where it comes from and how it was made.

Each gives a list of paragraphs in markdown; see `card` for the rest.
"""

import json
import re
from urllib.parse import urlsplit

import pandas as pd

from rnagpt_lib.core.text import fenced, markdown_table, plain
from rnagpt_lib.curate.questions.qa_rules import RULES_VERSION
from rnagpt_lib.curate.summaries import prompts
from rnagpt_lib.runs.provenance import ENTRIES, FIRST, LAST, SUMMARIES, Provenance
from rnagpt_lib.share.dataset_tables import Contents

COUNTS = {"calls": "calls", "tokens_in": "tokens in", "tokens_out": "tokens out"}
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


def sources(run: Provenance, made: Contents) -> list[str]:
    """Where the records are from, under which licences, and what is left out for them."""
    again = "anyone can fetch them again, those of PubMed and PMC from Europe PMC"
    again = "the same run makes them again" if run.generated else again
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
        *records(run, len(made.rnas)),
        left_out + ("" if made.quotes else f" {quoted}"),
    ]


def records(run: Provenance, kept: int) -> list[str]:
    """Where the RNAs, ``kept`` of them, and their articles are from, under which licences."""
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
        listed = pd.DataFrame(rows).astype({"records": "Int64"})
        return [
            markdown_table(
                listed[["name", "release", "date", "records", "licence", "query", "url"]]
            ),
            *_sample(run, kept),
            rules,
        ]
    files = {
        _public(name): digest
        for stage in (FIRST, SUMMARIES)
        for name, digest in run.manifests[stage]["inputs"].items()
    }
    return [
        "The RNAs and articles come from files, whose licence this card does not know:",
        markdown_table(pd.DataFrame({"file": files.keys(), "SHA-256": files.values()})),
        rules,
    ]


def _sample(run: Provenance, kept: int) -> list[str]:
    """How many of the entries that the query finds are here, where LIMIT drew some."""
    limit = run.params[FIRST]["limit"]
    found = sum(source.records or 0 for source in run.sources if source.name == ENTRIES)
    if not 0 < limit < found:
        return []
    return [
        f"The RNAs are a sample: of the {found:,} entries that the query finds, `LIMIT` drew "
        f"{limit:,} by a hash of their ids, and {kept:,} of those are here; `dropped` "
        "says why the others are not."
    ]


def making(run: Provenance, made: Contents) -> list[str]:
    """Models with their calls and costs, and the prompts in full."""
    rows = [_model(run, stage) for stage in (SUMMARIES, LAST)]
    kept = run.params[LAST]
    return [
        "## How the texts were made",
        f"Annotations of the source `{kept['source']}` were broken into pairs by "
        f"{' and '.join(plain(version) for version in sorted(made.versions))}, at most "
        f"{kept['max_pairs']} for an RNA. An annotation was to have {run.params[SUMMARIES]['words']} "
        "words at most.",
        markdown_table(pd.DataFrame(rows).astype(dict.fromkeys(COUNTS.values(), "Int64"))),
        *_prompts(run, made),
    ]


def _model(run: Provenance, stage: str) -> dict:
    params, calls = run.params[stage], run.metrics[stage].get("calls", {})
    by = calls.get("model", params["model"])
    if params["provider"] == "offline":
        by, calls = "rules, no language model", dict.fromkeys([*COUNTS, "dollars"], 0)
    counts = {title: calls.get(name) for name, title in COUNTS.items()}
    dollars = f"{calls['dollars']:.4f}" if "dollars" in calls else "–"
    return {"stage": stage, "by": by} | counts | {"US dollars": dollars}


def _prompts(run: Provenance, made: Contents) -> list[str]:
    """The prompts' full texts; none where no model was asked."""
    if all(run.params[stage]["provider"] == "offline" for stage in (SUMMARIES, LAST)):
        return ["No prompt was used."]
    texts = {k: v for k, v in vars(prompts).items() if k.isupper() and isinstance(v, str)}
    versions = {name: texts.pop(name) for name in list(texts) if name.endswith("_VERSION")}
    parts = ["The prompts, with the places where texts are filled in:"]
    if made.versions - {RULES_VERSION, *versions.values()}:
        parts = ["The prompts as they are now; those of the run, named above, were others:"]
    for name, text in texts.items():
        version = versions.get(f"{name}_VERSION")
        title = name.strip("_").lower() + (f", version {version}" if version else "")
        parts += [f"**{title}**", fenced(text, "text")]
    return parts


def limits(run: Provenance, made: Contents) -> list[str]:
    """What a user should not expect of the data."""
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


def ending(run: Provenance, command: str) -> list[str]:
    """Stages, code, versions and parameters behind the files, and how to cite them."""
    rows = [
        {
            "stage": stage,
            "seed": about["key"]["seed"],
            "finished (UTC)": about["finished"][:16].replace("T", " "),
            "code (git)": (about["git"] or "unknown")[:12],
            "hash": about["hash"][:12],
        }
        for stage, about in run.manifests.items()
    ]
    last = [*run.manifests.values()][-1]
    versions = ", ".join(f"{k} {v}" for k, v in last["versions"].items())
    return [
        "## Where it comes from",
        f"Written by `{command} {run.run}` from the run's stages; a hash is over a "
        "stage's parameters and outputs, and stands whole in `rnagpt_export.json`:",
        markdown_table(pd.DataFrame(rows)),
        f"The last stage ran with {plain(versions, 600)}. The parameters; of paths the last part, "
        "of addresses the host:",
        fenced(json.dumps(_public(run.params), indent=1), "json"),
        "## Citation",
        "Cite the paper, and this implementation of it, which is independent of the paper's "
        "authors:",
        fenced(CITATION, "bibtex"),
    ]


def _public(value: object) -> object:
    """Parameters without what is nobody's business (folders, users of servers) or unused."""
    if isinstance(value, dict):
        unused = {"model"} if value.get("provider") == "offline" else set()
        used = {k: v for k, v in value.items() if v is not None and k not in unused}
        return {name: _public(part) for name, part in used.items()}
    if isinstance(value, list):
        return [_public(part) for part in value]
    if isinstance(value, str) and "://" in value:
        return urlsplit(value).hostname
    return re.split(r"[/\\]", value)[-1] if isinstance(value, str) else value
