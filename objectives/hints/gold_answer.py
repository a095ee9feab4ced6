"""The accepted answer itself: what OPSD (2601.18734) shows its teacher, a solution that comes with the data.

It needs no other attempt and no contrast in the group. As a control it tells how much of a gain comes from any
privileged knowledge of the answer, rather than from knowing which searches led to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from sdsearch.contracts.hint import Hint
from sdsearch.core.trajectory import Group
from sdsearch.hinting.wording import one_line, wording


class GoldAnswer(Hint):
    """A template round the first accepted answer; a question without any has no teacher."""

    template: Annotated[str, wording("answer")] = "The answer is {answer}.\n\n"
    """The words round the answer, which `{answer}` stands for; an empty line ends them."""

    def texts(self, groups: Sequence[Group], seed: int) -> list[list[str | None]]:
        """Return the same text for all kept trajectories of a group."""
        return [[self.tell(group)] * len(group.kept) for group in groups]

    def tell(self, group: Group) -> str | None:
        """Return the hint of one group."""
        answers = group.question.answers
        return self.template.format(answer=one_line(answers[0])) if answers else None
