"""What a teacher sees before the prompt, and whose weights teach."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from sdsearch.config.component import Component
from sdsearch.core.trajectory import Group

Teacher = Literal["live", "ema", "frozen", "external"]
"""Weights that can score: the policy's, their moving average, its first ones, or those of the spec's `teacher`."""
HintText = str | None | tuple[str | None, ...]
"""What the teacher of one trajectory sees: the same at every turn, or one text for each; None: there is no teacher."""
Hints = Sequence[HintText]


class Hint(Component):
    """Says what the teacher sees before the prompt."""

    family: ClassVar[str] = "hint"

    @abstractmethod
    def texts(self, groups: Sequence[Group], seed: int) -> Sequence[Sequence[HintText]]:
        """Return for each group, for each of its kept trajectories, the hint; None: this one has no teacher."""

    def twins(self) -> Mapping[str, Hint]:
        """Return hints that differ from this one in one thing, by its name: a comparison with one is controlled.

        "flipped": every label turned round. "others": an attempt is not told of itself. "wrong": an attempt that went
        wrong stands in the place of one that was right.
        """
        return {}

    def variants(self, count: int) -> Sequence[Hint]:
        """Return at most `count` hints of this kind that tell of different attempts; by default this one alone."""
        return (self,)


def hint_at(hint: HintText, turn: int) -> str | None:
    """Return what a hint says at a turn."""
    return hint[turn] if isinstance(hint, tuple) else hint
