"""What the search of this very turn was going to find, told before it is asked: the paper's ablation of the block.

SD-Search (2605.18299) puts the "current-step documents" in the place of the hindsight block. We read that as follows:
the teacher of a turn sees the passages that this turn's query retrieved, no label and no other attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from sdsearch.contracts.hint import Hint, HintText
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.hinting.attempt import parts
from sdsearch.hinting.wording import wording


class Documents(Hint):
    """A template round the passages of a turn; a turn that searches nothing has no teacher."""

    template: Annotated[str, wording("documents")] = "Documents:\n{documents}\n\n"
    """The words round the passages, which `{documents}` stands for; an empty line ends them."""
    max_characters: int | None = Field(None, ge=1, le=1_000_000)
    """Characters of a turn's passages together."""

    def texts(self, groups: Sequence[Group], seed: int) -> list[list[HintText]]:
        """Return for each kept trajectory one text per turn."""
        return [[self.tell(trajectory) for trajectory in group.kept] for group in groups]

    def tell(self, trajectory: Trajectory) -> tuple[str | None, ...]:
        """Return the hint of each turn."""
        documents = {p.turn: p.text[: self.max_characters] for p in parts(trajectory) if p.kind == "documents"}
        texts = {turn: self.template.format(documents=text) for turn, text in documents.items()}
        return tuple(texts.get(turn) for turn in range(len(trajectory.turns)))
