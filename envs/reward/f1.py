"""The share of words in common with the nearest accepted answer: credit for a part of it."""

from __future__ import annotations

from collections.abc import Sequence

from sdsearch.contracts.environment import Reward
from sdsearch.core.answers import f1


class F1(Reward):
    """The harmonic mean of precision and recall over normalised words, best of the accepted answers."""

    def score(self, answer: str | None, answers: Sequence[str]) -> float:
        return f1(answer, answers)
