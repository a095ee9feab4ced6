"""CARL: only what was done in critical states is credited, by how much better the expected reward became.

Most actions decide little, and crediting them is noise. Where rollouts fork, the tree itself estimates values: A(edge)
= E[R(child)] - E[R(parent)], and all other turns are left out of the update (2512.04949, after a transcription of
its text). E[R] weighs every action sampled in a state the same, however many rollouts were grown from it later, which
keeps it unbiased (equation 10). A state is critical when more than one action was sampled from it (equation 13); before
turn 0 that is every rollout that began there.

Deviation: what rollouts share is credited once for each of them, as it is in the update.
"""

from __future__ import annotations

from statistics import fmean

import numpy as np

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.trajectory import Group
from sdsearch.crediting.branching import outcomes, worth
from sdsearch.crediting.per_turn import per_turn


class CARL(GroupCredit):
    """E[R(after)] - E[R(before)] on the tokens of a turn in a critical state; NaN, never credited, on all others."""

    def objection(self, conditions: Conditions) -> str | None:
        rollouts = conditions.rollouts
        if rollouts in ("critical", "tree", "entropy_branching"):
            return None
        return f"got rollouts {rollouts}, which never fork: expected `train: {{rollouts: {{type: critical}}}}`"

    def of_group(self, group: Group) -> Numbers:
        every = enumerate(group.trajectories)
        return [per_turn(t, [self.edge(group, i, n) for n in range(len(t.actions))]) for i, t in every if not t.lost]

    def edge(self, group: Group, index: int, turn: int) -> float:
        """Return the credit of one turn of the trajectory with an index in its group."""
        actions = outcomes(group, (index, turn))
        return worth(group, (index, turn + 1)) - fmean(actions) if len(actions) > 1 else np.nan
