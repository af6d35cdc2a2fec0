"""Decoding in batches: answers to questions about RNAs, and the annotations of stage 1.

Prompts come from the model's own ``Template``, the one that it was trained with. Every RNA is
read once; its questions go on from a copy of its prefix cache.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat

import torch
from torch import Tensor

from rnagpt_lib.chat.decoding_batch import GREEDY, Answer, Choose, Rows, Sampling, replies
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.model.template import bos_ids, ids

Rna = Tensor | str | None  # encoder embeddings (L, D), or letters, or no RNA at all
Batch = list[int]  # the places of the requests that are answered together

Make = Callable[[Iterable[Batch]], Iterator[list[Answer]]]
Keep = Callable[[list[Batch], Make], Iterable[list[Answer]]]


@torch.inference_mode()
def answers(
    model: RnaGpt,
    rnas: Sequence[Rna],
    questions: Sequence[str],
    *,
    max_new_tokens: int = 256,
    batch_size: int = 64,
    keep: Keep | None = None,
    sampling: Sampling = GREEDY,
    names: Sequence[str | None] | None = None,
) -> list[Answer]:
    """The answer to ``questions[i]`` about ``rnas[i]``, in order, in fp32 as one by one.

    Give the same object for the same RNA: it is then read once for all of its questions, and
    a question that is asked twice is answered once. ``keep(batches, make)`` sees the answers of
    each batch as it finishes, and may have some already: it gives those of all batches in turn
    and asks ``make`` for what it lacks. The batches are the same whatever it has. Greedy, unless
    ``sampling`` says otherwise; ``names[i]`` then tells RNAs apart for its draws. Raises InputError
    where prompt and answer do not fit into the LLM's context.
    """
    check_room(model, rnas, questions, max_new_tokens)
    keys = [(id(rna), question) for rna, question in zip(rnas, questions, strict=True)]
    batches = list(_batches(rnas, keys, batch_size))
    drawn = [drawn_for(*one) for one in zip(names or repeat(None), questions, strict=False)]

    def make(missing: Iterable[Batch]) -> Iterator[list[Answer]]:
        for batch in missing:
            choose = sampling.choose([drawn[i] for i in batch])
            yield _together(model, rnas, questions, batch, max_new_tokens, choose)

    replied = keep(batches, make) if keep else make(batches)
    found: dict[tuple[int, str], Answer] = {}
    for batch, given in zip(batches, replied, strict=True):
        found |= {keys[i]: answer for i, answer in zip(batch, given, strict=True)}
    return [found[key] for key in keys]


def _together(
    model: RnaGpt,
    rnas: Sequence[Rna],
    questions: Sequence[str],
    batch: Batch,
    max_new_tokens: int,
    choose: Choose,
) -> list[Answer]:
    """The answers of one batch, each of its RNAs read once."""
    distinct = list({id(rnas[i]): rnas[i] for i in batch}.values())
    place = {id(rna): row for row, rna in enumerate(distinct)}
    rows = Rows.read(model, [prefix(model, rna) for rna in distinct])
    rows.select([place[id(rnas[i])] for i in batch])
    asked = [model.template.question_ids(model.tokenizer, questions[i]) for i in batch]
    logits = rows.extend([model.embed(question) for question in asked])
    return _decoded(rows, logits, max_new_tokens, choose, model.template.stop)


def _decoded(
    rows: Rows, logits: Tensor, max_new_tokens: int, choose: Choose, stop: str | None = None
) -> list[Answer]:
    *_, found = replies(rows, logits, max_new_tokens, choose, stop)
    return [reply.answer(rows.model, stop) for reply in found]


@torch.inference_mode()
def annotations(
    model: RnaGpt,
    rnas: Sequence[Tensor],
    *,
    max_new_tokens: int = 256,
    batch_size: int = 64,
    keep: Keep | None = None,
) -> list[Answer]:
    """What the model writes about each RNA (L, D) behind the prompt of stage 1: BOS, soft tokens
    and no text. Greedy, in fp32 as one by one; only EOS ends it, as in training.

    ``keep`` as of `answers`. Raises InputError where RNA and annotation do not fit into the LLM's
    context.
    """
    before = bos_ids(model.tokenizer)
    _fits(model, rnas, len(before) + max_new_tokens, "annotation")
    order = sorted(range(len(rnas)), key=lambda i: len(rnas[i]))  # little padding
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

    def make(missing: Iterable[Batch]) -> Iterator[list[Answer]]:
        for batch in missing:
            rows = Rows(model, len(batch))
            logits = rows.extend([model.splice(before, rnas[i], []) for i in batch])
            yield _decoded(rows, logits, max_new_tokens, GREEDY.choose([]))

    found: dict[int, Answer] = {}
    for batch, given in zip(batches, keep(batches, make) if keep else make(batches), strict=True):
        found |= dict(zip(batch, given, strict=True))
    return [found[i] for i in range(len(rnas))]


def check_room(
    model: RnaGpt, rnas: Sequence[Rna], questions: Sequence[str], max_new_tokens: int
) -> None:
    """A soft token or letter for each nucleotide, then the question and room for the answer.

    Raises InputError where that is more than the LLM reads.
    """
    before = len(model.template.prefix_ids(model.tokenizer))
    asked = [len(model.template.question_ids(model.tokenizer, q)) for q in set(questions)]
    needed = before + max(asked, default=0) + max_new_tokens
    _fits(model, rnas, needed, "question and answer")


def _fits(model: RnaGpt, rnas: Sequence[Rna], beside: int, texts: str) -> None:
    """``beside``: the tokens that ``texts`` take beside those of the RNA."""
    longest = max((0 if rna is None else len(rna) for rna in rnas), default=0)
    needed, room = beside + longest, model.llm.config.max_position_embeddings
    if needed > room:
        raise InputError(
            f"an RNA of {longest:,} nt with {texts} takes {needed:,} tokens, and the "
            f"LLM reads {room:,}; give a shorter sequence or question, or fewer new tokens"
        )


def _batches(
    rnas: Sequence[Rna], keys: Sequence[tuple[int, str]], batch_size: int
) -> Iterator[Batch]:
    """Where each distinct request stands, an RNA's together, short RNAs first: little padding."""
    once = {key: i for i, key in reversed(list(enumerate(keys)))}
    first = {id(rna): i for i, rna in reversed(list(enumerate(rnas)))}
    length = {key: 0 if rnas[i] is None else len(rnas[i]) for key, i in first.items()}
    order = sorted(once, key=lambda key: (length[key[0]], first[key[0]], once[key]))
    for start in range(0, len(order), batch_size):
        yield [once[key] for key in order[start : start + batch_size]]


def prefix(model: RnaGpt, rna: Rna) -> Tensor:
    """All of the prompt up to and with the RNA, (P, H)."""
    before = model.template.prefix_ids(model.tokenizer)
    if isinstance(rna, Tensor):
        return model.splice(before, rna, [])
    return model.embed(before + ids(model.tokenizer, rna or ""))


def drawn_for(rna: str | None, question: str, turns: int = 0) -> str:
    """What the draws of one answer depend on: RNA, question, and how often it was asked before."""
    return f"{rna}\n{question}" + (f"\n{turns}" if turns else "")
