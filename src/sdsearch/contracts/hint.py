"""What a teacher sees beside the prompt, and whose weights teach."""

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
Place = Literal["before", "after"]


class After(str):
    """A text that stands behind the prompt."""

    __slots__ = ()


class Hint(Component):
    """Says what the teacher sees beside the prompt."""

    family: ClassVar[str] = "hint"

    place: Place = "before"
    """Where it stands: directly before the prompt, or behind it with an empty line between."""

    @abstractmethod
    def texts(self, groups: Sequence[Group], seed: int) -> Sequence[Sequence[HintText]]:
        """Return for each group, for each of its kept trajectories, the hint; None: this one has no teacher."""

    def placed(self, groups: Sequence[Group], seed: int) -> list[list[HintText]]:
        """Return `texts` for a teacher: each knows its `place`."""
        return [[_placed(text, self.place) for text in texts] for texts in self.texts(list(groups), seed)]

    def figures(self, groups: Sequence[Group], seed: int) -> Mapping[str, tuple[float, int]]:
        """Return what is to be watched of the texts: by name a sum and a count, whose ratio is the figure of a step."""
        return {}

    def twins(self) -> Mapping[str, Hint]:
        """Return hints that differ from this one in one thing, by its name: a comparison with one is controlled.

        "flipped": every label turned round. "others": an attempt is not told of itself. "wrong": an attempt that went
        wrong stands in the place of one that was right.
        """
        return {}

    def variants(self, count: int) -> Sequence[Hint]:
        """Return at most `count` hints of this kind that tell of different attempts; by default this one alone."""
        return (self,)


def _placed(text: HintText, place: Place) -> HintText:
    if isinstance(text, tuple):
        return tuple(_at(each, place) for each in text)
    return _at(text, place)


def _at(text: str | None, place: Place) -> str | None:
    return After(text) if text is not None and place == "after" else text


def beside(hint: str, prompt: str) -> str:
    """Return a prompt with a hint in its place; behind a prompt the prompt's own end comes last, as without a hint."""
    if not isinstance(hint, After):
        return hint + prompt
    body = prompt.rstrip()
    return f"{body}\n\n{hint.strip()}{prompt[len(body) :]}"


def hint_at(hint: HintText, turn: int) -> str | None:
    """Return what a hint says at a turn."""
    return hint[turn] if isinstance(hint, tuple) else hint
