"""What came of a turn: the passages that its own search found, then the next searches of the same attempt.

Read beside what a policy would have said without it, this tells whether a turn led anywhere (TurnSight, 2608.04007).
The query of the turn itself is left out: a teacher that is to score it could copy it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from sdsearch.contracts.hint import Hint, HintText
from sdsearch.core.trajectory import Group
from sdsearch.hinting.attempt import NEXT, next_searches
from sdsearch.hinting.wording import wording


class NextSearches(Hint):
    """For each turn a template round the results of it and of the searches that follow; None where there are none."""

    count: int = Field(1, ge=1, le=1000)
    """Results that are told: that of the turn itself, and of so many searches less one after it."""
    template: Annotated[str, wording("events")] = NEXT
    """The words round queries and passages, which `{events}` stands for; an empty line ends them."""
    max_words: int = Field(150, ge=1, le=100_000)
    """Words of all that is told of one turn; what comes later is left out."""

    def texts(self, groups: Sequence[Group], seed: int) -> list[list[HintText]]:
        """Return for each kept trajectory one text per turn."""
        return [[next_searches(t, self.count, self.max_words, self.template) for t in group.kept] for group in groups]
