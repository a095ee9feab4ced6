"""A control: credit that is drawn from a normal distribution and knows nothing.

It has the size of a whitened credit (mean 0, deviation 1) and none of its meaning, so it shows what noise alone does
to a policy; with one number per turn or token it shows what finer credit does by being finer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from zlib import crc32

import numpy as np

from sdsearch.contracts.credit import Advantages, Credit, Numbers, Probe
from sdsearch.core.trajectory import Group
from sdsearch.crediting.per_turn import per_turn, whole


class Random(Credit):
    """A number for each trajectory, turn or token; other ones in each step."""

    level: Literal["trajectory", "turn", "token"] = "trajectory"
    """What has one number for all of its tokens."""

    @property
    def heeds_reward(self) -> bool:
        return False

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        return Advantages([part for group in groups for part in self._group(group, probe.seed)])

    def _group(self, group: Group, seed: int) -> Numbers:
        # A group's own dice: what is drawn for it does not depend on the groups beside it, nor on the process.
        dice = np.random.default_rng((seed, crc32(group.question.id.encode())))
        match self.level:
            case "trajectory":
                return [whole(t, dice.standard_normal()) for t in group.kept]
            case "turn":
                return [per_turn(t, dice.standard_normal(len(t.actions))) for t in group.kept]
            case "token":
                return [dice.standard_normal(t.sampled) for t in group.kept]
