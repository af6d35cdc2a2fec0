"""The ablation of notebook 06: every model, floor and control answers the same questions.

Answers are kept batch by batch (`answer_log`), so an evaluation that was killed goes on where it
was.
"""

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from rnagpt_lib.chat.decoding import Answer
from rnagpt_lib.chat.generate import load_model
from rnagpt_lib.core import tables
from rnagpt_lib.core.bootstrap import Bootstrap
from rnagpt_lib.core.files import digest
from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.evaluate import (
    answer_log,
    evidence,
    fact_scores,
    rouge,
    variant_answers,
)
from rnagpt_lib.evaluate import (
    questions as floors,
)
from rnagpt_lib.evaluate.evidence import Evidence
from rnagpt_lib.evaluate.results import PRIMARY
from rnagpt_lib.evaluate.semantic_scorers import Scorer
from rnagpt_lib.miniature import probes as world_probes
from rnagpt_lib.runs.run import Run
from rnagpt_lib.train import ablation_trainings

MODELS = ("vanilla", "MA", "IT")
CONTROLS = {  # what stands in each question's place of the sequence
    "control.shuffled": floors.shuffled,
    "control.swapped": floors.swapped,
    "control.none": lambda asked, seed: [None] * len(asked),
}
PROBES = ("sequence", "mutant", "neutral")  # of a minimal pair
KEYS = ["run", "source", "model", "seed", "pair_id", "rna_id", "unit", "kind", "form"]

SECONDARY = ("rougeL", "S_BERT.f1", "S_Pub.f1", "S_GPT.cos", "S_MiniLM.f1", "S_MiniLM.cos")
SECONDARY += ("fact.all", "fact.local", "fact.literature", "fact.closed")
SECONDARY += ("evidence.precision", "evidence.recall", "evidence.unsupported")


def comparisons() -> list[tuple[str, str, str]]:
    """The primary comparisons, then IT with everything else by the headline metrics, and the
    training without stage 1 with those that have no soft tokens, and so none either."""
    others = [*MODELS, *ablation_trainings.ABLATED, *floors.FLOORS, *CONTROLS]
    others.remove("IT")
    more = [("IT", other, metric) for metric in SECONDARY for other in others]
    more += [
        (ablation_trainings.NO_MA, name, metric)
        for metric in SECONDARY
        for name in ablation_trainings.SOFTLESS
    ]
    return list(dict.fromkeys([*PRIMARY, *more]))


def sample(asked: pd.DataFrame, max_pairs: int, seed: int = 0) -> pd.DataFrame:
    """At most ``max_pairs`` questions (0: all), whole RNAs at a time, drawn by the seed."""
    if not max_pairs or len(asked) <= max_pairs:
        return asked
    order = asked.drop_duplicates("rna_id").sample(frac=1, random_state=seed).rna_id
    sizes = asked.groupby("rna_id").size()[order].cumsum()
    kept = sizes.index[: max(1, int((sizes <= max_pairs).sum()))]
    return asked[asked.rna_id.isin(kept)].reset_index(drop=True)


def answer_all(
    run: Run, asked: pd.DataFrame, rnas: pd.DataFrame, pairs: pd.DataFrame
) -> pd.DataFrame:
    """The contract's ``answers`` of all models, floors, controls and variants to ``asked``."""
    found = []
    for name in MODELS:
        ask = answer_log.Asking(load_model(run.id, name, run.params.max_new_tokens), run)
        found.append(frame(run, asked, name, ask(name, asked.sequence, asked.question)))
    for name, change in CONTROLS.items():  # ``ask`` asks IT by now
        answers = ask(name, change(asked, run.seed), asked.question)
        found.append(frame(run, asked, name, answers))
    for name, texts in floors.floor_answers(asked, rnas, pairs, run.seed).items():
        found.append(frame(run, asked, name, [Answer(text, 0, "floor") for text in texts]))
    return pd.concat([*found, *_of_variants(run, asked)], ignore_index=True)


def _of_variants(run: Run, asked: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The answers of each training that `rnagpt train-variants` has finished beside the run."""
    for training in ablation_trainings.list_finished(run.id):
        answers = variant_answers.of(training, run, asked)
        if answers is not None:
            yield frame(run, asked, training.name, answers).assign(seed=training.seed)


def frame(run: Run, asked: pd.DataFrame, name: str, found: Sequence[Answer]) -> pd.DataFrame:
    """One model's answers to ``asked``, as the contract's ``answers``."""
    about = asked[["source", "pair_id", "rna_id", "unit", "kind", "form", "reference"]]
    return about.assign(
        run=run.id,
        model=name,
        seed=run.seed,
        prediction=[answer.text for answer in found],
        n_tokens=[answer.n_tokens for answer in found],
        stop_reason=[answer.stop_reason for answer in found],
    )[[*tables.COLUMNS["answers"]]]


def score(
    answers: pd.DataFrame,
    asked: pd.DataFrame,
    pairs: pd.DataFrame,
    semantic: Iterable[Scorer],
    told: Evidence | None = None,
) -> tuple[pd.DataFrame, dict[str, str], dict[str, dict]]:
    """The contract's ``samples``, metric → definition id, and definition id → definition.

    The answers of all models are scored together, so each scorer reads a text once. Without
    the evidence ``told`` its metrics are left out; without answers there is nothing at all.
    """
    if answers.empty:
        return pd.DataFrame(columns=[*KEYS, "metric", "value"]), {}, {}
    predictions, references = list(answers.prediction), list(answers.reference)
    definitions = {rouge.ID: rouge.DEFINITION, fact_scores.ID: fact_scores.DEFINITION}
    columns = [rouge.score(predictions, references)]
    ids = dict.fromkeys(rouge.METRICS, rouge.ID)
    for scorer in semantic:
        columns.append(scorer.score(predictions, references))
        definitions[scorer.id] = dict(scorer.definition)  # a later call counts other texts
        ids |= dict.fromkeys(columns[-1], scorer.id)
    facts = _facts(answers, asked, fact_scores.lexicon(pairs))
    ids |= dict.fromkeys(("fact.all", *facts.metric.unique()), fact_scores.ID)
    found = [_long(answers, columns), facts]
    if told:  # a share of nothing is no sample
        found.append(_long(answers, [told.score(answers)]).dropna(subset="value"))
        definitions[told.id] = told.definition
        ids |= dict.fromkeys(evidence.METRICS, told.id)
    samples = pd.concat(found, ignore_index=True)
    # all of a question together: its ids, one after the other, take a third of the room on disk
    return samples.sort_values("pair_id", kind="stable", ignore_index=True), ids, definitions


def _long(answers: pd.DataFrame, columns: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Metrics in columns, a row for each answer → a row for each answer and metric."""
    wide = pd.concat([answers[KEYS].reset_index(drop=True), *columns], axis=1)
    return wide.melt(KEYS, var_name="metric", value_name="value")


def _facts(answers: pd.DataFrame, asked: pd.DataFrame, known: dict) -> pd.DataFrame:
    by_id = {row.pair_id: row for row in asked.itertuples()}
    checked = [
        fact_scores.fact(by_id[pair_id], prediction, known)
        for pair_id, prediction in zip(answers.pair_id, answers.prediction, strict=True)
    ]
    rows = answers[[found is not None for found in checked]][KEYS].reset_index(drop=True)
    found = pd.DataFrame([f for f in checked if f is not None], columns=["metric", "value"])
    return pd.concat([rows, found], axis=1)


def minimal_pairs(run: Run, rnas: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """What IT, and each training beside the run, answers about ``minimal_pairs`` of the generated
    world: `follow` with the columns model and seed. Empty where the run asks for none or is about
    other RNAs than the world's."""
    of_world = rnas.rna_id.str.startswith(floors.WORLD_IDS).all()
    minimal = world_probes.minimal_pairs(run.params.minimal_pairs * bool(of_world), run.seed)
    if not len(minimal):
        return pd.DataFrame(
            columns=["model", "seed", "relation", "rna_type", "followed", "flipped"]
        )
    asked, known = probes(minimal), fact_scores.lexicon(pairs)
    ask = answer_log.Asking(load_model(run.id, "IT", run.params.max_new_tokens), run)
    told = {("IT", run.seed): ask("minimal pairs", asked.sequence, asked.question)}
    for training in ablation_trainings.list_finished(run.id):
        answers = variant_answers.of(training, run, asked, variant_answers.MINIMAL)
        if answers is not None:
            told[training.name, training.seed] = answers
    found = [
        follow(minimal, answers, known).assign(model=name, seed=seed)
        for (name, seed), answers in told.items()
    ]
    return pd.concat(found, ignore_index=True)


def probes(minimal: pd.DataFrame) -> pd.DataFrame:
    """The questions about minimal pairs, [pair_id, sequence, question]: three about each, as it
    is, changed, and changed to no effect. An id is of what is asked."""
    questions = [RELATIONS[relation].questions[0] for relation in minimal.relation]
    asked = pd.DataFrame({"sequence": minimal[[*PROBES]].to_numpy().ravel()})
    asked["question"] = [question for question in questions for _ in PROBES]
    ids = [digest(row)[:16] for row in asked.itertuples(index=False, name=None)]
    return asked.assign(pair_id=ids)


def follow(
    minimal: pd.DataFrame, answers: Sequence[Answer], known: dict[str, list[str]]
) -> pd.DataFrame:
    """Does the answer follow one nucleotide? ``answers`` are those to `probes` of ``minimal``.

    Adds the three answers; ``followed``: right before and after the change; ``flipped``: the
    neutral change, which keeps the fact, changed the answer.
    """
    table = minimal.reset_index(drop=True)
    for place, column in enumerate(PROBES):
        table[f"{column}_answer"] = [a.text for a in answers[place :: len(PROBES)]]
    table["followed"] = [
        _is_told(row, row.sequence_answer, row.entity, known)
        and _is_told(row, row.mutant_answer, row.mutant_entity, known)
        for row in table.itertuples()
    ]
    table["flipped"] = table.neutral_answer != table.sequence_answer
    return table


def _is_told(row, answer: str, entity: str, known: dict[str, list[str]]) -> bool:
    question = RELATIONS[row.relation].questions[0]
    return fact_scores.is_right(question, answer, entity, known.get(row.relation, []))


def shares(minimal: pd.DataFrame, n: int = 1000, seed: int = 0) -> dict:
    """Shares of followed and of flipped minimal pairs with their bounds, and of followed ones
    ``by_type`` of RNA; empty without pairs."""
    if not len(minimal):
        return {}
    draws = Bootstrap(minimal.rna_id, n, seed)
    by_type = minimal.groupby("rna_type")["followed"].mean().sort_values(ascending=False)
    found: dict = {"n": len(minimal), "by_type": by_type.astype(float).to_dict()}
    for name in ("followed", "flipped"):
        value, low, high = draws.bounds(minimal[name].astype(float), minimal.rna_id)
        found |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return found
