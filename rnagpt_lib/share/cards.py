"""The cards of shared data sets and models: facts out of a run's files, told by ``*.md.j2``.

Whatever may hold a user's or remote text passes `text.plain`, `text.markdown_table` or a code block
in the templates; the YAML headers, which are huggingface_hub's, hold none.
"""

import json
import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from rnagpt_lib.core import tables, text
from rnagpt_lib.core.files import visible
from rnagpt_lib.core.weights import HUB
from rnagpt_lib.curate import prompts
from rnagpt_lib.curate.questions.qa_rules import RULES_VERSION
from rnagpt_lib.curate.splits import split
from rnagpt_lib.curate.summaries.divide_and_conquer import MISSING
from rnagpt_lib.evaluate import results
from rnagpt_lib.evaluate.results import Results
from rnagpt_lib.model import exported
from rnagpt_lib.model.checkpoint import read_config
from rnagpt_lib.model.rna_gpt import Config
from rnagpt_lib.report import findings
from rnagpt_lib.report.tables import bounded, strata_table, title
from rnagpt_lib.runs.provenance import ENTRIES, Provenance, origin
from rnagpt_lib.runs.stages import FILTER, QA, STAGE_OF, SUMMARIES, stage_folder

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
MOST_REASONS = 60  # rows of the table of what was dropped
TRAINED = {"04_train_stage1": "modality alignment", "05_train_stage2": "instruction tuning"}
MINIATURE = {"models/mini-encoder", "models/mini-llm"}
SIDES = {"train": "train", "val": "validation", "test": "test"}  # ours → the Hub's
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # vLLM's names


@dataclass
class Contents:
    """What an export of a data set holds, counted: all that its card says about the tables."""

    rnas: pd.DataFrame  # as 03 left them
    preset: pd.Series  # their sides as 00 had fixed them, "" where it had not
    texts: bool  # titles and abstracts are in
    quotes: bool  # sentences that quote abstracts are in
    rows: dict[str, dict[str, int]] = field(default_factory=dict)  # config → side → rows
    pairs: Counter = field(default_factory=Counter)  # (kind, form, side) → pairs
    versions: set[str] = field(default_factory=set)  # of the prompts behind the pairs
    reasons: Counter = field(default_factory=Counter)  # (stage, reason) → records
    shared_articles: int = 0  # linked with RNAs on two sides
    example: dict = field(default_factory=dict)  # the first pair

    def __post_init__(self) -> None:
        self.per_rna = np.zeros(len(self.rnas), np.int64)


def dataset_card(run: Provenance, made: Contents) -> str:
    """The README.md of an exported data set, whose tables are ``made``."""
    n = sum(made.rows["pairs"].values())
    licence = "mit" if run.generated else "other" if run.sources else "unknown"
    header = DatasetCardData(
        pretty_name=f"RNA-QA, run {run.run}",
        language=["en"],
        license=licence,
        license_name="see-the-card" if licence == "other" else None,
        task_categories=["question-answering", "text-generation"],
        size_categories=[size_category(n)],
        annotations_creators=["machine-generated"],
        tags=["biology", "rna", "synthetic" if run.generated else "rna-qa"],
        configs=[_config(config, sides) for config, sides in made.rows.items()],
    )
    offline = all(run.params[stage]["provider"] == "offline" for stage in (SUMMARIES, QA))
    versions = {k: v for k, v in vars(prompts).items() if k.endswith("_VERSION")}
    body = _templates().get_template("dataset_card.md.j2").render(
        run=run, made=made, n=n, rnas=made.rnas, last=run.params[QA], offline=offline,
        sources=_sources(run),
        per_rna=made.per_rna, quartiles=pd.Series(made.per_rna).quantile([0.25, 0.5, 0.75])
        .astype(int).tolist(), kinds=_kinds(made), types=_types(made),
        sides=_sides(made.rnas, pd.Series(made.per_rna, made.rnas.rna_id)),
        straddling=len(split.straddling(made.rnas)), identity=split.IDENTITY,
        twice=(made.rnas.groupby("sequence")["split"].nunique() > 1).sum(),
        fixed=(made.preset != "").sum(),
        followed=len(split.swallowed(made.rnas.assign(split=made.preset))),
        current=made.versions <= {RULES_VERSION, *versions.values()}, prompts=_prompts(versions),
        dropped=_dropped(made), truth=run.metrics[QA].get("truth"),
        missing=sum(n for (_, why), n in made.reasons.items() if re.search(MISSING, why)),
        few=int((made.per_rna < run.params[QA]["min_pairs"]).sum()),
    )  # fmt: skip
    return _card(DatasetCard, header, body)


def model_card(run: Provenance, about: dict, folder: Path, scores: Results | None) -> str:
    """The README.md of ``folder``, an exported model of which all other files are there.

    ``about``: what ``rnagpt_export.json`` will say; ``scores``: None where the run has none.
    """
    config, template = read_config(folder)
    stage, merged = STAGE_OF[about["model"]], exported.llm_of(folder)
    llm = f"path/to/this/folder/{exported.LLM}" if merged else config.llm
    bases = [{"part": part} | about[part] for part in ("encoder", "llm")]
    if about["merged"]:
        bases[1]["part"] = "llm, before the adapters were merged (not needed)"
    parts = {about[part]["name"] for part in ("encoder", "llm")}
    body = _templates().get_template("model_card.md.j2").render(
        run=run, about=about, stage=stage, sources=_sources(run), stage_name=TRAINED[stage],
        stage_number=list(TRAINED).index(stage) + 1, bases=pd.DataFrame(bases),
        sizes=_sizes(folder), prompt=template.prompt + template.answer,
        serve=serve_command(llm, config) if config.train == "projection" else None,
        origin=origin(run.run), sides=_sides_of(run), scores=scores,
        trainings={name: what for name, what in TRAINED.items() if name in run.manifests},
        unreal=[] if run.generated else sorted(parts & MINIATURE),
        **(_scores(scores, about["model"]) if scores else {}),
    )  # fmt: skip
    return _card(ModelCard, model_header(run, about, scores), body)


def model_header(run: Provenance, about: dict, scores: Results | None = None) -> ModelCardData:
    """What the Hub reads, with the model's own scores. The licence is the user's to choose."""
    more = {}
    if about["llm"]["name"].startswith(HUB):
        more["base_model"] = about["llm"]["name"].removeprefix(HUB).partition("@")[0]
        more["base_model_relation"] = "finetune" if about["merged"] else "adapter"
    if scores:
        of, on = f"RNA-GPT {about['model']}, run {run.run}", f"RNA-QA, run {run.run}, test side"
        metrics = ("rougeL", *scores.headlines, "fact.all")
        values = {metric: scores.value(about["model"], metric) for metric in metrics}
        measured = [
            EvalResult("question-answering", "rna-qa", on, metric, value)
            for metric, value in values.items()
            if not pd.isna(value)
        ]
        more |= {"model_name": of, "eval_results": measured}
    return ModelCardData(
        language=["en"],
        license="other",
        license_name="see-the-card",
        library_name="rnagpt-lib",
        pipeline_tag="text-generation",
        tags=["biology", "rna", "rna-gpt", *(["synthetic"] if run.generated else [])],
        **more,
    )


def name_of(config: Config) -> str:
    """The name under which a server has the LLM: of its hash, so that no other answers for it."""
    return f"rna-gpt-{config.llm_hash[:12]}"


def serve_command(llm: str, config: Config) -> str:
    """The line that serves the LLM at ``llm``, a folder or an id of the hub."""
    name, _, revision = llm.removeprefix(HUB).partition("@")
    pinned = ["--revision", revision, "--tokenizer-revision", revision] if revision else []
    words = ["vllm", "serve", name, *pinned, "--served-model-name", name_of(config)]
    return shlex.join([*words, "--enable-prompt-embeds", "--dtype", DTYPES[config.precision]])


def size_category(n: int) -> str:
    """The Hub's name for a data set of ``n`` rows."""
    return SIZES[min(max(len(str(n)) - 3, 0), len(SIZES) - 1)]


# --- templates


def _templates() -> Environment:
    loader = PackageLoader("rnagpt_lib.share", ".")
    pages = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True)
    pages.globals |= {"FILTER": FILTER, "SUMMARIES": SUMMARIES, "QA": QA, "ENTRIES": ENTRIES}
    pages.filters |= {"plain": text.plain, "fenced": text.fenced, "public": _public}
    pages.filters |= {"table": text.markdown_table, "number": "{:,}".format}
    pages.filters["json"] = lambda data: json.dumps(data, indent=1)
    return pages


def _card(kind: type, header: object, body: str) -> str:
    def blank(found: re.Match) -> str:  # lines in a row become one, but in blocks of code
        return found[0] if found[1] else "\n\n"

    body = re.sub(r"(?sm)^(`{3,}+).*?\n\1|\n{3,}", blank, body).strip()
    page = "---\n{{ card_data }}\n---\n\n{{ body }}"
    return f"{kind.from_template(header, template_str=page, body=body)}\n"


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


# --- tables of a data set's card


def _config(config: str, sides: dict) -> dict:
    files = [{"split": side, "path": f"data/{config}/{side}-*.parquet"} for side in sides]
    default = {"default": True} if config == "pairs" else {}
    return {"config_name": config, **default, "data_files": files}


def _kinds(made: Contents) -> pd.DataFrame:
    keys = pd.MultiIndex.from_tuples(made.pairs, names=["kind", "form", "side"])
    kinds = pd.Series(list(made.pairs.values()), keys).unstack(fill_value=0)
    return kinds.reindex(columns=[s for s in SIDES.values() if s in kinds]).reset_index()


def _types(made: Contents) -> pd.DataFrame:
    named = made.rnas["rna_type"].where(made.rnas["rna_type"] != "", "(none)")
    types = pd.DataFrame({"type": named, "side": made.rnas["split"].map(SIDES), "n": made.per_rna})
    types = types.groupby(["type", "side"])["n"].agg(RNAs="size", pairs="sum").unstack(fill_value=0)
    order = [(what, side) for what in ("RNAs", "pairs") for side in SIDES.values()]
    types = types[[column for column in order if column in types]]
    types.columns = [f"{what}, {side}" for what, side in types.columns]
    return types.reset_index()


def _sides(rnas: pd.DataFrame, pairs: pd.Series) -> pd.DataFrame:
    """RNAs, units and pairs of each side; ``pairs``: how many an RNA has, by rna_id."""
    sides = rnas.groupby("split").agg(RNAs=("rna_id", "size"), units=("unit", "nunique"))
    own = rnas["rna_id"].map(pairs).fillna(0).astype(int)
    sides["pairs"] = own.groupby(rnas["split"]).sum()
    sides = sides.reindex([side for side in SIDES if side in sides.index])
    return sides.rename(SIDES).rename_axis("side").reset_index()


def _sources(run: Provenance) -> pd.DataFrame:
    columns = ["name", "release", "date", "records", "licence", "query", "url"]
    listed = pd.DataFrame([source.model_dump() for source in run.sources], columns=columns)
    return listed.astype({"records": "Int64"})


def _prompts(versions: dict[str, str]) -> list[tuple[str, str]]:
    """(title, text) of every prompt."""
    known = vars(prompts).items()
    texts = {k: v for k, v in known if k.isupper() and isinstance(v, str) and k not in versions}
    return [
        (name.strip("_").lower() + (f", version {own}" if own else ""), text)
        for name, text in texts.items()
        for own in [versions.get(f"{name}_VERSION")]
    ]


def _dropped(made: Contents) -> pd.DataFrame | None:
    rows = [(*key, number) for key, number in made.reasons.most_common()]
    rest = sum(number for *_, number in rows[MOST_REASONS:])
    rows = sorted(rows[:MOST_REASONS], key=lambda row: (row[0], -row[2], row[1]))
    rows += [("all", f"{len(made.reasons) - MOST_REASONS} other reasons", rest)] if rest else []
    return pd.DataFrame(rows, columns=["stage", "reason", "records"]) if rows else None


# --- tables of a model's card


def _sizes(folder: Path) -> Counter:
    """Bytes of the files and, as one, of each folder in ``folder``."""
    sizes: Counter = Counter()
    for name, file in visible(folder).items():
        sizes[f"{name.split('/')[0]}/" if "/" in name else name] += file.stat().st_size
    return sizes


def _sides_of(run: Provenance) -> pd.DataFrame:
    folder = stage_folder(run.run, QA)
    pairs: Counter = Counter()
    with tables.in_batches(folder / "pairs.parquet") as file:
        for batch in file.iter_batches(columns=["rna_id"]):
            pairs.update(batch["rna_id"].to_pylist())
    return _sides(tables.read(folder / "rnas.parquet", "rnas"), pd.Series(pairs))


def _scores(scores: Results, model: str) -> dict:
    """What the card says of the scores: a metric a row, a model a column; strata; sentences."""
    models = [model, "vanilla", *results.FLOORS, *(results.CONTROLS if model == "IT" else ())]
    rows = [
        {"metric": title(metric), "answers": scores.value(model, metric, column="n")}
        | {name: bounded(scores, name, metric).partition(" n=")[0] for name in models}
        for metric in (*(f"fact.{fact}" for fact in results.FACTS), "rougeL", *scores.headlines)
    ]
    return {
        "legend": findings.LEGEND,
        "score_table": pd.DataFrame(rows).astype({"answers": "Int64"}),
        "strata": strata_table(scores).reindex(models).reset_index(),
        "findings": findings.findings(scores) if model == "IT" else [],
    }
