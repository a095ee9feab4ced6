"""GRPO: a trajectory deserves its reward minus the mean of its group, in units of the group's standard deviation.

Rollouts of one question are each other's baseline, so no value head is needed (Shao et al., 2402.03300, section 4.1;
the unbiased deviation and eps are verl's). Without the scale (Dr. GRPO, 2503.20783) an easy or a hopeless question,
whose rewards hardly vary, is not magnified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.crediting.objections import alone
from sdsearch.objective import Credit, whole
from sdsearch.trajectory import Group

if TYPE_CHECKING:
    from sdsearch.spec import Experiment


class GroupMean(Credit):
    """(R - mean) / (std + eps), on every sampled token. Equal rewards give 0; a group of one keeps its reward."""

    scale: Literal["std", "none"] = "std"
    """Divide by the group's standard deviation, or not."""
    eps: float = Field(1e-6, gt=0)
    """Added to the deviation, in units of the reward: nearly equal rewards are not blown up."""

    def objection(self, experiment: Experiment) -> str | None:
        return alone(experiment)

    def assign(self, group: Group) -> list[NDArray[np.float64]]:
        """Return one array per kept trajectory, shape [sampled tokens]."""
        return [whole(t, a) for t, a in zip(group.kept, self.advantages([t.reward for t in group.kept]), strict=True)]

    def advantages(self, rewards: list[float]) -> list[float]:
        """Return one number per reward."""
        mean, std = (np.mean(rewards), np.std(rewards, ddof=1)) if len(rewards) > 1 else (0.0, 1.0)
        if len(rewards) > 1 and min(rewards) == max(rewards):
            return [0.0] * len(rewards)  # rounding of the mean would otherwise be divided by eps
        scale = std + self.eps if self.scale == "std" else 1.0
        return [float((r - mean) / scale) for r in rewards]
