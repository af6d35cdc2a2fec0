"""A run's report as one page that needs nothing from elsewhere: no script, no request.

Everything is read from the run's files. Answers, references and names may say anything; every text
passes `html.escape`, and the page forbids scripts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape

import pandas as pd

from rnagpt_lib.core.files import read_json
from rnagpt_lib.evaluate import metric_sensitivity
from rnagpt_lib.evaluate.results import MODELS, STAGE, Results
from rnagpt_lib.report import (
    answer_breakdowns,
    findings,
    page,
)
from rnagpt_lib.report import (
    figures as plots,
)
from rnagpt_lib.report.tables import Table
from rnagpt_lib.runs.provenance import origin
from rnagpt_lib.runs.stages import MANIFEST, STAGES, stage_folder

SECTIONS = (  # title, why, tables, figures
    ("Facts", findings.LEGEND, ("facts",), ("kinds", "facts")),
    ("Seen and held out", "", ("strata",), ()),
    ("How near is the nearest training RNA", "", ("identity", "identity_local"), ("identity",)),
    ("What answers name, against the evidence", "", ("evidence",), ()),
    ("Annotations, MA's own task", "", ("annotations",), ()),
    ("How much of a score is earned", "", ("place",), ()),
    ("Comparisons", "", ("differences",), ()),
    ("What each part is worth", "", ("variants", "local_types"), ("variants",)),
    ("In the paper's layout", "", ("rouge", "semantic"), ("rouge", "semantic")),
    ("RNA types", "", (), ("confusion",)),
    ("Which metric notices a wrong answer", "", (), ("ladder",)),
    ("Minimal pairs", "", ("minimal_pairs", "minimal_pairs_trainings"), ()),
    ("What relatives in training are worth", "", ("leakage", "leakage_tax"), ("leakage",)),
    ("Length of answers", "", (), ("lengths",)),
    ("Training", "", (), ("learning",)),
)
ALT = {
    "kinds": "Facts and ROUGE-L by kind of question, with 95 % bounds; floors are hollow",
    "facts": "Facts by family seen or held out, with floors and controls",
    "identity": "Facts by identity to the nearest training RNA, with 95 % bounds",
    "rouge": "ROUGE of the three models, with floors as lines",
    "semantic": "Semantic scores of the three models, with floors as lines",
    "confusion": "Which RNA type IT names of RNAs of each type, as shares of the row",
    "ladder": "AUROC of each metric for each way to spoil an answer",
    "lengths": "ROUGE-L by the number of words of the answer, and how many answers have it",
    "variants": "Facts of IT, of IT with a part taken away, and of two floors; a dot a training",
    "leakage": "Facts and ROUGE-L by how test RNAs were parted from training, 95 % bounds",
    "learning": "Losses of both stages, and learning rates",
}
CSS = """
body { max-width: 74rem; } h3 { font-size: 1rem; margin-bottom: .2rem; }
th, td { padding: .25rem .5rem; } th { vertical-align: bottom; }
td { overflow-wrap: break-word; } td:first-child { min-width: 0; white-space: nowrap; }
"""
SCALE = plots.STYLE["figure.dpi"] / plots.STYLE["savefig.dpi"]  # texts of one size in all figures
EXAMPLES = 2  # of each kind and form
RECORDED = {"git": 12, "device": 40, "hash": 64}  # of a manifest, and how many characters
SHOWN = (*MODELS, "floor.nearest")


def render(
    found: Results,
    tables: Mapping[str, Table],
    figures: Mapping[str, bytes],
    notes: Sequence[str] = (),
) -> str:
    """The page: ``tables`` as ``report_tables`` makes them, ``figures`` as PNG by name; ``notes``
    say what keeps the runs beside from being compared."""
    body = [
        f"<h1>Ablation of run {escape(found.run)}</h1>",
        f"<p>{escape(_opening(found))}</p>",
        "<h2>Findings</h2>",
        page.findings(findings.findings(found)),
        *(part for section in SECTIONS for part in _section(found, *section, tables, figures)),
        *_sources(tables, notes),
        *_examples(found),
        *_definitions(found),
        *_provenance(found),
    ]
    return page.document(f"Ablation of run {found.run}", body, CSS)


# --- sections


def _opening(found: Results) -> str:
    asked = found.answers
    said = (
        f"{asked.pair_id.nunique():,} test questions about {asked.rna_id.nunique():,} RNAs in "
        f"{asked.unit.nunique():,} units that training never saw, made of annotations of the "
        f"source {found.source}."
    )
    if not _manifests(found.run).get(STAGES[0]):
        return said
    where = origin(found.run)
    world = " Its scores say that the method works, not what it knows of RNAs of nature."
    return f"{said} The RNAs are from {where}.{world if 'generated' in where else ''}"


def _section(
    found: Results,
    title: str,
    why: str,
    named: Sequence[str],
    drawn: Sequence[str],
    tables: Mapping[str, Table],
    figures: Mapping[str, bytes],
) -> Iterator[str]:
    if not (tables.keys() & set(named) or figures.keys() & set(drawn)):
        return
    yield f"<h2>{escape(title)}</h2>"
    yield from [f"<p>{_prose(why)}</p>"] if why else []
    yield from (_table(tables[name], bool(named[1:])) for name in named if name in tables)
    for name in drawn:
        yield from _figure(name, figures[name], tables.get(name)) if name in figures else ()
    if "ladder" in figures.keys() & set(drawn):
        rungs = pd.read_parquet(found.folder / plots.LADDER)
        chosen = rungs[rungs["metric"].isin(["rougeL", *found.headlines, "fact.all"])]
        yield page.findings(metric_sensitivity.findings(chosen))
    if "lengths" in figures.keys() & set(drawn):
        yield f"<p>{escape(_lengths(found))}</p>"


def _sources(tables: Mapping[str, Table], notes: Sequence[str]) -> Iterator[str]:
    named = [name for name in tables if name.startswith("source")]
    if named or notes:
        yield "<h2>Sources of annotations beside each other</h2>"
        yield page.findings(notes) if notes else ""
        yield from (_table(tables[name], True) for name in named)


def _examples(found: Results) -> Iterator[str]:
    """The first questions of each kind and form by pair_id, which is a hash: as good as drawn."""
    asked = found.answers.drop_duplicates("pair_id").sort_values(["kind", "form", "pair_id"])
    chosen = asked.groupby(["kind", "form"]).head(EXAMPLES)
    first = found.answers.drop_duplicates(["pair_id", "model"])  # the run's own training
    said = first.set_index(["pair_id", "model"]).prediction
    questions = _questions(found.run, list(chosen.pair_id))
    models = [model for model in SHOWN if model in set(found.answers.model)]
    rows = [
        [f"{row.kind}, {row.form}", questions.get(row.pair_id, "–"), row.reference]
        + [said.get((row.pair_id, model), "–") for model in models]
        for row in chosen.itertuples()
    ]
    yield "<h2>Some answers</h2>"
    yield f"<p>The first {EXAMPLES} questions of each kind by their hash, right or wrong.</p>"
    yield page.table(["kind", "question", "reference", *models], rows, numbers=())


def _definitions(found: Results) -> Iterator[str]:
    defined = read_json(found.folder / "definitions.json")
    rows = [
        [name, str(what), str(value)]
        for name, about in defined.items()
        for what, value in about.items()
    ]
    if rows:
        yield "<h2>What the scores are</h2>"
        yield page.table(["definition", "of", "is"], rows, numbers=(), whole=True)


def _provenance(found: Results) -> Iterator[str]:
    read = _manifests(found.run)
    if not read:
        return
    rows = [
        [stage, str(about.get("key", {}).get("seed", "–")), about.get("finished", "–")]
        + [str(about.get(what) or "–")[:longest] for what, longest in RECORDED.items()]
        for stage, about in read.items()
    ]
    versions = read.get(STAGE, {}).get("versions", {})
    yield "<h2>Where it comes from</h2>"
    yield (
        f"<p>Run {escape(found.run)}; the hash of a stage is over its parameters and outputs. "
        f"Written by <code>rnagpt report --run {escape(found.run)}</code> from the run's files.</p>"
    )
    yield page.table(["stage", "seed", "finished (UTC)", *RECORDED], rows, ())
    yield f'<p class="small">{escape(", ".join(f"{k} {v}" for k, v in versions.items()))}</p>'


# --- pieces


def _table(table: Table, titled: bool) -> str:
    shown = table.frame.astype(str)
    title = f"<h3>{escape(table.title)}</h3>" if titled else ""
    made = page.table(list(shown), shown.to_numpy().tolist(), range(table.labels, shown.shape[1]))
    return f'{title}<p class="small">{escape(table.caption)}</p>{made}'


def _figure(name: str, png: bytes, table: Table | None) -> Iterator[str]:
    """The figure, under the caption of the table that it stands for, if there is one."""
    if table and name in ("confusion", "ladder"):
        yield f'<p class="small">{escape(table.caption)}</p>'
    yield page.image(png, "png", ALT[name], round(int.from_bytes(png[16:20]) * SCALE))


def _prose(text: str) -> str:
    """Escaped, with the words between asterisks set off."""
    return re.sub(r"\*(\w+)\*", r"<i>\1</i>", escape(text))


def _lengths(found: Results) -> str:
    answers = answer_breakdowns.lengths(found)
    told = [
        f"{model} {whole:+.2f} ({within:+.2f})"
        for model in MODELS
        for whole, within in [answer_breakdowns.rank_correlation(answers[answers.model == model])]
    ]
    return (
        "Rank correlation of an answer's words with its ROUGE-L, and in brackets that within the "
        f"questions of one kind and form, which differ in both: {', '.join(told)}."
    )


def _questions(run: str, pair_ids: list[str]) -> dict[str, str]:
    path = stage_folder(run, STAGES[3]) / "pairs.parquet"
    if not path.is_file():
        return {}
    columns = ["pair_id", "question"]
    read = pd.read_parquet(path, columns=columns, filters=[("pair_id", "in", pair_ids)])
    return dict(read.to_numpy().tolist())


def _manifests(run: str) -> dict[str, dict]:
    read = {stage: read_json(stage_folder(run, stage) / MANIFEST) for stage in STAGES[:7]}
    return {stage: about for stage, about in read.items() if about}
