"""A control: credit that is drawn from a normal distribution and knows nothing.

It has the size of a whitened credit (mean 0, deviation 1) and none of its meaning, so it shows what noise alone does
to a policy; with one number per turn or token it shows what finer credit does by being finer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sdsearch.crediting.returns import kept, per_turn
from sdsearch.objective import Credit, whole
from sdsearch.probe import Probe
from sdsearch.trajectory import Group


class Random(Credit):
    """A number for each trajectory, turn or token; other ones in each step, and for each process."""

    level: Literal["trajectory", "turn", "token"] = "trajectory"
    """What has one number for all of its tokens."""

    @property
    def heeds_reward(self) -> bool:
        return False

    def credits(self, groups: Sequence[Group], probe: Probe) -> list[NDArray[np.float64]]:
        """Return one array per kept trajectory, shape [sampled tokens]."""
        dice = np.random.default_rng(probe.seed)
        match self.level:
            case "trajectory":
                return [whole(t, dice.standard_normal()) for t in kept(groups)]
            case "turn":
                return [per_turn(t, dice.standard_normal(len(t.actions))) for t in kept(groups)]
            case "token":
                return [dice.standard_normal(t.sampled) for t in kept(groups)]
