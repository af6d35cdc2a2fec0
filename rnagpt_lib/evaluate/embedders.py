"""Models that give a text one vector: one on this machine, or one of a server."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from rnagpt_lib.core.params import Calls
from rnagpt_lib.evaluate.bertscore import Weights, checked
from rnagpt_lib.llm_api.client import Client, describe_embedding, embed

PAPER = "text-embedding-3-large"  # the model behind the paper's S_GPT; no other has that name
MOST_BYTES = 8191  # of a text for a server: OpenAI's limit in tokens, and a token has a byte


class Embedder(Protocol):
    """``name``: that of its scores; ``id``: tells its vectors from others'; ``about``: for
    people."""

    name: str
    id: str
    about: dict

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(n, D) for distinct texts, none of them empty."""

    def cut(self, texts: Collection[str]) -> set[str]:
        """Those that it reads in part, being too long."""


class Local:
    """A sentence-transformers model in a folder. Raises InputError as `bertscore.checked`."""

    def __init__(self, name: str, folder: Path, weights: Weights):
        found = checked(folder, weights)
        from sentence_transformers import SentenceTransformer  # takes seconds to import

        self._model = SentenceTransformer(str(folder), local_files_only=True)
        self.name, self.id = name, found[:8]
        most = self._model.max_seq_length
        self.about = {"model": weights.model, "sha256": found, "max_tokens": most}

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(n, D), pooled as the model's own files say."""
        return self._model.encode(list(texts), batch_size=64, show_progress_bar=False)

    def cut(self, texts: Collection[str]) -> set[str]:
        """Texts of more than the model's ``max_seq_length`` tokens."""
        texts = list(texts)
        read = self._model.tokenizer(texts, verbose=False).input_ids if texts else []
        most = self._model.max_seq_length
        return {text for text, ids in zip(texts, read, strict=True) if len(ids) > most}


class Server:
    """A model of an OpenAI-compatible server: ``GPT`` where it is `PAPER`, else its own name.

    The journal answers what it was asked before; a line says beforehand what the rest will cost.
    """

    def __init__(self, settings: Calls):
        self.settings = settings
        model = settings.model
        self.name = "GPT" if model == PAPER else re.sub(r"[^\w-]+", "-", model)
        self.id = re.sub(r"[^\w-]+", "-", model)
        server = settings.base_url or "the OpenAI API"
        self.about = {"model": model, "server": server, "max_bytes": MOST_BYTES}

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(n, D). Raises InputError as `Client` does."""
        short = [text.encode()[:MOST_BYTES].decode(errors="ignore") for text in texts]
        print(f"S_{self.name}: {describe_embedding(short, self.settings)}")
        with Client(self.settings) as client:
            return embed(client, short, self.settings.model)

    def cut(self, texts: Collection[str]) -> set[str]:
        """Texts of more than `MOST_BYTES` bytes."""
        return {text for text in texts if len(text.encode()) > MOST_BYTES}
