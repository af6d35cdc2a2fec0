"""Ask a trained model whose LLM is on a vLLM server; README.md says how to start one.

>>> remote = load("OUT")   # doctest: +SKIP
>>> remote.ask("http://localhost:8000/v1", "GGCUAGCUCAAUCGG", "What type …?")   # doctest: +SKIP
Answer(text='The RNA is of the type riboswitch.', n_tokens=9, stop_reason='eos')
"""

import base64
import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from rnagpt_lib.chat.decoding import GREEDY, Answer, Sampling
from rnagpt_lib.core.errors import InputError, NotThere
from rnagpt_lib.core.files import read_json
from rnagpt_lib.core.params import read_key
from rnagpt_lib.curate.sources.http import Patience, Site
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.model import checkpoint, exported
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.share.cards import name_of, serve_command

KEY = "VLLM_API_KEY"  # in the environment alone
AT_ONCE = 8  # requests in flight: the server makes a batch of them
PATIENCE = Patience(attempts=3, silence=600.0, deadline=900.0, remedy="see that the server runs")


class _Choice(BaseModel):
    text: str
    finish_reason: str
    stop_reason: int | str | None = None  # a string where that string ended it


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1, max_length=1)
    usage: dict[str, int | None]


@dataclass(frozen=True)
class Remote:
    """An exported model whose LLM is on a server; ``command`` starts one. ``model`` has no layers
    of the LLM: it writes prompts."""

    name: str
    command: str
    model: RnaGpt
    encoder: Encoder
    max_new_tokens: int = 256

    def ask(self, url: str, sequence: str, question: str, sampling: Sampling = GREEDY) -> Answer:
        """One answer of the server at ``url`` (``http://host:8000/v1``); as `answers`."""
        return self.answers(url, [sequence], [question], sampling)[0]

    def answers(
        self, url: str, sequences: Sequence[str], questions: Sequence[str],
        sampling: Sampling = GREEDY,
    ) -> list[Answer]:  # fmt: skip
        """``questions[i]`` about ``sequences[i]``, in order: greedy ones are ``Chat.answers``'s.

        A server's key is read from ``VLLM_API_KEY``. Raises InputError for what is no RNA, and
        where the server is away, is another, refuses, or sends something else than an answer.
        """
        key = read_key(KEY).get_secret_value() if os.environ.get(KEY) else None
        site = Site(url, Pace(None), PATIENCE, key)
        distinct = sorted(set(sequences))
        vectors = dict(zip(distinct, self.encoder.encode(distinct), strict=True))

        def answer(sequence: str, question: str) -> Answer:
            prompt = self.prompt(vectors[sequence], question)
            try:
                found = site.post("/completions", _Completion, json=self.request(prompt, sampling))
            except NotThere:
                raise InputError(f"{url} does not serve {self.name}; {self.command}") from None
            [choice] = found.choices
            if found.usage.get("prompt_tokens") != len(prompt):
                raise InputError(f"{url} takes no prompt embeddings; start it by {self.command}")
            stopped = "stop" if choice.stop_reason == self.model.template.stop else "eos"
            reason = {"stop": stopped, "length": "length"}.get(choice.finish_reason)
            if not reason:
                raise InputError(f"{url} broke off an answer ({choice.finish_reason!r}); ask again")
            text = self.model.template.clean(choice.text)
            return Answer(text, found.usage["completion_tokens"], reason)

        pairs = list(zip(sequences, questions, strict=True))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda pair: answer(*pair), pairs))

    @torch.inference_mode()
    def prompt(self, vectors: Tensor, question: str) -> Tensor:
        """The prompt of one question about an RNA of vectors (L, D), on the CPU, (T, H)."""
        return self.model.prompt(vectors, question).cpu()

    def request(self, prompt: Tensor, sampling: Sampling = GREEDY) -> dict:
        """The JSON of a completion after a prompt (T, H). All that could change an answer is said,
        as a server takes defaults out of the LLM's ``generation_config.json``.

        ``cache_salt``: where a server's prefix cache hashes token ids alone, which are zeros for
        embeddings, all prompts of one length are one to it; a hash of the prompt keeps them apart.
        """
        buffer = io.BytesIO()
        torch.save(prompt.detach().cpu().clone(memory_format=torch.contiguous_format), buffer)
        neutral = {"repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}
        return {
            "model": self.name, "prompt_embeds": base64.b64encode(buffer.getvalue()).decode(),
            "cache_salt": hashlib.sha256(buffer.getvalue()).hexdigest(),
            "max_tokens": self.max_new_tokens, **asdict(sampling), "top_k": 0, "min_p": 0.0,
            **neutral, "stop": [self.model.template.stop], "include_stop_str_in_output": False,
            "stop_token_ids": sorted(self.model.ends), "skip_special_tokens": True,
        }  # fmt: skip


def load(folder: str | Path, max_new_tokens: int = 256, **where: str) -> Remote:
    """The client of an exported model, by its folder: MA, or IT that was exported merged. ``llm``,
    ``encoder``: where these are; InputError: as of ``generate.load_model``."""
    folder = exported.folder_of(folder)
    exported.check(folder)
    config = Config(**read_json(folder / "config.json"))
    if config.train != "projection":
        raise InputError(f"{folder} has its adapters apart from the LLM; export it with --merged")
    where.setdefault("llm", exported.llm_of(folder))
    model = checkpoint.assemble(folder, **where, prompts_only=True)
    command = serve_command(model.config.llm, config)
    return Remote(name_of(config), command, model, checkpoint.load_encoder(model), max_new_tokens)
