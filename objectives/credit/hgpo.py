"""HGPO: turns are compared with those that stand in the same place and came there the same way.

Two turns that were shown the same passages may remember different things, which biases GiGPO's comparison; a group with
the same history too is fairer and smaller. HGPO (2602.22817, as its recipe in verl-agent has it) compares a turn at
every depth of history from 0 to `depth`, and takes the mean of these advantages with the weights (d + 2)^alpha, those
left out that are zero. A turn that has less history than a depth asks for is not compared at it, nor is one that is
alone. The deviation is that of the numbers themselves, not the unbiased one. There is no advantage of the episode, or
it is one more member of the mean, of weight 1.

Deviations: anchors are ids of passages, see `gigpo`; an episode counts once in the mean of its group, in the recipe
once for each of its turns.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.trajectory import Group
from sdsearch.crediting.baselines import Deviation, anchors, compared, group_advantages, returns
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import Array, by_trajectory, per_turn


class HGPO(GroupCredit):
    """The weighted mean of the steps' advantages at each depth, on each turn's tokens; 0 for a turn without any."""

    episode: Literal["none", "mean", "added"] = "none"
    """The advantage of the whole episode: left out, a member of the mean, or added to the steps' as in GiGPO."""
    step_weight: float = Field(1.0, ge=0)
    """The factor of the steps' advantages."""
    depth: int = Field(2, ge=0, le=100)
    """The most earlier anchors that have to be the same; 0 compares by the place alone."""
    alpha: float = Field(1.0, ge=0, le=10)
    """How much more a longer shared history counts; 0 weighs all depths the same."""
    offset: int = Field(2, ge=1, le=1000)
    """Depth d weighs (d + offset)^alpha, an episode in the mean (offset - 1)^alpha: 2:3:4 and 1 in the recipe."""
    short: Literal["leave_out", "compare"] = "leave_out"
    """What becomes of a turn at a depth that it has too little history for; or it is compared by all that it has."""
    norm: Literal["mean_norm", "mean_std_norm"] = "mean_std_norm"
    """Whether advantages are divided by the standard deviation of what they are compared with."""
    gamma: float = Field(0.95, gt=0, le=1)
    """The return of a turn is the reward, discounted once for each turn that follows."""

    def objection(self, conditions: Conditions) -> str | None:
        if self.episode == "mean" and self.offset == 1 and self.alpha:
            return "got episode: mean and offset: 1, which give the episode no weight: expected offset: 2, or more"
        return alone(conditions)

    def of_group(self, group: Group) -> Numbers:
        values = [r for t in group.kept for r in returns(t, self.gamma)]
        levels = [self.compared(way, values) for way in (self.ways(group, d) for d in range(self.depth + 1))]
        weights = [float(d + self.offset) ** self.alpha for d in range(self.depth + 1)]
        scale: Deviation = "std" if self.norm == "mean_std_norm" else "none"
        episodes = np.array(group_advantages([t.reward for t in group.kept], scale))
        whole = np.repeat(episodes, [len(t.actions) for t in group.kept])
        if self.episode == "mean":
            levels, weights = [whole, *levels], [(self.offset - 1.0) ** self.alpha, *weights]
        table = np.array(levels)
        shares = np.array(weights)[:, None] * (table != 0)
        steps = self.step_weight * (shares * table).sum(0) / np.where(shares.sum(0) > 0, shares.sum(0), 1.0)
        if self.episode == "added":
            steps = whole + steps
        return [per_turn(t, step) for t, step in zip(group.kept, by_trajectory(group.kept, steps), strict=True)]

    def ways(self, group: Group, depth: int) -> list[Hashable]:
        """Return for each turn of a group what it was shown and the `depth` anchors before that."""
        shown = [(i, a[max(0, i - depth) : i + 1]) for a in map(anchors, group.kept) for i in range(len(a))]
        leave_out = self.short == "leave_out"
        # One that is left out has a way of its own, which it shares with none.
        return [n if leave_out and i < depth else tuple(way) for n, (i, way) in enumerate(shown)]

    def compared(self, ways: Sequence[Hashable], values: Sequence[float]) -> Array:
        """Return the advantage of each turn's return among those with the same way; 0 for one that is alone."""
        return np.array(compared(ways, values, "population" if self.norm == "mean_std_norm" else "none"), np.float64)
