"""Rows 11 and 12: a chat that keeps what it read of the RNA, and many questions at once.

One LLM of random weights whose answers never end early. The peer of row 11 is what chat models of
molecules do: transformers' ``generate`` over the whole prompt, for every question anew. Row 12 asks
the same questions in one batch, against the chat that asks one after another. Beside them, of the
reference run: what becomes of right answers when the model reads its earlier turns again.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import pandas as pd
import torch
from transformers import LlamaForCausalLM

from benchmarks._page import page_of, publish, results_of
from benchmarks.speed import _peers
from benchmarks.speed.training_steps import CONFIG, SHAPE, THREADS
from rnagpt_lib.chat.generate import Chat, load_model
from rnagpt_lib.chat.session import Session
from rnagpt_lib.core import tables
from rnagpt_lib.core.files import read_json, write_json
from rnagpt_lib.core.paths import root
from rnagpt_lib.core.text import markdown_table
from rnagpt_lib.evaluate import fact_scores, questions
from rnagpt_lib.model import language_model
from rnagpt_lib.model.rna_gpt import Config, RnaGpt

LENGTH, QUESTIONS, TOKENS, REPEATS = 300, 24, 24, 5
RNA = "".join(np.random.default_rng(0).choice(list("ACGU"), LENGTH))
WORKLOAD = f"{QUESTIONS} questions about an RNA of {LENGTH} nt, answers of {TOKENS} tokens; {SHAPE}"
RESULTS = results_of("chat_memory")
PAGE = page_of("chat_memory")
RNAS, TURNS = 120, 6  # of the reference run's test side
DIM = 64

Way = Callable[[Chat, list[str]], list[str]]


def main() -> None:
    """Measure both rows and the memory, write them."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        _peers.keep_rows("chat", list(rows()))
        write_json(RESULTS, memory())
    finally:
        torch.set_num_threads(before)
    publish(PAGE, "chat", render())


class Vectors:
    """In place of the encoder, which both sides run once: random embeddings."""

    def encode(self, sequences: list[str]) -> list[torch.Tensor]:
        """(L, D) for each."""
        generator = torch.Generator().manual_seed(0)
        return [torch.randn(len(s), DIM, generator=generator) for s in sequences]


def endless() -> Chat:
    """A chat over random weights, every token of which shows in the text and none ends it."""
    torch.manual_seed(0)
    words = language_model.load_tokenizer("models/mini-llm")
    words.add_tokens([f" ~{i}" for i in range(CONFIG.vocab_size - len(words))])
    config = Config("none", "none", DIM, "none", "none")
    model = RnaGpt(LlamaForCausalLM(CONFIG), words, config).eval()
    model.ends = set()
    return Chat("MA", model, Vectors(), max_new_tokens=TOKENS)


def rows() -> Iterator[dict]:
    """Rows 11 and 12; each asserts that all answers are the same first."""
    chat, asked = endless(), [f"Is it associated with disease {n}?" for n in range(QUESTIONS)]
    seconds = in_turn(chat, asked, {"kept": kept, "anew": anew, "together": together})
    yield _peers.row(
        "chat with the RNA's cache vs prompt read anew",
        [theirs / ours for ours, theirs in zip(seconds["kept"], seconds["anew"], strict=True)],
        ours="a session: the RNA read once, each question behind a copy of its cache",
        peer="transformers' generate over the whole prompt, batch 1",
        workload=WORKLOAD, target="≥ 1.5",
        limit=f"{ceiling(chat, asked[0]):.2f} with a prompt that costs nothing: both sides decode",
        ratio_first_token=round(first_token(chat, asked[0]), 2),
    )  # fmt: skip
    yield _peers.row(
        "questions of one RNA in a batch vs one by one",
        [theirs / ours for ours, theirs in zip(seconds["together"], seconds["kept"], strict=True)],
        ours="one batch, the RNA read once", peer="a session, question by question",
        workload=WORKLOAD, target="≥ 3", limit="weights are read once a token for all rows",
    )  # fmt: skip


def kept(chat: Chat, asked: list[str]) -> list[str]:
    """One question after another, in one session."""
    session = Session(chat, RNA)
    return [session.ask(question).answer for question in asked]


def together(chat: Chat, asked: list[str]) -> list[str]:
    """All in one batch."""
    return [answer.text for answer in chat.answer_all([RNA] * len(asked), asked)]


@torch.inference_mode()
def anew(chat: Chat, asked: list[str], tokens: int = 0) -> list[str]:
    """The peer; ``tokens`` of each answer, by default all."""
    model, found = chat.model, []
    [vectors] = chat.read([RNA])
    for question in asked:
        ids = model.llm.generate(
            inputs_embeds=model.prompt(vectors, question)[None],
            max_new_tokens=tokens or chat.max_new_tokens, do_sample=False, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        found.append(model.template.clean(model.tokenizer.decode(ids[0])))
    return found


def in_turn(chat: Chat, asked: list[str], ways: dict[str, Way]) -> dict[str, list[float]]:
    """Seconds of each way, repeat by repeat in turn. Raises AssertionError when an answer of one
    differs from the first one's."""
    seconds = {name: [] for name in ways}
    for _ in range(REPEATS + 1):
        answers = []
        for name, way in ways.items():
            start = time.perf_counter()
            answers.append(way(chat, asked))
            seconds[name].append(time.perf_counter() - start)
        assert all(found == answers[0] for found in answers), "answers differ"
    assert len(set(answers[0])) > QUESTIONS / 2, "the question does not matter"
    return {name: taken[1:] for name, taken in seconds.items()}  # the first warms up


def first_token(chat: Chat, question: str) -> float:
    """How much sooner the first token comes, of a second question."""
    session, ratios = Session(chat, RNA), []
    session.ask(question)
    for _ in range(REPEATS):
        start = time.perf_counter()
        stream = session.stream(question)
        next(stream)
        middle = time.perf_counter()
        anew(chat, [question], tokens=1)
        ratios.append((time.perf_counter() - middle) / (middle - start))
        stream.close()
    return median(ratios)


def ceiling(chat: Chat, question: str) -> float:
    """How much sooner the peer would have a whole answer if its prompt cost nothing."""
    ratios = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        anew(chat, [question])
        middle = time.perf_counter()
        anew(chat, [question], tokens=1)
        whole, prompt = middle - start, time.perf_counter() - middle
        ratios.append(whole / (whole - prompt))
    return median(ratios)


def memory() -> dict:
    """Right answers (`scores.fact`) of the reference's IT to up to `TURNS` open questions about a
    test RNA, with the earlier turns in the prompt and without, by the number of earlier turns."""
    folder = root() / "runs" / "reference" / "03_decompose_qa"
    data = {name: tables.read(folder / f"{name}.parquet", name) for name in ("rnas", "pairs")}
    asked = questions.questions(data["rnas"], data["pairs"])
    ids = asked.rna_id.drop_duplicates().sample(RNAS, random_state=0)
    asked = asked[(asked.form == "open") & asked.rna_id.isin(ids)]
    asked = asked.assign(turn=asked.groupby("rna_id").cumcount())
    asked, known = asked[asked.turn < TURNS], fact_scores.lexicon(data["pairs"])
    chat, found = load_model("reference", "IT", 64), []
    for remembers in (False, True):
        for _, one in asked.groupby("rna_id"):
            session = Session(chat, one.sequence.iloc[0], memory=remembers)
            for row in one.itertuples():
                fact = fact_scores.fact(row, session.ask(row.question).answer, known)
                found += [(remembers, row.turn, row.unit, fact[1])] if fact else []
    table = pd.DataFrame(found, columns=["memory", "turn", "unit", "right"])
    by_turn = table.groupby(["turn", "memory"]).right.agg(["mean", "size"]).round(4)
    return {
        "rnas": len(ids),
        "by_turn": [
            {"earlier": turn, "memory": remembers, "right": one["mean"], "n": int(one["size"])}
            for (turn, remembers), one in by_turn.iterrows()
        ],
        "all": table.groupby("memory").right.mean().round(4).rename(str).to_dict(),
    }


def render() -> str:
    """The block of the page, from the kept results alone."""
    kept = read_json(RESULTS)
    table = pd.DataFrame(kept["by_turn"]).pivot(index="earlier", columns="memory", values="right")
    table.columns = ["without memory", "with memory"]
    return markdown_table(table.rename_axis("earlier turns").reset_index())


if __name__ == "__main__":
    main()
