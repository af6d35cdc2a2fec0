"""Greedy decoding in batches: answers to questions about RNAs, and the annotations of stage 1.

Prompts come from the model's own ``Template``, the one that it was trained with. Every RNA is
read once; its questions go on from a copy of its prefix cache.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rnagpt_lib.errors import InputError
from rnagpt_lib.kvcache import roomy_cache
from rnagpt_lib.model import RnaGpt
from rnagpt_lib.template import bos_ids, ids

TAIL = 16  # tokens in which the stop string is looked for; a token is a letter at least

Rna = Tensor | str | None  # encoder embeddings (L, D), or letters, or no RNA at all
Batch = list[int]  # the places of the requests that are answered together


@dataclass(frozen=True)
class Answer:
    """``stop_reason``: ``eos``, ``stop`` (the template's stop string) or ``length``."""

    text: str
    n_tokens: int
    stop_reason: str


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
) -> list[Answer]:
    """The greedy answer to ``questions[i]`` about ``rnas[i]``, in order, in fp32 as one by one.

    Give the same object for the same RNA: it is then read once for all of its questions, and
    a question that is asked twice is answered once. ``keep(batches, make)`` sees the answers of
    each batch as it finishes, and may have some already: it gives those of all batches in turn
    and asks ``make`` for what it lacks. The batches are the same whatever it has. Raises
    InputError where prompt and answer do not fit into the LLM's context.
    """
    _check_room(model, rnas, questions, max_new_tokens)
    keys = [(id(rna), question) for rna, question in zip(rnas, questions, strict=True)]
    batches = list(_batches(rnas, keys, batch_size))

    def make(missing: Iterable[Batch]) -> Iterator[list[Answer]]:
        for batch in missing:
            yield _together(model, rnas, questions, batch, max_new_tokens)

    replied = keep(batches, make) if keep else make(batches)
    found: dict[tuple[int, str], Answer] = {}
    for batch, replies in zip(batches, replied, strict=True):
        found |= {keys[i]: reply for i, reply in zip(batch, replies, strict=True)}
    return [found[key] for key in keys]


def _together(
    model: RnaGpt,
    rnas: Sequence[Rna],
    questions: Sequence[str],
    batch: Batch,
    max_new_tokens: int,
) -> list[Answer]:
    """The answers of one batch, each of its RNAs read once."""
    distinct = list({id(rnas[i]): rnas[i] for i in batch}.values())
    rows = {id(rna): row for row, rna in enumerate(distinct)}
    state = _State.read(model, [_prefix(model, rna) for rna in distinct])
    state.select([rows[id(rnas[i])] for i in batch])
    asked = [model.template.question_ids(model.tokenizer, questions[i]) for i in batch]
    logits = state.extend([model.embed(question) for question in asked])
    return _decode(model, state, logits, max_new_tokens, model.template.stop)


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
            state = _State(model, len(batch))
            logits = state.extend([model.splice(before, rnas[i], []) for i in batch])
            yield _decode(model, state, logits, max_new_tokens)

    found: dict[int, Answer] = {}
    for batch, replies in zip(batches, keep(batches, make) if keep else make(batches), strict=True):
        found |= dict(zip(batch, replies, strict=True))
    return [found[i] for i in range(len(rnas))]


def _check_room(
    model: RnaGpt, rnas: Sequence[Rna], questions: Sequence[str], max_new_tokens: int
) -> None:
    """A soft token or letter for each nucleotide, then the question and room for the answer."""
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
            f"LLM reads {room:,}; give a shorter sequence or question, or fewer MAX_NEW_TOKENS"
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


def _prefix(model: RnaGpt, rna: Rna) -> Tensor:
    """All of the prompt up to and with the RNA, (P, H)."""
    before = model.template.prefix_ids(model.tokenizer)
    if isinstance(rna, Tensor):
        return model.splice(before, rna, [])
    return model.embed(before + ids(model.tokenizer, rna or ""))


class _State:
    """What B rows have read so far: the key/value cache and which of its places are no pads."""

    def __init__(self, model: RnaGpt, rows: int):
        self.model, self.cache = model, roomy_cache()
        self.mask = torch.zeros(rows, 0, dtype=torch.long, device=model.device)

    @classmethod
    def read(cls, model: RnaGpt, texts: list[Tensor]) -> "_State":
        state = cls(model, len(texts))
        state.extend(texts)
        return state

    def select(self, rows: list[int] | Tensor) -> None:
        """Go on with these rows; a row may be taken several times."""
        rows = torch.as_tensor(rows, device=self.mask.device)
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    def extend(self, texts: list[Tensor]) -> Tensor:
        """Read on: B embeddings (T, H) of any lengths → logits (B, V) after the last one.

        Padding goes to the left, where the mask hides it and positions do not count it.
        """
        flipped = [text.flip(0) for text in texts]
        inputs = pad_sequence(flipped, batch_first=True).flip(1)  # (B, T, H)
        ones = [torch.ones(len(text), dtype=torch.long) for text in texts]
        new = pad_sequence(ones, batch_first=True).flip(1).to(self.mask.device)
        self.mask = torch.cat([self.mask, new], dim=1)
        positions = (self.mask.cumsum(1) - 1).clamp(min=0)[:, -new.shape[1] :]
        out = self.model.llm(
            inputs_embeds=inputs,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1]


def _decode(
    model: RnaGpt, state: _State, logits: Tensor, max_new_tokens: int, stop: str | None = None
) -> list[Answer]:
    """The most likely token again and again; rows that have stopped leave the batch."""
    tokens: list[list[int]] = [[] for _ in logits]
    reasons = ["length"] * len(tokens)
    rows = list(range(len(tokens)))
    for left in reversed(range(max_new_tokens)):
        chosen = logits.argmax(dim=-1)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            tokens[row].append(token)
            reasons[row] = _stopped(model, tokens[row], stop) or "length"
        going = [place for place, row in enumerate(rows) if reasons[row] == "length"]
        if not going or not left:
            break
        if len(going) < len(rows):
            state.select(going)
            rows = [rows[place] for place in going]
        logits = state.extend(list(model.embed(chosen[going, None])))
    return [_answer(model, *row, stop) for row in zip(tokens, reasons, strict=True)]


def _stopped(model: RnaGpt, tokens: list[int], stop: str | None) -> str | None:
    """Why decoding stops here: both reasons come from the LLM and tokenizer in use, and ``###``
    may well be several of its tokens, or a part of one."""
    if tokens[-1] in model.ends:
        return "eos"
    return "stop" if stop and stop in model.tokenizer.decode(tokens[-TAIL:]) else None


def _answer(model: RnaGpt, tokens: list[int], reason: str, stop: str | None) -> Answer:
    text = model.tokenizer.decode(tokens, skip_special_tokens=True)
    return Answer(model.template.clean(text) if stop else text.strip(), len(tokens), reason)
