"""The miniature's base models, pre-trained on the ``pretrain`` pool of the world.

``python -m models.build`` (``make base-models``) rebuilds ``models/``: an encoder of
RNA-FM's class by masked nucleotides, and a small Llama with its own tokenizer by next tokens,
one process each. The pool shares families with the runs, but no lineage and no abstract.
Steps are counted, not minutes, so a machine makes the same files again.
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.build import encoder as masking
from models.build import llm as writing
from models.build.dictionary import install, thaw
from models.build.texts import texts
from rnagpt_lib.core import paths
from rnagpt_lib.core.files import digest
from rnagpt_lib.curate.splits.relatives import similar
from rnagpt_lib.miniature import world
from rnagpt_lib.miniature.world import POOL, POOL_RNAS, RUN_SIZE
from rnagpt_lib.miniature.world import POOL_SEED as SEED
from rnagpt_lib.model.encoder import Encoder


@dataclass(frozen=True)
class Recipe:
    """On how many RNAs, how long and how fast one of the two is trained."""

    rnas: int
    steps: int
    step_tokens: int
    rate: float
    warmup: int = 50


RECIPES = {
    "encoder": Recipe(rnas=POOL_RNAS, steps=1500, step_tokens=1024, rate=4e-4),
    "llm": Recipe(rnas=2000, steps=1200, step_tokens=2048, rate=2e-3),
}
UPPER_STEPS, UPPER_RATE = 300, 5e-4  # of the encoder's upper layers alone, before
PROBED = 600  # RNAs of the runs' pool that the probe asks for, among thrice as many of its own


def pool_rnas(count: int, against: int = RUN_SIZE) -> list[world.Rna]:
    """RNAs of the pool, without those that would fall into a cluster of the runs' RNAs.

    Lineages are drawn apart, yet some land within 80 % identity of each other by chance.
    """
    taken: dict[str, set[str]] = defaultdict(set)
    for rna in world.entries(against, SEED, "run"):
        if rna.family:
            taken[rna.family.name].add(rna.sequence)
    return [
        rna
        for rna in world.entries(count, SEED, POOL)
        if not any(similar(rna.sequence, other) for other in taken[rna.family.name])
    ]


def rate_at(step: int, recipe: Recipe) -> float:
    """Learning rate: linear warm-up to ``rate``, then a cosine to a fiftieth of it."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.rate * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))


def fit(model: nn.Module, losses: Iterator[Tensor], recipe: Recipe, name: str) -> list[float]:
    """Train on ``recipe.steps`` losses. Returns the curve: the mean over each tenth of them."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    seen: list[float] = []
    start = time.monotonic()
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = rate_at(step, recipe)
        loss = next(losses)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen.append(loss.item())
        if (step + 1) % max(1, recipe.steps // 20) == 0:
            minutes, recent = (time.monotonic() - start) / 60, np.mean(seen[-50:])
            print(f"{name}: step {step + 1}, loss {recent:.3f}, {minutes:.1f} min", flush=True)
    return [round(float(part.mean()), 4) for part in np.array_split(seen, min(10, len(seen)))]


def build_encoder(folder: Path, recipe: Recipe) -> dict:
    """Train, probe and write the encoder; returns its manifest's facts."""
    torch.set_num_threads(1)
    rnas = pool_rnas(recipe.rnas)
    sequences = [rna.sequence for rna in rnas]
    encoder = Encoder.fresh(masking.ENCODER, SEED)
    install(encoder, sequences, SEED)
    upper = replace(recipe, steps=UPPER_STEPS, rate=UPPER_RATE)
    losses = masking.masked_losses(encoder, sequences, recipe.step_tokens, SEED)
    fit(encoder.model, losses, upper, "upper layers")
    thaw(encoder)
    losses = masking.masked_losses(encoder, sequences, recipe.step_tokens, SEED + 1)
    curve = fit(encoder.model, losses, recipe, "encoder")
    encoder.model.requires_grad_(False)
    facts = _facts(
        "an RNA-FM of small numbers, a dictionary of words and masked nucleotides",
        recipe,
        sequences,
        curve,
    )
    facts["probe"] = probe(encoder, rnas[: 3 * PROBED])
    encoder.save(folder, facts)
    return facts


def probe(encoder: Encoder, index: list[world.Rna], size: int = PROBED) -> dict[str, float]:
    """What the vectors of the runs' first ``size`` RNAs hold: the family, as that of the nearest
    neighbour in ``index``, and the letters by offset."""
    queries = [rna for rna in world.entries(size, SEED, "run") if rna.stratum == "seen"]
    known, asked = (
        ([rna.sequence for rna in rnas], [rna.family.name for rna in rnas])
        for rnas in (index, queries)
    )
    letters = masking.probe_letters(encoder, asked[0][:200])
    found = {f"letter{offset:+d}": round(share, 4) for offset, share in letters.items()}
    return {"family": round(masking.probe_family(encoder, known, asked), 4)} | found


def build_llm(folder: Path, recipe: Recipe) -> dict:
    """Train and write tokenizer and LLM; returns the manifest's facts."""
    torch.set_num_threads(1)
    made = world.make(recipe.rnas, SEED, POOL)
    kept = made.rnas.rna_id.isin([rna.id for rna in pool_rnas(recipe.rnas)])
    documents = texts(replace(made, rnas=made.rnas[kept]), SEED)
    tokenizer = writing.make_tokenizer(documents)
    llm = writing.make_llm(tokenizer, SEED)
    read, unread = documents[200:], documents[:200]
    losses = writing.next_token_losses(
        llm, writing.tokenise(tokenizer, read), recipe.step_tokens, SEED
    )
    curve = fit(llm, losses, recipe, "llm")
    facts = _facts("a Llama of small numbers, by next tokens", recipe, documents, curve)
    perplexity = writing.perplexity(llm.eval(), writing.tokenise(tokenizer, unread))
    facts["probe"] = {"perplexity": round(perplexity, 3)}
    writing.save_llm(llm, tokenizer, folder, facts)
    return facts


def _facts(about: str, recipe: Recipe, data: list[str], curve: list[float]) -> dict:
    return {
        "about": about,
        "pool": POOL,
        "seed": SEED,
        "recipe": asdict(recipe),
        "data_sha256": digest(data),
        "loss": curve,
    }


BUILD = {"encoder": build_encoder, "llm": build_llm}


def main(arguments: list[str] | None = None) -> None:
    """Build one of the two or, side by side, both."""
    parser = argparse.ArgumentParser(prog="python -m models.build.build", description=__doc__)
    parser.add_argument("--only", choices=sorted(BUILD), help="build this one alone")
    parser.add_argument("--out", type=Path, default=paths.models(), help="folder of both models")
    chosen = parser.parse_args(arguments)
    names = [chosen.only] if chosen.only else sorted(BUILD)
    with ProcessPoolExecutor(len(names), mp_context=get_context("spawn")) as pool:
        jobs = {n: pool.submit(BUILD[n], chosen.out / f"mini-{n}", RECIPES[n]) for n in names}
        for name, job in jobs.items():
            print(f"mini-{name}: {job.result()['probe']}")


if __name__ == "__main__":
    main()
