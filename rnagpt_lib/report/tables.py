"""The tables of a finished ablation: in the paper's layout with the paper's values beside, facts,
strata, differences, variants; and all of them as LaTeX. Loads no model. Cells are texts; what
stands above a table is in ``captions.yaml``."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml

from rnagpt_lib.core import paper
from rnagpt_lib.core.bootstrap import ALL, Bootstrap
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import replacing, writing
from rnagpt_lib.core.text import caseless
from rnagpt_lib.curate.questions.question_templates import RELATIONS, entity
from rnagpt_lib.evaluate import evidence, fact_scores, leakage, results
from rnagpt_lib.evaluate.results import Results
from rnagpt_lib.runs.stages import MODELS, QA, STAGES, TABLES, asked_of, setting
from rnagpt_lib.train.ablation_trainings import ABLATED, NO_MA

CAPTIONS = yaml.safe_load(Path(__file__).with_name("captions.yaml").read_text("utf-8"))
PAIRS, RNAS = (f"{STAGES[3]}/{name}.parquet" for name in ("pairs", "rnas"))
SAMPLES, MINIMAL = "samples.parquet", "minimal_pairs.parquet"
FLOOR, LOCAL = "floor.nearest", "fact.local"
LACKS = {
    "it.no_ma": "stage 1",
    "it.random_encoder": "the encoder's training",
    "it.text": "encoder, soft tokens and stage 1",
    "it.blind": "the RNA and stage 1",
}
PLACE = "*place*: where a score stands between the random answer's (0) and a perfect one (1)"
PAPER_SOURCE = {"dnc": "D&C", "single_pass": "D&C", "given": "AIS"}
SOURCES = {"given": "litsumm"}  # where tables call a source otherwise than parameters do
NONE, SEVERAL, OTHER = "names none", "names several", "another type"
MOST_TYPES = 25  # that the table of confused types shows
ESCAPED = str.maketrans(
    {c: f"\\{c}" for c in "{}$&#%_"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"−": "$-$", "→": r"$\rightarrow$", "≥": r"$\geq$", "≤": r"$\leq$", "–": "--"}
)


class Table(NamedTuple):
    """``name``: its file's stem; ``note``: what its columns are; the index names the rows."""

    name: str
    title: str
    note: str
    frame: pd.DataFrame


# --- cells


def title(metric: str) -> str:
    """A metric as readers know it: ``rouge1`` → ``ROUGE-1``."""
    return metric.replace("rouge", "ROUGE-").replace(".f1", " F1").replace(".cos", " cosine")


def number(value: float, digits: int = 4) -> str:
    """A value as text; – where there is none."""
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def interval(value: float, low: float, high: float, sign: str = "") -> str:
    """A value with its bounds as text; ``sign`` "+": with a sign each."""
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def bounded(found: Results, model: str, metric: str, stratum: str = ALL) -> str:
    """A score with its bounds and the number of answers; – where there is none."""
    columns = ("value", "low", "high", "n")
    *told, n = (found.value(model, metric, stratum=stratum, column=c) for c in columns)
    return "–" if pd.isna(told[0]) else f"{interval(*told)} n={n:.0f}"


def difference(found: Results, a: str, b: str, metric: str) -> str:
    """a − b with its bounds; – where they were not compared."""
    bounds = found.difference(a, b, metric)
    return interval(*bounds, "+") if bounds else "–"


Cell = Callable[[str], str]  # model → text


def _table(models: Sequence[str], columns: Mapping[str, Cell]) -> pd.DataFrame:
    rows = {model: {head: cell(model) for head, cell in columns.items()} for model in models}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _models(found: Results) -> list[str]:
    there = set(found.scores.model)
    every = (*_asked(found), *results.VARIANTS, *results.FLOORS, *results.CONTROLS)
    return [model for model in every if model in there]


def _asked(found: Results) -> list[str]:
    """The paper's models, and beside vanilla itself in its own chat template."""
    own = [results.CHAT] if results.CHAT in set(found.scores.model) else []
    return [MODELS[0], *own, *MODELS[1:]]


def _values(found: Results, *metrics: str, digits: int = 4, stratum: str = ALL) -> Cell:
    return lambda model: " / ".join(
        number(found.value(model, m, stratum=stratum), digits) for m in metrics
    )


def _published(found: Results, *metrics: str) -> Cell:
    scores = paper.scores()
    scores = scores[scores.source == PAPER_SOURCE.get(found.source, "D&C")]
    values = scores.set_index(["model", "metric"]).value.to_dict()
    return lambda model: " / ".join(number(values.get((model, m), math.nan)) for m in metrics)


def _place(found: Results, metric: str) -> Cell:
    floor = found.value("floor.random", metric)
    lead = 1 - floor if floor < 1 else float("nan")
    return lambda model: number((found.value(model, metric) - floor) / lead, 2)


def _words(found: Results) -> Cell:
    """Mean number of words of an answer."""
    lengths = found.answers.prediction.str.split().str.len()
    mean = lengths.groupby(found.answers.model).mean()
    return lambda model: f"{mean[model]:.0f}"


# --- a row for each model


def rouge_table(found: Results) -> pd.DataFrame:
    """Layout of the paper's Tables 2 and 4: ROUGE F1 of vanilla, MA, IT, the paper's beside; where
    ROUGE-L stands between the random answer's (0) and 1, and the words of an answer on average."""
    columns = {title(m): _values(found, m) for m in (*paper.ROUGE, "rougeLsum")}
    columns |= {f"{title('rougeL')} place": _place(found, "rougeL"), "words": _words(found)}
    columns |= {f"{title(m)} (paper)": _published(found, m) for m in paper.ROUGE}
    return _table(_asked(found), columns)


def semantic_table(found: Results) -> pd.DataFrame:
    """Layout of the paper's Tables 1 and 3: precision / recall / F1 of each semantic score, and
    cosines of whole texts; then where the headlines stand between the random answer's (0) and 1.
    Columns have their real names: S_MiniLM stands for none of the paper's three."""
    parts = {s: [f"{s}.{p}" for p in paper.PARTS] for s in (*found.semantic, *paper.SEMANTIC)}
    columns = {s: _values(found, *parts[s]) for s in found.semantic}
    columns |= {title(m): _values(found, m) for m in found.cosines}
    columns |= {f"{title(m)} place": _place(found, m) for m in found.headlines}
    columns |= {f"{s} (paper)": _published(found, *parts[s]) for s in paper.SEMANTIC}
    return _table(_asked(found), columns)


def facts_table(found: Results, stratum: str = ALL) -> pd.DataFrame:
    """Share of right facts for models, floors and controls; the last columns for comparison."""
    metrics = {f: f"fact.{f}" for f in results.FACTS} | {"ROUGE-L": "rougeL"}
    metrics |= {title(m): m for m in found.headlines}
    columns = {name: _values(found, m, digits=2, stratum=stratum) for name, m in metrics.items()}
    return _table(_models(found), columns | {"words": _words(found)})


def strata_table(found: Results, metric: str = "fact.all") -> pd.DataFrame:
    """A metric by stratum, with its bounds and the number of answers."""
    there = {ALL, *found.scores.stratum}
    strata = [stratum for stratum in (ALL, "seen", "held_out", "decoy") if stratum in there]
    columns = {s: partial(bounded, found, metric=metric, stratum=s) for s in strata}
    return _table(_models(found), columns)


def evidence_table(found: Results) -> pd.DataFrame:
    """Entities that answers name against the evidence, with bounds; ``n`` of the precision is
    the number of answers that name any, that of the recall those whose reference does."""
    names = {m.removeprefix("evidence."): m for m in evidence.METRICS}
    columns = {name: partial(bounded, found, metric=m) for name, m in names.items()}
    return _table(_models(found), columns)


def annotations_table(found: Results) -> pd.DataFrame:
    """The annotations of MA and of the floors by every headline metric, with bounds over units."""
    own = results.load_annotations(found)
    metrics = (*paper.ROUGE, *own.headlines, *evidence.METRICS)
    columns = {title(m): partial(bounded, own, metric=m) for m in metrics}
    return _table(_models(own), columns | {"words": _words(own)})


def place_table(found: Results) -> pd.DataFrame:
    """Where a score lies between the random answer's (0) and a perfect one (1); – where the
    random answer is perfect."""
    metrics = [*paper.ROUGE, *found.headlines, "fact.all"]
    return _table(_models(found), {title(m): _place(found, m) for m in metrics})


def differences_table(found: Results, primary: Sequence[tuple] = ()) -> pd.DataFrame:
    """Paired differences with their bounds; with ``primary`` these alone, in that order."""
    table = found.differences.set_index(["model_a", "model_b", "metric"])
    table = table.loc[[key for key in primary if key in table.index]] if primary else table
    bounds = [f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]" for row in table.itertuples()]
    clear = ["yes" if row.low > 0 or row.high < 0 else "no" for row in table.itertuples()]
    return table.assign(difference=bounds, clear=clear)[["difference", "clear"]].reset_index()


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
    path, order, rows = found.folder / MINIMAL, ["IT", *ABLATED], {}
    groups = dict(list(pd.read_parquet(path).groupby(["model", "seed"]))) if path.is_file() else {}
    for model, seed in sorted(groups, key=lambda key: (order.index(key[0]), key[1])):
        own = groups[model, seed]
        drawn, row = Bootstrap(own["rna_id"], 1000, 0), {}
        for name in ("followed", "flipped"):
            row[name] = interval(*drawn.bounds(own[name].astype(float), own["rna_id"]))
        types = own.groupby("rna_type")["followed"].mean()
        rows[f"{model}, seed {seed}"] = row | types.map(lambda share: number(share, 2)).to_dict()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("training")


def confusion(found: Results, model: str = "IT") -> pd.DataFrame:
    """RNA types as a model names them (columns) of RNAs by their type (rows, commonest first):
    counts of answers to the open question for the type, each as ``fact.rna_type`` takes it: one
    type alone, not denied. Further columns: ``NONE``, ``SEVERAL``, and where it happens a type of
    no row. Empty where it was not asked."""
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
        said = fact_scores.affirmed(prediction, known)
        names = [name for name in sorted(known) if caseless(name) in said]
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
    """What keeps other runs from being compared with this one, in sentences; ``rnas``: the
    sequences that this run asks about, by rna_id. Raises InputError where another run of the same
    ``SPLIT`` was asked about none of them, or an id stands for another sequence."""
    said = []
    for other in others:
        asked = [("rna_id", "in", set(other.answers.rna_id))]
        theirs = pd.read_parquet(other.folder.parent / RNAS, filters=asked)
        theirs = theirs.set_index("rna_id").sequence
        both = rnas.index.intersection(theirs.index)
        unlike = both[(rnas[both] != theirs[both]).to_numpy()]
        way = setting(other.run, QA, "split") if both.empty else None
        if both.empty and way != setting(run, QA, "split"):
            said.append(
                f"Run {other.run} was split otherwise (SPLIT {way}) and asked "
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
        | {title(m): bounded(r, model, m).partition(" n=")[0] for m in metrics}
        for r in many
        for model in (*MODELS, FLOOR)
    ]
    return pd.DataFrame(rows).set_index(["run", "source", "model"])


# --- all of them, also as LaTeX


def tables(found: Results, others: Sequence[Results] = ()) -> list[Table]:
    """All tables of a run in their order; with ``others`` those of every source, too. A table
    whose numbers the run does not have is left out."""
    frames = {
        "facts": facts_table(found),
        "strata": strata_table(found),
        "place": place_table(found),
        "differences": differences_table(found, results.PRIMARY).set_index(
            ["model_a", "model_b", "metric"]
        ),
        "evidence": evidence_table(found),
        "variants": variants(found),
        "local_types": local_types(found),
        "rouge": rouge_table(found),
        "semantic": semantic_table(found),
        "confusion": confusion(found),
        "minimal_pairs": minimal_pairs(found),
    }
    if (found.folder / results.ANNOTATIONS["answers"]).is_file():
        frames["annotations"] = annotations_table(found)
    if (found.folder / leakage.FILE).is_file():
        groups = pd.read_parquet(found.folder / leakage.FILE).groupby("of", sort=False)
        frames["leakage"] = pd.concat({of: leakage.table(own) for of, own in groups}, names=["of"])
    if others:
        frames["sources"] = side_by_side([found, *others])
    made = [_captioned(name, frame, found) for name, frame in frames.items()]
    made += [table for other in others for table in paper_layout(other)]
    return [table for table in made if not (table.frame == "–").all(axis=None)]  # nor an empty one


def paper_layout(found: Results) -> list[Table]:
    """A run's scores in the layout of the paper's Tables 1 to 4, under the run's name."""
    frames = {"semantic": semantic_table(found), "rouge": rouge_table(found)}
    made = [_captioned(name, frame, found) for name, frame in frames.items()]
    where = f"{SOURCES.get(found.source, found.source)}, run {found.run}"
    return [t._replace(name=f"{found.run}_{t.name}", title=f"{t.title}: {where}") for t in made]


def _captioned(name: str, frame: pd.DataFrame, found: Results) -> Table:
    heading, note = CAPTIONS[name]
    published = CAPTIONS["paper"].get(found.source, CAPTIONS["paper"]["dnc"])
    note = note.format(place=PLACE.replace("*", ""), paper=published)
    return Table(name, heading, note, frame)


def write_latex(run: str) -> list[Path]:
    """Write every table of a run, and of those of its RUNS, to ``tables/<name>.tex`` in its folder
    of 06, for a manuscript with booktabs and adjustbox; returns the files. Raises InputError for a
    run that is not finished, and where nothing can be written."""
    found = results.load(run)
    named = asked_of(found.folder).get("params", {}).get("runs", [])
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
