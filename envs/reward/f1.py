"""The share of words in common with the nearest accepted answer: credit for a part of it."""

from __future__ import annotations

from collections.abc import Sequence

from sdsearch import metrics
from sdsearch.types import Reward


class F1(Reward):
    """The harmonic mean of precision and recall over normalised words, best of the accepted answers."""

    def score(self, answer: str | None, answers: Sequence[str]) -> float:
        return metrics.f1(answer, answers)
