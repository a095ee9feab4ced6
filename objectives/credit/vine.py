"""VinePPO: a turn deserves what it added to the expected reward, measured by playing on from before and after it.

A critic's values of reasoning states are poor; an environment that can be put back into any state gives unbiased ones
(Kazemnejad et al., 2410.01679): V(state) is the mean reward of `k` continuations, A = V(after) - V(before), where after
the last turn the episode's own reward stands.

Deviations: steps are turns, all of which are measured; the state before turn 0, the question, is played once for all
attempts of a group. Where outages ended all continuations, the turns on both sides are never credited (NaN).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sdsearch.crediting.returns import per_turn
from sdsearch.objective import Credit
from sdsearch.probe import Probe
from sdsearch.rollout import Fork
from sdsearch.trajectory import Group


class Vine(Credit):
    """V(after the turn) - V(before it) on the tokens of each turn, in units of the reward."""

    asks: ClassVar[str] = "extra rollouts"
    k: int = Field(9, ge=1)
    """Continuations per state: each costs an episode's tokens and searches."""

    @property
    def heeds_reward(self) -> bool:
        return False

    def credits(self, groups: Sequence[Group], probe: Probe) -> list[NDArray[np.float64]]:
        """Return one array per kept trajectory, shape [sampled tokens]."""
        places: list[list[Fork]] = []
        for group in groups:
            begun = [t for t in group.kept if t.actions]
            places.append([Fork(t, 0) for t in begun[:1]])
            places[-1] += [Fork(t, turn) for t in begun for turn in range(1, len(t.actions))]
        forks = [fork for own in places for fork in own]
        played = iter(probe.continue_from(forks, self.k) if forks else [])
        found = []
        for group, own in zip(groups, places, strict=True):
            values = [_mean([t.reward for t in next(played).kept]) for _ in own]
            start, later = values[:1], iter(values[1:])
            for t in group.kept:
                before = start + [next(later) for _ in t.actions[1:]] if t.actions else []
                found.append(per_turn(t, np.diff([*before, t.reward])))
        return found


def _mean(rewards: list[float]) -> float:
    return float(np.mean(rewards)) if rewards else np.nan
