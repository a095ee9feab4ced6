"""1 for an answer that holds an accepted one, else 0: the field's cover-EM, for evaluation; see its hazards."""

from __future__ import annotations

from collections.abc import Sequence

from sdsearch.contracts.environment import Reward
from sdsearch.core.answers import cover_exact_match


class CoverExactMatch(Reward):
    """Whether the answer holds an accepted one, anywhere: lenient, and paid to whoever lists many answers."""

    def score(self, answer: str | None, answers: Sequence[str]) -> float:
        return cover_exact_match(answer, answers)
