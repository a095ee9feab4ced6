"""TurnSight: how much to trust a credit at a turn, by what a reference makes of the turn once it sees what came of it.

The first weights, shown the trajectory's own next 1, 2 and 3 searches and their results, score each turn again; where
that makes the turn likelier a reward is strengthened and a blame weakened, but never turned round (2608.04007):
A * [(1 - l) + l * (1 + e * tanh(sign(A) * d))], where d is the mean gap in log-probability over the turn's tokens.

Deviations: the reference does not see the turn's own query, which it could copy; d is the mean of the gaps that have
the majority's sign, in units of the group's root mean square: centring would turn signs round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.crediting.returns import kept, per_turn
from sdsearch.crediting.turns import agreed, means
from sdsearch.objective import Credit
from sdsearch.objectives.hints.next_searches import NextSearches
from sdsearch.probe import Numbers, Probe
from sdsearch.trajectory import Group


class TurnSight(Credit):
    """Another credit, times a factor for each turn within 1 +- strength * reach (lambda, epsilon); 1 at the end."""

    base: Credit = Field(default="group_mean", validate_default=True)
    strength: float = Field(0.5, ge=0, le=1)
    reach: float = Field(0.5, ge=0, le=1)
    horizons: tuple[int, ...] = Field((1, 2, 3), min_length=1)
    """Results that the reference sees, see `next_searches`: one reading for each number."""
    max_words: int = Field(150, ge=1)

    @property
    def needs(self) -> frozenset[str]:
        return self.base.needs | {"frozen"}

    @property
    def heeds_reward(self) -> bool:
        return self.base.heeds_reward

    def objection(self, experiment: Any) -> str | None:
        return self.base.objection(experiment)

    def credits(self, groups: Sequence[Group], probe: Probe) -> list[NDArray[np.float64]]:
        plain = probe.logprobs(groups, teacher="frozen")
        readings = [self.gaps(groups, probe, plain, count) for count in self.horizons]
        gaps = iter([agreed(np.array(own)) for own in zip(*readings, strict=True)])
        found, base = [], iter(self.base.credits(groups, probe))
        for group in groups:
            own = [next(gaps) for _ in group.kept]
            every = np.concatenate([np.empty(0), *own])
            size = float(np.linalg.norm(every)) / max(1.0, float(np.count_nonzero(every))) ** 0.5 + 1e-6
            for t, gap in zip(group.kept, own, strict=True):
                a = self.base.weight * next(base)
                found.append(a * (1 + self.strength * self.reach * np.tanh(np.sign(a) * per_turn(t, gap / size))))
        return found

    def gaps(self, groups: Sequence[Group], probe: Probe, plain: Numbers, count: int) -> Numbers:
        """Return how much likelier so many results make each turn's tokens, NaN where nothing followed: [turns]."""
        told = [NextSearches(count=count, max_words=self.max_words).tell(t) for t in kept(groups)]
        seen = probe.logprobs(groups, told, "frozen")
        return [means(t, s - p) for t, s, p in zip(kept(groups), seen, plain, strict=True)]
