"""The ablation of notebook 06: every model, floor and control answers the same questions, and all
answers are scored together.

Answers are kept batch by batch in the stage's `resume_store`, so an evaluation that was killed
loses one batch at most. What is kept is taken again only for the same library, model, RNAs,
questions, batches and decoding on the same kind of device, so that an evaluation in pieces gives,
bit for bit, what one in a single go gives.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

import pandas as pd
import torch

from rnagpt_lib.chat.decoding import Answer, Batch, Make
from rnagpt_lib.chat.generate import Chat, chat_of, load_model
from rnagpt_lib.core import paths, tables
from rnagpt_lib.core.bootstrap import Bootstrap
from rnagpt_lib.core.files import digest, progress, replacing
from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.evaluate import baselines, evidence, fact_scores, questions, text_scores
from rnagpt_lib.evaluate.evidence import Evidence
from rnagpt_lib.evaluate.results import CONTROLS, FLOORS, PRIMARY
from rnagpt_lib.miniature import probes
from rnagpt_lib.miniature.world import WORLD_IDS
from rnagpt_lib.model import checkpoint
from rnagpt_lib.runs.resume_store import Store
from rnagpt_lib.runs.run import Run
from rnagpt_lib.runs.stages import MANIFEST, MODELS
from rnagpt_lib.train import ablation_trainings
from rnagpt_lib.train.ablation_trainings import Training
from rnagpt_lib.train.training_examples import annotation_texts

KEYS = ["run", "source", "model", "seed", "pair_id", "rna_id", "unit", "kind", "form"]
SECONDARY = ("rougeL", "S_BERT.f1", "S_Pub.f1", "S_GPT.cos", "S_MiniLM.f1", "S_MiniLM.cos")
SECONDARY += ("fact.all", "fact.local", "fact.literature", "fact.closed", *evidence.METRICS)
ANSWERS, MINIMAL = "answers.parquet", "minimal_pairs.parquet"  # beside a training's manifest
KEPT = ["pair_id", "prediction", "n_tokens", "stop_reason"]
PROBES = ("sequence", "mutant", "neutral")  # of a minimal pair


def comparisons() -> list[tuple[str, str, str]]:
    """The primary comparisons, then IT with everything else by the headline metrics, and the
    training without stage 1 with those that have no soft tokens, and so none either."""
    others = [*MODELS, *ablation_trainings.ABLATED, *FLOORS, *CONTROLS]
    others.remove("IT")
    more = [("IT", other, metric) for metric in SECONDARY for other in others]
    without = ablation_trainings.NO_MA
    more += [(without, b, metric) for metric in SECONDARY for b in ablation_trainings.SOFTLESS]
    return list(dict.fromkeys([*PRIMARY, *more]))


# --- answers


class Asking:
    """A model that is asked in an open stage, with a bar over the questions.

    >>> ask = Asking(load_model("mini", "IT"), run)        # doctest: +SKIP
    >>> ask("control.none", [None], ["What is the RNA?"])  # doctest: +SKIP
    """

    def __init__(self, chat: Chat, run: Run):
        self.chat, self.run, self.made = chat, run, 0

    def __call__(
        self, name: str, sequences: Sequence[str | None], asked: Sequence[str] | None = None
    ) -> list[Answer]:
        """``Chat.answer_all``, or without questions ``Chat.annotate_all``; ``name`` is what the bar,
        and a line about kept answers, call it."""
        requests = [list(column) for column in (sequences, asked) if column is not None]
        reply = self.chat.annotate_all if asked is None else self.chat.answer_all
        key, self.made = self._key(requests), 0
        with Store(self.run.folder) as store:

            def keep(batches: list[Batch], make: Make) -> Iterator[list[Answer]]:
                tasks = [(key, *batch) for batch in batches]
                with progress(total=sum(map(len, batches)), desc=name, unit="question") as bar:
                    for kept in store.results(tasks, lambda missing: self._make(missing, make)):
                        bar.update(len(kept))
                        yield [Answer(*one) for one in kept]

            def ask_all(tasks: Iterator) -> Iterator[list[tuple]]:
                """All answers, which spare the encoder its pass once they are complete."""
                for _ in tasks:
                    yield _plain(reply(*requests, self.run.params.batch_size, keep=keep))

            [answers] = store.results([("all answers", key)], ask_all)
        distinct = len(set(zip(*requests, strict=True)))
        if self.made < distinct:
            print(f"{name}: {distinct - self.made} answers kept from the earlier attempt")
        return [Answer(*one) for one in answers]

    def _key(self, requests: list[list]) -> str:
        """A hash of all that the answers depend on, but for the code, which the store adds."""
        asked = hashlib.sha256()
        for request in zip(*requests, strict=True):
            asked.update(repr(request).encode("utf-8", "surrogatepass"))
        chat = self.chat
        made_by = [chat.name, chat.hash, chat.max_new_tokens, self.run.params.batch_size]
        return digest([*made_by, chat.device, torch.__version__, asked.hexdigest()])

    def _make(self, missing: Iterator[tuple], make: Make) -> Iterator[list[tuple]]:
        for replies in make(list(batch) for _, *batch in missing):
            self.made += len(replies)
            yield _plain(replies)


def _plain(answers: list[Answer]) -> list[tuple]:
    return [astuple(answer) for answer in answers]


def answer_all(
    run: Run, asked: pd.DataFrame, rnas: pd.DataFrame, pairs: pd.DataFrame
) -> pd.DataFrame:
    """The contract's ``answers`` of all models, controls, floors and trainings to ``asked``."""
    parts = []
    for name in MODELS:
        ask = Asking(load_model(run.id, name, run.params.max_new_tokens), run)
        parts.append(frame(run, asked, name, ask(name, asked.sequence, asked.question)))
    for name, change in questions.CONTROL_SEQUENCES.items():  # ``ask`` asks IT by now
        answers = ask(name, change(asked, run.seed), asked.question)
        parts.append(frame(run, asked, name, answers))
    parts += _of_floors(run, asked, rnas, pairs)
    for training in ablation_trainings.list_finished(run.id):
        answers = of_training(training, run, asked)
        if answers is not None:
            parts.append(frame(run, asked, training.name, answers).assign(seed=training.seed))
    return pd.concat(parts, ignore_index=True)


def _of_floors(
    run: Run, asked: pd.DataFrame, rnas: pd.DataFrame, pairs: pd.DataFrame
) -> Iterator[pd.DataFrame]:
    for name, texts in baselines.floor_answers(asked, rnas, pairs, run.seed).items():
        yield frame(run, asked, name, [Answer(text, 0, "floor") for text in texts])


def frame(run: Run, asked: pd.DataFrame, name: str, answers: Sequence[Answer]) -> pd.DataFrame:
    """One model's answers to ``asked``, as the contract's ``answers``."""
    about = asked[["source", "pair_id", "rna_id", "unit", "kind", "form", "reference"]]
    return about.assign(
        run=run.id,
        model=name,
        seed=run.seed,
        prediction=[answer.text for answer in answers],
        n_tokens=[answer.n_tokens for answer in answers],
        stop_reason=[answer.stop_reason for answer in answers],
    )[[*tables.COLUMNS["answers"]]]


def load_training(training: Training, max_new_tokens: int = 256) -> Chat:
    """A finished training's model, ready to be asked."""
    best = checkpoint.find(training.folder)
    # its encoder is where it is now, if the run's folder was moved
    return chat_of(training.name, best, max_new_tokens, encoder=training.encoder)


def of_training(
    training: Training, run: Run, asked: pd.DataFrame, file: str = ANSWERS
) -> list[Answer] | None:
    """The answers of a finished training to ``asked`` (pair_id, sequence, question): of its model,
    or those kept in ``file`` where the weights are not here, as of a published run. None, and a
    line that says why, where neither can be had."""
    run.use(training.folder / MANIFEST)
    kept, most = training.folder / file, run.params.max_new_tokens
    if training.has_weights():
        ask = Asking(load_training(training, most), run)
        label = training.folder.name if file == ANSWERS else f"{training.folder.name}, {kept.stem}"
        answers = ask(label, asked.sequence, asked.question)
        given = [(a.text, a.n_tokens, a.stop_reason) for a in answers]
        table = pd.DataFrame(given, columns=KEPT[1:])
        table.insert(0, "pair_id", asked.pair_id.to_numpy())
        with replacing(kept) as temporary:
            table.to_parquet(temporary, index=False)
        return answers
    answers = _kept_answers(kept, asked, most) if kept.is_file() else None
    lacks = f"{paths.shown(training.folder)}: its weights are not here"
    if answers is not None:
        run.use(kept)
        print(f"{lacks}; its answers are those of {file}")
    elif kept.is_file():
        print(f"{lacks}, and {file} is of other questions or of answers cut elsewhere")
    else:
        print(f"{lacks}, nor is {file}")
    return answers


def _kept_answers(path: Path, asked: pd.DataFrame, most: int) -> list[Answer] | None:
    """None where a question is missing, or where ``most`` tokens would have cut otherwise.

    A question's id is enough: the training is of the run's own tables (``Training.is_finished``),
    and the id of a minimal pair's is made of what is asked.
    """
    table = pd.read_parquet(path, columns=KEPT).drop_duplicates("pair_id").set_index("pair_id")
    if not asked.pair_id.isin(table.index).all():
        return None
    table = table.loc[asked.pair_id]
    cut = table.n_tokens[table.stop_reason == "length"]
    if (table.n_tokens > most).any() or (cut != most).any():
        return None
    return [
        Answer(row.prediction, int(row.n_tokens), row.stop_reason) for row in table.itertuples()
    ]


# --- MA's own task: annotations


def annotation_targets(annotations: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Every RNA's annotation as a row of the table ``pairs`` with an empty question, so that
    whatever asks, answers and scores pairs does it with annotations. ``pair_id`` is the RNA's id.

    Of the source of ``pairs``; an RNA without literature has the text that stage 1 gives it.
    """
    source = pairs["source"].iloc[0]
    own = annotations[annotations["source"] == source]
    cited = own.groupby("rna_id")["article_ids"].agg(lambda ids: sorted(set().union(*ids)))
    rows = (
        {"pair_id": rna_id, "rna_id": rna_id, "source": source, "kind": "annotation",
         "form": "open", "question": "", "answer": text, "article_ids": cited.get(rna_id, []),
         "prompt_version": ""}
        for rna_id, text in sorted(annotation_texts(own, pairs).items())
    )  # fmt: skip
    return tables.frame("pairs", rows)


def write_annotations(
    run: Run, asked: pd.DataFrame, rnas: pd.DataFrame, targets: pd.DataFrame
) -> pd.DataFrame:
    """The contract's ``answers`` of MA and of the floors to ``asked``, the rows of
    ``questions(rnas, targets)`` that count. MA was never asked a question in training, so here its
    prompt is that of its training: BOS, soft tokens, no text."""
    ask = Asking(load_model(run.id, "MA", run.params.max_new_tokens), run)
    written = frame(run, asked, "MA", ask("MA's annotations", asked.sequence))
    return pd.concat([written, *_of_floors(run, asked, rnas, targets)], ignore_index=True)


# --- scores


def score(
    answers: pd.DataFrame,
    asked: pd.DataFrame,
    pairs: pd.DataFrame,
    semantic: Iterable[text_scores.Scorer],
    known: Evidence | None = None,
) -> tuple[pd.DataFrame, dict[str, str], dict[str, dict]]:
    """The contract's ``samples``, metric → definition id, and definition id → definition.

    The answers of all models are scored together, so each scorer reads a text once. Without
    evidence its metrics are left out; without answers there is nothing at all.
    """
    if answers.empty:
        return pd.DataFrame(columns=[*KEYS, "metric", "value"]), {}, {}
    predictions, references = list(answers.prediction), list(answers.reference)
    definitions = {text_scores.ROUGE_ID: text_scores.ROUGE_DEFINITION}
    definitions |= {fact_scores.ID: fact_scores.DEFINITION}
    columns = [text_scores.rouge(predictions, references)]
    ids = dict.fromkeys(text_scores.ROUGE, text_scores.ROUGE_ID)
    for scorer in semantic:
        columns.append(scorer.score(predictions, references))
        definitions[scorer.id] = dict(scorer.definition)  # a later call counts other texts
        ids |= dict.fromkeys(columns[-1], scorer.id)
    facts = _facts(answers, asked, fact_scores.lexicon(pairs))
    ids |= dict.fromkeys(("fact.all", *facts.metric.unique()), fact_scores.ID)
    parts = [_long(answers, columns), facts]
    if known:  # a share of nothing is no sample
        parts.append(_long(answers, [known.score(answers)]).dropna(subset="value"))
        definitions[known.entities.id] = known.definition
        ids |= dict.fromkeys(evidence.METRICS, known.entities.id)
    samples = pd.concat(parts, ignore_index=True)
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
    rows = answers[[fact is not None for fact in checked]][KEYS].reset_index(drop=True)
    facts = pd.DataFrame([f for f in checked if f is not None], columns=["metric", "value"])
    return pd.concat([rows, facts], axis=1)


# --- minimal pairs: does the answer follow one nucleotide?


def minimal_pairs(run: Run, rnas: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """What IT, and each training beside the run, answers about ``minimal_pairs`` of the generated
    world: `follow` with the columns model and seed. Empty where the run asks for none or is about
    other RNAs than the world's."""
    of_world = rnas.rna_id.str.startswith(WORLD_IDS).all()
    minimal = probes.minimal_pairs(run.params.minimal_pairs * bool(of_world), run.seed)
    if not len(minimal):
        columns = ["model", "seed", "relation", "rna_type", "followed", "flipped"]
        return pd.DataFrame(columns=columns)
    asked, known = probe_questions(minimal), fact_scores.lexicon(pairs)
    ask = Asking(load_model(run.id, "IT", run.params.max_new_tokens), run)
    given = {("IT", run.seed): ask("minimal pairs", asked.sequence, asked.question)}
    for training in ablation_trainings.list_finished(run.id):
        answers = of_training(training, run, asked, MINIMAL)
        if answers is not None:
            given[training.name, training.seed] = answers
    parts = [
        follow(minimal, answers, known).assign(model=name, seed=seed)
        for (name, seed), answers in given.items()
    ]
    return pd.concat(parts, ignore_index=True)


def probe_questions(minimal: pd.DataFrame) -> pd.DataFrame:
    """The questions about minimal pairs, [pair_id, sequence, question]: three about each, as it
    is, changed, and changed to no effect. An id is of what is asked."""
    wordings = [RELATIONS[relation].questions[0] for relation in minimal.relation]
    asked = pd.DataFrame({"sequence": minimal[[*PROBES]].to_numpy().ravel()})
    asked["question"] = [question for question in wordings for _ in PROBES]
    ids = [digest(row)[:16] for row in asked.itertuples(index=False, name=None)]
    return asked.assign(pair_id=ids)


def follow(
    minimal: pd.DataFrame, answers: Sequence[Answer], known: dict[str, list[str]]
) -> pd.DataFrame:
    """``answers`` are those to `probe_questions` of ``minimal``. Adds the three answers;
    ``followed``: right before and after the change; ``flipped``: the neutral change, which keeps
    the fact, changed the answer."""
    table = minimal.reset_index(drop=True)
    for place, column in enumerate(PROBES):
        table[f"{column}_answer"] = [a.text for a in answers[place :: len(PROBES)]]

    def names(row, answer: str, entity: str) -> bool:
        question = RELATIONS[row.relation].questions[0]
        return fact_scores.is_right(question, answer, entity, known.get(row.relation, []))

    table["followed"] = [
        names(row, row.sequence_answer, row.entity)
        and names(row, row.mutant_answer, row.mutant_entity)
        for row in table.itertuples()
    ]
    table["flipped"] = table.neutral_answer != table.sequence_answer
    return table


def shares(minimal: pd.DataFrame, n: int = 1000, seed: int = 0) -> dict:
    """Shares of followed and of flipped minimal pairs with their bounds, and of followed ones
    ``by_type`` of RNA; empty without pairs."""
    if not len(minimal):
        return {}
    draws = Bootstrap(minimal.rna_id, n, seed)
    by_type = minimal.groupby("rna_type")["followed"].mean().sort_values(ascending=False)
    numbers: dict = {"n": len(minimal), "by_type": by_type.astype(float).to_dict()}
    for name in ("followed", "flipped"):
        value, low, high = draws.bounds(minimal[name].astype(float), minimal.rna_id)
        numbers |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return numbers
