"""What came of a turn: the passages that its own search found, then the next searches of the same attempt.

Read beside what a policy would have said without it, this tells whether a turn led anywhere (TurnSight, 2608.04007).
The query of the turn itself is left out: a teacher that is to score it could copy it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from sdsearch.hinting.parts import parts
from sdsearch.hinting.wording import wording
from sdsearch.objective import Hint, Told
from sdsearch.trajectory import Group, Trajectory


class NextSearches(Hint):
    """For each turn a template round the results of it and of the searches that follow; None where there are none."""

    count: int = Field(1, ge=1)
    """Results that are told: that of the turn itself, and of so many searches less one after it."""
    template: Annotated[str, wording("events")] = "What happens next:\n{events}\n\n"
    """The words round queries and passages, which `{events}` stands for; an empty line ends them."""
    max_words: int = Field(150, ge=1)
    """Words of all that is told of one turn; what comes later is left out."""

    def texts(self, groups: Sequence[Group], seed: int) -> list[list[Told]]:
        """Return for each kept trajectory one text per turn."""
        return [[self.tell(t) for t in group.kept] for group in groups]

    def tell(self, trajectory: Trajectory) -> tuple[str | None, ...]:
        """Return the hint of each turn."""
        queries = {p.turn: p.text for p in parts(trajectory) if p.kind == "query"}
        found = {p.turn: p.text for p in parts(trajectory) if p.kind == "documents"}
        told: list[str | None] = []
        for turn in range(len(trajectory.turns)):
            after = [t for t in sorted(found) if t >= turn][: self.count]
            # A query that is nothing but tags has found passages and says nothing.
            lines = [line for t in after for line in (queries.get(t) if t > turn else None, found[t]) if line]
            words = " ".join(lines).split()[: self.max_words]
            told.append(self.template.format(events=" ".join(words)) if words else None)
        return tuple(told)
