"""Tree-GRPO: a leaf deserves what sets it off from the other leaves of its tree, and from those of all trees.

Leaves of one tree share their beginning, so that the difference of their rewards speaks of the turns after the fork
although only outcomes are rewarded (Tree-GRPO, ICLR 2026, "base" mode): A = norm within the tree + norm over all trees
of the question. It needs rollouts that branch.

Deviations: a leaf that is alone in its tree has 0 from within; a shared beginning is credited once for each leaf.
"""

from __future__ import annotations

import numpy as np

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.trajectory import Group
from sdsearch.crediting.branching import owner
from sdsearch.crediting.per_turn import standardised, whole


class TreeGroup(GroupCredit):
    """The sum of both standardised rewards, on every sampled token."""

    def objection(self, conditions: Conditions) -> str | None:
        rollouts = conditions.rollouts
        if rollouts in ("tree", "entropy_branching", "critical"):
            return None
        return f"got rollouts {rollouts}, which have no trees: expected `train: {{rollouts: {{type: tree}}}}`"

    def of_group(self, group: Group) -> Numbers:
        roots = np.array([owner(group, (i, 0))[0] for i, t in enumerate(group.trajectories) if not t.lost])
        rewards = np.array([t.reward for t in group.kept])
        advantages = standardised(rewards)
        for root in set(roots):
            advantages[roots == root] += standardised(rewards[roots == root])
        return [whole(t, a) for t, a in zip(group.kept, advantages, strict=True)]
