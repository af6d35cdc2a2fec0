"""What a training visits, and when.

A *visit* is one RNA with the pairs that it brings: all, or some that are drawn. A *step* is several
visits (``packed``), or one pair for each process (``paper``). All is drawn from (seed, epoch, RNA),
so a place in a training is known by the number of the step alone.
"""

import math
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rnagpt_lib.core.params import Train
from rnagpt_lib.train.training_examples import Examples


class Visit(NamedTuple):
    """The number of an RNA in its ``Examples``, and the numbers of the pairs that it brings."""

    rna: int
    pairs: Sequence[int]


class Step(NamedTuple):
    """What one step of the optimiser visits, and how much of the schedule went before it."""

    visits: list[Visit]
    before: int


def steps_per_epoch(examples: Examples, params: Train, processes: int = 1) -> int:
    """Optimiser steps in one pass: over pairs in the ``paper`` recipe, over RNAs in ``packed``."""
    if params.recipe == "paper":
        return math.ceil(int(examples.pairs.sum()) / processes)
    return math.ceil(len(examples) / params.rnas_per_step)


def epoch_length(examples: Examples, params: Train, processes: int = 1) -> int:
    """An epoch in the unit of the schedule: steps in the ``paper`` recipe, pairs in ``packed``."""
    if params.recipe == "paper":
        return steps_per_epoch(examples, params, processes)
    return int(_pairs_brought(examples, params).sum())


def remaining_steps(
    examples: Examples, params: Train, seed: int, done: int, processes: int
) -> Iterator[tuple[int, int, Step]]:
    """(number, epoch, step) of all steps of a training from number ``done`` on."""
    each = steps_per_epoch(examples, params, processes)
    for epoch in range(done // each, params.epochs):
        skip = max(0, done - epoch * each)
        steps = epoch_steps(examples, params, seed, epoch, skip=skip, processes=processes)
        for number, step in enumerate(steps, start=epoch * each + skip):
            yield number, epoch, step


def epoch_steps(
    examples: Examples, params: Train, seed: int, epoch: int, *, skip: int = 0, processes: int = 1
) -> Iterator[Step]:
    """The steps of an epoch from number ``skip`` on; RNAs are shuffled singly, so families mix."""
    if params.recipe == "paper":
        yield from _single_pairs(examples, seed, epoch, skip, processes)
        return
    numbers = random.Random(f"{seed}/{epoch}").sample(range(len(examples)), len(examples))
    brought, each = _pairs_brought(examples, params), params.rnas_per_step
    before = epoch * int(brought.sum()) + int(brought[numbers[: skip * each]].sum())
    for start in range(skip * each, len(numbers), each):
        step = numbers[start : start + each]
        yield Step([_visit(examples, n, params, f"{seed}/{epoch}") for n in step], before)
        before += int(brought[step].sum())


def _single_pairs(
    examples: Examples, seed: int, epoch: int, skip: int, processes: int
) -> Iterator[Step]:
    starts = np.concatenate([[0], np.cumsum(examples.pairs)])
    order = np.random.default_rng([seed, epoch]).permutation(starts[-1])
    per_epoch = math.ceil(len(order) / processes)
    for number in range(skip, per_epoch):
        drawn = order[number * processes : (number + 1) * processes]
        rnas = np.searchsorted(starts, drawn, side="right") - 1
        visits = [Visit(int(n), [int(p - starts[n])]) for n, p in zip(rnas, drawn, strict=True)]
        yield Step(visits, epoch * per_epoch + number)


def _pairs_brought(examples: Examples, params: Train) -> np.ndarray:
    """Pairs that each RNA brings to a visit, (N,)."""
    wanted, pairs = getattr(params, "pairs_per_visit", 0), examples.pairs
    if not wanted:
        return pairs
    fixed = examples.of_kinds(params.always)
    return np.where(wanted < pairs - fixed, fixed + wanted, pairs)


def _visit(examples: Examples, number: int, params: Train, key: str) -> Visit:
    """The RNA with the pairs of one visit: some drawn, and those that are never left out."""
    everything, wanted = range(examples.count(number)), getattr(params, "pairs_per_visit", 0)
    kinds = examples.kinds(number) if wanted else []
    others = [i for i, kind in enumerate(kinds) if kind not in params.always]
    if wanted >= len(others):
        return Visit(number, everything)
    draw = random.Random(f"{key}/{examples.rna_ids[examples.chosen[number]]}")
    left_out = set(others) - set(draw.sample(others, wanted))
    return Visit(number, [i for i in everything if i not in left_out])
