"""The hint of another question: as long, in the same words, and of no use.

A teacher that sees any block before the prompt differs from the student, and distilling that difference is a
regulariser of its own: what a hint gains must be more than what this control gains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.hint import Hint, HintText
from sdsearch.core.answers import correct
from sdsearch.core.trajectory import Group


class Placebo(Hint):
    """Another hint, dealt to the wrong questions; who would have no teacher has none here either.

    A group with both outcomes borrows from such a group, an alike one from an alike one, where the step has one: the
    block should not be told from the real one by its looks. Where a step has no other question there is no teacher.
    """

    hint: Hint = Field(default="hindsight", validate_default=True)
    """What is dealt out; it stands in its own place, unless that of the placebo is `after`."""

    def objection(self, conditions: Conditions) -> str | None:
        if conditions.questions == 1:
            return "train.questions is 1, so that no other question can lend its hint: expected at least 2"
        return self.hint.objection(conditions)

    def twins(self) -> dict[str, Hint]:
        return {name: self.model_copy(update={"hint": twin}) for name, twin in self.hint.twins().items()}

    def figures(self, groups: Sequence[Group], seed: int) -> Mapping[str, tuple[float, int]]:
        return self.hint.figures(groups, seed)

    def texts(self, groups: Sequence[Group], seed: int) -> list[list[HintText]]:
        """Return one text per kept trajectory; which question lends it depends on the seed and on the whole step."""
        real = self.hint.placed(groups, seed)
        lenders = [
            (group.question.id, _mixed(group), text)
            for group, hints in zip(groups, real, strict=True)
            for hint in hints
            for text in (hint if isinstance(hint, tuple) else (hint,))
            if text is not None
        ]
        dealt: list[list[HintText]] = []
        for group, originals in zip(groups, real, strict=True):
            others = [
                (like == _mixed(group), text) for question, like, text in lenders if question != group.question.id
            ]
            pool = [text for alike, text in others if alike] or [text for _, text in others]
            lent = Random(f"{seed}/{group.question.id}").choice(pool) if pool else None
            dealt.append([_instead(hint, lent) for hint in originals])
        return dealt


def _mixed(group: Group) -> bool:
    return len({correct(t) for t in group.kept}) > 1


def _instead(hint: HintText, lent: str | None) -> HintText:
    """Put a lent text in the place of every text of a hint."""
    if isinstance(hint, tuple):
        return tuple(lent if text is not None else None for text in hint)
    return lent if hint is not None else None
