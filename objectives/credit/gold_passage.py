"""A turn deserves the gold passages that its search was the first to find: the plainest credit with annotations.

Process rewards for retrieved evidence are the common ingredient of methods that see the data's own annotations; alone,
they tell how far one gets by being told which passages matter. It knows nothing of the outcome: put `group_mean` beside
it in the list of credits. Returns are standardised over all turns of a group. (IGPO, 2510.14967, standardises rewards,
and discounts and sums what is then centred: there each further turn costs the mean.)

It is a control of ours: no paper has exactly this.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.trajectory import Group
from sdsearch.crediting.gold import annotated, new_hits
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import discounted, per_turn, pooled


class GoldPassage(GroupCredit):
    """Standardised shares of the gold passages on the tokens of each turn. Raises `DataError` where none is named."""

    asks: ClassVar[str] = "annotations (gold passages)"
    returns: Literal["discounted", "immediate"] = "discounted"
    """A turn has what is found from it on, or only what it finds itself."""
    gamma: float = Field(0.95, gt=0, le=1)
    """The discount per turn of what is found later; `returns: immediate` does without it."""

    @property
    def heeds_reward(self) -> bool:
        return False

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions)

    def of_group(self, group: Group) -> Numbers:
        gold = annotated(group.question)
        rewards = [np.array([len(new & gold) / len(gold) for new in new_hits(t)]) for t in group.kept]
        if self.returns == "discounted":
            rewards = [discounted(numbers, self.gamma) for numbers in rewards]
        return [per_turn(t, numbers) for t, numbers in zip(group.kept, pooled(rewards), strict=True)]
