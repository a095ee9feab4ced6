"""What a step draws: its questions, and the seeds of its rollouts. The step alone says where in the order it is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice

from sdsearch.core.question import Question


def choose(questions: Sequence[Question], step: int, count: int, seed: int, lot: int = 0) -> list[Question]:
    """Return the questions of a step. Each further `lot` has others, as many as there are.

    Each epoch is a fresh shuffle; what is left over at its end, too few for a step, is not asked in it. So a step asks
    no question twice, unless there are fewer than `count`: then it begins again with the first.
    """
    if lot:
        asked = {q.id for earlier in range(lot) for q in choose(questions, step, count, seed, earlier)}
        others = [q for q in questions if q.id not in asked]
        return random.Random(f"{seed}/{lot}/{step}").sample(others, min(count, len(others)))
    epoch, place = divmod(step, max(1, len(questions) // count))
    order = random.Random(f"{seed}/{epoch}").sample(range(len(questions)), len(questions))
    return [questions[i] for i in islice(cycle(order), place * count, (place + 1) * count)]


def step_seed(seed: int, step: int) -> int:
    """Return the seed of a step's rollouts: another one for each run and step, whichever process plays them."""
    return seed * 1_000_003 + step


def row_seeds(seed: int, questions: Sequence[Question], attempts: Counter[str] | None = None) -> list[int]:
    """Return a seed for each row of a batch: that of its question and attempt, wherever in the batch it stands.

    Rows of the same question are its attempts, in their order; `attempts` are those made of each before, counted on.
    """
    attempts = Counter() if attempts is None else attempts
    seeds = []
    for question in questions:
        seeds.append(random.Random(f"{seed}/{question.id}/{attempts[question.id]}").getrandbits(63))
        attempts[question.id] += 1
    return seeds


def due(step: int, every: int) -> bool:
    """Say whether something that is done every so many steps, the first (0) included, is done at a step; 0: never."""
    return every > 0 and step % every == 0
