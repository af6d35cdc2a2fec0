"""The card of an exported model: a YAML header for the Hugging Face Hub, then the text.

Every number comes from the run's files. Whatever may hold a user's or remote text passes
`markdown.plain`, `markdown.table` or a code block, or stands quoted in the header.
"""

import json
import shlex
from collections import Counter
from pathlib import Path

import pandas as pd
import yaml

from rnagpt_lib.chat.generate import MODELS
from rnagpt_lib.core import tables, weights
from rnagpt_lib.core.files import visible
from rnagpt_lib.core.text import fenced, markdown_table, plain
from rnagpt_lib.evaluate.results import CONTROLS, FACTS, FLOORS, Results, bounded, title
from rnagpt_lib.model import exported
from rnagpt_lib.model.rna_gpt import Config
from rnagpt_lib.model.template import Template
from rnagpt_lib.report import findings
from rnagpt_lib.runs.provenance import LAST, SUMMARIES, Provenance, origin
from rnagpt_lib.runs.stages import stage_folder
from rnagpt_lib.share import dataset_card_origin
from rnagpt_lib.share.dataset_tables import SIDES

STAGES = {"04_train_stage1": "modality alignment", "05_train_stage2": "instruction tuning"}
MINIATURE = {"models/mini-encoder", "models/mini-llm"}
FILES = {
    "projection.safetensors": "the projection: a nucleotide's vector → a soft token",
    "adapter/": "LoRA adapters of the LLM's linear layers, in PEFT's format",
    "encoder_layers.safetensors": "the encoder's last layers as they were trained, in place of its "
    "own",
    "llm/": "the LLM with the adapters merged into its weights, its tokenizer, its settings",
    "template.json": "every byte of the prompts",
    "config.json": "what the model is made of",
    "scores.csv": "all scores of the run, of every model, floor and control",
    "definitions.json": "what each score is, with the scorer's model and hash",
}
LOAD = """\
from rnagpt_lib.chat.generate import load_model

chat = load_model(model="path/to/this/folder")
print(chat.ask("GGCUAGCUCAAUCGGUAGAGCGUGAGACUCUUAAUCUC", "What type of RNA is the RNA?"))"""
FETCH = """\
from huggingface_hub import snapshot_download

chat = load_model(model=snapshot_download("OWNER/NAME"))"""
ASK = """\
from examples.serve_vllm import serving

remote = serving.load("path/to/this/folder")
question = "What type of RNA is the RNA?"
print(remote.ask("http://localhost:8000/v1", "GGCUAGCUCAAUCGGUAGAGCGUGAGACUC", question).text)"""
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # vLLM's names
WORLD = (
    "**It knows a generated world alone**: the RNAs, the families and the articles that it learned "
    "from are those of a miniature made for teaching and tests. Its answers and its scores say "
    "nothing about RNAs of nature."
)


def render(run: Provenance, about: dict, folder: Path, scores: Results | None) -> str:
    """The whole README.md of ``folder``, of which all other files are there.

    ``about``: what ``rnagpt_export.json`` will say; ``scores``: None where the run has none.
    """
    header = yaml.safe_dump(_header(run, about), sort_keys=False, allow_unicode=False)
    parts = [
        f"---\n{header}---",
        *_opening(run, about),
        *_loading(about, folder),
        *_serving(folder),
        *_training(run, about),
        *_scores(run, about, scores),
        *_limits(run, about),
        *dataset_card_origin.ending(run, "rnagpt export-model"),
    ]
    return "\n\n".join(parts) + "\n"


def _header(run: Provenance, about: dict) -> dict:
    """What the Hub reads. The licence is the user's to choose."""
    name = about["llm"]["name"]
    base = {}
    if name.startswith(weights.HUB):
        relation = "finetune" if about["merged"] else "adapter"
        base = {
            "base_model": name.removeprefix(weights.HUB).partition("@")[0],
            "base_model_relation": relation,
        }
    return {
        "language": ["en"],
        "license": "other",
        "license_name": "see-the-card",
        "library_name": "rnagpt-lib",
        "pipeline_tag": "text-generation",
        **base,
        "tags": ["biology", "rna", "rna-gpt", *(["synthetic"] if run.generated else [])],
    }


# --- sections: lists of paragraphs


def _opening(run: Provenance, about: dict) -> list[str]:
    stage = MODELS[about["model"]]
    return [
        f"# RNA-GPT, model {about['model']} of run `{run.run}`",
        "A chat model for RNA sequences: an RNA language model reads the sequence, one "
        "linear projection turns each nucleotide into a soft token, and a language model answers "
        f"questions about it. This is the model after stage {list(STAGES).index(stage) + 1} "
        f"({STAGES[stage]}), as notebook `{stage}` of the open implementation of RNA-GPT "
        "trained it.",
        *([WORLD] if run.generated else []),
    ]


def _loading(about: dict, folder: Path) -> list[str]:
    rows = [{"part": part} | about[part] for part in ("encoder", "llm")]
    if about["merged"]:
        rows[1]["part"] = "llm, before the adapters were merged (not needed)"
    template = Template(**json.loads((folder / "template.json").read_text("utf-8")))
    sizes: Counter = Counter()
    for name, file in visible(folder).items():
        sizes[f"{name.split('/')[0]}/" if "/" in name else name] += file.stat().st_size
    files = [{"file": n, "what it is": FILES.get(n, ""), "bytes": s} for n, s in sizes.items()]
    return [
        "## Load it",
        fenced(LOAD, "python"),
        "Of a copy on the Hub:",
        fenced(FETCH, "python"),
        "The frozen models that it was trained on are found by these names, which are folders "
        "below the project's or, after `hf:`, ids on the Hub. Where one lies elsewhere, "
        '`load_model(model=…, encoder="…", llm="…")` says so. One with another hash is refused.',
        markdown_table(pd.DataFrame(rows)),
        "The encoder's hash is the SHA-256 of its weights' file, the LLM's one over its weights, "
        "config and tokenizer files (`core.weights.llm_hash`).",
        "## What is in it",
        markdown_table(pd.DataFrame(files)),
        "`SHA256SUMS` has every file's hash. Loading checks them, and refuses what is missing, "
        "damaged or no part of the model; README, LICENSE and NOTICE are yours to write.",
        *(
            ["`llm/` is a whole model that other software loads, too; only with the projection "
             "does it read RNAs."]
            if about["merged"] else []
        ),
        "The prompt, with `<RNAHere>` where the soft tokens stand:",
        fenced(template.prompt + template.answer, "text"),
    ]  # fmt: skip


def _serving(folder: Path) -> list[str]:
    """How a vLLM server answers with it, which takes an LLM without adapters beside it."""
    config = Config(**json.loads((folder / "config.json").read_text("utf-8")))
    if config.train != "projection":
        return []
    merged = exported.llm_of(folder) is not None
    llm = f"path/to/this/folder/{exported.LLM}" if merged else config.llm
    return [
        "## Serve it",
        "vLLM (0.32 was tried; it has to stand on Transformers 5) serves the LLM, and takes a "
        "prompt as embeddings:",
        fenced(serve_command(llm, config), "bash"),
        "Encoder, projection and template stay with the client, which reads no more of the LLM "
        "than its embeddings:",
        fenced(ASK, "python"),
        "The server's name holds a part of the LLM's hash, so that no other LLM answers for it. "
        "Enable prompt embeddings for clients that you trust alone: vLLM's manual warns that a "
        "malformed one can end the server.",
    ]


def _training(run: Provenance, about: dict) -> list[str]:
    stages = [stage for stage in STAGES if stage in run.manifests]
    best = (
        "" if about["val_loss"] is None else f", the best by validation loss ({about['val_loss']})"
    )
    by = run.params[LAST]
    made_by = "rules" if by["provider"] == "offline" else plain(by["model"])
    sides = _sides(run)
    return [
        "## What it was trained on",
        f"RNAs of {plain(origin(run.run))}, with questions and answers that {made_by} made of "
        f"annotations of the source `{by['source']}` (`rnagpt export-dataset {run.run}` writes "
        "that data set with a card of its own):",
        markdown_table(sides),
        f"Sides were drawn by `SPLIT={run.split}`, seed {run.seed}. Training saw the side train; "
        "validation chose the checkpoint.",
        *dataset_card_origin.records(run, int(sides["RNAs"].sum())),
        "## How it was trained",
        markdown_table(pd.DataFrame([_recipe(run, stage) for stage in stages])),
        f"The weights are those of step {about['step']:,} of the last of these stages{best}.",
    ]


def _sides(run: Provenance) -> pd.DataFrame:
    """RNAs, units and pairs of each side, out of 03's tables."""
    folder = stage_folder(run.run, LAST)
    rnas = tables.read(folder / "rnas.parquet", "rnas")
    side = rnas.set_index("rna_id")["split"]
    pairs: Counter = Counter()
    with tables.in_batches(folder / "pairs.parquet") as file:
        for batch in file.iter_batches(columns=["rna_id"]):
            pairs.update(side[batch["rna_id"].to_pylist()])
    found = rnas.groupby("split").agg(RNAs=("rna_id", "size"), units=("unit", "nunique"))
    found = found.reindex([name for name in SIDES if name in found.index])
    found["pairs"] = [pairs[name] for name in found.index]
    return found.rename(SIDES).rename_axis("side").reset_index()


def _recipe(run: Provenance, stage: str) -> dict:
    params, metrics, about = run.params[stage], run.metrics[stage], run.manifests[stage]
    layers = params.get("encoder_layers", 0)
    what = {"lora": "projection and LoRA adapters", "qlora": "the same, over an LLM of 4 bits"}
    return {
        "stage": STAGES[stage],
        "what trained": what.get(params.get("train", ""), "projection")
        + (f", and layers of the encoder, the last {layers}" if layers else ""),
        "recipe": params["recipe"],
        "epochs": params["epochs"],
        "steps": metrics.get("steps", ""),
        "parameters": metrics.get("trained_parameters", ""),
        "learning rate": str(params["learning_rate"]),
        "precision": params["precision"],
        "minutes": round(about["seconds"] / 60),
        "device": about["device"],
    }


def _scores(run: Provenance, about: dict, scores: Results | None) -> list[str]:
    if scores is None:
        return [
            "## Scores",
            "**This model was not scored**: notebook `06_ablations` of its run has not been "
            "finished since it was trained.",
        ]
    asked = scores.answers
    world = " of the generated miniature world" if run.generated else ""
    models = [about["model"], "vanilla", *FLOORS, *(CONTROLS if about["model"] == "IT" else ())]
    metrics = [*(f"fact.{fact}" for fact in FACTS), "rougeL", *scores.headlines]
    strata = findings.strata_table(scores).reindex(models).reset_index()
    return [
        "## Scores",
        f"Scores of run `{run.run}`{world}, on its own test side: {asked.pair_id.nunique():,} "
        f"questions about {asked.rna_id.nunique():,} RNAs in {asked.unit.nunique():,} units that "
        "training never saw. They are measured on this run's data, and compare with other scores "
        "on the same data alone.",
        findings.LEGEND,
        "Each with its 95 % bootstrap bounds over units:",
        markdown_table(_score_table(scores, models, metrics)),
        "`fact.all` by stratum:",
        markdown_table(strata),
        *(["\n".join(f"- {plain(line, 600)}" for line in findings.findings(scores))]
          if about["model"] == "IT" else []),
    ]  # fmt: skip


def _score_table(scores: Results, models: list[str], metrics: list[str]) -> pd.DataFrame:
    """A metric a row, a model a column."""
    rows = [
        {"metric": title(metric), "answers": scores.value(models[0], metric, column="n")}
        | {model: bounded(scores, model, metric).partition(" n=")[0] for model in models}
        for metric in metrics
    ]
    return pd.DataFrame(rows).astype({"answers": "Int64"})


def _limits(run: Provenance, about: dict) -> list[str]:
    parts = {about[part]["name"] for part in ("encoder", "llm")}
    limits = [
        "It answers every question about every sequence, also where nobody can know; an answer is "
        "no evidence, and nothing in it is checked against a database.",
        "It was asked the kinds of questions of its training; on others nothing is known.",
        "Sequences longer than the encoder reads at once are read in overlapping windows, averaged "
        "where these overlap.",
        "It is for research and teaching, and no medical device.",
    ]
    if run.params[SUMMARIES]["provider"] != "offline":
        limits.append("What it learned from was written by a language model, errors included.")
    if not run.generated and parts & MINIATURE:
        named = " and ".join(sorted(parts & MINIATURE))
        limits.insert(0, f"It stands on {named} of the miniature world, which know no real RNA.")
    return [
        "## Known limits",
        "\n".join(f"- {limit}" for limit in limits),
        "## Licence",
        "Not chosen yet: the header says `other`. Who shares the model writes it there, as far as "
        "the licences of the LLM, of the encoder and of what it learned from permit.",
    ]


def name_of(config: Config) -> str:
    """The name under which a server has the LLM: of its hash, so that no other answers for it."""
    return f"rna-gpt-{config.llm_hash[:12]}"


def serve_command(llm: str, config: Config) -> str:
    """The line that serves the LLM at ``llm``, a folder or an id of the hub."""
    name, _, revision = llm.removeprefix(weights.HUB).partition("@")
    pinned = ["--revision", revision, "--tokenizer-revision", revision] if revision else []
    words = ["vllm", "serve", name, *pinned]
    words += ["--served-model-name", name_of(config), "--enable-prompt-embeds"]
    return shlex.join([*words, "--dtype", DTYPES[config.precision]])
