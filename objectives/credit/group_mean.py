"""GRPO: a trajectory deserves its reward minus the mean of its group, in units of the group's standard deviation.

Rollouts of one question are each other's baseline, so no value head is needed (Shao et al., 2402.03300, section 4.1;
the unbiased deviation and eps are verl's). Without the scale (Dr. GRPO, 2503.20783) an easy or a hopeless question,
whose rewards hardly vary, is not magnified.
"""

from __future__ import annotations

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.trajectory import Group
from sdsearch.crediting.baselines import Scale, group_advantages
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import whole


class GroupMean(GroupCredit):
    """(R - mean) / (std + eps), on every sampled token. Equal rewards give 0; a group of one keeps its reward."""

    scale: Scale = "std"
    """Divide by the group's standard deviation, or not."""
    eps: float = Field(1e-6, gt=0, le=1)
    """Added to the deviation, in units of the reward: nearly equal rewards are not blown up."""

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions)

    def of_group(self, group: Group) -> Numbers:
        advantages = group_advantages([t.reward for t in group.kept], self.scale, self.eps)
        return [whole(t, a) for t, a in zip(group.kept, advantages, strict=True)]
