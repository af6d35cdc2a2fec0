"""BERTScore (Zhang et al. 2020): greedy matching of token vectors, equal to bert_score's.

Every distinct text is embedded once for the answers of all models, and only the references'
vectors stay in memory. Pairs are matched one by one, as by bert_score with ``batch_size=1``: in
larger batches it pads with cosines of 0, so that a token whose best match is below 0 counts as 0
or not, depending on its neighbours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from bert_score.utils import get_hash
from rouge_score.scoring import fmeasure
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import sha256

PARTS = ("precision", "recall", "f1")
MAX_TOKENS = 512  # what BERT-shaped models read; longer texts are cut, and counted
SPECIAL = 2  # tokens of a text without any: [CLS] and [SEP]
BATCH_TOKENS = 4096  # of a pass, padding included
HELD = 512  # predictions whose vectors are in memory
FILES = ("model.safetensors", "pytorch_model.bin")  # of the latter, tensors alone are read


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


def checked(folder: Path, weights: Weights) -> str:
    """The hash of the folder's weights. Raises InputError where there are none or others."""
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise InputError(f"{paths.shown(folder)} holds neither {' nor '.join(FILES)}")
    found = sha256(file)
    if weights.sha256 and found != weights.sha256:
        raise InputError(
            f"{paths.shown(file)} has sha256 {found[:12]}…, but that of {weights.model} is "
            f"{weights.sha256[:12]}…; put its weights there, no others take its place"
        )
    return found


class BertScore:
    """BERTScore with the encoder of a local folder, as ``S_<name>``.

    ``definition`` says how the values came about, with counts of the latest call's empty and cut
    texts. Raises InputError as `checked`, and where the folder's model lacks layers or weights.
    """

    def __init__(self, name: str, folder: Path, weights: Weights):
        found = checked(folder, weights)
        self.model = _encoder(folder, weights.layer)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.tokenizer.model_max_length = MAX_TOKENS
        self.columns = [f"S_{name}.{part}" for part in PARTS]
        self.id = f"S_{name}-layer{weights.layer}-{found[:8]}-unpadded"
        self.definition = {
            "model": weights.model,
            "layer": weights.layer,
            "sha256": found,
            "bert_score": get_hash(weights.model, weights.layer, False, False, False, True),
            "rescaled": False,
            "padding": "none, as with batch_size=1",
            "max_tokens": MAX_TOKENS,
        }

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> pd.DataFrame:
        """Precision, recall and F1 per sample; 0 where a text is empty. Give the answers of all
        models together: every distinct text is embedded once in a call."""
        pairs = list(zip(predictions, references, strict=True))
        lengths = self._count(pairs)
        wanted: dict[str, list[str]] = {}
        for prediction, reference in sorted(set(pairs)):
            if prediction in lengths and reference in lengths:
                wanted.setdefault(prediction, []).append(reference)
        kept = self._vectors({r: lengths[r] for found in wanted.values() for r in found})
        values = dict.fromkeys(pairs, (0.0, 0.0, 0.0))
        ordered = sorted(wanted, key=lengths.get)
        for start in range(0, len(ordered), HELD):
            part = ordered[start : start + HELD]
            fresh = self._vectors({text: lengths[text] for text in part if text not in kept})
            for said in part:
                vectors = kept[said] if said in kept else fresh[said]
                values |= {(said, to): greedy(vectors, kept[to]) for to in wanted[said]}
        rows = [values[pair] for pair in pairs]
        return pd.DataFrame(rows, columns=self.columns, dtype=float)

    def _count(self, pairs: Sequence[tuple[str, str]]) -> dict[str, int]:
        """Counts for the definition; texts that have a token → how many they have."""
        texts = sorted({text for pair in pairs for text in pair})
        read = self.tokenizer(texts, verbose=False).input_ids
        lengths = {text: len(ids) for text, ids in zip(texts, read, strict=True)}
        self.definition |= {"empty_texts": 0, "cut_texts": 0}
        for text in (text for pair in pairs for text in pair):
            self.definition["empty_texts"] += lengths[text] <= SPECIAL
            self.definition["cut_texts"] += lengths[text] > MAX_TOKENS
        return {text: length for text, length in lengths.items() if length > SPECIAL}

    @torch.inference_mode()
    def _vectors(self, lengths: Mapping[str, int]) -> dict[str, Tensor]:
        """Text → unit vectors (T, D) of its tokens, [CLS] and [SEP] among them."""
        found = {}
        for batch in _batches(lengths):
            read = self.tokenizer(
                batch, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            ).to(self.model.device)
            hidden = self.model(**read).last_hidden_state
            unit = torch.nn.functional.normalize(hidden, dim=-1).cpu()
            masks = read["attention_mask"].bool().cpu()
            # indexing copies: a slice would keep the whole batch, padding too
            found |= {text: unit[i][masks[i]] for i, text in enumerate(batch)}
        return found


def greedy(said: Tensor, wanted: Tensor) -> tuple[float, float, float]:
    """Precision, recall and F1 of unit vectors (T, D) and (S, D): the mean over one side's
    tokens of the best cosine on the other. The first and the last, [CLS] and [SEP], may be
    matched and do not count."""
    cosines = said @ wanted.T
    precision = cosines.amax(1)[1:-1].mean().item()
    recall = cosines.amax(0)[1:-1].mean().item()
    return precision, recall, fmeasure(precision, recall)


def _encoder(folder: Path, layer: int) -> PreTrainedModel:
    """The model up to ``layer``, on CUDA where it is."""
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


def _batches(lengths: Mapping[str, int]) -> Iterator[list[str]]:
    """The texts, the shortest first, in batches of at most `BATCH_TOKENS` with their padding."""
    batch: list[str] = []
    for text in sorted(lengths, key=lengths.get):
        longest = min(lengths[text], MAX_TOKENS)
        if batch and (len(batch) + 1) * longest > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch
