"""What a step draws: its questions, and the seeds of its rollouts. The step alone says where in the order it is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from sdsearch.core.question import Question


def choose(questions: Sequence[Question], step: int, count: int, seed: int, lot: int = 0) -> list[Question]:
    """Return the questions of a step: each epoch is a fresh shuffle. Each `lot` is an order of its own."""
    first, last = step * count, (step + 1) * count
    of = f"{seed}/{lot}" if lot else f"{seed}"
    order: list[int] = []
    for epoch in range(first // len(questions), (last - 1) // len(questions) + 1):
        order += random.Random(f"{of}/{epoch}").sample(range(len(questions)), len(questions))
    start = first % len(questions)
    return [questions[i] for i in order[start : start + count]]


def step_seed(seed: int, step: int) -> int:
    """Return the seed of a step's rollouts: another one for each run and step, whichever process plays them."""
    return seed * 1_000_003 + step


def row_seeds(seed: int, questions: Sequence[Question]) -> list[int]:
    """Return a seed for each row of a batch: that of its question and attempt, wherever in the batch it stands.

    Rows of the same question are its attempts, in their order.
    """
    attempts: Counter[str] = Counter()
    seeds = []
    for question in questions:
        seeds.append(random.Random(f"{seed}/{question.id}/{attempts[question.id]}").getrandbits(63))
        attempts[question.id] += 1
    return seeds


def due(step: int, every: int) -> bool:
    """Say whether something that is done every so many steps, the first (0) included, is done at a step; 0: never."""
    return every > 0 and step % every == 0
