"""RLOO: a trajectory deserves its reward minus the mean of the other rewards of its group.

The own reward is kept out of the baseline, which makes the baseline independent of the action and the gradient unbiased
(Ahmadian et al., 2402.14740); R - mean of the others = n / (n - 1) * (R - mean of all). With
rollouts that branch, such as `tree`, a shared turn is credited once for each leaf.
"""

from __future__ import annotations

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.trajectory import Group
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import whole


class LeaveOneOut(GroupCredit):
    """n / (n - 1) * (R - mean), on every sampled token. A group of one keeps its reward: it has no baseline."""

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions)

    def of_group(self, group: Group) -> Numbers:
        total, others = sum(t.reward for t in group.kept), len(group.kept) - 1
        if others > 0 and len({t.reward for t in group.kept}) == 1:
            return [whole(t, 0.0) for t in group.kept]  # rounding would look like contrast
        baseline = [(total - t.reward) / others if others else 0.0 for t in group.kept]
        return [whole(t, t.reward - b) for t, b in zip(group.kept, baseline, strict=True)]
