"""A control: the wrapped credit with the right rewards in the wrong places.

What remains of a gain when rewards are dealt out at random is not due to what they say, but to how dense they are, to
exploration, or to the loss itself (the idea of control tasks: Hewitt and Liang, 1909.03368). Over the step a group gets
others' rewards; within the group its mean stays its own, and only who earned what is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sdsearch.crediting.rewards import rewarded
from sdsearch.crediting.wrapper import RewardWrapper
from sdsearch.probe import Probe
from sdsearch.trajectory import Group


class ShuffledReward(RewardWrapper):
    """The credit `of` rewards that changed places, others in each step; with several processes, within each."""

    within: Literal["step", "group"] = "step"
    """Among whom the rewards are dealt out anew."""

    def credits(self, groups: Sequence[Group], probe: Probe) -> list[NDArray[np.float64]]:
        """Return one array per kept trajectory, shape [sampled tokens]."""
        dice = Random(f"shuffled_reward/{probe.seed}")
        lots = [[t.reward for t in g.kept] for g in groups]
        if self.within == "step":
            lots = [[r for lot in lots for r in lot]]
        found = self.of.credits(rewarded(groups, [r for lot in lots for r in dice.sample(lot, len(lot))]), probe)
        return [self.of.weight * part for part in found]
