"""RLOO: a trajectory deserves its reward minus the mean of the other rewards of its group.

The own reward is kept out of the baseline, which makes the baseline independent of the action and the gradient unbiased
(Ahmadian et al., 2402.14740); R - mean of the others = n / (n - 1) * (R - mean of all). With
rollouts that branch, such as `tree`, a shared turn is credited once for each leaf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sdsearch.crediting.objections import alone
from sdsearch.objective import Credit, whole
from sdsearch.trajectory import Group

if TYPE_CHECKING:
    from sdsearch.spec import Experiment


class LeaveOneOut(Credit):
    """n / (n - 1) * (R - mean), on every sampled token. A group of one keeps its reward: it has no baseline."""

    def objection(self, experiment: Experiment) -> str | None:
        return alone(experiment)

    def assign(self, group: Group) -> list[NDArray[np.float64]]:
        """Return one array per kept trajectory, shape [sampled tokens]."""
        total, others = sum(t.reward for t in group.kept), len(group.kept) - 1
        if others > 0 and len({t.reward for t in group.kept}) == 1:
            return [whole(t, 0.0) for t in group.kept]  # rounding would look like contrast
        baseline = [(total - t.reward) / others if others else 0.0 for t in group.kept]
        return [whole(t, t.reward - b) for t, b in zip(group.kept, baseline, strict=True)]
