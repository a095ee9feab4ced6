"""TurnSight: how much to trust a credit at a turn, by what a reference makes of the turn once it sees what came of it.

The first weights, shown the trajectory's own next 1, 2 and 3 searches and their results, score each turn again; where
that makes the turn likelier a reward is strengthened and a blame weakened, but never turned round (2608.04007):
A * [(1 - l) + l * (1 + e * tanh(sign(A) * d))], where d is the mean gap in log-probability over the turn's tokens.
Deviations: the reference does not see the turn's own query, which it could copy; d is the mean of the gaps that have
the majority's sign, in units of the group's root mean square.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Advantages, Credit, Probe
from sdsearch.core.trajectory import Group, kept
from sdsearch.crediting.per_turn import agreed, by_group, means, per_turn, scaled
from sdsearch.hinting.attempt import next_searches


class TurnSight(Credit):
    """Another credit, times a factor for each turn within 1 +- strength * reach (lambda, epsilon); 1 at the end."""

    base: Credit = Field(default="group_mean", validate_default=True)
    """The credit that is multiplied; its `weight` counts."""
    strength: float = Field(0.5, ge=0, le=1)
    """l: the factor's part in the credit; 0 is `base` alone."""
    reach: float = Field(0.5, ge=0, le=1)
    """e: how far the factor can be from 1."""
    horizons: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field((1, 2, 3), min_length=1)
    """Results that the reference sees, see `next_searches`: one reading for each number."""
    max_words: int = Field(150, ge=1, le=100_000)
    """Words of the results that are shown for one turn."""

    @property
    def needs(self) -> frozenset[str]:
        return self.base.needs | {"frozen"}

    @property
    def heeds_reward(self) -> bool:
        return self.base.heeds_reward

    def objection(self, conditions: Conditions) -> str | None:
        return self.base.objection(conditions)

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        attempts, plain, readings = kept(groups), probe.logprobs(groups, teacher="frozen"), []
        for count in self.horizons:
            hints = [next_searches(t, count, self.max_words) for t in attempts]
            seen = probe.logprobs(groups, hints, "frozen")
            readings.append([means(t, s - p) for t, s, p in zip(attempts, seen, plain, strict=True)])
        gaps = [agreed(np.array(numbers)) for numbers in zip(*readings, strict=True)]
        shifts = [shift for _, numbers in by_group(groups, gaps) for shift in scaled(numbers)]
        values, targets = self.base.weighted(groups, probe)
        rows = zip(attempts, shifts, values, strict=True)
        factor = self.strength * self.reach
        return Advantages([a * (1 + factor * np.tanh(np.sign(a) * per_turn(t, d))) for t, d, a in rows], targets)
