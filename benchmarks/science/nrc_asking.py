"""Classes of ncRNAs (nRC's benchmark) by asking: our own model, trained on the train RNAs.

``python -m benchmarks nrc_asking`` takes each split and seed of ``nrc``. The miniature's encoder
learns to read RNAs of nature first (`_nrc_encoder`); then it is frozen, and projection and LoRA are
trained in stage 2's way: one question, and an answer that names the class. Then every test RNA is
asked. A training that was killed goes on (``runs/nrc-SPLIT-SEED``; the encoder's begins anew), and
what stands in the results is not measured again. ``python -m benchmarks.science.nrc_asking --split random
--seed 0`` measures one of them; ``--train FASTA --test FASTA`` takes nRC's two halves.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from torch import Tensor

from benchmarks._page import page_of, publish, results_of, where
from benchmarks.science import _nrc_asking_page, _nrc_encoder, nrc
from benchmarks.science.trajectories import Clocked
from rnagpt_lib.chat.decoding import answer_all
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import digest, read_json, write_json
from rnagpt_lib.core.params import Stage2
from rnagpt_lib.curate.questions.question_templates import RELATIONS
from rnagpt_lib.curate.splits import split as units
from rnagpt_lib.evaluate import baselines
from rnagpt_lib.evaluate.entities import named
from rnagpt_lib.model import checkpoint
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.rna_gpt import Config, RnaGpt
from rnagpt_lib.train import loop
from rnagpt_lib.train.training_examples import Examples, stage2_examples
from rnagpt_lib.train.visit_order import steps_per_epoch

RESULTS = results_of("nrc_asking")
PAGE = page_of("nrc")
START = paths.root() / "runs" / "reference" / "05_train_stage2"
TYPE = RELATIONS["rna_type"]
QUESTION = TYPE.questions[0]
# Of the miniature LLM's 1,861 tokens 1,190 stand in no text that it has read: their embeddings are
# one heap (cosines of 0.98), and so is what a frozen head makes of them. It cannot be taught to
# spell "ribozyme", so the answers name the classes in words that it has read.
SAID = {
    "5S_rRNA": "5S rRNA",
    "5_8S_rRNA": "5.8S rRNA",
    "CD-box": "C/D box",
    "HACA-box": "H/ACA box",
    "IRES": "site of translation",
    "Intron_gpI": "group 1 intron",
    "Intron_gpII": "group 2 intron",
    "leader": "early transcript",
    "miRNA": "microRNA",
    "ribozyme": "RNA with activity",
    "scaRNA": "small Cajal body RNA",
}
LONGEST = 24  # tokens of an answer; the longest takes 15
VAL_SHARE = 0.05  # of the train RNAs: gives the curves
POINTS = 6
PARAMS = Stage2(
    epochs=3,
    learning_rate=1e-3,
    final_rate=5e-5,
    warmup_steps=200,
    rnas_per_step=8,
    row_tokens=1024,
    keep=POINTS,
)


def main(
    train: Path | None = None,
    test: Path | None = None,
    split: str | None = None,
    seed: int | None = None,
) -> None:
    """Measure what is missing of the splits of ``train`` or, with ``test``, of the two files, or
    one ``split`` and ``seed`` of it; write each result, and the pages, as it comes.

    Raises InputError as ``nrc.read`` does, and for a split or seed that there is none of.
    """
    rnas, sides = nrc.read(train, test)
    if not set(sides) <= set(read_json(nrc.RESULTS)):
        nrc.main(train, test)  # what stands beside the answers
    todo = [(how, n) for n in nrc.SEEDS for how, of in sides.items() if n < len(of)]
    chosen = [(how, n) for how, n in todo if split in (None, how) and seed in (None, n)]
    if not chosen:
        raise InputError(
            f"there is no {' with '.join(_asked_for(split, seed))}; there are "
            + ", ".join(f"{how} {n}" for how, n in todo)
        )
    for how, n in chosen:
        made_of = _made_of(rnas, sides[how][n], n)
        if read_json(RESULTS).get(how, {}).get(str(n), {}).get("made_of") == made_of:
            print(f"{how}, seed {n}: measured already")
            continue
        run = measure(rnas, sides[how][n], how, n, made_of) | {"made_of": made_of}
        kept = read_json(RESULTS)  # a process beside this one may have measured another seed
        kept.setdefault(how, {})[str(n)] = run
        write_json(RESULTS, kept)
        publish(PAGE, "nrc_asking", render())
        publish(PAGE, "nrc_summary", _nrc_asking_page.summary(kept, read_json(nrc.RESULTS)))


def _asked_for(split: str | None, seed: int | None) -> list[str]:
    named = {"split": split, "seed": seed}
    return [f"{name} {value}" for name, value in named.items() if value is not None]


def measure(rnas: pd.DataFrame, side: pd.Series, how: str, seed: int, made_of: str) -> dict:
    """One split: as ``nrc.measure``, with the answers and what the training took."""
    split = rnas.assign(split=with_validation(rnas, side, how, seed))
    folder = paths.runs() / f"nrc-{how}-{seed}"
    _mark(folder, made_of)
    read = _nrc_encoder.adapt(split, PARAMS.encoder, folder / "encoder", seed)
    model, told = trained(split, folder, seed)
    encoder = checkpoint.load_encoder(model)
    here, sequences = (side == "test").to_numpy(), rnas.sequence.tolist()
    test, labels = rnas[here], rnas.rna_type[~here]
    found = nrc.embeddings(sequences, encoder)
    given = {
        "asking": asked(model, encoder, test.sequence.tolist(), sorted(set(rnas.rna_type))),
        "asking.linear": baselines.logistic_label(found[~here], labels, found[here]),
    }
    run = nrc.scores(rnas, side, given) | {"by_family": nrc.by_family(test, given)}
    unclear = round(float((given["asking"] == "").mean()), 4)
    return run | told | {"encoder_points": read, "unclear": unclear}


def with_validation(rnas: pd.DataFrame, side: pd.Series, how: str, seed: int) -> pd.Series:
    """The sides with a part of train as ``val``, drawn as the split itself was."""
    preset = rnas.assign(split=side.where(side == "test", ""))
    how = "random" if how == nrc.GIVEN else how
    return units.split(preset, how, seed=seed, val_share=VAL_SHARE, test_share=0.0)


def begun(params: Stage2, seed: int) -> RnaGpt:
    """The model before its training: ``START``'s projection and LoRA over another encoder.

    That one can read soft tokens and answer already, of the miniature world: a new one takes
    thousands of RNAs to learn it.
    """
    config = Config.of(params, Encoder.load(params.encoder, device="cpu"))
    model = RnaGpt.build(config, seed=seed, device="cpu")
    model.load_state_dict(checkpoint.load(START).state_dict(), strict=False)
    return model


def trained(rnas: pd.DataFrame, folder: Path, seed: int) -> tuple[RnaGpt, dict]:
    """The model after its training in ``folder``, which goes on where it is not there whole; and
    what is told about it.

    Its end is taken, not the checkpoint with the lowest validation loss: of RNAs that are unlike
    those trained on the loss rises with the model's certainty, while more answers are right.
    """
    params = PARAMS.model_copy(update={"encoder": paths.shown(folder / "encoder")})
    model = begun(params, seed)
    sides = {side: rnas[rnas["split"] == side] for side in ("train", "val")}
    used = [*sides["train"]["sequence"], *sides["val"]["sequence"]]
    vectors = dict(zip(used, checkpoint.load_encoder(model).encode(used), strict=True))
    model.projection.whiten(vectors[s] for s in sides["train"]["sequence"])
    trees = {side: _trees(model, rows, vectors) for side, rows in sides.items()}
    steps = steps_per_epoch(trees["train"], params) * params.epochs
    params = params.model_copy(update={"validate_every": math.ceil(steps / POINTS)})
    print(f"{paths.shown(folder)}: {steps:,} steps", flush=True)
    with patch.object(loop, "Trainer", Clocked):
        log = loop.train(model, trees["train"], trees["val"], params, folder, seed=seed)
    told = {
        "fitted": len(trees["train"]),
        "validated": len(trees["val"]),
        "minutes": _minutes(log["seconds"].sum()),
        "cpu_minutes": _minutes(log["cpu_seconds"].sum()),
        "where": where(),
        "points": points(model, sides["val"], log, folder),
    }
    return checkpoint.load(folder, "last"), told


def _mark(folder: Path, made_of: str) -> None:
    """Raises InputError where the folder holds a training of other data, start or parameters."""
    kept, mark = folder / "made_of.json", {"made_of": made_of}
    if read_json(kept) not in ({}, mark):
        raise InputError(f"{paths.shown(folder)} is of another training; remove or rename it")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(kept, mark)


def points(model: RnaGpt, val: pd.DataFrame, log: pd.DataFrame, folder: Path) -> list[dict]:
    """What each checkpoint of a training took so far, its validation loss and its accuracy on the
    validation RNAs; the accuracy is kept beside the checkpoints."""
    taken = log[["pairs", "seconds", "cpu_seconds"]].cumsum()
    rows = log[["step", "val_loss"]].join(taken).dropna()
    return [
        {
            "pairs": int(row.pairs),
            "minutes": _minutes(row.seconds),
            "cpu_minutes": _minutes(row.cpu_seconds),
            "val_loss": round(float(row.val_loss), 4),
            "val_accuracy": _val_accuracy(model, val, folder, int(row.step)),
        }
        for row in rows.itertuples()
    ]


def _val_accuracy(model: RnaGpt, val: pd.DataFrame, folder: Path, step: int) -> float:
    kept = folder / "scores" / f"step-{step:08d}.json"
    if not kept.is_file():
        checkpoint.restore(model, folder / "checkpoints" / kept.stem)
        encoder = checkpoint.load_encoder(model)
        found = asked(model, encoder, val.sequence.tolist(), sorted(set(val.rna_type)))
        kept.parent.mkdir(exist_ok=True)
        right = (found == val.rna_type.to_numpy(str)).mean()
        write_json(kept, {"accuracy": round(float(right), 4)})
    return read_json(kept)["accuracy"]


def asked(
    model: RnaGpt, encoder: Encoder, sequences: Sequence[str], classes: Sequence[str]
) -> np.ndarray:
    """The class that the model's answer about each RNA names, (n,) str; "" where it names none of
    ``classes``, or several."""
    vectors = encoder.encode(sequences)
    replies = answer_all(model, vectors, [QUESTION] * len(vectors), max_new_tokens=LONGEST)
    return np.array([one_class(reply.text, classes) for reply in replies], dtype=str)


def one_class(text: str, classes: Sequence[str]) -> str:
    """The one of ``classes`` that ``text`` names, in whole words; "" for none or several.

    >>> one_class("The RNA is of the type group 2 intron.", ["Intron_gpI", "Intron_gpII"])
    'Intron_gpII'
    """
    called = {said(name).casefold(): name for name in classes}
    found = named(text, called)
    return called[found.pop()] if len(found) == 1 else ""


def said(name: str) -> str:
    """What the answers call a class."""
    return SAID.get(name, name)


def _trees(model: RnaGpt, rnas: pd.DataFrame, vectors: Mapping[str, Tensor]) -> Examples:
    pairs = pd.DataFrame({
        "rna_id": rnas["rna_id"],
        "kind": TYPE.kind,
        "question": QUESTION,
        "answer": [TYPE.say([said(name)]) for name in rnas["rna_type"]],
    })  # fmt: skip
    return stage2_examples(model, rnas, pairs, vectors)


def _made_of(rnas: pd.DataFrame, side: pd.Series, seed: int) -> str:
    """Hash of all that decides a measurement."""
    data = [rnas["sequence"].tolist(), rnas["rna_type"].tolist(), side.tolist()]
    start = read_json(checkpoint.find(START) / checkpoint.MANIFEST)["files"]
    of_training = [PARAMS.key(), _nrc_encoder.key(), SAID, VAL_SHARE, POINTS]
    return digest([data, start, seed, *of_training])[:16]


def _minutes(seconds: float) -> float:
    return round(float(seconds) / 60, 1)


def render() -> str:
    """The block of the page, from the kept results alone."""
    return _nrc_asking_page.render(read_json(RESULTS), read_json(nrc.RESULTS), SAID)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, metavar="FASTA", help="nRC's training half")
    parser.add_argument("--test", type=Path, metavar="FASTA", help="its test half")
    parser.add_argument("--split", help="measure this split alone")
    parser.add_argument("--seed", type=int, help="and this seed")
    given = parser.parse_args()
    try:
        main(given.train, given.test, given.split, given.seed)
    except InputError as error:
        sys.exit(f"nrc_asking: {error}")
