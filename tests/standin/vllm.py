"""vLLM's completions over a real LLM: prompt embeddings in, text out, and its prefix cache.

Answers, refusals and names of fields are those of vLLM 0.32. The cache is vLLM's: blocks of 16
tokens, found by a chain of hashes. With ``hashes_embeddings`` off it has a fault that it can have:
of a prompt that came as embeddings it hashes the placeholders of its token ids, which are all zero.
"""

import base64
import hashlib
import io
import json
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteriaList
from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

BLOCK = 16
TAKEN = {
    "model", "prompt", "prompt_embeds", "cache_salt", "max_tokens", "temperature", "top_p", "seed",
    "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "stop",
    "stop_token_ids", "include_stop_str_in_output", "skip_special_tokens",
}  # fmt: skip
_ROUTES = Map(
    [
        Rule("/completions", endpoint="complete", methods=["POST"]),
        Rule("/models", endpoint="models", methods=["GET"]),
    ]
)


class Refused(Exception):
    """A request that ends with a status and an error object."""

    def __init__(self, status: int, message: str, kind: str, parameter: str | None = None):
        super().__init__(message)
        about = {"message": message, "type": kind, "param": parameter, "code": status}
        self.status, self.body = status, {"error": about}


@dataclass
class Vllm:
    """The app: ``vllm serve FOLDER --served-model-name NAME [--enable-prompt-embeds]``."""

    folder: Path
    name: str
    enable_prompt_embeds: bool = True
    hashes_embeddings: bool = True
    key: str | None = None
    prefix: str = "/v1"
    cache: dict[bytes, Tensor] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def llm(self):
        return AutoModelForCausalLM.from_pretrained(self.folder).eval()

    @cached_property
    def tokenizer(self):
        return AutoTokenizer.from_pretrained(self.folder)

    def __call__(self, environ, start_response):
        request = Request(environ)
        try:
            if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
                found, status = {"error": "Unauthorized"}, 401
            else:
                endpoint, _ = _ROUTES.bind_to_environ(environ).match()
                found, status = getattr(self, f"_{endpoint}")(request), 200
        except Refused as refusal:
            found, status = refusal.body, refusal.status
        except HTTPException as error:
            found, status = {"detail": "Not Found"}, error.code
        answer = Response(json.dumps(found), status, content_type="application/json")
        return answer(environ, start_response)

    def _models(self, request: Request) -> dict:
        room = self.llm.config.max_position_embeddings
        card = {"id": self.name, "object": "model", "owned_by": "vllm", "max_model_len": room}
        return {"object": "list", "data": [card]}

    def _complete(self, request: Request) -> dict:
        asked = request.get_json()
        assert asked.keys() <= TAKEN and asked.get("temperature") == 0, "not as a client here asks"
        if asked.get("model") not in (None, self.name):
            said = f"The model `{asked['model']}` does not exist. Valid aliases: {self.name}."
            raise Refused(404, said, "NotFoundError", "model")
        prompt = self._loaded(asked["prompt_embeds"])
        room, most = self.llm.config.max_position_embeddings, asked.get("max_tokens", 16)
        if len(prompt) >= room:
            raise Refused(
                400,
                f"This model's maximum context length is {room} tokens. However, your prompt "
                f"contains {len(prompt)} input tokens, which exceeds this limit even without any "
                "output tokens. Please reduce the length of the input prompt.",
                "BadRequestError",
                "input_tokens",
            )
        with self._lock:
            read = self._cached(prompt, asked.get("cache_salt"))
            tokens = self._generated(read, asked, min(most, room - len(prompt)))
        choice = {"index": 0, "logprobs": None} | self._ended(tokens, asked)
        used = {"prompt_tokens": len(prompt), "completion_tokens": len(tokens)}
        used["total_tokens"] = sum(used.values())
        return {
            "id": "cmpl-1", "object": "text_completion", "created": 1, "model": self.name,
            "choices": [choice], "usage": used,
        }  # fmt: skip

    def _loaded(self, sent: str) -> Tensor:
        if not self.enable_prompt_embeds:
            said = "You must set `--enable-prompt-embeds` to input `prompt_embeds`."
            raise Refused(400, said, "BadRequestError", "prompt_embeds")
        raw = base64.b64decode(sent, validate=True)
        tensor = torch.load(io.BytesIO(raw), weights_only=True, map_location="cpu")
        width = self.llm.config.hidden_size
        if tensor.dim() != 2 or tensor.shape[1] != width:
            said = f"`prompt_embeds` hidden_size {tensor.shape[-1]} does not match the model's "
            raise Refused(400, f"{said}hidden_size {width}.", "BadRequestError", "prompt_embeds")
        assert tensor.is_floating_point()
        return tensor.to(self.llm.dtype)

    def _cached(self, prompt: Tensor, salt: str | None) -> Tensor:
        """The prompt as it is read: blocks that the cache has, by its hashes, come from there.

        What vLLM keeps of a block are its keys and values, which follow from the embeddings up to
        its end; keeping these comes to the same. The last token is always read.
        """
        read, chain = prompt.clone(), (salt or "").encode()
        for start in range(0, (len(prompt) - 1) // BLOCK * BLOCK, BLOCK):
            block = prompt[start : start + BLOCK]
            known = block.float().numpy().tobytes() if self.hashes_embeddings else bytes(BLOCK)
            chain = hashlib.sha256(chain + known).digest()
            read[start : start + BLOCK] = self.cache.setdefault(chain, block)
        return read

    @torch.inference_mode()
    def _generated(self, prompt: Tensor, asked: dict, most: int) -> list[int]:
        def stopped(ids: Tensor, scores: object) -> Tensor:
            return torch.tensor([self._stop(self._text(ids[0].tolist()), asked) is not None])

        made = self.llm.generate(
            inputs_embeds=prompt[None],
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=most,
            do_sample=False,
            eos_token_id=[self.tokenizer.eos_token_id, *asked.get("stop_token_ids", [])],
            pad_token_id=self.tokenizer.eos_token_id,
            stopping_criteria=StoppingCriteriaList([stopped]),
        )
        return made[0].tolist()

    def _text(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def _stop(self, text: str, asked: dict) -> str | None:
        return next((stop for stop in asked.get("stop", []) if stop in text), None)

    def _ended(self, tokens: list[int], asked: dict) -> dict:
        """Text and reason. A stop token's id is told, but for the tokenizer's own."""
        text, last = self._text(tokens), tokens[-1]
        if stop := self._stop(text, asked):
            return {"text": text.partition(stop)[0], "finish_reason": "stop", "stop_reason": stop}
        if last == self.tokenizer.eos_token_id:
            return {"text": text, "finish_reason": "stop", "stop_reason": None}
        if last in asked.get("stop_token_ids", []):
            return {"text": text, "finish_reason": "stop", "stop_reason": last}
        return {"text": text, "finish_reason": "length", "stop_reason": None}
