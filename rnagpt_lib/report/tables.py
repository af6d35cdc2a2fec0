"""The tables of a run's report beyond those of `results`, and all of them as LaTeX; no model is
loaded. Cells are texts; what stands above a table is in ``captions.yaml``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from rnagpt_lib.core.bootstrap import Bootstrap
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import read_json, replacing, writing
from rnagpt_lib.curate.questions.question_templates import RELATIONS, entity
from rnagpt_lib.evaluate import fact_scores, leakage, results
from rnagpt_lib.evaluate.results import Results, interval, number, title
from rnagpt_lib.runs.stages import PARAMS, STAGES, TABLES
from rnagpt_lib.train.ablation_trainings import ABLATED, NO_MA

CAPTIONS = Path(__file__).with_name("captions.yaml")
PAIRS, RNAS = (f"{STAGES[3]}/{name}.parquet" for name in ("pairs", "rnas"))
SAMPLES, MINIMAL = "samples.parquet", "minimal_pairs.parquet"
FLOOR, LOCAL = "floor.nearest", "fact.local"
LACKS = {
    "it.no_ma": "stage 1",
    "it.random_encoder": "the encoder's training",
    "it.text": "encoder, soft tokens and stage 1",
    "it.blind": "the RNA and stage 1",
}
SOURCES = {"given": "litsumm"}  # where tables call a source otherwise than parameters do
NONE, SEVERAL, OTHER = "names none", "names several", "another type"
MOST_TYPES = 25  # that the table of confused types shows
ESCAPED = str.maketrans(
    {c: f"\\{c}" for c in "{}$&#%_"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"−": "$-$", "→": r"$\rightarrow$", "≥": r"$\geq$", "≤": r"$\leq$", "–": "--"}
)


@dataclass(frozen=True)
class Table:
    """``name``: its file's stem; ``note``: what its columns are; the index names the rows."""

    name: str
    title: str
    note: str
    frame: pd.DataFrame


def tables(found: Results, others: Sequence[Results] = ()) -> list[Table]:
    """All tables of a run in their order; with ``others`` those of every source, too. A table
    whose numbers the run does not have is left out."""
    keys = ["model_a", "model_b", "metric"]
    frames = {
        "facts": results.facts_table(found),
        "strata": results.strata_table(found),
        "place": results.place_table(found),
        "differences": results.differences_table(found, results.PRIMARY).set_index(keys),
        "evidence": results.evidence_table(found),
        "annotations": _if(results.ANNOTATIONS["answers"], results.annotations_table, found),
        "variants": variants(found),
        "local_types": local_types(found),
        "rouge": results.rouge_table(found),
        "semantic": results.semantic_table(found),
        "confusion": confusion(found),
        "minimal_pairs": minimal_pairs(found),
        "leakage": _if(leakage.FILE, _leakage, found),
    }
    if others:
        frames["sources"] = side_by_side([found, *others])
    made = [_captioned(name, frame, found) for name, frame in frames.items()]
    made += [table for other in others for table in paper_layout(other)]
    return [table for table in made if not (table.frame == "–").all(axis=None)]  # nor an empty one


def paper_layout(found: Results) -> list[Table]:
    """A run's scores in the layout of the paper's Tables 1 to 4, under the run's name."""
    frames = {"semantic": results.semantic_table(found), "rouge": results.rouge_table(found)}
    made = [_captioned(name, frame, found) for name, frame in frames.items()]
    where = f"{SOURCES.get(found.source, found.source)}, run {found.run}"
    return [Table(f"{found.run}_{t.name}", f"{t.title}: {where}", t.note, t.frame) for t in made]


def _captioned(name: str, frame: pd.DataFrame, found: Results) -> Table:
    captions = yaml.safe_load(CAPTIONS.read_text("utf-8"))
    title, note = captions[name]
    place, paper = results.PLACE.replace("*", ""), captions["paper"]
    paper = paper.get(found.source, paper["dnc"])
    return Table(name, title, note.format(place=place, paper=paper), frame)


def _if(file: str, make: object, found: Results) -> pd.DataFrame:
    return make(found) if (found.folder / file).is_file() else pd.DataFrame()


def _leakage(found: Results) -> pd.DataFrame:
    groups = pd.read_parquet(found.folder / leakage.FILE).groupby("of", sort=False)
    return pd.concat({of: leakage.table(own) for of, own in groups}, names=["of"])


# --- IT beside its variants: what stage 1, the encoder, the soft tokens and the RNA are worth


def trainings(found: Results) -> dict[str, int]:
    """How often IT was trained, and each variant of it that the run has scores of."""
    counted = found.answers.groupby("model").seed.nunique()
    return {name: int(counted[name]) for name in ("IT", *LACKS) if name in counted}


def variants(found: Results) -> pd.DataFrame:
    """One row for each variant: what it lacks, its trainings, IT − variant with 95 % bounds; of
    those that lack stage 1 among other things also ``it.no_ma`` − variant."""
    often, rows = trainings(found), {}
    for name in list(often)[1:]:
        rows[name] = {"lacks": LACKS[name], "trainings": str(often[name])}
        for metric in (LOCAL, "fact.all", "rougeL"):
            rows[name][metric] = number(found.value(name, metric), 2)
            rows[name][f"IT − it, {metric}"] = difference(found, "IT", name, metric)
        if NO_MA in often:
            rows[name][f"{NO_MA} − it, {LOCAL}"] = difference(found, NO_MA, name, LOCAL)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def difference(found: Results, a: str, b: str, metric: str) -> str:
    """a − b with its bounds; – where they were not compared."""
    table = found.differences.set_index(["model_a", "model_b", "metric"])[["value", "low", "high"]]
    known = (a, b, metric) in table.index
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*table.loc[(a, b, metric)]) if known else "–"


def local_types(found: Results) -> pd.DataFrame:
    """Right local facts by RNA type (with its answers in one training): a row for every training
    of IT and of its variants, and the floor that copies. Empty without variants or such facts."""
    models = [*trainings(found), FLOOR]
    files = found.folder / SAMPLES, found.folder.parent / RNAS
    if len(models) < 3 or not all(file.is_file() for file in files):
        return pd.DataFrame()
    asked = [("metric", "==", LOCAL), ("model", "in", models)]
    samples = pd.read_parquet(files[0], filters=asked)
    types = pd.read_parquet(files[1], columns=["rna_id", "rna_type"]).set_index("rna_id").rna_type
    types = samples["rna_id"].map(types)
    n = types[samples["model"] == FLOOR].value_counts()
    shares = samples.groupby(["model", "seed", types])["value"].mean().unstack()
    shares = shares.reindex(sorted(shares.index, key=lambda row: (models.index(row[0]), row[1])))
    rows = [model if model == FLOOR else f"{model}, seed {seed}" for model, seed in shares.index]
    shares = shares.set_axis(pd.Index(rows, name="training"))
    shares = shares.set_axis([f"{name} (n={n.get(name, 0)})" for name in shares], axis=1)
    return shares.map(lambda share: number(share, 2))


def minimal_pairs(found: Results) -> pd.DataFrame:
    """Minimal pairs, a row for every training that was asked: the shares of followed and of
    flipped ones with 95 % bounds over RNAs, then of followed ones by RNA type. Empty without."""
    asked = pd.DataFrame(columns=["model", "seed"])
    if (found.folder / MINIMAL).is_file():
        asked = pd.read_parquet(found.folder / MINIMAL)
    order, rows = ["IT", *ABLATED], {}
    groups = dict(list(asked.groupby(["model", "seed"])))
    for model, seed in sorted(groups, key=lambda key: (order.index(key[0]), key[1])):
        own = groups[model, seed]
        drawn = Bootstrap(own["rna_id"], 1000, 0)
        bounds = {
            name: interval(*drawn.bounds(own[name].astype(float), own["rna_id"]))
            for name in ("followed", "flipped")
        }
        types = own.groupby("rna_type")["followed"].mean()
        rows[f"{model}, seed {seed}"] = bounds | types.map(lambda share: number(share, 2)).to_dict()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("training")


def confusion(found: Results, model: str = "IT") -> pd.DataFrame:
    """RNA types as a model names them (columns) of RNAs by their type (rows, commonest first):
    counts of answers to the open question for the type. Empty where it was not asked.

    An answer counts for a type as ``fact.rna_type`` does: it names that one alone, and does not
    deny it. The other columns: ``NONE``, ``SEVERAL``, and where it happens a type of no row.
    """
    answers, path = found.answers, found.folder.parent / PAIRS
    answers = answers[(answers.kind == "rna_type") & (answers.form == "open")]
    if not path.is_file() or answers.empty:
        return pd.DataFrame()
    question = RELATIONS["rna_type"].questions[0]
    pairs = pd.read_parquet(path, filters=[("kind", "==", "rna_type"), ("form", "==", "open")])
    answers = answers.assign(truth=[entity(question, said) for said in answers.reference])
    answers = answers.dropna(subset="truth")
    known = {*fact_scores.lexicon(pairs).get("rna_type", []), *answers.truth}

    def named(prediction: str) -> str:
        said = fact_scores.named(prediction, known)
        names = [name for name in sorted(known) if name.casefold() in said]
        right = names and fact_scores.is_right(question, prediction, names[-1], known)
        return SEVERAL if len(said) > 1 else names[-1] if right else NONE

    own = answers[answers.model == model]
    table = pd.crosstab(own.truth, own.prediction.map(named))
    order = sorted(table.index, key=lambda name: (-table.loc[name].sum(), name))[:MOST_TYPES]
    others = table.drop(columns=[*order, NONE, SEVERAL], errors="ignore").sum(axis=1)
    table = table.reindex(index=order, columns=[*order, NONE, SEVERAL], fill_value=0)
    if others.any():
        table.insert(len(order), OTHER, others)
    return table.rename_axis(index="type", columns=None)


# --- other runs beside


def check_comparable(run: str, rnas: pd.Series, others: Sequence[Results]) -> list[str]:
    """What keeps other runs from being compared with this one, in sentences; empty if nothing.

    ``rnas``: the sequences that this run asks about, by rna_id. Raises InputError where another
    run of the same ``SPLIT`` was asked about none of them, or an id stands for another sequence.
    """
    said = []
    for other in others:
        asked = [("rna_id", "in", set(other.answers.rna_id))]
        theirs = pd.read_parquet(other.folder.parent / RNAS, filters=asked)
        theirs = theirs.set_index("rna_id").sequence
        both = rnas.index.intersection(theirs.index)
        unlike = both[(rnas[both] != theirs[both]).to_numpy()]
        if both.empty and results.split_of(other.run) != results.split_of(run):
            said.append(
                f"Run {other.run} was split otherwise (SPLIT {results.split_of(other.run)}) and asked "
                f"about none of the RNAs of run {run}: compare them in the leakage tax alone."
            )
        elif both.empty or len(unlike):
            why = f"{unlike[0]} is another sequence there" if len(unlike) else "no RNA is in both"
            raise InputError(
                f"run {other.run} cannot stand beside run {run}: {why}; name runs in RUNS that share "
                "00 to 02 and the split of 03"
            )
        elif not len(both) == len(rnas) == len(theirs):
            said.append(
                f"Run {other.run} was asked about {len(theirs):,} RNAs and run {run} about "
                f"{len(rnas):,}, of which {len(both):,} are the same: their values are not of one "
                "test set."
            )
    return said


def compare_definitions(first: Results, others: Sequence[Results]) -> list[str]:
    """A sentence for the metrics that another run defines otherwise."""
    said = []
    for other in others:
        both = {r.run: r.scores.groupby("metric").definition.first() for r in (first, other)}
        both = pd.DataFrame(both).dropna()
        differ = both[both[first.run] != both[other.run]]
        for (mine, its), rows in differ.groupby([first.run, other.run]):
            said.append(
                f"Run {other.run} defines {', '.join(rows.index)} as {its}, run {first.run} as "
                f"{mine}: these values do not compare."
            )
    return said


def side_by_side(many: Sequence[Results], *more: str) -> pd.DataFrame:
    """All runs in one table, a row for each run and model and one for the floor that copies: RNAs
    and questions; ROUGE-L, all headlines, ``fact.all`` and ``more`` metrics with their bounds."""
    metrics = dict.fromkeys(["rougeL", *(m for r in many for m in r.headlines), "fact.all", *more])
    rows = [
        {"run": r.run, "source": SOURCES.get(r.source, r.source), "model": model}
        | {"RNAs": r.answers.rna_id.nunique(), "questions": r.answers.pair_id.nunique()}
        | {title(m): results.bounded(r, model, m).partition(" n=")[0] for m in metrics}
        for r in many
        for model in (*results.MODELS, FLOOR)
    ]
    return pd.DataFrame(rows).set_index(["run", "source", "model"])


# --- LaTeX


def write_latex(run: str) -> list[Path]:
    """Write every table of a run to ``tables/<name>.tex`` in its folder of 06, for a manuscript
    with the packages booktabs and adjustbox; returns the files.

    The runs beside are those of RUNS. Raises InputError for a run that is not finished, and where
    nothing can be written.
    """
    found = results.load(run)
    named = read_json(found.folder / PARAMS).get("params", {}).get("runs", [])
    others = [results.load(name) for name in dict.fromkeys(named) if name != run]
    folder = found.folder / TABLES
    texts = {folder / f"{table.name}.tex": latex(table) for table in tables(found, others)}
    with writing(folder, "make the run's folder writable, or copy the run"):
        folder.mkdir(exist_ok=True)
        for left in set(folder.glob("*.tex")) - set(texts):
            left.unlink()
        for path, text in texts.items():
            with replacing(path) as temporary:
                temporary.write_text(text, "utf-8")
    return list(texts)


def latex(table: Table) -> str:
    """A table with its caption and label; a wide one is scaled to the width of the text."""
    frame = table.frame.reset_index().astype(str).map(escape).rename(columns=escape)
    labels = table.frame.index.nlevels
    text = frame.style.hide(axis="index").to_latex(
        caption=f"{escape(table.title)}. {escape(table.note)}",
        label=f"tab:{table.name}",
        column_format="l" * labels + "r" * (frame.shape[1] - labels),
        position="htbp",
        position_float="centering",
        hrules=True,
    )
    text = text.replace(r"\begin{tabular}", "\\adjustbox{max width=\\textwidth}{\n\\begin{tabular}")
    return text.replace(r"\end{tabular}", "\\end{tabular}\n}")


def escape(text: object) -> str:
    r"""Text that LaTeX sets as it is; a letter that its usual fonts lack stands as its code point.

    >>> escape("50 % of_α")
    '50 \\% of\\_U+03B1'
    """
    line = "".join(c for c in " ".join(str(text).split()) if c.isprintable())
    line = "".join(c if ord(c) < 0x180 or c in "−→≥≤–…" else f"U+{ord(c):04X}" for c in line)
    return re.sub(r"^([\[*])", r"{\1}", line.translate(ESCAPED))  # else options of a row's end
