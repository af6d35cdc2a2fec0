"""Decoding: B rows of text that the LLM has read go on, one token again and again.

Every RNA is read once; its questions go on from a copy of its prefix cache.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache, DynamicLayer

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.model.template import bos_ids, ids

ROOM = 64  # places (tokens) that are added to the cache when its room is used up
TAIL = 16  # tokens in which the stop string is looked for; a token is a letter at least

Rna = Tensor | str | None  # encoder embeddings (L, D), or letters, or no RNA at all
Batch = list[int]  # the places of the requests that are answered together
Choose = Callable[[Tensor, list[int]], Tensor]  # logits (b, V) of these rows -> token ids (b,)


@dataclass(frozen=True)
class Answer:
    """``stop_reason``: ``eos``, ``stop`` (the template's stop string), ``length``, or in a chat
    ``cancelled``."""

    text: str
    n_tokens: int
    stop_reason: str


Make = Callable[[Iterable[Batch]], Iterator[list[Answer]]]
Keep = Callable[[list[Batch], Make], Iterable[list[Answer]]]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the most likely one (temperature 0), or drawn out of the fewest
    that hold ``top_p`` of the probability (Holtzman et al. 2020, arXiv 1904.09751). Draws depend on
    the seed and on what is asked alone. Raises InputError for values that mean nothing."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature is {self.temperature}; give 0 (greedy) or more, as 0.7")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top-p is {self.top_p}; give a share above 0, at most 1, as 0.9")

    def choose(self, keys: Sequence[str]) -> Choose:
        """How rows choose; ``keys[i]`` names what is asked in row i."""
        if not self.temperature:
            return lambda logits, rows: logits.argmax(dim=-1)
        named = [f"{self.seed}\n{key}".encode("utf-8", "surrogatepass") for key in keys]
        seeds = [int.from_bytes(hashlib.sha256(name).digest()[:7]) for name in named]
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]

        def choose(logits: Tensor, rows: list[int]) -> Tensor:
            at = [torch.rand(1, generator=draws[row], dtype=torch.double) for row in rows]
            return self.draw(logits, torch.cat(at))

        return choose

    def draw(self, logits: Tensor, at: Tensor) -> Tensor:
        """The tokens at places ``at`` (b,), 0 to 1, of the cumulated probabilities of those that
        may be drawn, the most likely first; logits (b, V) → (b,)."""
        chances = (logits.double().cpu() / self.temperature).softmax(dim=-1)
        chances, tokens = chances.sort(dim=-1, descending=True, stable=True)
        mass = chances.cumsum(dim=-1)
        kept = torch.where(mass - chances < self.top_p, chances, 0.0).cumsum(dim=-1)
        place = torch.searchsorted(kept, at[:, None] * kept[:, -1:], right=True)
        return tokens.gather(1, place.clamp(max=tokens.shape[1] - 1))[:, 0].to(logits.device)


GREEDY = Sampling()


@torch.inference_mode()
def answer_all(
    model: RnaGpt, rnas: Sequence[Rna], questions: Sequence[str], *, max_new_tokens: int = 256,
    batch_size: int = 64, keep: Keep | None = None, sampling: Sampling = GREEDY,
    names: Sequence[str | None] | None = None,
) -> list[Answer]:  # fmt: skip
    """The answer to ``questions[i]`` about ``rnas[i]``, in order, in fp32 as one by one.

    Give the same object for the same RNA: it is then read once, and a question asked twice is
    answered once. ``keep(batches, make)`` gives the answers of all batches in turn, and asks
    ``make`` for those that it lacks. ``names[i]`` tells RNAs apart for the draws of ``sampling``.
    Raises InputError where prompt and answer do not fit into the LLM's context.
    """
    check_room(model, rnas, questions, max_new_tokens)
    template, tokenizer = model.template, model.tokenizer

    def answer(batch: Batch) -> list[Answer]:
        distinct = list({id(rnas[i]): rnas[i] for i in batch}.values())
        place = {id(rna): row for row, rna in enumerate(distinct)}
        rows = DecodingBatch.read(model, [prefix(model, rna) for rna in distinct])
        rows.select([place[id(rnas[i])] for i in batch])
        asked = [model.embed(template.question_ids(tokenizer, questions[i])) for i in batch]
        keys = [drawn_for(names[i] if names else None, questions[i]) for i in batch]
        return rows.complete(asked, max_new_tokens, sampling.choose(keys), template.stop)

    keys = [(id(rna), question) for rna, question in zip(rnas, questions, strict=True)]
    once = {key: i for i, key in reversed(list(enumerate(keys)))}
    first = {id(rna): i for i, rna in reversed(list(enumerate(rnas)))}
    # an RNA's questions together, short RNAs first: little padding
    order = sorted(once.values(), key=lambda i: (_length(rnas[i]), first[id(rnas[i])], i))
    found = _in_batches(order, batch_size, answer, keep)
    return [found[once[key]] for key in keys]


@torch.inference_mode()
def annotate_all(
    model: RnaGpt, rnas: Sequence[Tensor], *, max_new_tokens: int = 256, batch_size: int = 64,
    keep: Keep | None = None,
) -> list[Answer]:  # fmt: skip
    """What the model writes about each RNA (L, D) behind the prompt of stage 1: BOS, soft tokens
    and no text. Greedy; only EOS ends it, as in training. Else as `answer_all`."""
    check_room(model, rnas, None, max_new_tokens)

    def annotate(batch: Batch) -> list[Answer]:
        prompts = [model.splice(bos_ids(model.tokenizer), rnas[i], []) for i in batch]
        return DecodingBatch(model, len(batch)).complete(prompts, max_new_tokens, GREEDY.choose([]))

    order = sorted(range(len(rnas)), key=lambda i: len(rnas[i]))
    found = _in_batches(order, batch_size, annotate, keep)
    return [found[i] for i in range(len(rnas))]


def _in_batches(
    order: list[int], size: int, answer: Callable[[Batch], list[Answer]], keep: Keep | None
) -> dict[int, Answer]:
    """The answer of each place in ``order``, batch by batch."""
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    make = partial(map, answer)
    found: dict[int, Answer] = {}
    for batch, given in zip(batches, keep(batches, make) if keep else make(batches), strict=True):
        found |= dict(zip(batch, given, strict=True))
    return found


def check_room(
    model: RnaGpt, rnas: Sequence[Rna], questions: Sequence[str] | None, max_new_tokens: int
) -> None:
    """InputError where an RNA, a question and its answer (or, of None, an annotation) are more than
    the LLM reads."""
    template, tokenizer = model.template, model.tokenizer
    if questions is None:
        before, texts = len(bos_ids(tokenizer)), "annotation"
    else:
        asked = [len(template.question_ids(tokenizer, one)) for one in set(questions)]
        before = len(template.prefix_ids(tokenizer)) + max(asked, default=0)
        texts = "question and answer"
    longest = max(map(_length, rnas), default=0)
    needed, room = before + max_new_tokens + longest, model.llm.config.max_position_embeddings
    if needed > room:
        raise InputError(
            f"an RNA of {longest:,} nt with {texts} takes {needed:,} tokens, and the "
            f"LLM reads {room:,}; give a shorter sequence or question, or fewer new tokens"
        )


def _length(rna: Rna) -> int:
    return 0 if rna is None else len(rna)


def prefix(model: RnaGpt, rna: Rna) -> Tensor:
    """All of the prompt up to and with the RNA, (P, H)."""
    before = model.template.prefix_ids(model.tokenizer)
    if isinstance(rna, Tensor):
        return model.splice(before, rna, [])
    return model.embed(before + ids(model.tokenizer, rna or ""))


def drawn_for(rna: str | None, question: str, turns: int = 0) -> str:
    """What the draws of one answer depend on: RNA, question, and how often it was asked before."""
    return f"{rna}\n{question}" + (f"\n{turns}" if turns else "")


@dataclass
class Reply:
    """The tokens of a row so far; ``reason`` says why it ended, "" while it goes on."""

    tokens: list[int] = field(default_factory=list)
    reason: str = ""

    def answer(self, model: RnaGpt, stop: str | None) -> Answer:
        """What it says: cut at the template's stop string, if it is one that stops."""
        text = model.tokenizer.decode(self.tokens, skip_special_tokens=True)
        text = model.template.clean(text) if stop else text.strip()
        return Answer(text, len(self.tokens), self.reason)


class DecodingBatch:
    """What ``count`` rows have read so far: the key/value cache, and which of its places are no
    pads."""

    def __init__(self, model: RnaGpt, count: int):
        self.model, self.cache = model, Cache(layer_class_to_replicate=RoomyLayer)
        self.mask = torch.zeros(count, 0, dtype=torch.long, device=model.device)

    @classmethod
    def read(cls, model: RnaGpt, texts: list[Tensor]) -> "DecodingBatch":
        """A row for each text, embeddings (T, H) of any lengths."""
        rows = cls(model, len(texts))
        rows.extend(texts)
        return rows

    def copy(self) -> "DecodingBatch":
        """Rows that go on from here, while these stay as they are."""
        other = DecodingBatch(self.model, 0)
        other.cache, other.mask = deepcopy(self.cache), self.mask
        return other

    def select(self, rows: list[int]) -> None:
        """Go on with these rows; a row may be taken several times."""
        taken = torch.as_tensor(rows, device=self.mask.device)
        self.cache.batch_select_indices(taken)
        self.mask = self.mask[taken]

    def extend(self, texts: list[Tensor]) -> Tensor:
        """Read on: B embeddings (T, H) of any lengths → logits (B, V) after the last one. Padding
        goes to the left, where the mask hides it and positions do not count it."""
        flipped = [text.flip(0) for text in texts]
        inputs = pad_sequence(flipped, batch_first=True).flip(1)  # (B, T, H)
        ones = [torch.ones(len(text), dtype=torch.long) for text in texts]
        new = pad_sequence(ones, batch_first=True).flip(1).to(self.mask.device)
        self.mask = torch.cat([self.mask, new], dim=1)
        options = {"past_key_values": self.cache, "use_cache": True, "logits_to_keep": 1}
        if not self.mask.all():  # without pads the LLM makes no mask, and its kernels are faster
            positions = (self.mask.cumsum(1) - 1).clamp(min=0)[:, -new.shape[1] :]
            options |= {"attention_mask": self.mask, "position_ids": positions}
        return self.model.llm(inputs_embeds=inputs, **options).logits[:, -1]

    @torch.inference_mode()
    def replies(
        self, texts: list[Tensor], max_new_tokens: int, choose: Choose, stop: str | None = None
    ) -> Iterator[list[Reply]]:
        """All replies to ``texts`` (T, H) after each token, the same list every time; rows that
        have stopped leave the batch."""
        logits, found = self.extend(texts), [Reply() for _ in texts]
        going = list(range(len(found)))
        for left in reversed(range(max_new_tokens)):
            chosen = choose(logits, going)
            for row, token in zip(going, chosen.tolist(), strict=True):
                found[row].tokens.append(token)
                reason = self._stopped(found[row].tokens, stop)
                found[row].reason = reason or ("" if left else "length")
            yield found
            stay = [place for place, row in enumerate(going) if not found[row].reason]
            if not stay:
                return
            if len(stay) < len(going):
                self.select(stay)
                going = [going[place] for place in stay]
            logits = self.extend(list(self.model.embed(chosen[stay, None])))

    def complete(
        self, texts: list[Tensor], max_new_tokens: int, choose: Choose, stop: str | None = None
    ) -> list[Answer]:
        """The answers at their ends; as `replies`."""
        *_, found = self.replies(texts, max_new_tokens, choose, stop)
        return [reply.answer(self.model, stop) for reply in found]

    def _stopped(self, tokens: list[int], stop: str | None) -> str:
        """Why decoding stops here, or "": both reasons come from the LLM and tokenizer in use, and
        ``###`` may well be several of its tokens, or a part of one."""
        if tokens[-1] in self.model.ends:
            return "eos"
        return "stop" if stop and stop in self.model.tokenizer.decode(tokens[-TAIL:]) else ""


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer, (B, heads, T, head dim): views into buffers that grow by blocks.
    transformers' own are copied whole for every token: nine tenths of the time of a wide batch."""

    buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs):
        """Append (B, heads, t, head dim) each and return everything so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, new = self.get_seq_length(), (key_states, value_states)
        end = start + key_states.shape[-2]
        if self.buffers is None or end > self.buffers[0].shape[-2]:
            grown = tuple(x.new_empty(*x.shape[:-2], end + ROOM, x.shape[-1]) for x in new)
            if start:
                for buffer, old in zip(grown, (self.keys, self.values), strict=True):
                    buffer[..., :start, :] = old
            self.buffers = grown
        for buffer, states in zip(self.buffers, new, strict=True):
            buffer[..., start:end, :] = states
        self.keys, self.values = (buffer[..., :end, :] for buffer in self.buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with these rows of the batch."""
        self.buffers = None
        super().batch_select_indices(indices)
