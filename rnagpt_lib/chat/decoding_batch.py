"""B rows of text that an LLM has read, and how they go on: one token again and again.

`decoding` asks many questions with it, `session` holds one conversation.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rnagpt_lib.chat.kvcache import roomy_cache
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.model.rna_gpt import RnaGpt

TAIL = 16  # tokens in which the stop string is looked for; a token is a letter at least

Choose = Callable[[Tensor, list[int]], Tensor]  # logits (b, V) of these rows -> token ids (b,)


@dataclass(frozen=True)
class Answer:
    """``stop_reason``: ``eos``, ``stop`` (the template's stop string), ``length``, or in a chat
    ``cancelled``."""

    text: str
    n_tokens: int
    stop_reason: str


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the most likely one (temperature 0), or drawn.

    ``top_p``: out of the fewest tokens that hold this share of the probability (Holtzman et al.
    2020, arXiv 1904.09751). Draws depend on the seed and on what is asked alone, not on what else
    is in the batch. Raises InputError for values that mean nothing.
    """

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
        draws = [torch.Generator().manual_seed(_seed(self.seed, key)) for key in keys]

        def choose(logits: Tensor, rows: list[int]) -> Tensor:
            at = torch.cat(
                [torch.rand(1, generator=draws[row], dtype=torch.double) for row in rows]
            )
            return self.draw(logits, at)

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


def _seed(seed: int, key: str) -> int:
    told = hashlib.sha256(f"{seed}\n{key}".encode("utf-8", "surrogatepass"))
    return int.from_bytes(told.digest()[:7])


class Rows:
    """What ``count`` rows have read so far: the key/value cache, and which of its places are no
    pads."""

    def __init__(self, model: RnaGpt, count: int):
        self.model, self.cache = model, roomy_cache()
        self.mask = torch.zeros(count, 0, dtype=torch.long, device=model.device)

    @classmethod
    def read(cls, model: RnaGpt, texts: list[Tensor]) -> "Rows":
        """A row for each text, embeddings (T, H) of any lengths."""
        rows = cls(model, len(texts))
        rows.extend(texts)
        return rows

    def copy(self) -> "Rows":
        """Rows that go on from here, while these stay as they are."""
        other = Rows(self.model, 0)
        other.cache, other.mask = deepcopy(self.cache), self.mask
        return other

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
        padding = {}
        if not self.mask.all():  # without pads the LLM makes no mask, and its kernels are faster
            positions = (self.mask.cumsum(1) - 1).clamp(min=0)[:, -new.shape[1] :]
            padding = {"attention_mask": self.mask, "position_ids": positions}
        out = self.model.llm(
            inputs_embeds=inputs,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
            **padding,
        )
        return out.logits[:, -1]


@dataclass
class Reply:
    """The tokens of a row so far; ``reason`` says why it ended, "" while it goes on."""

    tokens: list[int] = field(default_factory=list)
    reason: str = ""

    def answer(self, model: RnaGpt, stop: str | None) -> Answer:
        """What it says: cut at the template's stop string, if it is one that stops."""
        text = model.tokenizer.decode(self.tokens, skip_special_tokens=True)
        return Answer(
            model.template.clean(text) if stop else text.strip(), len(self.tokens), self.reason
        )


@torch.inference_mode()
def replies(
    rows: Rows, logits: Tensor, max_new_tokens: int, choose: Choose, stop: str | None = None
) -> Iterator[list[Reply]]:
    """All replies after each token, the same list every time; rows that have stopped leave the
    batch. ``logits`` (B, V) stand after what the rows have read."""
    found = [Reply() for _ in logits]
    going = list(range(len(found)))
    for left in reversed(range(max_new_tokens)):
        chosen = choose(logits, going)
        for row, token in zip(going, chosen.tolist(), strict=True):
            found[row].tokens.append(token)
            found[row].reason = _stopped(rows.model, found[row].tokens, stop)
            if not left:
                found[row].reason = found[row].reason or "length"
        yield found
        stay = [place for place, row in enumerate(going) if not found[row].reason]
        if not stay:
            return
        if len(stay) < len(going):
            rows.select(stay)
            going = [going[place] for place in stay]
        logits = rows.extend(list(rows.model.embed(chosen[stay, None])))


def _stopped(model: RnaGpt, tokens: list[int], stop: str | None) -> str:
    """Why decoding stops here, or "": both reasons come from the LLM and tokenizer in use, and
    ``###`` may well be several of its tokens, or a part of one."""
    if tokens[-1] in model.ends:
        return "eos"
    return "stop" if stop and stop in model.tokenizer.decode(tokens[-TAIL:]) else ""
