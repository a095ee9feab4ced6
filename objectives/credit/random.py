"""A control: credit that is drawn from a normal distribution and knows nothing.

It has the size of a whitened credit (mean 0, deviation 1) and none of its meaning, so it shows what noise alone does
to a policy; with one number per turn or token it shows what finer credit does by being finer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from sdsearch.contracts.credit import Advantages, Credit, Probe
from sdsearch.core.trajectory import Group, kept
from sdsearch.crediting.per_turn import per_turn, whole


class Random(Credit):
    """A number for each trajectory, turn or token; other ones in each step, and for each process."""

    level: Literal["trajectory", "turn", "token"] = "trajectory"
    """What has one number for all of its tokens."""

    @property
    def heeds_reward(self) -> bool:
        return False

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        dice = np.random.default_rng(probe.seed)
        match self.level:
            case "trajectory":
                return Advantages([whole(t, dice.standard_normal()) for t in kept(groups)])
            case "turn":
                return Advantages([per_turn(t, dice.standard_normal(len(t.actions))) for t in kept(groups)])
            case "token":
                return Advantages([dice.standard_normal(t.sampled) for t in kept(groups)])
