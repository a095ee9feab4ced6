"""1 for an accepted answer, else 0: what Search-R1 and SD-Search train on."""

from __future__ import annotations

from collections.abc import Sequence

from sdsearch.contracts.environment import Reward
from sdsearch.core.answers import exact_match


class ExactMatch(Reward):
    """Whether the answer equals an accepted one once case, punctuation and articles are set aside."""

    def score(self, answer: str | None, answers: Sequence[str]) -> float:
        return exact_match(answer, answers)
