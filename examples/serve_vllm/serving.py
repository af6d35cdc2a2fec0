"""A trained model on a vLLM server: requests made of prompt embeddings, and their answers.

    rnagpt export-model RUN OUT --merged
    vllm serve OUT/llm --served-model-name NAME --enable-prompt-embeds …     # `command` has it whole

The server holds the LLM and knows nothing of RNAs. What reads them, the encoder, the projection and
the template, stays here and sends a prompt as the vectors that the LLM would have looked up, so a
client needs little memory. They are those of training and of ``generate.Chat``: `RnaGpt.prompt`.
Facts are those of vLLM 0.32 (``/v1/completions``, ``prompt_embeds``), against which it was tried.

>>> remote = load("OUT")   # doctest: +SKIP
>>> remote.ask("http://localhost:8000/v1", "GGCUAGCUCAAUCGG", "What type …?")   # doctest: +SKIP
Answer(text='The RNA is of the type riboswitch.', n_tokens=9, stop_reason='eos')
"""

import base64
import hashlib
import io
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from rnagpt_lib.chat.decoding import GREEDY, Answer, Sampling
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError, NotThere, Refused
from rnagpt_lib.core.files import read_json
from rnagpt_lib.curate.sources.http import Patience, Site
from rnagpt_lib.llm_api.retries import Pace
from rnagpt_lib.model import checkpoint, exported
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.share.cards import name_of, serve_command

KEY = "VLLM_API_KEY"  # vLLM's own name for it
AT_ONCE = 8  # requests in flight: the server makes a batch of them
PATIENCE = Patience(
    attempts=3,
    silence=600.0,  # nothing comes before the answer is whole
    deadline=900.0,
    longest=60.0,
    remedy="see that the server runs, and that the URL is its own",
)


class _Choice(BaseModel):
    text: str
    finish_reason: str | None
    stop_reason: int | str | None = None  # a string where that string ended it


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int = Field(ge=0)


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1, max_length=1)
    usage: _Usage


class _Served(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Served]


@dataclass(frozen=True)
class Remote:
    """An exported model whose LLM is on a server; `load` makes it.

    ``name``: by which the server knows the LLM; ``command`` starts such a server. ``model`` has no
    layers of the LLM: it writes prompts.
    """

    name: str
    command: str
    model: RnaGpt
    encoder: Encoder
    max_new_tokens: int = 256

    def ask(self, url: str, sequence: str, question: str, *, sampling: Sampling = GREEDY) -> Answer:
        """One answer of the server at ``url`` (``http://host:8000/v1``); as `answers`."""
        return self.answers(url, [sequence], [question], sampling=sampling)[0]

    def answers(
        self,
        url: str,
        sequences: Sequence[str],
        questions: Sequence[str],
        *,
        sampling: Sampling = GREEDY,
    ) -> list[Answer]:
        """``questions[i]`` about ``sequences[i]``, in order: greedy ones are ``Chat.answers``'s.

        An answer for which the LLM has less room than ``max_new_tokens`` is cut there (``length``).
        A server's key is read from ``VLLM_API_KEY``. Raises InputError for what is no RNA of at
        least 10 nt, and where the server is away, is another, refuses, or sends something else
        than an answer.
        """
        site = Site(url, Pace(None), PATIENCE, os.environ.get(KEY))
        distinct = sorted(set(sequences))
        vectors = dict(zip(distinct, self.encoder.encode(distinct), strict=True))

        def one(sequence: str, question: str) -> Answer:
            prompt = self.prompt(vectors[sequence], question)
            return self._answer(self._send(site, self.request(prompt, sampling)), len(prompt))

        pairs = list(zip(sequences, questions, strict=True))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(one, *zip(*pairs, strict=True))) if pairs else []

    @torch.inference_mode()
    def prompt(self, vectors: Tensor, question: str) -> Tensor:
        """The prompt of one question about an RNA of vectors (L, D), on the CPU, (T, H)."""
        return self.model.prompt(vectors, question).cpu()

    def request(self, prompt: Tensor, sampling: Sampling = GREEDY) -> dict:
        """The JSON of a completion after a prompt (T, H); draws, by their seed, are the server's.

        All that could change an answer is said, as the server takes defaults out of the LLM's
        ``generation_config.json`` (Llama 3 Instruct samples there), and 16 tokens. The tokens and
        the string that end an answer are ``Chat``'s.

        ``cache_salt`` keeps prompts apart in the server's prefix cache. In the place of an
        embedding's token id vLLM has a zero, so where its cache hashes ids alone (it has hashed
        the embeddings, too, since pull request 27219; layers between may still not), all prompts
        are one, and of two RNAs of equal length the second is answered as if it were the first.
        The salt is a hash of all of the prompt: not of the RNA, or two questions about it could
        be one. No prompt but its own repetition shares its cache then.
        """
        raw = _saved(prompt)
        return {
            "model": self.name,
            "prompt_embeds": base64.b64encode(raw).decode("ascii"),
            "cache_salt": hashlib.sha256(raw).hexdigest(),
            "max_tokens": self.max_new_tokens,
            **asdict(sampling),
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
            "stop": [self.model.template.stop],
            "stop_token_ids": sorted(self.model.ends),
            "include_stop_str_in_output": False,
            "skip_special_tokens": True,
        }

    def _send(self, site: Site, request: dict) -> _Completion:
        try:
            return site.post("/completions", _Completion, json=request)
        except NotThere:
            raise InputError(f"{self._listed(site)}; start one with: {self.command}") from None
        except Refused as refusal:
            if "enable-prompt-embeds" in str(refusal):
                reason = f"{site.host} takes no prompt embeddings; start it with: {self.command}"
            elif "status 401" in str(refusal):
                reason = f"{site.host} wants a key; put it into the environment as {KEY}"
            else:
                reason = (
                    f"{site.host} refuses: {_said(refusal)}; ask for less, or start it with: "
                    f"{self.command}"
                )
            raise InputError(reason) from None

    def _listed(self, site: Site) -> str:
        """What is at the URL, where our LLM is not."""
        try:
            names = [model.id for model in site.get("/models", _Models).data]
        except InputError:
            return f"{site.base} is no server of models (its URL often ends in /v1)"
        return f"{site.host} does not serve {self.name} but {', '.join(map(repr, names))[:200]}"

    def _answer(self, found: _Completion, sent: int) -> Answer:
        [choice], reason = found.choices, None
        if found.usage.prompt_tokens != sent:
            raise InputError(
                f"the server read {found.usage.prompt_tokens} tokens where {sent} were sent: it "
                f"knows no prompt embeddings; start one that does: {self.command}"
            )
        if choice.finish_reason == "stop":
            reason = "stop" if choice.stop_reason == self.model.template.stop else "eos"
        elif choice.finish_reason == "length":
            reason = "length"
        else:
            raise InputError(
                f"the server broke off an answer ({choice.finish_reason!r}); see its log, and ask "
                "again"
            )
        text = self.model.template.clean(choice.text)
        return Answer(text, found.usage.completion_tokens, reason)


def load(
    folder: str | Path,
    max_new_tokens: int = 256,
    *,
    llm: str | None = None,
    encoder: str | None = None,
) -> Remote:
    """The client of an exported model, by its folder: MA, or IT that was exported merged.

    ``llm``, ``encoder``: as of ``generate.load_model``, which raises InputError for the same
    reasons; and so does a model whose adapters are not merged, as no server could answer for it.
    """
    folder = exported.folder_of(folder)
    exported.check(folder)
    config = Config(**read_json(folder / "config.json"))
    if config.train != "projection":
        raise InputError(
            f"{paths.shown(folder)} has its adapters apart from the LLM, and a server takes them "
            "together; export the run with --merged"
        )
    llm = llm or exported.llm_of(folder)
    model = checkpoint.assemble(folder, llm=llm, encoder=encoder, prompts_only=True)
    started = serve_command(model.config.llm, config)
    return Remote(name_of(config), started, model, checkpoint.load_encoder(model), max_new_tokens)


def _said(refusal: Refused) -> str:
    """The server's own words, where they are of vLLM's form."""
    found = re.search(r'"message": ?"([^"]*)', str(refusal))
    return found[1] if found else str(refusal).rpartition(";")[0]


def _saved(tensor: Tensor) -> bytes:
    """The tensor alone, in the format of ``torch.save``."""
    buffer = io.BytesIO()
    torch.save(tensor.detach().cpu().clone(memory_format=torch.contiguous_format), buffer)
    return buffer.getvalue()
