"""The ablation of notebook 06: every model, floor and control answers the same questions, and all
answers are scored together. Answers are kept batch by batch in the stage's `resume_store`: one that
was killed loses a batch at most, and comes out bit for bit like one in a single go."""

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
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest, progress, replacing
from rnagpt_lib.core.text import fold
from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.evaluate import baselines, evidence, fact_scores, questions, text_scores
from rnagpt_lib.evaluate.results import CHAT, CONTROLS, FLOORS, PRIMARY
from rnagpt_lib.miniature import world
from rnagpt_lib.miniature.world import WORLD_IDS
from rnagpt_lib.model import checkpoint
from rnagpt_lib.runs.resume_store import Store
from rnagpt_lib.runs.run import Run
from rnagpt_lib.runs.stages import MANIFEST, MODELS, WARNING
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
    others = [*MODELS[:-1], CHAT, *ablation_trainings.ABLATED, *FLOORS, *CONTROLS]
    more = [("IT", other, metric) for metric in SECONDARY for other in others]
    without = ablation_trainings.NO_MA
    more += [(without, b, metric) for metric in SECONDARY for b in ablation_trainings.SOFTLESS]
    return list(dict.fromkeys([*PRIMARY, *more]))


# --- answers


def ask(
    run: Run,
    chat: Chat,
    name: str,
    sequences: Sequence[str | None],
    asked: Sequence[str] | None = None,
) -> list[Answer]:
    """``Chat.answer_all``, or without questions ``Chat.annotate_all``, kept in the open stage of
    ``run``; ``name`` is what the bar, and a line about kept answers, call it.

    >>> ask(run, load_model("mini", "IT"), "control.none", [None], ["What is the RNA?"])  # doctest: +SKIP
    """
    requests = [list(column) for column in (sequences, asked) if column is not None]
    reply = chat.annotate_all if asked is None else chat.answer_all
    size, made = run.params.batch_size, 0
    said = hashlib.sha256()
    for request in zip(*requests, strict=True):
        said.update(repr(request).encode("utf-8", "surrogatepass"))
    by = [chat.name, chat.hash, chat.max_new_tokens, size, chat.device, torch.__version__]
    key = digest([*by, said.hexdigest()])  # of all that matters but the code, which the store adds
    with Store(run.folder) as store:

        def keep(batches: list[Batch], make: Make) -> Iterator[list[Answer]]:
            def answer(missing: Iterator[tuple]) -> Iterator[list[tuple]]:
                nonlocal made
                for replies in make(list(batch) for _, *batch in missing):
                    made += len(replies)
                    yield [astuple(one) for one in replies]

            tasks = [(key, *batch) for batch in batches]
            with progress(total=sum(map(len, batches)), desc=name, unit="question") as bar:
                for kept in store.results(tasks, answer):
                    bar.update(len(kept))
                    yield [Answer(*one) for one in kept]

        def answer_all_of_them(tasks: Iterator) -> Iterator[list[tuple]]:
            """Kept together, too, which spares the encoder its pass once they are complete."""
            for _ in tasks:
                yield [astuple(one) for one in reply(*requests, size, keep=keep)]

        [answers] = store.results([("all answers", key)], answer_all_of_them)
    distinct = len(set(zip(*requests, strict=True)))
    if made < distinct:
        print(f"{name}: {distinct - made} answers kept from the earlier attempt")
    return [Answer(*one) for one in answers]


def answer_all(
    run: Run, asked: pd.DataFrame, rnas: pd.DataFrame, pairs: pd.DataFrame
) -> pd.DataFrame:
    """The contract's ``answers`` of all models, controls, floors and trainings to ``asked``."""
    said = []
    for name in MODELS:
        chat = load_model(run.id, name, run.params.max_new_tokens)
        said.append((name, ask(run, chat, name, asked.sequence, asked.question)))
        try:
            own = chat.in_own_template()
        except InputError as error:
            own = None
            print(f"{WARNING}{CHAT} is left out; of the LLM's own chat template: {error}")
        if own:
            said.append((CHAT, ask(run, own, CHAT, asked.sequence, asked.question)))
    for name, change in questions.CONTROL_SEQUENCES.items():  # ``chat`` is IT by now
        said.append((name, ask(run, chat, name, change(asked, run.seed), asked.question)))
    said += [*_of_floors(run, asked, rnas, pairs), *_of_trainings(run, asked)]
    return pd.concat([frame(run, asked, *one) for one in said], ignore_index=True)


def _of_floors(
    run: Run, asked: pd.DataFrame, rnas: pd.DataFrame, pairs: pd.DataFrame
) -> Iterator[tuple[str, list[Answer]]]:
    for name, texts in baselines.floor_answers(asked, rnas, pairs, run.seed).items():
        yield name, [Answer(text, 0, "floor") for text in texts]


def frame(
    run: Run, asked: pd.DataFrame, name: str, answers: Sequence[Answer], seed: int | None = None
) -> pd.DataFrame:
    """One model's answers to ``asked``, as the contract's ``answers``; the seed is the run's, if
    not that of another training."""
    said = pd.DataFrame(map(astuple, answers), asked.index, KEPT[1:])
    seed = run.seed if seed is None else seed
    table = pd.concat([asked, said], axis=1).assign(run=run.id, model=name, seed=seed)
    return table[[*tables.COLUMNS["answers"]]]


def load_training(training: Training, max_new_tokens: int = 256) -> Chat:
    """A finished training's model, ready to be asked."""
    best = checkpoint.find(training.folder)
    # its encoder is where it is now, if the run's folder was moved
    return chat_of(training.name, best, max_new_tokens, encoder=training.encoder)


def _of_trainings(
    run: Run, asked: pd.DataFrame, file: str = ANSWERS
) -> Iterator[tuple[str, list[Answer], int]]:
    for training in ablation_trainings.list_finished(run.id):
        answers = of_training(training, run, asked, file)
        if answers is not None:
            yield training.name, answers, training.seed


def of_training(
    training: Training, run: Run, asked: pd.DataFrame, file: str = ANSWERS
) -> list[Answer] | None:
    """The answers of a finished training to ``asked`` (pair_id, sequence, question): of its model,
    or those kept in ``file`` where the weights are not here, as of a published run. None, and a
    line that says why, where neither can be had."""
    run.use(training.folder / MANIFEST)
    path, most = training.folder / file, run.params.max_new_tokens
    if training.has_weights():
        label = training.folder.name if file == ANSWERS else f"{training.folder.name}, {path.stem}"
        answers = ask(run, load_training(training, most), label, asked.sequence, asked.question)
        table = pd.DataFrame(map(astuple, answers), columns=KEPT[1:])
        table.insert(0, "pair_id", asked.pair_id.to_numpy())
        with replacing(path) as temporary:
            table.to_parquet(temporary, index=False)
        return answers
    answers = _kept_answers(path, asked, most) if path.is_file() else None
    if answers is not None:
        run.use(path)
        told = f"; its answers are those of {file}"
    elif path.is_file():
        told = f", and {file} is of other questions or of answers cut elsewhere"
    else:
        told = f", nor is {file}"
    print(f"{paths.shown(training.folder)}: its weights are not here{told}")
    return answers


def _kept_answers(path: Path, asked: pd.DataFrame, most: int) -> list[Answer] | None:
    """None where a question is missing, or where ``most`` tokens would have cut otherwise. An id is
    enough: the training is of the run's own tables, and that of a minimal pair is of what is
    asked."""
    table = pd.read_parquet(path, columns=KEPT).drop_duplicates("pair_id")
    table = table.set_index("pair_id").reindex(asked.pair_id)
    cut = table.n_tokens[table.stop_reason == "length"]
    if table.n_tokens.isna().any() or (table.n_tokens > most).any() or (cut != most).any():
        return None
    rows = table.itertuples(index=False)
    return [Answer(row.prediction, int(row.n_tokens), row.stop_reason) for row in rows]


# --- MA's own task: annotations


def annotation_targets(annotations: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Every RNA's annotation, of the source of ``pairs``, as a row of that table with an empty
    question, so that what answers and scores pairs does it with annotations. ``pair_id`` is the
    RNA's id; one without literature has the text that stage 1 gives it."""
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
    chat = load_model(run.id, "MA", run.params.max_new_tokens)
    written = ask(run, chat, "MA's annotations", asked.sequence)
    said = [("MA", written), *_of_floors(run, asked, rnas, targets)]
    return pd.concat([frame(run, asked, *one) for one in said], ignore_index=True)


# --- scores


def score(
    answers: pd.DataFrame,
    asked: pd.DataFrame,
    pairs: pd.DataFrame,
    semantic: Iterable[text_scores.BertScore | text_scores.Cosine],
    known: evidence.Evidence | None = None,
) -> tuple[pd.DataFrame, dict[str, str], dict[str, dict]]:
    """The contract's ``samples``, metric → definition id, and definition id → definition; of all
    models together, so each scorer reads a text once. Without evidence its metrics are left out;
    without answers there is nothing at all."""
    if answers.empty:
        return pd.DataFrame(columns=[*KEYS, "metric", "value"]), {}, {}
    predictions, references = (list(map(fold, answers[s])) for s in ("prediction", "reference"))
    definitions = {text_scores.ROUGE_ID: text_scores.ROUGE_DEFINITION}
    definitions |= {fact_scores.ID: fact_scores.DEFINITIONS[fact_scores.ID]}
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
    said = zip(answers.pair_id, answers.prediction, strict=True)
    checked = [fact_scores.fact(by_id[pair_id], text, known) for pair_id, text in said]
    rows = answers[[fact is not None for fact in checked]][KEYS].reset_index(drop=True)
    facts = pd.DataFrame([f for f in checked if f is not None], columns=["metric", "value"])
    return pd.concat([rows, facts], axis=1)


# --- minimal pairs: does the answer follow one nucleotide?


def minimal_pairs(run: Run, rnas: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """What IT, and each training beside the run, answers about ``minimal_pairs`` of the generated
    world: `follow` with the columns model and seed. Empty where the run asks for none or is about
    other RNAs than the world's."""
    of_world = rnas.rna_id.str.startswith(WORLD_IDS).all()
    minimal = world.minimal_pairs(run.params.minimal_pairs * bool(of_world), run.seed)
    if not len(minimal):
        columns = ["model", "seed", "relation", "rna_type", "followed", "flipped"]
        return pd.DataFrame(columns=columns)
    asked, known = probe_questions(minimal), fact_scores.lexicon(pairs)
    chat = load_model(run.id, "IT", run.params.max_new_tokens)
    said = ask(run, chat, "minimal pairs", asked.sequence, asked.question)
    given = [("IT", said, run.seed), *_of_trainings(run, asked, MINIMAL)]
    parts = [
        follow(minimal, said, known).assign(model=name, seed=seed) for name, said, seed in given
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

    def follows(row) -> bool:
        question, others = RELATIONS[row.relation].questions[0], known.get(row.relation, [])
        wanted = (row.sequence_answer, row.entity), (row.mutant_answer, row.mutant_entity)
        return all(fact_scores.is_right(question, *one, others) for one in wanted)

    table["followed"] = [follows(row) for row in table.itertuples()]
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
