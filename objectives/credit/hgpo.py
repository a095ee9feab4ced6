"""HGPO: turns are compared with those that stand in the same place and came there the same way.

Two turns that were shown the same passages may remember different things, which biases GiGPO's comparison; a group with
the same history too is fairer and smaller. HGPO (2602.22817) takes groups at every depth of history from 0 to
`depth`, and averages their advantages with weights (d + 1)^alpha, those that are zero left out.

Deviations: the episode's advantage is added as in GiGPO; anchors are ids of passages, see `gigpo`; a turn with less
history than a depth asks for is compared by all that it has.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.trajectory import Group
from sdsearch.crediting.baselines import anchors, compared, group_advantages, returns
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import by_trajectory, per_turn


class HGPO(GroupCredit):
    """A_episode + step_weight * the weighted mean of the steps' advantages at each depth, on each turn's tokens."""

    step_weight: float = 1.0
    """The factor of the steps' advantages beside the episode's; 0 is GRPO without its scale."""
    depth: int = Field(2, ge=0)
    """The most earlier anchors that have to be the same; 0 is GiGPO."""
    alpha: float = Field(1.0, ge=0)
    """How much more a longer shared history counts: the exponent of (depth + 1); 0 weighs all depths the same."""
    gamma: float = Field(0.95, gt=0, le=1)
    """The return of a turn is the reward, discounted once for each turn that follows."""

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions)

    def of_group(self, group: Group) -> Numbers:
        episodes = group_advantages([t.reward for t in group.kept], "none")
        values = [r for t in group.kept for r in returns(t, self.gamma)]
        depths = range(self.depth + 1)
        ways = [[a[max(0, i - d) : i + 1] for a in map(anchors, group.kept) for i in range(len(a))] for d in depths]
        levels = np.array([compared([tuple(w) for w in way], values, "none") for way in ways])
        weights = np.array([(d + 1.0) ** self.alpha for d in depths])[:, None] * (levels != 0)
        steps = (weights * levels).sum(0) / np.maximum(weights.sum(0), 1.0)
        rows = zip(group.kept, episodes, by_trajectory(group.kept, steps), strict=True)
        return [per_turn(t, episode + self.step_weight * step) for t, episode, step in rows]
