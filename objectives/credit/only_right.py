"""The reward's credit for right attempts only: of a wrong one something else says what to change.

SRPO (2604.02288) lets GRPO raise the attempts that were right, and has a hinted teacher correct those that were wrong:
`{type: distill, gate: wrong}` beside this credit. A wrong attempt's tokens have credit 0, not none, so that they count
in the mean of the loss: the source divides both parts by all tokens of the step. Its wrong attempts without a teacher
(in a group without a right one) keep GRPO's credit, which is 0 there too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from sdsearch.contracts.credit import Advantages, Probe
from sdsearch.core.answers import correct
from sdsearch.core.trajectory import Group, kept
from sdsearch.crediting.wrapper import Wrapper


class OnlyRight(Wrapper):
    """The credit `of` where the answer was right; 0 on the tokens of all other attempts that it credits."""

    label_by: Literal["f1", "exact_match"] = "f1"
    """The score of an answer that says whether it is right."""
    above: float = Field(0.0, ge=0, lt=1)
    """An answer is right when its score is above this."""

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        values, targets = self.of.weighted(groups, probe)
        right = [correct(t, self.label_by, self.above) for t in kept(groups)]
        return Advantages([part if each else part * 0.0 for part, each in zip(values, right, strict=True)], targets)
