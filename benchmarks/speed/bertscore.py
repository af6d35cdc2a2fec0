"""Row 10: BERTScore of three models at once, the references embedded once, against one BERTScorer
that is kept and called for each model.

The texts are annotations of the world's RNAs, each of them distinct, so that nothing is won by
equal answers. The weights are those of MiniLM, and random ones of BERT-base's size.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from bert_score import BERTScorer

from benchmarks.speed import _peers
from benchmarks.speed.rouge import whole_annotations
from rnagpt_lib.core.params import Ablations
from rnagpt_lib.evaluate.bertscore import MAX_TOKENS, BertScore, Weights
from rnagpt_lib.evaluate.semantic_scorers import scorers
from tests.support import random_bert

MODELS, REPEATS = 3, 5
QUESTIONS = {"MiniLM": 64, "BERT-base": 16}
TARGET = 1.25
CEILING = 2 * MODELS / (MODELS + 1)  # encodes of a reference and its answers, theirs over ours


def main() -> None:
    """Time both sides in turn, assert the same scores, write the rows."""
    print(f"ceiling {CEILING:g}: {2 * MODELS} encodes of a question's texts become {MODELS + 1}")
    minilm = next(scorers(Ablations(semantic=("MiniLM",))))
    rows = [_row("MiniLM", minilm, Path(minilm.tokenizer.name_or_path), 6, "trained weights")]
    with tempfile.TemporaryDirectory() as made:
        folder = random_bert.write(Path(made) / "base")
        base = BertScore("base", folder, Weights("base", 9))
        rows.append(_row("BERT-base", base, folder, 9, "random weights of BERT-base's size"))
    _peers.keep_rows("bertscore", rows)


def _row(name: str, scorer: BertScore, folder: Path, layer: int, weights: str) -> dict:
    size = QUESTIONS[name]
    said, wanted = texts(size)
    peer = BERTScorer(
        model_type=str(folder),
        num_layers=layer,
        use_fast_tokenizer=True,
        device=scorer.model.device,
    )
    peer._tokenizer.model_max_length = MAX_TOKENS  # it has none, which is more than it can count to
    flat = [text for answers in said for text in answers]
    exact = torch.stack(peer.score(flat, wanted * MODELS, batch_size=1), dim=1)
    np.testing.assert_allclose(scorer.score(flat, wanted * MODELS), exact, atol=1e-5, rtol=0)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        scorer.score(flat, wanted * MODELS)
        middle = time.perf_counter()
        for answers in said:
            peer.score(answers, wanted)
        seconds.append((middle - start, time.perf_counter() - middle))
    words = np.mean([len(text.split()) for text in flat])
    return _peers.row(
        f"BERTScore, {name}",
        [theirs / ours for ours, theirs in seconds],
        ours=f"one call for {MODELS} models, every text embedded once",
        peer="one BERTScorer, called for each model",
        workload=f"{MODELS} models, {size} questions, distinct texts of {words:.0f} words on "
        f"average; {weights}, layer {layer}, fp32; equal to 1e-5 (the peer in batches of one)",
        target=f"≥ {TARGET:g}",
        limit=f"{CEILING:g} ({2 * MODELS} → {MODELS + 1} encodes); less padding besides",
    )


def texts(size: int) -> tuple[list[list[str]], list[str]]:
    """Answers of each model, and references, ``size`` each: distinct annotations."""
    found = list(dict.fromkeys(whole_annotations().values()))[: (MODELS + 1) * size]
    *said, wanted = [found[start :: MODELS + 1] for start in range(MODELS + 1)]
    return said, wanted
