"""What a training visits, and when: tables → trees, trees → the steps of an epoch.

A *visit* is one RNA with the pairs that it brings, a *step* of the optimiser is ``rnas_per_step``
visits. In the ``packed`` recipe a visit brings all pairs of its RNA behind one shared prefix; in
the ``paper`` recipe every step is one pair.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
from torch import Tensor

from rnagpt_lib.model import RnaGpt
from rnagpt_lib.packing import Branch, Tree
from rnagpt_lib.profiles import Train
from rnagpt_lib.relations import CATEGORICAL
from rnagpt_lib.template import bos_ids


def annotation_texts(annotations: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, str]:
    """What stage 1 is to write about each RNA: the sentences of its annotation, joined.

    ``annotations`` and ``pairs`` as in the tables, of one source. An RNA without literature gets
    the open answers to its categorical questions: "The RNA is of the type tRNA. …".
    """
    categorical = pairs["kind"].isin(CATEGORICAL) & (pairs["form"] == "open")
    answers = pairs[categorical].groupby("rna_id")["answer"].agg(" ".join)
    sentences = annotations.sort_values(["rna_id", "sentence_no"])
    return answers.to_dict() | sentences.groupby("rna_id")["text"].agg(" ".join).to_dict()


def stage1_trees(
    model: RnaGpt, rnas: pd.DataFrame, texts: Mapping[str, str], embeddings: Mapping[str, Tensor]
) -> list[Tree]:
    """One tree for each RNA that has a text: BOS, soft tokens → the text, EOS.

    ``texts`` maps an rna_id to its ``annotation_texts``, ``embeddings`` a sequence to its
    (L, D) tensor.
    """
    before = bos_ids(model.tokenizer)
    return [
        Tree(
            rna.rna_id,
            before,
            embeddings[rna.sequence],
            [Branch([], model.template.annotation_ids(model.tokenizer, texts[rna.rna_id]))],
        )
        for rna in rnas.itertuples()
        if rna.rna_id in texts
    ]


def stage2_trees(
    model: RnaGpt, rnas: pd.DataFrame, pairs: pd.DataFrame, embeddings: Mapping[str, Tensor]
) -> list[Tree]:
    """One tree for each RNA with pairs: the prompt's prefix, and a branch for each pair."""
    template, tokenizer = model.template, model.tokenizer
    before = template.prefix_ids(tokenizer)
    branches: dict[str, list[Branch]] = {}
    for pair in pairs.itertuples():
        question = template.question_ids(tokenizer, pair.question)
        answer = template.answer_ids(tokenizer, pair.answer)
        branches.setdefault(pair.rna_id, []).append(Branch(question, answer, pair.kind))
    return [
        Tree(rna.rna_id, before, embeddings[rna.sequence], branches[rna.rna_id])
        for rna in rnas.itertuples()
        if rna.rna_id in branches
    ]


def steps_per_epoch(trees: Sequence[Tree], params: Train) -> int:
    """Optimiser steps in one pass: over pairs in the ``paper`` recipe, over RNAs in ``packed``."""
    if params.recipe == "paper":
        return sum(len(tree.branches) for tree in trees)
    return math.ceil(len(trees) / params.rnas_per_step)


def epoch_steps(
    trees: Sequence[Tree], params: Train, seed: int, epoch: int
) -> Iterator[list[Tree]]:
    """The visits of each step of an epoch, in an order drawn from (seed, epoch).

    RNAs are shuffled singly, so that families mix within a step.
    """
    draw = random.Random(f"{seed}/{epoch}")
    if params.recipe == "paper":
        single = [(tree, i) for tree in trees for i in range(len(tree.branches))]
        yield from ([tree.only([i])] for tree, i in draw.sample(single, len(single)))
        return
    shuffled = draw.sample(list(trees), len(trees))
    for start in range(0, len(shuffled), params.rnas_per_step):
        step = shuffled[start : start + params.rnas_per_step]
        yield [_visit(tree, params, f"{seed}/{epoch}/{tree.rna_id}") for tree in step]


def _visit(tree: Tree, params: Train, key: str) -> Tree:
    """The tree with the pairs of one visit: some drawn by ``key``, and what is never left out."""
    wanted, always = getattr(params, "pairs_per_visit", 0), getattr(params, "always", ())
    fixed = [i for i, branch in enumerate(tree.branches) if branch.kind in always]
    others = [i for i, branch in enumerate(tree.branches) if branch.kind not in always]
    if not 0 < wanted < len(others):
        return tree
    return tree.only(sorted(fixed + random.Random(key).sample(others, wanted)))
