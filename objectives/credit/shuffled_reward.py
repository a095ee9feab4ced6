"""A control: the wrapped credit with the right rewards in the wrong places.

What remains of a gain when rewards are dealt out at random is not due to what they say, but to how dense they are, to
exploration, or to the loss itself (the idea of control tasks: Hewitt and Liang, 1909.03368). Over the step a group gets
others' rewards; within the group its mean stays its own, and only who earned what is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal

from sdsearch.contracts.credit import Advantages, Probe
from sdsearch.core.trajectory import Group
from sdsearch.crediting.wrapper import RewardWrapper, rewarded


class ShuffledReward(RewardWrapper):
    """The credit `of` rewards that changed places, others in each step; with several processes, within each."""

    within: Literal["step", "group"] = "step"
    """Among whom the rewards are dealt out anew."""

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        lots = [[t.reward for t in g.kept] for g in groups]
        names = [g.question.id for g in groups]
        if self.within == "step":
            lots, names = [[r for lot in lots for r in lot]], [""]
        dealt = [r for lot, name in zip(lots, names, strict=True) for r in self._deal(lot, f"{probe.seed}/{name}")]
        return self.of.weighted(rewarded(groups, dealt), probe)

    def _deal(self, lot: Sequence[float], seed: str) -> list[float]:
        return Random(f"shuffled_reward/{seed}").sample(lot, len(lot))
